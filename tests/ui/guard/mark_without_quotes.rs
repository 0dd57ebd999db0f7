//! The name of a call is a text.

use txsafe_diesel::guard::external_io;

#[external_io(stripe.charge)]
async fn charge() {}

fn main() {}
