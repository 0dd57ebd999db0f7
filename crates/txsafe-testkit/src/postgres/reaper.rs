use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::account::Account;
use crate::Error;

/// The longest path of a folder that we make sockets under: `sun_path` holds 104 bytes on macOS and
/// the BSDs (108 on Linux), of which we need up to 30 for `/txsafe-XXXXXX/.s.PGSQL.65535` and its NUL.
const LONGEST_PLACE: usize = 104 - 30;

/// A small child process that outlives us by a moment, to stop the server and remove its folder.
///
/// It does so as soon as the pipe between us closes: when this value is dropped, and also when the
/// process panics, aborts, is interrupted or is killed by SIGKILL. The pipe's write end closes on
/// `exec`, so no other child can keep it open.
#[derive(Debug)]
pub(crate) struct Reaper {
    process: Child,
    home: PathBuf,
}

impl Reaper {
    /// Starts the reaper, and lets it make the folder that it will remove. There is no moment at which
    /// the folder exists and nobody feels responsible.
    pub(crate) fn start(account: &Account) -> Result<Self, Error> {
        let places = places();
        let mut process = account
            .command("/bin/sh")
            // Through the environment, so that a list of processes stays legible.
            .env("TXSAFE_REAPER", include_str!("reaper.sh"))
            .args(["-c", r#"eval "$TXSAFE_REAPER""#, "txsafe-reaper"])
            .args(&places)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| account.spawn_error("/bin/sh", source))?;

        let mut home = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut home).map_err(|source| {
                Error::caused("the reaper process did not name its folder", source)
            })?;
        }
        let home = PathBuf::from(home.trim_end_matches('\n'));
        let mut reaper = Self { process, home };
        if reaper.home.as_os_str().is_empty() {
            reaper.reap();
            return Err(Error::new(format!(
                "user {} can make a folder in none of {places:?}; set TMPDIR to a place that this \
                 user can reach, at most {LONGEST_PLACE} bytes long",
                account.name()
            )));
        }
        Ok(reaper)
    }

    /// The folder that goes away with the reaper; it belongs to the server's account.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Puts `command` into the process group that the reaper will clear.
    pub(crate) fn adopt<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.process_group(self.process.id().cast_signed())
    }

    /// Has server and folder removed, and waits for it.
    pub(crate) fn reap(&mut self) {
        drop(self.process.stdin.take());
        // The status says nothing: the reaper's last act is to end its whole group, itself included.
        let _ = self.process.wait();
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.reap();
    }
}

/// Where the folder may be made, best first.
fn places() -> Vec<PathBuf> {
    let mut places = vec![env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    places.retain(|place| place.is_absolute() && place.as_os_str().len() <= LONGEST_PLACE);
    places.dedup();
    places
}
