use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

use crate::Error;

/// The operating system's user that the server runs as.
///
/// PostgreSQL refuses to run as root, so root borrows the account `postgres`, else `nobody`; everybody
/// else stays who they are.
#[derive(Debug)]
pub(crate) struct Account {
    name: String,
    switch_to: Option<(u32, u32)>,
}

impl Account {
    pub(crate) fn for_servers() -> Result<Self, Error> {
        if !geteuid().is_root() {
            let name = env::var("USER").unwrap_or_else(|_| geteuid().to_string());
            return Ok(Self { name, switch_to: None });
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self {
                switch_to: Some((user.uid.as_raw(), user.gid.as_raw())),
                name: user.name,
            })
            .ok_or_else(|| {
                Error::new(
                    "PostgreSQL does not run as root, and there is neither a user `postgres` nor \
                     `nobody` to run it as; make one with `useradd --system postgres`",
                )
            })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs as this account, reads nothing and speaks English.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.switch_to {
            command.uid(uid).gid(gid);
        }
        // PGDATA, PGPORT, PGOPTIONS and the like speak of somebody else's server.
        for (name, _) in env::vars_os() {
            let name_bytes = name.as_encoded_bytes();
            if [&b"PG"[..], b"LC_", b"LANG"].iter().any(|prefix| name_bytes.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    pub(crate) fn spawn_error(&self, program: &str, source: io::Error) -> Error {
        let cure = match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "that user must be able to reach and execute it, and root must be allowed to switch \
                 to that user (CAP_SETUID); TXSAFE_PG_BIN can name another folder"
            }
            _ => "check that it is installed",
        };
        Error::caused(format!("{program} can't be run as user {}: {cure}", self.name), source)
    }
}
