//! Transactions whose system calls are collected, and somebody to talk to.

use diesel::{
    PgConnection,
    r2d2::{ConnectionManager, Pool},
};
use diesel_async::pooled_connection::deadpool::Pool as AsyncPool;
use std::{
    io::Read,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
};
use tokio::runtime::Runtime;
use txsafe_diesel::{
    Database, Error,
    blocking::{Database as BlockingDatabase, Tx as BlockingTx},
    guard::{Code, Policy, Severity},
    manager,
};
use txsafe_testkit::{Postgres, Schema};

/// What went wrong in a transaction.
#[derive(Debug)]
#[expect(dead_code, reason = "shown where a test fails")]
pub(crate) enum Wrong {
    Txsafe(Error),
    Diesel(diesel::result::Error),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Txsafe(error)
    }
}

impl From<diesel::result::Error> for Wrong {
    fn from(error: diesel::result::Error) -> Self {
        Self::Diesel(error)
    }
}

/// A schema, with a runtime that may have started its server.
pub(crate) struct Place {
    pub(crate) schema: Schema,
    _runtime: Runtime,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let schema = runtime
            .block_on(async { Postgres::shared().await.unwrap().schema(name).await.unwrap() });
        Self { schema, _runtime: runtime }
    }

    pub(crate) fn database(&self, policy: Policy) -> BlockingDatabase {
        let manager = ConnectionManager::<PgConnection>::new(self.schema.url());
        let pool = Pool::builder().max_size(2).min_idle(Some(1)).build(manager).unwrap();
        BlockingDatabase::builder(pool).service("interposed").guard(policy).build().unwrap()
    }
}

pub(crate) fn async_database(schema: &Schema, policy: Policy) -> Database {
    let pool = AsyncPool::builder(manager(schema.url())).max_size(2).build().unwrap();
    Database::builder(pool).service("interposed").guard(policy).build().unwrap()
}

/// What was found, each with where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found(Arc<Mutex<Vec<(String, String)>>>);

impl Found {
    /// System calls are collected; the end of a transaction waits until their lines are known, because others would fail it.
    pub(crate) fn policy(&self) -> Policy {
        let there = Arc::clone(&self.0);
        Policy::test()
            .severity(Code::ExternalWait, Severity::Off)
            .severity(Code::BlockingCall, Severity::Off)
            .severity(Code::SlowPoll, Severity::Off)
            .severity(Code::SystemCall, Severity::Warn)
            .on_finding(move |finding| {
                assert_eq!(finding.code, Code::SystemCall, "{finding}");
                let site = finding.site.as_ref().map(ToString::to_string);
                there.lock().unwrap().push((finding.what.clone(), site.unwrap_or_default()));
            })
    }

    /// So far, since it was asked last.
    pub(crate) fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Only the calls.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.take().into_iter().map(|(call, _)| call).collect()
    }
}

/// Runs `body` in a transaction: which system calls were found.
pub(crate) fn found_by(body: impl Fn(&mut BlockingTx<'_>)) -> Vec<(String, String)> {
    let place = Place::new("found_by");
    let found = Found::default();
    let db = place.database(found.policy());
    db.transaction("found", |mut tx| {
        body(&mut tx);
        Ok::<_, Wrong>(())
    })
    .unwrap();
    found.take()
}

/// Somebody who listens, and takes no notice of what is said.
pub(crate) fn listener() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || while stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {});
        }
    });
    address
}
