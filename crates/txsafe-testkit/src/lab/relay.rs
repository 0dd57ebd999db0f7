//! One connection through the lab.

use super::{
    fault::{At, Fault},
    message::{Message, read_startup},
    session::{Faults, Upstream},
    unit::{Part, Units},
};
use std::{
    future::{Future, pending},
    io,
    sync::atomic::{AtomicBool, Ordering},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, split},
    net::TcpStream,
    sync::{Mutex, watch},
    time::sleep,
};

/// The codes of the requests that come in place of a startup message.
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// Relays until either side ends, or a fault ends it.
pub(super) async fn relay<F>(
    mut client: TcpStream,
    connect: impl FnOnce() -> F,
    faults: &Faults,
) -> io::Result<()>
where
    F: Future<Output = io::Result<Box<dyn Upstream>>>,
{
    client.set_nodelay(true)?;
    let startup = loop {
        let startup = read_startup(&mut client).await?;
        let code = startup.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
        match code {
            // What a client would encrypt couldn't be read.
            Some(SSL | GSS) => client.write_all(b"N").await?,
            Some(CANCEL) => return connect().await?.write_all(&startup).await,
            _ => break startup,
        }
    };
    let fault = match faults.at(At::Connect) {
        Some(Fault::CutBefore) => return Ok(()),
        Some(Fault::Raise(code) | Fault::Fatal(code)) => {
            return client.write_all(&Message::fatal(code).bytes).await;
        }
        // Nothing is applied by connecting, and a password may still be asked for.
        Some(Fault::CutAfterApplied) => Some(Fault::CutRacing),
        fault => fault,
    };
    let server = connect().await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = split(server);
    let answers = Answers::new(to_client);
    let mut requests = Requests { to_server, answers: &answers, sent: 0, faults };
    tokio::select! {
        ended = requests.run(from_client, startup, fault) => ended,
        ended = answers.run(from_server) => ended,
    }
}

/// The way from the server to the client.
struct Answers<W> {
    to_client: Mutex<W>,
    /// How many requests have been answered.
    ready: watch::Sender<u64>,
    /// Answers are read and thrown away.
    withheld: AtomicBool,
    /// The server seems gone, and not even its end is told.
    vanished: AtomicBool,
}

impl<W: AsyncWrite + Unpin> Answers<W> {
    fn new(to_client: W) -> Self {
        Self {
            to_client: Mutex::new(to_client),
            ready: watch::Sender::new(0),
            withheld: AtomicBool::new(false),
            vanished: AtomicBool::new(false),
        }
    }

    async fn run(&self, mut from_server: impl AsyncRead + Unpin) -> io::Result<()> {
        let ended = loop {
            let message = match Message::read(&mut from_server).await {
                Ok(message) => message,
                Err(error) => break error,
            };
            if !self.withheld.load(Ordering::Acquire) {
                self.send(&message).await?;
            }
            if message.kind == b'Z' {
                self.ready.send_modify(|ready| *ready += 1);
            }
        };
        if self.vanished.load(Ordering::Acquire) {
            return pending().await;
        }
        self.to_client.lock().await.shutdown().await?;
        Err(ended)
    }

    async fn send(&self, message: &Message) -> io::Result<()> {
        self.to_client.lock().await.write_all(&message.bytes).await
    }

    /// Waits until so many requests have been answered.
    async fn wait_for(&self, sent: u64) -> io::Result<()> {
        let mut ready = self.ready.subscribe();
        ready.wait_for(|ready| *ready >= sent).await.map(drop).map_err(io::Error::other)
    }

    fn withhold(&self, withheld: bool) {
        self.withheld.store(withheld, Ordering::Release);
    }
}

/// The way from the client to the server.
struct Requests<'a, S, W> {
    to_server: S,
    answers: &'a Answers<W>,
    sent: u64,
    faults: &'a Faults,
}

impl<S: AsyncWrite + Unpin, W: AsyncWrite + Unpin> Requests<'_, S, W> {
    async fn run(
        &mut self,
        mut from_client: impl AsyncRead + Unpin,
        startup: Vec<u8>,
        fault: Option<Fault>,
    ) -> io::Result<()> {
        self.strike(At::Connect, fault, startup).await?;
        let mut units = Units::default();
        loop {
            let message = Message::read(&mut from_client).await?;
            let fault = match units.push(&message) {
                Part::Inside => continue,
                Part::PassOn => {
                    self.to_server.write_all(&std::mem::take(&mut units.bytes)).await?;
                    continue;
                }
                Part::End(place) => place.and_then(|at| Some((at, self.faults.at(at)?))),
            };
            let unit = std::mem::take(&mut units.bytes);
            match fault {
                None => self.forward(&unit).await?,
                Some((place, fault)) => {
                    self.answers.wait_for(self.sent).await?;
                    self.strike(place, Some(fault), unit).await?;
                }
            }
        }
    }

    /// Sends a unit, or what the fault makes of it, with nothing else in flight. An error breaks the connection.
    async fn strike(&mut self, place: At, fault: Option<Fault>, unit: Vec<u8>) -> io::Result<()> {
        let cut = || Err(io::ErrorKind::ConnectionAborted.into());
        match fault {
            None => self.forward(&unit).await,
            Some(Fault::CutBefore) => cut(),
            Some(Fault::CutRacing) => {
                self.forward(&unit).await?;
                cut()
            }
            Some(Fault::CutAfterApplied) => {
                self.unheard(&unit).await?;
                cut()
            }
            Some(Fault::Blackhole) => {
                self.answers.withhold(true);
                self.answers.vanished.store(true, Ordering::Release);
                self.forward(&unit).await
            }
            Some(Fault::Delay(delay)) => {
                sleep(delay).await;
                self.forward(&unit).await
            }
            Some(Fault::Raise(code)) => {
                if place == At::Commit {
                    // A server that refuses COMMIT has rolled back.
                    self.unheard(&Message::query("ROLLBACK").bytes).await?;
                    self.answers.withhold(false);
                }
                self.forward(&Message::raise(code).bytes).await
            }
            Some(Fault::Fatal(code)) => {
                self.answers.send(&Message::fatal(code)).await?;
                cut()
            }
        }
    }

    /// Sends a request and waits for its answer, which the client doesn't get.
    async fn unheard(&mut self, request: &[u8]) -> io::Result<()> {
        self.answers.withhold(true);
        self.forward(request).await?;
        self.answers.wait_for(self.sent).await
    }

    async fn forward(&mut self, request: &[u8]) -> io::Result<()> {
        self.sent += 1;
        self.to_server.write_all(request).await
    }
}
