//! Rerun mode: which databases run closures a second time, and what is told of a second run that differs.

use super::{
    code::Code,
    events,
    policy::Policy,
    report::{Guard, Seen, Where},
    scope::Scope,
};
use crate::invalid::InvalidSetting;
use std::{
    env,
    sync::{Arc, LazyLock},
};

/// The variable that turns rerun mode on (`1`) or off (`0`, empty or unset) for databases whose policy doesn't say. Under `test` and
/// `dev`, `build()` rejects any other value; under other policies it ignores the variable and warns. It is read once in a process.
pub const RERUN_VARIABLE: &str = "TXSAFE_RERUN";

static VALUE: LazyLock<String> = LazyLock::new(|| {
    env::var_os(RERUN_VARIABLE).unwrap_or_default().to_string_lossy().into_owned()
});

/// Whether a database runs closures a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RerunMode {
    Off,
    /// As this wants it.
    On(&'static str),
    /// The environment wants it, and the policy isn't one of tests.
    Refused,
}

impl RerunMode {
    /// That of a policy, in this process.
    pub(super) fn of(policy: &Policy) -> Result<Self, InvalidSetting> {
        Self::wanted(policy, &VALUE)
    }

    fn wanted(policy: &Policy, value: &str) -> Result<Self, InvalidSetting> {
        const IN_CODE: &str = "`Policy::rerun`";
        const IN_ENVIRONMENT: &str = "`TXSAFE_RERUN=1`";
        match (policy.rerun, value) {
            (Some(false), _) | (None, "" | "0") => Ok(Self::Off),
            (Some(true), _) if !policy.may_rerun => Err(InvalidSetting::new(
                "rerun",
                "true",
                "it rolls back what would be committed, which is for tests: use `Policy::test()` or `Policy::dev()`",
            )),
            (Some(true), _) => Ok(Self::On(IN_CODE)),
            // A variable that has strayed into production doesn't keep it from starting.
            (None, _) if !policy.may_rerun => Ok(Self::Refused),
            (None, "1") => Ok(Self::On(IN_ENVIRONMENT)),
            (None, other) => Err(InvalidSetting::new(
                RERUN_VARIABLE,
                format!("`{other}`"),
                "use `1` to run closures of transactions a second time, or `0`",
            )),
        }
    }
}

impl Guard {
    /// Whether closures are run a second time.
    pub(crate) fn reruns(&self) -> bool {
        matches!(self.rerun, RerunMode::On(_))
    }

    /// Says so, where the database is built.
    pub(crate) fn announce_rerun(&self, database: u64) {
        match self.rerun {
            RerunMode::Off => {}
            RerunMode::On(by) => events::rerun_mode_is_on(database, by),
            RerunMode::Refused => events::rerun_mode_is_refused(database),
        }
    }
}

/// Reports a second run of a closure that differs from the first.
pub(crate) fn rerun_differs(scope: &Arc<Scope>, what: String) {
    let code = Code::RerunDiffers;
    // Texts with literals would make many of what is one.
    let subject = code.title().to_owned();
    scope.guard.report(scope, Seen { code, what, subject, site: Where::Unknown, waited: None });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_policies_for_tests_run_closures_twice() {
        let on = |policy: Policy, value| RerunMode::wanted(&policy, value);
        for policy in [Policy::dev(), Policy::test()] {
            assert_eq!(on(policy.clone(), ""), Ok(RerunMode::Off));
            assert_eq!(on(policy.clone(), "0"), Ok(RerunMode::Off));
            assert_eq!(on(policy.clone(), "1"), Ok(RerunMode::On("`TXSAFE_RERUN=1`")));
            let in_code = policy.clone().rerun(true);
            assert_eq!(on(in_code, ""), Ok(RerunMode::On("`Policy::rerun`")));
            assert_eq!(on(policy.rerun(false), "1"), Ok(RerunMode::Off));
        }
        for policy in [Policy::off(), Policy::production(), Policy::staging()] {
            assert_eq!(on(policy.clone(), ""), Ok(RerunMode::Off));
            assert_eq!(on(policy.clone(), "1"), Ok(RerunMode::Refused));
            assert_eq!(on(policy.clone(), "yes"), Ok(RerunMode::Refused));
            assert_eq!(
                on(policy.rerun(true), "").unwrap_err().to_string(),
                "`rerun` can't be true: it rolls back what would be committed, which is for tests: use \
                 `Policy::test()` or `Policy::dev()`",
            );
        }
        assert_eq!(
            on(Policy::test(), "yes").unwrap_err().to_string(),
            "`TXSAFE_RERUN` can't be `yes`: use `1` to run closures of transactions a second time, or `0`",
        );
    }
}
