//! What a failed attempt did to a captured variable would survive it: return a value instead.

use txsafe_diesel::{Database, Error};

async fn handler(db: &Database) -> Result<(), Error> {
    let mut runs = 0;
    db.transaction("mutates", async |_tx| {
        runs += 1;
        Ok::<_, Error>(())
    })
    .await
}

fn main() {
    let _ = handler;
}
