//! What PostgreSQL's messages mean, in every language that it ships with.
//!
//! Some drivers keep the SQLSTATE to themselves, and the message is all that is left of it. And a few SQLSTATEs have several
//! meanings, of which only the message tells.

use crate::dialect::{condition::Condition, sqlstate::SqlState};
use std::sync::LazyLock;

const MESSAGES: &str = include_str!("messages.tsv");

/// The code of a message; `None` if it is none of those that a remedy depends on, or in a language that PostgreSQL
/// doesn't ship with.
#[must_use]
pub fn code_of(message: &str) -> Option<SqlState> {
    Some(entry(message)?.code)
}

/// What a message says that its code doesn't; `None` if its code says it all, or the language is unknown.
pub(super) fn condition_of(message: &str) -> Option<Condition> {
    entry(message)?.condition
}

fn entry(message: &str) -> Option<&'static Entry> {
    let words = folded(message);
    CATALOGUE.iter().find(|entry| entry.matches(&words))
}

/// Whether a server whose `lc_messages` is this speaks a language that is known here.
#[must_use]
pub fn is_known(lc_messages: &str) -> bool {
    let locale = lc_messages.split(['.', '@']).next().unwrap_or_default();
    let language = locale.split(['_', '-']).next().unwrap_or_default();
    // Windows spells languages out.
    matches!(language, "C" | "POSIX" | "English")
        || languages().any(|known| known == locale || known == language)
}

/// The languages of the catalogue, for people.
#[must_use]
pub fn known() -> String {
    languages().collect::<Vec<_>>().join(", ")
}

/// Each language has its heading, which is its name alone.
fn languages() -> impl Iterator<Item = &'static str> {
    let comments = MESSAGES.lines().filter_map(|line| line.strip_prefix("# "));
    comments.filter(|comment| !comment.contains(' '))
}

static CATALOGUE: LazyLock<Vec<Entry>> =
    LazyLock::new(|| MESSAGES.lines().filter_map(Entry::read).collect());

/// A message, of which one name may be anything.
struct Entry {
    code: SqlState,
    condition: Option<Condition>,
    start: &'static str,
    end: Option<&'static str>,
}

impl Entry {
    /// `None` for a comment.
    fn read(line: &'static str) -> Option<Self> {
        let (code, message) = line.split_once('\t')?;
        let (code, meaning) = code.split_once(' ').unwrap_or((code, ""));
        let condition = match meaning {
            "nowait" => Some(Condition::LockNotAvailable),
            "plan" => Some(Condition::StalePlan),
            "reads" => Some(Condition::ReadOnly),
            "recovery" => Some(Condition::RecoveryConflict),
            "timeout" => Some(Condition::StatementTimeout),
            _ => None,
        };
        let (start, end) = match message.split_once("%s") {
            Some((start, end)) => (start, Some(end)),
            None => (message, None),
        };
        Some(Self { code: SqlState::new(code)?, condition, start, end })
    }

    fn matches(&self, words: &str) -> bool {
        let Some(rest) = words.strip_prefix(self.start) else { return false };
        match self.end {
            Some(end) => rest.ends_with(end),
            None => rest.is_empty(),
        }
    }
}

/// Some translations run over several lines.
fn folded(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn lines() -> impl Iterator<Item = (SqlState, &'static str)> {
        let lines = MESSAGES.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| {
            let (code, message) = line.split_once('\t').unwrap();
            (SqlState::new(&code[..5]).unwrap(), message)
        })
    }

    #[test]
    fn every_message_has_one_code_whatever_the_name_in_it() {
        for (code, message) in lines() {
            for name in ["accounts", "a \"b\" c", "関係"] {
                let said = message.replace("%s", name);
                assert_eq!(code_of(&said), Some(code), "{said}");
            }
        }
    }

    #[test]
    fn each_language_knows_what_is_retried() {
        let languages = languages().count();
        assert_eq!(languages, 17);
        for code in [
            SqlState::DEADLOCK_DETECTED,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
        ] {
            let distinct: HashSet<_> = lines().filter(|line| line.0 == code).collect();
            assert!(distinct.len() >= languages, "{code}");
        }
    }

    #[test]
    fn one_code_has_several_meanings_in_each_language() {
        for (meaning, missing) in
            [("nowait", [].as_slice()), ("plan", &[]), ("recovery", &[]), ("timeout", &["ka"])]
        {
            let sections = MESSAGES
                .split("\n# ")
                .map(|section| section.split_once('\n').unwrap_or((section, "")));
            let sections = sections.filter(|(heading, _)| !heading.contains(' '));
            let has_it = |lines: &str| {
                lines
                    .lines()
                    .any(|line| line.get(6..).is_some_and(|rest| rest.starts_with(meaning)))
            };
            let without: Vec<_> = sections
                .filter(|(_, lines)| !has_it(lines))
                .map(|(language, _)| language)
                .collect();
            assert_eq!(without, missing, "{meaning}");
        }
        for (message, condition) in [
            ("canceling statement due to lock timeout", None),
            (
                "could not obtain lock on row in relation \"jobs\"",
                Some(Condition::LockNotAvailable),
            ),
            (
                "storniere Anfrage wegen Zeitüberschreitung der Anfrage",
                Some(Condition::StatementTimeout),
            ),
            ("annulation de la requête à la demande de l'utilisateur", None),
            ("由于与恢复操作冲突，正在取消语句", Some(Condition::RecoveryConflict)),
        ] {
            assert_eq!(condition_of(message), condition, "{message}");
        }
    }

    #[test]
    fn what_is_said_differently_from_one_version_to_the_next_is_known_in_both() {
        for message in [
            "cancelando la sentencia debido a que se agotó el tiempo de espera de candados (locks)",
            "cancelando la sentencia debido a que se agotó el tiempo de espera de “locks”",
            "由于锁超时，取消语句操作",
            "由于锁超时，正在取消语句",
        ] {
            assert_eq!(code_of(message), Some(SqlState::LOCK_NOT_AVAILABLE), "{message}");
        }
    }

    #[test]
    fn a_language_is_known_in_every_spelling_of_its_locale() {
        for known in ["C", "C.UTF-8", "POSIX", "en_US.UTF-8", "English_United States.1252", "de"] {
            assert!(is_known(known), "{known}");
        }
        for known in
            ["de_AT.utf8@euro", "ja_JP.UTF-8", "zh_CN.UTF-8", "zh_TW.UTF-8", "pt_BR.UTF-8", "ka_GE"]
        {
            assert!(is_known(known), "{known}");
        }
        for unknown in ["", "fi_FI.UTF-8", "zh_HK.UTF-8", "pt_PT.UTF-8", "default", "deutsch"] {
            assert!(!is_known(unknown), "{unknown}");
        }
    }

    #[test]
    fn a_message_that_only_looks_alike_has_none() {
        for message in
            ["deadlock detected?", "no deadlock detected", "", "could not obtain lock on"]
        {
            assert_eq!(code_of(message), None, "{message}");
        }
    }
}
