//! How full a deadpool is, and why it has no connection: that of diesel-async and that of deadpool-diesel say it alike.

use deadpool::managed::{HookError, Manager, Pool, PoolError, TimeoutType};
use txsafe::{Failure, PoolState, driver::checkout_timed_out};

/// How full a pool is.
pub(crate) fn state_of<M: Manager>(pool: &Pool<M>) -> PoolState {
    let status = pool.status();
    PoolState::new(status.size, status.max_size, status.available, Some(status.waiting))
}

/// The failure behind an error of a pool, whose manager's own errors `of_manager` reads.
pub(crate) fn of_pool<M: Manager>(
    pool: &Pool<M>,
    error: PoolError<M::Error>,
    of_manager: impl Fn(&M::Error) -> Failure,
) -> Failure {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            of_manager(&error)
        }
        PoolError::Timeout(TimeoutType::Create) => {
            Failure::lost(None, "the pool's own timeout for making a connection expired")
        }
        PoolError::Timeout(TimeoutType::Wait | TimeoutType::Recycle) => {
            checkout_timed_out(pool.timeouts().wait.unwrap_or_default(), state_of(pool))
        }
        PoolError::Closed => Failure::local("the pool is closed"),
        PoolError::NoRuntimeSpecified => {
            Failure::local("the pool has timeouts and no runtime: give its builder one")
        }
        PoolError::PostCreateHook(HookError::Message(message)) => {
            Failure::local(message.to_string())
        }
    }
}
