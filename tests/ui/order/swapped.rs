//! Two transactions can't change places.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(one: &Database, other: &Database) -> Result<()> {
    one.transaction("one", async |tx| {
        let mut one = tx.at::<User>();
        other
            .transaction("other", async |tx| {
                let mut other = tx.at::<User>();
                std::mem::swap(&mut one, &mut other);
                Ok::<_, txsafe_diesel::Error>(())
            })
            .await
    })
    .await
}

fn main() {
    let _ = run;
}
