//! An order of nothing.

#[path = "../town.rs"]
mod town;

use town::*;

txsafe_diesel::lock_order! { pub Nothing: }

fn main() {}
