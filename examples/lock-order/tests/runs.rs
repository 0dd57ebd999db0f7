//! The program runs, and says what it should.

use std::process::Command;

#[test]
fn nobody_waits_in_a_circle_and_the_graph_sees_who_could() {
    let output = Command::new(env!("CARGO_BIN_EXE_lock-order")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "  committed   640",
        "  deadlocks     0",
        "  Organization --> Order",
        "  declared: lock order `ShopOrder`: `inventory_items` before `accounts`",
        "  n1 == inversion ==> n3",
    ] {
        assert!(said.lines().any(|said| said == line), "no line `{line}` in:\n{said}");
    }
    let inversion = "lock order inversion: `orders` was wanted while `accounts` was held";
    assert_eq!(said.matches(inversion).count(), 1, "{said}");
}
