//! Methods are marked one by one.

use txsafe_diesel::guard::external_io;

struct Stripe;

#[external_io("stripe")]
impl Stripe {
    async fn charge(&self) {}
}

fn main() {}
