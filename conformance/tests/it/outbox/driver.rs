//! What writes to the outbox and delivers it, each driver behind the same few words.

use crate::outbox::post::{Post, blocking_pool, diesel_pool, sqlx_pool};
use deadpool_diesel::postgres::{Manager, Pool as DeadpoolPool};
use futures_util::future::BoxFuture;
use std::{future::pending, thread, time::Duration};
use tokio::{runtime::Handle, select, task::block_in_place};
use txsafe::{Keyed, NoOrder, RunningTransaction, guard::Policy};
use txsafe_conformance::{
    drivers::{Call, Database, play_blocking},
    error::AppError,
    script::{Script, Step},
};
use txsafe_diesel::{Isolation, Message, NewMessage, WriteEffect, blocking};

/// A driver that writes to the outbox and delivers it.
pub(crate) trait Driver {
    /// Plays scripts in transactions.
    type Db: Database + Clone + 'static;

    /// Without findings: these transactions wait for whatever a test makes them wait for.
    fn open_with(post: &Post, isolation: Isolation) -> Self::Db;

    fn open(post: &Post) -> Self::Db {
        Self::open_with(post, Isolation::ReadCommitted)
    }

    /// Delivers messages of the topic `sync`, until `stop`.
    async fn deliver<F, R>(db: &Self::Db, settings: Settings, handler: F, stop: R)
    where
        F: Fn(Message) -> Delivering + Send + Sync,
        R: Future<Output = ()> + Send;

    /// Delivers messages of the topic `sync`, until the worker is killed with all of its deliveries.
    async fn deliver_and_die<F, R>(
        post: &Post,
        db: &Self::Db,
        settings: Settings,
        handler: F,
        dies: R,
    ) where
        F: Fn(Message) -> Delivering + Send + Sync,
        R: Future<Output = ()> + Send;
}

/// What a handler returns.
pub(crate) type Delivering = BoxFuture<'static, Result<(), &'static str>>;

/// The settings of a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) lease: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) concurrency: usize,
    pub(crate) max_attempts: u32,
    /// Both bounds of it.
    pub(crate) pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(3_600),
            poll_interval: Duration::from_millis(10),
            concurrency: 8,
            max_attempts: 25,
            pause: Duration::from_millis(1),
        }
    }
}

/// The message that all of them are about.
pub(crate) fn sync(payload: &str) -> NewMessage {
    NewMessage::new("sync", payload).key("user 7")
}

/// Writes a message in a transaction of its own; what that did.
pub(crate) async fn write(db: &impl Database, message: NewMessage) -> WriteEffect {
    let script = Script::new([Step::Outbox(message)]);
    db.run(Call::new("write"), script.clone()).await.unwrap();
    script.written().pop().unwrap().effect()
}

pub(crate) struct DieselAsync;
pub(crate) struct Sqlx;
pub(crate) struct DieselBlocking;
/// Diesel's blocking connections over deadpool-diesel.
pub(crate) struct Interact;

macro_rules! configured {
    ($db:expr, $settings:expr) => {{
        let Settings { lease, poll_interval, concurrency, max_attempts, pause } = $settings;
        let worker = $db.outbox().worker().lease(lease).poll_interval(poll_interval);
        let worker = worker.concurrency(concurrency).max_attempts(max_attempts);
        worker.min_pause(pause).max_pause(pause)
    }};
}

/// A driver whose workers are futures.
macro_rules! asynchronous {
    ($driver:ident, $db:ty, $open:expr) => {
        impl Driver for $driver {
            type Db = $db;

            fn open_with(post: &Post, isolation: Isolation) -> Self::Db {
                let open: fn(&Post, Isolation) -> Self::Db = $open;
                open(post, isolation)
            }

            async fn deliver<F, R>(db: &Self::Db, settings: Settings, handler: F, stop: R)
            where
                F: Fn(Message) -> Delivering + Send + Sync,
                R: Future<Output = ()> + Send,
            {
                let worker =
                    configured!(db, settings).timeout(2 * settings.lease).grace(Duration::ZERO);
                let worker = worker.deliver("sync", handler).build().unwrap();
                worker.run_until(stop).await.unwrap();
            }

            async fn deliver_and_die<F, R>(
                _post: &Post,
                db: &Self::Db,
                settings: Settings,
                handler: F,
                dies: R,
            ) where
                F: Fn(Message) -> Delivering + Send + Sync,
                R: Future<Output = ()> + Send,
            {
                select! {
                    () = Self::deliver(db, settings, handler, pending()) => {}
                    () = dies => {}
                }
            }
        }
    };
}

asynchronous!(DieselAsync, txsafe_diesel::Database, |post, isolation| {
    let db = txsafe_diesel::Database::builder(diesel_pool(post.url()));
    db.isolation(isolation).guard(Policy::production()).build().unwrap()
});

asynchronous!(Sqlx, txsafe_sqlx::Database, |post, isolation| {
    let db = txsafe_sqlx::Database::builder(sqlx_pool(post.url()));
    db.isolation(isolation).guard(Policy::production()).build().unwrap()
});

asynchronous!(Interact, InteractDb, |post, isolation| {
    let manager = Manager::new(post.url(), deadpool_diesel::Runtime::Tokio1);
    let pool = DeadpoolPool::builder(manager).max_size(6).build().unwrap();
    InteractDb(
        blocking::Database::builder(pool)
            .isolation(isolation)
            .guard(Policy::production())
            .build()
            .unwrap(),
    )
});

/// A database over deadpool-diesel.
#[derive(Clone)]
pub(crate) struct InteractDb(pub(crate) blocking::Database<NoOrder, DeadpoolPool>);

impl InteractDb {
    fn outbox(&self) -> txsafe::Outbox<blocking::Database<NoOrder, DeadpoolPool>> {
        self.0.outbox()
    }
}

impl Database for InteractDb {
    fn run(&self, call: Call, script: Script) -> BoxFuture<'_, Result<Keyed<()>, AppError>> {
        let runtime = Handle::current();
        Box::pin(async move {
            let played = self.0.with(call.options).interact(call.name, move |mut tx| {
                play_blocking(&mut tx, script.next_attempt(), &script, &runtime)
            });
            played.await.map(Keyed::Ran)
        })
    }

    fn running(&self) -> Vec<RunningTransaction> {
        self.0.running()
    }
}

impl Driver for DieselBlocking {
    type Db = blocking::Database;

    fn open_with(post: &Post, isolation: Isolation) -> Self::Db {
        let db = blocking::Database::builder(blocking_pool(post.url()));
        db.isolation(isolation).guard(Policy::production()).build().unwrap()
    }

    async fn deliver<F, R>(db: &Self::Db, settings: Settings, handler: F, stop: R)
    where
        F: Fn(Message) -> Delivering + Send + Sync,
        R: Future<Output = ()> + Send,
    {
        /// Also where the test fails.
        struct StopAtTheEnd(blocking::OutboxStopper);

        impl Drop for StopAtTheEnd {
            fn drop(&mut self) {
                self.0.stop();
            }
        }

        let runtime = Handle::current();
        let handler = |message| runtime.block_on(handler(message));
        let worker = configured!(db, settings).deliver("sync", handler).build().unwrap();
        let stopper = StopAtTheEnd(worker.stopper());
        block_in_place(|| {
            thread::scope(|scope| {
                let running = scope.spawn(|| worker.run());
                runtime.block_on(stop);
                drop(stopper);
                running.join().unwrap().unwrap();
            });
        });
    }

    /// A thread can't be killed. All of its leases are taken away instead, as if it had stood still for long; it marks
    /// nothing then.
    async fn deliver_and_die<F, R>(
        post: &Post,
        db: &Self::Db,
        settings: Settings,
        handler: F,
        dies: R,
    ) where
        F: Fn(Message) -> Delivering + Send + Sync,
        R: Future<Output = ()> + Send,
    {
        let stop = async {
            dies.await;
            let sql = "UPDATE txsafe_outbox SET lease = gen_random_uuid() WHERE lease IS NOT NULL";
            post.execute(sql).await;
        };
        Self::deliver(db, settings, handler, stop).await;
    }
}
