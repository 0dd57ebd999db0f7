//! The instrumentation of a blocking connection: it tells the [`Link`] of each statement and of its error.

use super::link::Link;
use crate::binds::without_binds;
use diesel::{
    Connection, PgConnection,
    connection::{
        DynInstrumentation, Instrumentation, InstrumentationEvent, get_default_instrumentation,
    },
};
use std::sync::Arc;
use txsafe::Failure;

/// Our instrumentation, and the next one in the chain.
pub(crate) struct Observer {
    link: Arc<Link>,
    next: Option<Box<dyn Instrumentation>>,
}

impl Observer {
    /// The link of a connection, which is observed from now on.
    ///
    /// Diesel hands out a connection's instrumentation by reference only. So its default is made anew and chained, and
    /// one that somebody has set is refused rather than lost.
    pub(crate) fn link_of(conn: &mut PgConnection) -> Result<Arc<Link>, Failure> {
        if let Some(observer) = conn.instrumentation().downcast_ref::<Self>() {
            return Ok(Arc::clone(&observer.link));
        }
        let present = conn.instrumentation().as_any().type_id();
        let default = get_default_instrumentation();
        let next = if present == (*DynInstrumentation::none()).as_any().type_id() {
            None
        } else if default.as_ref().is_some_and(|next| (**next).as_any().type_id() == present) {
            default
        } else {
            return Err(Failure::local(
                "this connection has an instrumentation that would be lost; add it by \
                 `txsafe_diesel::blocking::chain_instrumentation` in place of `set_instrumentation`",
            ));
        };
        Ok(Self::install(conn, next))
    }

    /// Whether a connection is observed by this link: the closure may have put another instrumentation in its place.
    pub(crate) fn is_that_of(conn: &mut PgConnection, link: &Arc<Link>) -> bool {
        let observer = conn.instrumentation().downcast_ref::<Self>();
        observer.is_some_and(|observer| Arc::ptr_eq(&observer.link, link))
    }

    fn install(conn: &mut PgConnection, next: Option<Box<dyn Instrumentation>>) -> Arc<Link> {
        let link = Arc::<Link>::default();
        conn.set_instrumentation(Self { link: Arc::clone(&link), next });
        link
    }
}

impl Instrumentation for Observer {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match &event {
            InstrumentationEvent::StartQuery { query, .. } => {
                self.link.statement_started(query);
            }
            InstrumentationEvent::FinishQuery { query, error, .. } => {
                let sql = || without_binds(&query.to_string()).to_owned();
                self.link.statement_finished(sql, *error);
            }
            _ => {}
        }
        if let Some(next) = &mut self.next {
            next.on_connection_event(event);
        }
    }
}

/// Adds an instrumentation to a connection, which txsafe's is then chained to; it takes the place of the one that was
/// added before, and of Diesel's default.
///
/// Use it in place of `set_instrumentation`, such as in the `on_acquire` of an r2d2 `CustomizeConnection`: Diesel lets
/// nobody take over what was set there, and a transaction on such a connection fails before it begins.
pub fn chain_instrumentation(conn: &mut PgConnection, next: impl Instrumentation) {
    match conn.instrumentation().downcast_mut::<Observer>() {
        Some(observer) => observer.next = Some(Box::new(next)),
        None => {
            Observer::install(conn, Some(Box::new(next)));
        }
    }
}
