//! The closure may run again and then needs it again: borrow it, clone it inside, or use `transaction_once`.

use txsafe_diesel::{Database, Error};

async fn handler(db: &Database, order: String) -> Result<(), Error> {
    db.transaction("gives away", async move |_tx| {
        drop(order);
        Ok::<_, Error>(())
    })
    .await
}

fn main() {
    let _ = handler;
}
