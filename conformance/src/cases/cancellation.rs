//! The caller goes away, at whatever await: nothing half-committed, no lock left, no connection in doubt.

use super::Case;
use crate::{
    drivers::{Call, Driver},
    script::{Script, Step},
    shop::Shop,
};
use std::{
    future::{Future, poll_fn},
    task::Poll,
};
use txsafe::TxOptions;

// A blocking transaction has no await to be dropped at.
pub(super) const CASES: &[Case] = async_cases![
    dropped_at_every_await,
    a_running_statement_does_not_keep_its_locks,
    a_cancelled_begin_leaks_nothing,
];

/// Polls a future so many times, and then drops it, unless it has come to its end.
pub async fn drop_after<F: Future>(mut polls: u32, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn dropped_at_every_await(driver: Driver) {
    let shop = Shop::open("dropped").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 2);
    let options = TxOptions::new().verify_commit(true);
    let yielding = Step::awaiting(|| async {
        tokio::task::yield_now().await;
        Ok(())
    });
    let steps = [
        Step::Credit(1, -1),
        Step::Savepoint(vec![Step::Credit(2, 1)]),
        yielding,
        Step::sql("SELECT count(*) FROM accounts"),
    ];
    let (mut dropped, mut before) = (0, 0);
    // Twice: on connections that prepare their statements, and again on whatever is in the pool by then.
    for _round in 0..2 {
        for polls in 0.. {
            let call = Call::new("dropped").with(options.clone());
            let output = drop_after(polls, db.run(call, Script::new(steps.clone()))).await;
            while shop.busy().await > 0 {}
            let (one, two) = (shop.balance_of(1).await, shop.balance_of(2).await);
            assert_eq!(one + two, 200, "half a transaction after {polls} polls");
            // The next user gets a clean connection, and its work isn't part of somebody else's.
            db.run(Call::new("next"), Script::new([Step::Credit(3, 1)])).await.unwrap();
            let committed = 100 - one;
            assert!(committed == before || committed == before + 1, "{polls} polls");
            before = committed;
            if output.is_some() {
                break;
            }
            dropped += 1;
        }
    }
    // At the step that yields, in either round, and wherever the server was slower than the next poll.
    assert!(dropped >= 2, "{dropped}");
}

async fn a_running_statement_does_not_keep_its_locks(driver: Driver) {
    let shop = Shop::open("running").await.unwrap();
    let db = shop.database(driver);
    let steps = [Step::Credit(1, 1), Step::sql("SELECT pg_sleep(600)")];
    let mut running = Box::pin(db.run(Call::new("running"), Script::new(steps)));
    let sleeping = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'
         AND application_name LIKE '{}%'",
        shop.name()
    );
    let started = async { while shop.ask(&sleeping).await == 0 {} };
    tokio::select! {
        _ = &mut running => panic!("it sleeps"),
        () = started => {}
    }
    drop(running);
    // Within a second at most, not after ten minutes.
    shop.watcher.batch_execute("SET lock_timeout = '5s'").await.unwrap();
    shop.watcher.batch_execute("UPDATE accounts SET balance = 7 WHERE id = 1").await.unwrap();
    while shop.busy().await > 0 {}
}

async fn a_cancelled_begin_leaks_nothing(driver: Driver) {
    let shop = Shop::open("begin").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 2);
    let mut begun = 0;
    for n in 0..1_000 {
        // Before BEGIN is sent, while it runs, after its answer, in the closure.
        let polls = n % 8;
        let mut script = Script::new([Step::Credit(1, 1), Step::Fail("changed my mind")]);
        let _ = drop_after(polls, db.run(Call::new("begin"), script.clone())).await;
        begun += script.attempts();
        // Outside of any transaction of ours, a statement is its own.
        script = Script::new([Step::Credit(2, 1)]);
        db.run(Call::new("next"), script).await.unwrap();
    }
    assert!(begun > 0, "some came as far as the closure");
    while shop.busy().await > 0 {}
    assert_eq!((shop.balance_of(1).await, shop.balance_of(2).await), (100, 1_100));
    assert!(shop.backends().await.len() <= 2, "{:?}", shop.backends().await);
}
