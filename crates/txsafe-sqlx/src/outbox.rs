//! Messages that are written in the transaction, and delivered after it.

use crate::engine::postgres::Database;
use txsafe::{NoOrder, outbox::worker::AsyncHandler};

/// Delivers messages of the outbox; set up by `db.outbox().worker()`.
pub type OutboxWorker<'a, O = NoOrder> = txsafe::OutboxWorker<Database<O>, AsyncHandler<'a>>;
