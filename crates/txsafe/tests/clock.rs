//! Both run loops on a clock of the test's: days of pauses take no time. A program of its own, because a process has one clock.

use std::{
    panic::Location,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use txsafe::{
    Budget, Builder, ErrorKind, Failure, GiveUp, Report, RetryPolicy, TxOptions,
    driver::{
        Account, AsyncHook, AsyncSession, AsyncSource, AsyncWork, Begin, Call, CallersError, Calls,
        Connection, Limits, Postgres, Question, RunError, SessionOptions, Standing, run, set_clock,
    },
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static SECONDS: AtomicU64 = AtomicU64::new(0);

fn now() -> Instant {
    *START + Duration::from_secs(SECONDS.load(Relaxed))
}

/// A database that nobody can reach.
struct Unreachable;

/// It is never opened.
struct Never;

impl AsyncSource for Unreachable {
    type Session = Never;

    async fn open(&mut self, _options: SessionOptions) -> Result<Never, Failure> {
        Err(Failure::lost(None, "connection refused"))
    }

    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        SECONDS.fetch_add(pause.as_secs(), Relaxed);
        std::future::ready(())
    }
}

impl AsyncWork for Unreachable {
    async fn body(&mut self, _session: &mut Never) -> Result<(), CallersError> {
        unreachable!("there is no session")
    }
}

impl AsyncSession for Never {
    async fn known_limits(&mut self) -> Result<Option<Limits>, Failure> {
        unreachable!()
    }

    fn keep_limits(&mut self, _limits: Limits) {
        unreachable!()
    }

    async fn begin(&mut self, _begin: &Begin) -> Result<(), Failure> {
        unreachable!()
    }

    async fn ask(&mut self, _question: Question<'_>) -> Result<Option<String>, Failure> {
        unreachable!()
    }

    async fn settle(&mut self, _patience: Duration) -> Standing {
        unreachable!()
    }

    fn is_unsure(&mut self) -> bool {
        unreachable!()
    }

    async fn commit(&mut self, _patience: Duration) -> Result<(), Failure> {
        unreachable!()
    }

    async fn rollback(&mut self) -> Result<(), Failure> {
        unreachable!()
    }

    fn account(&mut self) -> &mut Account<AsyncHook> {
        unreachable!()
    }

    fn connection(&self) -> Arc<dyn Connection> {
        Arc::<Calls>::default()
    }

    fn give_back(self) {
        unreachable!()
    }
}

#[test]
fn days_of_pauses_take_no_time() {
    set_clock(now).unwrap();
    assert!(set_clock(now).is_err(), "a process has one");
    let began = Instant::now();
    let reports = Arc::new(Mutex::new(Vec::<Report>::new()));
    let hear = Arc::clone(&reports);
    let shared = Builder::new(&Postgres, |shared| shared)
        .budget(Budget::new(1_000_000))
        .on_report(move |report| hear.lock().unwrap().push(report.clone()))
        .build()
        .unwrap();
    let policy = RetryPolicy::new()
        .max_attempts(1_000)
        .max_elapsed(100 * DAY)
        .pauses(|| std::iter::repeat(DAY));
    let options = TxOptions::new().timeout(30 * DAY + DAY / 2).retry(policy);
    let call = Call::new(&shared, "patient", Location::caller(), Some(&options)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let Err(RunError::Ours(error)) = runtime.block_on(run(call, &mut Unreachable)) else {
        panic!("nobody answers");
    };
    assert_eq!(*error.kind(), ErrorKind::GaveUp(GiveUp::Deadline), "{error}");
    let report = reports.lock().unwrap().pop().unwrap();
    assert_eq!((report.attempts, report.elapsed), (31, 30 * DAY));
    assert!(began.elapsed() < Duration::from_secs(5));
}
