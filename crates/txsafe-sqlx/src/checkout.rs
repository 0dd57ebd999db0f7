//! From the pool to a connection, or to the reason why there is none.

use crate::{driver::state_of, engine::Engine, failure::of_connecting};
use sqlx::{Error as SqlxError, Pool, pool::PoolConnection};
use std::pin::pin;
use txsafe::{
    Failure,
    driver::{Alarm, SessionOptions, checkout_timed_out},
};

/// Takes a connection from the pool, within the checkout timeout.
///
/// SQLx's pool makes several attempts at a server that refuses connections for the moment (`53300`, `57P03`, nobody
/// listens) and doesn't report them: what is left of these is that the pool has fewer connections than it may have. It counts the
/// one that this checkout opens until that is dropped, which it is before the pool's state is read.
pub(crate) async fn checkout<DB: Engine>(
    pool: &Pool<DB>,
    alarm: &Alarm,
    options: SessionOptions,
) -> Result<PoolConnection<DB>, Failure> {
    let patience = options.checkout_timeout;
    let Ok(acquired) = alarm.within(patience, pin!(pool.acquire())).await else {
        return Err(checkout_timed_out(patience, state_of(pool)));
    };
    acquired.map_err(|error| match error {
        SqlxError::PoolTimedOut => {
            checkout_timed_out(pool.options().get_acquire_timeout(), state_of(pool))
        }
        SqlxError::PoolClosed => Failure::local("the pool is closed"),
        error => of_connecting::<DB>(&error),
    })
}
