//! A driver that does what a script says, and notes what was asked of it. It has an async face and a blocking one.

use std::{
    collections::VecDeque,
    panic::Location,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use txsafe::{
    Builder, Error, Failure, Keyed, TxOptions,
    driver::{
        Account, AsyncHook, AsyncSession, AsyncSource, AsyncWork, Begin, BlockingHook, Call,
        CallKey, CallersError, Calls, Connection, Limits, Postgres, Question, RunError, Session,
        SessionOptions, Shared, Source, Standing, Takers, Work, async_hook, blocking_hook, run,
        run_blocking,
    },
};

/// What one attempt meets. Whatever isn't set goes well.
#[derive(Clone, Default)]
pub(crate) struct Attempt {
    pub(crate) open: Option<Failure>,
    pub(crate) begin: Option<Failure>,
    pub(crate) body: Option<&'static str>,
    pub(crate) standing: Option<Standing>,
    pub(crate) commit: Option<Failure>,
    /// Something ran unseen; the server is asked by its mark.
    pub(crate) unseen: bool,
    /// The connection is lent.
    pub(crate) lent: bool,
    pub(crate) rollback: Option<Failure>,
    /// A statement that the connection saw.
    pub(crate) ran: Option<&'static str>,
    /// The closure has it rolled back, whatever it returns.
    pub(crate) rollback_only: bool,
    /// The connection that it takes, as a hook of its pool reports.
    pub(crate) takes: Option<(Takers, u64)>,
}

/// A script, and the notes of its performance.
pub(crate) struct Stage {
    attempts: Mutex<VecDeque<Attempt>>,
    answers: Mutex<VecDeque<Result<Option<String>, Failure>>>,
    pub(crate) notes: Mutex<Vec<String>>,
}

/// The caller's own error: it has lost whatever the database said.
#[derive(Debug)]
pub(crate) enum Opaque {
    Own(&'static str),
    Txsafe(Error),
}

impl From<Error> for Opaque {
    fn from(error: Error) -> Self {
        Self::Txsafe(error)
    }
}

pub(crate) type Played = (Result<Keyed<u32>, Opaque>, Vec<String>);

/// Plays one script on both loops, asserts that they behaved alike, and returns what happened.
pub(crate) fn play_both(
    options: &TxOptions,
    key: Option<&str>,
    attempts: &[Attempt],
    answers: &[Result<Option<String>, Failure>],
) -> Played {
    play_both_on(
        |make| Builder::new(&Postgres, make),
        options,
        key.map(CallKey::new),
        attempts,
        answers,
    )
}

/// The same on a database that is set up so.
pub(crate) fn play_both_on(
    builder: impl Fn(fn(Arc<Shared>) -> Arc<Shared>) -> Builder<Arc<Shared>>,
    options: &TxOptions,
    key: Option<CallKey<'_>>,
    attempts: &[Attempt],
    answers: &[Result<Option<String>, Failure>],
) -> Played {
    let call = || {
        let shared = builder(|shared| shared).build().unwrap();
        let call = Call::new(&shared, "scripted", Location::caller(), Some(options)).unwrap();
        match &key {
            Some(key) => call.key(key.clone()).unwrap(),
            None => call,
        }
    };
    play_both_called(call, attempts, answers)
}

/// The same, called so.
pub(crate) fn play_both_called(
    call: impl Fn() -> Call,
    attempts: &[Attempt],
    answers: &[Result<Option<String>, Failure>],
) -> Played {
    let stage = || {
        Arc::new(Stage {
            attempts: Mutex::new(attempts.iter().cloned().collect()),
            answers: Mutex::new(answers.iter().cloned().collect()),
            notes: Mutex::default(),
        })
    };
    let (on_async, on_blocking) = (stage(), stage());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut work = AsyncPlay { stage: Arc::clone(&on_async), attempts: 0, returned: None };
    let ended = runtime.block_on(run(call(), &mut work));
    let first = heard(ended, work.returned);
    let mut work = BlockingPlay { stage: Arc::clone(&on_blocking), attempts: 0, returned: None };
    let ended = run_blocking(call(), &mut work);
    let second = heard(ended, work.returned);
    let notes = on_async.notes.lock().unwrap().clone();
    assert_eq!(notes, *on_blocking.notes.lock().unwrap(), "the loops differ");
    assert_eq!(said(&first), said(&second), "the loops differ");
    (first, notes)
}

/// What the caller hears, of what its closure returned last.
fn heard(
    ended: Result<Keyed<()>, RunError>,
    returned: Option<Result<u32, Opaque>>,
) -> Result<Keyed<u32>, Opaque> {
    match ended {
        // Also a value, where the attempt was to be rolled back.
        Ok(Keyed::Ran(())) | Err(RunError::Callers) => returned.unwrap().map(Keyed::Ran),
        Ok(Keyed::AlreadyCommitted) => Ok(Keyed::AlreadyCommitted),
        Err(RunError::Ours(error)) => Err(error.into()),
    }
}

fn said(result: &Result<Keyed<u32>, Opaque>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(Opaque::Own(error)) => (*error).to_owned(),
        Err(Opaque::Txsafe(error)) => format!("{:?}", error.kind()),
    }
}

impl Stage {
    fn note(&self, what: impl Into<String>) {
        self.notes.lock().unwrap().push(what.into());
    }

    fn enter(self: &Arc<Self>) -> Result<Actor, Failure> {
        let script = self.attempts.lock().unwrap().pop_front().unwrap_or_default();
        self.note("open");
        if let Some((takers, connection)) = &script.takes {
            takers.taken(*connection);
        }
        match script.open.clone() {
            Some(failure) => Err(failure),
            None => Ok(Actor { stage: Arc::clone(self), script, is_back: false }),
        }
    }

    fn answer(&self, question: Question<'_>) -> Result<Option<String>, Failure> {
        let Question { sql, binds, .. } = question;
        if sql.contains("current_database") {
            // Asked or not, as other tests of this process know databases at the same time or don't.
            return Ok(Some("the one of the script".into()));
        }
        if sql.contains("current_setting('lock_timeout')") {
            // Before each BEGIN, as these connections remember nothing.
            return Ok(Some("0,0,0".into()));
        }
        let verb = if sql.contains("pg_xact_status") {
            "ask status"
        } else if sql.contains("pg_stat_activity") {
            "ask who"
        } else if sql.contains("INSERT INTO txsafe_idempotency_keys") {
            "claim key"
        } else if sql.contains("pg_advisory_xact_lock") {
            "await key"
        } else if sql.contains("fingerprint <>") {
            "compare fingerprint"
        } else if sql.contains("pg_advisory_unlock_all") {
            "unlock"
        } else if sql.contains("txsafe.transaction") {
            "ask mark"
        } else {
            "ask witness"
        };
        self.note(verb);
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(None));
        // A script can't know the mark of an attempt.
        answer
            .map(|answer| answer.map(|answer| answer.replace("MARK", binds.first().unwrap_or(&""))))
    }
}

/// A connection as the script has it; whoever drops it before it is given back closes it.
struct Actor {
    stage: Arc<Stage>,
    script: Attempt,
    is_back: bool,
}

impl Actor {
    fn act(&self, what: &str, failure: &Option<Failure>) -> Result<(), Failure> {
        self.stage.note(what);
        failure.clone().map_or(Ok(()), Err)
    }

    fn begin(&self, begin: &Begin) -> Result<(), Failure> {
        assert!(begin.sql().starts_with("BEGIN NOT DEFERRABLE; SET "));
        self.act("begin", &self.script.begin)
    }

    fn body(&self, number: u32) -> Result<u32, Opaque> {
        self.stage.note(format!("body {number}"));
        self.script.body.map_or(Ok(number), |error| Err(Opaque::Own(error)))
    }

    fn settle(&self) -> Standing {
        self.script.standing.clone().unwrap_or(Standing::Open(None))
    }

    fn give_back(&mut self) {
        self.is_back = true;
        self.stage.note("give back");
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if !self.is_back {
            self.stage.note("close");
        }
    }
}

struct AsyncPlay {
    stage: Arc<Stage>,
    attempts: u32,
    returned: Option<Result<u32, Opaque>>,
}

struct AsyncActor {
    actor: Actor,
    account: Account<AsyncHook>,
}

impl AsyncSource for AsyncPlay {
    type Session = AsyncActor;

    async fn open(&mut self, _options: SessionOptions) -> Result<AsyncActor, Failure> {
        Ok(AsyncActor { actor: self.stage.enter()?, account: Account::new() })
    }

    fn sleep(&self, _pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        let stage = Arc::clone(&self.stage);
        async move { stage.note("pause") }
    }
}

impl AsyncWork for AsyncPlay {
    async fn body(&mut self, session: &mut AsyncActor) -> Result<(), CallersError> {
        self.attempts += 1;
        let number = self.attempts;
        let hook = |what: &'static str| {
            let stage = Arc::clone(&self.stage);
            async_hook(async move || stage.note(format!("{what} {number}")))
        };
        session.account.hooks.push_after_commit(hook("after commit"));
        session.account.hooks.push_after_rollback(hook("after rollback"));
        if let Some(sql) = session.actor.script.ran {
            let now = Instant::now();
            session.account.notes.session.ran(sql, true);
            session.account.trail.push(sql, now, now, None);
        }
        if session.actor.script.lent {
            session.account.trail.runs_unseen();
        }
        if session.actor.script.rollback_only {
            session.account.set_rollback_only();
        }
        let returned = self.returned.insert(session.actor.body(number));
        returned.as_ref().map(|_| ()).map_err(|_| CallersError)
    }

    fn forget(&mut self) {
        self.returned = None;
    }
}

impl AsyncSession for AsyncActor {
    async fn known_limits(&mut self) -> Result<Option<Limits>, Failure> {
        Ok(None)
    }

    fn keep_limits(&mut self, _limits: Limits) {}

    async fn begin(&mut self, begin: &Begin) -> Result<(), Failure> {
        self.actor.begin(begin)
    }

    async fn ask(&mut self, question: Question<'_>) -> Result<Option<String>, Failure> {
        self.actor.stage.answer(question)
    }

    async fn settle(&mut self, _patience: Duration) -> Standing {
        self.actor.settle()
    }

    fn is_unsure(&mut self) -> bool {
        self.actor.script.unseen
    }

    async fn commit(&mut self, _patience: Duration) -> Result<(), Failure> {
        self.actor.act("commit", &self.actor.script.commit)
    }

    async fn rollback(&mut self) -> Result<(), Failure> {
        self.actor.act("rollback", &self.actor.script.rollback)
    }

    fn account(&mut self) -> &mut Account<AsyncHook> {
        &mut self.account
    }

    fn connection(&self) -> Arc<dyn Connection> {
        Arc::<Calls>::default()
    }

    fn give_back(mut self) {
        self.actor.give_back();
    }
}

struct BlockingPlay {
    stage: Arc<Stage>,
    attempts: u32,
    returned: Option<Result<u32, Opaque>>,
}

struct BlockingActor {
    actor: Actor,
    account: Account<BlockingHook>,
}

impl Source for BlockingPlay {
    type Session = BlockingActor;

    fn open(&mut self, _options: SessionOptions) -> Result<BlockingActor, Failure> {
        Ok(BlockingActor { actor: self.stage.enter()?, account: Account::new() })
    }

    fn sleep(&self, _pause: Duration) {
        self.stage.note("pause");
    }
}

impl Work for BlockingPlay {
    fn body(&mut self, session: &mut BlockingActor) -> Result<(), CallersError> {
        self.attempts += 1;
        let number = self.attempts;
        let hook = |what: &'static str| {
            let stage = Arc::clone(&self.stage);
            blocking_hook(move || stage.note(format!("{what} {number}")))
        };
        session.account.hooks.push_after_commit(hook("after commit"));
        session.account.hooks.push_after_rollback(hook("after rollback"));
        if let Some(sql) = session.actor.script.ran {
            let now = Instant::now();
            session.account.notes.session.ran(sql, true);
            session.account.trail.push(sql, now, now, None);
        }
        if session.actor.script.lent {
            session.account.trail.runs_unseen();
        }
        if session.actor.script.rollback_only {
            session.account.set_rollback_only();
        }
        let returned = self.returned.insert(session.actor.body(number));
        returned.as_ref().map(|_| ()).map_err(|_| CallersError)
    }

    fn forget(&mut self) {
        self.returned = None;
    }
}

impl Session for BlockingActor {
    fn known_limits(&mut self) -> Result<Option<Limits>, Failure> {
        Ok(None)
    }

    fn keep_limits(&mut self, _limits: Limits) {}

    fn begin(&mut self, begin: &Begin) -> Result<(), Failure> {
        self.actor.begin(begin)
    }

    fn ask(&mut self, question: Question<'_>) -> Result<Option<String>, Failure> {
        self.actor.stage.answer(question)
    }

    fn settle(&mut self, _patience: Duration) -> Standing {
        self.actor.settle()
    }

    fn is_unsure(&mut self) -> bool {
        self.actor.script.unseen
    }

    fn commit(&mut self) -> Result<(), Failure> {
        self.actor.act("commit", &self.actor.script.commit)
    }

    fn rollback(&mut self) -> Result<(), Failure> {
        self.actor.act("rollback", &self.actor.script.rollback)
    }

    fn account(&mut self) -> &mut Account<BlockingHook> {
        &mut self.account
    }

    fn connection(&self) -> Arc<dyn Connection> {
        Arc::<Calls>::default()
    }

    fn give_back(mut self) {
        self.actor.give_back();
    }
}
