//! Drivers whose transactions are futures, and how simple SQL is run on them.

use diesel_async::{SimpleAsyncConnection, pooled_connection::deadpool};
use futures_util::future::BoxFuture;
use sqlx::Executor;
use tokio::sync::mpsc::UnboundedSender;
use txsafe::{
    Builder, Database, NoOrder, Unlocked,
    driver::{AsyncDriver, AsyncHook, HasAccount, Savepoints, async_hook},
};

pub(crate) const CREDIT: &str = "UPDATE accounts SET balance = balance + 1 WHERE id = 1";

/// A driver, and what tests say to its transactions.
pub(crate) trait Words: AsyncDriver + Savepoints + HasAccount<Hook = AsyncHook> {
    fn open(url: &str, connections: usize) -> Builder<Database<Self>>
    where
        Self: Sized;

    fn run<'t>(
        tx: &'t mut Self::Tx<'_, NoOrder, Unlocked>,
        sql: &'static str,
    ) -> BoxFuture<'t, Result<(), String>>;

    /// Queues hooks that tell how it ended.
    fn tell(tx: &mut Self::Tx<'_, NoOrder, Unlocked>, told: &UnboundedSender<&'static str>) {
        let hook = |what| {
            let told = told.clone();
            async_hook(async move || told.send(what).unwrap())
        };
        let hooks = &mut Self::account(tx).hooks;
        hooks.push_after_commit(hook("committed"));
        hooks.push_after_rollback(hook("rolled back"));
    }

    fn set_rollback_only(tx: &mut Self::Tx<'_, NoOrder, Unlocked>);
}

impl Words for txsafe_sqlx::Driver {
    fn open(url: &str, connections: usize) -> Builder<Database<Self>> {
        let connections = u32::try_from(connections).unwrap();
        let pool = txsafe_sqlx::pool_options().max_connections(connections);
        Database::builder(pool.connect_lazy(url).unwrap())
    }

    fn run<'t>(
        tx: &'t mut txsafe_sqlx::Tx<'_>,
        sql: &'static str,
    ) -> BoxFuture<'t, Result<(), String>> {
        Box::pin(async move { tx.execute(sql).await.map(drop).map_err(|error| error.to_string()) })
    }

    fn set_rollback_only(tx: &mut txsafe_sqlx::Tx<'_>) {
        tx.set_rollback_only();
    }
}

impl Words for txsafe_diesel::Driver {
    fn open(url: &str, connections: usize) -> Builder<Database<Self>> {
        let pool = deadpool::Pool::builder(txsafe_diesel::manager(url)).max_size(connections);
        Database::builder(pool.build().unwrap())
    }

    fn run<'t>(
        tx: &'t mut txsafe_diesel::Tx<'_>,
        sql: &'static str,
    ) -> BoxFuture<'t, Result<(), String>> {
        Box::pin(async move { tx.batch_execute(sql).await.map_err(|error| error.to_string()) })
    }

    fn set_rollback_only(tx: &mut txsafe_diesel::Tx<'_>) {
        tx.set_rollback_only();
    }
}

/// Each of these functions as a test of each driver.
macro_rules! on_all {
    ($($test:ident),+ $(,)?) => {
        mod sqlx_ {
            $(#[tokio::test] async fn $test() { super::$test::<txsafe_sqlx::Driver>().await; })+
        }
        mod diesel_async_ {
            $(#[tokio::test] async fn $test() { super::$test::<txsafe_diesel::Driver>().await; })+
        }
    };
}
pub(crate) use on_all;
