//! Rows belong to tables.

struct ImportRow;

txsafe_diesel::rank!(pub Import: advisory 42 as i64);
txsafe_diesel::ranked!(ImportRow => Import);

fn main() {}
