//! The drivers, each behind the same few words.

/// Counts once for each of these counters, by one statement of Diesel's.
macro_rules! upsert {
    ($ids:expr) => {{
        let one = |id: &i32| (counters::id.eq(*id), counters::n.eq(1));
        diesel::insert_into(counters::table)
            .values($ids.iter().map(one).collect::<Vec<_>>())
            .on_conflict(counters::id)
            .do_update()
            .set(counters::n.eq(counters::n + 1))
    }};
}

mod asynchronous;
mod diesel;
mod diesel_async;
mod sqlx;

pub use diesel::play as play_blocking;
pub use sqlx::open_sqlite;

use crate::{error::AppError, script::Script};
use futures_util::future::BoxFuture;
use std::{
    any::Any,
    fmt,
    future::ready,
    sync::{Arc, Mutex},
};
use txsafe::{
    Builder, Configured, Keyed, LockGraph, Report, RunningTransaction, TxOptions, WithKey,
    driver::lock_mutex, guard::Policy,
};

/// A driver that has an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// diesel-async over deadpool.
    DieselAsync,
    /// Diesel's blocking connections over r2d2.
    Diesel,
    /// SQLx.
    Sqlx,
    /// diesel-async, whose transactions are begun and ended by hand.
    DieselAsyncByHand,
    /// Diesel's blocking connections, by hand.
    DieselByHand,
    /// SQLx, by hand.
    SqlxByHand,
}

impl Driver {
    /// All of them, running closures.
    pub const ALL: [Self; 3] = [Self::DieselAsync, Self::Diesel, Self::Sqlx];
    /// All of them, by hand.
    pub const BY_HAND: [Self; 3] = [Self::DieselAsyncByHand, Self::DieselByHand, Self::SqlxByHand];

    /// A database over a pool of so many connections.
    #[must_use]
    pub fn open(
        self,
        url: &str,
        connections: u32,
        service: &str,
        guard: Policy,
    ) -> Arc<dyn Database> {
        self.open_as(url, connections, service, Setup { guard, ..Setup::default() })
    }

    /// The same, set up so.
    #[must_use]
    pub fn open_as(
        self,
        url: &str,
        connections: u32,
        service: &str,
        setup: Setup,
    ) -> Arc<dyn Database> {
        let db = match self.library() {
            Library::DieselAsync => diesel_async::open(url, connections, service, setup),
            Library::Diesel => diesel::open(url, connections, service, setup),
            Library::Sqlx => sqlx::open(url, connections, service, setup),
        };
        if self.is_by_hand() { Arc::new(ByHand(db)) } else { db }
    }

    /// The library, however it is used.
    #[must_use]
    pub fn library(self) -> Library {
        match self {
            Self::DieselAsync | Self::DieselAsyncByHand => Library::DieselAsync,
            Self::Diesel | Self::DieselByHand => Library::Diesel,
            Self::Sqlx | Self::SqlxByHand => Library::Sqlx,
        }
    }

    /// Whether its transactions are begun and ended by hand, in a loop of attempts.
    #[must_use]
    pub fn is_by_hand(self) -> bool {
        Self::BY_HAND.contains(&self)
    }

    /// Whether its transactions are futures: to be dropped at any await, and to be given up while an answer is waited for.
    #[must_use]
    pub fn is_async(self) -> bool {
        self.library() != Library::Diesel
    }

    /// Whether its pool tries to connect again and again by itself, whatever the reason, until time is up.
    #[must_use]
    pub fn pool_insists(self) -> bool {
        self.library() == Library::Diesel
    }

    /// Whether hooks of its pool tell who has taken which connection. SQLx's don't tell which one it is.
    #[must_use]
    pub fn tells_who_took_a_connection(self) -> bool {
        self.library() != Library::Sqlx
    }

    /// Whether the answer to BEGIN is waited for before the closure runs.
    #[must_use]
    pub fn awaits_begin(self) -> bool {
        self != Self::DieselAsync
    }

    /// How it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DieselAsync => "diesel-async",
            Self::Diesel => "diesel",
            Self::Sqlx => "sqlx",
            Self::DieselAsyncByHand => "diesel-async by hand",
            Self::DieselByHand => "diesel by hand",
            Self::SqlxByHand => "sqlx by hand",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A library that has an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// diesel-async.
    DieselAsync,
    /// Diesel.
    Diesel,
    /// SQLx.
    Sqlx,
}

/// A database whose scripts are run in transactions that are begun and ended by hand.
struct ByHand(Arc<dyn Database>);

impl Database for ByHand {
    fn run(&self, call: Call, script: Script) -> BoxFuture<'_, Result<Keyed<()>, AppError>> {
        self.0.run(call.by_hand(), script)
    }

    /// There is no such way by hand.
    fn run_on(
        &self,
        before: &'static str,
        call: Call,
        script: Script,
        after: &'static str,
    ) -> BoxFuture<'_, Result<(), AppError>> {
        self.0.run_on(before, call, script, after)
    }

    fn leave(&self, sql: &'static str) -> BoxFuture<'_, Result<(), AppError>> {
        self.0.leave(sql)
    }

    fn hold(&self) -> BoxFuture<'_, Result<AnyConnection, AppError>> {
        self.0.hold()
    }

    fn running(&self) -> Vec<RunningTransaction> {
        self.0.running()
    }
}

/// What a database is set up with, besides its pool and the name of its service.
#[derive(Debug)]
pub struct Setup {
    /// The policy of its guard.
    pub guard: Policy,
    /// Whether connections on which statements left something are closed.
    pub close_on_session_state: bool,
    /// Whether BEGIN and COMMIT set nothing.
    pub without_set: bool,
    /// The schema of txsafe's own tables.
    pub own_schema: Option<String>,
    /// SQL that a hook of the pool runs on each new connection.
    pub on_connect: Option<&'static str>,
    /// SQL that a hook of the pool runs on each connection that is used again, where it has such hooks.
    pub on_checkout: Option<&'static str>,
    /// The graph that learns in which order its transactions lock.
    pub lock_graph: LockGraph,
    /// Where its reports go.
    pub reports: Reports,
}

impl Default for Setup {
    fn default() -> Self {
        let guard = Policy::production();
        Self {
            guard,
            close_on_session_state: false,
            without_set: false,
            own_schema: None,
            on_connect: None,
            on_checkout: None,
            lock_graph: LockGraph::default(),
            reports: Reports::default(),
        }
    }
}

impl Setup {
    /// The same for a database that is being built.
    fn of<D>(self, builder: Builder<D>) -> D {
        let Self {
            guard,
            close_on_session_state,
            without_set,
            own_schema,
            lock_graph,
            reports,
            ..
        } = self;
        let builder = builder.without_set(without_set).lock_graph(lock_graph);
        let builder = match own_schema {
            Some(name) => builder.own_schema(name),
            None => builder,
        };
        let builder = builder.guard(guard).close_on_session_state(close_on_session_state);
        let built = builder.on_report(move |report| reports.keep(report)).build();
        built.unwrap_or_else(|error| panic!("settings that can be meant: {error}"))
    }
}

/// The last report of a database.
#[derive(Debug, Clone, Default)]
pub struct Reports(Arc<Mutex<Option<Report>>>);

impl Reports {
    fn keep(&self, report: &Report) {
        *lock_mutex(&self.0) = Some(report.clone());
    }

    /// Takes it, if there was one since the last one was taken.
    #[must_use]
    pub fn take(&self) -> Option<Report> {
        lock_mutex(&self.0).take()
    }

    /// Takes it.
    ///
    /// # Panics
    /// If there was none since the last one was taken.
    #[must_use]
    #[track_caller]
    pub fn last(&self) -> Report {
        self.take().unwrap_or_else(|| panic!("no report"))
    }
}

/// A database that runs scripts in transactions.
pub trait Database: Send + Sync {
    /// Runs a script in a transaction; without a key, the result is always [`Keyed::Ran`].
    fn run(&self, call: Call, script: Script) -> BoxFuture<'_, Result<Keyed<()>, AppError>>;

    /// Runs a script in a transaction on a connection of the pool that the caller holds: first `before` runs on it, and
    /// last `after`, if the connection is there still. A database that lends none fails.
    fn run_on(
        &self,
        _before: &'static str,
        _call: Call,
        _script: Script,
        _after: &'static str,
    ) -> BoxFuture<'_, Result<(), AppError>> {
        Box::pin(ready(Err(LENDS_NONE)))
    }

    /// Runs simple SQL on a connection of the pool, and gives it back as it is then. A database that lends none fails.
    fn leave(&self, _sql: &'static str) -> BoxFuture<'_, Result<(), AppError>> {
        Box::pin(ready(Err(LENDS_NONE)))
    }

    /// Takes a connection of the pool, as code outside of transactions does. A database that lends none fails.
    fn hold(&self) -> BoxFuture<'_, Result<AnyConnection, AppError>> {
        Box::pin(ready(Err(LENDS_NONE)))
    }

    /// The transactions that hold a connection.
    fn running(&self) -> Vec<RunningTransaction>;
}

/// A connection of some pool; dropped, it goes back.
pub type AnyConnection = Box<dyn Any + Send>;

const LENDS_NONE: AppError = AppError::Own("this database lends no connections");

/// How a script is to be run.
#[derive(Debug, Clone)]
pub struct Call {
    /// The transaction's name.
    pub name: &'static str,
    /// Changes to the database's presets.
    pub options: TxOptions,
    /// The idempotency key.
    pub key: Option<String>,
    /// What the key's fingerprint is made of.
    pub fingerprint: Option<&'static str>,
    /// Whether a call with the same key isn't waited for.
    pub nowait: bool,
    /// Through `transaction_once`.
    pub once: bool,
    /// On the caller's thread, also where it blocks.
    pub inline: bool,
    /// Begun and ended by hand, in a loop of attempts.
    pub by_hand: bool,
}

impl Call {
    /// With defaults.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let options = TxOptions::new();
        Self {
            name,
            options,
            key: None,
            fingerprint: None,
            nowait: false,
            once: false,
            inline: false,
            by_hand: false,
        }
    }

    /// With options.
    #[must_use]
    pub fn with(mut self, options: TxOptions) -> Self {
        self.options = options;
        self
    }

    /// With an idempotency key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// With a fingerprint of the request, beside its key.
    #[must_use]
    pub fn fingerprint(mut self, request: &'static str) -> Self {
        self.fingerprint = Some(request);
        self
    }

    /// Without waiting for a call with the same key.
    #[must_use]
    pub fn nowait(mut self) -> Self {
        self.nowait = true;
        self
    }

    /// The database with the key and what belongs to it.
    fn keyed<'d, B>(&self, db: Configured<'d, B>, key: &'d str) -> WithKey<'d, B> {
        let mut keyed = db.idempotency_key(key);
        if let Some(request) = self.fingerprint {
            keyed = keyed.fingerprint(request);
        }
        if self.nowait { keyed.nowait() } else { keyed }
    }

    /// On the caller's thread, also where it blocks.
    #[must_use]
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Through `transaction_once`.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Begun and ended by hand, in a loop of attempts.
    #[must_use]
    pub fn by_hand(mut self) -> Self {
        self.by_hand = true;
        self
    }
}
