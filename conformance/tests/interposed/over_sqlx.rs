//! Over SQLx.

use crate::{Account, AccountRow, Found, Import, MANY, ShopOrder, listener};
use txsafe_conformance::{error::AppError, shop::Shop};

use futures_util::TryStreamExt;
use sqlx::{PgConnection, PgPool, Row, postgres::PgPoolOptions, query, raw_sql};
use std::{
    io::Write,
    net::TcpStream,
    sync::{Mutex, PoisonError},
};
use txsafe_sqlx::{Database, Locked};

fn database(shop: &Shop, found: &Found) -> Database<ShopOrder> {
    let pool: PgPool = PgPoolOptions::new().max_connections(2).connect_lazy(&shop.url).unwrap();
    Database::builder(pool)
        .service(shop.name())
        .lock_order::<ShopOrder>()
        .guard(found.policy())
        .build()
        .unwrap()
}

#[tokio::test]
async fn its_own_traffic_is_not_found() {
    let (shop, found) = (Shop::open("own_sqlx").await.unwrap(), Found::default());
    let db = database(&shop, &found);
    for round in 0..3 {
        let address = listener();
        let done = db.transaction("own", async |mut tx| {
            for n in 0..MANY {
                query("SELECT $1, repeat('x', 10000)").bind(n).execute(&mut tx).await?;
            }
            raw_sql("SELECT 1; SELECT 2").execute(&mut tx).await?;
            let mut rows = query("SELECT n FROM generate_series(1, 1000) n").fetch(&mut tx);
            while let Some(row) = rows.try_next().await? {
                row.get::<i32, _>(0);
            }
            drop(rows);
            // One that is left alone half-way is waited for by the next.
            let _ =
                query("SELECT n FROM generate_series(1, 1000) n").fetch(&mut tx).try_next().await?;
            let undone = tx
                .savepoint(async |mut tx| {
                    query("SELECT 1/0").execute(&mut tx).await?;
                    Ok::<_, AppError>(())
                })
                .await;
            assert!(undone.is_err());
            let mut tx = tx.at::<Account>();
            let _: Vec<Locked<'_, AccountRow>> = tx.lock_many(&[1, 2, 3]).await?;
            let mut tx = tx.at::<Import>();
            tx.advisory_lock("file".to_owned()).await?;
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

async fn helper(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    for _ in 0..MANY {
        query("SELECT 1").execute(&mut *conn).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_a_lent_connection_sends_is_not_found_and_what_others_send_is_once_it_is_known() {
    let (shop, found) = (Shop::open("lent").await.unwrap(), Found::default());
    let db = database(&shop, &found);
    let address = listener();
    let beside = Mutex::new(TcpStream::connect(address).unwrap());
    let send = || beside.lock().unwrap_or_else(PoisonError::into_inner).write_all(b"x");
    for knows in [false, true] {
        let done = db.transaction("lent", async |mut tx| {
            if knows {
                query("SELECT 1").execute(&mut tx).await?;
            }
            helper(tx.connection()).await?;
            // While it is lent, anything that is sent may be the database's, unless that has shown its socket.
            send().unwrap();
            helper(tx.connection()).await?;
            Ok::<_, AppError>(())
        });
        done.await.unwrap();
        let calls = found.take();
        assert_eq!(calls.len(), usize::from(knows), "{calls:?}");
        assert!(calls.iter().all(|call| call.ends_with(&format!("({address})"))), "{calls:?}");
    }
    let done = db.transaction("lent", async |mut tx| {
        helper(tx.connection()).await?;
        drop(TcpStream::connect(address));
        Ok::<_, AppError>(())
    });
    done.await.unwrap();
    assert_eq!(found.take(), [format!("connect({address})")], "nobody connects by a lent one");
}
