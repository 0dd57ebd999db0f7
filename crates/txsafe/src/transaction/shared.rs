//! What all transactions of a database share: its identity, presets, budget, and what is known by name.

use super::{identity::Counted, options::TxOptions, settings::Settings};
use crate::{
    dialect::{Dialect, own_schema::OwnSchema},
    error::report::Report,
    guard::{holding::Holdings, policy::Policy, pool::Pool, report::Guard},
    invalid::InvalidSetting,
    locks::graph::edges::LockGraph,
    name,
    retry::{budget::Budget, patience::Patience},
    telemetry::{gauges::PoolGauges, limiter::Limiter, meters::Meters},
};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// What is remembered of transactions by name is remembered of so many names.
const MOST_NAMES: usize = 1_024;

/// Receives the report of every transaction that failed, was slow, or needed more than one attempt.
pub(crate) type OnReport = Arc<dyn Fn(&Report) + Send + Sync>;

/// What all transactions of one database share.
pub struct Shared {
    pub(crate) id: u64,
    /// What the database is asked, and how its answers are read.
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) settings: Arc<Settings>,
    pub(crate) budget: Budget,
    pub(crate) on_report: Option<OnReport>,
    pub(crate) graph: LockGraph,
    pub(crate) guard: Arc<Guard>,
    /// Where its own tables are, if the search path isn't to say.
    pub(crate) own_schema: Option<OwnSchema>,
    /// Connections on which statements left something don't go back to the pool.
    pub(crate) close_on_session_state: bool,
    /// Where connections come from, for the guard.
    pub(crate) pool: OnceLock<Arc<dyn Pool>>,
    /// The transactions that hold a connection.
    pub(crate) holdings: Arc<Holdings>,
    gauges: PoolGauges,
    preset: TxOptions,
    hides_bind_values: bool,
    service: Option<String>,
    by_name: RwLock<HashMap<Box<str>, Arc<Named>>>,
    /// Of failures, and of what is slow, for all names beyond those that are kept.
    limiters_of_others: [Arc<Limiter>; 2],
    identity: Mutex<Option<Arc<str>>>,
    counted: Counted,
}

/// What is known of the transactions of one name.
pub(crate) struct Named {
    pub(crate) name: Arc<str>,
    pub(crate) application_name: Arc<str>,
    pub(crate) meters: Meters,
    pub(crate) failures: Arc<Limiter>,
    pub(crate) slow: Arc<Limiter>,
    patience: Mutex<Patience>,
}

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "called once, by the builder")]
    pub(crate) fn new(
        dialect: &'static dyn Dialect,
        preset: TxOptions,
        budget: Budget,
        service: Option<String>,
        pool_name: Option<String>,
        on_report: Option<OnReport>,
        graph: LockGraph,
        policy: Policy,
    ) -> Result<Self, InvalidSetting> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let settings = Arc::new(Settings::resolve(dialect, &preset, &TxOptions::new())?);
        service.as_deref().map_or(Ok(()), name::check_service)?;
        pool_name.as_deref().map_or(Ok(()), name::check_pool)?;
        if budget.capacity() == 0 {
            return Err(InvalidSetting::new("budget", "0 tokens", "no retry would ever be paid"));
        }
        let guard = Arc::new(Guard::new(policy)?);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        guard.announce_rerun(id);
        Ok(Self {
            id,
            dialect,
            settings,
            budget,
            on_report,
            graph,
            guard,
            own_schema: None,
            close_on_session_state: false,
            pool: OnceLock::new(),
            holdings: Arc::default(),
            gauges: PoolGauges::new(&pool_name.unwrap_or_else(|| id.to_string())),
            preset,
            hides_bind_values: false,
            service,
            by_name: RwLock::default(),
            limiters_of_others: Default::default(),
            identity: Mutex::default(),
            counted: Counted::new(),
        })
    }

    /// For adapters: where connections come from.
    pub fn set_pool(&self, pool: impl Pool + 'static) {
        // Set once, where the database is made.
        let _ = self.pool.set(Arc::new(pool));
    }

    /// The budget that retries are paid from.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Sets the gauges of its pool.
    pub fn record_pool_state(&self) {
        if let Some(pool) = self.pool.get() {
            self.gauges.record(pool.state());
        }
    }

    /// Which database it is, if the server has been asked.
    pub(crate) fn identity(&self) -> Option<Arc<str>> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the server should be asked which database it is.
    pub(crate) fn is_unidentified(&self) -> bool {
        self.counted.is_one_of_many() && self.identity().is_none()
    }

    /// Notes which database it is; a server that has started anew is another one.
    pub(crate) fn identify(&self, identity: Option<Arc<str>>) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    /// The settings of a call that changes some of the presets.
    pub(crate) fn settings_with(&self, call: &TxOptions) -> Result<Arc<Settings>, InvalidSetting> {
        let settings = Settings::resolve(self.dialect, &self.preset, call)?;
        self.check_bind_values(&settings)?;
        Ok(Arc::new(settings))
    }

    /// Refuses to promise bind values that the driver doesn't give out.
    pub(crate) fn hide_bind_values(&mut self) -> Result<(), InvalidSetting> {
        self.hides_bind_values = true;
        self.check_bind_values(&self.settings)
    }

    fn check_bind_values(&self, settings: &Settings) -> Result<(), InvalidSetting> {
        if self.hides_bind_values && settings.bind_values {
            return Err(InvalidSetting::new(
                "bind_values",
                "true",
                "this driver gives its bind values out encoded: leave it, and log what you bind yourself",
            ));
        }
        Ok(())
    }

    /// The name of the transaction that shows up in `pg_stat_activity` as this; another program's stays as it is.
    pub(crate) fn transaction_of(&self, application_name: &str) -> String {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let ours = by_name.values().find(|named| {
            // The server cuts it.
            named.application_name.starts_with(application_name)
                && (named.application_name.len() == application_name.len()
                    || name::KEPT.contains(&application_name.len()))
        });
        ours.map_or_else(|| application_name.to_owned(), |named| named.name.to_string())
    }

    /// What is known by this name; new names are checked.
    pub(crate) fn named(&self, name: &str) -> Result<Arc<Named>, InvalidSetting> {
        if let Some(named) = self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Arc::clone(named));
        }
        name::check(name)?;
        let known: Arc<str> = name.into();
        let named = Named {
            meters: Meters::new(&known),
            application_name: match &self.service {
                Some(service) => format!("{service}/{name}").into(),
                None => Arc::clone(&known),
            },
            name: known,
            failures: Arc::default(),
            slow: Arc::default(),
            patience: Mutex::default(),
        };
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        // Names made from data would grow without bound: beyond the limit they are known for one call only.
        if by_name.len() < MOST_NAMES {
            return Ok(Arc::clone(by_name.entry(name.into()).or_insert_with(|| named.into())));
        }
        let [failures, slow] = self.limiters_of_others.each_ref().map(Arc::clone);
        Ok(Arc::new(Named { failures, slow, ..named }))
    }
}

impl Named {
    pub(crate) fn patience(&self) -> Patience {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn teach(&self, lesson: impl FnOnce(Patience) -> Patience) {
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        *patience = lesson(*patience);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.id)
            .field("service", &self.service)
            .field("settings", &self.settings)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::postgres::Postgres;
    use std::time::Duration;

    fn shared() -> Shared {
        Shared::new(
            &Postgres,
            TxOptions::new(),
            Budget::default(),
            Some("shop".into()),
            None,
            None,
            LockGraph::off(),
            Policy::off(),
        )
        .unwrap()
    }

    #[test]
    fn what_is_known_by_name_is_shared_and_bounded() {
        let shared = shared();
        shared.named("a").unwrap().teach(|patience| patience.learn(Duration::from_millis(3)));
        assert_ne!(shared.named("a").unwrap().patience(), Patience::default());
        assert_eq!(*shared.named("a").unwrap().application_name, *"shop/a");
        for n in 0..2_000 {
            shared.named(&format!("order {n}")).unwrap();
        }
        assert_eq!(shared.by_name.read().unwrap().len(), MOST_NAMES);
    }

    #[test]
    fn bad_names_and_budgets_are_refused() {
        assert!(shared().named("").is_err());
        let made = |budget, service, pool| {
            let options = TxOptions::new();
            let graph = LockGraph::off();
            Shared::new(&Postgres, options, budget, service, pool, None, graph, Policy::off())
        };
        assert!(made(Budget::new(0), None, None).is_err());
        assert!(made(Budget::default(), Some(String::new()), None).is_err());
        assert!(made(Budget::default(), None, Some(String::new())).is_err());
    }
}
