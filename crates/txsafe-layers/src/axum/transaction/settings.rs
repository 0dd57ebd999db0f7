//! The settings of the transactions of all requests, and of one route.

use axum_core::response::Response;
use http::StatusCode;
use std::{borrow::Cow, fmt, sync::Arc};
use txsafe::TxOptions;

/// Which responses commit.
type CommitIf = Arc<dyn Fn(&Response) -> bool + Send + Sync>;

/// What a layer sets; what it doesn't set is the outer layer's, or the default.
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub(super) name: Option<Cow<'static, str>>,
    pub(super) options: Option<TxOptions>,
    commit_if: Option<CommitIf>,
}

impl Settings {
    pub(super) fn commit_if(
        &mut self,
        commits: impl Fn(&Response) -> bool + Send + Sync + 'static,
    ) {
        self.commit_if = Some(Arc::new(commits));
    }

    /// Whether this response commits.
    pub(super) fn commits(&self, response: &Response) -> bool {
        match &self.commit_if {
            Some(commits) => commits(response),
            None => response.status() < StatusCode::BAD_REQUEST,
        }
    }

    /// An inner layer changes what it sets.
    pub(super) fn change(&mut self, inner: &Self) {
        let Self { name, options, commit_if } = inner.clone();
        self.name = name.or(self.name.take());
        self.options = options.or(self.options.take());
        self.commit_if = commit_if.or(self.commit_if.take());
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The setters that [`TransactionLayer`](crate::TransactionLayer) and [`RouteTransactionLayer`](crate::RouteTransactionLayer)
/// share: one list, one documentation.
macro_rules! setters {
    () => {
        /// The name of the transaction, for reports, metrics and `pg_stat_activity`: 1 to 128 bytes. Default: the method and the
        /// path of the route, as in `POST /orders/{id}`, cut to 128 bytes; `POST (no route)` where axum's `MatchedPath` is missing.
        ///
        /// A name that can't be one is an error of each request that begins a transaction.
        #[must_use]
        pub fn name(mut self, name: impl Into<std::borrow::Cow<'static, str>>) -> Self {
            self.settings.name = Some(name.into());
            self
        }

        /// Options of the transaction: isolation, READ ONLY, timeouts. Those of a route replace all options of the
        /// [`TransactionLayer`](crate::TransactionLayer). Default: what the database presets.
        #[must_use]
        pub fn options(mut self, options: txsafe::TxOptions) -> Self {
            self.settings.options = Some(options);
            self
        }

        /// Which responses commit. Default: those whose status is below 400, so a redirect behind a form commits, and 4xx and 5xx roll
        /// back. For successes alone, `|response| response.status().is_success()`.
        #[must_use]
        pub fn commit_if(
            mut self,
            commits: impl Fn(&axum_core::response::Response) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.settings.commit_if(commits);
            self
        }
    };
}
pub(super) use setters;
