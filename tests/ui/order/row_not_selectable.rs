//! A row that Diesel can't read.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::{Locked, ranked};

pub struct Plain;

ranked!(Plain => User);

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let _plain: Locked<Plain> = tx.at::<User>().lock(5).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
