//! Over diesel-async.

use crate::{Account, AccountRow, Found, Import, MANY, ShopOrder, listener};
use diesel::sql_query;
use diesel_async::{
    AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, pooled_connection::deadpool::Pool,
};
use std::net::TcpStream;
use txsafe_conformance::{error::AppError, shop::Shop};
use txsafe_diesel::{Database, Locked, manager};

#[tokio::test]
async fn its_own_traffic_is_not_found() {
    let (shop, found) = (Shop::open("own_async").await.unwrap(), Found::default());
    let pool = Pool::builder(manager(&shop.url)).max_size(2).build().unwrap();
    let db = Database::builder(pool)
        .service(shop.name())
        .lock_order::<ShopOrder>()
        .guard(found.policy())
        .build()
        .unwrap();
    for round in 0..3 {
        let address = listener();
        let done = db.transaction("own", async |mut tx| {
            for n in 0..MANY {
                sql_query(format!("SELECT {n}, repeat('x', 10000)")).execute(&mut *tx).await?;
            }
            tx.batch_execute("SELECT 1; SELECT 2").await?;
            let undone = tx
                .savepoint(async |mut tx| {
                    sql_query("SELECT 1/0").execute(&mut *tx).await?;
                    Ok::<_, AppError>(())
                })
                .await;
            assert!(undone.is_err());
            let mut tx = tx.at::<Account>();
            let _: Vec<Locked<'_, AccountRow>> = tx.lock_many(&[1, 2, 3]).await?;
            let mut tx = tx.at::<Import>();
            tx.advisory_lock("file".to_owned()).await?;
            helper(&mut tx).await?;
            if round == 2 {
                drop(TcpStream::connect(address));
            }
            Ok::<_, AppError>(())
        });
        done.await.unwrap();
        let expected = if round == 2 { vec![format!("connect({address})")] } else { vec![] };
        assert_eq!(found.take(), expected);
    }
}

async fn helper(conn: &mut AsyncPgConnection) -> diesel::QueryResult<usize> {
    sql_query("SELECT 1").execute(conn).await
}
