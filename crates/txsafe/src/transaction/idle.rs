//! Sessions that the server ended because their transaction idled.
//!
//! The server says so (`25P03`) and closes the connection. Where the driver writes the next request before it reads that, all
//! that it reports is a broken connection, and such a failure would be retried. So the time tells: a connection that breaks
//! after its transaction sent nothing for as long as the server lets it idle was closed for that.

use super::cure::where_it_was_set;
use crate::{
    clock,
    dialect::{condition::Condition, failure::Failure, limits::Limit},
    driver::{account::Account, session::Standing},
    error::trail::Trail,
    retry::remedy::Phase,
};
use std::time::Duration;

macro_rules! cure {
    ($or:expr) => {
        concat!(
            "it is not tried again, since it would idle as long again: do what takes long before the transaction or behind it \
             (a job of a queue: claim it by a lease, and work on it outside of a transaction), or ",
            $or,
            ", which holds its locks for as long"
        )
    };
}
const CURE: &str = cure!("raise `idle_in_transaction_session_timeout` for this call");
const SESSIONS_CURE: &str = cure!(where_it_was_set!());

/// Whether to ask the server, before COMMIT or ROLLBACK, if it is still there: after so long a silence it has most likely
/// ended the session. A COMMIT that was never sent isn't in doubt.
pub(crate) fn asks_first<H>(account: &Account<H>, standing: &Standing, limit: Limit) -> bool {
    matches!(standing, Standing::Open(_)) && has_idled(account.trail.idle_at(clock::now()), limit)
}

/// The standing of a transaction whose connection is lost, named if the server ended its session for idling.
pub(crate) fn named(standing: Standing, trail: &Trail, limit: Limit) -> Standing {
    match standing {
        Standing::Lost(failure) => {
            Standing::Lost(named_failure(failure, Phase::Body, trail, limit))
        }
        other => other,
    }
}

/// The same of a failure. At COMMIT only the server's own word counts: without it, COMMIT may have run.
pub(crate) fn named_failure(
    failure: Failure,
    phase: Phase,
    trail: &Trail,
    limit: Limit,
) -> Failure {
    let idle = trail.idle_at(clock::now());
    match failure.condition() {
        Condition::IdleTimeout => told(failure, idle, limit),
        // The server's own word would say more.
        Condition::ServerGone
            if failure.sqlstate().is_none() && phase != Phase::Commit && has_idled(idle, limit) =>
        {
            // libpq goes on to guess.
            let said = failure.message().lines().next().unwrap_or_default();
            let inferred = format!(
                "{said}; the server most likely ended the session for idling (inferred, its own words were lost)",
            );
            let inferred =
                Failure::idled(inferred).with_statement(failure.statement().map(str::to_owned));
            told(inferred, idle, limit)
        }
        _ => failure,
    }
}

/// What the server said, or would have: with the times, and what to do.
fn told(failure: Failure, idle: Duration, limit: Limit) -> Failure {
    const SETTING: &str = "`idle_in_transaction_session_timeout`";
    // The statement was sent in time, as the driver saw it, and waited in the client or on the network.
    let was_late =
        !has_idled(idle, limit) && failure.took().is_some_and(|took| has_idled(took, limit));
    let idled = if was_late {
        "the statement was sent in time and reached the server too late, because the client or the network stood still".into()
    } else {
        format!("the transaction sent nothing for {idle:.1?}")
    };
    let (limit, cure) = match limit {
        Limit::Ours(limit) => (format!("its {SETTING} is {limit:?}"), CURE),
        Limit::Sessions(limit) => (
            format!("the session's own {SETTING} is {limit:?}, which txsafe doesn't raise"),
            SESSIONS_CURE,
        ),
        Limit::Never | Limit::Unknown => {
            (format!("its {SETTING} was left to the server"), SESSIONS_CURE)
        }
    };
    let message = format!("{}: {idled}, and {limit}", failure.message());
    failure.with_message(message).with_cure(cure)
}

/// Whether the server has ended the session, if it had been idle for so long by our clock. The server counts from sending
/// its answer to reading the next request, and we from reading the one to sending the other: somewhat less. Of a timeout that
/// isn't known nothing is inferred.
fn has_idled(idle: Duration, limit: Limit) -> bool {
    const SLACK: Duration = Duration::from_secs(1);
    limit.duration().is_some_and(|timeout| idle >= timeout - SLACK.min(timeout / 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqlState;
    use crate::retry::remedy::Cause;
    use std::time::Instant;

    fn cause(sqlstate: Option<SqlState>, idle: Duration) -> Cause {
        let limit = Limit::Ours(Duration::from_secs(30));
        let begin = Instant::now();
        let mut trail = Trail::new(begin);
        trail.push("UPDATE", begin + idle, begin + idle, Some(None));
        let lost = Standing::Lost(Failure::lost(sqlstate, "broken pipe"));
        let Standing::Lost(failure) = named(lost, &trail, limit) else { unreachable!() };
        Cause::of(&failure, Phase::Body)
    }

    #[test]
    fn a_connection_that_breaks_after_idling_for_as_long_as_it_may_was_closed_for_it() {
        let secs = Duration::from_secs;
        assert_eq!(cause(None, secs(28)), Cause::ConnectionLost);
        assert_eq!(cause(None, secs(30)), Cause::TransactionTimeout);
        assert_eq!(cause(Some(SqlState::ADMIN_SHUTDOWN), secs(30)), Cause::ConnectionLost);
        let code = SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT;
        assert_eq!(cause(Some(code), secs(1)), Cause::TransactionTimeout);
    }

    #[test]
    fn a_statement_that_reached_the_server_too_late_is_not_called_idling() {
        let limit = Limit::Ours(Duration::from_millis(300));
        let said = |took| {
            let failure = Failure::idled("terminating connection").with_took(Some(took));
            told(failure, Duration::from_millis(1), limit).to_string()
        };
        let late = said(Duration::from_millis(307));
        assert!(late.contains("reached the server too late"), "{late}");
        let idle = said(Duration::from_millis(2));
        assert!(idle.contains("sent nothing for 1.0ms"), "{idle}");
    }

    #[test]
    fn the_message_says_whose_limit_it_was_and_where_to_change_it() {
        let idle = Duration::from_secs(31);
        let said = |limit| told(Failure::idled("terminating connection"), idle, limit).to_string();
        let ours = said(Limit::Ours(Duration::from_secs(30)));
        assert!(ours.contains("its `idle_in_transaction_session_timeout` is 30s"), "{ours}");
        assert!(
            ours.contains("or raise `idle_in_transaction_session_timeout` for this call"),
            "{ours}"
        );
        let sessions = said(Limit::Sessions(Duration::from_secs(30)));
        assert!(
            sessions.contains("the session's own `idle_in_transaction_session_timeout` is 30s"),
            "{sessions}"
        );
        assert!(
            sessions.contains("ALTER ROLE") && !sessions.contains("for this call"),
            "{sessions}"
        );
    }
}
