//! Each finding has its page.

use std::{fs, path::PathBuf};
use txsafe_diesel::guard::Code;

const HEADINGS: [&str; 5] =
    ["What it does", "Why it is bad", "Known problems", "Example", "Use instead"];

fn page(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/findings").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn each_finding_has_a_page_of_five_headings() {
    for code in Code::ALL {
        let page = page(&format!("{code}.md"));
        assert_eq!(page.lines().next().unwrap(), format!("# {code}: {}", code.title()));
        let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, HEADINGS, "{code}");
    }
}

#[test]
fn each_finding_is_in_the_index() {
    let index = page("README.md");
    for code in Code::ALL {
        let row = format!("| [{code}]({code}.md) | {} |", code.title());
        assert!(index.lines().any(|line| line.starts_with(&row)), "no row `{row}`");
    }
}
