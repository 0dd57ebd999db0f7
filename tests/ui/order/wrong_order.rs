//! The order is Organization => Order => User.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::Locked;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let mut tx = tx.at::<User>();
        let _user: Locked<UserRow> = tx.lock(5).await?;
        let mut tx = tx.at::<Organization>();
        let _org: Locked<OrgRow> = tx.lock(1).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
