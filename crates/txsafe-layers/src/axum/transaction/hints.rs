//! What the compiler says to a handler that ends the transaction of its request. Nothing implements these traits: the methods that
//! ask for them exist for their error messages.

use super::request_tx::{RequestDatabase, RequestTx};
use std::future::Ready;
use txsafe::Error;

/// Asked for by `RequestTx::commit`.
#[diagnostic::on_unimplemented(
    message = "the transaction of a request isn't committed by a call",
    label = "remove this, and return the response",
    note = "`TransactionLayer` commits when the response is there, if its status is below 400",
    note = "what has to happen after COMMIT is queued by `tx.after_commit(…)`"
)]
pub trait Commits {}

/// Asked for by `RequestTx::rollback`.
#[diagnostic::on_unimplemented(
    message = "the transaction of a request isn't rolled back by a call",
    label = "return a response whose status is 400 or above, or call `tx.set_rollback_only()`",
    note = "`TransactionLayer` rolls back when the response is there"
)]
pub trait RollsBack {}

impl<Db: RequestDatabase> RequestTx<Db> {
    #[doc(hidden)]
    pub fn commit(self) -> Ready<Result<(), Error>>
    where
        Self: Commits,
    {
        unreachable!("nothing implements it")
    }

    #[doc(hidden)]
    pub fn rollback(self) -> Ready<Result<(), Error>>
    where
        Self: RollsBack,
    {
        unreachable!("nothing implements it")
    }
}
