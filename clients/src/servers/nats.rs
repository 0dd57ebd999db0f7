//! NATS without subscribers: takes every message.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::plain::{Server, hesitate};

const INFO: &[u8] = b"INFO {\"server_id\":\"loopback\",\"server_name\":\"loopback\",\"version\":\"2.10.0\",\
    \"go\":\"\",\"host\":\"127.0.0.1\",\"port\":4222,\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n";

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
    let mut line = String::new();

    hesitate().await;
    stream.write_all(INFO).await?;
    while stream.read_line(&mut line).await? > 0 {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("PING") => {
                hesitate().await;
                stream.write_all(b"PONG\r\n").await?;
            }
            // `PUB <subject> [<answer to>] <length>`, then the message.
            Some("PUB" | "HPUB") => {
                let length: usize =
                    words.next_back().unwrap_or_default().parse().map_err(io::Error::other)?;
                stream.read_exact(&mut vec![0; length + b"\r\n".len()]).await?;
            }
            // Of the rest, nothing wants an answer.
            _ => {}
        }
        line.clear();
    }
    Ok(())
}
