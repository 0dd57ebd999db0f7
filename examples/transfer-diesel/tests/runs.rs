//! The program runs, and says what it should.

use std::process::Command;

#[test]
fn nothing_is_lost_on_the_way() {
    let output = Command::new(env!("CARGO_BIN_EXE_transfer-diesel")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "a letter to the owner of account 2",
            "account 1 has 70 left",
            "account 1 doesn't have 1000",
            "together they have 200",
        ],
        "{}",
        String::from_utf8_lossy(&output.stderr),
    );
}
