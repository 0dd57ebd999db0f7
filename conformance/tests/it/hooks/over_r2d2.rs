//! r2d2: its event handler, and its connection customizer, which is nobody else's.

use super::{END, House, Log, WHOSE, Whose};
use diesel::{
    PgConnection, QueryResult, RunQueryDsl,
    connection::{AnsiTransactionManager, SimpleConnection, TransactionManager},
    r2d2::{
        self, Builder, ConnectionManager, CustomizeConnection,
        event::{
            AcquireEvent, CheckinEvent, CheckoutEvent, HandleEvent, ReleaseEvent, TimeoutEvent,
        },
    },
};
use std::{thread, time::Duration};
use tokio::task::spawn_blocking;
use txsafe_diesel::{
    Error,
    blocking::{Database, pool_builder, pool_builder_with},
};

/// The application's.
#[derive(Debug)]
struct Handler(Log);

impl HandleEvent for Handler {
    fn handle_acquire(&self, _: AcquireEvent) {
        self.0.note("acquire");
    }

    fn handle_release(&self, _: ReleaseEvent) {
        self.0.note("release");
    }

    fn handle_checkout(&self, _: CheckoutEvent) {
        self.0.note("checkout");
    }

    fn handle_timeout(&self, event: TimeoutEvent) {
        assert_eq!(event.timeout(), Duration::from_millis(1));
        self.0.note("timeout");
    }

    fn handle_checkin(&self, _: CheckinEvent) {
        self.0.note("checkin");
    }
}

/// The application's.
#[derive(Debug)]
struct Customizer {
    move_in: String,
    log: Log,
}

impl CustomizeConnection<PgConnection, r2d2::Error> for Customizer {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), r2d2::Error> {
        self.log.note("moves in");
        conn.batch_execute(&self.move_in).map_err(r2d2::Error::QueryError)
    }

    fn on_release(&self, _: PgConnection) {
        self.log.note("moves out");
    }
}

pub(crate) fn whose(conn: &mut PgConnection) -> QueryResult<String> {
    diesel::sql_query(WHOSE).get_result::<Whose>(conn).map(|whose| whose.name)
}

type Pool = r2d2::Pool<ConnectionManager<PgConnection>>;

fn build(builder: Builder<ConnectionManager<PgConnection>>, house: &House, log: &Log) -> Pool {
    let customizer = Customizer { move_in: house.move_in(), log: log.clone() };
    let builder = builder.connection_customizer(Box::new(customizer)).test_on_check_out(false);
    builder.build(ConnectionManager::new(house.url())).unwrap()
}

#[tokio::test]
async fn every_event_reaches_the_applications_handler_after_the_guard() {
    let (house, log) = (House::build().await, Log::default());
    let told = spawn_blocking(move || {
        let builder = pool_builder_with(Box::new(Handler(log.clone()))).max_size(2);
        let pool = build(builder, &house, &log);
        let mut made = log.take();
        made.sort();
        assert_eq!(made, ["acquire", "acquire", "moves in", "moves in"]);

        let db = Database::builder(pool.clone()).guard(log.guard()).build().unwrap();
        let read = db.transaction("report", |mut tx| {
            assert_eq!(log.take(), ["checkout"]);
            drop(pool.get().unwrap());
            assert_eq!(log.take(), ["TXS005", "checkout", "checkin"]);
            Ok::<_, Error>(whose(&mut tx).unwrap())
        });
        assert_eq!((read.unwrap().as_str(), log.take()), ("tenant", vec!["checkin".to_owned()]));

        let (_one, mut other) = (pool.get().unwrap(), pool.get().unwrap());
        log.take();
        assert!(pool.get_timeout(Duration::from_millis(1)).is_err());
        assert_eq!(log.take(), ["timeout"]);
        // Given back in a transaction, it is closed, and another one is made by a thread of r2d2's.
        AnsiTransactionManager::begin_transaction(&mut *other).unwrap();
        drop(other);
        let mut events = log.take();
        events.retain(|event| !["acquire", "moves in"].contains(&event.as_str()));
        assert_eq!(events, ["checkin", "release", "moves out"]);
        assert_eq!(whose(&mut pool.get().unwrap()).unwrap(), "tenant");
    });
    told.await.unwrap();
}

/// r2d2 has its pool locked then: what was found is told where the next statement starts.
#[tokio::test]
async fn a_timeout_inside_of_a_transaction_reaches_the_handler_and_is_told() {
    let (house, log) = (House::build().await, Log::default());
    let told = spawn_blocking(move || {
        let builder = pool_builder_with(Box::new(Handler(log.clone()))).max_size(2);
        let pool = build(builder, &house, &log);
        let db = Database::builder(pool.clone()).guard(log.guard()).build().unwrap();
        // Held by somebody else: one of its own would be a finding, too.
        let _held = thread::scope(|scope| scope.spawn(|| pool.get().unwrap()).join().unwrap());
        let waited = db.transaction("report", |mut tx| {
            log.take();
            assert!(pool.get_timeout(Duration::from_millis(1)).is_err());
            assert_eq!(whose(&mut tx).unwrap(), "tenant");
            Ok::<_, Error>(log.take())
        });
        assert_eq!(waited.unwrap(), ["timeout", "TXS005"]);
    });
    told.await.unwrap();
}

/// r2d2 keeps one: theirs, and nothing is told any more.
#[tokio::test]
async fn a_handler_that_is_set_on_the_builder_is_kept() {
    let (house, log) = (House::build().await, Log::default());
    let told = spawn_blocking(move || {
        let builder = pool_builder().event_handler(Box::new(Handler(log.clone()))).max_size(2);
        let pool = build(builder, &house, &log);
        let db = Database::builder(pool.clone()).guard(log.guard()).build().unwrap();
        let read = db.transaction("report", |mut tx| {
            log.take();
            drop(pool.get().unwrap());
            assert_eq!(log.take(), ["checkout", "checkin"]);
            Ok::<_, Error>(whose(&mut tx).unwrap())
        });
        assert_eq!(read.unwrap(), "tenant");
    });
    told.await.unwrap();
}

#[tokio::test]
async fn a_connection_in_the_place_of_a_lost_one_is_set_up_too() {
    let (house, log) = (House::build().await, Log::default());
    let read = spawn_blocking(move || {
        let pool = build(pool_builder().max_size(2), &house, &log);
        let db = Database::builder(pool.clone()).build().unwrap();
        let (mut held, reads) = (pool.get().unwrap(), Log::default());
        let read = db.transaction_on(&mut held, "report", |mut tx| {
            reads.note(whose(&mut tx).unwrap());
            if reads.len() == 1 {
                tx.batch_execute(END).unwrap_err();
            }
            Ok::<_, Error>(())
        });
        read.unwrap();
        assert_eq!(reads.take(), ["tenant", "tenant"]);
        assert_eq!(whose(&mut held).unwrap(), "tenant");
    });
    read.await.unwrap();
}
