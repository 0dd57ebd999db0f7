//! How deliveries ended, and what that makes of their messages.

use super::{
    ask::{Ask, Rows},
    bell,
    changed::{self, Changed},
    claim::Claim,
    delivery::{AfterFailure, Delivery},
    events,
};
use crate::{clock, driver::hooks::panic_message, error::Error};
use std::{
    any::Any,
    time::{Duration, Instant},
};

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Delivered,
    Failed(String),
    /// It didn't begin, or was broken off, because its worker stops; or it didn't begin, because its claim took too long.
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

/// A delivery that has ended, and what is to become of its message.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) claim: Claim,
    pub(super) took: Duration,
    pub(super) fate: Fate,
    /// Since when marks have found the row locked by another transaction.
    locked_since: Option<Instant>,
    /// Whether a mark of it was sent again, because the answer to its COMMIT was lost.
    was_repeated: bool,
}

/// Deliveries that ended alike, and are marked by one statement.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) ask: Ask,
    ended: Vec<Ended>,
}

/// What marks have done.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// How many deliveries they were about for the first time.
    pub(super) deliveries: usize,
    /// Those whose rows other transactions have locked.
    pub(super) locked: Vec<Ended>,
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

impl Ended {
    /// A delivery that has ended just now. `dice` are thrown by the caller, evenly from 0 to 1.
    pub(super) fn new(delivery: &Delivery, claim: Claim, end: End, dice: f64) -> Self {
        let fate = match end {
            End::Delivered => Fate::Delivered,
            End::Released => Fate::Released,
            End::Failed(error) => match delivery.after_failure(claim.message.attempt, dice) {
                AfterFailure::Retry(pause) => Fate::Retried(pause, error),
                AfterFailure::Bury => Fate::Dead(error),
            },
        };
        let took = clock::since(claim.since);
        Self { claim, took, fate, locked_since: None, was_repeated: false }
    }

    /// After which it is tried again, if it is.
    pub(super) fn pause(&self) -> Duration {
        match &self.fate {
            Fate::Retried(pause, _) => *pause,
            Fate::Delivered | Fate::Dead(_) | Fate::Released => Duration::ZERO,
        }
    }

    /// What it failed with, if it did.
    pub(super) fn error(&self) -> &str {
        match &self.fate {
            Fate::Retried(_, error) | Fate::Dead(error) => error,
            Fate::Delivered | Fate::Released => "",
        }
    }

    /// Tells what has become of its message. It is handed back if its row is locked, and hasn't been for as long as
    /// `patience`.
    fn conclude(mut self, changed: Option<Changed>, patience: Duration) -> Option<Self> {
        match changed {
            Some(Changed::Locked) => {
                let since = *self.locked_since.get_or_insert_with(clock::now);
                if clock::since(since) < patience {
                    return Some(self);
                }
                events::unmarked(&self, &"another transaction has locked its row for too long");
            }
            Some(Changed::Done) => events::concluded(&self),
            Some(Changed::WrittenAgain) => self.conclude_written_again(),
            // The first of the two marks may have done it.
            None if self.was_repeated => events::concluded(&self),
            None => match self.fate {
                // It was marked while its delivery was broken off.
                Fate::Released => {}
                Fate::Delivered | Fate::Retried(..) | Fate::Dead(_) => events::lease_lost(&self),
            },
        }
        None
    }

    /// Its mark has made it due again, and the workers who are awake needn't wait for their next poll.
    fn conclude_written_again(&self) {
        match &self.fate {
            Fate::Delivered => events::concluded(self),
            Fate::Dead(error) => events::failed_but_written_again(self, error),
            // These are claimed anyway.
            Fate::Retried(..) | Fate::Released => return events::concluded(self),
        }
        bell::ring(&self.claim.message.topic);
    }
}

impl Mark {
    /// Marks all of these, by one statement for each fate.
    pub(super) fn all(ended: Vec<Ended>) -> impl Iterator<Item = Self> {
        let [mut delivered, mut retried, mut dead, mut released] = [(); 4].map(|()| Vec::new());
        for ended in ended {
            let alike = match ended.fate {
                Fate::Delivered => &mut delivered,
                Fate::Retried(..) => &mut retried,
                Fate::Dead(_) => &mut dead,
                Fate::Released => &mut released,
            };
            alike.push(ended);
        }
        let marks = [
            Self::of(delivered, Ask::delivered),
            Self::of(retried, Ask::failed),
            Self::of(dead, Ask::dead),
            Self::of(released, Ask::released),
        ];
        marks.into_iter().flatten()
    }

    fn of(ended: Vec<Ended>, statement: fn(&[Ended]) -> Ask) -> Option<Self> {
        (!ended.is_empty()).then(|| Self { ask: statement(&ended), ended })
    }
}

impl Marked {
    /// Tells what has become of the messages of `mark`, and keeps those whose rows are locked, for as long as `patience`.
    pub(super) fn conclude(
        &mut self,
        mark: Mark,
        answer: Result<Rows, Error>,
        is_repeated: bool,
        patience: Duration,
    ) {
        self.deliveries += mark.ended.iter().filter(|ended| ended.locked_since.is_none()).count();
        let changed = match answer {
            Ok(rows) => changed::read(rows),
            Err(error) => {
                return mark.ended.iter().for_each(|ended| events::unmarked(ended, &error));
            }
        };
        for mut ended in mark.ended {
            ended.was_repeated |= is_repeated;
            let changed = changed.get(&ended.claim.lease).copied();
            self.locked.extend(ended.conclude(changed, patience));
        }
    }
}

/// Whether a mark is to be sent again: it touches nothing but its own leases, so where the answer to COMMIT was lost it does
/// no harm.
pub(super) fn is_lost(answer: &Result<Rows, Error>) -> bool {
    answer.as_ref().is_err_and(Error::is_commit_unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_alike_is_marked_by_one_statement() {
        let delivery = Delivery { max_attempts: 2, ..Delivery::default() };
        let ended = |lease: &str, attempt: &str, end| {
            let row = ["receipt", lease, "", attempt, "0", lease].map(String::from).to_vec();
            Ended::new(&delivery, Claim::read(row, Instant::now()), end, 0.5)
        };
        let failed = || End::Failed("no, \"never\"".into());
        let marks = Mark::all(vec![
            ended("a", "1", End::Delivered),
            ended("b", "1", failed()),
            ended("c", "1", End::Delivered),
            ended("d", "2", failed()),
        ]);
        let binds: Vec<_> = marks.map(|mark| mark.ask.binds().join(" ")).collect();
        assert_eq!(
            binds,
            [
                r#"{"receipt","receipt"} {"a","c"} {"a","c"}"#,
                r#"{"receipt"} {"b"} {"b"} {"0.500000 seconds"} {"no, \"never\""}"#,
                r#"{"receipt"} {"d"} {"d"} {"no, \"never\""}"#,
            ]
        );
    }
}
