//! What is told while transactions run: `tracing` events and counters of the `metrics` facade.
//!
//! Fields follow OpenTelemetry's semantic conventions for databases where those have a name.

use super::meters::Meters;
use crate::{
    dialect::failure::Failure,
    error::{outcome::Outcome, report::Report},
    retry::remedy::{Cause, Remedy},
};
use metrics::SharedString;
use std::{fmt, sync::Arc, time::Duration};
use tracing::{Span, debug, error, info_span, warn};

/// The span of one transaction, over all its attempts.
pub(crate) fn span(transaction: &str, system: &'static str) -> Span {
    info_span!(
        "transaction",
        otel.name = transaction,
        otel.kind = "client",
        db.system.name = system,
        db.operation.name = "transaction",
        db.response.status_code = tracing::field::Empty,
        error.r#type = tracing::field::Empty,
        txsafe.transaction = transaction,
        txsafe.attempts = tracing::field::Empty,
        txsafe.outcome = tracing::field::Empty,
    )
}

pub(crate) fn attempt_failed(
    transaction: &Arc<str>,
    number: u32,
    failure: &Failure,
    cause: Cause,
    remedy: Remedy,
) {
    metrics::counter!(
        "txsafe_remedies_total",
        "transaction" => label(transaction),
        "remedy" => remedy.as_str(),
        "cause" => cause.as_str(),
    )
    .increment(1);
    debug!(
        txsafe.transaction = &**transaction,
        txsafe.attempt = number,
        txsafe.remedy = remedy.as_str(),
        error.r#type = cause.as_str(),
        db.response.status_code = failure.sqlstate().map(tracing::field::display),
        db.query.text = failure.statement(),
        "attempt failed: {}",
        failure.message(),
    );
}

pub(crate) fn pausing(transaction: &Arc<str>, pause: Duration) {
    metrics::histogram!("txsafe_pause_seconds", "transaction" => label(transaction))
        .record(pause.as_secs_f64());
}

/// A good attempt was rolled back, to run its closure again.
pub(crate) fn running_again(transaction: &str) {
    debug!(
        txsafe.transaction = transaction,
        "rerun mode: its first good attempt was rolled back, and its closure runs again",
    );
}

/// One was not, for want of time.
pub(crate) fn not_run_again(transaction: &str) {
    debug!(
        txsafe.transaction = transaction,
        "rerun mode: its closure isn't run again, because its deadline is near",
    );
}

/// A connection isn't given back, because of what statements left on its session.
pub(crate) fn closing_for_session_state(transaction: &str) {
    debug!(
        txsafe.transaction = transaction,
        "the connection is closed, because statements left something on its session",
    );
}

/// The end of a transaction, in numbers.
pub(crate) fn ended(meters: &Meters, outcome: Outcome, attempts: u32, elapsed: Duration) {
    meters.outcome(outcome);
    meters.elapsed(elapsed);
    let span = Span::current();
    span.record("txsafe.attempts", attempts);
    span.record("txsafe.outcome", outcome.as_str());
}

/// The story of a transaction that failed, which its caller couldn't expect. `left_out` others of its name weren't logged since
/// the last one.
pub(crate) fn failed(report: &Report, left_out: u64) {
    let last = report.failures.last();
    let code = last.and_then(|attempt| attempt.failure.sqlstate());
    warn!(
        txsafe.transaction = &*report.transaction,
        txsafe.outcome = report.outcome.as_str(),
        txsafe.attempts = report.attempts,
        db.response.status_code = code.map(tracing::field::display),
        "{report}{}",
        LeftOut(left_out),
    );
}

/// The span of a transaction that failed says by what.
pub(crate) fn mark_span(report: &Report) {
    let (span, last) = (Span::current(), report.failures.last());
    if let Some(attempt) = last {
        span.record("error.type", attempt.cause.as_str());
    }
    if let Some(code) = last.and_then(|attempt| attempt.failure.sqlstate()) {
        span.record("db.response.status_code", code.as_str());
    }
}

/// The story of a transaction that succeeded, late. `left_out` others of its name weren't logged since the last one.
pub(crate) fn slow(report: &Report, left_out: u64) {
    warn!(
        txsafe.transaction = &*report.transaction,
        txsafe.outcome = report.outcome.as_str(),
        txsafe.attempts = report.attempts,
        "slow: {report}{}",
        LeftOut(left_out),
    );
}

/// How many reports an event stands for.
struct LeftOut(u64);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(
                f,
                "\n  {n} more of this transaction's reports weren't logged since the last one"
            ),
        }
    }
}

pub(crate) fn hook_failed(transaction: &Arc<str>, message: &str) {
    metrics::counter!("txsafe_hook_failures_total", "transaction" => label(transaction))
        .increment(1);
    error!(
        txsafe.transaction = &**transaction,
        "a hook failed, and the transaction's outcome stands: {message}",
    );
}

/// COMMIT came to its answer after its caller had gone away.
pub(crate) fn abandoned_commit(
    transaction: &Arc<str>,
    outcome: Outcome,
    failure: Option<&Failure>,
) {
    Meters::new(transaction).outcome(outcome);
    match failure {
        None => {
            debug!(txsafe.transaction = &**transaction, "committed after its caller had gone away",)
        }
        Some(failure) => warn!(
            txsafe.transaction = &**transaction,
            "COMMIT failed after its caller had gone away: {failure}",
        ),
    }
}

fn label(transaction: &Arc<str>) -> SharedString {
    SharedString::from_shared(Arc::clone(transaction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_how_many_it_stands_for() {
        assert_eq!(LeftOut(0).to_string(), "");
        assert!(LeftOut(2).to_string().contains("2 more of this transaction's reports"));
    }
}
