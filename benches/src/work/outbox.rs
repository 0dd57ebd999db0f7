//! Messages that are written and delivered by the outbox, and by the table and the loop that one would write, on SQLx.

use super::sqlx::on_connections;
use crate::Result;
use sqlx::{PgPool, query, query_as, raw_sql};
use std::{
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;
use txsafe_sqlx::{Database, Message, OUTBOX_SQL};

/// Messages that are delivered at once, and by one transaction of the loop.
const BATCH: i64 = 8;

const PAYLOAD: &str = r#"{"order": 7}"#;

const LETTERS: &str = "CREATE TABLE IF NOT EXISTS letters (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
    topic text NOT NULL, payload text NOT NULL, written_at timestamptz NOT NULL DEFAULT clock_timestamp())";

/// A database with both tables. A worker claims and marks at the same time.
pub(crate) async fn prepared(url: &str) -> Result<(Database, PgPool)> {
    let (db, pool) = on_connections(url, 2)?;
    raw_sql(OUTBOX_SQL).execute(&pool).await?;
    raw_sql(LETTERS).execute(&pool).await?;
    Ok((db, pool))
}

/// A transaction that writes a message.
pub(crate) async fn write(db: &Database) -> Result<()> {
    db.transaction("bench", async |mut tx| {
        tx.outbox("receipt", PAYLOAD).await?;
        Ok(())
    })
    .await
}

/// A transaction that inserts a row instead.
pub(crate) async fn insert(db: &Database) -> Result<()> {
    db.transaction("bench", async |mut tx| {
        let row = query("INSERT INTO letters (topic, payload) VALUES ($1, $2)");
        row.bind("receipt").bind(PAYLOAD).execute(&mut tx).await?;
        Ok(())
    })
    .await
}

/// So many messages are there, and no others, in both tables.
pub(crate) async fn refill(pool: &PgPool, messages: usize) -> Result<()> {
    raw_sql("TRUNCATE txsafe_outbox, letters").execute(pool).await?;
    for table in ["txsafe_outbox", "letters"] {
        let sql = format!(
            "INSERT INTO {table} (topic, payload) SELECT 'receipt', '{PAYLOAD}' FROM generate_series(1, {messages});
             ANALYZE {table}"
        );
        raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await?;
    }
    Ok(())
}

/// A worker delivers so many messages.
pub(crate) async fn deliver(db: &Database, messages: usize) -> Result<()> {
    let (delivered, all) = (AtomicUsize::new(0), Notify::new());
    let worker = db.outbox().worker().concurrency(BATCH as usize);
    let worker = worker.deliver("receipt", async |message: Message| {
        black_box(message.payload());
        if delivered.fetch_add(1, Ordering::Relaxed) + 1 == messages {
            all.notify_one();
        }
    });
    Ok(worker.build()?.run_until(all.notified()).await?)
}

/// A loop does, which delivers with its transaction open.
pub(crate) async fn deliver_by_hand(pool: &PgPool, messages: usize) -> Result<()> {
    let mut left = messages;
    while left > 0 {
        let mut tx = pool.begin().await?;
        let some = "SELECT id, payload FROM letters WHERE topic = $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED";
        let some: Vec<(i64, String)> =
            query_as(some).bind("receipt").bind(BATCH).fetch_all(&mut *tx).await?;
        let mut ids = Vec::new();
        for (id, payload) in some {
            black_box(payload);
            ids.push(id);
        }
        query("DELETE FROM letters WHERE id = ANY ($1)").bind(&ids).execute(&mut *tx).await?;
        tx.commit().await?;
        left = left.checked_sub(ids.len()).filter(|_| !ids.is_empty()).ok_or("lost letters")?;
    }
    Ok(())
}
