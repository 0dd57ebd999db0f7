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
            "DO $raise$ BEGIN RAISE EXCEPTION '{}' USING ERRCODE = '{sqlstate}'; END $raise$",
            words_of(sqlstate),
        ))
    }

    /// A FATAL ErrorResponse.
    pub(super) fn fatal(sqlstate: &str) -> Self {
        let words = words_of(sqlstate);
        let fields = format!("SFATAL\0VFATAL\0C{sqlstate}\0M{words}\0\0");
        Self::new(b'E', fields.as_bytes())
    }

    /// What ReadyForQuery says of the transaction: `I` that there is none, `T` that one is open, `E` that it has failed.
    pub(super) fn status(&self) -> Option<u8> {
        self.body().first().copied()
    }

    /// The columns of a DataRow, as texts.
    pub(super) fn columns(&self) -> Vec<Option<String>> {
        let mut rest = self.body().get(2..).unwrap_or_default();
        let mut columns = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let (column, behind) = behind.split_at(length.unwrap_or(0).min(behind.len()));
            columns.push(length.map(|_| String::from_utf8_lossy(column).into_owned()));
            rest = behind;
        }
        columns
    }

    pub(super) fn new(kind: u8, body: &[u8]) -> Self {
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        Self { kind, bytes: [&[kind], &length.to_be_bytes()[..], body].concat() }
    }
}

/// What the server says with this SQLSTATE, in English: some drivers show no code, and are read by these words.
#[must_use]
pub fn words_of(sqlstate: &str) -> &'static str {
    match sqlstate {
        "23505" => "duplicate key value violates unique constraint \"injected\"",
        "25006" => "cannot execute INSERT in a read-only transaction",
        "26000" => "prepared statement \"injected\" does not exist",
        "28P01" => "password authentication failed for user \"injected\"",
        "40001" => "could not serialize access due to concurrent update",
        "40P01" => "deadlock detected",
        "53100" => "could not extend file \"injected\": No space left on device",
        "53300" => "sorry, too many clients already",
        "55P03" => "canceling statement due to lock timeout",
        "57014" => "canceling statement due to statement timeout",
        "57P01" => "terminating connection due to administrator command",
        "57P03" => "the database system is starting up",
        _ => "injected",
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
