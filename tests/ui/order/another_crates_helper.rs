//! The helper's crate wants accounts before the ledger; this order says otherwise.

#[path = "../town.rs"]
mod town;

use town::*;
mod billing {
    use txsafe_diesel::{Allows, LockOrder, Tx, rank};

    rank!(pub Account: table "accounts" key "id" as i64);
    rank!(pub Ledger: table "ledger" key "id" as i64);

    pub async fn debit<O, H>(tx: Tx<'_, O, H>) -> Tx<'_, O, Ledger>
    where
        O: LockOrder + Allows<H, Account> + Allows<Account, Ledger>,
    {
        tx.at::<Account>().at::<Ledger>()
    }
}

txsafe_diesel::lock_order! { pub Books: billing::Ledger => billing::Account }

async fn run(db: &txsafe_diesel::Database<Books>) -> Result<()> {
    db.transaction("run", async |tx| {
        billing::debit(tx).await;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
