//! Writes that ask for evidence.

use crate::lock_order::town::*;
use diesel::{ExpressionMethods, PgConnection, r2d2};
use tokio::task::block_in_place;
use txsafe::{ForUpdate, KeyShare, Locked, row};
use txsafe_conformance::error::AppError;

#[tokio::test]
async fn diesel_async_writes_what_is_locked() {
    use diesel_async::RunQueryDsl;

    let town = Town::found("writes").await;
    let db = txsafe_diesel::Database::builder(diesel_pool(town.url())).lock_order::<TownOrder>();
    let db = db.build().unwrap();
    let set = (row::<OrgRow>(2).in_mode::<KeyShare>(), row::<OrderRow>(7).in_mode::<ForUpdate>());
    let written = db.transaction_locking("writes", set, async |holding| {
        let txsafe_diesel::Holding { mut tx, rows: (org, order), .. } = holding;
        let deleted = tx.delete(&order).execute(&mut tx).await?;
        let inserted = tx.insert_into(schema::orders::table, (&org,));
        let order = (schema::orders::id.eq(99), schema::orders::organization.eq(org.id));
        let inserted = inserted.values(order).execute(&mut tx).await?;
        let mut tx = tx.at::<User>();
        let user: Locked<'_, UserRow> = tx.lock(1).await?;
        let updated = tx.savepoint(async |mut tx| {
            let user: Locked<'_, UserRow> = tx.lock(user.id).await?;
            let update = tx.update(&user).set(schema::users::name.eq("new"));
            Ok::<_, AppError>(update.execute(&mut tx).await?)
        });
        Ok::<_, AppError>((deleted, inserted, updated.await?))
    });
    assert_eq!(written.await.unwrap(), (1, 1, 1));
    assert_written(&town).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_diesel_writes_what_is_locked() {
    use diesel::RunQueryDsl;

    let town = Town::found("writes").await;
    let manager = r2d2::ConnectionManager::<PgConnection>::new(town.url());
    let pool = r2d2::Pool::builder().max_size(1).build(manager).unwrap();
    let db = txsafe_diesel::blocking::Database::builder(pool).lock_order::<TownOrder>();
    let db = db.build().unwrap();
    let set = (row::<OrgRow>(2).in_mode::<KeyShare>(), row::<OrderRow>(7).in_mode::<ForUpdate>());
    let written = block_in_place(|| {
        db.transaction_locking("writes", set, |holding| {
            let txsafe_diesel::Holding { mut tx, rows: (org, order), .. } = holding;
            let deleted = tx.delete(&order).execute(&mut *tx)?;
            let inserted = tx.insert_into(schema::orders::table, (&org,));
            let order = (schema::orders::id.eq(99), schema::orders::organization.eq(org.id));
            let inserted = inserted.values(order).execute(&mut *tx)?;
            let mut tx = tx.at::<User>();
            let user: Locked<'_, UserRow> = tx.lock(1)?;
            let update = tx.update(&user).set(schema::users::name.eq("new"));
            Ok::<_, AppError>((deleted, inserted, update.execute(&mut *tx)?))
        })
    });
    assert_eq!(written.unwrap(), (1, 1, 1));
    assert_written(&town).await;
}

#[tokio::test]
async fn sqlx_writes_what_is_locked() {
    use sqlx::query;

    let town = Town::found("writes").await;
    let db = txsafe_sqlx::Database::builder(sqlx_pool(town.url())).lock_order::<TownOrder>();
    let db = db.build().unwrap();
    let set = (row::<OrgRow>(2).in_mode::<KeyShare>(), row::<OrderRow>(7).in_mode::<ForUpdate>());
    let written = db.transaction_locking("writes", set, async |holding| {
        let txsafe_sqlx::Holding { mut tx, rows: (org, order), .. } = holding;
        let delete = query("DELETE FROM orders WHERE id = $1").bind(order.id);
        let deleted = tx.delete(&order, delete).await?;
        let insert = query("INSERT INTO orders (id, organization) VALUES (99, $1)").bind(org.id);
        let inserted = tx.insert_into::<Order, _>((&org,), insert).await?;
        let mut tx = tx.at::<User>();
        let user: Locked<'_, UserRow> = tx.lock(1).await?;
        let update = query("UPDATE users SET name = 'new' WHERE id = $1").bind(user.id);
        let updated = tx.update(&user, update).await?;
        Ok::<_, AppError>([deleted, inserted, updated].map(|done| done.rows_affected()))
    });
    assert_eq!(written.await.unwrap(), [1, 1, 1]);
    assert_written(&town).await;
}

async fn assert_written(town: &Town) {
    let sql = "SELECT (SELECT count(*) FROM orders WHERE id IN (7, 99) AND organization = 2)
                    + (SELECT count(*) FROM users WHERE name = 'new')";
    assert_eq!(town.ask(sql).await, 2);
}
