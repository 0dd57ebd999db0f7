//! A finding couldn't say what was called.

use txsafe_diesel::guard::external_io;

#[external_io("")]
async fn charge() {}

fn main() {}
