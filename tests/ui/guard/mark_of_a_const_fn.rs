//! What runs while compiling calls nobody.

use txsafe_diesel::guard::external_io;

#[external_io]
const fn cents() -> u32 {
    30_00
}

fn main() {}
