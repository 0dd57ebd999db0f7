//! From an r2d2 pool to a connection, or to the reason why there is none.

use super::pool::{R2d2Object, R2d2Pool, Sealed};
use crate::failure::of_connecting_words;
use std::time::Duration;
use txsafe::{
    Failure,
    driver::{SessionOptions, checkout_timed_out},
};

/// Takes a connection from the pool, within the checkout timeout.
pub(crate) fn checkout(pool: &R2d2Pool, options: SessionOptions) -> Result<R2d2Object, Failure> {
    let patience = options.checkout_timeout;
    pool.get_timeout(patience).map_err(|error| of_pool(pool, &error.to_string(), patience))
}

/// r2d2 connects in threads of its own, again and again, and hands out the last error as text when the time is up.
fn of_pool(pool: &R2d2Pool, said: &str, waited: Duration) -> Failure {
    if let Some((_timed_out, reason)) = said.split_once(": ") {
        return of_connecting_words(reason);
    }
    checkout_timed_out(waited, Sealed::state(pool))
}
