//! Both branches must come out at one rank.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(db: &Database, vip: bool) -> Result<()> {
    db.transaction("run", async |tx| {
        let _tx = if vip { tx.at::<User>() } else { tx.at::<Order>() };
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
