//! Transactions that lock through types, and the same by hand.

use super::diesel_async::add;
use crate::Result;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, pooled_connection::deadpool::Pool};
use txsafe_diesel::{Database, Locked, RetryPolicy, lock_order, rank, ranked};

diesel::table! {
    seats (id) {
        id -> BigInt,
        guest -> Text,
    }
}

rank!(pub(crate) Account: table "accounts" key "id" as i32);
rank!(pub(crate) Seat: table "seats" key "id" as i64);

lock_order! { pub(crate) Bank: Account => Seat }

#[derive(Queryable, Selectable)]
#[diesel(table_name = seats)]
struct SeatRow {
    #[expect(dead_code, reason = "read because a service would")]
    id: i64,
    guest: String,
}

ranked!(SeatRow => Seat);

/// A database with an order, over a pool of this size. Nothing is tried again: in an order there are no deadlocks.
pub(crate) fn ordered(url: &str, size: usize) -> Result<Database<Bank>> {
    let pool = Pool::builder(txsafe_diesel::manager(url)).max_size(size).build()?;
    let once = RetryPolicy::new().max_attempts(1);
    let db = Database::builder(pool).lock_order::<Bank>();
    Ok(db.retry(once).adaptive_lock_timeout(false).build()?)
}

/// One statement for each of `ids`, in their order: what was sorted wrong would be refused.
pub(crate) async fn run_ordered(db: &Database<Bank>, ids: &[i32]) -> Result<()> {
    db.transaction("bench", async |tx| {
        let mut tx = tx.at::<Account>();
        for id in ids {
            add(tx.will_lock(*id)?, *id).await?;
        }
        Ok(())
    })
    .await
}

/// Locks seats through types.
pub(crate) async fn lock_many(db: &Database<Bank>, ids: &[i64]) -> Result<()> {
    db.transaction("bench", async |tx| {
        let seats: Vec<Locked<'_, SeatRow>> = tx.at::<Seat>().lock_many(ids).await?;
        checked(ids, seats.iter().map(|seat| &*seat.guest))
    })
    .await
}

/// Locks seats by the query that one would write.
pub(crate) async fn lock_by_hand(db: &Database<Bank>, ids: &[i64]) -> Result<()> {
    db.transaction("bench", async |mut tx| {
        let conn: &mut AsyncPgConnection = &mut tx;
        let query = seats::table.filter(seats::id.eq_any(ids)).order(seats::id);
        let query = query.select(SeatRow::as_select()).for_no_key_update();
        let seats: Vec<SeatRow> = query.load(conn).await?;
        checked(ids, seats.iter().map(|seat| &*seat.guest))
    })
    .await
}

fn checked<'s>(ids: &[i64], guests: impl ExactSizeIterator<Item = &'s str>) -> Result<()> {
    if guests.len() == ids.len() { Ok(()) } else { Err("a seat is missing".into()) }
}
