//! From the pool to a connection, or to the reason why there is none.

use crate::{
    deadpools::{of_pool, state_of},
    failure::failure_of,
    refused::of_connecting,
};
use diesel_async::{
    AsyncPgConnection,
    pooled_connection::{
        PoolError as ManagerError,
        deadpool::{Object, Pool},
    },
};
use std::pin::pin;
use txsafe::{
    Failure,
    driver::{Alarm, SessionOptions, checkout_timed_out},
};

/// Takes a connection from the pool, within the checkout timeout.
pub(crate) async fn checkout(
    pool: &Pool<AsyncPgConnection>,
    options: SessionOptions,
) -> Result<Object<AsyncPgConnection>, Failure> {
    let patience = options.checkout_timeout;
    let Ok(got) = Alarm::default().within(patience, pin!(pool.get())).await else {
        return Err(checkout_timed_out(patience, state_of(pool)));
    };
    got.map_err(|error| of_pool(pool, error, of_manager))
}

/// Why the manager couldn't make a connection.
pub(crate) fn of_manager(error: &ManagerError) -> Failure {
    match error {
        ManagerError::ConnectionError(error) => of_connecting(error),
        ManagerError::QueryError(error) => failure_of(error),
    }
}
