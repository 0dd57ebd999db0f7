//! The handlers once more: the same writes, whose locks are taken in one order.
//!
//! Read them beside `handlers.rs`. An `at` says which rows come next, and a wrong one doesn't compile; `will_lock` says
//! which row the next statement locks, and costs no statement of its own.

use diesel::{ExpressionMethods as _, QueryDsl as _, QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use txsafe_diesel::{Locked, Tx};

use crate::{
    failure::Failure,
    locks::{Account, Item, Order, OrderRow, Organization, OrganizationRow, ShopOrder, User},
    shop::orders,
    statements::{
        change_balance, count_for_order, count_for_user, label_orders, next_address, reserve_item,
        write_incident, write_ledger,
    },
};

/// Moves money from one account to another: first at the account with the smaller number, whoever pays.
pub(crate) async fn transfer(
    tx: Tx<'_, ShopOrder>,
    operation: i64,
    from: i32,
    to: i32,
    cents: i64,
) -> Result<(), Failure> {
    let mut changes = [(from, -cents), (to, cents)];
    changes.sort_unstable_by_key(|&(account, _)| account);
    let mut tx = tx.at::<Account>();
    for (account, cents) in changes {
        change_balance(tx.will_lock(account)?, account, cents).await?;
    }
    Ok(write_ledger(&mut tx, operation, "transfer", (from, to), cents).await?)
}

/// Ships a parcel of an order. It always was in order.
pub(crate) async fn ship_order(
    tx: Tx<'_, ShopOrder>,
    operation: i64,
    order: i32,
) -> Result<(), Failure> {
    let mut tx = tx.at::<Order>();
    let user = count_for_order(tx.will_lock(order)?, order).await?;
    let mut tx = tx.at::<User>();
    count_for_user(tx.will_lock(user)?, user).await?;
    Ok(write_ledger(&mut tx, operation, "ship order", (order, 0), 1).await?)
}

/// Changes a user's address: locks the user's orders first, although they are written last.
pub(crate) async fn change_address(
    mut tx: Tx<'_, ShopOrder>,
    operation: i64,
    user: i32,
) -> Result<(), Failure> {
    // Which orders to lock is read without a lock. In this shop an order never comes to another user, and none is added;
    // elsewhere, the orders would have to be read again once the user is locked, and the transaction to start anew if
    // there are others.
    let orders = orders_of(&mut tx, user).await?;
    let mut tx = tx.at::<Order>();
    let _locked: Vec<Locked<'_, OrderRow>> = tx.lock_many(&orders).await?;
    let mut tx = tx.at::<User>();
    let version = next_address(tx.will_lock(user)?, user).await?;
    label_orders(&mut tx, user, version).await?;
    Ok(write_ledger(&mut tx, operation, "change address", (user, 0), 1).await?)
}

/// Opens an incident under the organization's next number.
pub(crate) async fn open_incident(
    tx: Tx<'_, ShopOrder>,
    operation: i64,
    organization: i32,
) -> Result<(), Failure> {
    let mut tx = tx.at::<Organization>();
    let row: Locked<'_, OrganizationRow> = tx.lock(organization).await?;
    let number = row.last_incident + 1;
    write_incident(&mut tx, operation, organization, number).await?;
    Ok(write_ledger(&mut tx, operation, "open incident", (organization, number), 1).await?)
}

/// Reserves the items of a basket, in the order of their numbers.
pub(crate) async fn reserve(
    tx: Tx<'_, ShopOrder>,
    operation: i64,
    basket: &[(i32, i32)],
) -> Result<(), Failure> {
    let mut basket = basket.to_vec();
    basket.sort_unstable_by_key(|&(item, _)| item);
    let mut tx = tx.at::<Item>();
    let mut total = 0;
    for (item, quantity) in basket {
        reserve_item(tx.will_lock(item)?, operation, item, quantity).await?;
        total += i64::from(quantity);
    }
    Ok(write_ledger(&mut tx, operation, "reserve", (0, 0), total).await?)
}

async fn orders_of(conn: &mut AsyncPgConnection, user: i32) -> QueryResult<Vec<i32>> {
    orders::table.filter(orders::user_id.eq(user)).select(orders::id).load(conn).await
}
