//! Handing over to cargo.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Becomes `cargo <fixed> <more>` in the workspace's root, with servers of the programs in `server`; returns only if that
/// fails.
///
/// On Unix the process is replaced. So the exit code is cargo's own, whatever ends it, and Ctrl-C has
/// nobody to kill before the child has cleaned up.
pub(crate) fn cargo<const N: usize>(
    fixed: [&str; N],
    more: &[OsString],
    server: Option<&Path>,
) -> Result<(), String> {
    replace_this_process(&mut command(&fixed, more, server))
}

/// Runs `cargo <fixed> <more>` there, and returns for what comes next; if it fails, nothing does, and the exit code is
/// cargo's own.
pub(crate) fn cargo_first<const N: usize>(
    fixed: [&str; N],
    more: &[OsString],
    server: Option<&Path>,
) -> Result<(), String> {
    let status = command(&fixed, more, server).status().map_err(not_run)?;
    if status.success() {
        return Ok(());
    }
    std::process::exit(status.code().unwrap_or(1))
}

/// Where cargo puts what it makes, and we what we fetch.
pub(crate) fn target_folder() -> PathBuf {
    let folder = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace_root().join(folder)
}

/// Cargo for a package of its own, whose target folder is in it.
pub(crate) fn cargo_in(folder: &Path) -> Command {
    let mut command = cargo_itself();
    command.current_dir(folder).env_remove("CARGO_TARGET_DIR");
    command
}

/// Cargo in the workspace's root.
pub(crate) fn cargo_here() -> Command {
    let mut command = cargo_itself();
    command.current_dir(workspace_root());
    command
}

fn cargo_itself() -> Command {
    // Cargo tells what it runs which cargo it is.
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn command(fixed: &[&str], more: &[OsString], server: Option<&Path>) -> Command {
    let mut command = cargo_here();
    command.args(fixed).args(more);
    if let Some(server) = server {
        command.env("TXSAFE_PG_BIN", server);
    }
    command
}

pub(crate) fn workspace_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

#[cfg(unix)]
fn replace_this_process(command: &mut Command) -> Result<(), String> {
    use std::os::unix::process::CommandExt as _;

    Err(not_run(command.exec()))
}

#[cfg(not(unix))]
fn replace_this_process(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(not_run)?;
    std::process::exit(status.code().unwrap_or(1))
}

fn not_run(error: io::Error) -> String {
    format!("cargo can't be run: {error}")
}
