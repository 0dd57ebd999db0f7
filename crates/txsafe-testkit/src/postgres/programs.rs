//! Where PostgreSQL's server programs are.
//!
//! `xtask` compiles this very file too, so that setup and tests always agree on what is installed. It
//! therefore uses nothing but `std`.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest major version that its makers still support, and that we test.
pub(crate) const OLDEST_MAJOR: u32 = 14;

/// A folder with `initdb` and `postgres` in it, of a version that we support.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Programs {
    folder: PathBuf,
    version: Version,
}

impl Programs {
    /// Looks where `TXSAFE_PG_BIN` says, and nowhere else; without it, where `pg_config` says, then in
    /// the usual places (newest first) and along `PATH`.
    pub(crate) fn find() -> Result<Self, NotFound> {
        Self::first_of(candidates())
    }

    /// All that this machine has, best first: where `TXSAFE_PG_BIN` says, and then wherever [`find`](Self::find) looks
    /// without it.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let folders = given().into_iter().chain(usual());
        folders.filter_map(|folder| Self::in_folder(&folder).ok())
    }

    /// The path of the program `name`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn first_of(candidates: Vec<PathBuf>) -> Result<Self, NotFound> {
        let mut rejected = Vec::new();
        for folder in candidates {
            match Self::in_folder(&folder) {
                Ok(programs) => return Ok(programs),
                Err(reason) => rejected.push((folder, reason)),
            }
        }
        Err(NotFound { rejected })
    }

    /// The programs in `folder`, or what is wrong with it.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, String> {
        for program in ["initdb", "postgres"] {
            if !folder.join(program).is_file() {
                return Err(format!("no {program}"));
            }
        }
        let output = Command::new(folder.join("postgres"))
            .arg("--version")
            .output()
            .map_err(|error| format!("postgres does not run: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = Version::parse(&text).ok_or("`postgres --version` says nothing known")?;
        if version.major < OLDEST_MAJOR {
            return Err(format!("{version} is too old"));
        }
        Ok(Self { folder: folder.to_owned(), version })
    }
}

impl fmt::Display for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL {} in {}", self.version, self.folder.display())
    }
}

/// No folder has what we need. Whoever reports it adds the cure.
#[derive(Debug)]
pub(crate) struct NotFound {
    rejected: Vec<(PathBuf, String)>,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PostgreSQL's server programs (initdb and postgres, version {OLDEST_MAJOR} or newer) were \
             not found"
        )?;
        for (nth, (folder, reason)) in self.rejected.iter().enumerate() {
            let opening = if nth == 0 { " (" } else { "; " };
            write!(f, "{opening}{}: {reason}", folder.display())?;
        }
        f.write_str(if self.rejected.is_empty() { "" } else { ")" })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    major: u32,
    text: String,
}

impl Version {
    /// Reads `postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)`, and `17beta1` in place of `15.8`.
    fn parse(line: &str) -> Option<Self> {
        let text = line.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        Some(Self { major: text[..digits].parse().ok()?, text: text.to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn candidates() -> Vec<PathBuf> {
    given().map_or_else(usual, |folder| vec![folder])
}

fn given() -> Option<PathBuf> {
    env::var_os("TXSAFE_PG_BIN").map(PathBuf::from)
}

fn usual() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    folders.extend(named_by_pg_config());
    // Debian, Red Hat, Homebrew on both architectures, Postgres.app.
    folders.extend(versions_below("/usr/lib/postgresql", "", "bin"));
    folders.extend(versions_below("/usr", "pgsql-", "bin"));
    folders.extend(versions_below("/opt/homebrew/opt", "postgresql@", "bin"));
    folders.extend(versions_below("/usr/local/opt", "postgresql@", "bin"));
    folders.extend(versions_below("/Applications/Postgres.app/Contents/Versions", "", "bin"));
    // Alpine, and what was built from source.
    folders.extend(versions_below("/usr/libexec", "postgresql", ""));
    folders.push(PathBuf::from("/usr/local/pgsql/bin"));
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));

    // A folder without a server is no news, unless it is all there is.
    folders.retain(|folder| folder.join("postgres").is_file());
    folders
}

fn named_by_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(folder.trim_end()))
}

/// The folders `parent/<prefix><number>/child`, highest number first.
fn versions_below(parent: &str, prefix: &str, child: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.strip_prefix(prefix)?.parse().ok()?, entry.path().join(child)))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        for (line, major, text) in [
            ("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)\n", 15, "15.8"),
            ("postgres (PostgreSQL) 17.0 (Homebrew)", 17, "17.0"),
            ("postgres (PostgreSQL) 18beta1", 18, "18beta1"),
            ("postgres (PostgreSQL) 9.6.24", 9, "9.6.24"),
        ] {
            assert_eq!(Version::parse(line), Some(Version { major, text: text.to_owned() }));
        }
        for line in ["", "postgres (EnterpriseDB) x", "postgres (PostgreSQL) ", "psql 15"] {
            assert_eq!(Version::parse(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_missing_is_said_with_where_we_looked() {
        let folders = vec![PathBuf::from("/nonexistent/a"), PathBuf::from("/nonexistent/b")];
        let message = Programs::first_of(folders).unwrap_err().to_string();
        assert!(
            message.ends_with("not found (/nonexistent/a: no initdb; /nonexistent/b: no initdb)"),
            "{message}"
        );
        let message = Programs::first_of(Vec::new()).unwrap_err().to_string();
        assert!(message.ends_with("not found"), "{message}");
    }
}
