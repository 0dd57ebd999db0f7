//! The forms of a transaction closure that compile.

use txsafe_diesel::{Database, Error, Tx, TxOptions};

async fn takes(_tx: &mut Tx<'_>, _text: &str) -> Result<(), Error> {
    Ok(())
}

async fn function(mut tx: Tx<'_>) -> Result<(), Error> {
    takes(&mut tx, "").await
}

fn is_send<T: Send>(future: T) -> T {
    future
}

async fn forms(db: &Database) -> Result<(), Error> {
    let owned = String::from("borrowed");
    let numbers = vec![1, 2, 3];
    is_send(db.transaction("borrows", async |mut tx| takes(&mut tx, &owned).await)).await?;
    is_send(db.transaction("loops", async |mut tx| {
        let mut sum = 0;
        for number in &numbers {
            takes(&mut tx, &owned).await?;
            sum += number;
        }
        Ok::<_, Error>(sum)
    }))
    .await?;
    is_send(db.transaction("a function", function)).await?;
    let borrowed = &owned;
    is_send(db.transaction("moves references", async move |mut tx| takes(&mut tx, borrowed).await))
        .await?;
    is_send(db.transaction("clones", async |mut tx| {
        let mine = owned.clone();
        tx.after_commit(async move || drop(mine));
        Ok::<_, Error>(())
    }))
    .await?;
    is_send(db.with(TxOptions::new()).transaction("options", function)).await?;
    is_send(db.idempotency_key("k").transaction("key", function)).await?;
    is_send(db.transaction_once("gives away", async move |_tx| {
        drop(owned);
        Ok::<_, Error>(())
    }))
    .await
}

pub(super) fn main() {
    let _ = forms;
}
