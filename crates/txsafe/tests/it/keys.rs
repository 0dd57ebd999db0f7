//! How idempotency keys are claimed, step by step.

use crate::script::{Attempt, Opaque, Played, play_both_on};
use txsafe::{
    Builder, Error, ErrorKind, Failure, GiveUp, Keyed, Outcome, RetryPolicy, SqlState, TxOptions,
    driver::{CallKey, KEY_IN_PROGRESS, Postgres, Standing},
};

const NEW: &str = "new";

fn says(answer: &str) -> Result<Option<String>, Failure> {
    Ok(Some(answer.to_owned()))
}

fn lost() -> Failure {
    Failure::lost(None, "connection reset by peer")
}

fn lost_commit() -> Attempt {
    Attempt { commit: Some(lost()), ..Attempt::default() }
}

fn play(
    key: CallKey<'_>,
    attempts: &[Attempt],
    answers: &[Result<Option<String>, Failure>],
) -> Played {
    let options = TxOptions::new().retry(RetryPolicy::new().max_attempts(2));
    play_both_on(|make| Builder::new(&Postgres, make), &options, Some(key), attempts, answers)
}

fn key() -> CallKey<'static> {
    CallKey::new("k")
}

fn kind(played: &Played) -> ErrorKind {
    error(played).kind().clone()
}

fn error(played: &Played) -> &Error {
    match &played.0 {
        Err(Opaque::Txsafe(error)) => error,
        other => panic!("not an error of txsafe: {other:?}"),
    }
}

fn reused() -> ErrorKind {
    ErrorKind::IdempotencyKeyReused { key: "k".into() }
}

fn in_progress() -> ErrorKind {
    ErrorKind::IdempotencyKeyInProgress { key: "k".into() }
}

fn notes(text: &str) -> Vec<String> {
    text.split(", ").map(str::to_owned).collect()
}

#[test]
fn a_fingerprint_is_compared_only_where_the_key_is_there() {
    let key = || key().fingerprint(b"5");
    let (ran, told) = play(key(), &[], &[says(NEW)]);
    assert_eq!(ran.unwrap(), Keyed::Ran(1));
    assert_eq!(told[..3], notes("open, begin, claim key"));
    let (known, told) = play(key(), &[], &[Ok(None), Ok(None)]);
    assert_eq!(known.unwrap(), Keyed::AlreadyCommitted);
    let asked = "open, begin, claim key, compare fingerprint, rollback, give back";
    assert_eq!(told, notes(asked));
    let other = play(key(), &[], &[Ok(None), says("other")]);
    assert_eq!((kind(&other), other.1.clone()), (reused(), notes(asked)));
    assert_eq!(error(&other).outcome(), Outcome::RolledBack);
    assert!(!error(&other).is_transient() && error(&other).failure().is_none());
    let text = error(&other).to_string();
    assert!(text.starts_with("transaction \"scripted\" (") && text.contains("\"k\""), "{text}");
}

#[test]
fn a_key_of_another_request_settles_the_commit_before() {
    let played =
        play(key().fingerprint(b"5"), &[lost_commit()], &[says(NEW), Ok(None), says("other")]);
    assert_eq!((kind(&played), error(&played).outcome()), (reused(), Outcome::RolledBack));
    assert!(played.1.ends_with(&["after rollback 1".into()]), "{:?}", played.1);
}

#[test]
fn a_key_in_progress_is_waited_for_and_then_claimed() {
    let (ran, told) = play(key(), &[], &[says(KEY_IN_PROGRESS), says(""), says(NEW)]);
    assert_eq!(ran.unwrap(), Keyed::Ran(1));
    assert_eq!(told[2..5], notes("claim key, await key, claim key"));
    let (known, _) = play(key(), &[], &[says(KEY_IN_PROGRESS), says(""), Ok(None)]);
    assert_eq!(known.unwrap(), Keyed::AlreadyCommitted);
}

#[test]
fn a_key_that_stays_in_progress_is_told_from_other_locks() {
    let timeout = || Failure::refused(SqlState::LOCK_NOT_AVAILABLE, "lock timeout");
    let waits = || Attempt { standing: Some(Standing::Aborted(timeout())), ..Attempt::default() };
    let attempts = [waits(), waits()];
    let awaited = [says(KEY_IN_PROGRESS), Err(timeout()), says(KEY_IN_PROGRESS), Err(timeout())];
    let played = play(key(), &attempts, &awaited);
    let error = error(&played);
    assert_eq!(*error.kind(), in_progress());
    assert_eq!(error.gave_up(), Some(GiveUp::Attempts(2)));
    assert!(error.is_transient() && error.sqlstate() == Some(SqlState::LOCK_NOT_AVAILABLE));

    // The table itself isn't free.
    let played = play(key(), &attempts, &[Err(timeout()), Err(timeout())]);
    assert_eq!(kind(&played), ErrorKind::GaveUp(GiveUp::Attempts(2)));
    // What fails behind the wait is something else.
    let played = play(
        key(),
        &attempts,
        &[says(KEY_IN_PROGRESS), Err(timeout()), says(KEY_IN_PROGRESS), says(""), Err(timeout())],
    );
    assert_eq!(kind(&played), ErrorKind::GaveUp(GiveUp::Attempts(2)));
}

#[test]
fn nowait_is_told_at_once() {
    let played = play(key().nowait(), &[], &[says(KEY_IN_PROGRESS)]);
    assert_eq!(kind(&played), in_progress());
    assert_eq!(played.1, notes("open, begin, claim key, rollback, give back"));
    assert!(error(&played).is_transient() && error(&played).failure().is_none());
}

#[test]
fn nowait_waits_for_the_session_that_the_same_call_has_lost() {
    let waited = [says(NEW), says(KEY_IN_PROGRESS), says(""), says(NEW)];
    let broken = Attempt { standing: Some(Standing::Lost(lost())), ..Attempt::default() };
    let (ran, told) = play(key().nowait(), &[broken], &waited);
    assert_eq!(ran.unwrap(), Keyed::Ran(2), "{told:?}");
    let (ran, told) = play(key().nowait(), &[lost_commit()], &waited);
    assert_eq!(ran.unwrap(), Keyed::Ran(2), "{told:?}");
    // The connection broke before the answer to the claim came.
    let broken = Attempt { standing: Some(Standing::Lost(lost())), ..Attempt::default() };
    let waited = [Err(lost()), says(KEY_IN_PROGRESS), says(""), says(NEW)];
    let (ran, told) = play(key().nowait(), &[broken], &waited);
    assert_eq!(ran.unwrap(), Keyed::Ran(1), "{told:?}");
}

/// Its own session has released the key; somebody else has taken it.
#[test]
fn nowait_is_told_at_once_behind_a_rollback_that_was_answered() {
    let deadlock = Failure::refused(SqlState::DEADLOCK_DETECTED, "deadlock detected");
    let deadlocked = Attempt { standing: Some(Standing::Aborted(deadlock)), ..Attempt::default() };
    let played = play(key().nowait(), &[deadlocked], &[says(NEW), says(KEY_IN_PROGRESS)]);
    assert_eq!(kind(&played), in_progress());
    assert!(!played.1.contains(&"await key".into()), "{:?}", played.1);
}

/// A session's own statement timeout may be the shorter limit.
#[test]
fn a_key_is_in_progress_whichever_limit_ends_the_wait() {
    let timeout = || {
        Failure::refused(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
    };
    let waits = Attempt { standing: Some(Standing::Aborted(timeout())), ..Attempt::default() };
    let played = play(key(), &[waits], &[says(KEY_IN_PROGRESS), Err(timeout())]);
    assert_eq!((kind(&played), error(&played).is_transient()), (in_progress(), true));
}

#[test]
fn a_table_of_an_earlier_version_names_its_migration() {
    let has_cure = |failure: Failure| {
        let standing = Some(Standing::Aborted(failure.clone()));
        let broken = Attempt { standing, ..Attempt::default() };
        let played = play(key().fingerprint(b"5"), &[broken], &[Err(failure)]);
        error(&played).to_string().contains("earlier version: run `IDEMPOTENCY_KEYS_SQL` again")
    };
    let code = |code| SqlState::new(code).unwrap();
    for message in [
        "column \"fingerprint\" of relation \"txsafe_idempotency_keys\" does not exist",
        "Spalte »fingerprint« von Relation »txsafe_idempotency_keys« existiert nicht",
    ] {
        assert!(has_cure(Failure::refused(code("42703"), message)), "{message}");
        // Diesel's blocking connections hand out no code.
        assert!(has_cure(Failure::of_message(message)), "{message}");
    }
    assert!(!has_cure(Failure::refused(code("42703"), "column \"key\" does not exist")));
}
