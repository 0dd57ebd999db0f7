//! The transaction goes on through the new value.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let users = tx.at::<User>();
        let _again = tx.at::<User>();
        drop(users);
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
