use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cluster::Cluster;
use crate::Error;

/// How often we look whether the server is up, or down; it has no way to tell us.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Recovery after a crash may take a while on a slow disk.
const LONGEST_START: Duration = Duration::from_secs(60);
const LONGEST_STOP: Duration = Duration::from_secs(60);

/// The server's first process, parent of all its backends. Shut down at once when dropped.
#[derive(Debug)]
pub(crate) struct Postmaster {
    // Not waited for while we hold it, so nobody else can be given its process id.
    process: Child,
}

/// How to end a server (PostgreSQL manual, section 19.5).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shutdown {
    /// Sessions are ended, their transactions rolled back, and all is written to disk.
    Fast,
    /// Everything ends at once, like in a crash; the next start recovers.
    Immediate,
}

impl Postmaster {
    /// Starts the server on `port` and waits until it takes connections.
    pub(crate) fn start(cluster: &Cluster, port: u16, tcp: bool) -> Result<Self, Error> {
        let mut command: Command = cluster.postmaster_command()?;
        command.arg("-p").arg(port.to_string());
        command.arg("-c").arg(format!("listen_addresses={}", if tcp { "127.0.0.1" } else { "" }));
        let process = command.spawn().map_err(|source| cluster.spawn_error("postgres", source))?;

        let mut postmaster = Self { process };
        postmaster.wait_until_ready(cluster)?;
        Ok(postmaster)
    }

    pub(crate) fn is_parent_of(&self, pid: i32) -> bool {
        parent_of(pid) == Some(self.pid().as_raw())
    }

    pub(crate) fn shut_down(mut self, how: Shutdown) -> Result<(), Error> {
        self.signal(how)?;
        match self.exit_within(LONGEST_STOP)? {
            Some(_) => Ok(()),
            None => Err(Error::new(format!(
                "the server did not shut down within {LONGEST_STOP:?}; it is being stopped at once"
            ))),
        }
    }

    fn wait_until_ready(&mut self, cluster: &Cluster) -> Result<(), Error> {
        let deadline = Instant::now() + LONGEST_START;
        while !self.says_ready(cluster.data_dir()) {
            if let Some(status) = self.exit()? {
                return Err(Error::new(format!(
                    "the server refused to start ({status}); correct what its log complains \
                     about:\n{}",
                    cluster.end_of_log()
                )));
            }
            if Instant::now() >= deadline {
                return Err(Error::new(format!(
                    "the server was not ready after {LONGEST_START:?}; its log ends with:\n{}",
                    cluster.end_of_log()
                )));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// `postmaster.pid` holds the process id in its first line and the state in its eighth. A file of
    /// an earlier server that crashed has another process id.
    fn says_ready(&self, data_dir: &Path) -> bool {
        let Ok(file) = fs::read_to_string(data_dir.join("postmaster.pid")) else { return false };
        let mut lines = file.lines().map(str::trim);
        lines.next() == Some(self.process.id().to_string().as_str())
            && lines.nth(6) == Some("ready")
    }

    fn signal(&self, how: Shutdown) -> Result<(), Error> {
        let signal = match how {
            Shutdown::Fast => Signal::SIGINT,
            Shutdown::Immediate => Signal::SIGQUIT,
        };
        kill(self.pid(), signal)
            .map_err(|source| Error::caused("the server can't be signalled", source))
    }

    fn exit_within(&mut self, patience: Duration) -> Result<Option<ExitStatus>, Error> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.exit()?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn exit(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.process
            .try_wait()
            .map_err(|source| Error::caused("the server's process can't be waited for", source))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        // A process that was waited for may have left its id to somebody else.
        if let Ok(None) = self.process.try_wait() {
            let _ = self.signal(Shutdown::Immediate);
            if let Ok(None) = self.exit_within(LONGEST_STOP) {
                let _ = self.process.kill();
                let _ = self.process.wait();
            }
        }
    }
}

/// Linux always has `/proc` but not always `ps`; other systems have it the other way round.
fn parent_of(pid: i32) -> Option<i32> {
    if let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
        return status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    }
    let output = Command::new("ps").args(["-o", "ppid=", "-p", &pid.to_string()]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}
