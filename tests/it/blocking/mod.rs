//! Diesel's blocking connections, over r2d2 and over deadpool-diesel: the same promises, with less to see.

mod connections;
mod copies;
mod observation;
mod outbox;
mod outcomes;

use crate::support::{Shop, accounts};
use diesel::{
    connection::SimpleConnection,
    prelude::*,
    r2d2::{ConnectionManager, Pool},
};
use txsafe_diesel::blocking::Database;

diesel::table! {
    /// There is no such table: a query of it fails in being prepared.
    nowhere (id) {
        id -> Integer,
    }
}

pub(super) type DeadpoolPool = deadpool_diesel::postgres::Pool;

pub(super) fn r2d2(shop: &Shop, connections: u32) -> Pool<ConnectionManager<PgConnection>> {
    let manager = ConnectionManager::<PgConnection>::new(&shop.url);
    Pool::builder().max_size(connections).min_idle(Some(0)).build(manager).unwrap()
}

pub(super) fn database(shop: &Shop, connections: u32) -> Database {
    Database::builder(r2d2(shop, connections)).service("blocking").build().unwrap()
}

pub(super) fn deadpool(shop: &Shop) -> DeadpoolPool {
    let manager =
        deadpool_diesel::postgres::Manager::new(&shop.url, deadpool_diesel::Runtime::Tokio1);
    DeadpoolPool::builder(manager).max_size(2).build().unwrap()
}

/// A helper as services have them, on the driver's own connection type.
pub(super) fn credit(conn: &mut PgConnection, id: i32, amount: i64) -> QueryResult<usize> {
    diesel::update(accounts::table.find(id))
        .set(accounts::balance.eq(accounts::balance + amount))
        .execute(conn)
}

pub(super) fn raise(conn: &mut PgConnection, code: &str, message: &str) -> QueryResult<()> {
    let raise = format!("DO $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{code}'; END $$");
    conn.batch_execute(&raise)
}

pub(super) fn pid(conn: &mut PgConnection) -> QueryResult<i32> {
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("pg_backend_pid()"))
        .get_result(conn)
}
