//! The thread that looks names up, and then tells of findings.

use super::{
    names::{Told, told_by},
    question::Question,
    trace::Trace,
};
use crate::{
    guard::{finding::Finding, scope::Scope},
    hold::times::Wait,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

/// So many findings wait for their names; more of them are told without.
const MOST_WAITING: usize = 1_024;

/// So many stacks are remembered with their names.
const MOST_KNOWN: usize = 1_024;

/// A finding whose site isn't known yet.
struct Case {
    scope: Arc<Scope>,
    finding: Finding,
    subject: String,
    trace: Arc<Trace>,
    /// Held until it has been told.
    _question: Question,
}

/// Tells of a finding once its site has been looked up; the scope has a question open until then.
pub(in crate::guard) fn ask(
    scope: &Arc<Scope>,
    finding: Finding,
    subject: String,
    trace: Arc<Trace>,
) {
    let question = Question::open(scope);
    let case = Case { scope: Arc::clone(scope), finding, subject, trace, _question: question };
    let case = match clerk() {
        None => case,
        Some(clerk) => match clerk.try_send(case) {
            Ok(()) => return,
            Err(TrySendError::Full(case) | TrySendError::Disconnected(case)) => case,
        },
    };
    case.scope.guard.tell(&case.scope, case.finding, case.subject);
}

fn clerk() -> Option<&'static SyncSender<Case>> {
    static CLERK: OnceLock<Option<SyncSender<Case>>> = OnceLock::new();
    CLERK
        .get_or_init(|| {
            let (sender, cases) = sync_channel(MOST_WAITING);
            let thread = thread::Builder::new().name("txsafe-guard".into());
            thread.spawn(move || work(&cases)).ok().map(|_| sender)
        })
        .as_ref()
}

fn work(cases: &Receiver<Case>) {
    let mut known = HashMap::<Arc<Trace>, Told>::new();
    for case in cases {
        let Case { scope, mut finding, subject, trace, _question } = case;
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        let told = known.entry(trace).or_insert_with_key(|trace| told_by(trace)).clone();
        if told.yields {
            // It had given way to others: it was the runtime that kept it waiting.
            if let (Some(ledger), Some(waited)) = (&scope.ledger, finding.waited) {
                ledger.correct(Wait::External, Wait::Scheduling, waited);
            }
            continue;
        }
        finding.site = told.site;
        scope.guard.tell(&scope, finding, subject);
    }
}
