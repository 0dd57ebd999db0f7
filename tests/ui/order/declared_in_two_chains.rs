//! A total order is one chain.

#[path = "../town.rs"]
mod town;

use town::*;

txsafe_diesel::lock_order! { pub Chains: Organization => Order; Organization => User }

fn main() {}
