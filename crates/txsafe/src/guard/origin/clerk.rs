//! The thread that looks names up, and then tells of findings. In between it has a look at who waits for long.

use super::{
    names::{Awaited, Names},
    question::Question,
    trace::Trace,
};
use crate::{
    clock::{self, times::Wait},
    guard::{
        code::Code,
        finding::{Finding, Site},
        scope::Scope,
        standstill,
    },
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

/// So many findings wait for their names; more of them are told without.
const MOST_WAITING: usize = 1_024;

/// From one look at those who wait to the next.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Without any transaction for so many looks, it sleeps.
const LOOKS_AT_NOTHING: u32 = 10;

/// The thread sleeps until somebody sends it something.
static SLEEPS: AtomicBool = AtomicBool::new(true);

enum Job {
    Tell(Box<Case>),
    /// There are transactions to be looked at.
    LookOut,
}

/// A finding whose site isn't known yet.
struct Case {
    scope: Arc<Scope>,
    finding: Finding,
    subject: String,
    trace: Arc<Trace>,
    /// It was seen before that line.
    is_behind: bool,
    /// Held until it has been told.
    _question: Question,
}

/// Tells of a finding once its site has been looked up; the scope has a question open until then.
pub(in crate::guard) fn ask(
    scope: &Arc<Scope>,
    finding: Finding,
    subject: String,
    (trace, is_behind): (Arc<Trace>, bool),
) {
    let question = Question::open(scope);
    let scope = Arc::clone(scope);
    let case = Case { scope, finding, subject, trace, is_behind, _question: question };
    let job = Job::Tell(Box::new(case));
    let job = match clerk() {
        None => job,
        Some(clerk) => match clerk.try_send(job) {
            Ok(()) => return,
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
        },
    };
    if let Job::Tell(case) = job {
        case.scope.guard.tell(&case.scope, case.finding, case.subject);
    }
}

/// A transaction begins, which may come to wait for long.
pub(in crate::guard) fn look_out() {
    if SLEEPS.load(SeqCst)
        && let Some(clerk) = clerk()
    {
        // With so many jobs in its queue it doesn't sleep.
        let _ = clerk.try_send(Job::LookOut);
    }
}

fn clerk() -> Option<&'static SyncSender<Job>> {
    static CLERK: OnceLock<Option<SyncSender<Job>>> = OnceLock::new();
    CLERK
        .get_or_init(|| {
            let (sender, jobs) = sync_channel(MOST_WAITING);
            let thread = thread::Builder::new().name("txsafe-guard".into());
            thread.spawn(move || work(&jobs)).ok().map(|_| sender)
        })
        .as_ref()
}

fn work(jobs: &Receiver<Job>) {
    SLEEPS.store(false, SeqCst);
    let mut names = Names::default();
    let (mut looked, mut in_vain) = (clock::now(), 0);
    loop {
        let job = if in_vain < LOOKS_AT_NOTHING {
            jobs.recv_timeout(BETWEEN_LOOKS.saturating_sub(clock::since(looked)))
        } else {
            sleep(jobs)
        };
        match job {
            Ok(Job::Tell(case)) => guarded(|| tell(*case, &mut names)),
            Ok(Job::LookOut) => in_vain = 0,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if clock::since(looked) >= BETWEEN_LOOKS {
            let mut found_any = false;
            guarded(|| found_any = standstill::look(&mut names));
            in_vain = if found_any { 0 } else { in_vain + 1 };
            looked = clock::now();
        }
    }
}

/// Sleeps, but for those who began before that was known.
fn sleep(jobs: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
    SLEEPS.store(true, SeqCst);
    let job =
        if standstill::is_any_live() { Ok(Job::LookOut) } else { jobs.recv().map_err(Into::into) };
    SLEEPS.store(false, SeqCst);
    job
}

/// A handler of the application that panics has said so, and must not end the thread.
fn guarded(work: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(work)));
}

fn tell(case: Case, names: &mut Names) {
    let Case { scope, mut finding, subject, trace, is_behind, _question } = case;
    let told = names.told(trace);
    if told.yields && finding.code == Code::ExternalWait {
        // It had given way to others: it was the runtime that kept it waiting.
        if let (Some(ledger), Some(waited)) = (&scope.ledger, finding.waited) {
            ledger.correct(Wait::External, Wait::Scheduling, waited);
        }
        return;
    }
    finding.other_connection = !is_behind && told.awaited != Awaited::Other;
    finding.site = told.site.clone().map(|site| match is_behind {
        // Nobody is to blame for what comes behind.
        true => Site { called: None, is_behind, ..site },
        false => site,
    });
    scope.guard.tell(&scope, finding, subject);
}
