//! The handlers of a small shop: what happens between BEGIN and COMMIT.
//!
//! Nothing here knows of modes, locks or retries. Each handler is right by itself and would pass its tests; together
//! they take the same rows in different orders, like handlers that were written in different years. Every handler
//! writes one row into the ledger, in its own transaction.

use diesel::{QueryDsl as _, QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::{
    shop::organizations,
    statements::{
        change_balance, count_for_order, count_for_user, label_orders, next_address, reserve_item,
        write_incident, write_ledger,
    },
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
    let user = count_for_order(conn, order).await?;
    count_for_user(conn, user).await?;
    write_ledger(conn, operation, "ship order", (order, 0), 1).await
}

/// Changes a user's address: locks the user, then the user's orders, whose labels carry the address.
pub(crate) async fn change_address(
    conn: &mut AsyncPgConnection,
    operation: i64,
    user: i32,
) -> QueryResult<()> {
    let version = next_address(conn, user).await?;
    label_orders(conn, user, version).await?;
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
    write_incident(conn, operation, organization, number).await?;
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
        reserve_item(conn, operation, item, quantity).await?;
        total += i64::from(quantity);
    }
    write_ledger(conn, operation, "reserve", (0, 0), total).await
}
