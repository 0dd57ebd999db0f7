//! A checkout that came to its timeout, in a transaction.

use super::live;
use crate::guard::{
    code::Code,
    report::{Seen, Where},
    scope::watched,
};
use std::time::Duration;

/// For pools: nobody gave a connection back within `timeout` to the code that runs. In a transaction that is a finding:
/// [`TXS006`](Code::EndlessCheckout) if transactions of this process hold all connections of its own pool, as far as they are
/// accounted, else [`TXS005`](Code::SecondConnection), as if it had got one. The pool may be locked meanwhile: it is told at
/// the end of the poll, or where the next statement starts.
pub fn checkout_timed_out(pool: &str, timeout: Duration) {
    let Some(scope) = watched() else { return };
    let live = live::accounted();
    let holders = live::holders(scope.database, &live).count();
    let is_circle = scope.pool.as_ref().is_some_and(|own| own.max_size() == holders);
    let (code, held) = if is_circle {
        let held = match holders {
            1 => ", while it held the only one of its own".to_owned(),
            n => format!(", while transactions held all {n} of its own"),
        };
        (Code::EndlessCheckout, held)
    } else {
        (Code::SecondConnection, String::new())
    };
    let what = format!("waited in vain for a second connection, of {pool}{held}");
    let site = Where::here(&scope.guard.policy);
    scope.kept.push(Seen { code, what, subject: pool.to_owned(), site, waited: Some(timeout) });
}
