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
use crate::hold::excused::{Excuse, Excusing};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI32, Ordering::Relaxed},
};

/// So many different calls are noted between two moments at which they are told; others are lost.
const MOST_NOTED: usize = 64;

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
        scope.noted.own_socket.store(socket, Relaxed);
    }
    if !is_watched() {
        return;
    }
    match scope.noted.own_socket.load(Relaxed) {
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
    scope.noted.push(Seen { code, what: name.clone(), subject: name, site, waited: None });
}

/// Tells what was noted.
pub(super) fn tell(scope: &Arc<Scope>) {
    if !scope.noted.is_any.load(Relaxed) {
        return;
    }
    let _telling = Telling::start();
    for seen in scope.noted.take() {
        scope.guard.report(scope, seen);
    }
}

/// What was noted in one scope.
pub(super) struct Noted {
    is_any: AtomicBool,
    calls: Mutex<Vec<Seen>>,
    /// The socket by which the driver sent last.
    own_socket: AtomicI32,
}

impl Noted {
    fn push(&self, seen: Seen) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        // Megabytes are sent by many calls, and are one thing to tell of.
        let is_same = |other: &Seen| other.what == seen.what && other.site == seen.site;
        if calls.len() < MOST_NOTED && !calls.iter().any(is_same) {
            calls.push(seen);
            self.is_any.store(true, Relaxed);
        }
    }

    fn take(&self) -> Vec<Seen> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_any.store(false, Relaxed);
        std::mem::take(&mut *calls)
    }
}

impl Default for Noted {
    fn default() -> Self {
        Self {
            is_any: AtomicBool::new(false),
            calls: Mutex::default(),
            own_socket: AtomicI32::new(NONE),
        }
    }
}
