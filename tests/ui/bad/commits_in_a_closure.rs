//! Returning `Ok` from the closure commits.

use txsafe_diesel::{Database, Error};

async fn handler(db: &Database) -> Result<(), Error> {
    db.transaction("commits", async |tx| tx.commit().await).await
}

fn main() {
    let _ = handler;
}
