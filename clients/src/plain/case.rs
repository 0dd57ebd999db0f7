//! One call that a guard should see, or shouldn't.

use std::any::Any;
use std::error::Error;
use std::panic::Location;
use std::pin::Pin;

/// One call of one client.
///
/// A test prepares it outside of a transaction, awaits the [`Call`] inside of one, and drops what is [`Left`] when
/// the transaction is over.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// `client.call`; names a row of the table, so it stays.
    pub name: &'static str,
    /// The call, in words for the table.
    pub what: &'static str,
    /// What the caller does until it is done.
    pub wait: Wait,
    /// Where it is listed: in the file that makes the call.
    pub place: &'static Location<'static>,
    prepare: fn() -> Prepared,
}

/// What a caller does until its call is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Its task is suspended until the answer is there.
    Suspends,
    /// Its thread is blocked until then; no await is suspended.
    Blocks,
    /// Its task may be suspended for a moment: something is handed over to another thread or to the kernel, and
    /// nobody is asked.
    Yields,
    /// It goes on. What there is to do, it did itself or has left to others.
    GoesOn,
}

/// Makes what a call needs, then the call.
pub type Prepared = Boxed<Call>;

/// The call itself and nothing more. Nothing of it happens before it is polled.
pub type Call = Boxed<Left>;

/// Servers, connections and clients that outlive the call, so that closing them is no part of it.
pub type Left = Box<dyn Any + Send>;

/// Whatever went wrong; these are tests.
pub type Failed = Box<dyn Error + Send + Sync>;

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, Failed>> + Send>>;

impl Case {
    /// `prepare` starts servers, connects what shall be connected, and ends with [`call`].
    #[must_use]
    #[track_caller]
    pub const fn new(
        name: &'static str,
        what: &'static str,
        wait: Wait,
        prepare: fn() -> Prepared,
    ) -> Self {
        Self { name, what, wait, place: Location::caller(), prepare }
    }

    /// Does everything that comes before the call.
    ///
    /// Needs a runtime of several threads, because some calls block the one that they are on.
    ///
    /// # Errors
    ///
    /// If a server can't listen, or a client can't connect.
    pub async fn prepare(&self) -> Result<Call, Failed> {
        (self.prepare)().await
    }
}

/// Makes a call of a future that answers what is left of it.
pub fn call<F, T>(future: F) -> Call
where
    F: Future<Output = Result<T, Failed>> + Send + 'static,
    T: Any + Send,
{
    Box::pin(async { Ok(Box::new(future.await?) as Left) })
}
