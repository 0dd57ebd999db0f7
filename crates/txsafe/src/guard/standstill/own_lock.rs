//! Whether a transaction waits for its own locks, on another connection. The server doesn't call that a deadlock: it sees
//! one that waits, and one that is idle.

use super::standing::Wait;
use crate::guard::{code::Code, scope::Scope};
use futures_util::future::BoxFuture;
use std::{
    sync::Arc,
    task::{Context, Poll},
};

/// Whether a statement waits for a lock of an idle transaction of this name, and began so long after that: by the server's
/// clock for both, so that neither clocks nor the time of the question matter.
const QUESTION_SQL: &str = include_str!("../../../sql/own_lock.sql");

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
        if let Some(sql) = answer {
            let what =
                format!("waits on another connection, by `{sql}`, for a lock that it holds itself");
            wait.tell(scope, Code::OwnLock, what);
        }
        self.0 = None;
    }
}
