//! How an attempt starts: from a connection of the pool to a transaction that has its key.

use super::{
    claim::Taken,
    course::Plan,
    ending::{Ended, Step, began_nothing, begin_failed, claim_failed, step},
    finish::end,
    holders::open,
    progress::Progress,
};
use crate::{
    clock,
    dialect::{Ask, Dialect, begin::Begin, failure::Failure, limits::Limits},
    driver::{
        account::Account,
        hooks::AsyncHook,
        session::{AsyncSession, AsyncSource, Question},
    },
    guard::holding::Stage,
    retry::remedy::Phase,
};
use std::{ops::ControlFlow, time::Instant};

pub(super) type Attempted = (Ended, Account<AsyncHook>);

/// A transaction that was begun, on its connection.
pub(super) struct Begun<S> {
    pub(super) session: S,
    pub(super) begin: Begin,
    pub(super) began: Instant,
}

impl<S> Begun<S> {
    /// On the same connection, in another form.
    pub(super) fn map<T>(self, form: impl FnOnce(S) -> T) -> Begun<T> {
        let Self { session, begin, began } = self;
        Begun { session: form(session), begin, began }
    }
}

/// From a connection of the pool to a transaction that has begun and claimed its key; or how the attempt has ended before.
pub(super) async fn start<C: AsyncSource>(
    progress: &mut Progress<AsyncHook>,
    plan: Plan,
    source: &mut C,
) -> ControlFlow<Attempted, Begun<C::Session>> {
    let not_started =
        |phase, failure, account| ControlFlow::Break((Ended::NotStarted(phase, failure), account));
    let settings = progress.settings();
    let options = settings.of_session(progress.remaining());
    let opened = open(&progress.call, source, options, Stage::Begins).await;
    progress.checked_out();
    let mut session = match opened {
        Ok(session) => session,
        Err(failure) => {
            let failure = progress.with_holders(failure);
            return not_started(Phase::Checkout, failure, Account::new());
        }
    };
    progress.call.begin(session.account());
    if let Some(sql) = progress.asks_for_its_database() {
        let answer = session.ask(Question::rare(sql)).await.unwrap_or_default();
        if let Some(outer) = progress.identified(answer) {
            session.give_back();
            return ControlFlow::Break((Ended::Nested(outer), Account::new()));
        }
    }
    let limits = match limits_of(&mut session, progress.dialect()).await {
        Ok(limits) => limits,
        Err(failure) => return not_started(Phase::Begin, failure, Account::new()),
    };
    let begin = progress.begin(plan, limits);
    let began = clock::now();
    if let Err(failure) = session.begin(&begin).await {
        if began_nothing(&failure) {
            session.give_back();
        }
        let failure = begin_failed(failure, progress.call.on_held);
        return not_started(Phase::Begin, failure, Account::new());
    }
    match prepare(progress, &mut session).await {
        Ok(None) => {}
        Ok(Some(taken)) => {
            end(session, Step::RollBack, progress.dialect()).await;
            return ControlFlow::Break((Ended::KeyTaken(taken), Account::new()));
        }
        Err(failure) => {
            let standing = session.settle(settings.answer_timeout).await;
            let account = end(session, step(false, &standing), progress.dialect()).await;
            return not_started(Phase::Begin, claim_failed(failure, standing), account);
        }
    }
    session.account().enters(Stage::Runs);
    ControlFlow::Continue(Begun { session, begin, began })
}

/// The limits that the session has of its own, read where the connection doesn't know them; `None` if the database doesn't say.
async fn limits_of<S: AsyncSession>(
    session: &mut S,
    dialect: &dyn Dialect,
) -> Result<Option<Limits>, Failure> {
    let Some(sql) = dialect.question(Ask::Limits) else { return Ok(None) };
    if let Some(known) = session.known_limits().await? {
        return Ok(Some(known));
    }
    match session.ask(Question::rare(sql)).await {
        Ok(answer) => {
            let limits = answer.and_then(|answer| dialect.limits(&answer));
            limits.into_iter().for_each(|limits| session.keep_limits(limits));
            Ok(limits)
        }
        Err(failure) if failure.is_lost() => Err(failure),
        // What is wrong with the connection is BEGIN's to find out; a database that can't say has nothing to keep to.
        Err(_) => Ok(None),
    }
}

/// Claims the key of the call, if it has one, and then makes the application's own settings, if they aren't made yet. Returns
/// why the key can't be claimed.
async fn prepare<S: AsyncSession>(
    progress: &mut Progress<AsyncHook>,
    session: &mut S,
) -> Result<Option<Taken>, Failure> {
    let Some(binds) = progress.key_binds() else {
        if progress.call.in_sandbox {
            make_settings(progress, session).await?;
        }
        return Ok(None);
    };
    let Some(mut claim) = progress.claim(&binds) else { return Ok(None) };
    let taken = loop {
        progress.awaits_key = claim.awaits_key();
        let answer = session.ask(claim.question()).await?;
        if let ControlFlow::Break(taken) = claim.takes(answer.as_deref()) {
            break taken;
        }
    };
    if taken.is_some() {
        return Ok(taken);
    }
    progress.key_was_new();
    make_settings(progress, session).await?;
    Ok(None)
}

/// Makes the application's own settings, where BEGIN's message didn't.
async fn make_settings<S: AsyncSession>(
    progress: &mut Progress<AsyncHook>,
    session: &mut S,
) -> Result<(), Failure> {
    if let Some((sql, binds)) = progress.sets_behind_claim() {
        session.ask(Question::new(sql, &binds)).await?;
    }
    Ok(())
}
