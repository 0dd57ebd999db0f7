//! The instrumentation of an observed connection: it holds the [`Link`], and tells it the text of each statement.

use crate::{failure::of_diesel, wire::link::Link};
use diesel::connection::{Instrumentation, InstrumentationEvent, get_default_instrumentation};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use std::sync::Arc;

/// Our instrumentation, and the next one in the chain.
pub(crate) struct Observer {
    link: Arc<Link>,
    next: Option<Box<dyn Instrumentation>>,
}

impl Observer {
    /// Observes `conn`, and passes every event on to Diesel's default instrumentation.
    pub(crate) fn install(conn: &mut AsyncPgConnection, link: Arc<Link>) {
        let next = get_default_instrumentation();
        conn.set_instrumentation(Self { link, next });
    }

    /// The link of a connection that is observed.
    pub(crate) fn link_of(conn: &mut AsyncPgConnection) -> Option<Arc<Link>> {
        let observer = conn.instrumentation().downcast_mut::<Self>()?;
        Some(Arc::clone(&observer.link))
    }
}

impl Instrumentation for Observer {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match &event {
            InstrumentationEvent::StartQuery { query, .. } => {
                self.link.statement_started(query);
            }
            InstrumentationEvent::FinishQuery { query, error, .. } => {
                self.link.statement_finished(|| query.to_string(), error.map(of_diesel));
            }
            _ => {}
        }
        if let Some(next) = &mut self.next {
            next.on_connection_event(event);
        }
    }
}

/// Adds an instrumentation to a connection made by [`manager`](crate::manager()) or [`connect`](crate::connect()).
///
/// Use it in place of `set_instrumentation`, which would put the given one in the place of txsafe's. On a connection
/// that isn't observed it does just that.
pub fn chain_instrumentation(conn: &mut AsyncPgConnection, next: impl Instrumentation) {
    match conn.instrumentation().downcast_mut::<Observer>() {
        Some(observer) => observer.next = Some(Box::new(next)),
        None => conn.set_instrumentation(next),
    }
}
