//! `cargo xtask test`.

use std::ffi::OsString;
use std::path::Path;

use crate::run;

const WORKSPACE: [&str; 3] = ["test", "--workspace", "--all-features"];
const CLIENTS: [&str; 3] = ["test", "--manifest-path", "clients/Cargo.toml"];

/// Tests the workspace; with `--all`, then the clients too, which are a workspace of their own.
pub(crate) fn run(mut arguments: Vec<OsString>, server: Option<&Path>) -> Result<(), String> {
    if !take_all(&mut arguments) {
        return run::cargo(WORKSPACE, &arguments, server);
    }
    run::cargo_first(WORKSPACE, &arguments, server)?;
    run::cargo(CLIENTS, &arguments, server)
}

/// Whether `--all` is among our arguments; it isn't one for cargo, or for the tests behind `--`.
fn take_all(arguments: &mut Vec<OsString>) -> bool {
    let ours = arguments.iter().take_while(|argument| *argument != "--");
    let Some(place) = ours.into_iter().position(|argument| argument == "--all") else {
        return false;
    };
    arguments.remove(place);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(line: &str) -> (bool, String) {
        let mut arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let all = take_all(&mut arguments);
        (all, arguments.join(" ".as_ref()).into_string().unwrap())
    }

    #[test]
    fn all_is_ours_and_the_rest_is_not() {
        assert_eq!(take(""), (false, String::new()));
        assert_eq!(take("deadlock"), (false, "deadlock".to_owned()));
        assert_eq!(take("--release --all lapin"), (true, "--release lapin".to_owned()));
        assert_eq!(take("lapin -- --all"), (false, "lapin -- --all".to_owned()));
    }
}
