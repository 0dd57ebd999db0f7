//! Each comes before the others.

#[path = "../town.rs"]
mod town;

use town::*;

txsafe_diesel::lock_order! { pub partial Round: Organization => Order => User; User => Organization }

fn main() {}
