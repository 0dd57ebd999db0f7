//! Handlers move between threads, so what is held over an await must be `Send`.

use std::rc::Rc;
use txsafe_diesel::{Database, Error, Tx};

async fn takes(_tx: &mut Tx<'_>) -> Result<(), Error> {
    Ok(())
}

async fn handler(db: &Database) -> Result<(), Error> {
    db.transaction("not Send", async |mut tx| {
        let local = Rc::new(1);
        takes(&mut tx).await?;
        drop(local);
        Ok::<_, Error>(())
    })
    .await
}

fn main() {
    let _ = handler;
}
