//! `try_lock_earlier` is for what was passed.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::Locked;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let mut tx = tx.at::<Order>();
        let _user: Option<Locked<UserRow>> = tx.try_lock_earlier(5).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
