//! What the run loops do, step by step.

use crate::script::{Attempt, Opaque, Played, play_both, play_both_on};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use txsafe::{
    Builder, Cause, Error, ErrorKind, Failure, GiveUp, Isolation, Keyed, Outcome, Remedy, Report,
    RetryPolicy, SqlState, TxOptions,
    driver::{ErrorFields, Postgres, Standing},
};

fn deadlock() -> Failure {
    Failure::refused(SqlState::DEADLOCK_DETECTED, "deadlock detected")
}

fn lost() -> Failure {
    Failure::lost(None, "connection reset by peer")
}

fn play(attempts: &[Attempt]) -> Played {
    play_both(&TxOptions::new(), None, attempts, &[])
}

fn ours(result: Result<Keyed<u32>, Opaque>) -> Error {
    match result {
        Err(Opaque::Txsafe(error)) => error,
        other => panic!("not an error of txsafe: {other:?}"),
    }
}

/// Plays a script whose attempts all fail, and returns the report of the async loop besides.
fn play_to_the_report(
    options: &TxOptions,
    attempts: &[Attempt],
    answers: &[Result<Option<String>, Failure>],
) -> (Played, Report) {
    let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
    let builder = |make| {
        let reports = Arc::clone(&reports);
        Builder::new(&Postgres, make)
            .on_report(move |report| reports.lock().unwrap().push(report.clone()))
    };
    let played = play_both_on(builder, options, None, attempts, answers);
    let mut reports = std::mem::take(&mut *reports.lock().unwrap());
    assert_eq!(reports.len(), 2, "one of each loop");
    (played, reports.remove(0))
}

fn notes(text: &str) -> Vec<String> {
    text.split(", ").map(str::to_owned).collect()
}

#[test]
fn commits_and_gives_back_before_hooks() {
    let (result, told) = play(&[]);
    assert_eq!(result.unwrap(), Keyed::Ran(1));
    assert_eq!(told, notes("open, begin, body 1, commit, give back, after commit 1"));
}

#[test]
fn rolls_back_gives_back_then_pauses_and_runs_the_whole_closure_again() {
    let collision = Attempt {
        body: Some("wrapped beyond recognition"),
        standing: Some(Standing::Aborted(deadlock())),
        ..Attempt::default()
    };
    let (result, told) = play(&[collision]);
    assert_eq!(result.unwrap(), Keyed::Ran(2));
    assert_eq!(
        told,
        notes(
            "open, begin, body 1, rollback, give back, after rollback 1, pause, \
             open, begin, body 2, commit, give back, after commit 2"
        )
    );
}

#[test]
fn asks_who_else_was_in_a_deadlock_once_it_is_rolled_back() {
    let detail = "Process 1 waits for ShareLock on transaction 5; blocked by process 22.\n\
                  Process 22 waits for ShareLock on transaction 6; blocked by process 1.";
    let fields = ErrorFields { detail: Some(detail.into()), ..ErrorFields::default() };
    let collision = Attempt {
        body: Some("wrapped beyond recognition"),
        standing: Some(Standing::Aborted(deadlock().with_fields(fields))),
        ..Attempt::default()
    };
    let once = TxOptions::new().retry(RetryPolicy::new().max_attempts(1));
    let who = [Ok(Some("22 billing/close".to_owned()))];
    let collision = std::slice::from_ref(&collision);
    let ((_, told), report) = play_to_the_report(&once, collision, &who);
    let failure = &report.failures[0].failure;
    assert!(failure.to_string().ends_with("; against transaction \"billing/close\""), "{failure}");
    let known = failure.deadlock().unwrap();
    assert_eq!((known.others.len(), known.others[0].process), (1, 22));
    assert_eq!(told, notes("open, begin, body 1, rollback, ask who, give back, after rollback 1"));

    // Who can't be asked any more is closed, and the deadlock is one all the same.
    let gone = [Err(lost())];
    let ((_, told), report) = play_to_the_report(&once, collision, &gone);
    let collided = &report.failures[0];
    assert_eq!(collided.cause, Cause::Deadlock);
    assert!(collided.failure.to_string().ends_with("; against process 22"), "{report}");
    assert_eq!(told, notes("open, begin, body 1, rollback, ask who, close, after rollback 1"));
}

#[test]
fn the_callers_own_error_is_returned_untouched_and_not_retried() {
    let own = Attempt { body: Some("out of stock"), ..Attempt::default() };
    let (result, told) = play(&[own]);
    assert!(matches!(result, Err(Opaque::Own("out of stock"))));
    assert_eq!(told, notes("open, begin, body 1, rollback, give back, after rollback 1"));
}

#[test]
fn an_aborting_failure_is_the_callers_error_too() {
    let duplicate = Failure::refused(SqlState::UNIQUE_VIOLATION, "duplicate key");
    let attempt = Attempt {
        body: Some("already exists"),
        standing: Some(Standing::Aborted(duplicate)),
        ..Attempt::default()
    };
    assert!(matches!(play(std::slice::from_ref(&attempt)).0, Err(Opaque::Own("already exists"))));

    let opted_in = TxOptions::new().retry_on([SqlState::UNIQUE_VIOLATION]);
    let (result, _) = play_both(&opted_in, None, std::slice::from_ref(&attempt), &[]);
    assert_eq!(result.unwrap(), Keyed::Ran(2));

    let twice = opted_in.retry(RetryPolicy::new().max_attempts(2));
    let (result, _) = play_both(&twice, None, &[attempt.clone(), attempt], &[]);
    assert!(matches!(result, Err(Opaque::Own("already exists"))), "it is still theirs");
}

#[test]
fn a_swallowed_failure_never_becomes_ok() {
    let failure = Failure::refused(SqlState::UNIQUE_VIOLATION, "duplicate key");
    let swallowed =
        |failure| Attempt { standing: Some(Standing::Aborted(failure)), ..Attempt::default() };
    let (result, told) = play(&[swallowed(failure)]);
    let error = ours(result);
    assert!(error.is_rolled_back_at_commit());
    assert_eq!(error.outcome(), Outcome::RolledBack);
    assert_eq!(told, notes("open, begin, body 1, rollback, give back, after rollback 1"));

    let (result, _) = play(&[swallowed(deadlock())]);
    assert_eq!(result.unwrap(), Keyed::Ran(2), "what was swallowed was worth another attempt");
}

#[test]
fn a_savepoint_that_recovered_still_tells_why() {
    let recovered = Attempt {
        body: Some("gave up inside"),
        standing: Some(Standing::Open(Some(deadlock()))),
        ..Attempt::default()
    };
    assert_eq!(play(&[recovered]).0.unwrap(), Keyed::Ran(2));
    let handled =
        Attempt { standing: Some(Standing::Open(Some(deadlock()))), ..Attempt::default() };
    assert_eq!(play(&[handled]).0.unwrap(), Keyed::Ran(1), "handled by the closure: committed");
}

#[test]
fn in_doubt_means_closed() {
    for (standing, kind) in [
        (Standing::Ended, ErrorKind::EndedByClosure),
        (Standing::SavepointOpen, ErrorKind::SavepointLeftOpen),
        (Standing::InFlight(None), ErrorKind::StatementLeftRunning),
        (Standing::Unprotected(deadlock()), ErrorKind::RanUnprotected),
    ] {
        let attempt = Attempt { standing: Some(standing), ..Attempt::default() };
        let (result, told) = play(&[attempt]);
        assert_eq!(*ours(result).kind(), kind);
        assert_eq!(told[3], "close");
    }
    let attempt = Attempt { body: Some("own"), rollback: Some(lost()), ..Attempt::default() };
    let (_, told) = play(&[attempt]);
    assert_eq!(told, notes("open, begin, body 1, rollback, close, after rollback 1"));
}

#[test]
fn what_rollback_leaves_on_the_session_means_closed() {
    for (sql, end) in [
        ("SELECT pg_advisory_lock(1)", "unlock, close"),
        ("PREPARE one AS SELECT 1", "close"),
        ("SELECT pg_advisory_xact_lock(1)", "give back"),
        ("SET search_path = tenant_a", "give back"),
    ] {
        let collision = Attempt {
            body: Some("x"),
            standing: Some(Standing::Aborted(deadlock())),
            ran: Some(sql),
            ..Attempt::default()
        };
        let (result, told) = play(&[collision]);
        assert_eq!(result.unwrap(), Keyed::Ran(2));
        assert_eq!(
            told,
            notes(&format!(
                "open, begin, body 1, rollback, {end}, after rollback 1, pause, \
                 open, begin, body 2, commit, give back, after commit 2"
            )),
            "{sql}"
        );
    }
}

#[test]
fn a_committed_session_is_closed_on_demand() {
    let play = |closes, sql| {
        let attempt = Attempt { ran: Some(sql), ..Attempt::default() };
        let builder = |make| Builder::new(&Postgres, make).close_on_session_state(closes);
        play_both_on(builder, &TxOptions::new(), None, &[attempt], &[]).1
    };
    for (closes, sql, end) in [
        (false, "SET search_path = tenant_a", "give back"),
        (true, "SET search_path = tenant_a", "close"),
        (true, "SET search_path = tenant_a; RESET search_path", "give back"),
        (true, "SET LOCAL search_path = tenant_a", "give back"),
    ] {
        let expected = format!("open, begin, body 1, commit, {end}, after commit 1");
        assert_eq!(play(closes, sql), notes(&expected), "{sql}");
    }
}

#[test]
fn a_lost_connection_is_replaced() {
    for attempt in [
        Attempt { open: Some(lost()), ..Attempt::default() },
        Attempt { begin: Some(lost()), ..Attempt::default() },
        Attempt { body: Some("x"), standing: Some(Standing::Lost(lost())), ..Attempt::default() },
    ] {
        let (result, told) = play(&[attempt]);
        assert!(result.is_ok());
        assert_eq!(told.iter().filter(|note| *note == "open").count(), 2);
    }
}

#[test]
fn bounds_end_it_with_the_closures_error_and_a_report() {
    let collision = Attempt {
        body: Some("busy"),
        standing: Some(Standing::Aborted(deadlock())),
        ..Attempt::default()
    };
    let options = TxOptions::new().retry(RetryPolicy::new().max_attempts(3));
    let attempts = [collision.clone(), collision.clone(), collision];
    let ((result, told), report) = play_to_the_report(&options, &attempts, &[]);
    assert!(matches!(result, Err(Opaque::Own("busy"))), "{result:?}");
    assert_eq!(report.gave_up, Some(GiveUp::Attempts(3)));
    assert_eq!((report.attempts, report.failures.len()), (3, 3));
    assert_eq!(report.failures[0].remedy, Remedy::Retry);
    assert!(report.failures[0].pause.is_some() && report.failures[2].pause.is_none());
    assert_eq!(told.iter().filter(|note| *note == "pause").count(), 2);
}

#[test]
fn without_an_error_of_the_closure_the_error_tells_why_it_ended() {
    let options = TxOptions::new().retry(RetryPolicy::new().max_attempts(2));
    let swallowed = Attempt { standing: Some(Standing::Lost(lost())), ..Attempt::default() };
    let (result, _) = play_both(&options, None, &[swallowed.clone(), swallowed], &[]);
    let error = ours(result);
    assert_eq!(*error.kind(), ErrorKind::GaveUp(GiveUp::Attempts(2)));
    assert!(error.is_transient());
    let text = error.to_string();
    assert!(text.contains("\"scripted\"") && text.contains("attempts used up (2)"), "{text}");
}

#[test]
fn a_deadline_stops_the_pauses() {
    let collision = Attempt {
        body: Some("busy"),
        standing: Some(Standing::Aborted(deadlock())),
        ..Attempt::default()
    };
    let options = TxOptions::new()
        .timeout(Duration::from_millis(40))
        .retry(RetryPolicy::new().pauses(|| [Duration::from_millis(60)]));
    let ((result, told), report) = play_to_the_report(&options, &[collision], &[]);
    assert!(matches!(result, Err(Opaque::Own("busy"))), "{result:?}");
    assert_eq!(report.gave_up, Some(GiveUp::Deadline));
    assert!(!told.contains(&"pause".to_owned()));
}

#[test]
fn a_commit_that_is_refused_is_classified_like_anything_else() {
    let at_commit =
        |failure| Attempt { commit: Some(failure), standing: None, ..Attempt::default() };
    let serialization = Failure::refused(SqlState::SERIALIZATION_FAILURE, "could not serialize");
    assert_eq!(play(&[at_commit(serialization)]).0.unwrap(), Keyed::Ran(2));

    let foreign_key = Failure::refused(SqlState::new("23503").unwrap(), "violates foreign key");
    let (result, told) = play(&[at_commit(foreign_key)]);
    let error = ours(result);
    assert_eq!((error.kind(), error.outcome()), (&ErrorKind::Failed, Outcome::RolledBack));
    assert!(told.contains(&"after rollback 1".to_owned()));
}

fn lost_commit() -> Attempt {
    Attempt { commit: Some(lost()), ..Attempt::default() }
}

fn answer(text: &str) -> Result<Option<String>, Failure> {
    Ok(Some(text.to_owned()))
}

#[test]
fn a_lost_commit_is_unknown_and_never_retried() {
    let (result, told) = play(&[lost_commit()]);
    let error = ours(result);
    assert!(error.is_commit_unknown());
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(error.cause(), Some(Cause::CommitInDoubt));
    assert_eq!(told, notes("open, begin, body 1, commit, close"), "and no hook runs");
}

#[test]
fn verification_asks_the_server_on_a_new_connection() {
    let options = TxOptions::new().verify_commit(true);
    let witness = answer("771|42|1|2");
    let play = |status: &[&str]| {
        let answers: Vec<_> =
            [witness.clone()].into_iter().chain(status.iter().map(|s| answer(s))).collect();
        play_both(&options, None, &[lost_commit()], &answers)
    };

    let (result, told) = play(&["committed|1|2"]);
    assert_eq!(result.unwrap(), Keyed::Ran(1));
    assert_eq!(
        told,
        notes(
            "open, begin, body 1, ask witness, commit, close, open, ask status, give back, after commit 1"
        )
    );

    let (result, told) = play(&["in progress|1|2", "aborted|1|2"]);
    assert_eq!(result.unwrap(), Keyed::Ran(2));
    assert!(told.contains(&"after rollback 1".to_owned()));
    assert!(told.contains(&"after commit 2".to_owned()));

    let (result, _) = play(&["committed|1|999"]);
    let error = ours(result);
    assert_eq!(*error.kind(), ErrorKind::CommitUnknown { xid: Some(771) }, "behind another fence");
}

#[test]
fn a_lost_commit_without_a_transaction_id_is_unknown() {
    for isolation in [Isolation::ReadCommitted, Isolation::Serializable] {
        let options = TxOptions::new().verify_commit(true).isolation(isolation);
        let (result, told) = play_both(&options, None, &[lost_commit()], &[answer("-|42|1|2")]);
        assert_eq!(*ours(result).kind(), ErrorKind::CommitUnknown { xid: None });
        assert_eq!(told, notes("open, begin, body 1, ask witness, commit, close"));
    }
}

/// What an attempt in which something ran unseen comes to, by what the server answers.
fn unseen(attempt: Attempt, answers: &[Result<Option<String>, Failure>]) -> Played {
    let attempt = Attempt { unseen: true, ..attempt };
    play_both(&TxOptions::new(), None, &[attempt], answers)
}

#[test]
fn what_ran_unseen_is_committed_if_it_is_still_the_same_transaction() {
    let (result, told) = unseen(Attempt::default(), &[answer("MARK|MARK+")]);
    assert_eq!(result.unwrap(), Keyed::Ran(1));
    assert_eq!(told, notes("open, begin, body 1, ask mark, commit, give back, after commit 1"));

    // Nothing, an older transaction's mark, or its own after a foreign COMMIT.
    for left in ["MARK|", "MARK", "MARK|0123456789abcdef", "MARK|MARK"] {
        let (result, told) = unseen(Attempt::default(), &[answer(left)]);
        let error = ours(result);
        assert_eq!(*error.kind(), ErrorKind::EndedByClosure, "{left}");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert_eq!(told, notes("open, begin, body 1, ask mark, close, after rollback 1"));
    }

    // What comes first is the answer to something else.
    for stale in [Ok(None), answer("1"), Err(lost())] {
        let (result, told) = unseen(Attempt::default(), &[stale, answer("MARK|MARK+")]);
        let error = ours(result);
        assert_eq!(*error.kind(), ErrorKind::OutOfStep);
        assert_eq!(error.outcome(), Outcome::RolledBack);
        let asked = "open, begin, body 1, ask mark, ask mark, close, after rollback 1";
        assert_eq!(told, notes(asked));
    }

    // It never comes.
    let (result, told) = unseen(Attempt::default(), &[answer("1"), Ok(None), Err(lost())]);
    let error = ours(result);
    assert_eq!((error.kind(), error.outcome()), (&ErrorKind::Unidentified, Outcome::Unknown));
    assert_eq!(told.iter().filter(|note| *note == "ask mark").count(), 4);
}

#[test]
fn what_was_aborted_unseen_is_rolled_back_and_tried_again() {
    let aborted = || Err(Failure::refused(SqlState::IN_FAILED_SQL_TRANSACTION, "aborted"));
    let answers = [aborted(), aborted(), aborted(), aborted(), answer("MARK|")];
    let (result, told) = unseen(Attempt::default(), &answers);
    assert_eq!(*ours(result).kind(), ErrorKind::RolledBackAtCommit, "nothing was lent");
    assert_eq!(told[7..], notes("rollback, ask mark, give back, after rollback 1"));
    for body in [None, Some("wrapped")] {
        let (result, told) = unseen(Attempt { body, lent: true, ..Attempt::default() }, &answers);
        assert_eq!(result.unwrap(), Keyed::Ran(2));
        assert_eq!(told[7..12], notes("rollback, ask mark, give back, after rollback 1, pause"));
    }
}

#[test]
fn what_ran_unseen_is_retried_only_if_nothing_of_it_was_committed() {
    let deadlock = || Attempt {
        body: Some("wrapped"),
        standing: Some(Standing::Aborted(Failure::refused(SqlState::SERIALIZATION_FAILURE, ""))),
        ..Attempt::default()
    };
    let (result, told) = unseen(deadlock(), &[answer("MARK|")]);
    assert_eq!(result.unwrap(), Keyed::Ran(2));
    assert!(told.contains(&"ask mark".to_owned()));

    let (result, told) = unseen(deadlock(), &[answer("MARK|MARK")]);
    assert_eq!(*ours(result).kind(), ErrorKind::EndedByClosure);
    assert!(!told.contains(&"body 2".to_owned()));

    let gone = Failure::lost(None, "gone");
    let never = [Err(gone.clone()), Err(gone.clone()), Err(gone.clone()), Err(gone.clone())];
    let (result, told) = unseen(deadlock(), &never);
    assert_eq!(*ours(result).kind(), ErrorKind::Unidentified);
    assert!(told.contains(&"close".to_owned()) && !told.contains(&"body 2".to_owned()));

    let lost = Attempt { standing: Some(Standing::Lost(gone)), ..Attempt::default() };
    let (result, told) = unseen(lost, &[]);
    assert_eq!(*ours(result).kind(), ErrorKind::Unidentified);
    assert_eq!(told, notes("open, begin, body 1, close, after rollback 1"));
}

#[test]
fn what_ran_unseen_is_asked_for_before_its_connection_is_replaced() {
    let stale = Attempt {
        body: Some("wrapped"),
        standing: Some(Standing::Aborted(Failure::of_message(
            "cached plan must not change result type",
        ))),
        ..Attempt::default()
    };
    let (result, told) = unseen(stale, &[answer("MARK|")]);
    assert_eq!(result.unwrap(), Keyed::Ran(2));
    assert_eq!(told[..6], notes("open, begin, body 1, rollback, ask mark, close"));
}

#[test]
fn the_callers_own_error_is_its_own_where_something_ran_unseen_too() {
    let own = Attempt { body: Some("sold out"), ..Attempt::default() };
    let (result, told) = unseen(own, &[answer("MARK|MARK+"), answer("MARK|")]);
    assert!(matches!(result, Err(Opaque::Own("sold out"))));
    assert_eq!(
        told,
        notes("open, begin, body 1, ask mark, rollback, ask mark, give back, after rollback 1")
    );
}

#[test]
fn a_connection_that_somebody_left_in_a_transaction_is_replaced() {
    for code in [SqlState::ACTIVE_SQL_TRANSACTION, SqlState::IN_FAILED_SQL_TRANSACTION] {
        let left = Attempt { begin: Some(Failure::refused(code, "")), ..Attempt::default() };
        let (result, told) = play(&[left]);
        assert_eq!(result.unwrap(), Keyed::Ran(1));
        assert_eq!(
            told,
            notes(
                "open, begin, close, pause, open, begin, body 1, commit, give back, after commit 1"
            )
        );
    }
}

#[test]
fn a_key_that_is_there_means_committed() {
    let (result, told) = play_both(&TxOptions::new(), Some("k"), &[], &[Ok(None)]);
    assert_eq!(result.unwrap(), Keyed::AlreadyCommitted);
    assert_eq!(told, notes("open, begin, claim key, rollback, give back"));
}

#[test]
fn a_key_turns_a_lost_commit_into_a_known_one() {
    let (result, told) =
        play_both(&TxOptions::new(), Some("k"), &[lost_commit()], &[answer("k"), Ok(None)]);
    assert_eq!(result.unwrap(), Keyed::Ran(1), "the first attempt's value, for it was the one");
    assert_eq!(
        told,
        notes(
            "open, begin, claim key, body 1, commit, close, pause, \
             open, begin, claim key, rollback, give back, after commit 1"
        )
    );
    let (result, _) =
        play_both(&TxOptions::new(), Some("k"), &[lost_commit()], &[answer("k"), answer("k")]);
    assert_eq!(result.unwrap(), Keyed::Ran(2), "the first had not arrived");
}

#[test]
fn a_commit_in_doubt_stays_unknown_when_the_attempts_end() {
    let options = TxOptions::new().retry(RetryPolicy::new().max_attempts(2));
    let down = Attempt { open: Some(lost()), ..Attempt::default() };
    let (result, _) = play_both(&options, Some("k"), &[lost_commit(), down], &[answer("k")]);
    assert!(ours(result).is_commit_unknown());
}

#[test]
fn a_key_that_is_new_again_settles_the_commit_before() {
    let aborted = Failure::refused(SqlState::new("53100").unwrap(), "disk full");
    let second = Attempt {
        body: Some("refused"),
        standing: Some(Standing::Aborted(aborted)),
        ..Attempt::default()
    };
    let answers = [answer("k"), answer("k")];
    let (result, notes) =
        play_both(&TxOptions::new(), Some("k"), &[lost_commit(), second], &answers);
    assert!(matches!(result, Err(Opaque::Own("refused"))), "{result:?}");
    assert!(notes.ends_with(&["after rollback 1".into(), "after rollback 2".into()]), "{notes:?}");
}

#[test]
fn what_follows_a_lost_answer_is_named_as_it_is() {
    let remedy = |options: TxOptions, answers: &[_]| {
        let (_, report) = play_to_the_report(&options, &[lost_commit()], answers);
        (report.failures[0].remedy, report.outcome)
    };
    let trusting = || TxOptions::new().verify_commit(false);
    assert_eq!(remedy(trusting(), &[]), (Remedy::Abort, Outcome::Unknown));
    let verifying = || TxOptions::new().verify_commit(true);
    let committed = [answer("771|42|1|2"), answer("committed|1|2")];
    assert_eq!(remedy(verifying(), &committed), (Remedy::Verify, Outcome::Committed));
    // It has no id to ask for.
    assert_eq!(remedy(verifying(), &[answer("-|42|1|2")]), (Remedy::Abort, Outcome::Unknown));
}

#[test]
fn a_key_that_could_not_be_looked_at_is_asked_for_again() {
    let full = Failure::refused(SqlState::new("53100").unwrap(), "disk full");
    let refused = Attempt { standing: Some(Standing::Aborted(full.clone())), ..Attempt::default() };
    let answers = [answer("k"), Err(full), Ok(None)];
    let (result, _) = play_both(
        &TxOptions::new(),
        Some("k"),
        &[lost_commit(), refused, Attempt::default()],
        &answers,
    );
    assert!(matches!(result, Ok(Keyed::Ran(1))), "{result:?}");
}

#[test]
fn a_commit_in_doubt_stays_unknown_when_the_deadline_passes() {
    const TIMEOUT: Duration = Duration::from_millis(60);
    // The sequence of pauses takes its time: when the next attempt is to start, it is too late.
    let policy = RetryPolicy::new().pauses(|| {
        let late = Instant::now() + TIMEOUT;
        std::iter::repeat_with(move || {
            while Instant::now() < late {}
            Duration::ZERO
        })
    });
    let options = TxOptions::new().timeout(TIMEOUT).retry(policy);
    let (result, _) = play_both(&options, Some("k"), &[lost_commit()], &[answer("k")]);
    let error = ours(result);
    assert!(error.is_commit_unknown(), "{error}");
    assert_eq!(error.gave_up(), Some(GiveUp::Deadline));
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[test]
fn a_missing_table_names_its_migration() {
    let missing = Failure::refused(SqlState::UNDEFINED_TABLE, "relation does not exist");
    let broken =
        Attempt { standing: Some(Standing::Aborted(missing.clone())), ..Attempt::default() };
    let (result, _) = play_both(&TxOptions::new(), Some("k"), &[broken], &[Err(missing)]);
    let text = ours(result).to_string();
    assert!(text.contains("IDEMPOTENCY_KEYS_SQL"), "{text}");
}
