//! What is logged while a test runs.

use std::{
    io,
    sync::{Arc, Mutex},
};
use tokio::runtime;
use tracing::{
    Dispatch, Level, Subscriber,
    subscriber::{DefaultGuard, NoSubscriber, set_default, with_default},
};

/// What is logged on one thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Runs `test` on this thread, and returns what is logged at level DEBUG and above. It includes records of the `log` crate where
    /// the process has a `LogTracer`.
    pub(crate) fn of(test: impl Future<Output = ()>) -> String {
        let log = Self::default();
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        with_default(log.subscriber(Level::DEBUG), || runtime.block_on(test));
        log.text()
    }

    /// Logs what happens on this thread from here on, at level INFO and above.
    ///
    /// While there is a second subscriber, `tracing` asks all of them whether they want an event. Otherwise it asks that of the
    /// thread that meets the event first, which may be another test's that has none.
    #[must_use]
    pub(crate) fn listen(&self) -> (DefaultGuard, Dispatch) {
        let second = Dispatch::new(NoSubscriber::default());
        (set_default(self.subscriber(Level::INFO)), second)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn subscriber(&self, level: Level) -> impl Subscriber + Send + Sync + use<> {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(level).with_ansi(false);
        subscriber.with_writer(move || writer.clone()).finish()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
