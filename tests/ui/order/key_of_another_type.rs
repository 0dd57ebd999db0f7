//! Users have numbers.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::Locked;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let _user: Locked<UserRow> = tx.at::<User>().lock("5").await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
