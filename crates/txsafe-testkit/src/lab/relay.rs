//! One connection through the lab.

use super::{
    fault::{At, Fault},
    locks::{Answer, LockWatch, Question},
    message::{Message, read_startup},
    session::{Faults, Upstream},
    unit::{Part, Request, Unit, Units},
};
use std::{
    collections::VecDeque,
    convert::Infallible,
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
    watch: Option<LockWatch>,
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
    let to_server = Mutex::new(to_server);
    let answers = Answers::new(to_client, &to_server);
    let one_by_one = watch.is_some();
    let mut requests = Requests { to_server: &to_server, answers: &answers, faults, one_by_one };
    tokio::select! {
        ended = requests.run(from_client, startup, fault) => ended,
        ended = answers.run(from_server, watch) => ended,
    }
}

/// The way from the server to the client.
struct Answers<'a, S, W> {
    to_client: Mutex<W>,
    /// For questions of the lab's own.
    to_server: &'a Mutex<S>,
    /// The requests that aren't answered yet: a client that sends more than the server takes has to wait.
    unanswered: watch::Sender<VecDeque<Request>>,
    /// Answers are read and thrown away.
    withheld: AtomicBool,
    /// The server seems gone, and not even its end is told.
    vanished: AtomicBool,
}

impl<'a, S: AsyncWrite + Unpin, W: AsyncWrite + Unpin> Answers<'a, S, W> {
    fn new(to_client: W, to_server: &'a Mutex<S>) -> Self {
        Self {
            to_client: Mutex::new(to_client),
            to_server,
            unanswered: watch::Sender::default(),
            withheld: AtomicBool::new(false),
            vanished: AtomicBool::new(false),
        }
    }

    async fn run(
        &self,
        from_server: impl AsyncRead + Unpin,
        watch: Option<LockWatch>,
    ) -> io::Result<()> {
        let Err(ended) = self.pass_on_all(from_server, watch).await;
        if self.vanished.load(Ordering::Acquire) {
            return pending().await;
        }
        self.to_client.lock().await.shutdown().await?;
        Err(ended)
    }

    async fn pass_on_all(
        &self,
        mut from_server: impl AsyncRead + Unpin,
        mut watch: Option<LockWatch>,
    ) -> io::Result<Infallible> {
        loop {
            let message = Message::read(&mut from_server).await?;
            match (message.kind, &mut watch) {
                (b'Z', Some(watch)) => self.look(&message, &mut from_server, watch).await?,
                (b'S', Some(watch)) => {
                    watch.hear_setting(&message);
                    self.pass_on(&message).await?;
                }
                (b'G', _) => {
                    self.copy_begins();
                    self.pass_on(&message).await?;
                }
                _ => self.pass_on(&message).await?,
            }
            if message.kind == b'Z' {
                self.unanswered.send_modify(|unanswered| drop(unanswered.pop_front()));
            }
        }
    }

    /// The client has its answer, but for the ReadyForQuery, and until it gets that, nothing is in flight: the lab's turn.
    async fn look(
        &self,
        ready: &Message,
        from_server: &mut (impl AsyncRead + Unpin),
        watch: &mut LockWatch,
    ) -> io::Result<()> {
        let request = self.unanswered.borrow().front().cloned().unwrap_or_default();
        let Some(question) = watch.question(&request, ready.status()) else {
            return self.pass_on(ready).await;
        };
        let mut answer = Answer::default();
        let asked = self.ask(question, from_server, &mut answer).await;
        match (asked, answer.error.take()) {
            // The server ends, and would have ended without the question.
            (Err(ended), last_words) => {
                self.pass_on(ready).await?;
                if let Some(last_words) = last_words {
                    self.pass_on(&last_words).await?;
                }
                Err(ended)
            }
            // The question was cancelled, or took too long, and the transaction has failed: as if the statement had.
            (Ok(now_ready), Some(error)) if question == Question::HeldTables => {
                self.pass_on(&error).await?;
                self.pass_on(&now_ready).await
            }
            (Ok(now_ready), _) => {
                watch.hear(question, &request.sql, &answer);
                self.pass_on(&now_ready).await
            }
        }
    }

    /// Asks the server; its ReadyForQuery.
    async fn ask(
        &self,
        question: Question,
        from_server: &mut (impl AsyncRead + Unpin),
        answer: &mut Answer,
    ) -> io::Result<Message> {
        // A server that isn't there any more has left its last words, which are read now.
        let _ = self.to_server.lock().await.write_all(&question.bytes()).await;
        loop {
            let message = Message::read(from_server).await?;
            match message.kind {
                b'Z' => return Ok(message),
                b'D' => answer.rows.push(message),
                b'E' => answer.error = Some(message),
                // Notifications and settings don't belong to any request.
                b'A' | b'S' => self.pass_on(&message).await?,
                _ => {}
            }
        }
    }

    /// During COPY the server ignores a Sync, such as the one right behind its statement. The one that counts follows the
    /// data. Source: PostgreSQL manual, section 55.2.6, "COPY Operations".
    fn copy_begins(&self) {
        self.unanswered.send_modify(|unanswered| {
            if let Some(request) = unanswered.front_mut() {
                request.awaits_sync = request.by_sync;
            }
        });
    }

    async fn pass_on(&self, message: &Message) -> io::Result<()> {
        if self.withheld.load(Ordering::Acquire) { Ok(()) } else { self.send(message).await }
    }

    async fn send(&self, message: &Message) -> io::Result<()> {
        self.to_client.lock().await.write_all(&message.bytes).await
    }

    /// Waits until all requests have been answered, or the one that is left wants more of the client.
    async fn wait(&self) -> io::Result<()> {
        let is_quiet = |unanswered: &VecDeque<Request>| {
            unanswered.is_empty() || (unanswered.len() == 1 && unanswered[0].awaits_sync)
        };
        let mut unanswered = self.unanswered.subscribe();
        unanswered.wait_for(is_quiet).await.map(drop).map_err(io::Error::other)
    }

    fn withhold(&self, withheld: bool) {
        self.withheld.store(withheld, Ordering::Release);
    }

    /// A request is sent.
    fn expect(&self, request: Request) {
        self.unanswered.send_modify(|unanswered| match unanswered.back_mut() {
            Some(copy) if copy.awaits_sync && request.by_sync => copy.awaits_sync = false,
            _ => unanswered.push_back(request),
        });
    }
}

/// The way from the client to the server.
struct Requests<'a, S, W> {
    to_server: &'a Mutex<S>,
    answers: &'a Answers<'a, S, W>,
    faults: &'a Faults,
    /// No request is sent before the last one has been answered.
    one_by_one: bool,
}

impl<S: AsyncWrite + Unpin, W: AsyncWrite + Unpin> Requests<'_, S, W> {
    async fn run(
        &mut self,
        mut from_client: impl AsyncRead + Unpin,
        startup: Vec<u8>,
        fault: Option<Fault>,
    ) -> io::Result<()> {
        self.strike(At::Connect, fault, Unit::other(startup)).await?;
        let mut units = Units::default();
        loop {
            let message = Message::read(&mut from_client).await?;
            let unit = match units.push(&message) {
                Part::Inside => continue,
                Part::PassOn(bytes) => {
                    self.send(&bytes).await?;
                    continue;
                }
                Part::Flush(bytes) => {
                    self.take_turns().await?;
                    self.send(&bytes).await?;
                    continue;
                }
                Part::End(unit) => unit,
            };
            match unit.place.and_then(|at| Some((at, self.faults.at(at)?))) {
                None => self.forward(unit).await?,
                Some((place, fault)) => {
                    self.answers.wait().await?;
                    self.strike(place, Some(fault), unit).await?;
                }
            }
        }
    }

    /// Sends a unit, or what the fault makes of it, with nothing else in flight. An error breaks the connection.
    async fn strike(&mut self, place: At, fault: Option<Fault>, unit: Unit) -> io::Result<()> {
        let cut = || Err(io::ErrorKind::ConnectionAborted.into());
        match fault {
            None => self.forward(unit).await,
            Some(Fault::CutBefore) => cut(),
            Some(Fault::CutRacing) => {
                self.forward(unit).await?;
                cut()
            }
            Some(Fault::CutAfterApplied) => {
                self.unheard(unit).await?;
                cut()
            }
            Some(Fault::Blackhole) => {
                self.answers.withhold(true);
                self.answers.vanished.store(true, Ordering::Release);
                self.forward(unit).await
            }
            Some(Fault::Delay(delay)) => {
                sleep(delay).await;
                self.forward(unit).await
            }
            Some(Fault::Raise(code)) => {
                if place == At::Commit {
                    // A server that refuses COMMIT has rolled back.
                    self.unheard(Unit::other(Message::query("ROLLBACK").bytes)).await?;
                    self.answers.withhold(false);
                }
                self.forward(Unit::other(Message::raise(code).bytes)).await
            }
            Some(Fault::Fatal(code)) => {
                self.answers.send(&Message::fatal(code)).await?;
                cut()
            }
        }
    }

    /// Sends a request and waits for its answer, which the client doesn't get.
    async fn unheard(&mut self, unit: Unit) -> io::Result<()> {
        self.answers.withhold(true);
        self.forward(unit).await?;
        self.answers.wait().await
    }

    async fn forward(&mut self, unit: Unit) -> io::Result<()> {
        self.take_turns().await?;
        self.answers.expect(unit.request);
        self.send(&unit.bytes).await
    }

    async fn take_turns(&self) -> io::Result<()> {
        if self.one_by_one { self.answers.wait().await } else { Ok(()) }
    }

    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.to_server.lock().await.write_all(bytes).await
    }
}
