//! Findings of a test, wherever its transactions ran.

use super::finding::Finding;
use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// So many are kept, each with its texts; more of them help nobody.
const MOST: usize = 100;

/// Fails the test that drops it, if a transaction of its databases failed by a finding: in a task of its own, too.
///
/// The panic of a finding fails the task in which the transaction ran. Where that is a worker, or a server's task for a connection,
/// it may be that no test waits for it. So a test keeps a `Findings`, and the [policies](super::Policy::findings) of its databases put
/// into it each finding of severity [`Error`](super::Severity::Error), once for each site.
///
/// When it is dropped it panics with the texts of all that are in it. It prints nothing and doesn't panic where the thread panics
/// already, which is so if the transaction ran in the test's own task. It doesn't wait: a test whose worker may still run in a
/// transaction should stop the worker first.
///
/// # Examples
/// ```
/// use txsafe::guard::{Code, Findings, Policy, Rehearsal, external_io};
///
/// # futures_util::future::FutureExt::now_or_never(async {
/// let findings = Findings::new(); // before the databases: what is declared first is dropped last
/// let stage = Rehearsal::new(Policy::test().findings(&findings))?;
///
/// let job = stage.transaction("pay", external_io("stripe.charge", async { 200 }));
/// let job = futures_util::future::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(job));
/// assert!(job.await.is_err()); // a worker goes on after a job that panicked
///
/// // Otherwise the test would fail here: `findings` holds what the job did.
/// assert_eq!(findings.take()[0].code, Code::ExternalCall);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
#[must_use = "it fails the test in which it is dropped: bind it to a name, `_findings` say"]
pub struct Findings {
    list: Arc<List>,
}

/// What a policy puts findings into.
#[derive(Default)]
pub(super) struct List(Mutex<Vec<Finding>>);

impl Findings {
    /// With nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes out what is in it, so that it doesn't fail the test: for a test that expects findings.
    #[must_use]
    pub fn take(&self) -> Vec<Finding> {
        self.list.take()
    }

    pub(super) fn list(&self) -> Arc<List> {
        Arc::clone(&self.list)
    }
}

impl Drop for Findings {
    fn drop(&mut self) {
        let findings = self.list.take();
        if findings.is_empty() || thread::panicking() {
            return;
        }
        let texts: Vec<_> = findings.iter().map(ToString::to_string).collect();
        let (findings, them) = match texts.len() {
            1 => ("1 finding".to_owned(), "it"),
            n => (format!("{n} findings"), "them"),
        };
        panic!(
            "{findings} failed a transaction, and no panic of it reached this test; if the test expects {them}, call \
             `Findings::take`\n{}",
            texts.join("\n"),
        );
    }
}

impl fmt::Debug for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Findings").field(&*self.list.lock()).finish()
    }
}

impl List {
    /// Unless the same is in it already.
    pub(super) fn add(&self, finding: &Finding) {
        let mut list = self.lock();
        if list.len() < MOST && !list.iter().any(|other| is_same(other, finding)) {
            list.push(finding.clone());
        }
    }

    fn take(&self) -> Vec<Finding> {
        mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Finding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(one: &Finding, other: &Finding) -> bool {
    let of = |it: &Finding| (it.code, it.place, Arc::clone(&it.transaction), it.site.clone());
    let what = |it: &Finding| it.site.is_none().then(|| it.what.clone());
    of(one) == of(other) && what(one) == what(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{Code, Policy, Rehearsal, Severity, external_io};
    use futures_util::FutureExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// A job with a finding, of a worker that goes on after a panic.
    fn job(policy: &Policy, call: &'static str) {
        let stage = Rehearsal::new(policy.clone()).unwrap();
        let body = stage.transaction(call, external_io(call, async {}));
        drop(catch_unwind(AssertUnwindSafe(|| body.now_or_never())));
    }

    fn text_of_drop(findings: Findings) -> Option<String> {
        let panic = catch_unwind(AssertUnwindSafe(|| drop(findings))).err()?;
        Some(*panic.downcast::<String>().unwrap())
    }

    #[test]
    fn fail_the_test_that_drops_them() {
        let findings = Findings::new();
        let policy = Policy::test().findings(&findings);
        job(&policy, "stripe.charge");
        job(&policy, "stripe.charge"); // another database's, at the same line
        job(&policy, "smtp.send");

        let text = text_of_drop(findings).unwrap();

        let heading = "2 findings failed a transaction, and no panic of it reached this test; if the test expects them, call \
                       `Findings::take`\nTXS002 external call: called stripe.charge, which took ";
        assert!(text.starts_with(heading), "{text}");
        assert!(text.contains("stripe.charge") && text.contains("smtp.send"), "{text}");
        assert_eq!(text.matches("help: ").count(), 2, "{text}");
    }

    #[test]
    fn are_only_those_that_fail_a_transaction() {
        let findings = Findings::new();
        let warned = Policy::test().severity(Code::ExternalCall, Severity::Warn);
        job(&warned.findings(&findings), "stripe.charge");
        assert_eq!(text_of_drop(findings), None);
    }

    #[test]
    fn that_were_taken_fail_nothing() {
        let findings = Findings::new();
        job(&Policy::test().findings(&findings), "stripe.charge");
        assert_eq!(findings.take().len(), 1);
        assert_eq!(text_of_drop(findings), None);
    }

    #[test]
    fn let_a_panic_of_the_test_itself_pass() {
        let panicked = catch_unwind(|| {
            let findings = Findings::new();
            job(&Policy::test().findings(&findings), "stripe.charge");
            panic!("the test's own");
        });
        assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "the test's own");
    }
}
