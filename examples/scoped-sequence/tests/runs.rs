//! The program runs, and says what it should.

use std::process::Command;

#[test]
fn numbers_have_no_gaps_where_postgresqls_own_have_some() {
    let output = Command::new(env!("CARGO_BIN_EXE_scoped-sequence")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let gaps = |name: &str| -> u32 {
        let mut lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|words| words.first() == Some(&name)).unwrap();
        line.last().unwrap().parse().unwrap()
    };
    for organization in ["mill", "forge", "bakery"] {
        assert_eq!(gaps(organization), 0, "{said}");
    }
    assert!(gaps("incidents.id") > 0, "{said}");
}
