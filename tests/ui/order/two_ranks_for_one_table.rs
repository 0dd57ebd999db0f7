//! One table, two ranks: their locks would be ordered, and are the same.

#[path = "../town.rs"]
mod town;

use town::*;

txsafe_diesel::rank!(pub Users2: table "users" key "id" as i64);
txsafe_diesel::lock_order! { pub Other: User => Users2 }

fn main() {}
