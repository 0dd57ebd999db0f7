//! Messages that are written in the transaction, and delivered after it.

#[cfg(feature = "deadpool-diesel")]
use super::deadpool::DeadpoolPool;
use super::{
    driver::{Database, Driver},
    pool::Pool,
    tx::Tx,
};
use crate::{
    asked::{Asked, AskedForRows},
    failure::of_diesel,
};
use futures_util::future::BoxFuture;
use std::future::ready as made;
use txsafe::{
    Error, LockOrder, NewMessage, NoOrder, WrittenMessage,
    driver::{Locks, Question, lock::ready},
    outbox::{
        ask::{Ask, Rows},
        store::{Blocking, BlockingAsks},
        worker::BlockingHandler,
        write::{Asks, after_commit, write},
    },
};

/// Delivers messages of the outbox; set up by `db.outbox().worker()`.
pub type OutboxWorker<'a, O = NoOrder> =
    txsafe::OutboxWorker<Blocking<Database<O>>, BlockingHandler<'a>>;

/// Delivers messages of the outbox by async handlers, over a pool of deadpool-diesel; set up by `db.outbox().worker()`.
#[cfg(feature = "deadpool-diesel")]
pub type InteractOutboxWorker<'a, O = NoOrder> =
    txsafe::OutboxWorker<Database<O, DeadpoolPool>, txsafe::outbox::worker::AsyncHandler<'a>>;

impl<O: LockOrder, Held> Tx<'_, O, Held> {
    /// Writes a message that is delivered once this transaction has committed, whatever happens to this process then.
    /// `payload` is text, JSON usually. Returns the message's key, a random UUID.
    ///
    /// It is a row of the same transaction: rolled back with it, or with its savepoint, and never delivered before. An
    /// [`OutboxWorker`](crate::blocking::OutboxWorker) that knows the topic delivers it, in this process or another one, **at least
    /// once**: a repetition has the same key. What may be lost with the process is an [`after_commit`](Self::after_commit)
    /// hook, which is quicker.
    ///
    /// # Errors
    /// A topic or payload that can't be meant; the table of [`OUTBOX_SQL`](crate::OUTBOX_SQL) is missing; what the server
    /// said.
    pub fn outbox(
        &mut self,
        topic: impl Into<String>,
        payload: impl Into<String>,
    ) -> Result<WrittenMessage, Error> {
        self.outbox_message(NewMessage::new(topic, payload))
    }

    /// Writes a message like [`outbox`](Self::outbox), with a key of the caller's own, or a delay.
    ///
    /// If the outbox has a message of that topic and key, this write [joins](crate::WriteEffect) it, or revives it if it is
    /// dead: its payload is replaced, and a delivery that begins after this COMMIT covers both. The row of that message is
    /// locked until this transaction ends, and no worker claims it before: write it late, and **several keys in one order**.
    ///
    /// # Errors
    /// As there; and a key or delay that can't be meant.
    pub fn outbox_message(&mut self, message: NewMessage) -> Result<WrittenMessage, Error> {
        let written = ready(write::<Driver, O, Held>(self, &message))?;
        if let Some(ring) = after_commit(&message) {
            self.after_commit(ring);
        }
        Ok(written)
    }
}

impl<P: Pool> Asks for Driver<P> {
    fn rows<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
        ask: &'t Ask,
    ) -> BoxFuture<'t, Result<Rows, Error>> {
        let question = Question { sql: ask.sql(), binds: &ask.binds() };
        let rows = AskedForRows(Asked(question)).ask_blocking(tx);
        Box::pin(made(rows.map_err(|error| of_diesel(&error).into())))
    }
}

impl BlockingAsks for Driver {
    type Store<O: LockOrder> = Blocking<Database<O>>;
}

#[cfg(feature = "deadpool-diesel")]
impl BlockingAsks for Driver<DeadpoolPool> {
    type Store<O: LockOrder> = Database<O, DeadpoolPool>;
}
