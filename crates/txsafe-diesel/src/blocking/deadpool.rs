//! Pools of deadpool-diesel, from a blocking thread.

use super::{
    driver::Driver,
    pool::{Object as Lent, Pool, R2d2Pool, Sealed},
    session::abandon,
};
use crate::{
    deadpools::{of_pool, state_of},
    failure::{failure_of, of_connecting},
};
pub(crate) use deadpool_diesel::postgres::Pool as DeadpoolPool;
use deadpool_diesel::{Error as ManagerError, postgres::Object};
use diesel::PgConnection;
use std::pin::pin;
use tokio::runtime::Handle;
use txsafe::{
    Failure, PoolState,
    driver::{Alarm, OnBlockingThreads, SessionOptions, checkout_timed_out},
};

impl Pool for DeadpoolPool {}

impl OnBlockingThreads for Driver<DeadpoolPool> {}

impl Sealed for DeadpoolPool {
    type Object = Object;

    fn checkout(&self, options: SessionOptions) -> Result<Object, Failure> {
        let patience = options.checkout_timeout;
        let got = Handle::current().block_on(Alarm::default().within(patience, pin!(self.get())));
        match got {
            Ok(got) => got.map_err(|error| of_pool(self, error, of_manager)),
            Err(_elapsed) => Err(checkout_timed_out(patience, state_of(self))),
        }
    }

    fn r2d2(&self) -> Option<&R2d2Pool> {
        None
    }

    fn max_size(&self) -> usize {
        self.status().max_size
    }

    fn state(&self) -> PoolState {
        state_of(self)
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

fn of_manager(error: &ManagerError) -> Failure {
    match error {
        ManagerError::Connection(error) => of_connecting(error),
        ManagerError::Ping(error) => failure_of(error),
        ManagerError::BrokenTransactionManger => Failure::lost(None, error.to_string()),
    }
}
