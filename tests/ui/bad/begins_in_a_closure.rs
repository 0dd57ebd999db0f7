//! A transaction has begun already.

use txsafe_diesel::{Database, Error};

async fn handler(db: &Database) -> Result<(), Error> {
    db.transaction("begins", async |mut tx| tx.begin().await).await
}

fn main() {
    let _ = handler;
}
