//! Pools of deadpool-diesel, from a blocking thread.

use super::{
    checkout::patience,
    pool::{Object as Lent, Pool, R2d2Pool, Sealed},
    session::abandon,
};
use crate::failure::{of_connecting, of_diesel};
use deadpool_diesel::{
    Error as ManagerError,
    postgres::{HookError, Object, Pool as DeadpoolPool, PoolError, TimeoutType},
};
use diesel::PgConnection;
use std::{
    fmt,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use txsafe::{Failure, decide::settings::Settings};

impl Pool for DeadpoolPool {}

impl Sealed for DeadpoolPool {
    type Object = Object;

    fn checkout(&self, settings: &Settings, deadline: Option<Instant>) -> Result<Object, Failure> {
        let patience = patience(settings, deadline);
        let got = Handle::current().block_on(tokio::time::timeout(patience, self.get()));
        match got {
            Ok(got) => got.map_err(|error| of_pool(self, error)),
            Err(_elapsed) => Err(none_free(self, patience)),
        }
    }

    fn r2d2(&self) -> Option<&R2d2Pool> {
        None
    }

    fn status(&self) -> impl fmt::Debug {
        self.status()
    }
}

impl Lent for Object {
    fn with<R>(&mut self, work: impl FnOnce(&mut PgConnection) -> R) -> R {
        match self.lock() {
            Ok(mut conn) => work(&mut conn),
            Err(_poisoned) => unreachable!("a session whose closure panicked is dropped"),
        }
    }

    /// The connection itself is dropped by another thread; what must happen now happens before.
    fn close(self) {
        match self.lock() {
            Ok(mut conn) => abandon(&mut conn),
            // The closure panicked.
            Err(poisoned) => drop(poisoned.into_inner().take()),
        }
        drop(Self::take(self));
    }
}

fn of_pool(pool: &DeadpoolPool, error: PoolError) -> Failure {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            of_manager(&error)
        }
        PoolError::Timeout(TimeoutType::Create) => {
            Failure::lost(None, "the pool's own timeout for making a connection expired")
        }
        PoolError::Timeout(TimeoutType::Wait | TimeoutType::Recycle) => {
            none_free(pool, pool.timeouts().wait.unwrap_or_default())
        }
        PoolError::Closed => Failure::local("the pool is closed"),
        error @ (PoolError::NoRuntimeSpecified
        | PoolError::PostCreateHook(HookError::Message(_))) => Failure::local(error.to_string()),
    }
}

fn of_manager(error: &ManagerError) -> Failure {
    match error {
        ManagerError::Connection(error) => of_connecting(error),
        ManagerError::Ping(error) => of_diesel(error),
        ManagerError::BrokenTransactionManger => Failure::lost(None, error.to_string()),
    }
}

fn none_free(pool: &DeadpoolPool, waited: Duration) -> Failure {
    let status = pool.status();
    Failure::no_connection(format!(
        "no connection came free in {waited:.1?}: all {} of the pool are in use and {} wait for one; make \
         transactions shorter, don't take a second connection inside one, or enlarge the pool",
        status.max_size, status.waiting,
    ))
}
