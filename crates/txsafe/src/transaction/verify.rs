//! What became of a COMMIT whose answer was lost: the fenced question to the server.
//!
//! Before COMMIT the transaction's id is noted, with a *fence*: when the server started, and when its statistics were
//! reset, which a crash does. After a lost answer a new connection asks for the status of that id. It counts only if
//! the fence is the same: after a crash an id whose WAL was not flushed is handed out again, and the status would be
//! that of somebody else's transaction.
//! Source: PostgreSQL manual, section 9.27, "Transaction ID and Snapshot Information Functions".

use super::settings::Settings;
use crate::driver::session::{AsyncSession, AsyncWork, Question, Session, Work};
use std::time::{Duration, Instant};

/// The fence, as SQL over `pg_stat_bgwriter`. A plain role may read both.
macro_rules! fence {
    () => {
        "extract(epoch FROM pg_postmaster_start_time()), coalesce(extract(epoch FROM stats_reset)::text, '-')"
    };
}

const WITNESS_SQL: &str = concat!(
    "SELECT concat_ws('|', coalesce(pg_current_xact_id_if_assigned()::text, '-'), pg_backend_pid(), ",
    fence!(),
    ") AS answer FROM pg_stat_bgwriter"
);

const STATUS_SQL: &str = concat!(
    "SELECT concat_ws('|', coalesce(pg_xact_status($1::text::xid8), 'forgotten'), ",
    fence!(),
    ") AS answer FROM pg_stat_bgwriter"
);

/// Ends the old backend, if it still waits in this very transaction for a COMMIT that never came. One that works on COMMIT
/// is left to it; and where standbys are waited for, all are: ended there, a COMMIT that comes in this moment would make
/// visible what isn't replicated.
/// Source: PostgreSQL manual, section 27.2.8, "Synchronous Replication".
const TERMINATE_SQL: &str = "SELECT pg_terminate_backend(pid)::text AS answer FROM pg_stat_activity \
                             WHERE pid = $1::text::int AND backend_xid = ($2::text::xid8)::xid \
                             AND state <> 'active' AND current_setting('synchronous_standby_names') = ''";

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
    /// Asked in the transaction, as the last statement before COMMIT.
    pub(crate) const QUESTION: Question<'static> = Question { sql: WITNESS_SQL, binds: &[] };

    /// Reads the answer to [`QUESTION`](Self::QUESTION).
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
pub(crate) async fn verify<W: AsyncWork>(
    work: &mut W,
    settings: &Settings,
    witness: &Witness,
) -> Verdict {
    let Some(xid) = witness.xid_text() else { return Verdict::Unknown };
    let until = Instant::now() + settings.answer_timeout;
    for round in 1.. {
        let options = settings.of_session(Some(until.saturating_duration_since(Instant::now())));
        // A session that gets no answer is dropped, and so closed: the server may still be on its way up.
        if let Ok(mut session) = work.open(options).await
            && let Ok(Some(answer)) =
                session.ask(Question { sql: STATUS_SQL, binds: &[&xid] }).await
        {
            let verdict = witness.judge(&answer);
            if verdict == Verdict::InProgress && round == ROUNDS_BEFORE_TERMINATING {
                let binds = &[witness.pid.as_str(), xid.as_str()];
                let _ = session.ask(Question { sql: TERMINATE_SQL, binds }).await;
            }
            session.give_back();
            if verdict != Verdict::InProgress {
                return verdict;
            }
        }
        if Instant::now() >= until {
            break;
        }
        work.sleep(pause_of(round)).await;
    }
    Verdict::Unknown
}

/// The blocking twin of [`verify`].
pub(crate) fn verify_blocking<W: Work>(
    work: &mut W,
    settings: &Settings,
    witness: &Witness,
) -> Verdict {
    let Some(xid) = witness.xid_text() else { return Verdict::Unknown };
    let until = Instant::now() + settings.answer_timeout;
    for round in 1.. {
        let options = settings.of_session(Some(until.saturating_duration_since(Instant::now())));
        if let Ok(mut session) = work.open(options)
            && let Ok(Some(answer)) = session.ask(Question { sql: STATUS_SQL, binds: &[&xid] })
        {
            let verdict = witness.judge(&answer);
            if verdict == Verdict::InProgress && round == ROUNDS_BEFORE_TERMINATING {
                let binds = &[witness.pid.as_str(), xid.as_str()];
                let _ = session.ask(Question { sql: TERMINATE_SQL, binds });
            }
            session.give_back();
            if verdict != Verdict::InProgress {
                return verdict;
            }
        }
        if Instant::now() >= until {
            break;
        }
        work.sleep(pause_of(round));
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
