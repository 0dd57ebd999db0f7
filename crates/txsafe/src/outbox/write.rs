//! A message is written, in the transaction of what it tells about.

use super::{
    ask::{Ask, Rows},
    bell,
    new_message::NewMessage,
    written_message::{WriteEffect, WrittenMessage},
};
use crate::{
    dialect::condition::Condition,
    driver::{account::HasAccount, hooks::Hook},
    error::Error,
    locks::relation::LockOrder,
};
use futures_util::future::BoxFuture;

/// A driver through whose transactions the outbox is written and read. A blocking one's futures are ready when they are
/// made, as those of [`Locks`](crate::driver::Locks) are.
pub trait Asks: HasAccount {
    /// Sends a statement; its rows.
    fn rows<'t, O: LockOrder, Held>(
        tx: &'t mut Self::Tx<'_, O, Held>,
        ask: &'t Ask,
    ) -> BoxFuture<'t, Result<Rows, Error>>;
}

/// Writes a message. Once it is committed, its workers in this process needn't wait for their next poll.
///
/// # Errors
/// A message that can't be meant; the table of the outbox is missing; what the server said.
pub async fn write<D, O, Held>(
    tx: &mut D::Tx<'_, O, Held>,
    message: NewMessage,
) -> Result<WrittenMessage, Error>
where
    D: Asks,
    O: LockOrder,
{
    message.validate()?;
    let ask = Ask::write(&message).in_schema(D::held(tx).own_schema());
    let rows = D::rows(tx, &ask).await.map_err(cured)?;
    let row = rows.into_iter().next().map(<[String; 2]>::try_from);
    let Some(Ok([key, effect])) = row else {
        unreachable!("an upsert returns the row that it wrote");
    };
    let effect = match &*effect {
        "inserted" => WriteEffect::Inserted,
        "joined" => WriteEffect::Joined,
        "revived" => WriteEffect::Revived,
        other => unreachable!("the statement doesn't return {other:?}"),
    };
    if bell::is_heard() {
        D::account(tx).hooks.push_after_commit(Hook::calling(move || bell::ring(&message.topic)));
    }
    Ok(WrittenMessage { key, effect })
}

/// Says what to do where the table is missing.
pub(super) fn cured(error: Error) -> Error {
    const CURE: &str = "the outbox needs its table: put `OUTBOX_SQL` into a migration";
    match error.failure() {
        Some(failure) if failure.condition() == Condition::UndefinedTable => {
            failure.clone().with_cure(CURE).into()
        }
        _ => error,
    }
}
