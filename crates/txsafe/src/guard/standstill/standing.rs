//! What a transaction waits for, and since when: said by its task, read by others.

use crate::{
    clock::{self, excused::lock, times::now},
    guard::{
        code::Code,
        finding::Site,
        origin::Awaited,
        report::{Seen, Where},
        scope::Scope,
        wake::Alert,
    },
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// The wait of one scope, if there is one.
#[derive(Default)]
pub(in crate::guard) struct Standing(Mutex<State>);

#[derive(Default)]
struct State {
    wait: Option<Wait>,
    /// When the last poll ended, if none goes on.
    polled: Option<u64>,
}

/// A wait that goes on.
#[derive(Clone)]
pub(super) struct Wait {
    /// When it began; tells it from other waits of its scope.
    pub(super) since: u64,
    pub(super) alert: Arc<Alert>,
    /// For what, and where, once that was looked up.
    pub(super) awaited: Option<(Awaited, Option<Site>)>,
    pub(super) progress: Progress,
}

/// How far a wait has been looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    New,
    /// The server is to be asked whether it is for the transaction's own locks.
    Suspected,
    /// It was asked, or there is nothing to be asked.
    Examined,
    /// A finding was told of it.
    Told,
}

impl Standing {
    /// A poll begins. If the task wasn't woken by what is waited for, the wait goes on behind it. Whether it has been told of.
    pub(in crate::guard) fn polled(&self, was_woken: bool) -> bool {
        let mut state = lock(&self.0);
        let is_told = state.wait.as_ref().is_some_and(|wait| wait.progress == Progress::Told);
        state.polled = None;
        if was_woken {
            state.wait = None;
        }
        is_told
    }

    /// A poll has ended in waiting.
    pub(in crate::guard) fn waits(&self, now: u64, alert: &Arc<Alert>) {
        let mut state = lock(&self.0);
        state.polled = Some(now);
        match &mut state.wait {
            Some(wait) => wait.alert = Arc::clone(alert),
            none => {
                let alert = Arc::clone(alert);
                *none = Some(Wait { since: now, alert, awaited: None, progress: Progress::New });
            }
        }
    }

    /// How long nobody has accounted for.
    pub(in crate::guard) fn unaccounted(&self) -> Duration {
        let polled = lock(&self.0).polled;
        Duration::from_nanos(polled.map_or(0, |polled| now().saturating_sub(polled)))
    }

    /// The wait, if it has gone on for `at_least`.
    pub(super) fn wait(&self, at_least: Duration) -> Option<Wait> {
        let state = lock(&self.0);
        let wait = state.wait.as_ref().filter(|_| state.polled.is_some())?;
        let waited = Duration::from_nanos(now().saturating_sub(wait.since));
        (waited >= at_least).then(|| wait.clone())
    }

    /// Changes what is known of the wait that began at `since`, if it goes on; whether it does.
    pub(super) fn note(&self, since: u64, change: impl FnOnce(&mut Wait)) -> bool {
        let mut state = lock(&self.0);
        let wait = state.wait.as_mut().filter(|wait| wait.since == since);
        wait.map(change).is_some()
    }

    /// The wait that the server is to be asked about; it counts as examined from now on.
    pub(super) fn take_suspect(&self) -> Option<Wait> {
        let mut state = lock(&self.0);
        let wait = state.wait.as_mut().filter(|wait| wait.progress == Progress::Suspected)?;
        wait.progress = Progress::Examined;
        Some(wait.clone())
    }
}

impl Wait {
    /// Tells of it, if it goes on.
    pub(super) fn tell(&self, scope: &Arc<Scope>, code: Code, what: String) {
        let is_seen = scope.guard.sees(code);
        if !is_seen || !scope.standing.note(self.since, |wait| wait.progress = Progress::Told) {
            return;
        }
        let site = self.awaited.as_ref().and_then(|(_, site)| site.clone());
        let site = site.map_or(Where::Unknown, Where::Known);
        let waited = Some(self.waited());
        scope.guard.report(scope, Seen { code, what, subject: String::new(), site, waited });
    }

    /// So long.
    fn waited(&self) -> Duration {
        Duration::from_nanos(now().saturating_sub(self.since))
    }

    /// Since the transaction began, when it did.
    pub(super) fn began_after(&self, scope: &Scope) -> Duration {
        clock::since(scope.began).saturating_sub(self.waited())
    }
}
