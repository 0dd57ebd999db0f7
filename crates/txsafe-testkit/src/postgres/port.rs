use std::net::{Ipv4Addr, TcpListener};

use crate::Error;

/// A TCP port on 127.0.0.1 that nobody listens on right now.
///
/// It is taken from below the range that systems give to outgoing connections (from 32768 on Linux,
/// 49152 elsewhere). There, a client that keeps calling a server which is being restarted would
/// sooner or later be given the server's own port, talk to itself, and keep the server out.
pub(crate) fn free_port() -> Result<u16, Error> {
    const TRIES: usize = 100;
    (0..TRIES).map(|_| fastrand::u16(15_000..32_000)).find(|&port| is_free(port)).ok_or_else(|| {
        Error::new(format!(
            "{TRIES} random ports between 15000 and 32000 were all in use on 127.0.0.1; end what \
             listens there, or use `.tcp(false)`"
        ))
    })
}

pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
