//! What an attempt leaves behind beside its result: hooks to run and the trail.

use super::{
    hooks::{self, AsyncHook, BlockingHook, Hook, Hooks},
    spawn::in_place_or_spawned,
};
use crate::{
    clock::times::Ledger,
    dialect::{
        condition::Condition, failure::Failure, leaving::leaves_transaction, own_schema::OwnSchema,
        postgres::session_state,
    },
    error::{outcome::Outcome, trail::Trail},
    guard::{
        gaps::Gaps,
        holding::{Holding, Stage},
        session_log::SessionLog,
    },
    locks::{
        graph::log::LockLog,
        held::{self, HeldLocks},
        lock::Locks,
        relation::LockOrder,
    },
    retry::remedy::{Cause, Phase},
    telemetry::events,
};
use std::{
    fmt::{self, Write},
    sync::Arc,
};
use tracing::Instrument;

/// What becomes of a connection when nothing is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    GiveBack,
    /// Statements left something on its session.
    Close,
    /// An advisory lock is among that. A server notices only some time later that a connection was closed, and until then
    /// the next attempt would wait for the lock.
    UnlockAndClose,
}

/// The account of one attempt, kept by the adapter's session and read by the run loop.
#[derive(Debug)]
pub struct Account<H> {
    /// The transaction's name.
    pub transaction: Arc<str>,
    /// Hooks that depend on how the attempt ends.
    pub hooks: Hooks<H>,
    /// `after_rollback` hooks of savepoints that were rolled back: they run however the attempt ends.
    pub due: Vec<H>,
    /// The statements of the closure.
    pub trail: Trail,
    /// The locks that were taken through types.
    pub locks: HeldLocks,
    /// Where what the connection sees is noted, besides.
    pub notes: Notes,
    rollback_only: bool,
    /// That the attempt holds its connection.
    holding: Option<Holding>,
}

/// A driver whose transactions lead to the account of their attempt.
pub trait HasAccount: Locks {
    /// What its transactions queue for their end.
    type Hook: Hook;

    /// The account of the attempt.
    fn account<'t, O: LockOrder, Held>(
        tx: &'t mut Self::Tx<'_, O, Held>,
    ) -> &'t mut Account<Self::Hook>;
}

/// Where a connection notes what it sees of an attempt, statement by statement. By default nothing is.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Notes {
    /// What statements lock.
    pub locks: LockLog,
    /// What goes by between them, told by blocking connections.
    pub gaps: Gaps,
    /// Where time goes.
    pub ledger: Option<Arc<Ledger>>,
    /// What statements leave on the session.
    pub session: SessionLog,
}

impl Notes {
    /// A statement came to its end, well or not.
    pub fn ran(&self, sql: &str, is_ok: bool) {
        self.session.ran(sql, is_ok);
        if is_ok {
            self.locks.granted();
        }
    }

    /// For adapters: a statement's text with its bind values, where it is worth to be made because the statement may lock,
    /// leave something on the session, or end the transaction. What is written first is its SQL, and if that isn't worth it, the rest isn't made.
    #[must_use]
    pub fn worth_showing(&self, query: &dyn fmt::Display) -> Option<String> {
        struct IfWorth<'n>(String, &'n Notes);

        impl Write for IfWorth<'_> {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                let Self(text, notes) = self;
                let is_worth = !text.is_empty()
                    || notes.locks.is_worth_reading(part)
                    || notes.session.may_change(part)
                    || leaves_transaction(part);
                if !is_worth {
                    return Err(fmt::Error);
                }
                text.push_str(part);
                Ok(())
            }
        }

        let mut text = IfWorth(String::new(), self);
        write!(text, "{query}").ok()?;
        Some(text.0)
    }
}

/// Where an attempt stood when a savepoint was set.
#[derive(Debug)]
pub(crate) struct Mark {
    hooks: (hooks::Mark, hooks::Mark),
    locks: held::Mark,
    session: session_state::Mark,
    /// How many savepoints were open before.
    depth: usize,
}

impl<H> Account<H> {
    /// An empty account.
    #[must_use]
    pub fn new() -> Self {
        Self {
            transaction: "".into(),
            hooks: Hooks::new(),
            due: Vec::new(),
            trail: Trail::default(),
            locks: HeldLocks::default(),
            notes: Notes::default(),
            rollback_only: false,
            holding: None,
        }
    }

    /// The attempt is to be rolled back, even if its closure returns `Ok`.
    pub fn set_rollback_only(&mut self) {
        self.rollback_only = true;
    }

    pub(crate) fn is_rollback_only(&self) -> bool {
        self.rollback_only
    }

    /// The attempt begins, of the transaction of this name, and these are its notes.
    pub(crate) fn begin(
        &mut self,
        transaction: &Arc<str>,
        own_schema: Option<&OwnSchema>,
        notes: Notes,
    ) {
        self.transaction = Arc::clone(transaction);
        self.locks.set_own_schema(own_schema);
        self.locks.watch(notes.locks.clone());
        self.notes = notes;
    }

    /// The attempt holds its connection.
    pub(crate) fn holds(&mut self, holding: Holding) {
        self.holding = Some(holding);
    }

    /// The attempt has come so far.
    pub(crate) fn enters(&self, stage: Stage) {
        if let Some(holding) = &self.holding {
            holding.enters(stage);
        }
    }

    /// Takes the account of an attempt that has ended. That its connection is held stays with the session.
    pub(crate) fn take(&mut self) -> Self {
        let holding = self.take_holding();
        std::mem::replace(self, Self { holding, ..Self::new() })
    }

    /// For adapters: takes what says that the connection is held, where that lasts longer than the session.
    pub fn take_holding(&mut self) -> Option<Holding> {
        self.holding.take()
    }

    /// How many savepoints are open.
    pub(crate) fn savepoints(&self) -> usize {
        self.notes.locks.savepoints()
    }

    /// A savepoint was set where so many were open.
    pub(crate) fn savepoint_set(&self, depth: usize) -> Mark {
        self.notes.locks.savepoint_set(depth);
        Mark {
            hooks: self.hooks.mark(),
            locks: self.locks.mark(),
            session: self.notes.session.mark(),
            depth,
        }
    }

    /// A savepoint was released that was set at `mark`.
    pub(crate) fn savepoint_released(&self, mark: &Mark) {
        self.notes.locks.savepoint_ended(mark.depth, true);
    }

    /// A savepoint was rolled back that was set at `mark`.
    pub(crate) fn savepoint_rolled_back(&mut self, mark: Mark) {
        self.hooks.savepoint_rolled_back(mark.hooks, &mut self.due);
        self.locks.rolled_back_to(mark.locks);
        self.notes.session.rolled_back_to(mark.session);
        self.notes.locks.savepoint_ended(mark.depth, false);
    }

    /// What becomes of the connection, the attempt having ended by COMMIT or by ROLLBACK.
    pub(crate) fn parting(&self, is_committed: bool) -> Parting {
        let session = &self.notes.session;
        if session.may_give_back(is_committed) {
            return Parting::GiveBack;
        }
        events::closing_for_session_state(&self.transaction);
        if session.is_locked() { Parting::UnlockAndClose } else { Parting::Close }
    }

    /// Takes the hooks to be run, in order, now that the attempt ended.
    pub(crate) fn take_hooks(&mut self, committed: bool) -> Vec<H> {
        let mut hooks = std::mem::take(&mut self.due);
        hooks.extend(self.hooks.take(committed));
        hooks
    }
}

impl Account<AsyncHook> {
    /// For adapters: COMMIT came to its answer after its caller had gone away, and the connection was given back.
    pub async fn conclude_abandoned(mut self, answer: Result<(), Failure>) {
        drop(self.take_holding());
        let failure = answer.as_ref().err();
        let outcome = match failure {
            None => Outcome::Committed,
            Some(failure) if is_unknown(failure) => Outcome::Unknown,
            Some(_) => Outcome::RolledBack,
        };
        events::abandoned_commit(&self.transaction, outcome, failure);
        match outcome {
            Outcome::Committed => run_hooks(vec![(self, true)]).await,
            Outcome::RolledBack => run_hooks(vec![(self, false)]).await,
            Outcome::Unknown => {}
        }
    }
}

/// Runs the hooks of attempts that ended, each of which committed or not. If the caller goes away meanwhile, the rest of them runs
/// in the background.
pub(crate) async fn run_hooks(ended: Vec<(Account<AsyncHook>, bool)>) {
    let hooks = ended.into_iter().map(|(mut account, committed)| {
        let hooks = account.take_hooks(committed);
        (account.transaction, hooks)
    });
    let hooks: Vec<_> = hooks.filter(|(_, hooks)| !hooks.is_empty()).collect();
    if hooks.is_empty() {
        return;
    }
    let run = async move {
        for (transaction, hooks) in hooks {
            hooks::run_async(hooks, |message| events::hook_failed(&transaction, message)).await;
        }
    };
    in_place_or_spawned(Box::pin(run.in_current_span())).await;
}

/// Whether a COMMIT that was answered so may have committed: what it stood for was no more open, or nobody knows.
fn is_unknown(failure: &Failure) -> bool {
    failure.condition() == Condition::NoTransaction
        || Cause::of(failure, Phase::Commit) == Cause::CommitInDoubt
}

impl Account<BlockingHook> {
    /// The blocking twin of the above.
    pub(crate) fn run_hooks_blocking(mut self, committed: bool) {
        let hooks = self.take_hooks(committed);
        hooks::run_blocking(hooks, |message| events::hook_failed(&self.transaction, message));
    }
}

impl<H> Default for Account<H> {
    fn default() -> Self {
        Self::new()
    }
}
