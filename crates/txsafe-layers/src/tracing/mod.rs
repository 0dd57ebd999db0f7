//! A layer for the events that clients log.

mod clients;

use self::clients::{Client, Clients, Place};
use ::tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
    subscriber::Interest,
};
use std::{fmt, sync::Arc};
use tracing_subscriber::{
    Layer,
    layer::{Context, Filter},
    registry::LookupSpan,
};
use txsafe::guard::in_transaction;

/// Hears what known clients log, and tells the guard that one of them was called: a finding
/// ([`TXS002`](txsafe::guard::Code::ExternalCall)) without a change in the code that calls.
///
/// It hears what is logged by the code that runs in the transaction, at any level. A client that leaves all work to tasks of
/// its own isn't heard, nor is one that logs nothing.
///
/// Of each client it tells once in an attempt, however much it logs. With a policy that looks for lines, the finding names
/// the line of the first call. Inside of [`external_io`](txsafe::guard::external_io) it is silent: of that call is told
/// already, and with its duration.
///
/// # Examples
/// ```
/// use tracing_subscriber::prelude::*;
/// use txsafe_layers::ClientEvents;
///
/// let clients = ClientEvents::new().and("mongodb", "MongoDB");
/// let subscriber = tracing_subscriber::registry().with(clients.layer());
/// # let _ = subscriber; // your program: `.init()`
/// ```
///
/// # Filters
/// **A filter for all layers keeps from it what it would hear.** Most clients log at DEBUG or TRACE. So the filter belongs to
/// the layer that writes the log, and not to the registry:
/// ```
/// use tracing_subscriber::{filter::LevelFilter, fmt, prelude::*};
/// use txsafe_layers::ClientEvents;
///
/// let subscriber = tracing_subscriber::registry()
///     .with(fmt::layer().with_filter(LevelFilter::INFO)) // or an `EnvFilter`
///     .with(ClientEvents::new().layer());
/// # let _ = subscriber;
/// ```
/// The features of `tracing` and `log` that leave out levels when building leave them out here, too.
///
/// So does a subscriber that is the default of one thread only: what another thread logs first, where nobody listens,
/// `tracing` takes for something that nobody will ever listen to. Tests that share a process hear all if they set it for all
/// threads, by `init`.
///
/// # Costs
/// Outside of transactions, an event of a known client that nobody else listens to costs a look at a thread-local and what
/// `tracing` needs to ask; those of others cost what disabled events of `tracing` cost. Records of the crate `log`, which
/// `tracing` can't tell apart beforehand, are asked about one by one where a bridge hands them over (`tracing-log`; without
/// its feature `interest-cache`, which would remember the answer for ever).
#[derive(Debug, Clone)]
pub struct ClientEvents {
    clients: Vec<Client>,
}

impl ClientEvents {
    /// Hears of reqwest, hyper, tonic, AWS, lettre, lapin, async-nats and ureq.
    #[must_use]
    pub fn new() -> Self {
        Self { clients: clients::KNOWN.to_vec() }
    }

    /// And of another client: what it logs has this target, or one inside of it, as `mongodb::command` is inside of
    /// `mongodb`. Findings call it by `name`.
    #[must_use]
    pub fn and(mut self, target: &'static str, name: &'static str) -> Self {
        self.clients.push(Client { target, name, place: Place::Alone });
        self
    }

    /// The layer, to be added to a subscriber.
    #[must_use]
    pub fn layer<S>(self) -> impl Layer<S> + Send + Sync + 'static
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let clients = Arc::new(Clients::new(self.clients));
        Hears(Arc::clone(&clients)).with_filter(InTransactions(clients))
    }
}

impl Default for ClientEvents {
    fn default() -> Self {
        Self::new()
    }
}

/// What a record of `log` has for a target; its own is a field then.
const LOG: &str = "log";

/// Lets nothing pass but what known clients log inside of transactions.
struct InTransactions(Arc<Clients>);

impl InTransactions {
    fn may_be_known(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == LOG || self.0.find(metadata.target()).is_some()
    }
}

impl<S> Filter<S> for InTransactions {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        in_transaction() && self.may_be_known(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.may_be_known(metadata) {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }
}

/// Tells the guard of what passed.
struct Hears(Arc<Clients>);

impl<S: Subscriber> Layer<S> for Hears {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.0.heard(span.metadata().target());
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        match event.metadata().target() {
            LOG => event.record(&mut TargetOfLog(&self.0)),
            target => self.0.heard(target),
        }
    }
}

/// Hears of the client that a record of `log` names.
struct TargetOfLog<'a>(&'a Clients);

impl Visit for TargetOfLog<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            self.0.heard(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
