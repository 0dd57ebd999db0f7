//! One handler twice: it sells a ticket and has the card charged, inside its transaction and outside of it.

use diesel::{ExpressionMethods as _, QueryDsl as _, QueryResult, insert_into, update};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use txsafe_diesel::Database;

use crate::{failure::Failure, payments::Payments};

/// What is sold: a concert that everybody wants to hear, and its tickets.
pub(crate) const TABLES: &str = "
    DROP TABLE IF EXISTS tickets, concerts;
    CREATE TABLE concerts (id int PRIMARY KEY, seats_left int NOT NULL);
    CREATE TABLE tickets (concert int NOT NULL REFERENCES concerts, payment text NOT NULL);
    INSERT INTO concerts (id, seats_left) VALUES (1, 1000)";

const CONCERT: i32 = 1;

diesel::table! {
    concerts (id) {
        id -> Integer,
        seats_left -> Integer,
    }
}

diesel::table! {
    tickets (payment) {
        concert -> Integer,
        payment -> Text,
    }
}

/// As it is found in many a service: the row of the concert is locked while the provider takes its time.
pub(crate) async fn sell_inside(db: &Database, payments: &Payments) -> Result<(), Failure> {
    db.transaction("sell_ticket", async |mut tx| {
        change_seats(&mut tx, -1).await?; // the row is locked from here on
        let payment = payments.ask("charge").await?; // and everybody waits for the provider
        Ok(write_ticket(&mut tx, &payment).await?)
    })
    .await
}

/// The same, mended: asks before, writes, and does behind what can't be undone.
pub(crate) async fn sell_outside(db: &Database, payments: &Payments) -> Result<(), Failure> {
    let payment = payments.ask("authorize").await?;
    db.transaction("sell_ticket", async |mut tx| {
        change_seats(&mut tx, -1).await?;
        write_ticket(&mut tx, &payment).await?;
        let payments = payments.clone();
        tx.after_commit(async move || payments.ask("capture").await.map(drop));
        Ok(())
    })
    .await
}

/// What others want of the same row.
pub(crate) async fn change_seats(conn: &mut AsyncPgConnection, by: i32) -> QueryResult<()> {
    update(concerts::table.find(CONCERT))
        .set(concerts::seats_left.eq(concerts::seats_left + by))
        .execute(conn)
        .await?;
    Ok(())
}

async fn write_ticket(conn: &mut AsyncPgConnection, payment: &str) -> QueryResult<()> {
    insert_into(tickets::table)
        .values((tickets::concert.eq(CONCERT), tickets::payment.eq(payment)))
        .execute(conn)
        .await?;
    Ok(())
}
