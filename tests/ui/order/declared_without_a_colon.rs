//! The name ends at a colon.

#[path = "../town.rs"]
mod town;

use town::*;

txsafe_diesel::lock_order! { pub Colon Organization => Order }

fn main() {}
