//! Helpers over ranks: at one rank, over several, from a crate that doesn't know the order, behind a trait object.

#[path = "../town.rs"]
mod town;

use std::{future::Future, pin::Pin};
use town::*;
use txsafe_diesel::{Allows, LockOrder, Locked};

mod billing {
    diesel::table! { accounts (id) { id -> BigInt, } }

    txsafe_diesel::rank!(pub Account: table "accounts" key "id" as i64);
    txsafe_diesel::ranked!(AccountRow => Account);

    #[derive(diesel::Queryable, diesel::Selectable)]
    #[diesel(table_name = accounts)]
    pub struct AccountRow {
        pub id: i64,
    }
}

txsafe_diesel::lock_order! {
    pub Whole: Organization => Order => User => billing::Account
}

/// Of a crate that doesn't know the order.
async fn debit<O, H>(
    tx: txsafe_diesel::Tx<'_, O, H>,
) -> Result<txsafe_diesel::Tx<'_, O, billing::Account>>
where
    O: LockOrder + Allows<H, billing::Account>,
{
    let mut tx = tx.at::<billing::Account>();
    let _account: Locked<'_, billing::AccountRow> = tx.lock(1).await?;
    Ok(tx)
}

/// Behind a trait object.
trait Pricing: Send + Sync {
    fn price<'a>(
        &'a self,
        tx: &'a mut Tx<'_, User>,
    ) -> Pin<Box<dyn Future<Output = Result<i64>> + Send + 'a>>;
}

struct Loyalty;

impl Pricing for Loyalty {
    fn price<'a>(
        &'a self,
        tx: &'a mut Tx<'_, User>,
    ) -> Pin<Box<dyn Future<Output = Result<i64>> + Send + 'a>> {
        Box::pin(async move {
            let user: Locked<'_, UserRow> = tx.lock(900).await?;
            Ok(user.id * 2)
        })
    }
}

async fn place(db: Database, pricing: &dyn Pricing, vip: bool) -> Result<i64> {
    db.transaction("place", async |tx| {
        let mut tx = tx.at::<Organization>();
        let _org: Locked<'_, OrgRow> = tx.lock(1).await?;
        let mut tx = order_and_user(tx).await?;
        for id in [3, 5] {
            let _user: Locked<'_, UserRow> = tx.lock(id).await?;
        }
        let price = pricing.price(&mut tx).await?;
        if vip {
            let _vip: Locked<'_, UserRow> = tx.lock(1_000).await?;
        }
        Ok(price)
    })
    .await
}

async fn pay(db: txsafe_diesel::Database<Whole>) -> Result<()> {
    db.transaction("pay", async |tx| {
        let _tx = debit(tx.at::<User>()).await?;
        Ok(())
    })
    .await
}

fn spawned<F: Future<Output: Send> + Send>(_: F) {}

pub(super) fn main() {
    let _ = |db: Database| spawned(place(db, &Loyalty, true));
    let _ = |db: txsafe_diesel::Database<Whole>| spawned(pay(db));
    fn plain<'c>(tx: &mut txsafe_diesel::Tx<'c>) -> &'c str {
        let _ = tx;
        "a transaction without an order is written as before"
    }
    let _ = plain;
}

/// Names that the macro has no use for itself.
mod names {
    txsafe_diesel::rank!(pub Held: table "held" key "id" as i64);
    txsafe_diesel::rank!(pub Next: table "next" key "id" as i64);
    txsafe_diesel::rank!(pub One: table "one" key "id" as i64);
    txsafe_diesel::lock_order! { pub Other: Held => Next => One }
}
