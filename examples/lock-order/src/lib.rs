//! A shop in one file, whose handlers lock rows in one declared order; `main.rs` lets them fight.
//!
//! An order of the shop is a row like others, and the order in which rows are locked is [`ShopOrder`]. Read the
//! `at::<…>()` lines of a handler from top to bottom: they are what it locks.
//!
//! ```
//! # use {lock_order::*, txsafe_diesel::{Database, Locked}};
//! # async fn first_item(db: &Database<ShopOrder>) -> anyhow::Result<()> {
//! db.transaction("first_item", async |tx| {
//!     let mut tx = tx.at::<Order>();
//!     let order: Locked<'_, OrderRow> = tx.lock(7).await?;
//!     let mut tx = tx.at::<InventoryItem>();
//!     let _item: Locked<'_, ItemRow> = tx.lock(order.items[0]).await?;
//!     Ok(())
//! })
//! .await
//! # }
//! ```
//!
//! The same locks the other way round don't compile: "lock order violation: `Order` may not be locked while
//! `InventoryItem` is already locked".
//!
//! ```compile_fail,E0277
//! # use {lock_order::*, txsafe_diesel::{Database, Locked}};
//! # async fn first_item(db: &Database<ShopOrder>) -> anyhow::Result<()> {
//! db.transaction("first_item", async |tx| {
//!     let mut tx = tx.at::<InventoryItem>();
//!     let item: Locked<'_, ItemRow> = tx.lock(1).await?;
//!     let mut tx = tx.at::<Order>(); // here: `Order` doesn't come after `InventoryItem` in `ShopOrder`
//!     let _order: Locked<'_, OrderRow> = tx.lock(7).await?;
//!     Ok(())
//! })
//! .await
//! # }
//! ```

#![forbid(unsafe_code)]
#![expect(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "an example: what isn't told is what it seems"
)]

use anyhow::{Result, ensure};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use schema::{accounts, inventory_items, journal, orders, organizations};
use txsafe_diesel::{Database, Holding, Locked, Tx, lock_order, rank, ranked, row};

// What is locked: rows of tables, and one thing that isn't a row.
rank!(pub Organization: table "organizations" key "id" as i64);
rank!(pub Order: table "orders" key "id" as i64);
rank!(pub InventoryItem: table "inventory_items" key "id" as i64);
rank!(pub Account: table "accounts" key "id" as i64);
rank!(pub Journal: advisory 1 as i64);

lock_order! {
    /// The one place where the lock order of the shop is written down.
    pub ShopOrder: Organization => Order => InventoryItem => Account => Journal
}

ranked!(
    OrganizationRow => Organization,
    OrderRow => Order,
    ItemRow => InventoryItem,
    AccountRow => Account,
);

/// The shop's own account. A customer's account has the number of the customer, and is behind it.
pub const SHOP: i64 = 0;

/// What a piece of anything costs.
const CENTS: i64 = 100;

/// The month whose journal is written.
const MONTH: i64 = 202_611;

/// An organization orders a piece of each of these items. Every tenth order is free.
pub async fn place_order(
    db: &Database<ShopOrder>,
    organization: i64,
    items: &[i64],
) -> Result<i64> {
    db.transaction("place_order", async |tx| {
        let mut tx = tx.at::<Organization>();
        // Read under its lock, because what the order costs depends on it.
        let customer: Locked<'_, OrganizationRow> = tx.lock(organization).await?;
        let is_free = customer.orders % 10 == 9;
        let cents = if is_free { 0 } else { CENTS * items.len() as i64 };
        count_order(&mut tx, organization).await?;
        // Nobody can wait for a row that nobody sees yet: an INSERT needs no `at`.
        let order = write_order(&mut tx, organization, items, cents).await?;
        let mut tx = tx.at::<InventoryItem>();
        reserve(&mut tx, items).await?;
        Ok(order)
    })
    .await
}

/// An order leaves the house and is paid.
pub async fn ship_order(db: &Database<ShopOrder>, order: i64) -> Result<()> {
    db.transaction("ship_order", async |tx| {
        let (order, mut tx) = end_order(tx, order, "shipped").await?;
        take_out(&mut tx, &order.items).await?;
        let mut tx = tx.at::<Account>();
        // The balances needn't be read first: each UPDATE takes its lock, at no statement of its own. Within a rank it is
        // the smaller key first.
        pay(tx.will_lock(SHOP)?, SHOP, order.cents).await?;
        pay(tx.will_lock(order.organization)?, order.organization, -order.cents).await?;
        Ok(())
    })
    .await
}

/// An organization takes an order back.
pub async fn cancel_order(db: &Database<ShopOrder>, organization: i64, order: i64) -> Result<()> {
    db.transaction("cancel_order", async |tx| {
        let mut tx = tx.at::<Organization>();
        count_cancellation(tx.will_lock(organization)?, organization).await?;
        let (_order, _tx) = end_order(tx, order, "cancelled").await?;
        Ok(())
    })
    .await
}

/// A customer pays another one, who may have the smaller number. Both accounts are locked before the closure runs, the
/// smaller number first, and come as they were asked for.
pub async fn transfer(db: &Database<ShopOrder>, from: i64, to: i64, cents: i64) -> Result<()> {
    let accounts = [row::<AccountRow>(from), row(to)];
    db.transaction_locking("transfer", accounts, async |holding| {
        let Holding { mut tx, rows: [from, to], .. } = holding;
        ensure!(from.cents >= cents, "account {} has only {} cents", from.id, from.cents);
        pay(&mut tx, from.id, -cents).await?;
        pay(&mut tx, to.id, cents).await?;
        Ok(())
    })
    .await
}

/// Writes an organization's balance into the journal, and fills an item up if nobody is at it.
pub async fn close_books(db: &Database<ShopOrder>, organization: i64, item: i64) -> Result<()> {
    db.transaction("close_books", async |tx| {
        // Written down as it is read, and locked in the order of the shop.
        let set = (row::<AccountRow>(organization), row::<OrganizationRow>(organization));
        let ((account, customer), tx) = tx.lock_all(set).await?;
        let mut tx = tx.at::<Journal>();
        // Each line adds to the one before, and of the first line there is no row to be locked.
        tx.advisory_lock(MONTH).await?;
        write_line(&mut tx, &customer.name, account.cents).await?;
        // Items come before the journal. What doesn't wait may go back; who doesn't get it leaves it to the next.
        if let Some(item) = tx.try_lock_earlier::<ItemRow>(item).await? {
            fill_up(&mut tx, item.id).await?;
        }
        Ok(())
    })
    .await
}

/// What types can't see: this handler is older than the lock order, and its UPDATEs lock accounts first. It should go
/// `at::<Order>()` before `at::<Account>()`.
pub async fn refund_last_order(db: &Database<ShopOrder>, customer: i64) -> Result<()> {
    db.transaction("refund_last_order", async |mut tx| {
        let (order, cents) = last_shipped(&mut tx, customer).await?;
        pay(&mut tx, SHOP, -cents).await?;
        pay(&mut tx, customer, cents).await?;
        set_state(&mut tx, order, "refunded").await?;
        Ok(())
    })
    .await
}

/// Nothing came from nowhere, and nothing is lost.
pub async fn check_books(db: &mut AsyncPgConnection) -> Result<()> {
    let balances: Vec<i64> = accounts::table.select(accounts::cents).load(db).await?;
    ensure!(balances.iter().sum::<i64>() == 400_000, "the accounts have {balances:?}");
    let shop: i64 = accounts::table.find(SHOP).select(accounts::cents).first(db).await?;
    let shipped = orders::table.filter(orders::state.eq("shipped")).select(orders::cents);
    let earned: i64 = shipped.load::<i64>(db).await?.into_iter().sum();
    ensure!(shop == 100_000 + earned, "the shop has {shop} cents, and earned {earned}");
    let reserved: Vec<i64> =
        inventory_items::table.select(inventory_items::reserved).load(db).await?;
    ensure!(reserved.iter().all(|&count| count == 0), "{reserved:?} are promised to nobody");
    let lines = journal::table.order(journal::line).select((journal::cents, journal::total));
    let mut sum = 0;
    for (cents, total) in lines.load::<(i64, i64)>(db).await? {
        sum += cents;
        ensure!(total == sum, "a line of the journal says {total}, and the lines add up to {sum}");
    }
    Ok(())
}

/// A helper over two ranks, for whoever has locked nothing behind `Order` yet: locks the order and its items, and comes
/// back with the transaction at the items.
async fn end_order<'c, H: ShopOrderBefore<Order>>(
    tx: Tx<'c, ShopOrder, H>,
    id: i64,
    state: &str,
) -> Result<(Locked<'c, OrderRow>, Tx<'c, ShopOrder, InventoryItem>)> {
    let mut tx = tx.at::<Order>();
    let order: Locked<'_, OrderRow> = tx.lock(id).await?;
    ensure!(order.state == "placed", "order {id} is {} already", order.state);
    set_state(&mut tx, id, state).await?;
    let mut tx = tx.at::<InventoryItem>();
    tx.lock_many::<ItemRow>(&order.items).await?;
    change_reserved(&mut tx, &order.items, -1).await?;
    Ok((order, tx))
}

/// A helper at one rank: it locks items, and items only. `lock_many` sorts them.
async fn reserve(tx: &mut Tx<'_, ShopOrder, InventoryItem>, items: &[i64]) -> Result<()> {
    let rows: Vec<Locked<'_, ItemRow>> = tx.lock_many(items).await?;
    ensure!(rows.len() == items.len(), "not all of the items {items:?} are sold here");
    for item in rows {
        ensure!(item.in_stock > item.reserved, "item {} is sold out", item.id);
    }
    Ok(change_reserved(tx, items, 1).await?)
}

// Statements. They are plain Diesel on a connection, and don't know of any order.

async fn count_order(db: &mut AsyncPgConnection, organization: i64) -> QueryResult<()> {
    let counted = organizations::orders.eq(organizations::orders + 1);
    diesel::update(organizations::table.find(organization)).set(counted).execute(db).await.map(drop)
}

async fn count_cancellation(db: &mut AsyncPgConnection, organization: i64) -> QueryResult<()> {
    let counted = organizations::cancelled.eq(organizations::cancelled + 1);
    diesel::update(organizations::table.find(organization)).set(counted).execute(db).await.map(drop)
}

async fn write_order(
    db: &mut AsyncPgConnection,
    organization: i64,
    items: &[i64],
    cents: i64,
) -> QueryResult<i64> {
    diesel::insert_into(orders::table)
        .values((
            orders::organization.eq(organization),
            orders::items.eq(items),
            orders::cents.eq(cents),
        ))
        .returning(orders::id)
        .get_result(db)
        .await
}

async fn last_shipped(db: &mut AsyncPgConnection, customer: i64) -> QueryResult<(i64, i64)> {
    orders::table
        .filter(orders::organization.eq(customer).and(orders::state.eq("shipped")))
        .filter(orders::cents.gt(0))
        .order(orders::id.desc())
        .select((orders::id, orders::cents))
        .first(db)
        .await
}

async fn set_state(db: &mut AsyncPgConnection, order: i64, state: &str) -> QueryResult<()> {
    diesel::update(orders::table.find(order))
        .set(orders::state.eq(state))
        .execute(db)
        .await
        .map(drop)
}

async fn change_reserved(db: &mut AsyncPgConnection, items: &[i64], by: i64) -> QueryResult<()> {
    diesel::update(inventory_items::table.filter(inventory_items::id.eq_any(items)))
        .set(inventory_items::reserved.eq(inventory_items::reserved + by))
        .execute(db)
        .await
        .map(drop)
}

async fn take_out(db: &mut AsyncPgConnection, items: &[i64]) -> QueryResult<()> {
    diesel::update(inventory_items::table.filter(inventory_items::id.eq_any(items)))
        .set(inventory_items::in_stock.eq(inventory_items::in_stock - 1))
        .execute(db)
        .await
        .map(drop)
}

async fn fill_up(db: &mut AsyncPgConnection, item: i64) -> QueryResult<()> {
    diesel::update(inventory_items::table.find(item))
        .set(inventory_items::in_stock.eq(inventory_items::reserved + 1_000))
        .execute(db)
        .await
        .map(drop)
}

async fn pay(db: &mut AsyncPgConnection, account: i64, cents: i64) -> QueryResult<()> {
    diesel::update(accounts::table.find(account))
        .set(accounts::cents.eq(accounts::cents + cents))
        .execute(db)
        .await
        .map(drop)
}

async fn write_line(db: &mut AsyncPgConnection, customer: &str, cents: i64) -> QueryResult<()> {
    let last = journal::table.order(journal::line.desc()).select((journal::line, journal::total));
    let (line, total) = last.first::<(i64, i64)>(db).await.optional()?.unwrap_or_default();
    diesel::insert_into(journal::table)
        .values((
            journal::line.eq(line + 1),
            journal::customer.eq(customer),
            journal::cents.eq(cents),
            journal::total.eq(total + cents),
        ))
        .execute(db)
        .await
        .map(drop)
}

/// A customer, as who orders reads it.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = organizations)]
pub struct OrganizationRow {
    pub name: String,
    pub orders: i64,
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = orders)]
pub struct OrderRow {
    pub organization: i64,
    /// A piece of each.
    pub items: Vec<i64>,
    pub cents: i64,
    /// `placed`, `shipped`, `cancelled` or `refunded`.
    pub state: String,
}

/// What there is of an item.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = inventory_items)]
pub struct ItemRow {
    pub id: i64,
    pub in_stock: i64,
    /// So many of them are promised to orders.
    pub reserved: i64,
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = accounts)]
pub struct AccountRow {
    pub id: i64,
    pub cents: i64,
}

/// The tables, as Diesel knows them.
pub mod schema {
    diesel::table! {
        organizations (id) {
            id -> BigInt,
            name -> Text,
            orders -> BigInt,
            cancelled -> BigInt,
        }
    }
    diesel::table! {
        orders (id) {
            id -> BigInt,
            organization -> BigInt,
            items -> Array<BigInt>,
            cents -> BigInt,
            state -> Text,
        }
    }
    diesel::table! {
        inventory_items (id) {
            id -> BigInt,
            in_stock -> BigInt,
            reserved -> BigInt,
        }
    }
    diesel::table! {
        accounts (id) {
            id -> BigInt,
            cents -> BigInt,
        }
    }
    diesel::table! {
        journal (line) {
            line -> BigInt,
            customer -> Text,
            cents -> BigInt,
            total -> BigInt,
        }
    }
}

/// The tables, as PostgreSQL knows them, with three customers and four items.
pub const TABLES: &str = "
    CREATE TABLE organizations (
        id        bigint PRIMARY KEY,
        name      text NOT NULL,
        orders    bigint NOT NULL DEFAULT 0,
        cancelled bigint NOT NULL DEFAULT 0
    );
    CREATE TABLE orders (
        id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        organization bigint NOT NULL REFERENCES organizations,
        items        bigint[] NOT NULL,
        cents        bigint NOT NULL,
        state        text NOT NULL DEFAULT 'placed'
    );
    CREATE TABLE inventory_items (
        id       bigint PRIMARY KEY,
        in_stock bigint NOT NULL,
        reserved bigint NOT NULL DEFAULT 0 CHECK (reserved BETWEEN 0 AND in_stock)
    );
    CREATE TABLE accounts (id bigint PRIMARY KEY, cents bigint NOT NULL);
    CREATE TABLE journal (
        line     bigint PRIMARY KEY,
        customer text NOT NULL,
        cents    bigint NOT NULL,
        total    bigint NOT NULL
    );
    INSERT INTO organizations VALUES (1, 'mill'), (2, 'forge'), (3, 'bakery');
    INSERT INTO inventory_items SELECT id, 1000 FROM generate_series(1, 4) id;
    INSERT INTO accounts SELECT id, 100000 FROM generate_series(0, 3) id";
