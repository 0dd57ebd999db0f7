//! Ranks, rows and an order for the programs beside it.

use diesel::prelude::*;
use txsafe_diesel::{Error, Locked, lock_order, rank, ranked};

diesel::table! { organizations (id) { id -> BigInt, } }
diesel::table! { orders (id) { id -> BigInt, } }
diesel::table! { users (id) { id -> BigInt, } }
diesel::table! { coupons (id) { id -> BigInt, } }

rank!(pub Organization: table "organizations" key "id" as i64);
rank!(pub Order: table "orders" key "id" as i64);
rank!(pub User: table "users" key "id" as i64);
rank!(pub Coupon: table "coupons" key "id" as i64);

lock_order! { pub TownOrder: Organization => Order => User }

#[derive(Queryable, Selectable)]
#[diesel(table_name = organizations)]
pub struct OrgRow {
    pub id: i64,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders)]
pub struct OrderRow {
    pub id: i64,
}

#[derive(Queryable, Selectable, Identifiable)]
#[diesel(table_name = users)]
pub struct UserRow {
    pub id: i64,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = coupons)]
pub struct CouponRow {
    pub id: i64,
}

ranked!(OrgRow => Organization, OrderRow => Order, UserRow => User);

pub type Database = txsafe_diesel::Database<TownOrder>;
pub type Tx<'c, Held> = txsafe_diesel::Tx<'c, TownOrder, Held>;
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A helper over two ranks.
pub async fn order_and_user<H: TownOrderBefore<Order>>(tx: Tx<'_, H>) -> Result<Tx<'_, User>> {
    let mut tx = tx.at::<Order>();
    let _order: Locked<'_, OrderRow> = tx.lock(7).await?;
    Ok(tx.at::<User>())
}
