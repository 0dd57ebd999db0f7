//! Compile errors are user interface: programs that don't compile, and what the compiler says.

#[test]
fn programs() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/good/*.rs");
    cases.compile_fail("ui/bad/*.rs");
    cases.compile_fail("ui/guard/*.rs");
    cases.compile_fail("ui/order/*.rs");
}
