//! Advisory locks of one namespace are one rank.

txsafe_diesel::rank!(pub Import: advisory 42 as i64);
txsafe_diesel::rank!(pub Export: advisory 42 as String);

txsafe_diesel::lock_order! { pub MyOrder: Import => Export }

fn main() {}
