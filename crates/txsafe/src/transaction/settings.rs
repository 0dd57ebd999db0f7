//! The settings of a transaction, complete and checked.

use super::{
    options::{Predicate, TxOptions},
    timeout::Timeout,
};
use crate::{
    dialect::{
        Dialect, failure::Failure, isolation::Isolation, local::LocalSql, sqlstate::SqlState,
    },
    driver::session::SessionOptions,
    invalid::{InvalidSetting, or_default},
    retry::policy::RetryPolicy,
};
use std::time::{Duration, Instant};

/// The default of `lock_timeout`.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// The default of `statement_timeout`.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The default of `idle_in_transaction_session_timeout`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// What can be added to any time without leaving the calendar.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The settings of a transaction, complete and checked. A limit of the server's that is `None` is left to the session.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) isolation: Option<Isolation>,
    pub(crate) read_only: Option<bool>,
    pub(crate) deferrable: bool,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) adaptive_lock_timeout: bool,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) idle_in_transaction_session_timeout: Option<Duration>,
    pub(crate) transaction_timeout: Option<Duration>,
    /// BEGIN and COMMIT set nothing.
    pub(crate) without_set: bool,
    pub(crate) checkout_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) commit_timeout: Option<Duration>,
    pub(crate) await_begin: bool,
    pub(crate) retry: RetryPolicy,
    pub(crate) retry_on: Vec<SqlState>,
    pub(crate) abort_on: Vec<SqlState>,
    pub(crate) abort_if: Option<Predicate>,
    pub(crate) verify_commit: bool,
    pub(crate) slow_after: Duration,
    pub(crate) bind_values: bool,
    pub(crate) test_wrapper: bool,
    pub(crate) dry_run: bool,
    /// The SQL that makes the application's own settings.
    pub(crate) local_sql: Option<LocalSql>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
}

impl Settings {
    /// `call` over `preset` over the defaults, for a database of this kind.
    pub(crate) fn resolve(
        dialect: &dyn Dialect,
        preset: &TxOptions,
        call: &TxOptions,
    ) -> Result<Self, InvalidSetting> {
        macro_rules! pick {
            ($field:ident) => {
                call.$field.clone().or_else(|| preset.$field.clone())
            };
        }
        // What nobody has chosen is txsafe's choice, where it may set anything.
        let by_default = |timeout| (!preset.without_set).then_some(timeout);
        macro_rules! limit {
            ($field:ident or $default:expr) => {
                pick!($field).map_or($default, Timeout::ours)
            };
        }
        let settings = Self {
            isolation: pick!(isolation),
            read_only: pick!(read_only),
            deferrable: pick!(deferrable).unwrap_or(false),
            lock_timeout: limit!(lock_timeout or by_default(LOCK_TIMEOUT)),
            adaptive_lock_timeout: pick!(adaptive_lock_timeout).unwrap_or(true),
            statement_timeout: limit!(statement_timeout or by_default(STATEMENT_TIMEOUT)),
            idle_in_transaction_session_timeout: limit!(idle_in_transaction_session_timeout or by_default(IDLE_TIMEOUT)),
            transaction_timeout: limit!(transaction_timeout or None),
            without_set: preset.without_set,
            checkout_timeout: pick!(checkout_timeout).unwrap_or(Duration::from_secs(10)),
            answer_timeout: pick!(answer_timeout).unwrap_or(Duration::from_secs(10)),
            commit_timeout: pick!(commit_timeout),
            await_begin: pick!(await_begin).unwrap_or(false),
            retry: pick!(retry).unwrap_or_default(),
            retry_on: pick!(retry_on).unwrap_or_default(),
            abort_on: pick!(abort_on).unwrap_or_default(),
            abort_if: pick!(abort_if),
            verify_commit: pick!(verify_commit).unwrap_or(false),
            slow_after: pick!(slow_after).unwrap_or(Duration::from_secs(1)),
            bind_values: pick!(bind_values).unwrap_or(false),
            test_wrapper: pick!(test_wrapper).unwrap_or(false),
            dry_run: pick!(dry_run).unwrap_or(false),
            local_sql: call.local.over(&preset.local).sql(dialect)?,
            timeout: pick!(timeout),
            deadline: pick!(deadline),
        };
        settings.validate()?;
        Ok(settings)
    }

    fn validate(&self) -> Result<(), InvalidSetting> {
        for (setting, value) in [
            ("lock_timeout", self.lock_timeout),
            ("statement_timeout", self.statement_timeout),
            ("idle_in_transaction_session_timeout", self.idle_in_transaction_session_timeout),
            ("transaction_timeout", self.transaction_timeout),
        ] {
            let Some(value) = value else { continue };
            server_timeout(setting, value)?;
            if self.without_set {
                let cure = "this database sets nothing (`Builder::without_set`): leave it out, and set it for the role or \
                            in the server's configuration";
                return Err(InvalidSetting::new(setting, format!("{value:?}"), cure));
            }
        }
        if self.without_set && self.local_sql.is_some() {
            let cure = "this database sets nothing (`Builder::without_set`): leave `set_local`, `role` and `search_path` out";
            return Err(InvalidSetting::new("without_set", "true", cure));
        }
        for (setting, value) in [
            ("checkout_timeout", Some(self.checkout_timeout)),
            ("answer_timeout", Some(self.answer_timeout)),
            ("commit_timeout", self.commit_timeout),
            ("timeout", self.timeout),
        ] {
            if value.is_some_and(|value| value.is_zero()) {
                return Err(InvalidSetting::new(setting, "0s", "nothing is that fast: raise it"));
            }
            if let Some(value) = value.filter(|value| *value > LONGEST_WAIT) {
                let cure = "nobody waits that long: a year is the longest";
                return Err(InvalidSetting::new(setting, format!("{value:?}"), cure));
            }
        }
        if let (Some(lock_timeout), Some(statement_timeout)) =
            (self.lock_timeout, self.statement_timeout)
            && lock_timeout > statement_timeout
        {
            return Err(InvalidSetting::new(
                "lock_timeout",
                format!("{lock_timeout:?}{}", or_default(lock_timeout, LOCK_TIMEOUT)),
                "statement_timeout is shorter and would always strike first, as a failure that is \
                 not retried: lower lock_timeout or raise statement_timeout",
            ));
        }
        let is_serializable = self.isolation == Some(Isolation::Serializable);
        if self.deferrable && !(self.is_read_only() && is_serializable) {
            return Err(InvalidSetting::new(
                "deferrable",
                "true",
                "PostgreSQL heeds it only with read_only(true) and Isolation::Serializable: set both",
            ));
        }
        if let Some(timeout) = self.timeout.filter(|timeout| self.retry.min_pause >= *timeout) {
            return Err(InvalidSetting::new(
                "timeout",
                format!("{timeout:?}"),
                "even the first pause (retry.min_pause) may outlast it: raise it or lower min_pause",
            ));
        }
        self.retry.validate()
    }

    /// Whether the caller asked for a transaction that only reads.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only == Some(true)
    }

    /// Whether the caller asked not to retry on this failure.
    pub(crate) fn opted_out(&self, failure: &Failure) -> bool {
        failure.sqlstate().is_some_and(|code| self.abort_on.contains(&code))
            || self.abort_if.as_ref().is_some_and(|predicate| predicate.holds_for(failure))
    }

    /// Whether the caller asked to retry on this code.
    pub(crate) fn opted_in(&self, code: Option<SqlState>) -> bool {
        code.is_some_and(|code| self.retry_on.contains(&code))
    }

    /// The longest to wait for the answer to COMMIT.
    pub(crate) fn commit_timeout(&self) -> Duration {
        const AT_LEAST: Duration = Duration::from_secs(30);
        let statement_timeout = self.statement_timeout.unwrap_or_default();
        self.commit_timeout.unwrap_or_else(|| AT_LEAST.max(statement_timeout))
    }

    /// What a connection is taken and used with, where this much time is left to the caller's deadline.
    pub(crate) fn of_session(&self, left: Option<Duration>) -> SessionOptions {
        let timeout = self.checkout_timeout;
        SessionOptions {
            checkout_timeout: left.map_or(timeout, |left| left.min(timeout)),
            answer_timeout: self.answer_timeout,
            lock_timeout: self.lock_timeout.unwrap_or_default(),
            bind_values: self.bind_values,
        }
    }
}

/// What PostgreSQL's timeouts can express: an `int` of milliseconds, of which 0 means "never".
fn server_timeout(setting: &'static str, value: Duration) -> Result<(), InvalidSetting> {
    let invalid = |cure| Err(InvalidSetting::new(setting, format!("{value:?}"), cure));
    match value.as_millis() {
        0 if value.is_zero() => invalid(
            "the server would read it as `no limit`: set 1ms or more, or leave the limit to the server by `Timeout::Server`",
        ),
        0 => invalid("the server counts in milliseconds: set 1ms or more"),
        ms if ms > i32::MAX as u128 => invalid("the server's longest is 2147483647ms (24.8 days)"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::postgres::Postgres;

    fn refused(options: TxOptions) -> String {
        Settings::resolve(&Postgres, &TxOptions::new(), &options).unwrap_err().to_string()
    }

    #[test]
    fn a_call_overrides_the_preset_and_the_preset_the_default() {
        let preset = TxOptions::new().lock_timeout(Duration::from_millis(300)).read_only(true);
        let call = TxOptions::new().lock_timeout(Duration::from_millis(100));
        let settings = Settings::resolve(&Postgres, &preset, &call).unwrap();
        assert_eq!(settings.lock_timeout, Some(Duration::from_millis(100)));
        assert!(settings.is_read_only());
        assert_eq!(settings.statement_timeout, Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_limit_can_be_left_to_the_server_by_preset_and_by_call() {
        let limits = |preset: TxOptions, call: TxOptions| {
            let settings = Settings::resolve(&Postgres, &preset, &call).unwrap();
            (settings.lock_timeout, settings.statement_timeout)
        };
        let (new, secs) = (TxOptions::new, Duration::from_secs);
        let server = || new().statement_timeout(Timeout::Server);
        assert_eq!(limits(server(), new()), (Some(secs(2)), None));
        assert_eq!(limits(new(), server()), (Some(secs(2)), None));
        let limited = new().statement_timeout(secs(9)).lock_timeout(Timeout::Server);
        assert_eq!(limits(server(), limited), (None, Some(secs(9))));
        // One that would strike first is none of the caller's settings.
        let long = new().lock_timeout(secs(60)).statement_timeout(Timeout::Server);
        assert_eq!(limits(new(), long), (Some(secs(60)), None));
    }

    #[test]
    fn where_nothing_is_set_what_would_be_is_refused() {
        let bare = TxOptions { without_set: true, ..TxOptions::new() };
        let resolved = |call: TxOptions| Settings::resolve(&Postgres, &bare, &call);
        let settings = resolved(TxOptions::new().lock_timeout(Timeout::Server)).unwrap();
        assert_eq!((settings.lock_timeout, settings.statement_timeout), (None, None));
        for (call, setting) in [
            (TxOptions::new().lock_timeout(Duration::from_secs(1)), "lock_timeout"),
            (TxOptions::new().transaction_timeout(Duration::from_secs(1)), "transaction_timeout"),
            (TxOptions::new().role("reader"), "without_set"),
        ] {
            let refused = resolved(call).unwrap_err();
            assert_eq!(refused.setting(), setting);
            assert!(refused.to_string().contains("sets nothing"), "{refused}");
        }
    }

    #[test]
    fn settings_that_cannot_be_meant_name_field_value_and_cure() {
        let new = TxOptions::new;
        for (options, parts) in [
            (new().lock_timeout(Duration::ZERO), ["`lock_timeout`", "0ns", "Timeout::Server"]),
            (new().statement_timeout(Duration::from_micros(10)), ["`statement", "10µs", "1ms"]),
            (
                new().idle_in_transaction_session_timeout(Duration::from_secs(1 << 40)),
                ["`idle_in", "s", "24.8 days"],
            ),
            (
                new().lock_timeout(Duration::from_secs(60)),
                ["`lock_timeout`", "60s", "strike first"],
            ),
            (new().deferrable(true), ["`deferrable`", "true", "read_only(true)"]),
            (new().timeout(Duration::from_millis(1)), ["`timeout`", "1ms", "min_pause"]),
            (new().checkout_timeout(Duration::ZERO), ["`checkout_timeout`", "0s", "raise it"]),
            (new().answer_timeout(Duration::MAX), ["`answer_timeout`", "s", "a year"]),
            (new().timeout(Duration::MAX), ["`timeout`", "s", "a year"]),
            (new().retry(RetryPolicy::new().max_attempts(0)), ["`max_attempts`", "0", "1 or more"]),
        ] {
            let message = refused(options);
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}
