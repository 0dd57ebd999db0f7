//! Why a pool had no connection in time.

use crate::{dialect::failure::Failure, telemetry::pool::PoolState};
use std::time::Duration;

/// The failure of a checkout that timed out after `waited`. If the pool has all its connections, none came free, and the run loop adds
/// what holds them. If it has fewer, it could open no further one.
#[must_use]
pub fn checkout_timed_out(waited: Duration, pool: PoolState) -> Failure {
    let PoolState { size, max_size, waiting, .. } = pool;
    if size < max_size {
        return Failure::none_opened(waited, size, max_size);
    }
    let in_use = match (pool.in_use(), size) {
        (1, 1) => "the pool's one connection is in use".to_owned(),
        (in_use, size) if in_use == size => {
            format!("all {size} connections of the pool are in use")
        }
        (in_use, size) => format!("{in_use} of {size} connections of the pool are in use"),
    };
    match waiting {
        Some(1) => Failure::none_free(waited, format_args!("{in_use}, and 1 caller waits for one")),
        Some(n @ 2..) => {
            Failure::none_free(waited, format_args!("{in_use}, and {n} callers wait for one"))
        }
        Some(0) | None => Failure::none_free(waited, in_use),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_has_holders_and_another_one_has_a_server_that_does_not_answer() {
        let second = Duration::from_secs(1);
        let full = checkout_timed_out(second, PoolState::new(2, 2, 0, None));
        let text = "no connection came free in 1.0s: all 2 connections of the pool are in use";
        assert!(full.message() == text && full.holders().is_some(), "{full}");
        for (state, end) in [
            (
                PoolState::new(1, 1, 0, Some(1)),
                "the pool's one connection is in use, and 1 caller waits for one",
            ),
            (PoolState::new(2, 2, 0, Some(0)), "all 2 connections of the pool are in use"),
            (
                PoolState::new(2, 2, 1, Some(3)),
                "1 of 2 connections of the pool are in use, and 3 callers wait for one",
            ),
        ] {
            let failure = checkout_timed_out(second, state);
            assert!(failure.message().ends_with(&format!(": {end}")), "{failure}");
        }
        let unopened = checkout_timed_out(second, PoolState::new(1, 2, 0, None));
        assert!(unopened.holders().is_none(), "{unopened}");
        assert_eq!(
            unopened.to_string(),
            "no connection could be opened in 1.0s: the pool has 1 of at most 2; check that the server is up and reachable \
             from here (address, network, firewall), and that its `max_connections` leaves room for this pool"
        );
    }
}
