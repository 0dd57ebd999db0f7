//! Returning `Err` from the closure rolls back.

use txsafe_diesel::{Database, Error};

async fn handler(db: &Database) -> Result<(), Error> {
    db.transaction("rolls back", async |tx| tx.rollback().await).await
}

fn main() {
    let _ = handler;
}
