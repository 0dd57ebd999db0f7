//! Which transaction this code runs in, seen on every poll.
//!
//! A counter of BEGINs would drift; a task-local would miss other runtimes. The run loops enter the scope each time
//! they poll the closure (or call it, when blocking) and leave it after, so what the scope says is true under `join!`,
//! `select!`, cancellation and panics. Work that was spawned is not inside, unless its [`Handle`](super::Handle) is handed on.

use super::{
    code::Code, connection::Connection, finding::Finding, gaps::Gaps, heard::Heard, kept::Kept,
    pool::Pool, report::Guard, system::OwnSocket,
};
#[cfg(feature = "origins")]
use super::{
    late::Late,
    origin::Questions,
    standstill::{Blocked, Standing},
};
use crate::{
    clock::{self, times::Ledger},
    locks::graph::log::LockLog,
};
use std::{
    cell::Cell,
    collections::HashSet,
    fmt,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    panic::Location,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

thread_local! {
    /// The transaction that runs on this thread. Moved in and out, and not counted, once a poll. Whoever enters a scope
    /// leaves it, so there is nothing to be dropped with the thread, and no look at whether it was.
    static CURRENT: Cell<Option<ManuallyDrop<Arc<Scope>>>> = const { Cell::new(None) };
    /// What is asked most, without touching it.
    static FLAGS: Cell<u8> = const { Cell::new(0) };
}

/// This code runs in a transaction.
const INSIDE: u8 = 1;
/// What it does is allowed.
const ALLOWED: u8 = 2;
/// It is the driver's own, on its way to the database.
const DRIVING: u8 = 4;
/// It is the guard's own.
const TELLING: u8 = 8;
/// A statement of a blocking transaction runs.
const STATEMENT: u8 = 16;

/// Something is to be told of the poll before.
#[cfg(feature = "origins")]
const LATE: u8 = 32;

/// Whether this code runs in a transaction of txsafe.
///
/// It does in whatever the transaction's closure calls and awaits; it doesn't in what the closure spawns, unless by a
/// [`Handle`](super::Handle). The scope of a test that wraps everything in a transaction doesn't count; see
/// [`TxOptions::test_wrapper`](crate::TxOptions::test_wrapper).
///
/// # Examples
/// ```
/// assert!(!txsafe::guard::in_transaction());
/// ```
#[must_use]
#[inline]
pub fn in_transaction() -> bool {
    flags() & INSIDE != 0
}

/// What a scope is the scope of: one attempt of a transaction.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) database: u64,
    /// The same for all that lead to one database, where it is known.
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) transaction: Arc<str>,
    /// Its name in `pg_stat_activity`.
    #[cfg_attr(not(feature = "origins"), expect(dead_code, reason = "only who looks for it asks"))]
    pub(crate) application_name: Arc<str>,
    pub(crate) place: &'static Location<'static>,
    /// Its `idle_in_transaction_session_timeout`, where that is known and there is one.
    pub(crate) idle_timeout: Option<Duration>,
    /// It is the wrapper of a test, which doesn't count.
    pub(crate) wraps_a_test: bool,
    pub(crate) guard: Arc<Guard>,
    pub(crate) connection: Arc<dyn Connection>,
    /// Where the connection is from; none if it is the caller's.
    pub(crate) pool: Option<Arc<dyn Pool>>,
    pub(crate) ledger: Option<Arc<Ledger>>,
    /// What goes by between statements, if it is blocking.
    #[cfg_attr(not(feature = "origins"), expect(dead_code, reason = "only who looks for it asks"))]
    pub(crate) gaps: Gaps,
    pub(crate) locks: LockLog,
}

/// Findings that fail a transaction.
#[derive(Default)]
struct Raised {
    /// Where they were found.
    sites: HashSet<(Code, String)>,
    /// Those that its closure hasn't panicked by yet.
    texts: Vec<String>,
}

/// One attempt, while its closure runs.
pub(crate) struct Scope {
    subject: Subject,
    pub(super) began: Instant,
    outer: Option<Arc<Self>>,
    has_ended: AtomicBool,
    /// Futures of it that are waited for, and are allowed to be.
    pub(super) allowed: AtomicU32,
    /// Futures of it that are waited for, and of which is told by others.
    pub(super) told: AtomicU32,
    has_raised: AtomicBool,
    raised: Mutex<Raised>,
    /// What is to be told when the poll has ended.
    pub(super) kept: Kept,
    pub(super) heard: Heard,
    pub(super) own_socket: OwnSocket,
    /// It was told that it idles.
    pub(super) idle_is_told: AtomicBool,
    /// What is still to be known of its findings.
    #[cfg(feature = "origins")]
    pub(super) questions: Questions,
    #[cfg(feature = "origins")]
    pub(super) standing: Standing,
    #[cfg(feature = "origins")]
    pub(super) late: Late,
    #[cfg(feature = "origins")]
    pub(super) blocked: Blocked,
}

impl Scope {
    /// A scope inside the one that this code runs in.
    pub(crate) fn new(subject: Subject) -> Arc<Self> {
        Arc::new(Self {
            subject,
            began: clock::now(),
            outer: scope(),
            has_ended: AtomicBool::new(false),
            allowed: AtomicU32::new(0),
            told: AtomicU32::new(0),
            has_raised: AtomicBool::new(false),
            raised: Mutex::default(),
            kept: Kept::default(),
            heard: Heard::default(),
            own_socket: OwnSocket::default(),
            idle_is_told: AtomicBool::new(false),
            #[cfg(feature = "origins")]
            questions: Questions::default(),
            #[cfg(feature = "origins")]
            standing: Standing::default(),
            #[cfg(feature = "origins")]
            late: Late::default(),
            #[cfg(feature = "origins")]
            blocked: Blocked::default(),
        })
    }

    /// What runs in a savepoint of a test's wrapper: it counts.
    pub(super) fn inside_a_test(&self) -> Arc<Self> {
        Self::new(Subject { wraps_a_test: false, ..self.subject.clone() })
    }

    /// Once it has ended, nothing is in it any more.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Relaxed);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Relaxed)
    }

    /// Whether there are findings that fail the transaction.
    #[inline]
    pub(super) fn has_raised(&self) -> bool {
        self.has_raised.load(Relaxed)
    }

    /// Findings that fail the transaction, since this was asked last.
    pub(super) fn take_raised(&self) -> Vec<String> {
        self.has_raised.store(false, Relaxed);
        std::mem::take(&mut self.raised.lock().unwrap_or_else(PoisonError::into_inner).texts)
    }

    /// Has the transaction fail by a finding, unless the same one was raised before; whether it wasn't.
    pub(super) fn raise(&self, finding: &Finding, site: String) -> bool {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = raised.sites.insert((finding.code, site));
        if is_new {
            raised.texts.push(finding.to_string());
            self.has_raised.store(true, Relaxed);
        }
        is_new
    }

    #[inline]
    fn counts(&self) -> bool {
        !self.wraps_a_test && !self.has_ended()
    }

    /// What is true of a thread that enters it.
    #[inline]
    fn flags(&self) -> u8 {
        let flags = if self.counts() { INSIDE } else { 0 };
        #[cfg(feature = "origins")]
        if self.late.is_any() {
            return flags | LATE;
        }
        flags
    }

    /// Whether it is this one, or runs inside of it.
    #[cfg(feature = "origins")]
    pub(super) fn is_inside(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        self.outwards().any(|scope| Arc::ptr_eq(scope, other))
    }

    /// It, and those around it.
    fn outwards(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::successors(Some(self), |scope| scope.outer.as_ref())
    }
}

impl Deref for Scope {
    type Target = Subject;

    fn deref(&self) -> &Subject {
        &self.subject
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({:?} at {})", self.transaction, self.place)
    }
}

/// Enters the scope that is in `place`, until what is returned is dropped; it is back in its place then.
#[inline]
pub(super) fn enter(place: &mut Option<Arc<Scope>>) -> Inside<'_> {
    let flags = place.as_ref().map_or(0, |scope| scope.flags());
    let before = (replace(place.take()), set_flags(flags));
    Inside { place, before }
}

/// A thread that is inside a scope.
#[must_use]
pub(super) struct Inside<'a> {
    place: &'a mut Option<Arc<Scope>>,
    before: (Option<Arc<Scope>>, u8),
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        *self.place = replace(self.before.0.take());
        set_flags(self.before.1);
    }
}

/// The scope that this code runs in, whether it counts or not.
pub(crate) fn scope() -> Option<Arc<Scope>> {
    let scope = replace(None);
    replace(scope.clone());
    scope
}

/// The scope of a transaction that findings are told of: none in what is allowed, nor in the driver or the guard itself.
pub(super) fn watched() -> Option<Arc<Scope>> {
    if is_watched() { scope() } else { None }
}

/// Whether there is one.
pub(super) fn is_watched() -> bool {
    flags() & (INSIDE | ALLOWED | DRIVING | TELLING | STATEMENT) == INSIDE
}

/// Whether something is to be told of the poll before this one.
#[cfg(feature = "origins")]
pub(super) fn is_late() -> bool {
    flags() & LATE != 0
}

/// Whether this code is a driver's, in a transaction.
pub(super) fn is_driving() -> bool {
    flags() & INSIDE != 0 && flags() & (DRIVING | STATEMENT) != 0
}

/// A statement of the blocking transaction on this thread starts. What is noted with the flags is undone when the scope is
/// left, also if the end of the statement is never told.
pub(super) fn statement_starts() {
    if in_transaction() {
        set_flags(flags() | STATEMENT);
    }
}

pub(super) fn statement_ends() {
    set_flags(flags() & !STATEMENT);
}

/// The innermost transaction on `database`, or on one of the same identity, that runs this code.
pub(crate) fn running_on(database: u64, identity: Option<&str>) -> Option<Arc<Scope>> {
    let scope = scope()?;
    let is_it = |scope: &&Arc<Scope>| {
        scope.database == database || (identity.is_some() && scope.identity.as_deref() == identity)
    };
    scope.outwards().find(is_it).map(Arc::clone)
}

/// Whether any transaction runs this code.
pub(crate) fn is_inside_any() -> bool {
    scope().is_some()
}

#[inline]
fn replace(scope: Option<Arc<Scope>>) -> Option<Arc<Scope>> {
    CURRENT.replace(scope.map(ManuallyDrop::new)).map(ManuallyDrop::into_inner)
}

#[inline]
fn flags() -> u8 {
    FLAGS.get()
}

#[inline]
fn set_flags(flags: u8) -> u8 {
    FLAGS.replace(flags)
}

/// A mark on what this thread does, until it is dropped.
struct Flag(u8, PhantomData<*const ()>);

impl Flag {
    fn raise(flag: u8) -> Self {
        Self(FLAGS.replace(flags() | flag), PhantomData)
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        FLAGS.set(self.0);
    }
}

/// What this thread does is the driver's own work.
#[must_use]
pub(super) struct Driving(#[expect(dead_code, reason = "dropped")] Flag);

impl Driving {
    pub(super) fn start() -> Self {
        Self(Flag::raise(DRIVING))
    }
}

/// What this thread does is allowed.
#[must_use]
pub(super) struct Allowing(#[expect(dead_code, reason = "dropped")] Flag);

impl Allowing {
    pub(super) fn start() -> Self {
        Self(Flag::raise(ALLOWED))
    }
}

/// What this thread does is telling of findings, which may be I/O too.
#[must_use]
pub(super) struct Telling(#[expect(dead_code, reason = "dropped")] Flag);

impl Telling {
    pub(super) fn start() -> Self {
        Self(Flag::raise(TELLING))
    }
}

#[cfg(test)]
pub(super) mod tests;
