//! The SQL that sets up txsafe's tables: it may run again, and in all replicas of a service at once.

use super::Case;
use crate::{
    drivers::{Call, Database, Driver},
    script::{Script, Step},
    shop::Shop,
};
use futures_util::future::{join_all, try_join_all};
use std::{sync::Arc, time::Duration};
use txsafe::{IDEMPOTENCY_KEYS_SQL, Isolation, Keyed, OUTBOX_SQL, SEQUENCES_SQL, TxOptions};

pub(super) const CASES: &[Case] = cases![
    replicas_set_up_at_once,
    a_table_in_use_is_set_up_again_without_waiting,
    a_name_that_is_something_else_is_told,
];

/// How many set up the same database.
const REPLICAS: u32 = 8;

const ROUNDS: usize = 10;

const NONE: &str = "DROP TABLE IF EXISTS txsafe_idempotency_keys, txsafe_outbox, txsafe_sequences";

/// The table of an earlier version.
const OLDER: &str = "
    DROP TABLE IF EXISTS txsafe_idempotency_keys;
    CREATE TABLE txsafe_idempotency_keys (
        transaction_name text NOT NULL,
        key              text NOT NULL,
        committed_at     timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (transaction_name, key)
    )";

/// As migrations run: without a lock timeout that is shorter than the work of the others.
fn patient(isolation: Isolation) -> TxOptions {
    let minute = Duration::from_secs(60);
    let options = TxOptions::new().lock_timeout(minute).statement_timeout(minute);
    options.adaptive_lock_timeout(false).isolation(isolation)
}

async fn replicas_set_up_at_once(driver: Driver) {
    let shop = Shop::open("setup").await.unwrap();
    let db = shop.database_at(driver, &shop.url, REPLICAS);
    for (before, sql) in [
        (NONE, IDEMPOTENCY_KEYS_SQL),
        (OLDER, IDEMPOTENCY_KEYS_SQL),
        (NONE, OUTBOX_SQL),
        (NONE, SEQUENCES_SQL),
    ] {
        for round in 0..ROUNDS {
            shop.watcher.batch_execute(before).await.unwrap();
            if round % 2 == 0 {
                let all = try_join_all((0..REPLICAS).map(|_| db.leave(sql)));
                all.await.unwrap();
            } else {
                let isolation = match round % 4 {
                    1 => Isolation::ReadCommitted,
                    _ => Isolation::Serializable,
                };
                in_transactions(&db, sql, isolation).await;
            }
        }
    }
    shop.watcher.batch_execute(IDEMPOTENCY_KEYS_SQL).await.unwrap();
    let call = Call::new("pay").key("k").fingerprint("5");
    assert_eq!(db.run(call, Script::new([])).await.unwrap(), Keyed::Ran(()));
    let indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema()
                   AND tablename = 'txsafe_idempotency_keys'";
    assert_eq!((shop.ask(indexes).await, shop.busy().await), (2, 0));
}

/// Nobody needs a second attempt.
async fn in_transactions(db: &Arc<dyn Database>, sql: &str, isolation: Isolation) {
    let script = Script::new([Step::sql("SELECT count(*) FROM accounts"), Step::sql(sql)]);
    let call = || Call::new("migrate").with(patient(isolation));
    let all = join_all((0..REPLICAS).map(|_| db.run(call(), script.clone())));
    for ran in all.await {
        ran.unwrap();
    }
    assert_eq!(script.attempts(), usize::try_from(REPLICAS).unwrap());
}

async fn a_table_in_use_is_set_up_again_without_waiting(driver: Driver) {
    let shop = Shop::open("setup_again").await.unwrap();
    let sql = [OUTBOX_SQL, SEQUENCES_SQL].join("");
    shop.watcher.batch_execute(&sql).await.unwrap();
    let in_use = "BEGIN;
         INSERT INTO txsafe_idempotency_keys (transaction_name, key) VALUES ('pay', 'k');
         INSERT INTO txsafe_outbox (topic, payload) VALUES ('mail', '{}');
         INSERT INTO txsafe_sequences VALUES ('invoice', '1', 1)";
    shop.watcher.batch_execute(in_use).await.unwrap();
    let db = shop.database(driver);
    let short = TxOptions::new().lock_timeout(Duration::from_millis(100));
    for sql in [IDEMPOTENCY_KEYS_SQL, OUTBOX_SQL, SEQUENCES_SQL] {
        let script = Script::new([Step::sql(sql)]);
        db.run(Call::new("migrate").with(short.clone()), script.clone()).await.unwrap();
        assert_eq!(script.attempts(), 1);
    }
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(shop.busy().await, 0);
}

async fn a_name_that_is_something_else_is_told(driver: Driver) {
    let shop = Shop::open("setup_taken").await.unwrap();
    let taken = format!("{NONE}; CREATE DOMAIN txsafe_sequences AS text");
    shop.watcher.batch_execute(&taken).await.unwrap();
    let db = shop.database(driver);
    assert!(db.leave(SEQUENCES_SQL).await.is_err());
    let error = shop.watcher.batch_execute(SEQUENCES_SQL).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42710", "{error}");
}
