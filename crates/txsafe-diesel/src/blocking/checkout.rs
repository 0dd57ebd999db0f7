//! From an r2d2 pool to a connection, or to the reason why there is none.

use super::pool::{R2d2Object, R2d2Pool};
use crate::failure::of_connecting_words;
use std::time::{Duration, Instant};
use txsafe::{Failure, decide::settings::Settings};

/// Takes a connection from the pool, within the checkout timeout and before `deadline`.
pub(crate) fn checkout(
    pool: &R2d2Pool,
    settings: &Settings,
    deadline: Option<Instant>,
) -> Result<R2d2Object, Failure> {
    let patience = patience(settings, deadline);
    pool.get_timeout(patience).map_err(|error| of_pool(pool, &error.to_string(), patience))
}

/// How long a connection may be waited for.
pub(crate) fn patience(settings: &Settings, deadline: Option<Instant>) -> Duration {
    let timeout = settings.checkout_timeout();
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    left.map_or(timeout, |left| left.min(timeout))
}

/// r2d2 connects in threads of its own, again and again, and hands out the last error as text when the time is up.
fn of_pool(pool: &R2d2Pool, said: &str, waited: Duration) -> Failure {
    if let Some((_timed_out, reason)) = said.split_once(": ") {
        return of_connecting_words(reason);
    }
    let state = pool.state();
    Failure::no_connection(format!(
        "no connection came free in {waited:.1?}: {} of the pool's {} are in use; make transactions shorter, don't take a \
         second connection inside one, or enlarge the pool",
        state.connections.saturating_sub(state.idle_connections),
        pool.max_size(),
    ))
}
