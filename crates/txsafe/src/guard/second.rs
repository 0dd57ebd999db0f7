//! A second connection, taken while a transaction holds one.

use super::{
    code::Code,
    marker::Waiting,
    report::{Seen, Where},
    scope::{Scope, scope, watched},
    takers::Taken,
};
use std::{
    panic::Location,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// For pools and adapters: a connection is being taken from a pool by the code that runs. In a transaction that is a
/// finding ([`TXS005`](Code::SecondConnection)).
pub fn connection_taken(pool: &str) {
    let Some(scope) = watched() else { return };
    if scope.told.load(Relaxed) > 0 {
        // It is that of the transaction inside, which has been reported.
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

/// Reports a transaction that began while the code that runs it held a connection of the same pool, which is a finding as well.
pub(crate) fn began_with_one(scope: &Arc<Scope>, taken: &Taken, pool: &str) {
    let (age, span) = (taken.age(), taken.in_span());
    let what = format!(
        "took a second connection, of {pool}: the code that runs it holds one already, taken {age:.1?} earlier{span}",
    );
    let subject = pool.to_owned();
    let site = taken.site();
    let seen = Seen { code: Code::SecondConnection, what, subject, site, waited: None };
    scope.guard.report(scope, seen);
}

/// A transaction inside another one, on another database. The outer one waits for it as for anything else, but that is
/// reported here.
#[must_use]
pub(crate) struct Inside(#[expect(dead_code, reason = "dropped")] Option<Waiting>);

impl Inside {
    /// Reports it, if there is one outside.
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
