//! What isn't `Send` without a mark isn't with one.

use std::rc::Rc;
use txsafe_diesel::guard::external_io;

#[external_io("stripe.charge")]
async fn charge() {
    let cents = Rc::new(30_00);
    std::future::ready(()).await;
    drop(cents);
}

fn is_send<T: Send>(_: T) {}

fn main() {
    is_send(charge());
}
