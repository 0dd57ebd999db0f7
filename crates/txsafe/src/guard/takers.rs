//! Who takes connections from a pool outside of transactions, as the pool's hooks tell: they run in the task, or on the
//! thread, that takes one.
//!
//! Hooks don't tell of which pool they are. So a database that takes a connection says so to the code that runs, and the first
//! hook that runs then makes itself known.

#[cfg(feature = "origins")]
use super::origin::Trace;
use super::{holding::Holdings, report::Where, second::connection_taken};
use crate::{
    clock::{excused::lock, times::now},
    dialect::holders::Taker,
};
use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, ThreadId},
    time::Duration,
};
use tracing::{Metadata, Span};

/// More connections than that are no pool's: hooks that don't tell of their end have left them behind.
const MOST_CONNECTIONS: usize = 4_096;

/// Every pool that tells, for a database that hasn't got a connection yet.
static ALL: Mutex<Vec<Weak<Pool>>> = Mutex::new(Vec::new());

/// Whether stacks are wanted.
#[cfg(feature = "origins")]
static TRACES: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The database whose transaction takes a connection, on this thread.
    static TAKES: RefCell<Option<Arc<Holdings>>> = const { RefCell::new(None) };
    /// On whose behalf this thread runs a blocking transaction.
    static ON_BEHALF: RefCell<Option<Who>> = const { RefCell::new(None) };
}

/// The connections of one pool, and who took each last. For hooks of pools.
#[derive(Clone)]
pub struct Takers(Arc<Pool>);

struct Pool {
    /// What findings call it.
    name: &'static str,
    /// It tells of connections that are given back.
    tells_return: bool,
    is_claimed: AtomicBool,
    /// By connection; none if a transaction of txsafe took it last.
    taken: Mutex<HashMap<u64, Option<Taken>>>,
    /// How many of them code outside of transactions took last: none is what most transactions find.
    outside: AtomicUsize,
}

/// A connection that code outside of transactions has taken.
#[derive(Clone)]
pub(crate) struct Taken {
    who: Who,
    at: u64,
    span: Option<&'static Metadata<'static>>,
    #[cfg(feature = "origins")]
    trace: Option<Arc<Trace>>,
}

/// A task, or a thread that runs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    #[cfg(feature = "tokio")]
    Task(tokio::task::Id),
    Thread(ThreadId),
}

/// A connection of a pool that tells, for as long as it lives.
#[derive(Debug)]
pub struct Tracked {
    takers: Takers,
    connection: u64,
}

#[cfg(feature = "origins")]
/// Stacks of those who take connections are wanted.
pub(super) fn want_traces() {
    TRACES.store(true, Relaxed);
}

impl Takers {
    /// Of a pool that findings call so. It `tells_return` if [`given_back`](Self::given_back) is called for every connection that
    /// goes back; else one is taken for held while none of the pool is idle.
    #[must_use]
    pub fn new(name: &'static str, tells_return: bool) -> Self {
        let is_claimed = AtomicBool::new(false);
        let (taken, outside) = Default::default();
        let pool = Arc::new(Pool { name, tells_return, is_claimed, taken, outside });
        let mut all = lock(&ALL);
        all.retain(|pool| pool.strong_count() > 0);
        all.push(Arc::downgrade(&pool));
        Self(pool)
    }

    /// The code that runs takes this connection.
    pub fn taken(&self, connection: u64) {
        connection_taken(self.0.name);
        self.note(connection);
    }

    /// A connection that was made now, and tells by itself when it ends.
    #[must_use]
    pub fn track(&self) -> Tracked {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Tracked { takers: self.clone(), connection: NEXT.fetch_add(1, Relaxed) }
    }

    /// It goes back, or is closed.
    pub fn given_back(&self, connection: u64) {
        let mut connections = lock(&self.0.taken);
        if let Some(Some(_taken)) = connections.remove(&connection) {
            self.0.outside.fetch_sub(1, Relaxed);
        }
    }

    fn note(&self, connection: u64) {
        let is_ours = TAKES.with_borrow(|database| {
            database.as_ref().inspect(|database| database.claim(self)).is_some()
        });
        let taken = (!is_ours).then(Taken::here);
        let mut connections = lock(&self.0.taken);
        if connections.len() >= MOST_CONNECTIONS {
            connections.clear();
            self.0.outside.store(0, Relaxed);
        }
        let is_outside = taken.is_some();
        let was_outside = connections.insert(connection, taken).flatten().is_some();
        match (was_outside, is_outside) {
            (false, true) => _ = self.0.outside.fetch_add(1, Relaxed),
            (true, false) => _ = self.0.outside.fetch_sub(1, Relaxed),
            (true, true) | (false, false) => {}
        }
    }

    /// A pool times out while it is locked, on the thread of who waits for it: then it makes itself known, too.
    pub fn timed_out(&self) {
        TAKES.with_borrow(|database| database.iter().for_each(|database| database.claim(self)));
    }

    /// It belongs to a database.
    pub(super) fn set_claimed(&self) {
        self.0.is_claimed.store(true, Relaxed);
    }

    /// The pool of a database that has never got a connection from it: the only one of this size that may be its.
    pub(super) fn of_size(size: usize) -> Option<Self> {
        let all: Vec<_> = lock(&ALL).iter().filter_map(Weak::upgrade).collect();
        let mut fitting = all
            .into_iter()
            .filter(|pool| !pool.is_claimed.load(Relaxed) && lock(&pool.taken).len() == size);
        let only = fitting.next()?;
        fitting.next().is_none().then_some(Self(only))
    }

    /// Those outside of transactions that hold a connection for certain, of a pool with so many connections, of which some are
    /// idle and `outside` are held outside of the transactions of its database.
    pub(super) fn holders(&self, size: usize, idle: usize, outside: usize) -> Vec<Taken> {
        let connections = lock(&self.0.taken);
        let mut taken: Vec<_> = connections.values().flatten().cloned().collect();
        let is_certain = self.0.tells_return
            || (connections.len() == size && (idle == 0 || taken.len() == outside));
        drop(connections);
        if !is_certain || taken.len() > outside {
            return Vec::new();
        }
        taken.sort_by_key(|taken| taken.at);
        taken
    }

    /// What findings call it.
    pub(super) fn name(&self) -> &'static str {
        self.0.name
    }

    /// Whether the code that runs took a connection outside of a transaction, and nobody took that since.
    pub(super) fn has_mine(&self) -> bool {
        self.0.outside.load(Relaxed) > 0
            && lock(&self.0.taken).values().flatten().any(Taken::is_mine)
    }
}

impl Taken {
    fn here() -> Self {
        Self {
            who: Who::here(),
            at: now(),
            span: Span::current().metadata(),
            #[cfg(feature = "origins")]
            trace: TRACES.load(Relaxed).then(|| Arc::new(Trace::capture())),
        }
    }

    /// Whether the code that runs took it.
    pub(super) fn is_mine(&self) -> bool {
        self.who == Who::here()
    }

    /// As an error tells it to whoever waits.
    pub(super) fn tell(&self) -> Taker {
        let by = if self.is_mine() {
            "by the code that waits"
        } else {
            match self.who {
                #[cfg(feature = "tokio")]
                Who::Task(_) => "by another task",
                Who::Thread(_) => "by another thread",
            }
        };
        Taker { age: self.age(), taken_by: format!("{by}{}", self.in_span()) }
    }

    /// The span that it was taken in: where a handler has one, its metadata name the handler.
    pub(super) fn in_span(&self) -> String {
        let Some(span) = self.span else { return String::new() };
        match (span.file(), span.line()) {
            (Some(file), Some(line)) => format!(" in span `{}` ({file}:{line})", span.name()),
            _ => format!(" in span `{}`", span.name()),
        }
    }

    pub(super) fn age(&self) -> Duration {
        Duration::from_nanos(now().saturating_sub(self.at))
    }

    /// Where it was taken.
    pub(super) fn site(&self) -> Where {
        #[cfg(feature = "origins")]
        if let Some(trace) = &self.trace {
            return Where::On(Arc::clone(trace));
        }
        Where::Unknown
    }
}

impl Who {
    /// Who runs this code.
    pub(crate) fn here() -> Self {
        if let Some(who) = ON_BEHALF.with_borrow(|who| *who) {
            return who;
        }
        #[cfg(feature = "tokio")]
        if let Some(task) = tokio::task::try_id() {
            return Self::Task(task);
        }
        Self::Thread(thread::current().id())
    }

    /// Runs `body` on this thread as if it ran there.
    pub(crate) fn run<R>(self, body: impl FnOnce() -> R) -> R {
        let _back = Back(ON_BEHALF.replace(Some(self)));
        body()
    }
}

/// What was before is again, also in a panic.
struct Back(Option<Who>);

impl Drop for Back {
    fn drop(&mut self) {
        ON_BEHALF.set(self.0.take());
    }
}

/// A transaction of this database takes a connection of its pool by `checkout`.
pub(crate) async fn taking<F: Future>(database: &Arc<Holdings>, checkout: F) -> F::Output {
    let mut checkout = pin!(checkout);
    poll_fn(|cx| taking_blocking(database, || checkout.as_mut().poll(cx))).await
}

/// The blocking twin of [`taking`].
pub(crate) fn taking_blocking<R>(database: &Arc<Holdings>, checkout: impl FnOnce() -> R) -> R {
    struct Back(Option<Arc<Holdings>>);

    impl Drop for Back {
        fn drop(&mut self) {
            TAKES.set(self.0.take());
        }
    }

    let _back = Back(TAKES.replace(Some(Arc::clone(database))));
    checkout()
}

impl Tracked {
    /// The code that runs takes it.
    pub fn taken(&self) {
        self.takers.note(self.connection);
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.takers.given_back(self.connection);
    }
}

impl fmt::Debug for Takers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Takers({})", self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_tells_what_comes_back_is_certain_of_who_holds_what() {
        let takers = Takers::new("a pool", true);
        takers.taken(1);
        assert!(takers.has_mine());
        let [mine] = &takers.holders(2, 1, 1)[..] else { panic!("one is held") };
        assert!(mine.tell().to_string().ends_with(" ago by the code that waits"));
        assert!(takers.holders(2, 1, 0).is_empty(), "it came back while it was counted");
        let of_another = thread::scope(|scope| scope.spawn(|| takers.has_mine()).join().unwrap());
        assert!(!of_another);
        let behalf = Who::here();
        let on_my_behalf = || behalf.run(|| takers.has_mine());
        assert!(thread::scope(|scope| scope.spawn(on_my_behalf).join().unwrap()));
        takers.given_back(1);
        assert!(!takers.has_mine() && takers.holders(2, 1, 1).is_empty());
    }

    #[test]
    fn a_pool_that_does_not_is_certain_where_the_numbers_are() {
        let takers = Takers::new("a pool", false);
        let connections = [takers.track(), takers.track(), takers.track()];
        connections.iter().for_each(Tracked::taken);
        assert_eq!(takers.holders(3, 0, 3).len(), 3, "none is idle");
        assert!(
            takers.holders(3, 1, 2).is_empty(),
            "one of them came back, and nobody knows which"
        );
        taking_blocking(&Arc::default(), || connections[0].taken());
        assert_eq!(takers.holders(3, 1, 2).len(), 2, "it was the transaction's");
        assert!(takers.holders(4, 1, 2).is_empty(), "there is one that didn't tell");
        let [first, second, third] = connections;
        drop((first, third));
        assert_eq!(takers.holders(1, 0, 1).len(), 1, "the others were closed");
        drop(second);
        assert!(!takers.has_mine());
    }

    #[test]
    fn a_database_that_got_no_connection_yet_knows_the_only_pool_of_its_size() {
        const SIZE: usize = 137;
        let full = || {
            let takers = Takers::new("a pool", false);
            let connections: Vec<_> = (0..SIZE).map(|_| takers.track()).collect();
            connections.iter().for_each(Tracked::taken);
            (takers, connections)
        };
        let (takers, connections) = full();
        assert_eq!(Takers::of_size(SIZE).unwrap().holders(SIZE, 0, SIZE).len(), SIZE);
        let (other, others) = full();
        assert!(Takers::of_size(SIZE).is_none(), "it may be either");
        let database = Arc::<Holdings>::default();
        taking_blocking(&database, || others[0].taken());
        assert!(Takers::of_size(SIZE).is_some(), "the other one belongs to a database");
        drop((takers, connections, other, others));
        assert!(Takers::of_size(SIZE).is_none());
    }
}
