//! What is asked of a database's outbox: who delivers, what waits, what was given up.

use super::{
    ask::{Ask, Rows},
    backlog::Backlog,
    claim::milliseconds,
    message::DeadMessage,
    store::{AsyncStore, Blocking, BlockingAsks, Store},
    worker::{AsyncHandler, BlockingHandler, OutboxWorkerBuilder},
    write::{Asks, cured},
};
use crate::{
    driver::asynchronous::AsyncDriver,
    error::Error,
    locks::relation::LockOrder,
    transaction::{blocking::database::BlockingDatabase, database::Database},
};
use std::{fmt, panic::Location};

/// The outbox of a database; made by its `outbox()`.
///
/// Messages are written by `tx.outbox(topic, payload)`, and kept in the table of [`OUTBOX_SQL`](crate::OUTBOX_SQL).
pub struct Outbox<B> {
    pub(super) db: B,
    pub(super) place: &'static Location<'static>,
}

impl<D: AsyncDriver + Asks, O: LockOrder> Database<D, O> {
    /// The outbox: messages that are written in transactions, and delivered after them.
    #[must_use]
    #[track_caller]
    pub fn outbox(&self) -> Outbox<Self> {
        Outbox::new(self.clone())
    }
}

impl<D: BlockingAsks, O: LockOrder> BlockingDatabase<D, O> {
    /// The outbox: messages that are written in transactions, and delivered after them. On a database whose transactions run
    /// on threads of their own all of it is awaited; a future of it that is dropped leaves its statement running, and what a
    /// worker claims then waits for its lease.
    #[must_use]
    #[track_caller]
    pub fn outbox(&self) -> Outbox<D::Store<O>> {
        Outbox::new(self.clone().into())
    }
}

impl<S: AsyncStore> Outbox<S> {
    /// Sets up a worker, which delivers messages.
    #[must_use]
    pub fn worker<'a>(self) -> OutboxWorkerBuilder<S, AsyncHandler<'a>> {
        OutboxWorkerBuilder::new(self)
    }

    /// How many messages there are, by topic. It counts the whole table: ask as often as a monitor does.
    ///
    /// # Errors
    /// What became of its transaction.
    pub async fn backlog(&self) -> Result<Vec<Backlog>, Error> {
        Ok(backlog(self.ask(&Ask::backlog()).await?))
    }

    /// Messages that were given up, the first ones first, so many at most.
    ///
    /// # Errors
    /// What became of its transaction.
    pub async fn dead(&self, topic: &str, most: usize) -> Result<Vec<DeadMessage>, Error> {
        Ok(dead(self.ask(&Ask::list_dead(topic, most)).await?))
    }

    /// Has a dead message delivered after all, as if it were new; whether there was one.
    ///
    /// # Errors
    /// What became of its transaction.
    pub async fn requeue(&self, topic: &str, key: &str) -> Result<bool, Error> {
        Ok(!self.ask(&Ask::requeue(topic, key)).await?.is_empty())
    }

    /// Has all dead messages of a topic delivered after all; how many there were.
    ///
    /// # Errors
    /// What became of its transaction.
    pub async fn requeue_all(&self, topic: &str) -> Result<u64, Error> {
        Ok(count(self.ask(&Ask::requeue_all(topic)).await?))
    }

    pub(super) async fn ask(&self, ask: &Ask) -> Result<Rows, Error> {
        self.db.ask(ask, self.place).await.map_err(cured)
    }
}

#[expect(clippy::missing_errors_doc, reason = "each is documented at its async twin")]
impl<S: Store> Outbox<Blocking<S>> {
    /// Sets up a worker, which delivers messages.
    #[must_use]
    pub fn worker<'a>(self) -> OutboxWorkerBuilder<Blocking<S>, BlockingHandler<'a>> {
        OutboxWorkerBuilder::new(self)
    }

    /// How many messages there are, by topic. It counts the whole table: ask as often as a monitor does.
    pub fn backlog(&self) -> Result<Vec<Backlog>, Error> {
        Ok(backlog(self.ask(&Ask::backlog())?))
    }

    /// Messages that were given up, the first ones first, so many at most.
    pub fn dead(&self, topic: &str, most: usize) -> Result<Vec<DeadMessage>, Error> {
        Ok(dead(self.ask(&Ask::list_dead(topic, most))?))
    }

    /// Has a dead message delivered after all, as if it were new; whether there was one.
    pub fn requeue(&self, topic: &str, key: &str) -> Result<bool, Error> {
        Ok(!self.ask(&Ask::requeue(topic, key))?.is_empty())
    }

    /// Has all dead messages of a topic delivered after all; how many there were.
    pub fn requeue_all(&self, topic: &str) -> Result<u64, Error> {
        Ok(count(self.ask(&Ask::requeue_all(topic))?))
    }

    pub(super) fn ask(&self, ask: &Ask) -> Result<Rows, Error> {
        self.db.0.ask(ask, self.place).map_err(cured)
    }
}

impl<B> Outbox<B> {
    /// For adapters: the outbox of this database.
    #[track_caller]
    pub fn new(db: B) -> Self {
        Self { db, place: Location::caller() }
    }
}

fn backlog(rows: Rows) -> Vec<Backlog> {
    let read = |row| {
        let Ok([topic, waiting, in_delivery, dead, lag]) = <[String; 5]>::try_from(row) else {
            unreachable!("the statement returns five");
        };
        let number = |text: String| text.parse().unwrap_or(0);
        Backlog {
            topic,
            waiting: number(waiting),
            in_delivery: number(in_delivery),
            dead: number(dead),
            lag: milliseconds(&lag),
        }
    };
    rows.into_iter().map(read).collect()
}

fn dead(rows: Rows) -> Vec<DeadMessage> {
    rows.into_iter().map(DeadMessage::read).collect()
}

fn count(rows: Rows) -> u64 {
    rows.into_iter().flatten().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

impl<B> fmt::Debug for Outbox<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({})", self.place)
    }
}
