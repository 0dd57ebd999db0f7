//! A TCP relay in front of the server: it counts the answers that are waited for, and makes the server distant.
//!
//! A *flight* begins when a client sends while nothing that it asked is unanswered. Requests sent on top of unanswered
//! ones are part of the same flight, in however many pieces they arrive: the client didn't wait for anything between
//! them. So the flights of a transaction are the round trips that it waited for.
//!
//! That holds if no answer can overtake a request which is sent without waiting for it. With a delay of milliseconds
//! none does: the request follows within microseconds.
//!
//! Threads, not tasks: sleeping threads are punctual to a few hundredths of a millisecond, where tokio's timers round
//! up to the next whole one, and the measured runtime has nothing to do with them.

use crate::Result;
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// A relay that runs until the process ends.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    flights: Arc<AtomicU64>,
}

impl Relay {
    /// Listens on a free port of 127.0.0.1, for connections to `server` that is `delay` away.
    pub(crate) fn start(server: (String, u16), delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let relay = Self { port: listener.local_addr()?.port(), flights: Arc::default() };
        let flights = Arc::clone(&relay.flights);
        thread::spawn(move || {
            for client in listener.incoming().map_while(io::Result::ok) {
                // A client that can't be connected sees its connection closed.
                let _ = connect(client, &server, delay, &flights);
            }
        });
        Ok(relay)
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The flights so far, of all connections.
    pub(crate) fn flights(&self) -> u64 {
        self.flights.load(Ordering::Relaxed)
    }
}

/// Connects `client` through.
fn connect(
    client: TcpStream,
    server: &(String, u16),
    delay: Duration,
    flights: &Arc<AtomicU64>,
) -> io::Result<()> {
    let server = TcpStream::connect((server.0.as_str(), server.1))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let asked = Arc::new(Mutex::new(Talk::new(Arc::clone(flights))));
    let answered = Arc::clone(&asked);
    let (to_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let asks = move |bytes: &[u8]| lock(&asked).sent(bytes);
    let answers = move |bytes: &[u8]| lock(&answered).received(bytes);
    // Both count at the client's end of the line: requests as they leave it, answers as they reach it.
    delay_line(client, to_server, delay, asks, |_| {});
    delay_line(server, to_client, delay, |_| {}, answers);
    Ok(())
}

/// Passes bytes on, each of them `delay` after it arrived, however many are on the line.
fn delay_line(
    mut from: TcpStream,
    mut to: TcpStream,
    delay: Duration,
    mut entering: impl FnMut(&[u8]) + Send + 'static,
    mut leaving: impl FnMut(&[u8]) + Send + 'static,
) {
    let (enter, leave) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            entering(&buffer[..n]);
            if enter.send((Instant::now() + delay, buffer[..n].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in leave {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            leaving(&bytes);
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // The other side has gone, or will be told now; either way there is nobody to tell of an error.
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// What a client and a server say to each other, as far as it tells who waits.
#[derive(Debug)]
struct Talk {
    client: Messages,
    server: Messages,
    /// Requests that are still to be answered by ReadyForQuery.
    unanswered: u64,
    /// Messages have been sent that belong to a request which isn't complete.
    incomplete: bool,
    in_flight: bool,
    flights: Arc<AtomicU64>,
}

impl Talk {
    fn new(flights: Arc<AtomicU64>) -> Self {
        Self {
            client: Messages::of_client(),
            server: Messages::of_server(),
            unanswered: 0,
            incomplete: false,
            in_flight: false,
            flights,
        }
    }

    fn sent(&mut self, bytes: &[u8]) {
        for kind in self.client.feed(bytes) {
            match kind {
                // Terminate has no answer; passwords belong to the startup.
                b'X' | b'p' => continue,
                // Query, Sync, FunctionCall and the startup.
                b'Q' | b'S' | b'F' | Messages::STARTUP => {
                    self.unanswered += 1;
                    self.incomplete = false;
                }
                _ => self.incomplete = true,
            }
            if !self.in_flight {
                self.in_flight = true;
                self.flights.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        for kind in self.server.feed(bytes) {
            if kind == b'Z' {
                self.unanswered = self.unanswered.saturating_sub(1);
                self.in_flight = self.unanswered > 0 || self.incomplete;
            }
        }
    }
}

fn lock(talk: &Mutex<Talk>) -> MutexGuard<'_, Talk> {
    talk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Splits one direction of a connection into messages.
///
/// Source: PostgreSQL manual, section 54.7, "Message Formats": a type byte, a length that counts itself, a body. Only
/// the first message of a client has no type byte.
#[derive(Debug)]
struct Messages {
    header: Vec<u8>,
    /// Bytes of the body that are still to come.
    left: usize,
}

impl Messages {
    /// The type given to the first message of a client.
    const STARTUP: u8 = 0;

    fn of_client() -> Self {
        Self { header: vec![Self::STARTUP], left: 0 }
    }

    fn of_server() -> Self {
        Self { header: Vec::new(), left: 0 }
    }

    /// The types of the messages that are complete with these bytes.
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut kinds = Vec::new();
        for byte in bytes {
            if self.left > 0 {
                self.left -= 1;
            } else {
                self.header.push(*byte);
                let [_, a, b, c, d] = self.header[..] else { continue };
                self.left = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
            }
            if self.left == 0 {
                kinds.push(self.header[0]);
                self.header.clear();
            }
        }
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of this type with a body of two bytes.
    fn message(kind: u8) -> Vec<u8> {
        vec![kind, 0, 0, 0, 6, b'x', b'x']
    }

    fn started() -> Talk {
        let mut talk = Talk::new(Arc::default());
        talk.sent(&message(0)[1..]);
        talk.received(&[message(b'R'), message(b'Z')].concat());
        assert_eq!(flights(&talk), 1);
        talk
    }

    fn flights(talk: &Talk) -> u64 {
        talk.flights.load(Ordering::Relaxed)
    }

    #[test]
    fn requests_that_wait_for_answers_are_flights_of_their_own() {
        let mut talk = started();
        for _ in 0..3 {
            talk.sent(&message(b'Q'));
            talk.received(&[message(b'C'), message(b'Z')].concat());
        }
        assert_eq!(flights(&talk), 4);
    }

    #[test]
    fn requests_sent_on_top_of_others_are_not_whatever_the_pieces() {
        for chunk in 1..30 {
            let mut talk = started();
            let asked = [message(b'Q'), message(b'B'), message(b'E'), message(b'S')].concat();
            asked.chunks(chunk).for_each(|bytes| talk.sent(bytes));
            let answer = [message(b'C'), message(b'Z')].concat();
            answer.chunks(chunk).for_each(|bytes| talk.received(bytes));
            talk.sent(&message(b'Q'));
            answer.chunks(chunk).for_each(|bytes| talk.received(bytes));
            assert_eq!(flights(&talk), 2, "the last one was sent before the second answer");
            talk.received(&answer);
            talk.sent(&message(b'Q'));
            assert_eq!(flights(&talk), 3);
        }
    }
}
