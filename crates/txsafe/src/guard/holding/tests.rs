//! What is known of the attempts of a database, and when the code that runs is known to hold a connection of its pool.

use super::*;
use crate::guard::{
    connection::Calls,
    takers::{Tracked, taking_blocking},
};

fn takes(holdings: &Arc<Holdings>, name: &str, is_on_held: bool) -> Holding {
    holdings.takes(&name.into(), Location::caller(), is_on_held)
}

fn hold(holdings: &Arc<Holdings>, name: &str, is_on_held: bool) -> (Holding, Arc<Calls>) {
    let calls = Arc::<Calls>::default();
    let holding = takes(holdings, name, is_on_held);
    holding.got(Arc::clone(&calls) as Arc<dyn Connection>, Stage::Begins);
    (holding, calls)
}

/// A pool in this state. While that is read, something may happen.
struct InState<F: Fn() + Send + Sync>(PoolState, F);

impl<F: Fn() + Send + Sync> Pool for InState<F> {
    fn state(&self) -> PoolState {
        (self.1)();
        self.0
    }

    fn max_size(&self) -> usize {
        self.0.max_size
    }
}

/// A pool with so many connections, of which so many are idle.
fn pool(size: usize, idle: usize) -> InState<fn()> {
    InState(PoolState::new(size, size, idle, None), || ())
}

/// A pool with so many callers that wait.
fn dry(size: usize, waiting: usize) -> InState<fn()> {
    InState(PoolState::new(size, size, 0, Some(waiting)), || ())
}

/// A database over a pool that reports what is taken and not what comes back, with so many connections.
fn over_a_pool<const N: usize>() -> (Arc<Holdings>, Takers, [Tracked; N]) {
    let takers = Takers::new("a pool", false);
    let connections = [(); N].map(|()| takers.track());
    let database = Arc::<Holdings>::default();
    is_over(&database, &connections[0]);
    (database, takers, connections)
}

/// A transaction of the database takes this connection and ends.
fn is_over(database: &Arc<Holdings>, connection: &Tracked) {
    taking_blocking(&takes(database, "before", false), || connection.taken());
}

/// A transaction of the database takes this connection.
fn takes_it(database: &Arc<Holdings>, connection: &Tracked) -> Holding {
    let holding = takes(database, "order", false);
    taking_blocking(&holding, || connection.taken());
    holding.got(Arc::<Calls>::default(), Stage::Begins);
    holding
}

#[test]
fn the_oldest_are_named_and_the_rest_is_counted() {
    let holdings = Arc::<Holdings>::default();
    let held: Vec<_> = (0..7).map(|n| hold(&holdings, &format!("tx {n}"), false)).collect();
    let waits = takes(&holdings, "waits", false);
    let holders = holdings.holders(&pool(9, 0));
    let names: Vec<_> = holders.transactions().iter().map(|tx| tx.name()).collect();
    assert_eq!(names, ["tx 0", "tx 1", "tx 2", "tx 3", "tx 4"]);
    assert_eq!((holders.left_out(), holders.outside()), (2, 2));
    let text = holders.to_string();
    assert!(text.starts_with("transaction \"tx 0\" (crates/txsafe/src/guard"), "{text}");
    assert!(text.contains("; 2 more transactions hold a connection each; 2 connections"), "{text}");
    assert!(text.contains(", or are being opened or checked for transactions"), "{text}");
    drop((held, waits));
    assert!(holdings.running().is_empty());
    let _lone = hold(&holdings, "on its own", true);
    assert_eq!(lock(&holdings.slots).held.len(), 8, "slots are used again");
    let holders = holdings.holders(&pool(1, 0));
    assert_eq!(holders.outside(), 1, "the connection is its caller's");
    assert!(!holders.to_string().contains("opened"), "nothing takes one: {holders}");
}

#[test]
fn what_it_does_is_reported() {
    let holdings = Arc::<Holdings>::default();
    let (held, calls) = hold(&holdings, "pay", false);
    let shown = || holdings.running()[0].to_string();
    assert!(shown().ends_with(" for BEGIN"), "{}", shown());
    calls.begin();
    held.enters(Stage::Runs);
    assert!(shown().ends_with(", since BEGIN"), "{}", shown());
    calls.started("UPDATE a");
    assert!(shown().contains(" and has run `UPDATE a` for"), "{}", shown());
    assert_eq!(holdings.running()[0].statement(), Some("UPDATE a"));
    calls.ended("UPDATE a");
    assert!(shown().ends_with(", since `UPDATE a`"), "{}", shown());
    assert!(holdings.running()[0].idle().is_some());
    calls.lent();
    assert!(!shown().contains("idle"), "{}", shown());
    held.enters(Stage::Ends);
    assert!(shown().ends_with(" for COMMIT or ROLLBACK"), "{}", shown());
    held.enters(Stage::Verifies);
    assert!(shown().ends_with(" whether its COMMIT took effect"), "{}", shown());
}

#[test]
fn a_connection_that_this_code_holds_is_found() {
    let (database, _takers, [first, second]) = over_a_pool();
    first.taken();
    let _order = takes_it(&database, &second);
    let (taken, name) = database.held_by_me(&pool(2, 0)).unwrap();
    assert!(taken.is_of(Runner::here()) && name == "a pool");
    let is_found_elsewhere = || database.held_by_me(&pool(2, 0)).is_some();
    assert!(!std::thread::scope(|scope| scope.spawn(is_found_elsewhere).join().unwrap()));
}

#[test]
fn a_connection_that_was_given_back_is_not_found_whatever_others_do() {
    let (database, _takers, [first, second, third]) = over_a_pool();
    first.taken();
    // It goes back, which nobody reports.
    let order = takes_it(&database, &second);
    assert!(database.held_by_me(&pool(3, 2)).is_none(), "none is in use but the transaction's");
    // Another attempt takes it from the pool: it is in use, and no hook has run.
    let in_flight = takes(&database, "other", false);
    assert!(database.held_by_me(&pool(3, 1)).is_none());
    // So may it be if all are in use.
    third.taken();
    assert!(database.held_by_me(&pool(3, 0)).is_none());
    taking_blocking(&in_flight, || first.taken());
    in_flight.got(Arc::<Calls>::default(), Stage::Begins);
    let (taken, _) = database.held_by_me(&pool(3, 0)).unwrap();
    assert!(taken.is_of(Runner::here()), "the third one, which is held");
    drop(order);
}

#[test]
fn what_other_attempts_may_have_is_left_out_of_the_count() {
    let (database, _takers, [first, second, _third]) = over_a_pool();
    first.taken();
    let _order = takes_it(&database, &second);
    let _in_flight = takes(&database, "other", false);
    // Three are in use: by this code, by the transaction, and by the attempt at most.
    assert!(database.held_by_me(&pool(3, 0)).is_some());
    assert!(database.held_by_me(&pool(3, 1)).is_none(), "the attempt may have the first one");
}

#[test]
fn a_list_that_changed_while_it_was_read_is_not_trusted() {
    let (database, takers, [first, second, third]) = over_a_pool();
    first.taken();
    let order = takes_it(&database, &second);
    let in_use = PoolState::new(3, 3, 1, None);
    assert!(database.held_by_me(&InState(in_use, || ())).is_some());
    // A hook reports a connection while the state is read.
    assert!(database.held_by_me(&InState(in_use, || third.taken())).is_none());
    taking_blocking(&order, || third.taken());
    assert!(database.held_by_me(&InState(in_use, || ())).is_some());
    // Another transaction ends while the state is read, so the state may still count its connection.
    let ends = Mutex::new(Some(takes_it(&database, &third)));
    assert!(database.held_by_me(&InState(in_use, || drop(lock(&ends).take()))).is_none());
    // A connection is made while the state is read.
    let made = Mutex::new(None);
    let is_made = || *lock(&made) = Some(takers.track());
    assert!(database.held_by_me(&InState(in_use, is_made)).is_none());
}

#[test]
fn with_another_database_over_the_pool_all_connections_have_to_be_in_use() {
    let (database, _takers, [first, second, third]) = over_a_pool();
    first.taken();
    let _order = takes_it(&database, &second);
    let one_idle = pool(3, 1);
    assert!(database.held_by_me(&one_idle).is_some());
    let other = Arc::<Holdings>::default();
    is_over(&other, &third);
    // The first one may have come back, and the other database have the third.
    assert!(database.held_by_me(&one_idle).is_none());
    let in_use = takes_it(&other, &third);
    assert!(database.held_by_me(&one_idle).is_none());
    assert!(database.held_by_me(&pool(3, 0)).is_some(), "nothing comes back where all are in use");
    let in_flight = takes(&other, "other", false);
    assert!(database.held_by_me(&pool(3, 0)).is_none(), "it may have the first one");
    drop((in_use, in_flight, other));
    assert!(database.held_by_me(&one_idle).is_some(), "the other database is gone");
}

#[test]
fn a_connection_that_no_hook_reported_leaves_a_doubt() {
    let (database, takers, [first, second]) = over_a_pool();
    first.taken();
    let _order = takes_it(&database, &second);
    assert!(database.held_by_me(&pool(3, 0)).is_none(), "there is one that is on no list");
    let _third = takers.track();
    assert!(database.held_by_me(&pool(3, 1)).is_some());
}

#[test]
fn a_pool_that_reports_what_comes_back_leaves_no_doubt() {
    let takers = Takers::new("a pool", true);
    let database = Arc::<Holdings>::default();
    taking_blocking(&takes(&database, "before", false), || takers.taken(1));
    takers.given_back(1);
    takers.taken(1);
    let _order = hold(&database, "order", false);
    let _in_flight = takes(&database, "other", false);
    assert!(database.held_by_me(&pool(8, 5)).is_some());
    takers.given_back(1);
    assert!(database.held_by_me(&pool(8, 5)).is_none());
}

#[test]
fn a_connection_that_replaces_one_of_the_callers_is_the_callers() {
    let (database, _takers, [first, second]) = over_a_pool();
    let on_held = takes(&database, "on", true);
    taking_blocking(&on_held, || first.taken());
    on_held.got(Arc::<Calls>::default(), Stage::Begins);
    let _order = takes_it(&database, &second);
    assert!(database.held_by_me(&pool(2, 0)).is_some());
}

#[test]
fn takers_are_named_while_transactions_wait() {
    let (database, _takers, [first, second]) = over_a_pool();
    first.taken();
    second.taken();
    let named = |pool: &dyn Pool| database.holders(pool).takers().len();
    assert_eq!(named(&dry(2, 0)), 2);
    let _waits = takes(&database, "order", false);
    assert_eq!(named(&dry(2, 1)), 2, "it waits, as the pool says");
    assert_eq!(named(&dry(2, 0)), 0, "it may have one of them");
}

#[test]
fn takers_are_named_although_another_attempt_gives_up_meanwhile() {
    let (database, _takers, [first, second]) = over_a_pool();
    first.taken();
    second.taken();
    // The pool no longer counts it among those that wait, and for a moment it may have got a connection.
    let gives_up = Mutex::new(Some(takes(&database, "order", false)));
    let pool = InState(PoolState::new(2, 2, 0, Some(0)), || drop(lock(&gives_up).take()));
    assert_eq!(database.holders(&pool).takers().len(), 2);
}
