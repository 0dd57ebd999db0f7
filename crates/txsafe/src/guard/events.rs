//! What is told of findings: `tracing` events and a counter of the `metrics` facade.

use super::{finding::Finding, policy::Severity};
use metrics::SharedString;
use std::sync::Arc;
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
    if cfg!(debug_assertions) && !has_been_set() {
        print(finding);
    }
}

/// Where nobody listens, a developer sees it all the same.
#[expect(clippy::print_stderr, reason = "there is no subscriber, and it isn't a release build")]
fn print(finding: &Finding) {
    eprintln!("{finding}");
}
