//! How a database is set up.

use super::{
    options::{TxOptions, transaction_settings},
    shared::{OnReport, Shared},
};
use crate::{
    dialect::{Dialect, own_schema::OwnSchema},
    error::{Error, report::Report},
    guard::{noticed::lock_inversion, policy::Policy},
    locks::{
        graph::edges::LockGraph,
        relation::{LockOrder, Neighbours},
    },
    retry::budget::Budget,
};
use std::{fmt, sync::Arc};

/// Sets up a database; adapters hand it out as `Database::builder(pool)`.
///
/// Settings of transactions made here are presets: a call changes them by [`TxOptions`].
pub struct Builder<D> {
    dialect: &'static dyn Dialect,
    options: TxOptions,
    budget: Budget,
    service: Option<String>,
    pool_name: Option<String>,
    on_report: Option<OnReport>,
    graph: LockGraph,
    policy: Option<Policy>,
    declared: Option<(&'static str, &'static [Neighbours])>,
    hides_bind_values: bool,
    own_schema: Option<String>,
    close_on_session_state: bool,
    make: Box<dyn FnOnce(Arc<Shared>) -> D + Send>,
}

impl<D> Builder<D> {
    /// For adapters: a builder of whatever `make` makes, on a database that is asked in this dialect.
    pub fn new(
        dialect: &'static dyn Dialect,
        make: impl FnOnce(Arc<Shared>) -> D + Send + 'static,
    ) -> Self {
        Self {
            dialect,
            options: TxOptions::new(),
            budget: Budget::default(),
            service: None,
            pool_name: None,
            on_report: None,
            graph: LockGraph::default(),
            policy: None,
            declared: None,
            hides_bind_values: false,
            own_schema: None,
            close_on_session_state: false,
            make: Box::new(make),
        }
    }

    /// For adapters: the driver doesn't give its bind values out, and nobody shall wait for them.
    #[must_use]
    pub fn hiding_bind_values(mut self) -> Self {
        self.hides_bind_values = true;
        self
    }

    transaction_settings!(options);

    /// Whether BEGIN and COMMIT are sent without any SET: for proxies that keep a server connection for whoever has set something on
    /// it (Amazon calls that *pinning*). Default: `false`.
    ///
    /// With `true` the following is lost:
    ///
    /// - The limits. What holds for the role, the database or the server holds for the transaction; set it there. A lock is waited
    ///   for as long as that lets it: [`adaptive_lock_timeout`](Self::adaptive_lock_timeout) has nothing to set, and a deadlock
    ///   costs the server's `deadlock_timeout`.
    /// - The name in `pg_stat_activity`, and with it the names of others in the report of a deadlock.
    /// - What the transaction is known by. Where a statement passed unseen (on SQLx's [`Tx::connection`], or where an
    ///   instrumentation was replaced), nothing tells whether the transaction is still the one that was begun: it fails as
    ///   [`Unidentified`](crate::ErrorKind::Unidentified) and its outcome is unknown, though it may have been fine. Nothing
    ///   is called committed that isn't.
    /// - On SQLx, that the server notices at once when a caller goes away in the midst of a statement.
    ///
    /// Isolation and access then stand in BEGIN itself, whose answer is waited for. A call that sets a limit, a role, a search path
    /// or another setting is refused. What the closure sets itself is its own business. [`dry_run`](crate::TxOptions::dry_run) still
    /// sends `SET CONSTRAINTS`, and a deadline no longer shortens the statements of blocking connections.
    ///
    /// [`Tx::connection`]: https://docs.rs/txsafe-sqlx/latest/txsafe_sqlx/type.Tx.html
    #[must_use]
    pub fn without_set(mut self, without_set: bool) -> Self {
        self.options.without_set = without_set;
        self
    }

    /// The name of this service; transactions show up in `pg_stat_activity` as `<service>/<transaction>`.
    /// Default: the transaction's name alone.
    #[must_use]
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// The name of the pool: the label `pool` of its gauges, 1 to 128 bytes. Default: the number of the database, which
    /// counts those that the process builds, from 1.
    ///
    /// Give one where there are several, so that a dashboard says which is which whatever the order they are built in. Two
    /// databases with one name write the same gauges: right where they share a pool, wrong where each has its own.
    #[must_use]
    pub fn pool_name(mut self, name: impl Into<String>) -> Self {
        self.pool_name = Some(name.into());
        self
    }

    /// The budget that retries are paid from. Default: a new [`Budget`] of 1,000 tokens.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Hands out the report of every transaction that failed, was slow, or needed more than one attempt. The call
    /// must be quick: it runs on the task of the transaction, after its end.
    #[must_use]
    pub fn on_report(mut self, receive: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.on_report = Some(Arc::new(receive));
        self
    }

    /// The graph that learns in which order transactions really lock. Default: [`LockGraph::global`];
    /// [`LockGraph::off`] is the off switch.
    #[must_use]
    pub fn lock_graph(mut self, graph: LockGraph) -> Self {
        self.graph = graph;
        self
    }

    /// How much the guard looks at, and what follows from what it finds. Default: what the environment says, see
    /// [`Policy`].
    #[must_use]
    pub fn guard(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The schema of txsafe's own tables: idempotency keys, outbox and sequences. Default: none, and the search path leads to them.
    ///
    /// Set it where transactions have another [`search_path`](Self::search_path), one for each tenant, say. The SQL of the tables
    /// creates them in the first schema of its session's search path:
    ///
    /// ```sql
    /// CREATE SCHEMA ops;
    /// SET LOCAL search_path TO ops; -- in a migration, followed by IDEMPOTENCY_KEYS_SQL, OUTBOX_SQL and SEQUENCES_SQL
    /// ```
    ///
    /// The name is taken as it stands in the catalog, upper case included. [`build`](Self::build) refuses an empty one, one of more
    /// than 63 bytes, and quotes, backslashes or control characters in it.
    #[must_use]
    pub fn own_schema(mut self, name: impl Into<String>) -> Self {
        self.own_schema = Some(name.into());
        self
    }

    /// Whether a pooled connection is closed at the end of its transaction, and not given back, if statements of the
    /// transaction left something on its session: an advisory lock of the session, a setting, a role, a channel, a
    /// temporary table, a prepared statement of SQL, a held cursor. Default: `false`; the guard warns instead
    /// ([`TXS010`](crate::guard::Code::SessionState)), and the next transaction on that connection finds it there.
    ///
    /// With `true` the guard doesn't warn, and each such transaction costs the next one a new connection. It is right for a
    /// pool that little of this kind goes through; `SET LOCAL` and its likes cost nothing.
    ///
    /// What is left is read from the text of the statements. Not seen: what functions and `DO` do, what runs on a connection
    /// that the transaction lends. Connections that the caller holds are never closed so.
    #[must_use]
    pub fn close_on_session_state(mut self, close: bool) -> Self {
        self.close_on_session_state = close;
        self
    }

    /// Gives the database a lock order; see [`lock_order!`](crate::lock_order). Default: none, and nothing to be locked
    /// through types.
    #[must_use]
    pub fn lock_order<O: LockOrder>(self) -> Builder<D::Ordered<O>>
    where
        D: Unordered + 'static,
    {
        let Self {
            dialect,
            options,
            budget,
            service,
            pool_name,
            on_report,
            graph,
            policy,
            declared: _,
            hides_bind_values,
            own_schema,
            close_on_session_state,
            make,
        } = self;
        let make = Box::new(move |shared| make(shared).ordered());
        let declared = Some((O::NAME, O::NEIGHBOURS));
        Builder {
            dialect,
            options,
            budget,
            service,
            pool_name,
            on_report,
            graph,
            policy,
            declared,
            hides_bind_values,
            own_schema,
            close_on_session_state,
            make,
        }
    }

    /// Checks all settings and makes the database. Nothing is connected yet.
    ///
    /// # Errors
    /// A setting that can't be meant, with its name, its value and the cure.
    pub fn build(self) -> Result<D, Error> {
        let policy = self.policy.map_or_else(Policy::from_env, Ok)?;
        if let (Some(graph), Some((order, neighbours))) = (self.graph.graph(), self.declared) {
            let inversions = graph.declare(order, neighbours);
            inversions.iter().for_each(|inversion| lock_inversion(inversion));
        }
        let Self { dialect, options, budget, service, pool_name, on_report, graph, .. } = self;
        let mut shared =
            Shared::new(dialect, options, budget, service, pool_name, on_report, graph, policy)?;
        shared.own_schema = self.own_schema.as_deref().map(OwnSchema::new).transpose()?;
        shared.close_on_session_state = self.close_on_session_state;
        if self.hides_bind_values {
            shared.hide_bind_values()?;
        }
        Ok((self.make)(Arc::new(shared)))
    }
}

/// A database that has no lock order yet.
pub trait Unordered {
    /// The same database with one.
    type Ordered<O: LockOrder>;

    /// Gives it one.
    fn ordered<O: LockOrder>(self) -> Self::Ordered<O>;
}

impl<D> fmt::Debug for Builder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("service", &self.service)
            .field("budget", &self.budget)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
