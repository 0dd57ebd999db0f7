//! The outbox from async code: its statements run on blocking threads of tokio, its handlers don't.

use super::{database::Database, interact::on_a_thread};
use deadpool_diesel::postgres::Pool as DeadpoolPool;
use std::{future::Future, panic::Location, time::Duration};
use txsafe::{
    Error, LockOrder, NoOrder, Outbox,
    drive::outbox::{
        ask::{Ask, Rows},
        store::AsyncStore,
        worker::AsyncHandler,
    },
};

/// Delivers messages of the outbox by async handlers, over a pool of deadpool-diesel; set up by `db.outbox().worker()`.
pub type InteractOutboxWorker<'a, O = NoOrder> =
    txsafe::OutboxWorker<Database<O, DeadpoolPool>, AsyncHandler<'a>>;

impl<O: LockOrder> Database<O, DeadpoolPool> {
    /// The outbox: messages that are written in transactions, and delivered after them. All of it is awaited, as over
    /// diesel-async.
    ///
    /// A future of it that is dropped leaves its statement running, like [`interact`](Self::interact): what a worker claims
    /// then waits for its lease.
    #[must_use]
    #[track_caller]
    pub fn outbox(&self) -> Outbox<Self> {
        Outbox::new(self.clone())
    }
}

impl<O: LockOrder> AsyncStore for Database<O, DeadpoolPool> {
    fn ask(
        &self,
        ask: &Ask,
        place: &'static Location<'static>,
    ) -> impl Future<Output = Result<Rows, Error>> + Send {
        let (db, ask) = (self.clone(), ask.clone());
        on_a_thread(move || db.rows(&ask, place))
    }

    fn sleep(pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(pause)
    }
}
