//! The counters that every transaction touches, with their keys made once per name.

use crate::error::outcome::Outcome;
use metrics::{Key, Label, Level, Metadata, SharedString, with_recorder};
use std::{sync::Arc, time::Duration};

static METADATA: Metadata<'static> = Metadata::new("txsafe", Level::INFO, Some(module_path!()));

/// The counters of the transactions of one name. The recorder is looked up at each use, as the `metrics` facade wants
/// it: an application may install it late.
#[derive(Debug)]
pub(crate) struct Meters {
    attempts: Key,
    committed: Key,
    rolled_back: Key,
    unknown: Key,
    seconds: Key,
    checkout: Key,
}

impl Meters {
    pub(crate) fn new(transaction: &Arc<str>) -> Self {
        let name = || Label::new("transaction", SharedString::from_shared(Arc::clone(transaction)));
        let outcome = |outcome: Outcome| {
            let labels = vec![name(), Label::from_static_parts("outcome", outcome.as_str())];
            Key::from_parts("txsafe_outcomes_total", labels)
        };
        Self {
            attempts: Key::from_parts("txsafe_attempts_total", vec![name()]),
            committed: outcome(Outcome::Committed),
            rolled_back: outcome(Outcome::RolledBack),
            unknown: outcome(Outcome::Unknown),
            seconds: Key::from_parts("txsafe_transaction_seconds", vec![name()]),
            checkout: Key::from_parts("txsafe_checkout_seconds", vec![name()]),
        }
    }

    pub(crate) fn attempt(&self) {
        with_recorder(|recorder| recorder.register_counter(&self.attempts, &METADATA).increment(1));
    }

    pub(crate) fn outcome(&self, outcome: Outcome) {
        let key = match outcome {
            Outcome::Committed => &self.committed,
            Outcome::RolledBack => &self.rolled_back,
            Outcome::Unknown => &self.unknown,
        };
        with_recorder(|recorder| recorder.register_counter(key, &METADATA).increment(1));
    }

    pub(crate) fn elapsed(&self, elapsed: Duration) {
        record(&self.seconds, elapsed);
    }

    /// How long an attempt waited for its connection, whether it got one or not.
    pub(crate) fn checkout(&self, waited: Duration) {
        record(&self.checkout, waited);
    }
}

fn record(key: &Key, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    with_recorder(|recorder| recorder.register_histogram(key, &METADATA).record(seconds));
}
