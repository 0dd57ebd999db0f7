//! Messages of the protocol, whole.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The server's own limit.
const LONGEST: usize = 1 << 30;

/// One message: its type, and all its bytes.
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) bytes: Vec<u8>,
}

impl Message {
    /// Reads the next message.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let kind = stream.read_u8().await?;
        let rest = read_counted(stream).await?;
        let mut bytes = Vec::with_capacity(rest.len() + 1);
        bytes.push(kind);
        bytes.extend(rest);
        Ok(Self { kind, bytes })
    }

    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(5..).unwrap_or_default()
    }

    /// A simple query.
    pub(super) fn query(sql: &str) -> Self {
        Self::new(b'Q', &[sql.as_bytes(), b"\0"].concat())
    }

    /// A simple query that fails with this SQLSTATE, which is one.
    pub(super) fn raise(sqlstate: &str) -> Self {
        Self::query(&format!(
            "DO $raise$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{sqlstate}'; END $raise$"
        ))
    }

    /// A FATAL ErrorResponse.
    pub(super) fn fatal(sqlstate: &str) -> Self {
        let fields = format!("SFATAL\0VFATAL\0C{sqlstate}\0Minjected\0\0");
        Self::new(b'E', fields.as_bytes())
    }

    fn new(kind: u8, body: &[u8]) -> Self {
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        Self { kind, bytes: [&[kind], &length.to_be_bytes()[..], body].concat() }
    }
}

/// The first message of a client, which has no type.
pub(super) async fn read_startup(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    read_counted(stream).await
}

/// A length that counts itself, and what it counts.
async fn read_counted(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let rest = (length as usize).checked_sub(4).filter(|rest| *rest <= LONGEST);
    let rest = rest.ok_or_else(|| io::Error::other("a message with an impossible length"))?;
    let mut bytes = length.to_be_bytes().to_vec();
    // Grows with what arrives, not with what is announced.
    stream.take(rest as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < rest + 4 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}
