//! Which transactions of a database hold a connection, in production too: the error of a transaction that waited for one in vain
//! names them.
//!
//! An attempt writes here when it begins to take a connection, when it has it, when it enters another stage, and when it gives
//! the connection back; a statement writes nothing. What a transaction does is read from its connection when somebody asks.

use super::{
    code_that_runs::Runner,
    connection::Connection,
    pool::Pool,
    takers::{Databases, Listed, Taken, Takers},
};
use crate::{
    clock::{excused::lock, times::now},
    dialect::holders::{Doing, Holders, MOST_NAMED, RunningTransaction},
    telemetry::pool::PoolState,
};
use std::{
    fmt,
    panic::Location,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// So often a pool is looked at whose users come and go meanwhile.
const MOST_LOOKS: usize = 8;

/// The attempts of one database that hold a connection or take one. There are as many as there are callers of its transactions.
#[doc(hidden)]
#[derive(Default)]
pub struct Holdings {
    slots: Mutex<Slots>,
    /// The list of its pool, once a hook of the pool has made it known.
    takers: OnceLock<Takers>,
}

#[derive(Default)]
struct Slots {
    held: Vec<Option<Arc<Held>>>,
    free: Vec<usize>,
    /// How often a connection was asked for, got or given back.
    changes: u64,
}

/// An attempt of a transaction that holds a connection or takes one.
struct Held {
    transaction: Arc<str>,
    place: &'static Location<'static>,
    /// The connection is the caller's.
    is_on_held: bool,
    /// When it got its connection.
    since: AtomicU64,
    stage: AtomicU8,
    stage_since: AtomicU64,
    /// None while it takes one.
    connection: OnceLock<Arc<dyn Connection>>,
}

/// How far an attempt has come.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an attempt has no other ones")]
pub enum Stage {
    /// It takes a connection.
    Takes = 0,
    /// It waits for BEGIN, and for what precedes its closure.
    Begins = 1,
    /// Its closure runs, or its caller works with it.
    Runs = 2,
    /// It waits for COMMIT or ROLLBACK.
    Ends = 3,
    /// It asks what became of a COMMIT whose answer was lost.
    Verifies = 4,
}

/// An attempt of a transaction that holds a connection or takes one, until this is dropped.
#[must_use]
pub struct Holding {
    holdings: Arc<Holdings>,
    slot: usize,
    held: Arc<Held>,
}

/// What is known of a pool and of the connections in use, with nothing changed between the first look and the last.
struct Look {
    pool: PoolState,
    /// How many are in use outside of the transactions of this database, at most.
    others: usize,
    databases: Databases,
    listed: Listed,
}

impl Holdings {
    /// An attempt of the transaction is about to take a connection: of the pool, or, `is_on_held`, its caller's.
    pub fn takes(
        self: &Arc<Self>,
        transaction: &Arc<str>,
        place: &'static Location<'static>,
        is_on_held: bool,
    ) -> Holding {
        let since = now();
        let held = Arc::new(Held {
            transaction: Arc::clone(transaction),
            place,
            is_on_held,
            since: AtomicU64::new(since),
            stage: AtomicU8::new(Stage::Takes as u8),
            stage_since: AtomicU64::new(since),
            connection: OnceLock::new(),
        });
        let slots = &mut *lock(&self.slots);
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.held.push(None);
            slots.held.len() - 1
        });
        slots.held[slot] = Some(Arc::clone(&held));
        slots.changes += 1;
        Holding { holdings: Arc::clone(self), slot, held }
    }

    /// The transactions that hold a connection now, the oldest first.
    pub(crate) fn running(&self) -> Vec<RunningTransaction> {
        self.held().iter().filter_map(|held| held.look()).collect()
    }

    /// Which transactions and which other code hold the connections of its pool. The attempt that asks has given up its place.
    pub(crate) fn holders(&self, pool: &dyn Pool) -> Holders {
        let takers = self.takers.get().and_then(|takers| self.certain_takers(takers, pool));
        let takers = takers.unwrap_or_default();
        let state = pool.state();
        let held = self.held();
        let named: Vec<_> = held.iter().take(MOST_NAMED).filter_map(|held| held.look()).collect();
        let left_out = held.len().saturating_sub(named.len());
        // The attempts that take a connection wait, as far as the pool counts those that do. The others have one that is being
        // opened, or asked whether it is alive.
        let waiting = state.waiting.unwrap_or_default();
        let is_any_in_flight = self.taking() > waiting;
        let outside = others(state, &held);
        let may_be_in_flight = is_any_in_flight && outside > takers.len();
        let here = Runner::here();
        let takers = takers.iter().take(MOST_NAMED).map(|taken| taken.describe(here)).collect();
        Holders::new(named, left_out, outside, takers, may_be_in_flight)
    }

    /// A connection of its pool that the code that runs took, and holds for certain; and what the pool is called.
    pub(crate) fn held_by_me(&self, pool: &dyn Pool) -> Option<(Taken, &'static str)> {
        let (takers, here) = (self.takers.get()?, Runner::here());
        if !takers.has_of(here) {
            return None;
        }
        let look = self.look(takers, pool).filter(|look| look.is_certain(0))?;
        let mine = look.listed.outside.into_iter().find(|taken| taken.is_of(here))?;
        Some((mine, takers.name()))
    }

    /// The list of the pool whose hook runs is that of its own pool.
    pub(super) fn claim(self: &Arc<Self>, takers: &Takers) {
        if self.takers.get().is_none() && self.takers.set(takers.clone()).is_ok() {
            takers.add(self);
        }
    }

    /// How many attempts take a connection now.
    pub(super) fn taking(&self) -> usize {
        lock(&self.slots).held.iter().flatten().filter(|held| !held.has_connection()).count()
    }

    /// How often a connection was asked for, got or given back.
    pub(super) fn changes(&self) -> u64 {
        lock(&self.slots).changes
    }

    /// The code that holds connections for certain. Where many wait, others time out in the same moment, and are for a moment among
    /// those that may just have got a connection: so it looks again.
    fn certain_takers(&self, takers: &Takers, pool: &dyn Pool) -> Option<Vec<Taken>> {
        for _ in 0..MOST_LOOKS {
            let look = self.look(takers, pool);
            let is_certain = |look: &Look| look.is_certain(look.pool.waiting.unwrap_or_default());
            if let Some(look) = look.filter(is_certain) {
                return Some(look.listed.outside);
            }
            thread::yield_now();
        }
        None
    }

    /// Looks at the pool and at all lists; `None` if one of them changed meanwhile.
    fn look(&self, takers: &Takers, pool: &dyn Pool) -> Option<Look> {
        let before = takers.changes();
        let pool = pool.state();
        let others = others(pool, &self.held());
        let (databases, listed) = (takers.databases(), takers.listed());
        (takers.changes() == before).then_some(Look { pool, others, databases, listed })
    }

    /// Those that hold a connection, the oldest first.
    fn held(&self) -> Vec<Arc<Held>> {
        let slots = lock(&self.slots);
        let held = slots.held.iter().flatten().filter(|held| held.has_connection());
        let mut held: Vec<_> = held.map(Arc::clone).collect();
        drop(slots);
        held.sort_by_key(|held| held.since.load(Relaxed));
        held
    }
}

/// How many connections are in use, and aren't those of these attempts.
fn others(pool: PoolState, held: &[Arc<Held>]) -> usize {
    pool.in_use().saturating_sub(held.iter().filter(|held| !held.is_on_held).count())
}

impl Look {
    /// Whether the listed takers hold their connections still.
    fn is_certain(&self, waiting: usize) -> bool {
        self.listed.is_certain(self.pool, self.others, self.databases, waiting)
    }
}

impl Held {
    fn has_connection(&self) -> bool {
        self.connection.get().is_some()
    }

    /// What it does now. Its connection is asked while nothing of the registry is locked.
    fn look(&self) -> Option<RunningTransaction> {
        let Self { transaction, place, is_on_held, stage, stage_since, .. } = self;
        let connection = self.connection.get()?;
        let in_stage = since(stage_since);
        let doing = match stage.load(Relaxed) {
            stage if stage == Stage::Begins as u8 => Doing::Begins(in_stage),
            stage if stage == Stage::Ends as u8 => Doing::Ends(in_stage),
            stage if stage == Stage::Verifies as u8 => Doing::Verifies(in_stage),
            _ => match (connection.running(), connection.idle()) {
                (Some((sql, runs)), _) => Doing::Runs(sql, runs),
                (None, Some(idle)) => Doing::Idles(idle, connection.statements().1),
                (None, None) => Doing::Unknown,
            },
        };
        let (name, age) = (Arc::clone(transaction), since(&self.since));
        Some(RunningTransaction::new(name, place, age, *is_on_held, doing))
    }
}

impl Holding {
    /// The attempt has got its connection, and enters this stage.
    #[doc(hidden)]
    pub fn got(&self, connection: Arc<dyn Connection>, stage: Stage) {
        let slots = &mut *lock(&self.holdings.slots);
        self.held.since.store(now(), Relaxed);
        self.enters(stage);
        // An attempt gets one connection.
        let _ = self.held.connection.set(connection);
        slots.changes += 1;
    }

    /// The attempt enters this stage.
    #[doc(hidden)]
    pub fn enters(&self, stage: Stage) {
        self.held.stage_since.store(now(), Relaxed);
        self.held.stage.store(stage as u8, Relaxed);
    }

    /// The database whose pool the attempt takes a connection of. None if it is its caller's: what a hook reports then, of a
    /// connection that replaces a lost one, is taken for its caller.
    pub(super) fn takes_of(&self) -> Option<Arc<Holdings>> {
        (!self.held.is_on_held).then(|| Arc::clone(&self.holdings))
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let slots = &mut *lock(&self.holdings.slots);
        slots.held[self.slot] = None;
        slots.free.push(self.slot);
        slots.changes += 1;
    }
}

fn since(at: &AtomicU64) -> Duration {
    Duration::from_nanos(now().saturating_sub(at.load(Relaxed)))
}

impl fmt::Debug for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.running()).finish()
    }
}

impl fmt::Debug for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holding({:?} at {})", self.held.transaction, self.held.place)
    }
}

#[cfg(test)]
mod tests;
