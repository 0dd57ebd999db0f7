//! A helper that doesn't say what its callers may hold.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run<H>(tx: Tx<'_, H>) -> Tx<'_, User> {
    tx.at::<User>()
}

fn main() {
    let _ = run::<txsafe_diesel::Unlocked>;
}
