//! What the guard finds, handed to the test that looks for it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use txsafe::guard::{Code, Finding, Policy, Severity};

/// Findings, as they are reported.
pub type Findings = Arc<Mutex<Vec<Finding>>>;

/// A policy that hands its findings out.
#[must_use]
pub fn watching(policy: Policy) -> (Policy, Findings) {
    let findings = Findings::default();
    let receive = Arc::clone(&findings);
    (policy.on_finding(move |found| lock(&receive).push(found.clone())), findings)
}

/// So many findings and no more. Waits for them up to 10 s, because a thread of the guard's looks their lines up.
///
/// # Panics
/// If there are fewer or more.
#[must_use]
pub fn found(findings: &Findings, number: usize) -> Vec<Finding> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let found = lock(findings).clone();
        if found.len() >= number || Instant::now() > until {
            assert_eq!(found.len(), number, "{found:#?}");
            return found;
        }
        thread::yield_now();
    }
}

/// The only finding of this code, among those that are there.
///
/// # Panics
/// If there is none, or another one.
#[must_use]
#[track_caller]
pub fn only(findings: &Findings, code: Code) -> Finding {
    let findings = lock(findings).clone();
    let of_code = findings.iter().filter(|found| found.code == code).collect::<Vec<_>>();
    let [found] = of_code[..] else {
        let told: Vec<_> = findings.iter().map(ToString::to_string).collect();
        panic!("not one {code:?}: {told:?}")
    };
    found.clone()
}

/// Rerun mode, and nothing else that is looked for.
#[must_use]
pub fn only_reruns(policy: Policy) -> Policy {
    let others = Code::ALL.into_iter().filter(|code| *code != Code::RerunDiffers);
    others.fold(policy, |policy, code| policy.severity(code, Severity::Off)).rerun(true)
}

fn lock(findings: &Findings) -> MutexGuard<'_, Vec<Finding>> {
    findings.lock().unwrap_or_else(PoisonError::into_inner)
}
