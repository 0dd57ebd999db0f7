//! How deliveries ended, and what that makes of their messages.

use super::{
    ask::{Ask, Locked, Rows},
    claim::Claim,
    events,
};
use crate::{
    decide::delivery::{AfterFailure, Delivery},
    drive::hooks::panic_message,
    hold::error::Error,
};
use std::{any::Any, slice, time::Duration};

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
}

/// Deliveries that ended alike, and are marked by one statement.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) ask: Ask,
    ended: Vec<Ended>,
    statement: Statement,
}

/// How those are marked that ended so.
type Statement = fn(&[Ended], Locked) -> Ask;

/// One that a [`Mark`] left out: somebody has locked its row, or the lease was lost. It is asked for alone, and waits.
#[derive(Debug)]
pub(super) struct LeftOut {
    ended: Ended,
    statement: Statement,
    /// Whether the mark that left it out was sent again.
    was_repeated: bool,
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
        let took = claim.since.elapsed();
        Self { claim, took, fate }
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

    /// Tells what has become of its message.
    fn conclude(&self, is_marked: bool) {
        match self.fate {
            _ if is_marked => events::concluded(self),
            // It was marked while its delivery was broken off.
            Fate::Released => {}
            Fate::Delivered | Fate::Retried(..) | Fate::Dead(_) => events::lease_lost(self),
        }
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

    fn of(ended: Vec<Ended>, statement: Statement) -> Option<Self> {
        (!ended.is_empty()).then(|| Self { ask: statement(&ended, Locked::Skip), ended, statement })
    }

    /// Tells what has become of the messages, except of those that it left out.
    pub(super) fn conclude(
        self,
        answer: Result<Rows, Error>,
        is_repeated: bool,
    ) -> impl Iterator<Item = LeftOut> {
        let Self { ended, statement, .. } = self;
        let left_out = match answer {
            Ok(rows) => {
                let marked: Vec<_> = rows.into_iter().flatten().collect();
                let is_marked = |ended: &Ended| marked.contains(&ended.claim.lease);
                let (marked, left_out): (Vec<_>, _) = ended.into_iter().partition(is_marked);
                marked.iter().for_each(|ended| ended.conclude(true));
                left_out
            }
            Err(error) => {
                ended.iter().for_each(|ended| events::unmarked(ended, &error));
                Vec::new()
            }
        };
        left_out.into_iter().map(move |ended| LeftOut {
            ended,
            statement,
            was_repeated: is_repeated,
        })
    }
}

impl LeftOut {
    /// How long each of so many may wait: together a quarter of a lease. Others that end meanwhile wait with them, and a
    /// blocking worker renews nothing; what is renewed at half time lasts that long.
    pub(super) fn patience(left_out: usize, lease: Duration) -> Duration {
        lease / 4 / u32::try_from(left_out.max(1)).unwrap_or(u32::MAX)
    }

    pub(super) fn ask(&self, patience: Duration) -> Ask {
        (self.statement)(slice::from_ref(&self.ended), Locked::Wait(patience))
    }

    /// Tells what has become of the message.
    pub(super) fn conclude(self, answer: Result<Rows, Error>, is_repeated: bool) {
        match answer {
            // Of a mark that was sent again, the first may have done it.
            Ok(rows) => {
                self.ended.conclude(!rows.is_empty() || is_repeated || self.was_repeated);
            }
            Err(error) => events::unmarked(&self.ended, &error),
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
    use std::time::Instant;

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
