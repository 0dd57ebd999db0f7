//! A COMMIT in doubt: its answer was lost, and it may have arrived or not.

use super::{
    ending::Next,
    failed::Otherwise,
    keyed::Keyed,
    progress::Progress,
    verify::{Verdict, Witness},
};
use crate::{
    dialect::{condition::Condition, failure::Failure},
    driver::account::Account,
    error::{ErrorKind, trail::Trail},
    retry::remedy::{Cause, Phase, Remedy},
};

/// A COMMIT whose answer was lost: the hooks to run if it turns out to have arrived.
pub(super) struct InDoubt<H> {
    pub(super) account: Account<H>,
    pub(super) failure: Failure,
    pub(super) xid: Option<u64>,
}

impl<H> Progress<H> {
    /// What follows from a COMMIT that was refused, or whose answer was lost.
    pub(super) fn commit_failed(
        &mut self,
        failure: Failure,
        witness: Option<Witness>,
        account: Account<H>,
        trail: Trail,
    ) -> Next {
        let cause = self.cause_of(&failure, Phase::Commit, &trail);
        if cause.remedy() != Remedy::Verify {
            self.due.push_back((account, false));
            let kind = match failure.condition() {
                // Where nobody watches the connection, the server tells at the end what the closure has done to it.
                Condition::NoTransaction => {
                    // Its words are about the question, which is ours.
                    let failure = Failure::local("no transaction was open at COMMIT");
                    self.note(Phase::Commit, failure, cause);
                    return self.refuse(ErrorKind::EndedByClosure, None, trail);
                }
                Condition::InFailedTransaction => ErrorKind::RolledBackAtCommit,
                _ => ErrorKind::Failed,
            };
            return self.failed(Phase::Commit, failure, true, Otherwise::Ours(kind), trail);
        }
        let xid = witness.as_ref().and_then(|witness| witness.xid);
        let remedy = match (xid, &self.call.key) {
            (Some(_), _) => Remedy::Verify,
            // Its key is looked up by the next attempt.
            (None, Some(_)) => Remedy::Retry,
            (None, None) => Remedy::Abort,
        };
        self.note_for(Phase::Commit, failure.clone(), cause, remedy);
        self.in_doubt = Some(InDoubt { account, failure, xid });
        match witness {
            Some(witness) if witness.xid.is_some() => Next::Verify(witness),
            // No id doesn't mean that nothing was written: a foreign data wrapper, a Citus coordinator and NOTIFY write
            // without one.
            Some(_) | None => self.resolve(Verdict::Unknown),
        }
    }

    /// What follows from the answer about a COMMIT in doubt.
    pub(crate) fn resolve(&mut self, verdict: Verdict) -> Next {
        let Some(doubt) = self.in_doubt.take() else {
            unreachable!("only a commit in doubt is verified");
        };
        let trail = Trail::default();
        match verdict {
            Verdict::Committed => self.committed(Keyed::Ran(()), doubt.account, trail),
            Verdict::RolledBack => {
                self.due.push_back((doubt.account, false));
                let otherwise = Otherwise::Ours(ErrorKind::Failed);
                self.retry(Cause::CommitInDoubt, true, otherwise, trail)
            }
            Verdict::Unknown | Verdict::InProgress if self.call.key.is_some() => {
                self.in_doubt = Some(doubt);
                self.retry_in_doubt(trail)
            }
            Verdict::Unknown | Verdict::InProgress => {
                self.refuse(ErrorKind::CommitUnknown { xid: doubt.xid }, None, trail)
            }
        }
    }

    /// Whether a COMMIT is in doubt, whose value is returned if it turns out to have arrived.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt.is_some()
    }

    /// The key was new: the COMMIT that was in doubt has rolled back, for its own row would have been there, or waited
    /// for. What comes after is about this attempt alone.
    pub(crate) fn key_was_new(&mut self) {
        self.may_hold_key = true;
        if let Some(doubt) = self.in_doubt.take() {
            self.due.push_back((doubt.account, false));
        }
    }

    /// The key of a COMMIT that was in doubt wasn't there: it has rolled back.
    pub(crate) fn commit_was_lost(&mut self) -> Next {
        let otherwise = Otherwise::Ours(ErrorKind::Failed);
        self.retry(Cause::CommitInDoubt, true, otherwise, Trail::default())
    }

    /// The key makes another attempt safe; without one left, the outcome stays unknown.
    pub(super) fn retry_in_doubt(&mut self, trail: Trail) -> Next {
        match self.pause_after(Cause::CommitInDoubt, false) {
            Ok(pause) => Next::Pause(pause),
            Err(reason) => self.refuse(ErrorKind::GaveUp(reason), Some(reason), trail),
        }
    }
}
