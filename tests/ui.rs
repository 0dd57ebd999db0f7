//! Compile errors are user interface: closures that don't compile, and what the compiler says.

#[test]
fn closures() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/good/*.rs");
    cases.compile_fail("ui/bad/*.rs");
}
