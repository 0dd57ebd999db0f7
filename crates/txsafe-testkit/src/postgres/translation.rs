use std::fmt;
use std::io;
use std::iter;
use std::path::Path;

use super::account::Account;
use super::programs::Programs;
use crate::Error;

/// The languages that some supported version of PostgreSQL has translations of its messages to.
/// Source: `src/backend/po/LINGUAS`.
const TRANSLATIONS: [&str; 16] = [
    "de", "es", "fr", "id", "it", "ja", "ka", "ko", "pl", "pt_BR", "ru", "sv", "tr", "uk", "zh_CN",
    "zh_TW",
];

/// The programs of a server that has its messages in the language of `locale`: `first`, or others that
/// this machine has. Where PostgreSQL itself has no such translation, `first`, whose messages are English.
pub(crate) fn programs(
    locale: &str,
    first: Programs,
    account: &Account,
    locale_folder: Option<&Path>,
) -> Result<Programs, Error> {
    if !is_translated(locale) {
        return Ok(first);
    }
    let others = Programs::all().filter(|other| *other != first);
    let chosen = first_that_speaks(locale, iter::once(first.clone()).chain(others), |programs| {
        speaks(programs, locale, account, locale_folder)
    })?;
    if chosen != first {
        tell(locale, &first, &chosen);
    }
    Ok(chosen)
}

fn is_translated(locale: &str) -> bool {
    let language = locale.split(['.', '@']).next().unwrap_or_default();
    TRANSLATIONS.iter().any(|known| {
        // A dialect is served by the language, as `de_AT` is; `pt_BR` is a language of its own.
        language == *known || language.split('_').next() == Some(*known)
    })
}

fn first_that_speaks<P: fmt::Display>(
    locale: &str,
    candidates: impl Iterator<Item = P>,
    speaks: impl Fn(&P) -> Result<bool, Error>,
) -> Result<P, Error> {
    let mut silent = Vec::new();
    let language = locale.split(['_', '.', '@']).next().unwrap_or_default();
    for candidate in candidates {
        if speaks(&candidate)? {
            return Ok(candidate);
        }
        silent.push(candidate.to_string());
    }
    Err(Error::new(format!(
        "no PostgreSQL of this machine has its messages in the language of {locale} (there is {}); install one whose \
         package has translations (`apt-get install postgresql` on Debian, and `language-pack-{language}`, too, on Ubuntu): \
         those of npm and many container images have none",
        silent.join(", ")
    )))
}

/// Whether a server says in `locale` something else than in English. Its help is in the same catalogue
/// as its messages, and where that is, nobody has to know.
fn speaks(
    programs: &Programs,
    locale: &str,
    account: &Account,
    locale_folder: Option<&Path>,
) -> Result<bool, Error> {
    let postgres = programs.path("postgres");
    let help = |locale: &str| -> io::Result<Vec<u8>> {
        let mut command = account.command(&postgres);
        // The account may not be able to read the folder we are in.
        command.arg("--help").env("LC_ALL", locale).current_dir("/");
        if let Some(folder) = locale_folder {
            command.env("LOCPATH", folder);
        }
        Ok(command.output()?.stdout)
    };
    help("C")
        .and_then(|english| Ok(help(locale)? != english))
        .map_err(|source| account.spawn_error(&postgres.display().to_string(), source))
}

#[expect(
    clippy::print_stderr,
    reason = "test runners show it where the test fails, and hide it else"
)]
fn tell(locale: &str, first: &Programs, other: &Programs) {
    eprintln!("{first} has no messages in the language of {locale}; taken for it: {other}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_speaks_the_language_is_taken_and_else_all_are_named() {
        let choose = |speaker: &str| {
            first_that_speaks("de_DE", ["a", "b", "c"].into_iter(), |it| Ok(*it == speaker))
        };
        assert_eq!(choose("b").unwrap(), "b");
        let error = choose("d").unwrap_err().to_string();
        assert!(error.contains("de_DE (there is a, b, c)"), "{error}");
        assert!(error.contains("`language-pack-de`"), "{error}");
    }

    #[test]
    fn a_dialect_is_served_by_its_language() {
        for locale in ["de_DE.UTF-8", "de_AT", "de", "pt_BR.UTF-8", "zh_TW", "uk_UA.utf8@x"] {
            assert!(is_translated(locale), "{locale}");
        }
        for locale in ["fi_FI.UTF-8", "en_US.UTF-8", "C", "pt_PT.UTF-8", "zh_HK", ""] {
            assert!(!is_translated(locale), "{locale}");
        }
    }
}
