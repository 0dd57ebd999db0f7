//! How much the guard looks at, and what follows from what it finds.

use super::{
    allow::Allow,
    code::Code,
    finding::Finding,
    findings::{Findings, List},
};
use crate::invalid::InvalidSetting;
use std::{env, fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

/// The variable that chooses the policy of a database that wasn't given one.
pub const VARIABLE: &str = "TXSAFE_GUARD";

/// What follows from a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "from nothing to the worst")]
pub enum Severity {
    /// Nothing: it isn't even counted.
    Off,
    /// It is counted, and an event of `tracing` at level TRACE.
    Trace,
    /// It is counted, and an event at level WARN.
    Warn,
    /// The transaction panics, and is so rolled back; a test that waits for it fails. At the end of the poll in which it was
    /// found, never in the midst of a client's code.
    Error,
}

/// How much the guard looks at, and what follows from what it finds.
///
/// | | looks at | costs | what follows |
/// |---|---|---|---|
/// | [`off`](Self::off) | nothing | nothing | nothing |
/// | [`production`](Self::production) | marked calls and client layers, second connections, what stays on a session, and whether the transaction idles | some ns a poll, and an entry in a list | a warning, at most once a minute for each site |
/// | [`staging`](Self::staging) | and what the transaction waits for | a tenth of a microsecond a poll | the same |
/// | [`dev`](Self::dev) | and who wakes it and what stands still (feature `origins`), and polls that block or compute | microseconds a poll | a warning, once for each site |
/// | [`test`](Self::test) | the same, however short | the same | the transaction fails |
///
/// Default: what [`VARIABLE`] says: `off`, `production`, `staging`, `dev` or `test`. Where it isn't set, `dev` in programs
/// built with debug assertions, which is what `cargo build` and `cargo test` do, and `production` in others.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use txsafe::guard::{Allow, Code, Policy, Severity};
///
/// let policy = Policy::dev()
///     .severity(Code::SlowPoll, Severity::Off)
///     .external_wait(Duration::from_millis(5))
///     .allow(Allow::new("fraud check decides over the transfer, ADR-12").transaction("transfer"))
///     .on_finding(|finding| eprintln!("{finding}"));
/// # let _ = policy;
/// ```
#[derive(Clone)]
pub struct Policy {
    pub(super) accounts: bool,
    pub(super) origins: bool,
    pub(super) clocks: bool,
    severities: [Severity; Code::ALL.len()],
    pub(super) external_wait: Duration,
    pub(super) blocking_call: Duration,
    pub(super) slow_poll: Duration,
    pub(super) again_after: Option<Duration>,
    pub(super) allow: Vec<Allow>,
    pub(super) todo_file: Option<PathBuf>,
    pub(super) receive: Option<Receive>,
    pub(super) findings: Option<Arc<List>>,
    /// What the code says of rerun mode; otherwise, the environment does.
    pub(super) rerun: Option<bool>,
    /// It is for tests and development, where transactions may be run again.
    pub(super) may_rerun: bool,
}

pub(super) type Receive = Arc<dyn Fn(&Finding) + Send + Sync>;

impl Policy {
    /// Looks at nothing.
    #[must_use]
    pub fn off() -> Self {
        Self {
            accounts: false,
            origins: false,
            clocks: false,
            severities: [Severity::Off; Code::ALL.len()],
            external_wait: Duration::from_millis(10),
            blocking_call: Duration::from_millis(5),
            slow_poll: Duration::from_millis(10),
            again_after: Some(Duration::from_secs(60)),
            allow: Vec::new(),
            todo_file: None,
            receive: None,
            findings: None,
            rerun: None,
            may_rerun: false,
        }
    }

    /// For production: what is told by markers and layers costs nothing. Nothing is looked for besides, but for transactions
    /// that idle, by a thread that looks once a second.
    #[must_use]
    pub fn production() -> Self {
        Self { severities: Code::ALL.map(|code| code.severity(false)), ..Self::off() }
    }

    /// For staging: each wait is accounted. What is waited for longer than 10 ms, and isn't the database, is a finding.
    #[must_use]
    pub fn staging() -> Self {
        Self { accounts: true, ..Self::production() }
    }

    /// For development: a warning for each site, with the line that waited. Waits count from 1 ms, blocking polls from 5 ms
    /// and computing ones from 10 ms.
    #[must_use]
    pub fn dev() -> Self {
        Self {
            origins: true,
            clocks: true,
            external_wait: Duration::from_millis(1),
            again_after: None,
            may_rerun: true,
            ..Self::staging()
        }
    }

    /// For tests: a finding fails the transaction. Any wait counts, and a poll that blocks for 1 ms.
    ///
    /// Without the feature `origins`, waits count from 1 ms: a task that only gives way to others, as by tokio's `yield_now`,
    /// is told from one that waits by the stack.
    #[must_use]
    pub fn test() -> Self {
        Self {
            severities: Code::ALL.map(|code| code.severity(true)),
            external_wait: Duration::from_millis(if cfg!(feature = "origins") { 0 } else { 1 }),
            blocking_call: Duration::from_millis(1),
            ..Self::dev()
        }
    }

    /// What the environment says; see [`VARIABLE`].
    ///
    /// # Errors
    /// The variable is set to something else.
    pub fn from_env() -> Result<Self, InvalidSetting> {
        match env::var(VARIABLE) {
            Ok(name) if name.is_empty() => Ok(Self::of_build()),
            Ok(name) => name.parse(),
            Err(env::VarError::NotPresent) => Ok(Self::of_build()),
            Err(env::VarError::NotUnicode(name)) => Err(unknown(&name.to_string_lossy())),
        }
    }

    fn of_build() -> Self {
        if cfg!(debug_assertions) { Self::dev() } else { Self::production() }
    }

    /// What follows from findings of one code.
    #[must_use]
    pub fn severity(mut self, code: Code, severity: Severity) -> Self {
        self.severities[code.index()] = severity;
        self
    }

    /// From how long on a wait for something that isn't the database is a finding.
    #[must_use]
    pub fn external_wait(mut self, from: Duration) -> Self {
        self.external_wait = from;
        self
    }

    /// From how long on a poll that blocks its thread is a finding. On blocking connections it is what goes by between two
    /// statements without the processor.
    #[must_use]
    pub fn blocking_call(mut self, from: Duration) -> Self {
        self.blocking_call = from;
        self
    }

    /// From how long on a poll that computes is a finding.
    #[must_use]
    pub fn slow_poll(mut self, from: Duration) -> Self {
        self.slow_poll = from;
        self
    }

    /// Allows findings by a rule, which has a reason.
    #[must_use]
    pub fn allow(mut self, rule: Allow) -> Self {
        self.allow.push(rule);
        self
    }

    /// For an old code base: findings that are listed in this file follow nothing, and only new ones do. With the variable
    /// [`TXSAFE_GUARD_TODO`](super::todo::TODO_VARIABLE) set to `write`, new ones are added to it instead, so that the file is
    /// made by a run of the tests. It has a line for each code, transaction, file and what is called there, in alphabetical
    /// order, and is to be committed. A relative path starts where the program does, for tests at the package; the files in it
    /// are named as seen from its folder.
    ///
    /// Unless it is written, `build()` refuses a file with a line that is there twice, or whose source file has gone; not the
    /// latter where none of the sources is there. Which other lines are dead shows a file that is made anew by all tests: see
    /// [the guide](super#allowing-honestly).
    #[must_use]
    pub fn todo_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.todo_file = Some(path.into());
        self
    }

    /// Hands out each finding that is told, in place of the event of `tracing`. The call must be quick, and may come from a
    /// thread of the guard's own. If it panics, that is printed by the panic hook, and changes nothing.
    #[must_use]
    pub fn on_finding(mut self, receive: impl Fn(&Finding) + Send + Sync + 'static) -> Self {
        self.receive = Some(Arc::new(receive));
        self
    }

    /// Puts each finding that fails a transaction into `findings` as well, which fails the test that drops it: for transactions in
    /// tasks that no test waits for. Several policies may share it.
    #[must_use]
    pub fn findings(mut self, findings: &Findings) -> Self {
        self.findings = Some(findings.list());
        self
    }

    /// Whether the first good attempt of each transaction that could be retried is rolled back, and run again: in tests, to see
    /// that its closure can. A second run that differs in its statements, or returns an error, is a finding:
    /// [`RerunDiffers`](super::Code::RerunDiffers).
    ///
    /// The policies `test` and `dev` take it; with the others `build()` refuses `true`. The second run has no pause, takes nothing
    /// of the retry budget, and isn't counted as an attempt. Not run again are `transaction_once`, `begin`, `transaction_on`, a
    /// `RetryPolicy` of one attempt, a closure that ran before in an attempt that failed, a transaction inside another one,
    /// [`test_wrapper`](crate::TxOptions::test_wrapper), what isn't to be committed (`dry_run`, `set_rollback_only`), and one whose
    /// deadline is near.
    ///
    /// Default: what the variable [`TXSAFE_RERUN`](super::rerun::RERUN_VARIABLE) says, `1` or `0`; with other policies than `test`
    /// and `dev` it is ignored, and `build()` warns of that. Where it isn't set: `false`.
    ///
    /// # Examples
    /// ```
    /// let policy = txsafe::guard::Policy::test().rerun(true);
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn rerun(mut self, rerun: bool) -> Self {
        self.rerun = Some(rerun);
        self
    }

    #[cfg(test)]
    pub(super) fn clocks(mut self, clocks: bool) -> Self {
        self.clocks = clocks;
        self
    }

    /// Whether some finding would fail a transaction.
    #[cfg(feature = "origins")]
    pub(super) fn may_fail(&self) -> bool {
        self.severities.contains(&Severity::Error)
    }

    pub(super) fn severity_of(&self, code: Code) -> Severity {
        self.severities[code.index()]
    }

    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
        self.allow.iter().try_for_each(Allow::validate)
    }
}

impl FromStr for Policy {
    type Err = InvalidSetting;

    fn from_str(name: &str) -> Result<Self, InvalidSetting> {
        match name {
            "off" => Ok(Self::off()),
            "production" => Ok(Self::production()),
            "staging" => Ok(Self::staging()),
            "dev" => Ok(Self::dev()),
            "test" => Ok(Self::test()),
            _ => Err(unknown(name)),
        }
    }
}

fn unknown(name: &str) -> InvalidSetting {
    let cure = "use `off`, `production`, `staging`, `dev` or `test`";
    InvalidSetting::new(VARIABLE, format!("`{name}`"), cure)
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("accounts", &self.accounts)
            .field("origins", &self.origins)
            .field("clocks", &self.clocks)
            .field("severities", &self.severities)
            .field("external_wait", &self.external_wait)
            .field("blocking_call", &self.blocking_call)
            .field("slow_poll", &self.slow_poll)
            .field("again_after", &self.again_after)
            .field("allow", &self.allow)
            .field("todo_file", &self.todo_file)
            .field("rerun", &self.rerun)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_chosen_by_name() {
        for name in ["off", "production", "staging", "dev", "test"] {
            assert!(name.parse::<Policy>().is_ok(), "{name}");
        }
        let error = "prod".parse::<Policy>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`TXSAFE_GUARD` can't be `prod`: use `off`, `production`, `staging`, `dev` or `test`",
        );
    }

    #[test]
    fn a_test_fails_by_findings_that_a_developer_is_warned_of() {
        let follows = |policy: &Policy| policy.severity_of(Code::ExternalWait);
        assert_eq!(follows(&Policy::off()), Severity::Off);
        assert_eq!(follows(&Policy::dev()), Severity::Warn);
        assert_eq!(follows(&Policy::test()), Severity::Error);
        let tolerant = Policy::test().severity(Code::ExternalWait, Severity::Trace);
        assert_eq!(follows(&tolerant), Severity::Trace);
    }
}
