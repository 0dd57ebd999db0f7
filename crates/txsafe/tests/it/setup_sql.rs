//! The SQL that sets up tables: three files of one shape, each to be copied into a migration as it is.

use txsafe::{IDEMPOTENCY_KEYS_SQL, OUTBOX_SQL, SEQUENCES_SQL};

/// What stands around the tables: the block that looks again, and what it catches.
fn around(sql: &'static str) -> [&'static str; 2] {
    let (_, rest) = sql.split_once("\n--\n").unwrap();
    let (head, _) = rest.split_once("CREATE TABLE").unwrap();
    let (_, tail) = rest.split_once("            RETURN;\n").unwrap();
    [head, tail]
}

#[test]
fn a_change_of_one_block_is_a_change_of_all() {
    let keys = around(IDEMPOTENCY_KEYS_SQL);
    assert_eq!((keys, keys), (around(OUTBOX_SQL), around(SEQUENCES_SQL)));
}
