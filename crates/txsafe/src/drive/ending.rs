//! How an attempt ends, and what can follow.

use super::{session::Standing, verify::Witness};
use crate::{
    decide::{
        failure::Failure,
        mark::{Identity, Mark},
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
        | Standing::Unidentified(_)
        | Standing::Ended => Step::Close,
    }
}

/// The failure of BEGIN. A connection of a pool that is in a transaction was left so by somebody else: it is closed, and
/// another one is taken.
pub(crate) fn begin_failed(failure: Failure, on_held: bool) -> Failure {
    match failure.sqlstate() {
        Some(code @ (SqlState::ACTIVE_SQL_TRANSACTION | SqlState::IN_FAILED_SQL_TRANSACTION))
            if !on_held =>
        {
            Failure::left_open(Some(code))
        }
        _ => failure,
    }
}

/// Whether to ask, before anything else, if the transaction is still the one that was begun: something ran unseen, and
/// COMMIT would follow, or the connection is closed without a chance to ask later.
pub(crate) fn asks_first(closure_is_ok: bool, standing: &Standing) -> bool {
    match standing {
        Standing::Open(_) => closure_is_ok,
        Standing::SavepointOpen => true,
        Standing::NotBegun(_)
        | Standing::Unprotected(_)
        | Standing::Aborted(_)
        | Standing::InFlight(_)
        | Standing::Lost(_)
        | Standing::Ended
        | Standing::Unidentified(_) => false,
    }
}

/// How a transaction that seems to stand like this really does, by the answer of the server.
pub(crate) fn identified(
    answer: Result<Option<String>, Failure>,
    mark: &Mark,
    standing: Standing,
) -> Standing {
    match answer.map(|answer| answer.and_then(|answer| mark.read(&answer))) {
        Ok(Some(Identity::Ours)) => standing,
        Ok(Some(Identity::Committed | Identity::NotOpen)) => Standing::Ended,
        Ok(None) => Standing::Unidentified(Failure::out_of_step()),
        Err(failure) if failure.is_lost() => Standing::Unidentified(failure),
        // It was aborted unseen, and refuses questions.
        Err(failure) => Standing::Aborted(failure),
    }
}

/// The same of one in which something ran unseen and which isn't committed, by what the server said after ROLLBACK.
pub(crate) fn identified_after(identity: Option<Identity>, standing: Standing) -> Standing {
    match (identity, standing) {
        (Some(Identity::NotOpen), standing)
        | (_, standing @ (Standing::Ended | Standing::SavepointOpen | Standing::Unidentified(_))) => {
            standing
        }
        (Some(Identity::Committed), _) => Standing::Ended,
        (Some(Identity::Ours) | None, standing) => Standing::Unidentified(match standing {
            Standing::NotBegun(failure)
            | Standing::Unprotected(failure)
            | Standing::Aborted(failure)
            | Standing::Lost(failure)
            | Standing::Open(Some(failure))
            | Standing::InFlight(Some(failure)) => failure,
            Standing::Open(None)
            | Standing::InFlight(None)
            | Standing::Ended
            | Standing::SavepointOpen
            | Standing::Unidentified(_) => Failure::out_of_step(),
        }),
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
        | Standing::Unidentified(_)
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
    /// The deadline passed while the closure ran; and whether something ran unseen before.
    DeadlinePassed(bool),
    CommitFailed(Failure, T, Option<Witness>),
}

/// What a run loop does next, after it has run the hooks that are due.
pub(crate) enum Next<T, E> {
    Return(Result<Keyed<T>, E>),
    Pause(Duration),
    /// Find out what became of this COMMIT, then say so by [`Progress::resolve`].
    Verify(Witness),
}
