//! Sockets as nobody's client uses them.

use std::io::{Read as _, Write as _};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::case::{Call, Case, Failed, Wait, call};
use super::line;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "tcp.tokio.connect",
        "connect a socket, write a line, read the answer",
        Wait::Suspends,
        || Box::pin(connect()),
    ),
    Case::new(
        "tcp.tokio.open",
        "write a line, read the answer, on an open socket",
        Wait::Suspends,
        || Box::pin(open()),
    ),
    Case::new(
        "tcp.std.connect",
        "connect a blocking socket, write a line, read the answer",
        Wait::Blocks,
        || Box::pin(connect_blocking()),
    ),
    Case::new(
        "tcp.std.open",
        "write a line, read the answer, on an open blocking socket",
        Wait::Blocks,
        || Box::pin(open_blocking()),
    ),
];

const LINE: &[u8] = b"hello\n";

async fn connect() -> Result<Call, Failed> {
    let server = line::start()?;
    Ok(call(async move {
        let mut stream = TcpStream::connect(server.address()).await?;
        echo(&mut stream).await?;
        Ok((stream, server))
    }))
}

async fn open() -> Result<Call, Failed> {
    let server = line::start()?;
    let mut stream = TcpStream::connect(server.address()).await?;
    Ok(call(async move {
        echo(&mut stream).await?;
        Ok((stream, server))
    }))
}

async fn connect_blocking() -> Result<Call, Failed> {
    let server = line::start()?;
    Ok(call(async move {
        let mut stream = std::net::TcpStream::connect(server.address())?;
        echo_blocking(&mut stream)?;
        Ok((stream, server))
    }))
}

async fn open_blocking() -> Result<Call, Failed> {
    let server = line::start()?;
    let mut stream = std::net::TcpStream::connect(server.address())?;
    Ok(call(async move {
        echo_blocking(&mut stream)?;
        Ok((stream, server))
    }))
}

async fn echo(stream: &mut TcpStream) -> Result<(), Failed> {
    stream.write_all(LINE).await?;
    let mut answer = [0; LINE.len()];
    stream.read_exact(&mut answer).await?;
    Ok(())
}

fn echo_blocking(stream: &mut std::net::TcpStream) -> Result<(), Failed> {
    stream.write_all(LINE)?;
    let mut answer = [0; LINE.len()];
    stream.read_exact(&mut answer)?;
    Ok(())
}
