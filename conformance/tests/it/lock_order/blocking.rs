//! Diesel's blocking connections.

use crate::lock_order::town::*;
use diesel::{
    PgConnection,
    r2d2::{ConnectionManager, Pool},
};
use std::{future::Future, thread, time::Duration};
use tokio::{runtime::Handle, task::block_in_place};
use txsafe_conformance::error::AppError;
use txsafe_diesel::{
    Cause, ForUpdate, Holding, KeyShare, Locked, Share, TxOptions, advisory,
    blocking::{Database, Tx},
    row, rows,
};

fn database(town: &Town) -> Database<TownOrder> {
    let pool =
        Pool::builder().max_size(2).build(ConnectionManager::<PgConnection>::new(town.url()));
    let db = Database::builder(pool.unwrap()).service(town.name());
    db.lock_order::<TownOrder>().build().unwrap()
}

/// What others do while a transaction of ours is running.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    Handle::current().block_on(future)
}

/// A helper at one rank.
fn names(tx: &mut Tx<'_, TownOrder, User>, ids: &[i64]) -> Result<Vec<String>, AppError> {
    let users: Vec<Locked<'_, UserRow>> = tx.lock_many(ids)?;
    Ok(users.into_iter().map(|user| user.into_row().name).collect())
}

/// An order's organization, the names of users, and the transaction.
type Visited<'c> = (i64, Vec<String>, Tx<'c, TownOrder, User>);

/// A helper over two ranks, whatever was locked before them.
fn order_and_users<'c, H: TownOrderBefore<Order>>(
    tx: Tx<'c, TownOrder, H>,
    order: i64,
    users: &[i64],
) -> Result<Visited<'c>, AppError> {
    let mut tx = tx.at::<Order>();
    let order: Locked<'_, OrderRow> = tx.lock(order)?;
    let organization = order.organization;
    let mut tx = tx.at::<User>();
    let names = names(&mut tx, users)?;
    Ok((organization, names, tx))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_in_the_order_of_their_keys() {
    let town = Town::found("read").await;
    let db = database(&town);
    let read = block_in_place(|| {
        db.transaction("read", |tx| {
            let mut tx = tx.at::<Organization>();
            let org: Locked<'_, OrgRow> = tx.lock(1)?;
            let (organization, names, tx) = order_and_users(tx, 7, &[9, 2, 5, 2, 11])?;
            let mut tx = tx.at::<Item>();
            let skus = ["é", "a,b}", "quo\"te", "Z", "back\\slash", "a"].map(String::from);
            let items: Vec<Locked<'_, ItemRow>> = tx.lock_many(&skus)?;
            let items: Vec<_> = items.iter().map(|item| item.sku.clone()).collect();
            Ok::<_, AppError>((org.name.clone(), organization, names, items))
        })
    });
    let (org, organization, names, items) = read.unwrap();
    assert_eq!((org.as_str(), organization), ("mill", 1));
    assert_eq!(names, ["user 2", "user 5", "user 9"], "each once, and 11 isn't there");
    assert_eq!(items, ["Z", "a", "a,b}", "back\\slash", "quo\"te", "é"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_are_locked_one_after_the_other() {
    let town = Town::found("many").await;
    let db = database(&town);
    town.other.batch_execute("BEGIN; UPDATE users SET name = 'x' WHERE id = 5").await.unwrap();
    let locking = || {
        let db = db.with(TxOptions::new().adaptive_lock_timeout(false));
        db.transaction("many", |tx| {
            let users: Vec<Locked<'_, UserRow>> = tx.at::<User>().lock_many(&[8, 5, 3])?;
            Ok::<_, AppError>(users.iter().map(|user| user.name.clone()).collect::<Vec<_>>())
        })
    };
    let writing = async {
        town.until_somebody_waits().await;
        let free = town.free_users().await;
        town.other.batch_execute("COMMIT").await.unwrap();
        free
    };
    let (names, free) = block_in_place(|| {
        thread::scope(|scope| {
            let locking = scope.spawn(locking);
            let free = block_on(writing);
            (locking.join().unwrap(), free)
        })
    });
    assert_eq!(free, [1, 2, 4, 6, 7, 8, 9, 10], "3 was locked, and 8 was not");
    assert_eq!(names.unwrap(), ["user 3", "x", "user 8"], "read as it was committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_one_rank_ascend() {
    let town = Town::found("keys").await;
    let db = database(&town);
    let refused = block_in_place(|| {
        db.transaction("keys", |tx| {
            let mut tx = tx.at::<User>();
            let _nine: Locked<'_, UserRow> = tx.lock(9)?;
            let _again: Locked<'_, UserRow> = tx.lock(9)?;
            let _three: Locked<'_, UserRow> = tx.lock(3)?;
            Ok(())
        })
    });
    let message = refusal(refused);
    assert_names_two_places(&message, file!());
    assert!(message.contains("`User` 3"), "{message}");
    assert!(message.contains("after `User` 9"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_may_lock_by_itself() {
    let town = Town::found("itself").await;
    let db = database(&town);
    let refused = block_in_place(|| {
        db.transaction("itself", |tx| {
            let mut tx = tx.at::<User>();
            let _four: Locked<'_, UserRow> = tx.will_lock(3)?.lock(4)?;
            tx.will_lock(3)?.will_lock(4)?.will_lock(2)?;
            Ok(())
        })
    });
    let message = refusal(refused);
    assert_names_two_places(&message, file!());
    assert!(message.contains("`User` 2"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_is_not_raised() {
    let town = Town::found("modes").await;
    let db = database(&town);
    let refused = block_in_place(|| {
        db.transaction("modes", |tx| {
            let mut tx = tx.at::<User>();
            let _shared: Locked<'_, UserRow, Share> = tx.lock_for(9)?;
            let _weaker: Locked<'_, UserRow, KeyShare> = tx.lock_for(9)?;
            let _written: Locked<'_, UserRow> = tx.lock(9)?;
            Ok(())
        })
    });
    let message = refusal(refused);
    assert_names_two_places(&message, file!());
    assert!(message.contains("weaker mode"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_not_there_is_named() {
    let town = Town::found("missing").await;
    let db = database(&town);
    let missing = block_in_place(|| {
        db.transaction("missing", |tx| {
            let _item: Locked<'_, ItemRow> = tx.at::<Item>().lock("x".into())?;
            Ok::<_, AppError>(())
        })
    });
    let error = missing.unwrap_err().ours();
    assert!(error.is_row_not_found());
    assert_eq!(error.to_string(), "there is no row of `Item` with key \"x\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_wait_may_go_back() {
    let town = Town::found("back").await;
    town.other.batch_execute("BEGIN; UPDATE users SET name = 'x' WHERE id = 5").await.unwrap();
    let db = database(&town);
    let got = block_in_place(|| {
        db.transaction("back", |tx| {
            let mut tx = tx.at::<Item>();
            let _item: Locked<'_, ItemRow> = tx.lock("a".into())?;
            let held: Option<Locked<'_, UserRow>> = tx.try_lock_earlier(5)?;
            let free: Option<Locked<'_, UserRow>> = tx.try_lock_earlier(6)?;
            Ok::<_, AppError>((held.is_some(), free.is_some()))
        })
    });
    assert_eq!(got.unwrap(), (false, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_savepoint_gives_its_locks_back() {
    let town = Town::found("savepoint").await;
    let db = database(&town);
    let free = block_in_place(|| {
        db.transaction("savepoint", |tx| {
            let mut tx = tx.at::<User>();
            let _two: Locked<'_, UserRow> = tx.lock(2)?;
            let undone = tx.savepoint(|mut tx| {
                let _nine: Locked<'_, UserRow> = tx.lock(9)?;
                Err::<(), _>(AppError::Own("undone"))
            });
            assert!(undone.is_err());
            let _three: Locked<'_, UserRow> = tx.lock(3)?;
            Ok::<_, AppError>(block_on(town.free_users()))
        })
    });
    assert_eq!(free.unwrap(), [1, 4, 5, 6, 7, 8, 9, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_savepoint_locked_and_kept_is_not_forgotten() {
    let town = Town::found("kept").await;
    let db = database(&town);
    let refused = block_in_place(|| {
        db.transaction("kept", |tx| {
            let mut tx = tx.at::<Order>();
            tx.savepoint(|tx| {
                let _user: Locked<'_, UserRow> = tx.at::<User>().lock(1)?;
                Ok::<_, AppError>(())
            })?;
            let _order: Locked<'_, OrderRow> = tx.lock(1)?;
            Ok(())
        })
    });
    let message = refusal(refused);
    assert_names_two_places(&message, file!());
    assert!(message.contains("Organization => Order => User => Item"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_wait_for_no_lock_but_the_strongest() {
    let town = Town::found("foreign").await;
    let db = database(&town);
    town.other.batch_execute("SET lock_timeout = '10ms'").await.unwrap();
    let insert = "INSERT INTO orders VALUES (99, 2)";
    let inserted = block_in_place(|| {
        db.transaction("weak", |tx| {
            let _org: Locked<'_, OrgRow> = tx.at::<Organization>().lock(2)?;
            Ok::<_, AppError>(block_on(town.other.batch_execute(insert)))
        })
    });
    inserted.unwrap().unwrap();
    let waited = block_in_place(|| {
        db.transaction("strong", |tx| {
            let mut tx = tx.at::<Organization>();
            let _org: Locked<'_, OrgRow, ForUpdate> = tx.lock_for(2)?;
            let insert = insert.replace("99", "100");
            Ok::<_, AppError>(block_on(town.other.batch_execute(&insert)))
        })
    });
    let waited = waited.unwrap().unwrap_err();
    assert_eq!(waited.code().unwrap().code(), "55P03");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_locked_by_rank_and_key() {
    let town = Town::found("set").await;
    let db = database(&town);
    let (rows, free) = block_in_place(|| {
        let set = (
            advisory::<Import>(town.file()),
            [row::<UserRow>(9), row(2)],
            rows::<OrderRow>([7, 3, 99]),
        );
        db.transaction_locking("set", set, |holding| {
            let Holding { tx, rows: ((), [nine, two], orders), .. } = holding;
            tx.at::<Tenant>().advisory_lock(town.tenant)?;
            let orders: Vec<_> = orders.iter().map(|order| order.id).collect();
            Ok::<_, AppError>(((nine.id, two.id, orders), block_on(town.free_users())))
        })
    })
    .unwrap();
    assert_eq!(rows, (9, 2, vec![3, 7]));
    assert_eq!(free, [1, 3, 4, 5, 6, 7, 8, 10]);
    let missing = block_in_place(|| {
        db.transaction("missing", |tx| {
            let _rows = tx.lock_all((row::<UserRow>(99), row::<OrgRow>(1)))?;
            Ok::<_, AppError>(())
        })
    });
    assert!(missing.unwrap_err().ours().is_row_not_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advisory_lock_is_the_servers() {
    let town = Town::found("advisory").await;
    let db = database(&town);
    town.hold_tenant().await;
    let (tried, held) = block_in_place(|| {
        db.transaction("advisory", |tx| {
            let mut tx = tx.at::<Tenant>();
            tx.advisory_lock_many(&[town.tenant + 1, town.tenant + 2])?;
            tx.try_advisory_lock_shared::<Import>(town.file())?;
            let tried = tx.try_advisory_lock::<Tenant>(town.tenant)?;
            Ok::<_, AppError>((tried, block_on(town.advisory_locks())))
        })
    })
    .unwrap();
    assert!(!tried);
    let one = town.ask(&format!("SELECT {}", tenant_id(town.tenant + 1))).await;
    assert!(held.contains(&one) && held.len() == 3, "{held:?}");
    let options = TxOptions::new().lock_timeout(Duration::from_millis(10));
    let given_up = block_in_place(|| {
        db.with(options).transaction_once("timeout", |tx| {
            tx.at::<Tenant>().advisory_lock(town.tenant)?;
            Ok::<_, AppError>(())
        })
    });
    assert_eq!(given_up.unwrap_err().ours().cause(), Some(Cause::LockTimeout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_was_rolled_back_is_given_out_again() {
    let town = Town::found("number").await;
    let db = database(&town);
    let take = |fails: bool| {
        db.transaction("number", |tx| {
            let number = tx.at::<Number>().next_in_sequence("a".into())?;
            if fails { Err(AppError::Own("rolled back")) } else { Ok(number) }
        })
    };
    block_in_place(|| {
        assert_eq!(take(false).unwrap(), 100);
        assert!(take(true).is_err());
        assert_eq!(take(false).unwrap(), 101);
    });
}
