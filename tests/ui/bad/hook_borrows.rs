//! Hooks outlive the closure, so they own what they use: clone it, and move the clone.

use txsafe_diesel::{Database, Error};

async fn handler(db: &Database) -> Result<(), Error> {
    let mail = String::from("order placed");
    db.transaction("hook", async |mut tx| {
        tx.after_commit(async || drop(mail.as_str()));
        Ok::<_, Error>(())
    })
    .await
}

fn main() {
    let _ = handler;
}
