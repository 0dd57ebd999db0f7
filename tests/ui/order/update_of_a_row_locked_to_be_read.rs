//! A row that is locked by KeyShare isn't written.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::{KeyShare, Locked};

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let mut tx = tx.at::<User>();
        let user: Locked<UserRow, KeyShare> = tx.lock_for(5).await?;
        let _update = tx.update(&user);
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
