//! From the pool to a connection, or to the reason why there is none.

use crate::{failure::of_diesel, refused::of_connecting};
use deadpool::managed::{HookError, PoolError as DeadpoolError, TimeoutType};
use diesel_async::{
    AsyncPgConnection,
    pooled_connection::{
        PoolError as ManagerError,
        deadpool::{Object, Pool},
    },
};
use futures_util::future::poll_immediate;
use std::{
    pin::pin,
    time::{Duration, Instant},
};
use txsafe::Failure;

/// Takes a connection from the pool, within `timeout` and before `deadline`.
pub(crate) async fn checkout(
    pool: &Pool<AsyncPgConnection>,
    timeout: Duration,
    deadline: Option<Instant>,
) -> Result<Object<AsyncPgConnection>, Failure> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let patience = left.map_or(timeout, |left| left.min(timeout));
    let mut get = pin!(pool.get());
    // A timer is made only if one must wait.
    let got = match poll_immediate(&mut get).await {
        Some(got) => got,
        None => match tokio::time::timeout(patience, get).await {
            Ok(got) => got,
            Err(_elapsed) => return Err(none_free(pool, patience)),
        },
    };
    got.map_err(|error| of_pool(pool, error))
}

/// Why the manager couldn't make a connection.
pub(crate) fn of_manager(error: &ManagerError) -> Failure {
    match error {
        ManagerError::ConnectionError(error) => of_connecting(error),
        ManagerError::QueryError(error) => of_diesel(error),
    }
}

fn of_pool(pool: &Pool<AsyncPgConnection>, error: DeadpoolError<ManagerError>) -> Failure {
    match error {
        DeadpoolError::Backend(error) => of_manager(&error),
        DeadpoolError::Timeout(TimeoutType::Create) => {
            Failure::lost(None, "the pool's own timeout for making a connection expired")
        }
        DeadpoolError::Timeout(TimeoutType::Wait | TimeoutType::Recycle) => {
            none_free(pool, pool.timeouts().wait.unwrap_or_default())
        }
        DeadpoolError::Closed => Failure::local("the pool is closed"),
        DeadpoolError::PostCreateHook(HookError::Backend(error)) => of_manager(&error),
        error @ (DeadpoolError::NoRuntimeSpecified
        | DeadpoolError::PostCreateHook(HookError::Message(_))) => {
            Failure::local(error.to_string())
        }
    }
}

fn none_free(pool: &Pool<AsyncPgConnection>, waited: Duration) -> Failure {
    let status = pool.status();
    Failure::no_connection(format!(
        "no connection came free in {waited:.1?}: all {} of the pool are in use and {} wait for one; make \
         transactions shorter, don't take a second connection inside one, or enlarge the pool",
        status.max_size, status.waiting,
    ))
}
