//! A database that knows no aborted state: a failed statement leaves its transaction open, another failure ends it, and what runs
//! behind that is committed by itself. Both run loops are right for it.

use std::{
    panic::Location,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use txsafe::{
    Builder, Condition, Effect, Error, ErrorCode, ErrorKind, Failure, Keyed, Outcome, TxOptions,
    driver::{
        Account, Ask, AsyncHook, AsyncSession, AsyncSource, AsyncWork, Begin, BeginSettings,
        BlockingHook, Call, CallersError, Calls, Connection, Dialect, Identity, Limits, Mark,
        Question, RunError, Session, SessionOptions, Source, Standing, Work, run, run_blocking,
    },
};

/// The dialect of that database.
#[derive(Debug)]
struct Toy;

impl Dialect for Toy {
    fn system(&self) -> &'static str {
        "toy"
    }

    fn begin(&self, _settings: &BeginSettings<'_>, mark: Mark) -> Begin {
        Begin::new("BEGIN".into(), mark, "")
    }

    fn question(&self, ask: Ask) -> Option<&'static str> {
        (ask == Ask::Mark).then_some("RELEASE; SAVEPOINT")
    }

    fn identity(&self, _mark: &Mark, answer: &Result<Option<String>, Failure>) -> Option<Identity> {
        Some(if answer.is_ok() { Identity::Ours } else { Identity::NotOpen })
    }
}

/// What the closure of one attempt does.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write,
    /// It fails, and the transaction goes on.
    Violates,
    /// It fails, and the database rolls the transaction back.
    Deadlocks,
    /// The same, and the adapter doesn't see it.
    DeadlocksUnseen,
    /// A write that passes by the adapter.
    WritesUnseen,
}

/// The database, with one connection.
#[derive(Debug, Default)]
struct Server {
    committed: u32,
    /// What the open transaction has written.
    open: Option<u32>,
    attempts: u32,
    given_back: u32,
}

impl Server {
    fn write(&mut self) {
        match &mut self.open {
            Some(written) => *written += 1,
            None => self.committed += 1,
        }
    }

    fn end(&mut self) -> Result<u32, Failure> {
        self.open.take().ok_or_else(no_transaction)
    }
}

/// The steps of one attempt, all of whose failures are swallowed, and what the closure returns.
type Attempt = (&'static [Step], Result<(), CallersError>);

/// The closure, attempt by attempt.
#[derive(Debug, Clone)]
struct Play {
    server: Arc<Mutex<Server>>,
    attempts: &'static [Attempt],
}

/// What an adapter sees of a connection.
struct Seen {
    server: Arc<Mutex<Server>>,
    failure: Option<Failure>,
    is_unsure: bool,
}

fn no_transaction() -> Failure {
    let (condition, effect) = (Condition::NoTransaction, Effect::StatementOnly);
    Failure::of_code(ErrorCode::Vendor(1305), condition, effect, "no transaction is open")
}

impl Play {
    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    fn open(&self) -> Seen {
        Seen { server: Arc::clone(&self.server), failure: None, is_unsure: false }
    }

    fn body(&self, seen: &mut Seen) -> Result<(), CallersError> {
        let mut server = self.server();
        let (steps, result) = self.attempts[server.attempts as usize];
        server.attempts += 1;
        for step in steps {
            match step {
                Step::DeadlocksUnseen => {
                    seen.is_unsure = true;
                    server.open = None;
                }
                Step::WritesUnseen => {
                    seen.is_unsure = true;
                    server.write();
                }
                // Behind a failure the adapter sends nothing more: it might be committed by itself.
                _ if seen.failure.is_some() => {}
                Step::Write => server.write(),
                Step::Violates => {
                    let (condition, effect) = (Condition::Other, Effect::StatementOnly);
                    let code = ErrorCode::Vendor(1062);
                    seen.failure = Some(Failure::of_code(code, condition, effect, "duplicate"));
                }
                Step::Deadlocks => {
                    server.open = None;
                    let (condition, effect) = (Condition::Deadlock, Effect::TransactionEnded);
                    let code = ErrorCode::Vendor(1213);
                    seen.failure = Some(Failure::of_code(code, condition, effect, "deadlock"));
                }
            }
        }
        result
    }
}

impl Seen {
    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    fn begin(&self) -> Result<(), Failure> {
        assert!(self.server().open.replace(0).is_none(), "the attempt before has left it open");
        Ok(())
    }

    fn ask(&self) -> Result<Option<String>, Failure> {
        if self.server().open.is_some() { Ok(None) } else { Err(no_transaction()) }
    }

    fn standing(&self) -> Standing {
        match &self.failure {
            Some(failure) => Standing::Aborted(failure.clone()),
            None => Standing::Open(None),
        }
    }

    fn commit(&self) -> Result<(), Failure> {
        let mut server = self.server();
        let written = server.end()?;
        server.committed += written;
        Ok(())
    }

    fn rollback(&self) -> Result<(), Failure> {
        self.server().end().map(drop)
    }

    fn give_back(&self) {
        self.server().given_back += 1;
    }
}

/// Both faces of a connection.
struct Conn<H>(Seen, Account<H>);

impl AsyncSession for Conn<AsyncHook> {
    async fn known_limits(&mut self) -> Result<Option<Limits>, Failure> {
        Ok(None)
    }

    fn keep_limits(&mut self, _limits: Limits) {}

    async fn begin(&mut self, _begin: &Begin) -> Result<(), Failure> {
        self.0.begin()
    }

    async fn ask(&mut self, _question: Question<'_>) -> Result<Option<String>, Failure> {
        self.0.ask()
    }

    async fn settle(&mut self, _patience: Duration) -> Standing {
        self.0.standing()
    }

    fn is_unsure(&mut self) -> bool {
        self.0.is_unsure
    }

    async fn commit(&mut self, _patience: Duration) -> Result<(), Failure> {
        self.0.commit()
    }

    async fn rollback(&mut self) -> Result<(), Failure> {
        self.0.rollback()
    }

    fn account(&mut self) -> &mut Account<AsyncHook> {
        &mut self.1
    }

    fn connection(&self) -> Arc<dyn Connection> {
        Arc::<Calls>::default()
    }

    fn give_back(self) {
        self.0.give_back();
    }
}

impl Session for Conn<BlockingHook> {
    fn known_limits(&mut self) -> Result<Option<Limits>, Failure> {
        Ok(None)
    }

    fn keep_limits(&mut self, _limits: Limits) {}

    fn begin(&mut self, _begin: &Begin) -> Result<(), Failure> {
        self.0.begin()
    }

    fn ask(&mut self, _question: Question<'_>) -> Result<Option<String>, Failure> {
        self.0.ask()
    }

    fn settle(&mut self, _patience: Duration) -> Standing {
        self.0.standing()
    }

    fn is_unsure(&mut self) -> bool {
        self.0.is_unsure
    }

    fn commit(&mut self) -> Result<(), Failure> {
        self.0.commit()
    }

    fn rollback(&mut self) -> Result<(), Failure> {
        self.0.rollback()
    }

    fn account(&mut self) -> &mut Account<BlockingHook> {
        &mut self.1
    }

    fn connection(&self) -> Arc<dyn Connection> {
        Arc::<Calls>::default()
    }

    fn give_back(self) {
        self.0.give_back();
    }
}

impl AsyncSource for Play {
    type Session = Conn<AsyncHook>;

    async fn open(&mut self, _options: SessionOptions) -> Result<Conn<AsyncHook>, Failure> {
        Ok(Conn(Play::open(self), Account::new()))
    }

    fn sleep(&self, _pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        std::future::ready(())
    }
}

impl AsyncWork for Play {
    async fn body(&mut self, session: &mut Conn<AsyncHook>) -> Result<(), CallersError> {
        Play::body(self, &mut session.0)
    }
}

impl Source for Play {
    type Session = Conn<BlockingHook>;

    fn open(&mut self, _options: SessionOptions) -> Result<Conn<BlockingHook>, Failure> {
        Ok(Conn(Play::open(self), Account::new()))
    }

    fn sleep(&self, _pause: Duration) {}
}

impl Work for Play {
    fn body(&mut self, session: &mut Conn<BlockingHook>) -> Result<(), CallersError> {
        Play::body(self, &mut session.0)
    }
}

/// What is committed, and whether the last connection was given back.
type Left = (u32, bool);

/// Plays the attempts on both loops, which must do alike; returns how the transaction ended and what is left.
fn play(attempts: &'static [Attempt]) -> (Result<Keyed<()>, RunError>, Left) {
    let [on_async, on_blocking] = [(); 2].map(|()| {
        let shared = Builder::new(&Toy, |shared| shared).build().unwrap();
        let options = TxOptions::new();
        let call = Call::new(&shared, "toy", Location::caller(), Some(&options)).unwrap();
        (call, Play { server: Arc::default(), attempts })
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (call, mut play) = on_async;
    let first = runtime.block_on(run(call, &mut play));
    let left = |play: &Play| {
        let server = play.server();
        assert_eq!(server.attempts as usize, attempts.len());
        (server.committed, server.given_back == server.attempts)
    };
    let left_by_async = left(&play);
    let (call, mut play) = on_blocking;
    let second = run_blocking(call, &mut play);
    assert_eq!(left(&play), left_by_async, "the loops differ");
    assert_eq!(said(&first), said(&second), "the loops differ");
    (first, left_by_async)
}

fn said(ended: &Result<Keyed<()>, RunError>) -> String {
    match ended {
        Err(RunError::Ours(error)) => format!("{:?}", error.kind()),
        ended => format!("{ended:?}"),
    }
}

fn ours(ended: Result<Keyed<()>, RunError>) -> Error {
    match ended {
        Err(RunError::Ours(error)) => error,
        ended => panic!("{ended:?}"),
    }
}

#[test]
fn a_swallowed_failure_is_not_committed_although_the_database_would() {
    let (ended, left) = play(&[(&[Step::Write, Step::Violates, Step::Write], Ok(()))]);
    let error = ours(ended);
    assert_eq!(*error.kind(), ErrorKind::RolledBackAtCommit);
    assert!(error.to_string().contains("duplicate (code 1062)"), "{error}");
    assert_eq!(left, (0, true));
}

#[test]
fn a_failure_that_ends_the_transaction_is_tried_again_on_the_same_connection() {
    const DIES: &[Step] = &[Step::Write, Step::Deadlocks, Step::Write];
    const SWALLOWED: &[Attempt] = &[(DIES, Ok(())), (&[Step::Write], Ok(()))];
    const RETURNED: &[Attempt] = &[(DIES, Err(CallersError)), (&[Step::Write], Ok(()))];
    for attempts in [SWALLOWED, RETURNED] {
        // ROLLBACK is refused, because nothing is open: it is over, and in no doubt.
        let (ended, left) = play(attempts);
        assert_eq!(ended.unwrap(), Keyed::Ran(()));
        assert_eq!(left, (1, true));
    }
}

#[test]
fn what_ran_unseen_behind_the_end_makes_the_outcome_unknown() {
    const SEEN: &[Step] = &[Step::Deadlocks, Step::WritesUnseen];
    const UNSEEN: &[Step] = &[Step::DeadlocksUnseen, Step::WritesUnseen];
    const SWALLOWED: &[Attempt] = &[(SEEN, Ok(()))];
    const RETURNED: &[Attempt] = &[(SEEN, Err(CallersError))];
    const UNSEEN_SWALLOWED: &[Attempt] = &[(UNSEEN, Ok(()))];
    const UNSEEN_RETURNED: &[Attempt] = &[(UNSEEN, Err(CallersError))];
    for attempts in [SWALLOWED, RETURNED, UNSEEN_SWALLOWED, UNSEEN_RETURNED] {
        let (ended, (committed, _)) = play(attempts);
        assert_eq!(ours(ended).outcome(), Outcome::Unknown);
        assert_eq!(committed, 1, "by itself, and not a second time");
    }
}
