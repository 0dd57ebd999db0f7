//! Whether a transaction idles: half-way to the timeout at which the server ends its session, and while it does.
//!
//! A thread looks at all that run, and no timer of the task's: a paused clock of tokio's would run on to it, and a thread that is
//! blocked has none. A transaction pays for its entry in a list.

use super::live;
use crate::guard::{
    code::Code,
    report::{Seen, Where},
    scope::Scope,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread::{self, Thread},
    time::Duration,
};

/// From one look to the next; of shorter timeouts an eighth.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(10);

/// Without any transaction for so many looks, the thread sleeps.
const LOOKS_AT_NOTHING: u32 = 10;

/// Nanoseconds until the thread looks again, at most.
static LOOKS_WITHIN: AtomicU64 = AtomicU64::new(SLEEPS);
const SLEEPS: u64 = u64::MAX;

/// A transaction with this timeout is in the list.
pub(super) fn look_out(timeout: Duration) {
    let within = nanos(between_looks(timeout));
    if LOOKS_WITHIN.load(Relaxed) > within && LOOKS_WITHIN.fetch_min(within, SeqCst) > within {
        wake();
    }
}

#[cold]
fn wake() {
    static THREAD: OnceLock<Option<Thread>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let started = thread::Builder::new().name("txsafe-idle".into()).spawn(look_for_ever);
        started.ok().map(|started| started.thread().clone())
    });
    if let Some(thread) = thread {
        thread.unpark();
    }
}

fn look_for_ever() {
    let mut in_vain = 0;
    loop {
        let transactions = live::idling();
        // Nothing that a handler of the application does must end the thread.
        drop(catch_unwind(AssertUnwindSafe(|| transactions.iter().for_each(look))));
        let within =
            transactions.iter().filter_map(|scope| scope.idle_timeout).map(between_looks).min();
        drop(transactions);
        match within {
            Some(within) => {
                in_vain = 0;
                // One with a shorter timeout that came meanwhile has woken this thread, which so doesn't park.
                LOOKS_WITHIN.store(nanos(within), SeqCst);
                thread::park_timeout(within);
            }
            None if in_vain < LOOKS_AT_NOTHING => {
                in_vain += 1;
                thread::park_timeout(Duration::from_nanos(LOOKS_WITHIN.load(SeqCst)));
            }
            None => {
                in_vain = 0;
                LOOKS_WITHIN.store(SLEEPS, SeqCst);
                // One that came before that was said is in the list.
                if live::idling().is_empty() {
                    thread::park();
                }
            }
        }
    }
}

/// Tells of it, once in an attempt.
fn look(scope: &Arc<Scope>) {
    let Some(timeout) = scope.idle_timeout else { return };
    let is_over = scope.has_ended() || scope.idle_is_told.load(Relaxed);
    let idle = if is_over { None } else { scope.connection.idle() };
    let Some(idle) = idle.filter(|idle| *idle >= timeout / 2) else { return };
    scope.idle_is_told.store(true, Relaxed);
    let what = format!(
        "has sent nothing for {idle:.1?}; after {timeout:?} the server ends its session \
         (`idle_in_transaction_session_timeout`)"
    );
    let seen = Seen {
        code: Code::IdleTransaction,
        what,
        subject: String::new(),
        site: Where::Unknown,
        waited: Some(idle),
    };
    scope.guard.report(scope, seen);
}

/// So that it is found well before the timeout.
fn between_looks(timeout: Duration) -> Duration {
    (timeout / 8).clamp(SHORTEST, BETWEEN_LOOKS)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(SLEEPS)
}
