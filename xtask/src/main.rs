//! `cargo xtask …`: one command each for setting up, showing, testing and measuring txsafe.
//!
//! No dependencies, so that it builds and helps on a machine with nothing but Rust.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks that way")]

mod commands;
mod cost;
mod npm;
mod packages;
mod postgres;
mod run;
mod setup;
mod test;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use setup::Need;

const USAGE: &str = "\
Usage: cargo xtask <command> [arguments]

Commands:
  setup    install what building and testing needs; `setup --check` only looks
  demo     run the demo; arguments go to it (try `demo --help`)
  test     run all tests of the workspace; arguments go to `cargo test`;
           with `--all`, also those of `clients/`, which take minutes to build
  faults   strike every driver with every fault; arguments go on (try `faults --help`)
  bench    run the benchmarks; arguments go to them
  cost     build services without txsafe and with it, and print what it adds; arguments name services (all take 20 minutes)
  commands run every command that README.md names, as a reader would; arguments name other files
  api      write the public API of each crate into docs/api/; `api --check` compares
  help     print this

Options of each command:
  --postgres <major>   on PostgreSQL 14, 15 or newer: npm installs it below target/, unless it is there

Variables:
  DATABASE_URL    a PostgreSQL server to use, in place of one of our own
  TXSAFE_PG_BIN   the folder of the PostgreSQL programs to use";

/// Like most commands: 0 success, 1 failure, 2 called in a wrong way; otherwise what the child says.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    // `cost` lets cargo call this program in place of the compiler.
    if let Some(code) = cost::as_compiler(env::args_os().skip(1)) {
        return code;
    }
    let mut arguments = env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let mut arguments: Vec<OsString> = arguments.collect();
    let major = match npm::take_major(&mut arguments) {
        Ok(major) => major,
        Err(message) => return wrong_usage(&message),
    };
    let install = |need| install_missing(need, major);

    let outcome = match command.to_str() {
        Some("setup") => match arguments.as_slice() {
            [] => install(Need::Everything).map(drop),
            [flag] if flag == "--check" => check(Need::Everything, major),
            _ => return wrong_usage("setup takes no argument but --check and --postgres"),
        },
        Some("demo") => install(Need::Server.unless_given()).and_then(|server| {
            run::cargo(
                ["run", "--release", "-p", "txsafe-demo", "--"],
                &arguments,
                server.as_deref(),
            )
        }),
        // Whatever server is given: some tests crash theirs, or need one that speaks German.
        Some("test") => {
            install(Need::Everything).and_then(|server| test::run(arguments, server.as_deref()))
        }
        Some("faults") => install(Need::Server.unless_given()).and_then(|server| {
            let faults = ["run", "--release", "-p", "txsafe-conformance", "--"];
            run::cargo(faults, &arguments, server.as_deref())
        }),
        Some("bench") => install(Need::Server).and_then(|server| {
            let bench = ["run", "--release", "-p", "txsafe-benches", "--"];
            run::cargo(bench, &arguments, server.as_deref())
        }),
        Some("cost") => cost::run(&arguments),
        Some("api") => {
            let api = ["run", "--quiet", "--locked", "--manifest-path", "api/Cargo.toml", "--"];
            run::cargo(api, &arguments, None)
        }
        Some("commands") => commands::run(&arguments),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        _ if command.is_empty() => return wrong_usage("which command?"),
        _ => return wrong_usage(&format!("unknown command {}", command.display())),
    };

    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Installs what is missing, and PostgreSQL of a major version, if one was asked for: the folder of its programs.
fn install_missing(need: Need, major: Option<u32>) -> Result<Option<PathBuf>, String> {
    if major.is_some() {
        npm::refuse_another_server(|name| env::var_os(name))?;
    }
    setup::install_missing(need)?;
    major.map(npm::install_missing).transpose()
}

/// The same without installing anything.
fn check(need: Need, major: Option<u32>) -> Result<(), String> {
    setup::check(need)?;
    major.map(npm::check).transpose().map(drop)
}

fn wrong_usage(message: &str) -> ExitCode {
    eprintln!("error: {message}\n\n{USAGE}");
    ExitCode::from(WRONG_USAGE)
}
