//! What a transaction leaves on the session of its connection, told when its closure has returned.

use super::{
    code::Code,
    report::{Seen, Where},
    scope::Scope,
    session_log::SessionLog,
};

/// The closure has returned `Ok`: the guard reports what its statements left for the next transaction on the connection with the end
/// of the poll, each kind once.
pub(crate) fn keep_session_state(scope: &Scope, session: &SessionLog) {
    let leaks = session.leaks();
    for (i, left) in leaks.iter().enumerate() {
        if leaks[..i].iter().any(|before| before.kind == left.kind) {
            continue;
        }
        let (title, instead, sql) = (left.kind.title(), left.kind.instead(), &left.sql);
        scope.kept.push(Seen {
            code: Code::SessionState,
            what: format!(
                "`{sql}` leaves {title} on the pooled connection, where the next transaction finds it: use {instead}"
            ),
            // Texts with literals would make many of what is one.
            subject: title.to_owned(),
            site: Where::Unknown,
            waited: None,
        });
    }
}
