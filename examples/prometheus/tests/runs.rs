//! The program runs, and both kinds of metrics are in one registry.

use std::process::Command;

#[test]
fn one_registry_has_both() {
    let output = Command::new(env!("CARGO_BIN_EXE_prometheus-metrics")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    for line in [
        "shop_order_euros_count 1",
        "txsafe_attempts_total{transaction=\"order\"} 2",
        "txsafe_outcomes_total{outcome=\"committed\",transaction=\"order\"} 1",
        "txsafe_remedies_total{cause=\"serialization\",remedy=\"retry\",transaction=\"order\"} 1",
        "txsafe_transaction_seconds_count{transaction=\"order\"} 1",
        "txsafe_pool_max_connections{pool=\"orders\"} 4",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}\n{said}\n{errors}");
    }
}
