//! A relay between client and server that does one thing wrong, once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
};

/// What the relay does to the first simple query one of whose statements starts with the given text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Cuts the connection; the server never sees the query.
    CutBefore,
    /// Lets the server answer, keeps the answer, and cuts the connection.
    CutAfter,
    /// Keeps the query, and the connection, for ever.
    Swallow,
    /// Sends another query in its place.
    Replace(&'static str),
}

/// A relay on a port of its own; it ends with its runtime.
pub(crate) struct Relay {
    pub(crate) port: u16,
    armed: Arc<AtomicBool>,
    connections: Arc<AtomicU32>,
    gate: watch::Sender<bool>,
}

impl Relay {
    pub(crate) async fn start(server: u16, at: &'static str, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (armed, connections) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let (gate, is_open) = watch::channel(true);
        let relay = Self { port, armed: Arc::clone(&armed), connections, gate };
        let count = Arc::clone(&relay.connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                if !armed.load(Ordering::Relaxed) {
                    let mut is_open = is_open.clone();
                    let _ = is_open.wait_for(|is_open| *is_open).await;
                }
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(relay_one(client, server, at, fault, Arc::clone(&armed)));
            }
        });
        relay
    }

    /// Whether the fault has been done.
    pub(crate) fn is_done(&self) -> bool {
        !self.armed.load(Ordering::Relaxed)
    }

    /// Whether connections that are made after the fault get through.
    pub(crate) fn set_gate(&self, is_open: bool) {
        self.gate.send_replace(is_open);
    }

    /// How many connections were made through it.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn relay_one(
    client: TcpStream,
    server: TcpStream,
    at: &'static str,
    fault: Fault,
    armed: Arc<AtomicBool>,
) {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let keep_next = Arc::new(AtomicBool::new(false));
    let answers = tokio::spawn(pass(from_server, to_client, Arc::clone(&keep_next)));
    let mut is_startup = true;
    while let Some(message) = read_message(&mut from_client, is_startup).await {
        is_startup = false;
        let is_it = message[0] == b'Q' && says(&message[5..], at);
        if !(is_it && armed.swap(false, Ordering::Relaxed)) {
            if to_server.write_all(&message).await.is_err() {
                break;
            }
            continue;
        }
        match fault {
            Fault::CutBefore => break,
            Fault::Swallow => {
                // Until the client gives up.
                while read_message(&mut from_client, false).await.is_some() {}
                break;
            }
            Fault::Replace(sql) => to_server.write_all(&query(sql)).await.unwrap(),
            Fault::CutAfter => {
                keep_next.store(true, Ordering::Relaxed);
                to_server.write_all(&message).await.unwrap();
                answers.await.unwrap();
                return;
            }
        }
    }
    answers.abort();
}

/// Whether one of the statements of `sql` starts with `at`, for queries of the library's own, whose literals have no `; `.
fn says(sql: &[u8], at: &str) -> bool {
    String::from_utf8_lossy(sql).split("; ").any(|statement| statement.starts_with(at))
}

/// One message of the client, as it was sent.
async fn read_message(from: &mut OwnedReadHalf, is_startup: bool) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    if !is_startup {
        message.push(from.read_u8().await.ok()?);
    }
    let length = from.read_u32().await.ok()?;
    message.extend(length.to_be_bytes());
    let start = message.len();
    message.resize(start + length as usize - 4, 0);
    from.read_exact(&mut message[start..]).await.ok()?;
    Some(message)
}

fn query(sql: &str) -> Vec<u8> {
    let mut message = vec![b'Q'];
    message.extend((sql.len() as u32 + 5).to_be_bytes());
    message.extend(sql.as_bytes());
    message.push(0);
    message
}

/// Passes answers on, up to one that is to be kept.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, keep_next: Arc<AtomicBool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n) = from.read(&mut buffer).await {
        let is_over = n == 0 || keep_next.load(Ordering::Relaxed);
        if is_over || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
