//! What the shop locks, and in which order.
//!
//! Foreign keys have no part in it, although each INSERT locks the row that it refers to: `FOR KEY SHARE`, which waits
//! for nobody but who deletes that row, changes its key or locks it `FOR UPDATE`. The handlers of `ordered.rs` do none of
//! these, and their incidents and reservations refer to rows that the transaction has locked by then. So foreign keys
//! close no cycle. The ledger refers to nothing, and has no unique index to wait at.
//! Source: PostgreSQL manual, section 13.3.2, "Row-Level Locks".

use diesel::{Queryable, Selectable};
use txsafe_diesel::{lock_order, rank, ranked};

use crate::shop::{orders, organizations};

rank!(pub(crate) Organization: table "organizations" key "id" as i32);
rank!(pub(crate) Order: table "orders" key "id" as i32);
rank!(pub(crate) User: table "users" key "id" as i32);
rank!(pub(crate) Account: table "accounts" key "id" as i32);
rank!(pub(crate) Item: table "inventory" key "item" as i32);

lock_order! {
    /// An order before its user: whoever ships knows the order first, and learns the user from it.
    pub(crate) ShopOrder: Organization => Order => User => Account => Item
}

/// The organization, as who opens an incident reads it.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = organizations)]
pub(crate) struct OrganizationRow {
    pub(crate) last_incident: i32,
}

/// An order, as who labels it reads it.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = orders)]
pub(crate) struct OrderRow {
    #[expect(
        dead_code,
        reason = "the row is locked to be written; a row type must read something"
    )]
    id: i32,
}

ranked!(OrganizationRow => Organization, OrderRow => Order);
