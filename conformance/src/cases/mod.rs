//! The cases: what is promised of a transaction, shown with every driver on a real PostgreSQL. A case that fails panics.

#![expect(clippy::unwrap_used, reason = "in a case, a failure is a panic")]

use crate::drivers::Driver;
use futures_util::future::BoxFuture;
use std::fmt;

/// One case, for any driver.
#[derive(Clone, Copy)]
pub struct Case {
    /// What is promised.
    pub name: &'static str,
    run: fn(Driver) -> BoxFuture<'static, ()>,
    is_async: bool,
    needs_closure: bool,
}

impl Case {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        [
            commits::CASES,
            keys::CASES,
            setup::CASES,
            ownership::CASES,
            ownership::ASYNC_CASES,
            not_retried::CASES,
            holders::CASES,
            holders::ASYNC_CASES,
            remedies::CASES,
            remedies::CLOSURE_CASES,
            cancellation::CASES,
            guard::CASES,
            guard::CLOSURE_CASES,
            guard::ASYNC_CASES,
            in_tests::CLOSURE_CASES,
            session_state::CASES,
            limits::CASES,
            local::CASES,
            lock_graph::CASES,
            lock_graph::CLOSURE_CASES,
            rerun::CASES,
        ]
        .into_iter()
        .flatten()
        .copied()
    }

    /// Whether the driver can show it at all.
    #[must_use]
    pub fn is_for(&self, driver: Driver) -> bool {
        (driver.is_async() || !self.is_async) && !(driver.is_by_hand() && self.needs_closure)
    }

    /// Shows it.
    #[must_use]
    pub fn run(&self, driver: Driver) -> BoxFuture<'static, ()> {
        (self.run)(driver)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Cases by the names of their functions.
macro_rules! cases {
    (@ $is_async:literal $needs_closure:literal $($case:ident),+ $(,)?) => {
        &[$(Case {
            name: stringify!($case),
            run: |driver| Box::pin($case(driver)),
            is_async: $is_async,
            needs_closure: $needs_closure,
        }),+]
    };
    ($($case:ident),+ $(,)?) => { cases!(@ false false $($case),+) };
}

/// Cases for drivers whose transactions are futures.
macro_rules! async_cases {
    ($($case:ident),+ $(,)?) => { cases!(@ true false $($case),+) };
}

/// Cases in which the transaction has to know what its closure does: by hand, nobody sees that.
macro_rules! closure_cases {
    (async $($case:ident),+ $(,)?) => { cases!(@ true true $($case),+) };
    ($($case:ident),+ $(,)?) => { cases!(@ false true $($case),+) };
}

mod cancellation;
mod commits;
mod guard;
mod holders;
mod in_tests;
mod keys;
mod limits;
mod local;
mod lock_graph;
mod not_retried;
mod ownership;
mod remedies;
mod rerun;
mod session_state;
mod setup;

pub use cancellation::drop_after;
