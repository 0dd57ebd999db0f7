//! `cargo xtask commands`: what a README tells its readers to type, typed.

use std::ffi::OsString;
use std::fs;

use crate::run;

/// Runs every command of the named files below the workspace's root, or of `README.md`, as it stands there.
pub(crate) fn run(files: &[OsString]) -> Result<(), String> {
    let readme = [OsString::from("README.md")];
    let files = if files.is_empty() { &readme } else { files };
    let mut failed = Vec::new();
    for file in files {
        let path = run::workspace_root().join(file);
        let text =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for line in commands_of(&text) {
            println!("\n== {line}");
            let words = line.split_whitespace().skip(1);
            let status = run::cargo_here().args(words).status();
            let status = status.map_err(|error| format!("cargo can't be run: {error}"))?;
            if !status.success() {
                failed.push(format!("`{line}` of {}: {status}", file.display()));
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// The lines of `sh` blocks, and the inline code that begins with `cargo`, each once.
fn commands_of(markdown: &str) -> Vec<&str> {
    let mut fence = None;
    let mut commands = Vec::new();
    for line in markdown.lines() {
        match (line.strip_prefix("```"), fence) {
            (Some(language), None) => fence = Some(language),
            (Some(_), Some(_)) => fence = None,
            (None, Some("sh")) => commands.push(line.split(" #").next().unwrap_or(line).trim()),
            (None, Some(_)) => {}
            // Inline code is what stands between backticks: every second part.
            (None, None) => commands.extend(line.split('`').skip(1).step_by(2)),
        }
    }
    let mut seen = Vec::new();
    for command in commands {
        if command.starts_with("cargo ") && !seen.contains(&command) {
            seen.push(command);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::commands_of;

    #[test]
    fn blocks_and_inline_code_are_read() {
        let markdown = "Type `cargo run -p x`, or `y`:\n```sh\ncargo xtask demo    # shows it\n\n```\n\
                        ```toml\ncargo = \"`cargo run -p no`\"\n```\n`cargo xtask demo` again";
        assert_eq!(commands_of(markdown), ["cargo run -p x", "cargo xtask demo"]);
    }

    #[test]
    fn the_readme_has_commands() {
        let commands = commands_of(include_str!("../../README.md"));
        assert!(commands.contains(&"cargo xtask faults"), "{commands:?}");
        assert!(commands.contains(&"cargo run -p transfer-diesel"), "{commands:?}");
    }
}
