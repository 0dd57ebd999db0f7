use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::Account;
use super::locale;
use super::programs::Programs;
use super::reaper::Reaper;
use super::translation;
use crate::Error;

/// A data directory, and all that is needed to start a server on it. Removed when dropped.
///
/// The layout of its home: `data/`, `server.log`, the socket, and a compiled locale if one was needed.
#[derive(Debug)]
pub(crate) struct Cluster {
    account: Account,
    programs: Programs,
    reaper: Reaper,
    data_dir: PathBuf,
    locale_folder: Option<PathBuf>,
}

impl Cluster {
    /// Runs `initdb`, of a server that has its messages in the language of `locale`, if one is named.
    pub(crate) fn create(locale: Option<&str>) -> Result<Self, Error> {
        let mut programs =
            Programs::find().map_err(|missing| Error::missing_programs(&missing.to_string()))?;
        let account = Account::for_servers()?;
        let reaper = Reaper::start(&account)?;
        let data_dir = reaper.home().join("data");
        let mut locale_folder = None;
        if let Some(name) = locale {
            locale_folder = locale::provide(name, &account, &reaper)?;
            programs = translation::programs(name, programs, &account, locale_folder.as_deref())?;
        }
        let cluster = Self { account, programs, reaper, data_dir, locale_folder };
        cluster.init()?;
        Ok(cluster)
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where the socket is.
    pub(crate) fn home(&self) -> &Path {
        self.reaper.home()
    }

    /// Appends lines to `postgresql.conf`.
    pub(crate) fn configure(&self, lines: &str) -> Result<(), Error> {
        // Appending keeps the file's owner when we are root.
        OpenOptions::new()
            .append(true)
            .open(self.data_dir.join("postgresql.conf"))
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .map_err(|source| Error::caused("postgresql.conf can't be written", source))
    }

    /// The command that becomes the postmaster.
    pub(crate) fn postmaster_command(&self) -> Result<Command, Error> {
        let log = self
            .open_log()
            .and_then(|log| Ok((log.try_clone()?, log)))
            .map_err(|source| Error::caused("the server's log can't be opened", source))?;
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(&self.data_dir)
            .arg("-k")
            .arg(self.home())
            .stdout(log.0)
            .stderr(log.1);
        if let Some(folder) = &self.locale_folder {
            command.env("LOCPATH", folder);
        }
        Ok(command)
    }

    /// Explains why `program` could not be started.
    pub(crate) fn spawn_error(&self, program: &str, source: io::Error) -> Error {
        let program = self.programs.path(program);
        self.account.spawn_error(&program.display().to_string(), source)
    }

    /// The last lines of the server's log, for error messages.
    pub(crate) fn end_of_log(&self) -> String {
        const LINES: usize = 10;
        let log = fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn init(&self) -> Result<(), Error> {
        let output = self
            .command("initdb")
            .arg("-D")
            .arg(&self.data_dir)
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"])
            .args(["--no-sync", "--no-instructions"])
            .output()
            .map_err(|source| self.spawn_error("initdb", source))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::new(format!(
            "initdb failed ({}) in {}; free some room there or set TMPDIR. It said:\n{}",
            output.status,
            self.home().display(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        )))
    }

    /// A command of PostgreSQL's, in the server's account, folder and process group.
    fn command(&self, program: &str) -> Command {
        let mut command = self.account.command(self.programs.path(program));
        // The account may not be able to read the folder we are in.
        command.current_dir(self.home());
        self.reaper.adopt(&mut command);
        command
    }

    fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.log_path())
    }

    fn log_path(&self) -> PathBuf {
        self.home().join("server.log")
    }
}
