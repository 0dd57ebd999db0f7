//! The handlers of a small shop: what happens between BEGIN and COMMIT.
//!
//! Nothing here knows of modes, locks or retries. Each handler is right by itself and would pass its tests; together
//! they take the same rows in different orders, like handlers that were written in different years. Every handler
//! writes one row into the ledger, in its own transaction.

use diesel::{ExpressionMethods as _, QueryDsl as _, QueryResult, insert_into, update};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::shop::{
    accounts, incidents, inventory, ledger, orders, organizations, reservations, users,
};

/// Moves money from one account to another. Two transfers in opposite directions wait for each other.
pub(crate) async fn transfer(
    conn: &mut AsyncPgConnection,
    operation: i64,
    from: i32,
    to: i32,
    cents: i64,
) -> QueryResult<()> {
    change_balance(conn, from, -cents).await?;
    change_balance(conn, to, cents).await?;
    write_ledger(conn, operation, "transfer", (from, to), cents).await
}

/// Ships a parcel of an order: locks the order, then its user.
pub(crate) async fn ship_order(
    conn: &mut AsyncPgConnection,
    operation: i64,
    order: i32,
) -> QueryResult<()> {
    let user: i32 = update(orders::table.find(order))
        .set(orders::shipments.eq(orders::shipments + 1))
        .returning(orders::user_id)
        .get_result(conn)
        .await?;
    update(users::table.find(user))
        .set(users::shipments.eq(users::shipments + 1))
        .execute(conn)
        .await?;
    write_ledger(conn, operation, "ship order", (order, 0), 1).await
}

/// Changes a user's address: locks the user, then the user's orders, whose labels carry the address.
pub(crate) async fn change_address(
    conn: &mut AsyncPgConnection,
    operation: i64,
    user: i32,
) -> QueryResult<()> {
    let version: i32 = update(users::table.find(user))
        .set(users::address_version.eq(users::address_version + 1))
        .returning(users::address_version)
        .get_result(conn)
        .await?;
    update(orders::table.filter(orders::user_id.eq(user)))
        .set(orders::address_version.eq(version))
        .execute(conn)
        .await?;
    write_ledger(conn, operation, "change address", (user, 0), 1).await
}

/// Opens an incident under the organization's next number; the numbers have no gaps, so they are given out one by one.
pub(crate) async fn open_incident(
    conn: &mut AsyncPgConnection,
    operation: i64,
    organization: i32,
) -> QueryResult<()> {
    let last: i32 = organizations::table
        .find(organization)
        .select(organizations::last_incident)
        .for_update()
        .get_result(conn)
        .await?;
    let number = last + 1;
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
    write_ledger(conn, operation, "open incident", (organization, number), 1).await
}

/// Reserves the items of a basket, in the order the customer put them in.
pub(crate) async fn reserve(
    conn: &mut AsyncPgConnection,
    operation: i64,
    basket: &[(i32, i32)],
) -> QueryResult<()> {
    let mut total = 0;
    for &(item, quantity) in basket {
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
        total += i64::from(quantity);
    }
    write_ledger(conn, operation, "reserve", (0, 0), total).await
}

async fn change_balance(conn: &mut AsyncPgConnection, account: i32, cents: i64) -> QueryResult<()> {
    update(accounts::table.find(account))
        .set(accounts::balance.eq(accounts::balance + cents))
        .execute(conn)
        .await?;
    Ok(())
}

async fn write_ledger(
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
