//! How a delivery ended, and what that makes of its message.

use super::{
    ask::{Ask, Rows},
    claim::Claim,
    events,
};
use crate::{
    decide::delivery::{AfterFailure, Delivery},
    drive::hooks::panic_message,
    hold::error::Error,
};
use std::{any::Any, time::Duration};

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Delivered,
    Failed(String),
    /// It didn't begin, or was broken off, because its worker stops.
    Released,
}

/// What becomes of its message, if the lease still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    Retried(Duration, String),
    Dead(String),
    Released,
}

impl End {
    /// The end of a handler that returned, or panicked.
    pub(super) fn of(returned: Result<Result<(), String>, Box<dyn Any + Send>>) -> Self {
        match returned {
            Ok(Ok(())) => Self::Delivered,
            Ok(Err(error)) => Self::Failed(error),
            Err(panic) => Self::Failed(panic_message(panic.as_ref())),
        }
    }

    /// The end of an attempt that isn't even made: the last one that is allowed took its worker down with it.
    pub(super) fn without_a_word(delivery: &Delivery, claim: &Claim) -> Option<Self> {
        let message =
            "its last attempt ended without a word: the worker died, or couldn't renew its lease";
        (!delivery.allows(claim.message.attempt)).then(|| Self::Failed(message.into()))
    }

    /// The end of one that took too long.
    pub(super) fn too_late(delivery: &Delivery) -> Self {
        Self::Failed(format!("it took longer than its timeout of {:?}", delivery.timeout))
    }

    /// The end of one whose message is another worker's by now, or may be.
    pub(super) fn lease_over() -> Self {
        Self::Failed("it was broken off, because its lease was lost or couldn't be renewed".into())
    }
}

/// What is to be told the server, and what has happened to the message then.
pub(super) fn mark(delivery: &Delivery, claim: &Claim, end: End, dice: f64) -> (Ask, Fate) {
    match end {
        End::Delivered => (Ask::delivered(claim), Fate::Delivered),
        End::Released => (Ask::released(claim), Fate::Released),
        End::Failed(error) => match delivery.after_failure(claim.message.attempt, dice) {
            AfterFailure::Retry(pause) => {
                (Ask::failed(claim, pause, &error), Fate::Retried(pause, error))
            }
            AfterFailure::Bury => (Ask::dead(claim, &error), Fate::Dead(error)),
        },
    }
}

/// Whether a mark is to be sent again: it touches nothing but its own lease, so where the answer to COMMIT was lost it does
/// no harm.
pub(super) fn is_lost(answer: &Result<Rows, Error>) -> bool {
    answer.as_ref().is_err_and(Error::is_commit_unknown)
}

/// Tells what has become of a message.
pub(super) fn conclude(
    claim: &Claim,
    took: Duration,
    fate: &Fate,
    answer: Result<Rows, Error>,
    is_repeated: bool,
) {
    match answer {
        // Of one that was sent again, the first may have done it.
        Ok(rows) if !rows.is_empty() || is_repeated => events::concluded(claim, took, fate),
        // It was marked while its delivery was broken off.
        Ok(_) if *fate == Fate::Released => {}
        Ok(_) => events::lease_lost(claim, fate),
        Err(error) => events::unmarked(claim, fate, &error),
    }
}
