//! The instrumentation of an observed connection: it holds the link, tells it of each statement, and passes every event on.

use diesel::{
    connection::{
        DynInstrumentation, Instrumentation, InstrumentationEvent, get_default_instrumentation,
    },
    result::Error as DieselError,
};
use std::{fmt::Display, sync::Arc};
use txsafe::Failure;

/// A link of either half, as instrumentation sees it.
pub(crate) trait Listener: Send + Sync + 'static {
    /// A statement started.
    fn started(&self, query: &dyn Display);

    /// A statement came to its end.
    fn finished(&self, query: &dyn Display, error: Option<&DieselError>);
}

/// A connection of either half, which keeps one instrumentation.
pub(crate) trait Instrumented {
    /// The function that chains an instrumentation to ours.
    const CHAIN: &'static str;

    /// The one it has.
    fn present(&mut self) -> &mut dyn Instrumentation;

    /// Puts another one in its place.
    fn put(&mut self, instrumentation: impl Instrumentation);
}

/// Our instrumentation, and the next one in the chain.
pub(crate) struct Observer<L> {
    link: Arc<L>,
    next: Option<Box<dyn Instrumentation>>,
}

impl<L: Listener> Observer<L> {
    /// The link of a connection. One that isn't observed is from now on, by a new link.
    ///
    /// Diesel hands out a connection's instrumentation by reference only. So its default is made anew and chained, and one
    /// that somebody has set is refused rather than lost. If that is of the default's own type, nothing tells them apart.
    pub(crate) fn link_of<C: Instrumented>(
        conn: &mut C,
        new: impl FnOnce() -> L,
    ) -> Result<Arc<L>, Failure> {
        if let Some(link) = Self::known_link_of(conn) {
            return Ok(link);
        }
        let present = conn.present().as_any().type_id();
        let default = get_default_instrumentation();
        let next = if present == (*DynInstrumentation::none()).as_any().type_id() {
            None
        } else if default.as_ref().is_some_and(|next| (**next).as_any().type_id() == present) {
            default
        } else {
            return Err(Failure::local(format!(
                "this connection has an instrumentation that would be lost; add it by `{}` in place of \
                 `set_instrumentation`",
                C::CHAIN,
            )));
        };
        let link = Arc::new(new());
        Self::install(conn, Arc::clone(&link), next);
        Ok(link)
    }

    /// The link of a connection that is observed.
    pub(crate) fn known_link_of(conn: &mut impl Instrumented) -> Option<Arc<L>> {
        let observer = conn.present().downcast_ref::<Self>()?;
        Some(Arc::clone(&observer.link))
    }

    /// Observes a connection by this link, and passes every event on to `next`.
    pub(crate) fn install(
        conn: &mut impl Instrumented,
        link: Arc<L>,
        next: Option<Box<dyn Instrumentation>>,
    ) {
        conn.put(Self { link, next });
    }

    /// Puts `next` in the place of what was chained to ours, or was set on a connection that isn't observed yet.
    pub(crate) fn chain(
        conn: &mut impl Instrumented,
        next: impl Instrumentation,
        new: impl FnOnce() -> L,
    ) {
        let next: Option<Box<dyn Instrumentation>> = Some(Box::new(next));
        match conn.present().downcast_mut::<Self>() {
            Some(observer) => observer.next = next,
            None => Self::install(conn, Arc::new(new()), next),
        }
    }
}

impl<L: Listener> Instrumentation for Observer<L> {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match &event {
            InstrumentationEvent::StartQuery { query, .. } => self.link.started(query),
            InstrumentationEvent::FinishQuery { query, error, .. } => {
                self.link.finished(query, *error);
            }
            _ => {}
        }
        if let Some(next) = &mut self.next {
            next.on_connection_event(event);
        }
    }
}
