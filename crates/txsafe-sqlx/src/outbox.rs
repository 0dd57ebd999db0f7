//! Messages that are written in the transaction, and delivered after it.

use crate::{
    driver::{Database, Driver},
    failure::of_sqlx,
    tx::Tx,
};
use futures_util::future::BoxFuture;
use txsafe::{
    Error, LockOrder, NewMessage, NoOrder, WrittenMessage,
    driver::Locks,
    outbox::{
        ask::{Ask, Rows},
        worker::AsyncHandler,
        write::{Asks, after_commit, write},
    },
};

/// Delivers messages of the outbox; set up by `db.outbox().worker()`.
pub type OutboxWorker<'a, O = NoOrder> = txsafe::OutboxWorker<Database<O>, AsyncHandler<'a>>;

impl<O: LockOrder, Held: 'static> Tx<'_, O, Held> {
    /// Writes a message that is delivered once this transaction has committed, whatever happens to this process then.
    /// `payload` is text, JSON usually. Returns the message's key, a random UUID.
    ///
    /// It is a row of the same transaction: rolled back with it, or with its savepoint, and never delivered before. An
    /// [`OutboxWorker`](crate::OutboxWorker) that knows the topic delivers it, in this process or another one, **at least
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
    ) -> BoxFuture<'_, Result<WrittenMessage, Error>> {
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
    pub fn outbox_message(
        &mut self,
        message: NewMessage,
    ) -> BoxFuture<'_, Result<WrittenMessage, Error>> {
        Box::pin(async move {
            let written = write::<Driver, O, Held>(self, &message).await?;
            if let Some(ring) = after_commit(&message) {
                self.after_commit(async move || ring());
            }
            Ok(written)
        })
    }
}

impl Asks for Driver {
    fn rows<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
        ask: &'t Ask,
    ) -> BoxFuture<'t, Result<Rows, Error>> {
        Box::pin(async move {
            let mut query = sqlx::query_scalar(ask.sql());
            for bind in ask.binds() {
                query = query.bind(bind);
            }
            query.fetch_all(tx).await.map_err(|error| of_sqlx(&error).into())
        })
    }
}
