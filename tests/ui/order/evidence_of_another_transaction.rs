//! A lock that a longer or shorter transaction holds proves nothing here.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::Locked;

fn update<'outer: 'inner, 'inner>(tx: &Tx<'outer, User>, user: &Locked<'inner, UserRow>) {
    let _update = tx.update(user);
}

fn main() {
    let _ = update;
}
