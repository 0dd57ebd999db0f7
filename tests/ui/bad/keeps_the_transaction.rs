//! A transaction ends with its closure: it can't be carried out of it.

use txsafe_diesel::{Database, Error};

async fn handler(db: &Database) -> Result<(), Error> {
    let _tx = db.transaction("keeps", async |tx| Ok::<_, Error>(tx)).await?;
    Ok(())
}

fn main() {
    let _ = handler;
}
