//! An order refers to its organization and to its user.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::{Locked, ranked, references};

ranked!(orders::table => Order);
references!(Order => (Organization, User));

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let mut tx = tx.at::<User>();
        let user: Locked<UserRow> = tx.lock(5).await?;
        let _insert = tx.insert_into(orders::table, (&user,));
        let _insert = tx.insert_into(orders::table, (&user, &user));
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
