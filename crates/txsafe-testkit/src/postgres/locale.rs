use std::path::{Path, PathBuf};

use super::account::Account;
use super::reaper::Reaper;
use crate::Error;

/// Makes sure that the server finds the locale `name`.
///
/// Minimal installations and containers have no locale but `C`. Where the definitions are there, the
/// locale is compiled into the server's own folder; the answer is then the value of `LOCPATH` that
/// the server needs.
pub(crate) fn provide(
    name: &str,
    account: &Account,
    reaper: &Reaper,
) -> Result<Option<PathBuf>, Error> {
    if !is_name(name) {
        return Err(Error::new(format!("{name:?} is no locale; names are like `de_DE.UTF-8`")));
    }
    if is_installed(name, account) {
        return Ok(None);
    }
    if compile(name, reaper.home(), account, reaper) {
        return Ok(Some(reaper.home().to_owned()));
    }
    Err(Error::new(format!(
        "locale {name} is neither installed nor can it be compiled; on Debian and Ubuntu: \
         `apt-get install locales`, elsewhere see `man localedef`"
    )))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.@-".contains(c))
}

/// Systems without the command `locale`, such as Alpine, get the benefit of the doubt.
fn is_installed(name: &str, account: &Account) -> bool {
    let Ok(output) = account.command("locale").arg("-a").output() else { return true };
    let wanted = normalized(name);
    String::from_utf8_lossy(&output.stdout).lines().any(|line| normalized(line) == wanted)
}

fn compile(name: &str, folder: &Path, account: &Account, reaper: &Reaper) -> bool {
    let (language, modifier) = name.split_once('@').unwrap_or((name, ""));
    let (language, charmap) = language.split_once('.').unwrap_or((language, "UTF-8"));
    let definition = match modifier {
        "" => language.to_owned(),
        modifier => format!("{language}@{modifier}"),
    };
    let target = folder.join(name);
    let mut command = account.command("localedef");
    command.args(["-i", &definition, "-f", charmap]).arg(&target);
    // The exit code also tells of mere warnings; what is in the folder tells whether there is a locale.
    reaper.adopt(&mut command).output().is_ok() && target.join("LC_MESSAGES").exists()
}

/// `locale -a` says `de_DE.utf8` where people write `de_DE.UTF-8`.
fn normalized(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_locale_are_equal() {
        assert_eq!(normalized("de_DE.UTF-8"), normalized("de_DE.utf8"));
        assert_ne!(normalized("de_DE.UTF-8"), normalized("de_AT.UTF-8"));
    }

    #[test]
    fn names_are_no_paths_or_options() {
        assert!(is_name("de_DE.UTF-8"));
        assert!(is_name("ca_ES@valencia"));
        assert!(!is_name("../x"));
        assert!(!is_name("--help"));
        assert!(!is_name(""));
    }
}
