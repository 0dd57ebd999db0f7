//! Finding the parts of PostgreSQL that are already there.

// The very file that the test kit finds its servers with: setup can't disagree with the tests.
#[path = "../../crates/txsafe-testkit/src/postgres/programs.rs"]
#[expect(dead_code, reason = "the test kit uses more of it")]
mod programs;

use std::path::PathBuf;
use std::process::Command;

pub(crate) use programs::{OLDEST_MAJOR, Programs};

/// The header of libpq, PostgreSQL's client library, which Diesel links.
pub(crate) fn libpq_header(programs: Option<&Programs>) -> Option<PathBuf> {
    let server_pg_config = programs.map(|programs| programs.path("pg_config"));
    [Some(PathBuf::from("pg_config")), server_pg_config]
        .into_iter()
        .flatten()
        .filter_map(named_by)
        .chain(USUAL_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join("libpq-fe.h"))
        .find(|header| header.is_file())
}

const USUAL_FOLDERS: &[&str] = &[
    "/usr/include/postgresql",
    "/usr/include",
    "/usr/include/pgsql",
    "/usr/local/include",
    "/usr/local/include/postgresql",
    "/usr/local/pgsql/include",
    "/opt/homebrew/opt/libpq/include",
    "/usr/local/opt/libpq/include",
];

fn named_by(pg_config: PathBuf) -> Option<PathBuf> {
    let output = Command::new(pg_config).arg("--includedir").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(folder.trim_end()))
}
