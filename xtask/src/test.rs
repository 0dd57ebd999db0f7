//! `cargo xtask test`.

use std::ffi::OsString;
use std::path::Path;

use crate::run;

const TEST: [&str; 2] = ["test", "--all-features"];
const CLIENTS: [&str; 3] = ["test", "--manifest-path", "clients/Cargo.toml"];

/// Tests the packages that the arguments name, or the workspace; with `--all`, then the clients too, which are a workspace of
/// their own.
pub(crate) fn run(mut arguments: Vec<OsString>, server: Option<&Path>) -> Result<(), String> {
    let all = take_all(&mut arguments);
    let mut ours = arguments.clone();
    if !names_packages(&ours) {
        ours.insert(0, "--workspace".into());
    }
    if !all {
        return run::cargo(TEST, &ours, server);
    }
    run::cargo_first(TEST, &ours, server)?;
    run::cargo(CLIENTS, &arguments, server)
}

/// Whether cargo is given packages. With `--workspace` it would take no notice of them.
fn names_packages(arguments: &[OsString]) -> bool {
    let for_cargo = arguments.iter().take_while(|argument| *argument != "--");
    let names = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        argument.starts_with("--package") || argument.starts_with("-p")
    };
    for_cargo.into_iter().any(names)
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

    #[test]
    fn packages_are_named_by_either_flag() {
        let names = |line: &str| {
            let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            names_packages(&arguments)
        };
        assert!(
            names("-p txsafe") && names("--package txsafe deadlock") && names("--package=txsafe")
        );
        assert!(!names("deadlock") && !names("--lib -- -p"));
    }

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
