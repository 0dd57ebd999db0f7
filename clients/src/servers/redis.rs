//! Redis, which says OK to every command.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::plain::{Server, hesitate};

/// Starts one.
///
/// # Errors
///
/// As [`Server::start`].
pub fn start() -> io::Result<Server> {
    Server::start(serve)
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while skip_command(&mut stream).await? {
        hesitate().await;
        stream.write_all(b"+OK\r\n").await?;
    }
    Ok(())
}

/// A command is an array of bulk strings: `*<how many>`, and for each `$<its length>` and its bytes.
async fn skip_command(stream: &mut BufReader<TcpStream>) -> io::Result<bool> {
    let Some(words) = number_after(b'*', stream).await? else { return Ok(false) };
    for _ in 0..words {
        let length = number_after(b'$', stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        stream.read_exact(&mut vec![0; length + b"\r\n".len()]).await?;
    }
    Ok(true)
}

async fn number_after(mark: u8, stream: &mut BufReader<TcpStream>) -> io::Result<Option<usize>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let number = line.trim_end().strip_prefix(char::from(mark)).and_then(|n| n.parse().ok());
    number.map(Some).ok_or_else(|| io::Error::other(format!("not a command: {line:?}")))
}
