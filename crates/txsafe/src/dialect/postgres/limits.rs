//! The limits of a session, as PostgreSQL tells them.

use super::{
    changes::{self, Change, may_change},
    session_state::Kind,
};
use crate::dialect::limits::Limits;
use std::time::Duration;

/// The question. A server that doesn't know the last setting, as before PostgreSQL 17, leaves it out.
pub(super) const QUESTION_SQL: &str = "SELECT concat_ws(',', current_setting('lock_timeout'), \
     current_setting('statement_timeout'), \
     current_setting('idle_in_transaction_session_timeout'), \
     current_setting('transaction_timeout', true)) AS answer";

/// Reads the answer; `None` if it is none.
pub(super) fn read(answer: &str) -> Option<Limits> {
    let mut settings = answer.split(',').map(limit);
    let limits = Limits {
        lock_timeout: settings.next()??,
        statement_timeout: settings.next()??,
        idle_in_transaction_session_timeout: settings.next()??,
        transaction_timeout: settings.next().unwrap_or(Some(None))?,
    };
    settings.next().is_none().then_some(limits)
}

/// One setting, as the server shows it: a whole number with a unit, or 0 for no limit. Without a unit it counts milliseconds.
/// Source: PostgreSQL manual, section 20.1.1, "Parameter Names and Values".
#[expect(clippy::option_option, reason = "nothing that can be read, and no limit, are two things")]
fn limit(shown: &str) -> Option<Option<Duration>> {
    let shown = shown.trim();
    let digits = shown.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = shown.split_at_checked(digits)?;
    let number = number.parse::<u64>().ok()?;
    let us = match unit.trim() {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "min" => 60 * 1_000_000,
        "h" => 60 * 60 * 1_000_000,
        "d" => 24 * 60 * 60 * 1_000_000,
        _ => return None,
    };
    let limit = Duration::from_micros(number.checked_mul(us)?);
    Some((!limit.is_zero()).then_some(limit))
}

/// Whether a statement that ran may have changed a limit of its session, as far as its text tells: by SET, RESET,
/// `set_config(…, …, false)` or DISCARD ALL; or by a `set_config` whose bind values say whether it did. What functions and procedures do isn't seen, nor a change of the server's
/// configuration.
#[must_use]
pub fn may_change_limits(sql: &str) -> bool {
    let is_limit = |change: Change| match change {
        Change::Leaves(Kind::Setting | Kind::SetConfig, name) | Change::MaySet(name) => {
            !is_other(&name)
        }
        Change::Undoes(Kind::Setting | Kind::SetConfig, name) => {
            name.is_none_or(|name| !is_other(&name))
        }
        _ => false,
    };
    may_change(sql) && changes::of(sql).any(|(_, change)| is_limit(change))
}

/// Whether a setting with this name is no limit.
fn is_other(name: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    // What is no plain name, such as a parameter, may stand for any.
    !name.is_empty() && name.chars().all(is_name) && !name.to_ascii_lowercase().ends_with("timeout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_that_the_server_shows_is_read() {
        let ms = Duration::from_millis;
        for (shown, read) in [
            ("0", Some(None)),
            ("50ms", Some(Some(ms(50)))),
            ("50", Some(Some(ms(50)))),
            ("1s", Some(Some(ms(1_000)))),
            ("1min", Some(Some(ms(60_000)))),
            ("2h", Some(Some(ms(7_200_000)))),
            ("1d", Some(Some(ms(86_400_000)))),
            ("1500us", Some(Some(Duration::from_micros(1_500)))),
            ("2147483647ms", Some(Some(ms(2_147_483_647)))),
            ("", None),
            ("-1", None),
            ("5 weeks", None),
            ("99999999999999999999ms", None),
            ("9999999999999999999d", None),
        ] {
            assert_eq!(limit(shown), read, "{shown}");
        }
    }

    #[test]
    fn an_answer_has_three_settings_or_four() {
        let limits = read("20ms,1min,0,2h").unwrap();
        assert_eq!(limits.lock_timeout, Some(Duration::from_millis(20)));
        assert_eq!(limits.statement_timeout, Some(Duration::from_secs(60)));
        assert_eq!(limits.idle_in_transaction_session_timeout, None);
        assert_eq!(limits.transaction_timeout, Some(Duration::from_secs(7_200)));
        assert_eq!(read("0,0,0"), Some(Limits::default()));
        for answer in ["", "0,0", "0,0,soon", "0,0,0,0,0", "t"] {
            assert_eq!(read(answer), None, "{answer}");
        }
    }

    #[test]
    fn what_may_change_a_limit_is_known_by_its_text() {
        for sql in [
            "SET statement_timeout = '50ms'",
            "set session Lock_Timeout to default",
            "SELECT 1; SET idle_in_transaction_session_timeout = 0",
            "RESET statement_timeout",
            "RESET ALL",
            "DISCARD ALL",
            "SELECT set_config('statement_timeout', '50ms', false)",
            "SELECT set_config($1, $2, false)",
            "SELECT set_config($1, $2, $3)",
            "SELECT set_config('statement_timeout', '50ms', is_local => $1)",
        ] {
            assert!(may_change_limits(sql), "{sql}");
        }
        for sql in [
            "",
            "SELECT 1",
            "SET LOCAL statement_timeout = '50ms'",
            "SET search_path = tenant",
            "SET application_name = 'statement_timeout'",
            "RESET search_path",
            "DISCARD TEMP",
            "SELECT set_config('statement_timeout', '50ms', true)",
            "SELECT set_config('app.tenant', '7', false)",
            "SELECT set_config('app.tenant', $1, $2)",
            "UPDATE jobs SET statement_timeout = 1",
            "BEGIN NOT DEFERRABLE; SET txsafe.transaction = '1'; SET LOCAL lock_timeout = 20",
        ] {
            assert!(!may_change_limits(sql), "{sql}");
        }
    }
}
