//! What the operating system is asked for while a transaction runs, as functions of the C library see it that
//! `txsafe-interpose` has put in front of the real ones.
//!
//! They are called from anywhere: under locks of whoever calls, in the midst of a client's work, from C. So all that is done
//! there is to note what was seen, with the stack; it is told where only the run loop is on the stack, or where a statement
//! starts.

use super::{
    code::Code,
    report::{Seen, Where},
    scope::{Scope, Telling, in_transaction, is_driving, is_watched, scope, watched},
};
use crate::clock::excused::{Excuse, Excusing};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// No socket has this number.
const NONE: i32 = -1;

/// For functions that stand before those of the C library: the operating system is asked for something by the code that
/// runs. In a transaction that is a finding ([`TXS008`](Code::SystemCall)).
///
/// It costs a look at a thread-local outside of transactions; `name` is called inside of them only.
pub fn note_system_call(name: impl FnOnce() -> String) {
    if let Some(scope) = watched() {
        note(&scope, name);
    }
}

/// The same of bytes that are sent by a socket, given by its number. It isn't a finding if the socket is that of the
/// transaction's own database: the one that its driver sends by, or any as long as that isn't known and the connection is
/// lent to somebody.
pub fn note_send(socket: i32, name: impl FnOnce() -> String) {
    if !in_transaction() {
        return;
    }
    let Some(scope) = scope() else { return };
    if is_driving() {
        scope.own_socket.0.store(socket, Relaxed);
    }
    if !is_watched() {
        return;
    }
    match scope.own_socket.0.load(Relaxed) {
        NONE if scope.connection.is_lent() => {}
        own if own == socket => {}
        _ => note(&scope, name),
    }
}

#[cold]
fn note(scope: &Scope, name: impl FnOnce() -> String) {
    let (_telling, _excusing) = (Telling::start(), Excusing::start(Excuse::Own));
    let code = Code::SystemCall;
    // Of what an inner transaction does outside of its own scope has been told.
    if scope.told.load(Relaxed) > 0 || !scope.guard.sees(code) {
        return;
    }
    let name = name();
    let site = Where::here(&scope.guard.policy);
    scope.kept.push(Seen { code, what: name.clone(), subject: name, site, waited: None });
}

/// The socket by which the driver sent last.
pub(super) struct OwnSocket(AtomicI32);

impl Default for OwnSocket {
    fn default() -> Self {
        Self(AtomicI32::new(NONE))
    }
}
