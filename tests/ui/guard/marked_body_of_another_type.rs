//! Mistakes in a marked body are told as if it weren't marked.

use txsafe_diesel::guard::external_io;

#[external_io("stripe.charge")]
async fn charge(cents: u32) -> Result<u32, String> {
    if cents == 0 {
        return Err(7);
    }
    cents
}

fn main() {}
