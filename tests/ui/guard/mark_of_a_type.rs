//! A client is not a call.

use txsafe_diesel::guard::external_io;

#[external_io]
struct Stripe {
    key: String,
}

fn main() {}
