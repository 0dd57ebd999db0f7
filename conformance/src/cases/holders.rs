//! What holds the connections of a pool that runs dry: the error of a transaction that waits for one in vain names it.

use super::{Case, drop_after};
use crate::{
    drivers::{Call, Database, Driver},
    script::{Script, Step},
    shop::Shop,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Barrier, task::JoinHandle, time::timeout};
use txsafe::{Cause, Error, Holders, RetryPolicy, TxOptions};
use txsafe_testkit::{At, Fault, Lab};

pub(super) const CASES: &[Case] = cases![
    a_transaction_that_idles_and_others_are_named,
    a_statement_that_runs_is_named,
    a_handler_that_holds_a_connection_is_told_the_cure,
    a_connection_that_is_lent_to_a_transaction_is_its_callers,
    the_oldest_are_named_and_the_rest_is_counted,
    a_server_that_does_not_answer_is_to_blame_and_nothing_that_holds,
    what_has_ended_holds_nothing,
];

/// A blocking transaction has no await to be dropped at.
pub(super) const ASYNC_CASES: &[Case] = async_cases![what_was_cancelled_holds_nothing];

const MS: Duration = Duration::from_millis(1);

async fn a_transaction_that_idles_and_others_are_named(driver: Driver) {
    let shop = Shop::open("starved").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 2);
    let update = Step::sql("UPDATE accounts SET balance = balance WHERE id = 1");
    let first = Held::run(&db, "first", [update]).await;
    let outside = db.hold().await.unwrap();

    let error = starved(&db, "second").await;
    let text = error.to_string();
    let holders = holders_in(&error);
    let [holder] = holders.transactions() else { panic!("{text}") };
    assert_eq!((holder.name(), holders.outside(), holders.left_out()), ("first", 1, 0), "{text}");
    assert!(holder.place().file().contains("drivers"), "where it was called: {text}");
    assert!(holder.idle().is_some() && holder.age() >= holder.idle().unwrap(), "{text}");
    let named = format!("; transaction \"first\" ({}) has held a connection for ", holder.place());
    assert!(text.contains("transaction \"second\" (") && text.contains(&named), "{text}");
    let idle = ", since `UPDATE accounts SET balance = balance WHERE id = 1`; \
                1 connection is held by code outside of transactions";
    assert!(text.contains(" and has been idle for ") && text.contains(idle), "{text}");
    assert!(text.contains("drop it before it calls `transaction`"), "{text}");
    assert!(text.contains("`transaction_on`"), "{text}");

    drop(outside);
    first.let_go().await;
    db.run(Call::new("third"), Script::new([Step::Credit(1, 1)])).await.unwrap();
}

async fn a_statement_that_runs_is_named(driver: Driver) {
    let shop = Shop::open("waits_for_a_lock").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    shop.watcher
        .batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 7")
        .await
        .unwrap();
    let update = "UPDATE accounts SET balance = balance + 1 WHERE id = 7";
    let patient =
        TxOptions::new().adaptive_lock_timeout(false).lock_timeout(Duration::from_secs(20));
    let waits = {
        let (db, call) = (Arc::clone(&db), Call::new("waits").with(patient));
        tokio::spawn(async move { db.run(call, Script::new([Step::sql(update)])).await.map(drop) })
    };
    let waiting =
        "SELECT count(*) FROM pg_locks l JOIN pg_locks own ON own.transactionid = l.transactionid
                   WHERE own.pid = pg_backend_pid() AND NOT l.granted";
    while shop.ask(waiting).await == 0 {
        assert!(!waits.is_finished(), "{:?}", waits.await);
    }

    let error = starved(&db, "second").await;
    let [holder] = holders_in(&error).transactions() else { panic!("{error}") };
    assert_eq!((holder.statement(), holder.idle()), (Some(update), None), "{error}");
    assert!(error.to_string().contains(&format!(" and has run `{update}` for ")), "{error}");
    let cure = "make transactions shorter, don't take a second connection inside one";
    assert!(error.to_string().contains(cure), "nobody else holds one: {error}");

    shop.watcher.batch_execute("COMMIT").await.unwrap();
    waits.await.unwrap().unwrap();
}

/// Two handlers each take a connection to see who calls, keep it, and then begin a transaction: of a pool of two, nothing
/// is left.
async fn a_handler_that_holds_a_connection_is_told_the_cure(driver: Driver) {
    let shop = Shop::open("keeps_it").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 2);
    // The hooks of its pool make themselves known.
    db.run(Call::new("before"), Script::new([])).await.unwrap();
    nothing_is_held(&db).await;
    let all_hold = Arc::new(Barrier::new(2));
    let handler = || {
        let (db, all_hold) = (Arc::clone(&db), Arc::clone(&all_hold));
        tokio::spawn(async move {
            let _who_calls = db.hold().await.unwrap();
            all_hold.wait().await;
            let error = starved(&db, "order").await;
            // Nobody gives one back before both were told.
            all_hold.wait().await;
            error
        })
    };
    for error in [handler(), handler()] {
        let error = error.await.unwrap();
        let holders = holders_in(&error);
        assert_eq!((holders.transactions(), holders.outside()), (&[][..], 2), "{error}");
        let told = "2 connections are held by code outside of transactions";
        assert!(error.to_string().contains(told), "{error}");
        assert!(!error.to_string().contains("shorter"), "no transaction is to blame: {error}");
        let takers: Vec<_> = holders.takers().iter().map(ToString::to_string).collect();
        if driver.tells_who_took_a_connection() {
            assert_eq!(takers.len(), 2, "{error}");
            let mine = takers.iter().filter(|taker| taker.ends_with(" by the code that waits"));
            assert_eq!(mine.count(), 1, "{error}");
            assert!(takers.iter().any(|taker| taker.ends_with(" by another task")), "{error}");
        } else {
            assert!(takers.is_empty(), "{error}");
        }
    }
}

async fn a_connection_that_is_lent_to_a_transaction_is_its_callers(driver: Driver) {
    let shop = Shop::open("lent").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    let gate = Arc::new(Barrier::new(2));
    let lent = {
        let (db, script) = (Arc::clone(&db), Script::new([wait_at(&gate), wait_at(&gate)]));
        tokio::spawn(async move { db.run_on("SELECT 1", Call::new("on"), script, "").await })
    };
    gate.wait().await;

    let error = starved(&db, "second").await;
    let holders = holders_in(&error);
    let [holder] = holders.transactions() else { panic!("{error}") };
    assert_eq!((holder.name(), holders.outside()), ("on", 1), "{error}");
    assert!(holder.to_string().contains("has held its caller's connection for "), "{error}");

    gate.wait().await;
    lent.await.unwrap().unwrap();
}

async fn the_oldest_are_named_and_the_rest_is_counted(driver: Driver) {
    let shop = Shop::open("crowded").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 7);
    let mut held = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        held.push(Held::run(&db, name, []).await);
    }
    let names: Vec<_> = db.running().iter().map(|tx| tx.name().to_owned()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g"]);

    let error = starved(&db, "second").await;
    let holders = holders_in(&error);
    let named: Vec<_> = holders.transactions().iter().map(|tx| tx.name()).collect();
    assert_eq!((named, holders.left_out()), (vec!["a", "b", "c", "d", "e"], 2));
    assert!(
        error.to_string().contains("; 2 more transactions hold a connection each; "),
        "{error}"
    );

    for held in held {
        held.let_go().await;
    }
}

/// A server that takes connections and never answers: no connection is in use, and none can be opened.
async fn a_server_that_does_not_answer_is_to_blame_and_nothing_that_holds(driver: Driver) {
    let shop = Shop::open("black_hole").await.unwrap();
    let network = Lab::new(&shop.url).unwrap().session().await.unwrap();
    network.inject(At::Connect, Fault::Blackhole).unwrap();
    let db = shop.database_at(driver, network.url(), 2);
    let error = starved(&db, "order").await;
    let text = error.to_string();
    assert!(error.failure().unwrap().holders().is_none(), "{text}");
    let unopened = "no connection could be opened in 20.0ms: the pool has 0 of at most 2; check that the server is up";
    assert!(text.contains(unopened), "{text}");
    network.cut();

    // One that waits while another one's connection is being opened.
    let network = Lab::new(&shop.url).unwrap().session().await.unwrap();
    network.inject(At::Connect, Fault::Blackhole).unwrap();
    let db = shop.database_at(driver, network.url(), 1);
    let first = {
        let (db, call) = (Arc::clone(&db), Call::new("first"));
        tokio::spawn(async move { db.run(call, Script::new([])).await.map(drop) })
    };
    while network.injected() == 0 {
        assert!(!first.is_finished(), "{:?}", first.await);
        tokio::task::yield_now().await;
    }
    let text = starved(&db, "second").await.to_string();
    let is_said = text.contains("no connection could be opened in ") || text.contains(
        "1 connection is held by code outside of transactions, or is being opened or checked for a transaction; ",
    );
    assert!(is_said && text.contains("check that the server is up"), "{text}");
    assert!(!text.contains("transaction \"first\""), "it holds none: {text}");
    network.cut();
    first.await.unwrap().unwrap();
}

async fn what_has_ended_holds_nothing(driver: Driver) {
    let shop = Shop::open("ended").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    let ends = [
        vec![Step::Credit(1, 1)],
        vec![Step::Credit(1, 1), Step::Fail("no")],
        vec![Step::Swallow("SELECT 1/0".into())],
        vec![Step::sql("COMMIT")],
        vec![Step::Credit(1, 1), Step::Panic],
    ];
    for steps in ends {
        let script = Script::new(steps);
        let task = {
            let (db, script) = (Arc::clone(&db), script.clone());
            tokio::spawn(async move { db.run(Call::new("ends"), script).await.is_ok() })
        };
        // It may have panicked.
        drop(task.await);
        assert_eq!(script.attempts(), 1);
        nothing_is_held(&db).await;
    }
}

async fn what_was_cancelled_holds_nothing(driver: Driver) {
    let shop = Shop::open("cancelled").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    let yielding = Step::awaiting(|| async {
        tokio::task::yield_now().await;
        Ok(())
    });
    let steps = [Step::Credit(1, 1), yielding, Step::sql("SELECT count(*) FROM accounts")];
    for polls in 1.. {
        let run = db.run(Call::new("cancelled"), Script::new(steps.clone()));
        let output = drop_after(polls, run).await;
        nothing_is_held(&db).await;
        if let Some(ended) = output {
            ended.unwrap();
            return;
        }
    }
}

/// A transaction that holds a connection until it is let go.
struct Held {
    gate: Arc<Barrier>,
    task: JoinHandle<()>,
}

impl Held {
    /// Runs these steps, and then waits.
    async fn run(db: &Arc<dyn Database>, name: &'static str, steps: impl Into<Vec<Step>>) -> Self {
        let gate = Arc::new(Barrier::new(2));
        let mut steps = steps.into();
        steps.extend([wait_at(&gate), wait_at(&gate)]);
        let db = Arc::clone(db);
        let task = tokio::spawn(async move {
            db.run(Call::new(name), Script::new(steps)).await.unwrap();
        });
        gate.wait().await;
        Self { gate, task }
    }

    async fn let_go(self) {
        self.gate.wait().await;
        self.task.await.unwrap();
    }
}

fn wait_at(gate: &Arc<Barrier>) -> Step {
    let gate = Arc::clone(gate);
    Step::awaiting(move || {
        let gate = Arc::clone(&gate);
        async move {
            gate.wait().await;
            Ok(())
        }
    })
}

/// What a transaction is told that gets no connection.
async fn starved(db: &Arc<dyn Database>, name: &'static str) -> Error {
    let options =
        TxOptions::new().checkout_timeout(20 * MS).retry(RetryPolicy::new().max_attempts(1));
    // Where it blocks, too, the code that waits is the caller.
    let call = Call::new(name).with(options).inline();
    let starved = db.run(call, Script::new([])).await;
    let error = starved.unwrap_err().ours();
    assert_eq!(error.cause(), Some(Cause::NoConnection), "{error}");
    error
}

fn holders_in(error: &Error) -> &Holders {
    error.failure().and_then(|failure| failure.holders()).unwrap()
}

/// What a driver does behind the caller's answer is waited for.
async fn nothing_is_held(db: &Arc<dyn Database>) {
    let freed = async {
        while !db.running().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let freed = timeout(Duration::from_secs(10), freed).await;
    assert!(freed.is_ok(), "{:?}", db.running());
}
