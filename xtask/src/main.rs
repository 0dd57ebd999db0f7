//! `cargo xtask …`: one command each for setting up, showing, testing and measuring txsafe.
//!
//! No dependencies, so that it builds and helps on a machine with nothing but Rust.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks that way")]

mod packages;
mod postgres;
mod run;
mod setup;
mod test;

use std::env;
use std::ffi::OsString;
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
  help     print this

Variables:
  DATABASE_URL    a PostgreSQL server to use, in place of one of our own
  TXSAFE_PG_BIN   the folder of the PostgreSQL programs to use";

/// Like most commands: 0 success, 1 failure, 2 called in a wrong way; otherwise what the child says.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();

    let outcome = match command.to_str() {
        Some("setup") => match arguments.as_slice() {
            [] => setup::install_missing(Need::Everything),
            [flag] if flag == "--check" => setup::check(Need::Everything),
            _ => return wrong_usage("setup takes no argument but --check"),
        },
        Some("demo") => setup::install_missing(Need::Server.unless_given())
            .and_then(|()| run::cargo(["run", "--release", "-p", "txsafe-demo", "--"], &arguments)),
        // Whatever server is given: some tests crash theirs, or need one that speaks German.
        Some("test") => {
            setup::install_missing(Need::Everything).and_then(|()| test::run(arguments))
        }
        Some("faults") => setup::install_missing(Need::Server.unless_given()).and_then(|()| {
            run::cargo(["run", "--release", "-p", "txsafe-conformance", "--"], &arguments)
        }),
        Some("bench") => setup::install_missing(Need::Server).and_then(|()| {
            run::cargo(["run", "--release", "-p", "txsafe-benches", "--"], &arguments)
        }),
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

fn wrong_usage(message: &str) -> ExitCode {
    eprintln!("error: {message}\n\n{USAGE}");
    ExitCode::from(WRONG_USAGE)
}
