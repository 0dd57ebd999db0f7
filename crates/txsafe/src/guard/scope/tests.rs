use super::*;
use crate::guard::{
    connection::Calls, handle::current, policy::Policy, rehearsal::IDLE_TIMEOUT, within::within,
};
use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, Waker},
};
use tokio::task::yield_now;

/// A scope of a transaction that runs on `connection`.
pub(in crate::guard) fn scope_on(
    connection: Arc<Calls>,
    database: u64,
    policy: Policy,
) -> Arc<Scope> {
    let guard = Guard::new(policy).unwrap();
    Scope::new(Subject {
        database,
        identity: (database == 1).then(|| "one".into()),
        transaction: "t".into(),
        application_name: "t".into(),
        place: Location::caller(),
        idle_timeout: Some(IDLE_TIMEOUT),
        wraps_a_test: false,
        ledger: guard.accounts().then(Arc::default),
        guard: Arc::new(guard),
        connection,
        pool: None,
        gaps: Gaps::default(),
        locks: LockLog::default(),
    })
}

fn some_scope(database: u64) -> Arc<Scope> {
    scope_on(Arc::default(), database, Policy::production())
}

#[test]
fn a_scope_holds_during_a_poll_and_not_between_polls() {
    let mut polls = 0;
    let body = poll_fn(|_| {
        assert!(in_transaction());
        assert!(running_on(1, None).is_some() && running_on(2, None).is_none());
        assert!(running_on(2, Some("one")).is_some() && running_on(2, Some("two")).is_none());
        polls += 1;
        if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
    });
    let mut inside = pin!(within(some_scope(1), body));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(inside.as_mut().poll(&mut cx).is_pending());
    assert!(!is_inside_any() && !in_transaction());
    assert!(inside.as_mut().poll(&mut cx).is_ready());
    assert!(!is_inside_any() && !in_transaction());
}

#[test]
fn a_panic_leaves_the_scope() {
    let unwound = std::panic::catch_unwind(|| {
        let mut scope = Some(some_scope(1));
        let _inside = enter(&mut scope);
        panic!("on purpose");
    });
    assert!(unwound.is_err() && !is_inside_any() && !in_transaction());
}

#[tokio::test]
async fn neighbours_of_a_transaction_are_not_inside() {
    let inside = within(some_scope(1), async {
        for _ in 0..3 {
            assert!(in_transaction());
            yield_now().await;
        }
        tokio::join!(async { assert!(in_transaction()) }, async {
            yield_now().await;
            assert!(in_transaction());
        });
    });
    let beside = async {
        for _ in 0..3 {
            assert!(!in_transaction());
            yield_now().await;
        }
    };
    tokio::join!(inside, beside);
}

#[tokio::test]
async fn one_that_is_given_up_leaves_nothing_behind() {
    tokio::select! {
        biased;
        () = within(some_scope(1), std::future::pending()) => unreachable!("it never ends"),
        () = yield_now() => assert!(!in_transaction()),
    }
    assert!(!is_inside_any());
}

#[tokio::test]
async fn an_inner_transaction_knows_the_outer_one() {
    within(some_scope(1), async {
        assert_eq!(current().unwrap().transaction(), "t");
        within(some_scope(2), async {
            yield_now().await;
            assert!(running_on(1, None).is_some() && running_on(2, None).is_some());
        })
        .await;
        assert!(running_on(1, None).is_some() && running_on(2, None).is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spawned_is_inside_only_by_a_handle_and_until_the_end() {
    let late = within(some_scope(1), async {
        assert!(!tokio::spawn(async { in_transaction() }).await.unwrap());
        let handle = current().unwrap();
        let attached = tokio::spawn(handle.attach(async {
            yield_now().await;
            in_transaction()
        }));
        assert!(attached.await.unwrap());
        let there = handle.clone();
        let ran = tokio::task::spawn_blocking(move || there.run(in_transaction));
        assert!(ran.await.unwrap());
        assert!(tokio::task::block_in_place(in_transaction));
        let blocks = || tokio::runtime::Handle::current().block_on(async { in_transaction() });
        assert!(tokio::task::block_in_place(blocks));
        Some(handle.attach(async { in_transaction() }))
    })
    .await;
    assert!(!late.unwrap().await, "the transaction has ended");
}
