//! What is told of findings: `tracing` events and a counter of the `metrics` facade.

use super::{code::Code, finding::Finding, policy::Severity};
use metrics::SharedString;
use std::{fmt::Display, sync::Arc};
use tracing::{dispatcher::has_been_set, trace, warn};

/// The guard found something; `shown` if it is to be seen, and not only counted.
pub(super) fn finding(finding: &Finding, shown: bool) {
    let Finding { code, severity, transaction, .. } = finding;
    metrics::counter!(
        "txsafe_findings_total",
        "transaction" => SharedString::from_shared(Arc::clone(transaction)),
        "code" => code.as_str(),
    )
    .increment(1);
    if !shown {
        return;
    }
    let transaction = &**transaction;
    if *severity == Severity::Trace {
        trace!(txsafe.code = code.as_str(), txsafe.transaction = transaction, "{finding}");
        return;
    }
    warn!(txsafe.code = code.as_str(), txsafe.transaction = transaction, "{finding}");
    print_unheard(finding);
}

/// A database was built that runs closures twice, as this wants it.
pub(super) fn rerun_mode_is_on(database: u64, by: &str) {
    let message = format!(
        "rerun mode is on, by {by}: the first good attempt of each transaction that could be retried is rolled back and run \
         again, and the guard reports where the two differ ({})",
        Code::RerunDiffers,
    );
    warn!(txsafe.database = database, "{message}");
    print_unheard(&message);
}

/// A database was built that doesn't, although the environment wants it.
pub(super) fn rerun_mode_is_refused(database: u64) {
    let message = "`TXSAFE_RERUN` is ignored for this database: rerun mode rolls back what would be committed, and so only runs \
                   under the guard's policies `test` and `dev`; choose one by `TXSAFE_GUARD` or `Builder::guard`, or take the \
                   variable away";
    warn!(txsafe.database = database, "{message}");
    print_unheard(&message);
}

/// Where nobody listens, a developer sees it all the same.
#[expect(clippy::print_stderr, reason = "there is no subscriber, and it isn't a release build")]
fn print_unheard(told: &dyn Display) {
    if cfg!(debug_assertions) && !has_been_set() {
        eprintln!("{told}");
    }
}
