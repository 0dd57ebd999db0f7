//! Pools whose connections are all held by transactions that wait for one.

use crate::telemetry::pool::PoolState;

/// A pool, and the transactions that hold connections of it.
#[derive(Debug, Clone)]
pub(super) struct Held<T> {
    pub(super) pool: PoolState,
    /// Those that wait for a connection of some pool.
    pub(super) waiting: Vec<T>,
    /// Those that don't.
    pub(super) others: usize,
}

/// Those among `pools` out of which no connection can come: each is held by a transaction that waits for a connection.
///
/// For one of which pool a transaction waits isn't known. So where pools tell how many wait for them, they must be as many
/// as the transactions: of the pool itself, or of all that are in question together.
pub(super) fn stuck<T>(mut pools: Vec<Held<T>>) -> Vec<Held<T>> {
    pools.retain(|held| {
        held.others == 0 && held.pool.is_exhausted() && held.waiting.len() == held.pool.max_size
    });
    let wanted: usize = pools.iter().map(Held::wanted).sum();
    let holders: usize = pools.iter().map(|held| held.waiting.len()).sum();
    if wanted < holders {
        pools.retain(|held| held.wanted() >= held.waiting.len());
    }
    pools
}

impl<T> Held<T> {
    /// How many wait for a connection of it. Where the pool doesn't tell, its own transactions do.
    fn wanted(&self) -> usize {
        self.pool.waiting.unwrap_or(self.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool of `max`, all of it in use, `waited_for` by so many; held by some that wait and some that don't.
    fn held(max: usize, waited_for: Option<usize>, waiting: usize, others: usize) -> Held<()> {
        let pool = PoolState::new(max, max, 0, waited_for);
        Held { pool, waiting: vec![(); waiting], others }
    }

    fn count(pools: Vec<Held<()>>) -> usize {
        stuck(pools).len()
    }

    #[test]
    fn a_pool_is_stuck_if_all_its_connections_wait_for_another() {
        assert_eq!(count(vec![held(2, Some(2), 2, 0)]), 1);
        assert_eq!(count(vec![held(2, Some(3), 2, 0)]), 1, "others may wait, too");
        assert_eq!(count(vec![held(2, None, 2, 0)]), 1, "it doesn't tell who waits");
        assert_eq!(count(vec![held(2, Some(1), 1, 1)]), 0, "one of them may end");
        assert_eq!(count(vec![held(2, Some(1), 1, 0)]), 0, "one is held by somebody else");
        let growing = Held { pool: PoolState::new(1, 2, 0, Some(1)), waiting: vec![()], others: 0 };
        assert_eq!(count(vec![growing]), 0, "it may open one more");
        let idle = Held { pool: PoolState::new(1, 1, 1, Some(1)), waiting: vec![()], others: 0 };
        assert_eq!(count(vec![idle]), 0);
    }

    #[test]
    fn two_pools_are_stuck_if_the_holders_of_each_wait_for_the_other() {
        assert_eq!(count(vec![held(2, Some(1), 2, 0), held(1, Some(2), 1, 0)]), 2);
        assert_eq!(count(vec![held(1, Some(0), 1, 0)]), 0, "it waits for a pool that nobody knows");
        assert_eq!(count(vec![held(1, Some(0), 1, 0), held(1, Some(1), 1, 0)]), 1);
        assert_eq!(count(vec![held(1, Some(2), 1, 0), held(1, Some(0), 1, 1)]), 1);
    }
}
