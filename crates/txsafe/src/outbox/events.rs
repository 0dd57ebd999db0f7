//! What is told of deliveries: spans, events and counters.

use super::{
    claim::Claim,
    mark::{Ended, Fate},
    message::Message,
};
use crate::{clock, error::Error};
use metrics::SharedString;
use std::{fmt, sync::Arc};
use tracing::{Span, debug, error, info_span, warn};

/// The span of one delivery, around its handler.
pub(super) fn span(message: &Message) -> Span {
    info_span!(
        "deliver",
        otel.kind = "consumer",
        messaging.destination.name = message.topic(),
        messaging.message.id = message.key(),
        txsafe.attempt = message.attempt(),
    )
}

/// The server knows how a delivery ended.
pub(super) fn concluded(Ended { claim, took, fate, .. }: &Ended) {
    let Message { topic, key, attempt, age, .. } = &claim.message;
    count(topic, fate.as_str());
    match fate {
        Fate::Delivered => {
            metrics::histogram!("txsafe_outbox_lag_seconds", "topic" => label(topic))
                .record(age.saturating_add(*took).as_secs_f64());
            debug!(
                txsafe.topic = &**topic,
                txsafe.key = &**key,
                txsafe.attempt = attempt,
                "delivered"
            );
        }
        Fate::Retried(pause, error) => warn!(
            txsafe.topic = &**topic,
            txsafe.key = &**key,
            txsafe.attempt = attempt,
            "a delivery failed, and is tried again in {pause:.1?}: {error}",
        ),
        Fate::Dead(error) => error!(
            txsafe.topic = &**topic,
            txsafe.key = &**key,
            txsafe.attempt = attempt,
            "a message is dead, and stays in the outbox until it is requeued or deleted: {error}",
        ),
        Fate::Released => {
            debug!(
                txsafe.topic = &**topic,
                txsafe.key = &**key,
                "released, because the worker stops or was given it too late"
            );
        }
    }
}

/// Its last attempt failed, and it counts as new, because it was written again meanwhile.
pub(super) fn failed_but_written_again(Ended { claim, .. }: &Ended, error: &str) {
    let Message { topic, key, attempt, .. } = &claim.message;
    count(topic, "failed");
    warn!(
        txsafe.topic = &**topic,
        txsafe.key = &**key,
        txsafe.attempt = attempt,
        "the last attempt of a delivery failed, and the message starts over, because it was written again meanwhile: {error}",
    );
}

/// The message was another worker's by then, or deleted.
pub(super) fn lease_lost(Ended { claim, fate, .. }: &Ended) {
    let Message { topic, key, attempt, .. } = &claim.message;
    count(topic, "lease_lost");
    warn!(
        txsafe.topic = &**topic,
        txsafe.key = &**key,
        txsafe.attempt = attempt,
        "the lease was lost before the message was marked as {}, and it may be delivered twice; raise `lease` beyond what \
         this process or its server may stand still",
        fate.as_str(),
    );
}

/// The server couldn't be told.
pub(super) fn unmarked(Ended { claim, fate, .. }: &Ended, error: &dyn fmt::Display) {
    let Message { topic, key, attempt, .. } = &claim.message;
    count(topic, "unmarked");
    warn!(
        txsafe.topic = &**topic,
        txsafe.key = &**key,
        txsafe.attempt = attempt,
        "the message couldn't be marked as {}, and is delivered again when its lease ends: {error}",
        fate.as_str(),
    );
}

/// The server couldn't be asked for messages.
pub(super) fn not_claimed(error: &Error) {
    warn!("no messages could be claimed, and the worker asks again: {error}");
}

/// A claim waited for a connection, or for the server, for most of its lease.
pub(super) fn claimed_late(Claim { since, .. }: &Claim) {
    warn!(
        "a claim took {:.1?}, which is most of its lease, and its messages are released; give the pool more connections, or \
         raise `lease`",
        clock::since(*since),
    );
}

/// Leases couldn't be renewed.
pub(super) fn not_renewed(error: &Error) {
    warn!(
        "the leases of slow deliveries couldn't be renewed, and the worker asks again until they end: {error}"
    );
}

impl Fate {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried(..) => "failed",
            Self::Dead(_) => "dead",
            Self::Released => "released",
        }
    }
}

fn count(topic: &Arc<str>, end: &'static str) {
    metrics::counter!("txsafe_outbox_deliveries_total", "topic" => label(topic), "end" => end)
        .increment(1);
}

fn label(topic: &Arc<str>) -> SharedString {
    SharedString::from_shared(Arc::clone(topic))
}
