//! Handing over to cargo.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Becomes `cargo <fixed> <more>` in the workspace's root; returns only if that fails.
///
/// On Unix the process is replaced. So the exit code is cargo's own, whatever ends it, and Ctrl-C has
/// nobody to kill before the child has cleaned up.
pub(crate) fn cargo<const N: usize>(fixed: [&str; N], more: &[OsString]) -> Result<(), String> {
    // Cargo tells what it runs which cargo it is.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(fixed).args(more).current_dir(workspace_root());
    replace_this_process(&mut command)
}

fn workspace_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

#[cfg(unix)]
fn replace_this_process(command: &mut Command) -> Result<(), String> {
    use std::os::unix::process::CommandExt as _;

    let error = command.exec();
    Err(format!("cargo can't be run: {error}"))
}

#[cfg(not(unix))]
fn replace_this_process(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cargo can't be run: {error}"))?;
    std::process::exit(status.code().unwrap_or(1))
}
