//! A second connection, taken while a transaction holds one.

use super::{
    code::Code,
    marker::Waiting,
    report::{Seen, Where},
    scope::{scope, watched},
};
use std::{panic::Location, sync::atomic::Ordering::Relaxed};

/// For pools and adapters: a connection is being taken from a pool by the code that runs. In a transaction that is a
/// finding ([`TXS005`](Code::SecondConnection)).
pub fn connection_taken(pool: &str) {
    let Some(scope) = watched() else { return };
    if scope.told.load(Relaxed) > 0 {
        // It is that of the transaction inside, of which has been told.
        return;
    }
    #[cfg(feature = "origins")]
    scope.blocked.took_second();
    scope.guard.report(
        &scope,
        Seen {
            code: Code::SecondConnection,
            what: format!("took a second connection, of {pool}"),
            subject: pool.to_owned(),
            site: Where::here(&scope.guard.policy),
            waited: None,
        },
    );
}

/// A transaction inside another one, on another database. The outer one waits for it as for anything else, but of that is
/// told here.
#[must_use]
pub(crate) struct Inside(#[expect(dead_code, reason = "dropped")] Option<Waiting>);

impl Inside {
    /// Tells of it, if there is one outside.
    pub(crate) fn another(transaction: &str, place: &'static Location<'static>) -> Self {
        if let Some(scope) = watched() {
            scope.guard.report(
                &scope,
                Seen {
                    code: Code::SecondConnection,
                    what: format!("ran the transaction \"{transaction}\" on another database"),
                    subject: transaction.to_owned(),
                    site: Where::Known(place.into()),
                    waited: None,
                },
            );
        }
        Self(scope().map(|scope| {
            let mut waiting = Waiting::new(scope, |scope| &scope.told);
            waiting.set(true);
            waiting
        }))
    }
}
