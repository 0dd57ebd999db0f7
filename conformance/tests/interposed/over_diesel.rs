//! Over Diesel's blocking connections.

use crate::{Account, AccountRow, Found, Import, MANY, ShopOrder, listener, schema};
use diesel::{
    PgConnection,
    connection::SimpleConnection,
    deserialize::QueryableByName,
    pg::{Pg, PgRowByRowLoadingMode},
    prelude::*,
    r2d2::{ConnectionManager, Pool},
    serialize::{IsNull, Output, ToSql},
    sql_query,
    sql_types::{Integer, Text},
};
use std::io::Write;
use std::net::TcpStream;
use tokio::task::block_in_place;
use txsafe_conformance::{error::AppError, shop::Shop};
use txsafe_diesel::{
    Locked,
    blocking::{Database, Tx},
};

const ENUM: &str = "CREATE TYPE mood AS ENUM ('happy', 'sad')";

/// Its number in the server is asked for when it is first used.
#[derive(diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(name = "mood"))]
struct MoodType;

#[derive(Debug, Clone, Copy, diesel::expression::AsExpression)]
#[diesel(sql_type = MoodType)]
struct Happy;

impl ToSql<MoodType, Pg> for Happy {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        out.write_all(b"happy")?;
        Ok(IsNull::No)
    }
}

/// It can't be written, and Diesel doesn't tell the end of its statement.
#[derive(Debug, Clone, Copy, diesel::expression::AsExpression)]
#[diesel(sql_type = Text)]
struct Unwritable;

impl ToSql<Text, Pg> for Unwritable {
    fn to_sql<'b>(&'b self, _: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        Err("on purpose".into())
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Integer)]
    #[expect(dead_code, reason = "read by nobody")]
    n: i32,
}

fn database(shop: &Shop, found: &Found) -> Database<ShopOrder> {
    let pool = Pool::builder()
        .max_size(2)
        .build(ConnectionManager::<PgConnection>::new(&shop.url))
        .unwrap();
    Database::builder(pool)
        .service(shop.name())
        .lock_order::<ShopOrder>()
        .guard(found.policy())
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_traffic_is_not_found() {
    let (shop, found) = (Shop::open("own_blocking").await.unwrap(), Found::default());
    shop.watcher.batch_execute(ENUM).await.unwrap();
    let db = database(&shop, &found);
    for round in 0..3 {
        let address = listener();
        let transaction = |mut tx: Tx<'_, ShopOrder>| {
            moods(&mut tx)?;
            for n in 0..MANY {
                sql_query(format!("SELECT {n}, repeat('x', 10000)")).execute(&mut *tx)?;
                schema::accounts::table.find(n).load::<(i32, i64)>(&mut *tx)?;
            }
            tx.batch_execute("SELECT 1; SELECT 2")?;
            let rows = "SELECT n FROM generate_series(1, 5) n";
            for row in sql_query(rows).load_iter::<Number, PgRowByRowLoadingMode>(&mut *tx)? {
                row?;
            }
            let undone = tx.savepoint(|mut tx| {
                sql_query("SELECT 1/0").execute(&mut *tx)?;
                Ok::<_, AppError>(())
            });
            assert!(undone.is_err());
            let undone = tx.savepoint(|mut tx| {
                diesel::select(Unwritable.into_sql::<Text>()).get_result::<String>(&mut *tx)?;
                Ok::<_, AppError>(())
            });
            assert!(undone.is_err());
            let mut tx = tx.at::<Account>();
            let _: Vec<Locked<'_, AccountRow>> = tx.lock_many(&[1, 2, 3])?;
            let mut tx = tx.at::<Import>();
            tx.advisory_lock("file".to_owned())?;
            if round == 2 {
                drop(TcpStream::connect(address));
            }
            Ok::<_, AppError>(())
        };
        block_in_place(|| db.transaction("own", transaction)).unwrap();
        let expected = if round == 2 { vec![format!("connect({address})")] } else { vec![] };
        assert_eq!(found.take(), expected);
    }
}

/// The first of these asks for the type's number, in the midst of its own statement.
fn moods(conn: &mut PgConnection) -> QueryResult<()> {
    for _ in 0..3 {
        diesel::select(Happy.into_sql::<MoodType>()).execute(conn)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_connection_of_libpq_is_found() {
    let (shop, found) = (Shop::open("other_blocking").await.unwrap(), Found::default());
    let db = database(&shop, &found);
    let url = shop.url.clone();
    let transaction = |mut tx: Tx<'_, ShopOrder>| {
        sql_query("SELECT 1").execute(&mut *tx)?;
        let mut other = PgConnection::establish(&url).unwrap();
        sql_query("SELECT 1").execute(&mut other)?;
        sql_query("SELECT 1").execute(&mut *tx)?;
        Ok::<_, AppError>(())
    };
    block_in_place(|| db.transaction("other", transaction)).unwrap();
    let calls = found.take();
    let is_there = |name: &str| calls.iter().any(|call| call.starts_with(name));
    assert!(is_there("connect(") && is_there("send("), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_statement_whose_end_nobody_tells_is_found_behind_the_next_one() {
    let (shop, found) = (Shop::open("unwritable").await.unwrap(), Found::default());
    let db = database(&shop, &found);
    let (missed, seen) = (listener(), listener());
    let transaction = |mut tx: Tx<'_, ShopOrder>| {
        let unwritten =
            diesel::select(Unwritable.into_sql::<Text>()).get_result::<String>(&mut *tx);
        assert!(unwritten.is_err());
        drop(TcpStream::connect(missed));
        sql_query("SELECT 1").execute(&mut *tx)?;
        drop(TcpStream::connect(seen));
        Ok::<_, AppError>(())
    };
    block_in_place(|| db.transaction("unwritable", transaction)).unwrap();
    assert_eq!(found.take(), [format!("connect({seen})")]);
}
