//! A server on the loopback interface, on a thread of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::oneshot;

/// How long whoever is asked takes to answer.
///
/// Long enough that a caller which looks for the answer at once finds none, also on a busy machine, and that a guard
/// can tell the wait from noise; short enough for some dozens of cases.
pub const ANSWER_DELAY: Duration = Duration::from_millis(5);

static SLOWNESS: AtomicU32 = AtomicU32::new(1);

/// Has everything in this process that is waited for take so many `times` longer than usual, so that waits can be told from
/// the noise of a very busy machine.
pub fn answer_slowly(times: u32) {
    SLOWNESS.store(times, Ordering::Relaxed);
}

/// What was set by [`answer_slowly`]; 1 at first.
pub(super) fn slowness() -> u32 {
    SLOWNESS.load(Ordering::Relaxed)
}

/// How long whoever is asked takes to answer just now.
#[must_use]
pub fn answer_delay() -> Duration {
    ANSWER_DELAY * slowness()
}

/// Lets [`answer_delay`] pass.
pub async fn hesitate() {
    tokio::time::sleep(answer_delay()).await;
}

/// A server that runs until it is dropped.
///
/// It has a thread of its own: a call that blocks its runtime's threads must not block the answer that it waits for.
/// Nothing that the server does can be mistaken for its caller's doing, either.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Listens on a free port and serves each connection with `serve`.
    ///
    /// # Errors
    ///
    /// If there is no port or no thread to be had.
    pub fn start<S, C>(serve: S) -> io::Result<Self>
    where
        S: Fn(TcpStream) -> C + Send + 'static,
        C: Future<Output = io::Result<()>> + Send + 'static,
    {
        // Listens before it returns, so nobody connects too early.
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;

        let connections = Arc::new(AtomicUsize::new(0));
        let connected = Arc::clone(&connections);

        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("server".to_owned()).spawn(move || {
            runtime.spawn(accept(listener, connected, serve));
            // Told, or abandoned: both mean the end, also of connections, which go with the runtime.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { address, connections, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, its client has noticed.
            let _ = thread.join();
        }
    }
}

async fn accept<S, C>(
    listener: std::net::TcpListener,
    connected: Arc<AtomicUsize>,
    serve: S,
) -> io::Result<()>
where
    S: Fn(TcpStream) -> C,
    C: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // Answers in several writes must not wait for each other's acknowledgement. Fails if the client is gone already.
        let _ = stream.set_nodelay(true);
        connected.fetch_add(1, Ordering::Relaxed);
        // How a connection ends is its client's concern.
        tokio::spawn(serve(stream));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;

    use super::super::line;

    #[test]
    fn nothing_is_left_of_a_dropped_server() {
        let server = line::start().unwrap();
        let address = server.address();
        let mut open = TcpStream::connect(address).unwrap();
        drop(server);

        assert_eq!(open.read(&mut [0]).unwrap_or(0), 0);
        TcpStream::connect(address).unwrap_err();
    }
}
