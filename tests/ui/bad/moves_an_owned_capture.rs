//! `async move` lends the closure's own copy to its future: without `move` it borrows from outside.

use txsafe_diesel::{Database, Error};

async fn handler(db: &Database, order: String) -> Result<usize, Error> {
    db.transaction("moves", async move |_tx| Ok::<_, Error>(order.len())).await
}

fn main() {
    let _ = handler;
}
