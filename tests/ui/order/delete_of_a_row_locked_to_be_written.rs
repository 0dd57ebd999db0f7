//! Foreign keys of others don't wait for NoKeyUpdate.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::Locked;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let mut tx = tx.at::<User>();
        let user: Locked<UserRow> = tx.lock(5).await?;
        let _delete = tx.delete(&user);
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
