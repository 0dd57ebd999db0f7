#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

/// Runs an example of a guide, so that only one line of it has to be hidden: gives it the URL of a schema with two accounts of
/// 100 each. A macro, because what it names are dev-dependencies.
#[macro_export]
macro_rules! on_postgres {
    ($example:expr) => {
        ::tokio::runtime::Runtime::new().unwrap().block_on(async {
            let server = ::txsafe_testkit::Postgres::shared().await.unwrap();
            let schema = server.schema("guide").await.unwrap();
            let (client, connection) =
                ::tokio_postgres::connect(schema.url(), ::tokio_postgres::NoTls).await.unwrap();
            ::tokio::spawn(connection);
            let accounts = "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
                            INSERT INTO accounts VALUES (1, 100), (2, 100)";
            client.batch_execute(accounts).await.unwrap();
            ($example)(schema.url()).await.unwrap();
        })
    };
}

/// A database at this URL, for examples that don't show how one is made.
#[macro_export]
macro_rules! database {
    ($url:expr) => {{
        let manager = ::txsafe_diesel::manager($url);
        let pool = ::diesel_async::pooled_connection::deadpool::Pool::builder(manager).build();
        ::txsafe_diesel::Database::builder(pool.unwrap()).build().unwrap()
    }};
}

/// The guide to the outbox, whose example needs a driver.
#[cfg_attr(doctest, doc = include_str!("../crates/txsafe/docs/outbox.md"))]
pub mod outbox {}

/// The guide to queues of jobs.
#[cfg(doctest)]
#[doc = include_str!("../crates/txsafe/docs/queues.md")]
pub mod queues {}

/// The guide to writes of many rows.
#[cfg(doctest)]
#[doc = include_str!("../crates/txsafe/docs/many-rows.md")]
pub mod many_rows {}

/// The guide to transactions that are begun and committed by hand.
#[cfg(doctest)]
#[doc = include_str!("../crates/txsafe/docs/by-hand.md")]
pub mod by_hand {}

/// The guide to rerun mode.
#[cfg(doctest)]
#[doc = include_str!("../crates/txsafe/docs/testing.md")]
pub mod testing {}

/// The guide to databases for tests.
#[cfg(doctest)]
#[doc = include_str!("../crates/txsafe/docs/test-databases.md")]
pub mod test_databases {}

/// The guide to idempotency keys.
#[cfg(doctest)]
#[doc = include_str!("../crates/txsafe/docs/idempotency-keys.md")]
pub mod idempotency_keys {}

/// The guide to the transaction of a request on axum, with diesel-async.
#[cfg(doctest)]
#[doc = include_str!("../crates/txsafe-layers/docs/transaction.md")]
pub mod request_transaction {}

/// The guide of the guard, whose examples need a driver.
#[cfg(doctest)]
#[doc = include_str!("../crates/txsafe/docs/guard.md")]
pub mod guard {}

/// The pages of findings, whose examples need a driver, too.
#[cfg(doctest)]
pub mod findings {
    #[doc = include_str!("../docs/findings/TXS001.md")]
    pub mod txs001 {}
    #[doc = include_str!("../docs/findings/TXS002.md")]
    pub mod txs002 {}
    #[doc = include_str!("../docs/findings/TXS003.md")]
    pub mod txs003 {}
    #[doc = include_str!("../docs/findings/TXS004.md")]
    pub mod txs004 {}
    #[doc = include_str!("../docs/findings/TXS005.md")]
    pub mod txs005 {}
    #[doc = include_str!("../docs/findings/TXS006.md")]
    pub mod txs006 {}
    #[doc = include_str!("../docs/findings/TXS007.md")]
    pub mod txs007 {}
    #[doc = include_str!("../docs/findings/TXS009.md")]
    pub mod txs009 {}
    #[doc = include_str!("../docs/findings/TXS010.md")]
    pub mod txs010 {}
    #[doc = include_str!("../docs/findings/TXS011.md")]
    pub mod txs011 {}
    #[doc = include_str!("../docs/findings/TXS012.md")]
    pub mod txs012 {}
    #[doc = include_str!("../docs/findings/TXS013.md")]
    pub mod txs013 {}
    #[doc = include_str!("../docs/findings/TXS014.md")]
    pub mod txs014 {}
}
