//! A mail server that takes every mail.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
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
    let mut line = String::new();
    let mut in_mail = false;

    say(&mut stream, "220 localhost").await?;
    while stream.read_line(&mut line).await? > 0 {
        let words = line.trim_end().to_ascii_uppercase();
        line.clear();
        if in_mail {
            in_mail = words != ".";
            if in_mail {
                continue;
            }
        }
        match words.split(' ').next() {
            Some("DATA") => {
                in_mail = true;
                say(&mut stream, "354 the mail, then a dot").await?;
            }
            Some("QUIT") => return say(&mut stream, "221 bye").await,
            _ => say(&mut stream, "250 fine").await?,
        }
    }
    Ok(())
}

async fn say(stream: &mut BufReader<TcpStream>, answer: &str) -> io::Result<()> {
    hesitate().await;
    stream.write_all(format!("{answer}\r\n").as_bytes()).await
}
