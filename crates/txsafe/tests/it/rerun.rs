//! Rerun mode, step by step.

use crate::script::{Attempt, Opaque, Played, play_both_called, play_both_on};
use std::{
    panic::{AssertUnwindSafe, Location, catch_unwind},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};
use txsafe::{
    Budget, Builder, Failure, Keyed, Report, RetryPolicy, SqlState, TxOptions,
    driver::{Call, CallKey, Postgres, Shared, Standing},
    guard::{Code, Finding, Policy, Severity, rerun::RERUN_VARIABLE},
};

const TWICE: &str = "open, begin, body 1, rollback, give back, after rollback 1, \
                     open, begin, body 2, commit, give back, after commit 2";
const ONCE: &str = "open, begin, body 1, commit, give back, after commit 1";

fn notes(text: &str) -> Vec<String> {
    text.split(", ").map(str::to_owned).collect()
}

fn ran(sql: &'static str) -> Attempt {
    Attempt { ran: Some(sql), ..Attempt::default() }
}

fn deadlock() -> Failure {
    Failure::refused(SqlState::DEADLOCK_DETECTED, "deadlock detected")
}

type Findings = Arc<Mutex<Vec<Finding>>>;

/// A policy of rerun mode that warns, and its findings.
fn warning() -> (Policy, Findings) {
    let findings = Findings::default();
    let told = Arc::clone(&findings);
    let receive = move |finding: &Finding| told.lock().unwrap().push(finding.clone());
    (Policy::dev().rerun(true).on_finding(receive), findings)
}

fn build(policy: &Policy) -> Arc<Shared> {
    Builder::new(&Postgres, |shared| shared).guard(policy.clone()).build().unwrap()
}

/// Plays a script in rerun mode, with these options and maybe a key.
fn play_with(
    options: &TxOptions,
    key: Option<&str>,
    attempts: &[Attempt],
    answers: &[Result<Option<String>, Failure>],
) -> (Played, Vec<Finding>) {
    let (policy, findings) = warning();
    let builder =
        |make: fn(Arc<Shared>) -> Arc<Shared>| Builder::new(&Postgres, make).guard(policy.clone());
    let played = play_both_on(builder, options, key.map(CallKey::new), attempts, answers);
    let findings = std::mem::take(&mut *findings.lock().unwrap());
    (played, findings)
}

fn play(attempts: &[Attempt]) -> (Played, Vec<Finding>) {
    play_with(&TxOptions::new(), None, attempts, &[])
}

/// What is found, by both loops, in these two runs.
fn found(first: Attempt, second: Attempt) -> Option<String> {
    let (_, findings) = play(&[first, second]);
    let told: Vec<_> = findings.iter().map(|finding| finding.what.clone()).collect();
    match told.as_slice() {
        [] => None,
        [on_async, on_blocking] if on_async == on_blocking => {
            assert!(findings.iter().all(|finding| finding.code == Code::RerunDiffers));
            Some(on_async.clone())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_attempt_is_rolled_back_and_run_again_without_a_pause() {
    let ((result, told), findings) = play(&[ran("SELECT 1"), ran("SELECT 1")]);
    assert_eq!(result.unwrap(), Keyed::Ran(2), "the value of the run that committed");
    assert_eq!(told, notes(TWICE));
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn nothing_is_run_again_unless_somebody_wants_it() {
    for policy in [Policy::test(), Policy::dev(), Policy::dev().rerun(false), Policy::off()] {
        let builder = |make: fn(Arc<Shared>) -> Arc<Shared>| {
            Builder::new(&Postgres, make).guard(policy.clone())
        };
        let (_, told) = play_both_on(builder, &TxOptions::new(), None, &[], &[]);
        assert_eq!(told, notes(ONCE), "{policy:?}");
    }
    for policy in [Policy::off(), Policy::production(), Policy::staging()] {
        let built =
            Builder::new(&Postgres, |shared: Arc<Shared>| shared).guard(policy.rerun(true)).build();
        let refused = built.unwrap_err().to_string();
        assert!(refused.contains("`rerun` can't be true") && refused.contains("Policy::test()"));
    }
}

#[test]
fn a_second_run_that_differs_is_found() {
    assert_eq!(found(ran("SELECT 1"), ran("SELECT 1")), None);
    assert_eq!(
        found(ran("INSERT INTO a"), ran("INSERT INTO b")).unwrap(),
        "its closure was run again, and statement 1 was `INSERT INTO a` in the first run and `INSERT INTO b` in the second",
    );
    assert_eq!(
        found(ran("INSERT INTO a"), Attempt::default()).unwrap(),
        "its closure was run again, and statement 1 was `INSERT INTO a` in the first run, and the second had none",
    );
    let own = Attempt { body: Some("empty"), ..ran("SELECT 1") };
    assert_eq!(
        found(ran("SELECT 1"), own.clone()).unwrap(),
        "the first run of its closure returned Ok, and the second returned an error",
    );
    let both = found(ran("SELECT 2"), own).unwrap();
    assert!(both.ends_with("returned an error; statement 1 was `SELECT 2` in the first run and `SELECT 1` in the second"));
    let marked = Attempt { rollback_only: true, ..Attempt::default() };
    let both = found(Attempt::default(), marked).unwrap();
    assert!(both.ends_with("and the second called `set_rollback_only`"), "{both}");
    let refused = Failure::refused(SqlState::UNIQUE_VIOLATION, "duplicate key");
    let duplicate = Attempt {
        body: Some("wrapped"),
        standing: Some(Standing::Aborted(refused)),
        ..Attempt::default()
    };
    let failed = found(Attempt::default(), duplicate).unwrap();
    assert!(failed.contains("returned Ok, and the second failed: duplicate key"), "{failed}");
}

#[test]
fn the_caller_hears_of_the_second_run() {
    let ((result, told), _) =
        play(&[Attempt::default(), Attempt { body: Some("empty"), ..Attempt::default() }]);
    assert!(matches!(result, Err(Opaque::Own("empty"))), "{result:?}");
    assert!(told.ends_with(&notes("body 2, rollback, give back, after rollback 2")), "{told:?}");
}

#[test]
fn a_test_fails_by_it_and_nothing_is_committed() {
    let policy = Policy::test().rerun(true).on_finding(|_| {});
    let builder =
        |make: fn(Arc<Shared>) -> Arc<Shared>| Builder::new(&Postgres, make).guard(policy.clone());
    for second in [ran("SELECT 2"), Attempt { body: Some("empty"), ..ran("SELECT 1") }] {
        let attempts = [ran("SELECT 1"), second];
        let play = || play_both_on(builder, &TxOptions::new(), None, &attempts, &[]);
        let panic = catch_unwind(AssertUnwindSafe(play)).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.starts_with("TXS012 rerun differs: "), "{text}");
        assert!(text.contains("\n  in transaction \"scripted\" ("), "{text}");
        assert!(text.ends_with("(docs/findings/TXS012.md)"), "{text}");
    }
    // A rule or a severity lets it pass.
    let off = Policy::test().rerun(true).severity(Code::RerunDiffers, Severity::Off);
    let builder =
        |make: fn(Arc<Shared>) -> Arc<Shared>| Builder::new(&Postgres, make).guard(off.clone());
    let attempts = [ran("SELECT 1"), ran("SELECT 2")];
    let (result, told) = play_both_on(builder, &TxOptions::new(), None, &attempts, &[]);
    assert_eq!((result.unwrap(), told), (Keyed::Ran(2), notes(TWICE)));
}

#[test]
fn what_retries_by_itself_is_not_run_again() {
    let collision = Attempt {
        body: Some("wrapped"),
        standing: Some(Standing::Aborted(deadlock())),
        ..Attempt::default()
    };
    let ((result, told), findings) = play(&[collision.clone(), ran("SELECT 2")]);
    assert_eq!(result.unwrap(), Keyed::Ran(2));
    assert!(
        told.ends_with(&notes("pause, open, begin, body 2, commit, give back, after commit 2"))
    );
    assert!(findings.is_empty(), "{findings:?}");

    // Where the closure hasn't run in what failed, it is.
    let down = Attempt { open: Some(Failure::lost(None, "refused")), ..Attempt::default() };
    let ((result, told), _) = play(&[down]);
    assert_eq!(result.unwrap(), Keyed::Ran(2));
    assert!(told.ends_with(&notes(TWICE)), "{told:?}");

    // A collision of the second run says nothing of the closure, and the run after it is compared.
    let ((result, _), findings) = play(&[ran("SELECT 1"), collision.clone(), ran("SELECT 1")]);
    assert_eq!((result.unwrap(), findings.len()), (Keyed::Ran(3), 0));
    let ((result, told), findings) = play(&[ran("SELECT 1"), collision, ran("SELECT 2")]);
    assert_eq!((result.unwrap(), findings.len()), (Keyed::Ran(3), 2));
    assert_eq!(told.iter().filter(|note| *note == "pause").count(), 1);
}

#[test]
fn what_others_do_to_the_second_run_is_not_found() {
    for (code, message) in [
        (SqlState::LOCK_NOT_AVAILABLE, "could not obtain lock on row in relation \"accounts\""),
        (SqlState::QUERY_CANCELED, "canceling statement due to statement timeout"),
    ] {
        let failure = Failure::refused(code, message);
        let second = Attempt {
            body: Some("wrapped"),
            standing: Some(Standing::Aborted(failure)),
            ..Attempt::default()
        };
        let ((result, _), findings) = play(&[ran("SELECT 1"), second]);
        assert!(matches!(result, Err(Opaque::Own("wrapped"))), "{result:?}");
        assert!(findings.is_empty(), "{findings:?}");
    }
}

#[test]
fn the_key_is_claimed_by_both_runs() {
    let answer = || Ok(Some("k".to_owned()));
    let ((result, told), findings) =
        play_with(&TxOptions::new(), Some("k"), &[], &[answer(), answer()]);
    assert_eq!(result.unwrap(), Keyed::Ran(2));
    assert_eq!(told, notes(&TWICE.replace("begin", "begin, claim key")));
    assert!(findings.is_empty());
    // Another call took it in between.
    let ((result, _), findings) =
        play_with(&TxOptions::new(), Some("k"), &[], &[answer(), Ok(None)]);
    assert_eq!((result.unwrap(), findings.len()), (Keyed::AlreadyCommitted, 0));
}

#[test]
fn what_is_never_tried_again_is_not_run_again() {
    let (policy, _) = warning();
    let call = |options: &TxOptions| {
        Call::new(&build(&policy), "scripted", Location::caller(), Some(options)).unwrap()
    };
    let plain = TxOptions::new();
    let played = |call: &dyn Fn() -> Call| play_both_called(call, &[], &[]).1;
    assert_eq!(played(&|| call(&plain)), notes(TWICE));
    assert_eq!(played(&|| call(&plain).once()), notes(ONCE));
    assert_eq!(played(&|| call(&plain).on_held()), notes(ONCE));
    for options in [
        TxOptions::new().retry(RetryPolicy::new().max_attempts(1)),
        TxOptions::new().test_wrapper(true),
        // A deadline that is nearer than any test is short.
        TxOptions::new().timeout(Duration::from_millis(90)),
    ] {
        assert_eq!(played(&|| call(&options)), notes(ONCE), "{options:?}");
    }
    let far = TxOptions::new().timeout(Duration::from_secs(3_600));
    assert_eq!(played(&|| call(&far)), notes(TWICE));
    let rolled_back =
        notes("open, begin, body 1, ask witness, rollback, give back, after rollback 1");
    assert_eq!(played(&|| call(&TxOptions::new().dry_run(true))), rolled_back);
    let marked = Attempt { rollback_only: true, ..Attempt::default() };
    let (result, told) = play_both_called(|| call(&plain), &[marked], &[]);
    assert_eq!(told, notes("open, begin, body 1, rollback, give back, after rollback 1"));
    assert!(matches!(result, Ok(Keyed::Ran(1))), "{result:?}");
}

#[test]
fn it_costs_nothing_and_is_no_failure() {
    let (policy, _) = warning();
    let (budget, reports) = (Budget::new(1), Arc::<Mutex<Vec<Report>>>::default());
    let builder = |make: fn(Arc<Shared>) -> Arc<Shared>| {
        let reports = Arc::clone(&reports);
        Builder::new(&Postgres, make)
            .guard(policy.clone())
            .budget(budget.clone())
            .on_report(move |report| reports.lock().unwrap().push(report.clone()))
    };
    let options = TxOptions::new().retry(RetryPolicy::new().max_attempts(2));
    let before = budget.tokens();
    play_both_on(builder, &options, None, &[], &[]).0.unwrap();
    assert_eq!(budget.tokens(), before);
    assert!(reports.lock().unwrap().is_empty(), "it went well at the first attempt");

    // All attempts are left to the second run, and the report says what came before.
    let budget = Budget::default();
    let builder = |make: fn(Arc<Shared>) -> Arc<Shared>| {
        let reports = Arc::clone(&reports);
        Builder::new(&Postgres, make)
            .guard(policy.clone())
            .budget(budget.clone())
            .on_report(move |report| reports.lock().unwrap().push(report.clone()))
    };
    let collision = Attempt {
        body: Some("wrapped"),
        standing: Some(Standing::Aborted(deadlock())),
        ..Attempt::default()
    };
    let attempts = [Attempt::default(), collision.clone(), collision];
    let (result, _) = play_both_on(builder, &options, None, &attempts, &[]);
    assert!(matches!(result, Err(Opaque::Own("wrapped"))), "{result:?}");
    let reports = reports.lock().unwrap();
    assert_eq!(reports.len(), 2, "one of each loop");
    for report in reports.iter() {
        assert_eq!((report.attempts, report.failures.len(), report.rerun), (2, 2, true));
        assert!(report.to_string().contains("\n  rerun mode: a good attempt was rolled back"));
    }
}

#[test]
fn a_connection_is_closed_where_rollback_is_not_enough() {
    let locked = "SELECT pg_advisory_lock(1)";
    let ((result, told), findings) = play(&[ran(locked), ran(locked)]);
    assert_eq!(result.unwrap(), Keyed::Ran(2));
    assert_eq!(told[3..6], notes("rollback, unlock, close"));
    assert!(findings.iter().all(|finding| finding.code == Code::SessionState), "{findings:?}");

    // What was no more open has been ended by the closure, and isn't run again.
    let ended = Failure::refused(SqlState::NO_ACTIVE_SQL_TRANSACTION, "no transaction");
    let ((result, told), _) = play(&[Attempt { rollback: Some(ended), ..Attempt::default() }]);
    let Err(Opaque::Txsafe(error)) = result else { panic!("{result:?}") };
    assert_eq!(*error.kind(), txsafe::ErrorKind::EndedByClosure);
    assert!(!told.contains(&"body 2".to_owned()), "{told:?}");
    // One that couldn't be rolled back is closed, which does it.
    let lost = Failure::lost(None, "connection reset by peer");
    let ((result, told), _) = play(&[Attempt { rollback: Some(lost), ..Attempt::default() }]);
    assert_eq!(result.unwrap(), Keyed::Ran(2));
    assert_eq!(told[3..6], notes("rollback, close, after rollback 1"));
}

/// The variable is read once in a process, so each value has one of its own.
#[test]
fn the_environment_turns_it_on() {
    const ALONE: &str = "TXSAFE_TEST_ALONE";
    let name = "rerun::the_environment_turns_it_on";
    if std::env::var_os(ALONE).is_none() {
        for (value, expected) in [
            ("1", "dev: twice, test: twice, off in code: once, production: once"),
            ("0", "dev: once, test: once, off in code: once, production: once"),
            ("", "dev: once, test: once, off in code: once, production: once"),
            ("yes", "dev: refused, test: refused, off in code: once, production: once"),
        ] {
            let mut alone = Command::new(std::env::current_exe().unwrap());
            let alone = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "1");
            let output = alone.env(RERUN_VARIABLE, value).output().unwrap();
            let (said, warned) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success() && said.contains(expected), "{value}: {output:?}");
            if cfg!(debug_assertions) {
                let is_on = warned.contains("rerun mode is on, by `TXSAFE_RERUN=1`");
                let is_ignored = warned.contains("`TXSAFE_RERUN` is ignored for this database");
                assert_eq!((is_on, is_ignored), (value == "1", ["1", "yes"].contains(&value)));
            }
        }
        return;
    }
    let told = [
        ("dev", Policy::dev()),
        ("test", Policy::test()),
        ("off in code", Policy::test().rerun(false)),
        ("production", Policy::production()),
    ]
    .map(|(name, policy)| {
        let built = Builder::new(&Postgres, |shared: Arc<Shared>| shared).guard(policy).build();
        let runs = match built {
            Err(_) => "refused",
            Ok(shared) => {
                let call = || Call::new(&shared, "scripted", Location::caller(), None).unwrap();
                match play_both_called(call, &[], &[]).1 {
                    told if told == notes(TWICE) => "twice",
                    told if told == notes(ONCE) => "once",
                    other => panic!("{other:?}"),
                }
            }
        };
        format!("{name}: {runs}")
    });
    println!("{}", told.join(", "));
}
