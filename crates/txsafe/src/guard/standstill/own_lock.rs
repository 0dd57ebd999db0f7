//! Whether a transaction waits for its own locks, on another connection. The server doesn't call that a deadlock: it sees
//! one that waits, and one that is idle.

use super::standing::Wait;
use crate::guard::{code::Code, scope::Scope};
use futures_util::future::BoxFuture;
use std::{
    sync::Arc,
    task::{Context, Poll},
};

/// The question behind which it is told which waiter of the transaction's locks is meant.
macro_rules! question {
    ($which:literal) => {
        concat!(include_str!("../../../sql/own_lock.sql"), $which, " LIMIT 1")
    };
}
pub(super) use question;

/// Whose statement began so long after the transaction: by the server's clock for both, so that neither clocks nor the time of
/// the question matter.
const QUESTION_SQL: &str = question!(
    "AND abs(extract(epoch FROM waiter.query_start - holder.xact_start) - CAST($2 AS text)::float8) < 0.1"
);

/// Who waits for the transaction, and is it.
pub(super) struct Waiter {
    pub(super) process: String,
    pub(super) sql: String,
}

impl Waiter {
    /// Reads an answer.
    pub(super) fn read(answer: &str) -> Option<Self> {
        let (process, sql) = answer.split_once(' ')?;
        Some(Self { process: process.to_owned(), sql: sql.to_owned() })
    }

    /// What is told of it.
    pub(super) fn what(&self) -> String {
        let sql = &self.sql;
        format!("waits on another connection, by `{sql}`, for a lock that it holds itself")
    }
}

/// A question to the server, while the transaction waits.
#[derive(Default)]
pub(in crate::guard) struct Inquiry(Option<(BoxFuture<'static, Option<String>>, Wait)>);

impl Inquiry {
    /// Asks if there is something to be asked, and tells of what was answered.
    pub(in crate::guard) fn poll(&mut self, scope: &Arc<Scope>, cx: &mut Context<'_>) {
        if let Some(wait) = scope.standing.take_suspect() {
            let binds = [
                scope.application_name.to_string(),
                wait.began_after(scope).as_secs_f64().to_string(),
            ];
            let asking = scope.pool.as_ref().and_then(|pool| pool.ask(QUESTION_SQL, binds));
            self.0 = asking.map(|asking| (asking, wait));
        }
        let Some((asking, wait)) = &mut self.0 else { return };
        let Poll::Ready(answer) = asking.as_mut().poll(cx) else { return };
        if let Some(waiter) = answer.as_deref().and_then(Waiter::read) {
            wait.tell(scope, Code::OwnLock, waiter.what());
        }
        self.0 = None;
    }
}
