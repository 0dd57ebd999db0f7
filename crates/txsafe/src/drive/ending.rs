//! How an attempt ends, and what can follow.

use super::{session::Standing, verify::Witness};
use crate::{
    decide::{
        failure::Failure,
        remedy::{Cause, Phase, Remedy},
        sqlstate::SqlState,
    },
    guard::scope::Scope,
    hold::keyed::Keyed,
};
use std::{sync::Arc, time::Duration};

/// What to do with the connection once the closure has returned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Commit,
    RollBack,
    Close,
}

/// The closure's word and the connection's state decide together; the connection has the last word.
pub(crate) fn step(closure_is_ok: bool, standing: &Standing) -> Step {
    match standing {
        Standing::Open(_) if closure_is_ok => Step::Commit,
        // The failure lies in this very connection: the next attempt must not get it again.
        Standing::Open(Some(failure)) | Standing::Aborted(failure)
            if Cause::of(failure, Phase::Body).remedy() == Remedy::Reconnect =>
        {
            Step::Close
        }
        Standing::Open(_) | Standing::Aborted(_) | Standing::NotBegun(_) => Step::RollBack,
        Standing::Unprotected(_)
        | Standing::SavepointOpen
        | Standing::InFlight(_)
        | Standing::Lost(_)
        | Standing::Ended => Step::Close,
    }
}

/// What a question that failed says of the transaction it was asked in.
pub(crate) fn not_asked(failure: Failure) -> Standing {
    if failure.is_lost() { Standing::Lost(failure) } else { Standing::Aborted(failure) }
}

/// The failure of the claim of an idempotency key: the first one of the attempt, with its cure where the table is
/// missing.
pub(crate) fn claim_failed(failure: Failure, standing: Standing) -> Failure {
    let failure = match standing {
        Standing::NotBegun(first) | Standing::Aborted(first) => first,
        Standing::Open(_)
        | Standing::InFlight(_)
        | Standing::Unprotected(_)
        | Standing::Lost(_)
        | Standing::Ended
        | Standing::SavepointOpen => failure,
    };
    if failure.sqlstate() == Some(SqlState::UNDEFINED_TABLE) {
        return failure.with_cure(
            "idempotency keys need their table: put `IDEMPOTENCY_KEYS_SQL` into a migration",
        );
    }
    failure
}

/// How an attempt ended; its connection has been given back or closed.
pub(crate) enum Ended<T, E> {
    /// In so much time, from BEGIN to the answer to COMMIT.
    Committed(T, Duration),
    /// The idempotency key was there already.
    AlreadyCommitted,
    /// It was made inside another transaction on the same database.
    Nested(Arc<Scope>),
    /// The closure never ran, or nothing it did could take effect.
    NotStarted(Phase, Failure),
    /// The closure returned; the attempt was not committed, for reasons that the standing tells.
    NotCommitted(Result<T, E>, Standing),
    /// The deadline passed while the closure ran.
    DeadlinePassed,
    CommitFailed(Failure, T, Option<Witness>),
}

/// What a run loop does next, after it has run the hooks that are due.
pub(crate) enum Next<T, E> {
    Return(Result<Keyed<T>, E>),
    Pause(Duration),
    /// Find out what became of this COMMIT, then say so by [`Progress::resolve`].
    Verify(Witness),
}
