//! From the pool to a connection, or to the reason why there is none.

use crate::{engine::Engine, failure::of_connecting};
use sqlx::{Error as SqlxError, Pool, pool::PoolConnection};
use std::{pin::pin, time::Duration};
use txsafe::{
    Failure,
    driver::{Alarm, SessionOptions},
};

/// Takes a connection from the pool, within the checkout timeout.
///
/// SQLx's pool makes several attempts at a server that refuses connections for the moment (`53300`, `57P03`, nobody
/// listens) and doesn't tell of them: what is left of these is that none came free in time.
pub(crate) async fn checkout<DB: Engine>(
    pool: &Pool<DB>,
    alarm: &Alarm,
    options: SessionOptions,
) -> Result<PoolConnection<DB>, Failure> {
    let patience = options.checkout_timeout;
    let Ok(acquired) = alarm.within(patience, pin!(pool.acquire())).await else {
        return Err(none_free(pool, patience));
    };
    acquired.map_err(|error| match error {
        SqlxError::PoolTimedOut => none_free(pool, pool.options().get_acquire_timeout()),
        SqlxError::PoolClosed => Failure::local("the pool is closed"),
        error => of_connecting::<DB>(&error),
    })
}

fn none_free<DB: Engine>(pool: &Pool<DB>, waited: Duration) -> Failure {
    let (size, most) = (pool.size(), pool.options().get_max_connections());
    if size < most {
        return Failure::no_connection(format!(
            "the server let nobody in within {waited:.1?}: the pool has {size} of at most {most} connections; look \
             whether it is up, and at its max_connections",
        ));
    }
    Failure::none_free(waited, format_args!("all of the pool's {most} are in use"))
}
