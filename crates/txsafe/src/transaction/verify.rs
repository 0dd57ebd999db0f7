//! What became of a COMMIT whose answer was lost: the fenced question to the server.
//!
//! Before COMMIT the transaction's id is noted, with a *fence*: when the server started, and when its statistics were
//! reset, which a crash does. After a lost answer a new connection asks for the status of that id. It counts only if
//! the fence is the same: after a crash an id whose WAL was not flushed is handed out again, and the status would be
//! that of somebody else's transaction.
//! Source: PostgreSQL manual, section 9.27, "Transaction ID and Snapshot Information Functions".

use super::{
    call::Call,
    holders::{open, open_blocking},
};
use crate::{
    clock,
    dialect::Ask,
    driver::session::{AsyncSession, AsyncSource, Question, Session, Source},
    guard::holding::Stage,
};
use std::time::Duration;

/// After so many rounds of *in progress* the old backend is ended.
const ROUNDS_BEFORE_TERMINATING: u32 = 5;

/// What a transaction knows of itself before COMMIT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Witness {
    /// `None`: no id was assigned, which doesn't mean that nothing was written.
    pub(crate) xid: Option<u64>,
    pid: String,
    fence: String,
}

/// What became of a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Committed,
    RolledBack,
    InProgress,
    Unknown,
}

impl Witness {
    /// Reads the answer to [`Ask::Witness`], which is asked in the transaction, as the last statement before COMMIT.
    pub(crate) fn read(answer: &str) -> Option<Self> {
        let mut parts = answer.splitn(3, '|');
        let (xid, pid, fence) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { xid: xid.parse().ok(), pid: pid.to_owned(), fence: fence.to_owned() })
    }

    fn xid_text(&self) -> Option<String> {
        self.xid.map(|xid| xid.to_string())
    }

    /// Reads the answer to the question for the status of `xid`.
    fn judge(&self, answer: &str) -> Verdict {
        match answer.split_once('|') {
            Some((_, fence)) if fence != self.fence => Verdict::Unknown,
            Some(("committed", _)) => Verdict::Committed,
            Some(("aborted", _)) => Verdict::RolledBack,
            Some(("in progress", _)) => Verdict::InProgress,
            Some(_) | None => Verdict::Unknown,
        }
    }
}

/// Asks until the server knows, at most for `answer_timeout`.
pub(crate) async fn verify<C: AsyncSource>(
    source: &mut C,
    call: &Call,
    witness: &Witness,
) -> Verdict {
    let (settings, dialect) = (&call.settings, call.shared.dialect);
    let Some(xid) = witness.xid_text() else { return Verdict::Unknown };
    let Some(status) = dialect.question(Ask::CommitStatus) else { return Verdict::Unknown };
    let until = clock::now() + settings.answer_timeout;
    for round in 1.. {
        let options = settings.of_session(Some(until.saturating_duration_since(clock::now())));
        // A session that gets no answer is dropped, and so closed: the server may still be on its way up.
        if let Ok(mut session) = open(call, source, options, Stage::Verifies).await
            && let Ok(Some(answer)) = session.ask(Question::new(status, &[&xid])).await
        {
            let verdict = witness.judge(&answer);
            if verdict == Verdict::InProgress
                && round == ROUNDS_BEFORE_TERMINATING
                && let Some(sql) = dialect.question(Ask::EndSession)
            {
                let binds = &[witness.pid.as_str(), xid.as_str()];
                let _ = session.ask(Question::new(sql, binds)).await;
            }
            session.give_back();
            if verdict != Verdict::InProgress {
                return verdict;
            }
        }
        if clock::now() >= until {
            break;
        }
        source.sleep(pause_of(round)).await;
    }
    Verdict::Unknown
}

/// The blocking twin of [`verify`].
pub(crate) fn verify_blocking<C: Source>(
    source: &mut C,
    call: &Call,
    witness: &Witness,
) -> Verdict {
    let (settings, dialect) = (&call.settings, call.shared.dialect);
    let Some(xid) = witness.xid_text() else { return Verdict::Unknown };
    let Some(status) = dialect.question(Ask::CommitStatus) else { return Verdict::Unknown };
    let until = clock::now() + settings.answer_timeout;
    for round in 1.. {
        let options = settings.of_session(Some(until.saturating_duration_since(clock::now())));
        if let Ok(mut session) = open_blocking(call, source, options, Stage::Verifies)
            && let Ok(Some(answer)) = session.ask(Question::new(status, &[&xid]))
        {
            let verdict = witness.judge(&answer);
            if verdict == Verdict::InProgress
                && round == ROUNDS_BEFORE_TERMINATING
                && let Some(sql) = dialect.question(Ask::EndSession)
            {
                let binds = &[witness.pid.as_str(), xid.as_str()];
                let _ = session.ask(Question::new(sql, binds));
            }
            session.give_back();
            if verdict != Verdict::InProgress {
                return verdict;
            }
        }
        if clock::now() >= until {
            break;
        }
        source.sleep(pause_of(round));
    }
    Verdict::Unknown
}

fn pause_of(round: u32) -> Duration {
    Duration::from_millis(10).saturating_mul(round.min(20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_counts_only_behind_the_same_fence() {
        let witness = Witness::read("771|4242|1700000000.5|1700000001.25").unwrap();
        assert_eq!(witness.xid, Some(771));
        for (answer, verdict) in [
            ("committed|1700000000.5|1700000001.25", Verdict::Committed),
            ("aborted|1700000000.5|1700000001.25", Verdict::RolledBack),
            ("in progress|1700000000.5|1700000001.25", Verdict::InProgress),
            ("forgotten|1700000000.5|1700000001.25", Verdict::Unknown),
            ("committed|1700000000.5|1700000009.75", Verdict::Unknown),
            ("committed|1700000777.5|1700000001.25", Verdict::Unknown),
            ("committed", Verdict::Unknown),
        ] {
            assert_eq!(witness.judge(answer), verdict, "{answer}");
        }
        assert_eq!(Witness::read("-|4242|1|2").unwrap().xid, None);
    }
}
