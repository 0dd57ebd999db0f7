//! Floats sort one way in Rust and another in SQL.

#[path = "../town.rs"]
mod town;

use town::*;

txsafe_diesel::rank!(pub Measured: table "measured" key "value" as f64);

fn main() {}
