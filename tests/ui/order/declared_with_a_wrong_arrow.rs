//! The arrow is =>.

#[path = "../town.rs"]
mod town;

use town::*;

txsafe_diesel::lock_order! { pub Arrow: Organization -> Order }

fn main() {}
