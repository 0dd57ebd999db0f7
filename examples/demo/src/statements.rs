//! The statements that handlers are made of.

use diesel::{ExpressionMethods as _, QueryDsl as _, QueryResult, insert_into, update};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::shop::{
    accounts, incidents, inventory, ledger, orders, organizations, reservations, users,
};

/// Adds to an account's balance, or takes away.
pub(crate) async fn change_balance(
    conn: &mut AsyncPgConnection,
    account: i32,
    cents: i64,
) -> QueryResult<()> {
    update(accounts::table.find(account))
        .set(accounts::balance.eq(accounts::balance + cents))
        .execute(conn)
        .await?;
    Ok(())
}

/// Counts a parcel of an order, and says whose order it is.
pub(crate) async fn count_for_order(conn: &mut AsyncPgConnection, order: i32) -> QueryResult<i32> {
    update(orders::table.find(order))
        .set(orders::shipments.eq(orders::shipments + 1))
        .returning(orders::user_id)
        .get_result(conn)
        .await
}

/// Counts a parcel of a user.
pub(crate) async fn count_for_user(conn: &mut AsyncPgConnection, user: i32) -> QueryResult<()> {
    update(users::table.find(user))
        .set(users::shipments.eq(users::shipments + 1))
        .execute(conn)
        .await?;
    Ok(())
}

/// Gives a user the next address, and says which.
pub(crate) async fn next_address(conn: &mut AsyncPgConnection, user: i32) -> QueryResult<i32> {
    update(users::table.find(user))
        .set(users::address_version.eq(users::address_version + 1))
        .returning(users::address_version)
        .get_result(conn)
        .await
}

/// Writes an address on the labels of a user's orders.
pub(crate) async fn label_orders(
    conn: &mut AsyncPgConnection,
    user: i32,
    version: i32,
) -> QueryResult<()> {
    update(orders::table.filter(orders::user_id.eq(user)))
        .set(orders::address_version.eq(version))
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes an incident down, as its organization's last one.
pub(crate) async fn write_incident(
    conn: &mut AsyncPgConnection,
    operation: i64,
    organization: i32,
    number: i32,
) -> QueryResult<()> {
    insert_into(incidents::table)
        .values((
            incidents::organization.eq(organization),
            incidents::number.eq(number),
            incidents::operation.eq(operation),
        ))
        .execute(conn)
        .await?;
    update(organizations::table.find(organization))
        .set(organizations::last_incident.eq(number))
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes an item out of stock, for the reservation that it writes.
pub(crate) async fn reserve_item(
    conn: &mut AsyncPgConnection,
    operation: i64,
    item: i32,
    quantity: i32,
) -> QueryResult<()> {
    update(inventory::table.find(item))
        .set(inventory::available.eq(inventory::available - quantity))
        .execute(conn)
        .await?;
    insert_into(reservations::table)
        .values((
            reservations::operation.eq(operation),
            reservations::item.eq(item),
            reservations::quantity.eq(quantity),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes the operation's row of the ledger.
pub(crate) async fn write_ledger(
    conn: &mut AsyncPgConnection,
    operation: i64,
    handler: &str,
    (subject, object): (i32, i32),
    amount: i64,
) -> QueryResult<()> {
    insert_into(ledger::table)
        .values((
            ledger::operation.eq(operation),
            ledger::handler.eq(handler),
            ledger::subject.eq(subject),
            ledger::object.eq(object),
            ledger::amount.eq(amount),
        ))
        .execute(conn)
        .await?;
    Ok(())
}
