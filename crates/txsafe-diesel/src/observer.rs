//! The instrumentation of an observed connection: it holds the [`Link`], and tells it the text of each statement.

use crate::{failure::of_diesel, wire::link::Link};
use diesel::connection::{Instrumentation, InstrumentationEvent, get_default_instrumentation};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use std::{collections::VecDeque, sync::Arc, time::Instant};

/// Statements that were started and not finished are remembered up to this number: a future that is dropped never
/// finishes its statement.
const MOST_STARTED: usize = 64;

/// Our instrumentation, and the next one in the chain.
pub(crate) struct Observer {
    link: Arc<Link>,
    started: VecDeque<Started>,
    next: Option<Box<dyn Instrumentation>>,
}

struct Started {
    at: Instant,
    /// With bind values, if the trail wants them.
    sql: Option<String>,
}

impl Observer {
    /// Observes `conn`, and passes every event on to Diesel's default instrumentation.
    pub(crate) fn install(conn: &mut AsyncPgConnection, link: Arc<Link>) {
        let next = get_default_instrumentation();
        conn.set_instrumentation(Self { link, started: VecDeque::new(), next });
    }

    /// The link of a connection that is observed.
    pub(crate) fn link_of(conn: &mut AsyncPgConnection) -> Option<Arc<Link>> {
        let observer = conn.instrumentation().downcast_mut::<Self>()?;
        Some(Arc::clone(&observer.link))
    }

    fn finished(&mut self, sql: String, failed: Option<&diesel::result::Error>) {
        let started = self.started.pop_front();
        let at = started.as_ref().map(|started| started.at);
        let sql = started.and_then(|started| started.sql).unwrap_or(sql);
        self.link.statement_finished(&sql, failed.map(of_diesel), at);
    }
}

impl Instrumentation for Observer {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match &event {
            InstrumentationEvent::StartQuery { query, .. } => {
                if self.started.len() == MOST_STARTED {
                    self.started.pop_front();
                }
                let sql = self.link.wants_bind_values().then(|| query.to_string());
                self.started.push_back(Started { at: Instant::now(), sql });
            }
            InstrumentationEvent::FinishQuery { query, error, .. } => {
                self.finished(query.to_string(), *error);
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
