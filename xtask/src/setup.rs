//! What building and testing needs: PostgreSQL's server programs, libpq's headers, and PgBouncer.

use std::env;
use std::io::{self, IsTerminal as _};

use crate::packages::{self, PackageManager};
use crate::postgres::{self, Programs};

/// What must be there before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// What the tests need.
    Everything,
    /// A server, and nothing in front of it.
    Server,
    /// Somebody else runs the server.
    LibpqOnly,
}

impl Need {
    /// Where `DATABASE_URL` names a server, none of our own is needed.
    pub(crate) fn unless_given(self) -> Self {
        match env::var_os("DATABASE_URL") {
            Some(url) if !url.is_empty() => Self::LibpqOnly,
            _ => self,
        }
    }
}

/// Looks; says what is there and what is missing.
pub(crate) fn check(need: Need) -> Result<(), String> {
    let missing = look(need);
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("{}; {}", missing.join("; "), cure()))
}

/// Looks, and installs what is missing where that can be done without asking.
pub(crate) fn install_missing(need: Need) -> Result<(), String> {
    let missing = look(need);
    if missing.is_empty() {
        return Ok(());
    }
    // A folder somebody chose is not ours to correct, and no package would end up there.
    if env::var_os("TXSAFE_PG_BIN").is_some()
        || PackageManager::detect() != Some(PackageManager::Apt)
    {
        return Err(format!("{}; {}", missing.join("; "), cure()));
    }
    eprintln!("Installing: {}", PackageManager::Apt.install_line());
    packages::install_with_apt()?;
    check(need)
}

/// Prints a line for each thing found, and returns one for each thing missing.
fn look(need: Need) -> Vec<String> {
    let programs = Programs::find();
    let mut missing = Vec::new();

    match (&programs, need) {
        (Ok(programs), Need::Everything | Need::Server) => found(&format!("{programs}")),
        (Err(reason), Need::Everything | Need::Server) => missing.push(reason.to_string()),
        (_, Need::LibpqOnly) => {
            found("the server that DATABASE_URL names; none of our own is needed")
        }
    }
    match postgres::libpq_header(programs.as_ref().ok()) {
        Some(header) => found(&format!("libpq's header {}", header.display())),
        None => missing.push("libpq's header libpq-fe.h was not found".to_owned()),
    }
    if need == Need::Everything {
        match packages::is_on_path("pgbouncer") {
            true => found("pgbouncer"),
            false => missing.push("pgbouncer was not found".to_owned()),
        }
    }
    missing
}

pub(crate) fn found(what: &str) {
    let mark = if io::stderr().is_terminal() { "\x1b[32m✓\x1b[0m" } else { "found" };
    eprintln!("{mark} {what}");
}

fn cure() -> String {
    match PackageManager::detect() {
        _ if env::var_os("TXSAFE_PG_BIN").is_some() => {
            "correct TXSAFE_PG_BIN, or unset it".to_owned()
        }
        Some(manager) => format!("run: {}", manager.install_line()),
        None => {
            "install PostgreSQL 14 or newer, with libpq's headers, in this system's way".to_owned()
        }
    }
}
