//! A rank has one place.

#[path = "../town.rs"]
mod town;

use town::*;

txsafe_diesel::lock_order! { pub Twice: Organization => Order => User => Organization }

fn main() {}
