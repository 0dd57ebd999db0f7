//! Which transactions of a database hold a connection, in production too: who waits for one in vain is told of them.
//!
//! A transaction pays for it twice, when it has its connection and when it gives it back, and never for a statement: what it
//! does is asked of its connection, by whoever wants to know.

use super::{
    connection::Connection,
    pool::Pool,
    takers::{Taken, Takers},
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
    time::Duration,
};

/// The transactions of one database that hold a connection. They are as many as connections, so their number is bounded.
#[derive(Default)]
pub struct Holdings {
    slots: Mutex<Slots>,
    /// Who takes connections of its pool outside of them, once a hook of that has made itself known.
    takers: OnceLock<Takers>,
}

#[derive(Default)]
struct Slots {
    held: Vec<Option<Arc<Held>>>,
    free: Vec<usize>,
}

/// A connection that an attempt of a transaction holds.
struct Held {
    transaction: Arc<str>,
    place: &'static Location<'static>,
    /// The connection is the caller's.
    is_on_held: bool,
    since: u64,
    stage: AtomicU8,
    stage_since: AtomicU64,
    connection: Arc<dyn Connection>,
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an attempt has no other ones")]
pub enum Stage {
    /// It waits for BEGIN, and for what precedes its closure.
    Begins = 0,
    /// Its closure runs, or its caller works with it.
    Runs = 1,
    /// It waits for COMMIT or ROLLBACK.
    Ends = 2,
}

/// A connection that an attempt of a transaction holds, until this is dropped.
#[must_use]
pub struct Holding {
    holdings: Arc<Holdings>,
    slot: usize,
    held: Arc<Held>,
}

impl Holdings {
    /// An attempt of the transaction has its connection, which `is_on_held` if it is the caller's.
    pub fn hold(
        self: &Arc<Self>,
        transaction: &Arc<str>,
        place: &'static Location<'static>,
        is_on_held: bool,
        connection: Arc<dyn Connection>,
    ) -> Holding {
        let since = now();
        let held = Arc::new(Held {
            transaction: Arc::clone(transaction),
            place,
            is_on_held,
            since,
            stage: AtomicU8::new(Stage::Begins as u8),
            stage_since: AtomicU64::new(since),
            connection,
        });
        let slots = &mut *lock(&self.slots);
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.held.push(None);
            slots.held.len() - 1
        });
        slots.held[slot] = Some(Arc::clone(&held));
        Holding { holdings: Arc::clone(self), slot, held }
    }

    /// Those that hold a connection now, the oldest first.
    pub(crate) fn running(&self) -> Vec<RunningTransaction> {
        self.held().iter().map(|held| held.look()).collect()
    }

    /// Who holds the connections of its pool.
    pub(crate) fn holders(&self, pool: PoolState) -> Holders {
        let held = self.held();
        let named = held.iter().take(MOST_NAMED).map(|held| held.look()).collect();
        let left_out = held.len().saturating_sub(MOST_NAMED);
        let outside = outside(pool, &held);
        let takers = self.takers.get().cloned().or_else(|| Takers::of_size(pool.size));
        let takers = takers.map(|takers| takers.holders(pool.size, pool.idle, outside));
        let takers = takers.iter().flatten().take(MOST_NAMED).map(Taken::tell).collect();
        Holders::new(named, left_out, outside, takers)
    }

    /// A connection of its pool that the code that runs took, and holds for certain; and what the pool is called.
    pub(crate) fn held_by_me(&self, pool: &dyn Pool) -> Option<(Taken, &'static str)> {
        let takers = self.takers.get().filter(|takers| takers.has_mine())?;
        let state = pool.state();
        let taken = takers.holders(state.size, state.idle, outside(state, &self.held()));
        let mine = taken.into_iter().find(Taken::is_mine)?;
        Some((mine, takers.name()))
    }

    /// These hooks are those of its pool.
    pub(super) fn claim(&self, takers: &Takers) {
        if self.takers.get().is_none() && self.takers.set(takers.clone()).is_ok() {
            takers.set_claimed();
        }
    }

    /// The oldest first.
    fn held(&self) -> Vec<Arc<Held>> {
        let mut held: Vec<_> = lock(&self.slots).held.iter().flatten().map(Arc::clone).collect();
        held.sort_by_key(|held| held.since);
        held
    }
}

/// How many connections are in use, and aren't those of these transactions.
fn outside(pool: PoolState, held: &[Arc<Held>]) -> usize {
    pool.in_use().saturating_sub(held.iter().filter(|held| !held.is_on_held).count())
}

impl Held {
    /// What it does now. Its connection is asked while nothing of the registry is locked.
    fn look(&self) -> RunningTransaction {
        let Self { transaction, place, is_on_held, stage, stage_since, connection, .. } = self;
        let in_stage = since(stage_since.load(Relaxed));
        let doing = match stage.load(Relaxed) {
            stage if stage == Stage::Begins as u8 => Doing::Begins(in_stage),
            stage if stage == Stage::Ends as u8 => Doing::Ends(in_stage),
            _ => match (connection.running(), connection.idle()) {
                (Some((sql, runs)), _) => Doing::Runs(sql, runs),
                (None, Some(idle)) => Doing::Idles(idle, connection.statements().1),
                (None, None) => Doing::Unknown,
            },
        };
        let age = since(self.since);
        RunningTransaction::new(Arc::clone(transaction), place, age, *is_on_held, doing)
    }
}

impl Holding {
    /// It has come so far.
    pub fn enters(&self, stage: Stage) {
        self.held.stage_since.store(now(), Relaxed);
        self.held.stage.store(stage as u8, Relaxed);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let slots = &mut *lock(&self.holdings.slots);
        slots.held[self.slot] = None;
        slots.free.push(self.slot);
    }
}

fn since(at: u64) -> Duration {
    Duration::from_nanos(now().saturating_sub(at))
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
mod tests {
    use super::*;
    use crate::guard::connection::Calls;

    fn hold(holdings: &Arc<Holdings>, name: &str, is_on_held: bool) -> (Holding, Arc<Calls>) {
        let calls = Arc::<Calls>::default();
        let connection = Arc::clone(&calls) as Arc<dyn Connection>;
        let place = Location::caller();
        (holdings.hold(&name.into(), place, is_on_held, connection), calls)
    }

    fn in_use(size: usize) -> PoolState {
        PoolState::new(size, size, 0, None)
    }

    #[test]
    fn the_oldest_are_named_and_the_rest_is_counted() {
        let holdings = Arc::<Holdings>::default();
        let held: Vec<_> = (0..7).map(|n| hold(&holdings, &format!("tx {n}"), false)).collect();
        let holders = holdings.holders(in_use(9));
        let names: Vec<_> = holders.transactions().iter().map(|tx| tx.name()).collect();
        assert_eq!(names, ["tx 0", "tx 1", "tx 2", "tx 3", "tx 4"]);
        assert_eq!((holders.left_out(), holders.outside()), (2, 2));
        let text = holders.to_string();
        assert!(text.contains("held by transaction \"tx 0\" (crates/txsafe/src/guard"), "{text}");
        assert!(
            text.contains("; and by 2 more transactions; 2 are held by code outside"),
            "{text}"
        );
        drop(held);
        assert!(holdings.running().is_empty());
        let _lone = hold(&holdings, "on its own", true);
        assert_eq!(lock(&holdings.slots).held.len(), 7, "slots are used again");
        assert_eq!(holdings.holders(in_use(1)).outside(), 1, "the connection is its caller's");
    }

    #[test]
    fn what_it_does_is_told() {
        let holdings = Arc::<Holdings>::default();
        let (held, calls) = hold(&holdings, "pay", false);
        let told = || holdings.running()[0].to_string();
        assert!(told().contains(", waiting for BEGIN for"), "{}", told());
        calls.begin();
        held.enters(Stage::Runs);
        assert!(told().ends_with(" behind BEGIN"), "{}", told());
        calls.started("UPDATE a");
        assert!(told().contains(", in `UPDATE a` for"), "{}", told());
        assert_eq!(holdings.running()[0].statement(), Some("UPDATE a"));
        calls.ended("UPDATE a");
        assert!(told().ends_with(" behind `UPDATE a`"), "{}", told());
        assert!(holdings.running()[0].idle().is_some());
        calls.lent();
        assert!(!told().contains("idle"), "{}", told());
        held.enters(Stage::Ends);
        assert!(told().contains(", waiting for COMMIT or ROLLBACK for"), "{}", told());
    }
}
