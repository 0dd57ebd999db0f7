//! What is told of a transaction that failed, or that took long.

use super::{outcome::Outcome, trail::Trail};
use crate::{
    dialect::{condition::Condition, failure::Failure},
    retry::{
        policy::GiveUp,
        remedy::{Cause, Phase, Remedy},
    },
};
use std::{fmt, panic::Location, sync::Arc, time::Duration};

/// The story of one transaction: its attempts, their remedies and pauses, and the trail of the last attempt.
///
/// Errors carry it, and [`Builder::on_report`](crate::Builder::on_report) hands it out for every transaction that
/// failed, was slow, or needed more than one attempt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The name given by the caller.
    pub transaction: Arc<str>,
    /// Where the transaction was called.
    pub place: &'static Location<'static>,
    /// How it ended.
    pub outcome: Outcome,
    /// How often it was tried.
    pub attempts: u32,
    /// The attempts that failed, in order.
    pub failures: Vec<Attempt>,
    /// Why there was no further attempt, where one was called for.
    pub gave_up: Option<GiveUp>,
    /// Whether [rerun mode](crate::guard::Policy::rerun) rolled a good attempt back and had its closure run again. Of that attempt
    /// this report says nothing: attempts and time are counted from the second run on.
    pub rerun: bool,
    /// From the call to its end, pauses included.
    pub elapsed: Duration,
    /// The statements of the last attempt.
    pub trail: Trail,
}

/// An attempt that failed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Attempt {
    /// The first attempt is number 1.
    pub number: u32,
    /// What it had come to.
    pub phase: Phase,
    /// What went wrong.
    pub failure: Failure,
    /// Its class.
    pub cause: Cause,
    /// What it asked for.
    pub remedy: Remedy,
    /// The lock timeout it ran with: its own, or the session's where that was shorter. `None` if there was none, or it was
    /// left to the server and isn't known.
    pub lock_timeout: Option<Duration>,
    /// How long it took, from checkout to the end of its rollback.
    pub took: Duration,
    /// The pause that followed.
    pub pause: Option<Duration>,
}

impl Attempt {
    /// Whether it is the caller's own business: what it knows how to answer, or has asked for.
    pub(crate) fn is_callers(&self) -> bool {
        self.failure.condition() == Condition::ConstraintViolation
            || matches!(self.cause, Cause::LockNotAvailable | Cause::OptedOut)
    }
}

impl fmt::Display for Report {
    /// Several lines, for a log or a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transaction, place, outcome, attempts, elapsed, .. } = self;
        let outcome = outcome.as_str().replace('_', " ");
        writeln!(
            f,
            "transaction \"{transaction}\" ({place}) {outcome} after {attempts} attempt{} in {elapsed:.1?}",
            if *attempts == 1 { "" } else { "s" },
        )?;
        if self.rerun {
            writeln!(
                f,
                "  rerun mode: a good attempt was rolled back before, to run its closure again"
            )?;
        }
        for attempt in &self.failures {
            writeln!(f, "  {attempt}")?;
            let deadlock = attempt.failure.deadlock();
            for line in deadlock.and_then(|it| it.inversion.as_deref()).unwrap_or_default().lines()
            {
                writeln!(f, "    {line}")?;
            }
        }
        if let Some(reason) = self.gave_up {
            writeln!(f, "  gave up: {reason}")?;
        }
        if let Some(times) = self.trail.times() {
            writeln!(f, "  time: {times}")?;
        }
        write!(f, "{}", self.trail)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, failure, remedy, took, .. } = self;
        write!(f, "attempt {number} ({took:.1?}): {failure} -> {}", remedy.as_str())?;
        match self.pause {
            Some(pause) => write!(f, " after a pause of {pause:.1?}"),
            None => Ok(()),
        }
    }
}
