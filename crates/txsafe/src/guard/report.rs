//! From what was seen to what is told: rules, severities, repetitions.

use super::{
    code::Code,
    day::Day,
    events,
    finding::{Finding, Site},
    kept::Kept,
    policy::{Policy, Severity},
    rerun::RerunMode,
    scope::{Scope, Telling},
    todo::Todo,
};
#[cfg(feature = "origins")]
use super::{
    origin::{self, Trace},
    takers::want_traces,
};
use crate::{
    clock::{
        self,
        excused::{Excuse, Excusing},
        times::{Ledger, Times},
    },
    invalid::InvalidSetting,
};
use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// So many sites are remembered; what is found at others is counted, and told once for all of them and each code.
const MOST_SITES: usize = 1_024;

/// What becomes of the findings of one database.
pub(crate) struct Guard {
    pub(super) policy: Policy,
    pub(super) rerun: RerunMode,
    todo: Option<Todo>,
    sites: Mutex<HashMap<Key, Told>>,
}

/// Findings that are the same but for their time.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    code: Code,
    transaction: Arc<str>,
    /// The line, or what is called, where no line is known.
    site: String,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    occurrences: u64,
    last: Instant,
}

/// The times so far, with the wait in them that goes on.
fn times(_scope: &Scope, ledger: &Ledger) -> Times {
    #[cfg_attr(
        not(feature = "origins"),
        expect(unused_mut, reason = "nobody tells of what goes on")
    )]
    let mut times = ledger.times();
    #[cfg(feature = "origins")]
    {
        // While it is its own statement that is waited for, it is work of somebody else that is told of.
        if !_scope.connection.is_waiting() {
            times.external += _scope.standing.unaccounted();
        }
    }
    times
}

/// What it holds. Several statements may hold the same.
fn held(scope: &Scope) -> Vec<String> {
    let mut locks = scope.locks.held();
    let mut seen = HashSet::new();
    locks.retain(|lock| seen.insert(lock.clone()));
    locks
}

/// What the rules say of a finding.
enum Allowed {
    Not,
    /// By a rule that has expired.
    NoMore(String),
    Now,
}

/// What was seen.
pub(super) struct Seen {
    pub(super) code: Code,
    pub(super) what: String,
    /// What tells it from others where no site is known: the name of a call, say.
    pub(super) subject: String,
    pub(super) site: Where,
    pub(super) waited: Option<Duration>,
}

/// What is known of it but for its site.
pub(super) struct Found {
    finding: Finding,
    subject: String,
}

/// Where it was seen.
#[derive(PartialEq)]
pub(super) enum Where {
    Unknown,
    Known(Site),
    /// Somewhere on this stack, whose names are still to be looked up.
    #[cfg(feature = "origins")]
    On(Arc<Trace>),
    /// Before the line on this stack.
    #[cfg(feature = "origins")]
    Before(Arc<Trace>),
}

impl Where {
    /// On the stack of this thread.
    pub(super) fn here(_policy: &Policy) -> Self {
        #[cfg(feature = "origins")]
        if _policy.origins {
            return Self::On(Arc::new(Trace::capture()));
        }
        Self::Unknown
    }

    /// Somewhere before that.
    pub(super) fn behind(self) -> Self {
        match self {
            Self::Unknown => Self::Unknown,
            Self::Known(site) => Self::Known(Site { is_behind: true, ..site }),
            #[cfg(feature = "origins")]
            Self::On(trace) | Self::Before(trace) => Self::Before(trace),
        }
    }
}

impl Guard {
    /// Checks the policy, and reads its to-do file.
    pub(crate) fn new(policy: Policy) -> Result<Self, InvalidSetting> {
        policy.validate()?;
        #[cfg(feature = "origins")]
        if policy.origins {
            want_traces();
        }
        let todo = policy.todo_file.as_deref().map(Todo::open).transpose()?;
        let rerun = RerunMode::of(&policy)?;
        Ok(Self { policy, rerun, todo, sites: Mutex::default() })
    }

    /// Whether findings of this code are any.
    pub(crate) fn sees(&self, code: Code) -> bool {
        self.policy.severity_of(code) != Severity::Off
    }

    /// Whether findings of this code fail their transaction.
    #[cfg(feature = "origins")]
    pub(super) fn fails(&self, code: Code) -> bool {
        self.policy.severity_of(code) == Severity::Error
    }

    /// Whether waits are accounted.
    pub(crate) fn accounts(&self) -> bool {
        self.policy.accounts
    }

    /// Tells of what was seen, at once or when its site is known; notes with the scope if that fails the transaction.
    #[cold]
    pub(super) fn report(&self, scope: &Arc<Scope>, seen: Seen) {
        self.report_at(clock::now(), scope, seen);
    }

    /// Tells of what was seen before.
    pub(super) fn report_at(&self, at: Instant, scope: &Arc<Scope>, mut seen: Seen) {
        let site = mem::replace(&mut seen.site, Where::Unknown);
        if let Some(found) = self.found(at, scope, seen) {
            self.place(scope, found, site);
        }
    }

    /// What is known of it now, wherever it was seen.
    pub(super) fn found(&self, at: Instant, scope: &Arc<Scope>, seen: Seen) -> Option<Found> {
        let _excusing = Excusing::start(Excuse::Own);
        let severity = self.policy.severity_of(seen.code);
        if severity == Severity::Off || scope.wraps_a_test {
            return None;
        }
        let (statements, last_sql) = scope.connection.statements();
        let subject = match (&last_sql, seen.subject) {
            // What waits behind another statement is another thing.
            (Some(sql), subject) if subject.is_empty() => sql.clone(),
            (_, subject) => subject,
        };
        let (what, locks) = match seen.code {
            // It is about all that ran.
            Code::RerunDiffers => (seen.what, Vec::new()),
            _ if scope.has_ended() => {
                (format!("{}, when its transaction had ended already", seen.what), Vec::new())
            }
            _ => (seen.what, held(scope)),
        };
        let finding = Finding {
            code: seen.code,
            severity,
            what,
            transaction: Arc::clone(&scope.transaction),
            place: scope.place,
            site: None,
            elapsed: at.saturating_duration_since(scope.began),
            waited: seen.waited,
            times: scope.ledger.as_ref().map(|ledger| times(scope, ledger)),
            statements,
            last_sql,
            locks,
            other_connection: false,
            occurrences: 1,
            expired: None,
        };
        Some(Found { finding, subject })
    }

    /// Tells of what was found there, at once or when that is known.
    pub(super) fn place(&self, scope: &Arc<Scope>, found: Found, site: Where) {
        let (_telling, _excusing) = (Telling::start(), Excusing::start(Excuse::Own));
        let Found { finding, subject } = found;
        match site {
            Where::Unknown => self.tell(scope, finding, subject),
            Where::Known(site) => {
                self.tell(scope, Finding { site: Some(site), ..finding }, subject);
            }
            #[cfg(feature = "origins")]
            Where::On(trace) => origin::ask(scope, finding, subject, (trace, false)),
            #[cfg(feature = "origins")]
            Where::Before(trace) => origin::ask(scope, finding, subject, (trace, true)),
        }
    }

    /// Tells of a finding of which everything is known, unless a rule allows it.
    pub(super) fn tell(&self, scope: &Scope, mut finding: Finding, subject: String) {
        match self.allowed(&finding) {
            Allowed::Not => {}
            Allowed::NoMore(rule) => finding.expired = Some(rule),
            Allowed::Now => return,
        }
        if self.todo.as_ref().is_some_and(|todo| todo.has(&finding, &subject)) {
            finding.severity = Severity::Trace;
        }
        let site = finding.site.as_ref().map_or(subject, ToString::to_string);
        let is_new = self.count(&mut finding, &site);
        // Raised before anybody is told, who might panic.
        let is_raised = finding.severity == Severity::Error && scope.raise(&finding, site);
        if let Some(findings) = self.policy.findings.as_ref().filter(|_| is_raised) {
            findings.add(&finding);
        }
        let is_shown = is_new || is_raised;
        events::finding(&finding, is_shown && self.policy.receive.is_none());
        if let Some(receive) = self.policy.receive.as_ref().filter(|_| is_shown) {
            // Its panic is no finding: it has been printed, and neither fails the transaction nor ends a thread of ours.
            drop(catch_unwind(AssertUnwindSafe(|| receive(&finding))));
        }
    }

    /// What the rules say.
    fn allowed(&self, finding: &Finding) -> Allowed {
        let mut allowed = Allowed::Not;
        for rule in self.policy.allow.iter().filter(|rule| rule.matches(finding)) {
            match rule.expired(Day::today()) {
                Some(rule) => allowed = Allowed::NoMore(rule),
                None => return Allowed::Now,
            }
        }
        allowed
    }

    /// Counts an occurrence; whether it is time to tell of it.
    fn count(&self, finding: &mut Finding, site: &str) -> bool {
        let (code, transaction) = (finding.code, Arc::clone(&finding.transaction));
        let mut key = Key { code, transaction, site: site.to_owned() };
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = sites.len() >= MOST_SITES;
        if is_full && !sites.contains_key(&key) {
            key = Key { code: finding.code, transaction: "".into(), site: String::new() };
        }
        let now = clock::now();
        match sites.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Told { occurrences: 1, last: now });
                true
            }
            Entry::Occupied(mut entry) => {
                let told = entry.get_mut();
                told.occurrences += 1;
                finding.occurrences = told.occurrences;
                let is_due = |after| now.saturating_duration_since(told.last) >= after;
                let is_due = self.policy.again_after.is_some_and(is_due);
                if is_due {
                    told.last = now;
                }
                is_due
            }
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Raises the findings that fail a transaction, if there are any: here, where no code but the run loop's is on the stack.
#[inline]
pub(crate) fn raise(scope: &Arc<Scope>) {
    Kept::tell(scope);
    if scope.has_raised() {
        fail(&scope.take_raised());
    }
}

#[cold]
fn fail(findings: &[String]) {
    if !findings.is_empty() {
        panic!("{}", findings.join("\n"));
    }
}
