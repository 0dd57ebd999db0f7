//! What is known of statements without the wire: by the server's words, in any language, and by a chained instrumentation.

use super::{credit, database, nowhere, raise};
use crate::support::{AppError, Attempts, Shop, accounts};
use diesel::{
    connection::{Instrumentation, InstrumentationEvent},
    pg::PgRowByRowLoadingMode,
    prelude::*,
    r2d2::{ConnectionManager, CustomizeConnection, Pool},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use txsafe_diesel::{
    TxOptions,
    blocking::{Database, chain_instrumentation},
};
use txsafe_testkit::Postgres;

#[tokio::test]
async fn a_lock_that_is_not_granted_is_tried_again() {
    let shop = Shop::open("blocking_lock").await;
    let db = database(&shop, 1);
    shop.watcher
        .batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2")
        .await
        .unwrap();
    let attempts = Attempts::default();
    let options = TxOptions::new().lock_timeout(Duration::from_millis(20));
    let retried = db.with(options).transaction("lock timeout", |mut tx| {
        if attempts.is_first() {
            credit(&mut tx, 2, 1)?;
        }
        Ok::<_, AppError>(())
    });
    retried.unwrap();
    assert_eq!(attempts.count(), 2);

    // Row by row, Diesel tells the end of rows that failed twice, and the second time as a success.
    let attempts = Attempts::default();
    let retried = db.transaction("rows", |mut tx| {
        if attempts.is_first() {
            let rows = accounts::table.order(accounts::id).for_update();
            let rows = rows.load_iter::<(i32, i64), PgRowByRowLoadingMode>(&mut *tx)?;
            let _ignored = rows.take_while(Result::is_ok).count();
        }
        Ok::<_, AppError>(())
    });
    let error = retried.err();
    assert_eq!((attempts.count(), error.is_none()), (2, true), "{error:?}");
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();
}

pub(super) struct Count(pub(super) Arc<AtomicU32>);

impl Instrumentation for Count {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if matches!(
            event,
            InstrumentationEvent::FinishQuery { .. }
                | InstrumentationEvent::BeginTransaction { .. }
                | InstrumentationEvent::CommitTransaction { .. }
                | InstrumentationEvent::RollbackTransaction { .. }
        ) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
struct Counting(Arc<AtomicU32>, bool);

impl CustomizeConnection<PgConnection, diesel::r2d2::Error> for Counting {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), diesel::r2d2::Error> {
        let count = Count(Arc::clone(&self.0));
        if self.1 {
            chain_instrumentation(conn, count)
        } else {
            conn.set_instrumentation(count)
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_callers_instrumentation_hears_every_event() {
    let shop = Shop::open("blocking_chained").await;
    let with = |customizer| {
        let manager = ConnectionManager::<PgConnection>::new(&shop.url);
        let builder = Pool::builder().max_size(1).test_on_check_out(false);
        let pool = builder.connection_customizer(Box::new(customizer)).build(manager).unwrap();
        Database::builder(pool).build().unwrap()
    };
    let count = Arc::<AtomicU32>::default();
    let db = with(Counting(Arc::clone(&count), true));
    let attempts = Attempts::default();
    let committed = db.transaction("chained", |mut tx| {
        credit(&mut tx, 1, 1)?;
        if attempts.is_first() {
            raise(&mut tx, "40001", "raised")?;
        }
        Ok::<_, AppError>(())
    });
    committed.unwrap();
    assert_eq!(attempts.count(), 2, "still observed");
    // The language, the database and the session's limits once; BEGIN, UPDATE, DO, ROLLBACK; BEGIN, UPDATE, COMMIT; and a begin or an end of
    // each transaction.
    assert_eq!(count.load(Ordering::Relaxed), 3 + 7 + 4);

    let db = with(Counting(Arc::clone(&count), false));
    let lost = db.transaction("lost", |_tx| Ok::<_, AppError>(()));
    let text = lost.unwrap_err().ours().to_string();
    assert!(text.contains("chain_instrumentation"), "{text}");
    let still = db.pool().get().unwrap().instrumentation().is::<Count>();
    assert!(still, "the caller's is left in its place");
}

#[tokio::test]
async fn servers_that_speak_other_languages_are_understood_or_refused() {
    for locale in ["de_DE.UTF-8", "ja_JP.UTF-8"] {
        let server = Postgres::builder().locale(locale).start().await.unwrap();
        let shop = Shop::on(server, "languages").await;
        let db = database(&shop, 2);
        shop.watcher
            .batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2")
            .await
            .unwrap();
        let attempts = Attempts::default();
        let retried = db.transaction("lock timeout", |mut tx| {
            if attempts.is_first() {
                credit(&mut tx, 2, 1)?;
            }
            Ok::<_, AppError>(())
        });
        retried.unwrap();
        assert_eq!(attempts.count(), 2, "{locale}");
        let unseen = db.transaction("unseen", |mut tx| {
            tx.set_instrumentation(|_: InstrumentationEvent<'_>| ());
            let _ignored = nowhere::table.select(nowhere::id).first::<i32>(&mut *tx);
            Ok::<_, AppError>(())
        });
        assert!(unseen.unwrap_err().ours().is_rolled_back_at_commit(), "{locale}");
    }
    let server = Postgres::builder().locale("fi_FI.UTF-8").start().await.unwrap();
    let shop = Shop::on(server, "unknown").await;
    let db = database(&shop, 1);
    let refused = db.transaction("refused", |_tx| Ok::<_, AppError>(()));
    let text = refused.unwrap_err().ours().to_string();
    assert!(text.contains("fi_FI.UTF-8") && text.contains("lc_messages = 'C'"), "{text}");
    // The cure works, on connections made after it.
    shop.watcher.batch_execute("ALTER ROLE CURRENT_USER SET lc_messages = 'C'").await.unwrap();
    database(&shop, 1).transaction("cured", |_tx| Ok::<_, AppError>(())).unwrap();
}
