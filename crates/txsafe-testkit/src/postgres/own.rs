use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cluster::Cluster;
use super::port;
use super::postmaster::{Postmaster, Shutdown};
use crate::{Error, url};

/// A server that we started, and may stop.
#[derive(Debug)]
pub(crate) struct OwnServer {
    // Declared before the cluster, so the server has ended before its folder is removed.
    postmaster: Mutex<Option<Postmaster>>,
    cluster: Cluster,
    port: u16,
    tcp: bool,
    url: String,
    socket_url: String,
}

impl OwnServer {
    pub(crate) fn start(cluster: Cluster, tcp: bool) -> Result<Self, Error> {
        let (postmaster, port) = start_on_a_free_port(&cluster, tcp)?;
        let socket_url = format!(
            "postgresql:///postgres?host={}&port={port}&user=postgres",
            url::percent_encode(&cluster.home().to_string_lossy())
        );
        let url = if tcp {
            format!("postgresql://postgres@127.0.0.1:{port}/postgres")
        } else {
            socket_url.clone()
        };
        Ok(Self { postmaster: Mutex::new(Some(postmaster)), cluster, port, tcp, url, socket_url })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn socket_url(&self) -> &str {
        &self.socket_url
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.cluster.data_dir()
    }

    pub(crate) fn stop_immediately(&self) -> Result<(), Error> {
        stop(&mut self.postmaster(), Shutdown::Immediate)
    }

    pub(crate) fn restart(&self) -> Result<(), Error> {
        let mut postmaster = self.postmaster();
        stop(&mut postmaster, Shutdown::Fast)?;
        *postmaster = Some(Postmaster::start(&self.cluster, self.port, self.tcp)?);
        Ok(())
    }

    pub(crate) fn kill_backend(&self, pid: i32) -> Result<(), Error> {
        let postmaster = self.postmaster();
        if !postmaster.as_ref().is_some_and(|postmaster| postmaster.is_parent_of(pid)) {
            return Err(Error::new(format!(
                "process {pid} is no backend of this server; pass what `SELECT pg_backend_pid()` \
                 says in the session to kill"
            )));
        }
        kill(Pid::from_raw(pid), Signal::SIGKILL)
            .map_err(|source| Error::caused(format!("backend {pid} can't be killed"), source))
    }

    fn postmaster(&self) -> MutexGuard<'_, Option<Postmaster>> {
        // The option is valid at any time, also after a panic elsewhere.
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stop(postmaster: &mut Option<Postmaster>, how: Shutdown) -> Result<(), Error> {
    postmaster.take().map_or(Ok(()), |postmaster| postmaster.shut_down(how))
}

/// Between looking for a free port and listening on it, somebody else may take it.
fn start_on_a_free_port(cluster: &Cluster, tcp: bool) -> Result<(Postmaster, u16), Error> {
    // Without TCP the port is but a part of the socket's name, in a folder of our own.
    const SOCKET_ONLY: u16 = 5432;
    const TRIES: usize = 5;

    let mut tries = 0;
    loop {
        tries += 1;
        let port = if tcp { port::free_port()? } else { SOCKET_ONLY };
        match Postmaster::start(cluster, port, tcp) {
            Ok(postmaster) => return Ok((postmaster, port)),
            // Where the port is still free, it was not the port that the server disliked.
            Err(error) if tries == TRIES || !tcp || port::is_free(port) => return Err(error),
            Err(_) => {}
        }
    }
}
