//! A checkout that came to its timeout, in a transaction.

use super::live;
use crate::guard::{
    code::Code,
    report::{Seen, Where},
    scope::watched,
};

/// For pools: nobody gave a connection back in time for the code that runs. In a transaction that is a finding:
/// [`TXS006`](Code::EndlessCheckout) if transactions of this process hold all connections of its pool, else
/// [`TXS005`](Code::SecondConnection), as if there had been one.
pub fn checkout_timed_out(pool: &str) {
    let Some(scope) = watched() else { return };
    let live = live::all();
    let holders = live::holders(scope.database, &live).count();
    let is_circle = scope
        .pool
        .as_ref()
        .map(|pool| pool.state())
        .is_some_and(|state| state.is_exhausted() && holders == state.max_size);
    let (code, what) = if is_circle {
        let what = format!(
            "waited in vain for a connection of {pool}, while transactions held all {holders} of its own pool"
        );
        (Code::EndlessCheckout, what)
    } else {
        (Code::SecondConnection, format!("waited in vain for a second connection, of {pool}"))
    };
    let site = Where::here(&scope.guard.policy);
    scope.guard.report(&scope, Seen { code, what, subject: pool.to_owned(), site, waited: None });
}
