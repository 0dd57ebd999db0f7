//! Compile errors are user interface: programs that don't compile, and what the compiler says. And some that do.

/// Programs that compile are modules here, because trybuild links what is to pass, for which it would build every dependency
/// once more; what fails, it only checks.
macro_rules! good {
    ($($name:ident: $path:literal,)*) => {
        $(
            #[path = $path]
            #[allow(dead_code, unsafe_code, unreachable_pub, clippy::all, reason = "written as users may")]
            #[allow(clippy::unwrap_used, clippy::exhaustive_enums, missing_debug_implementations)]
            mod $name;
        )*

        #[test]
        fn programs_that_compile() {
            $($name::main();)*
        }
    };
}

good! {
    external_io: "ui/good/external_io.rs",
    forms: "ui/good/forms.rs",
    order: "ui/good/order.rs",
}

#[test]
fn programs_that_do_not() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/bad/*.rs");
    cases.compile_fail("ui/guard/*.rs");
    cases.compile_fail("ui/order/*.rs");
}
