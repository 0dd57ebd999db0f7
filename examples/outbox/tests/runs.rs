//! The program runs, and says what it should.

use std::process::Command;

#[test]
fn every_order_has_its_receipt_although_the_sender_was_killed() {
    let output = Command::new(env!("CARGO_BIN_EXE_outbox")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "24 orders were placed, and 6 were rolled back.",
        "The first worker was killed after ",
        "23 customers have a receipt;",
        "Given up after 3 attempts: order 13 has no such address",
    ] {
        assert!(said.contains(part), "{said}");
    }
}
