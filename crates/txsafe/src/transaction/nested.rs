//! A transaction inside another one on the same database, which is refused: whichever driver or pool leads there.

use super::{call::Call, progress::Progress};
use crate::{
    dialect::Ask,
    error::{Error, ErrorKind},
    guard::scope::{self, Scope},
};
use std::sync::Arc;

impl<H> Progress<H> {
    /// The question which database it is, where that should be asked to know a nested transaction across drivers.
    pub(crate) fn asks_for_its_database(&self) -> Option<&'static str> {
        let question = self.dialect().question(Ask::Database)?;
        // What became of a COMMIT is asked wherever that is.
        let asks = self.call.shared.is_unidentified() && self.in_doubt.is_none();
        asks.then_some(question)
    }

    /// The server has said which database it is, or didn't want to; an outer transaction on it is told.
    pub(crate) fn identified(&self, answer: Option<String>) -> Option<Arc<Scope>> {
        // An empty one is that of nobody, and not asked for again.
        self.call.shared.identify(Some(answer.unwrap_or_default().into()));
        outer_of(&self.call)
    }
}

/// The transaction that `call` was made in, on the same database.
pub(super) fn outer_of(call: &Call) -> Option<Arc<Scope>> {
    let identity = call.shared.identity().filter(|identity| !identity.is_empty());
    scope::running_on(call.shared.id, identity.as_deref())
}

pub(super) fn nested(outer: &Scope, call: &Call) -> Error {
    let kind = ErrorKind::NestedTransaction {
        outer: (outer.transaction.to_string(), outer.place),
        inner: (call.named.name.to_string(), call.place),
    };
    Error::new(kind, None, None)
}
