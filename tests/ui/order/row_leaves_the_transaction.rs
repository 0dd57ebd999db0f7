//! Evidence is worth nothing once the lock is gone.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::Locked;

async fn run(db: &Database) -> Result<Locked<'static, UserRow>> {
    db.transaction("run", async |tx| {
        let user: Locked<UserRow> = tx.at::<User>().lock(5).await?;
        Ok(user)
    })
    .await
}

fn main() {
    let _ = run;
}
