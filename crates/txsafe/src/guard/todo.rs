//! Findings of an old code base that are known, and wait for somebody to do something about them: a file with a line for each.

use super::{code::Code, finding::Finding};
use crate::decide::invalid::InvalidSetting;
use std::{
    collections::HashSet,
    env, fmt,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Set to `write`, findings are added to the to-do file, and fail nothing.
pub const TODO_VARIABLE: &str = "TXSAFE_GUARD_TODO";

/// What a new file begins with.
const HEADING: &str = "\
# Findings of txsafe's guard that are known. Others fail; take a line away once it is dealt with.
# code\ttransaction\tfile\tcalled
";

/// A to-do file.
pub(super) struct Todo {
    path: PathBuf,
    /// New findings are written down.
    writes: bool,
    known: Mutex<HashSet<Entry>>,
}

/// What tells findings apart, and doesn't change with every edit: so not the line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Entry {
    code: Code,
    transaction: String,
    file: String,
    called: String,
}

impl Todo {
    /// Reads the file at `path`; one that is to be written need not be there.
    pub(super) fn open(path: &Path) -> Result<Self, InvalidSetting> {
        let writes = match env::var(TODO_VARIABLE).ok().as_deref() {
            None | Some("") => false,
            Some("write") => true,
            Some(other) => {
                let cure = "use `write`, or don't set it";
                return Err(InvalidSetting::new(TODO_VARIABLE, format!("`{other}`"), cure));
            }
        };
        Self::read(path, writes)
    }

    fn read(path: &Path, writes: bool) -> Result<Self, InvalidSetting> {
        let invalid = |why: String, cure| {
            Err(InvalidSetting::new("todo_file", format!("{}: {why}", path.display()), cure))
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if writes && error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => {
                let cure = "run the tests once with TXSAFE_GUARD_TODO=write, which makes it";
                return invalid(error.to_string(), cure);
            }
        };
        let mut known = HashSet::new();
        for (n, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let Some(entry) = Entry::parse(line) else {
                let cure = "a line is a code, a transaction, a file and what was called, with tabs between";
                return invalid(format!("line {}: {line:?}", n + 1), cure);
            };
            known.insert(entry);
        }
        Ok(Self { path: path.to_owned(), writes, known: Mutex::new(known) })
    }

    /// Whether a finding waits for somebody; a new one does from now on, if it is to be written down.
    pub(super) fn has(&self, finding: &Finding) -> bool {
        let entry = Entry::of(finding);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&entry) {
            return true;
        }
        // What can't be written down is told.
        if !self.writes || self.write(&entry).is_err() {
            return false;
        }
        known.insert(entry)
    }

    /// In one piece, since other tests write, too.
    fn write(&self, entry: &Entry) -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let heading = if file.metadata()?.len() == 0 { HEADING } else { "" };
        file.write_all(format!("{heading}{entry}\n").as_bytes())
    }
}

impl Entry {
    fn of(finding: &Finding) -> Self {
        let site = finding.site.as_ref();
        let or_dash = |text: Option<&str>| text.unwrap_or("-").replace(['\t', '\n'], " ");
        Self {
            code: finding.code,
            transaction: or_dash(Some(&finding.transaction)),
            file: or_dash(site.map(|site| site.file.as_str())),
            called: or_dash(site.and_then(|site| site.called.as_deref())),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split('\t').map(str::to_owned);
        let entry = Self {
            code: parts.next()?.parse().ok()?,
            transaction: parts.next()?,
            file: parts.next()?,
            called: parts.next()?,
        };
        parts.next().is_none().then_some(entry)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}\t{}", self.code, self.transaction, self.file, self.called)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{finding::Site, policy::Severity};
    use std::{panic::Location, time::Duration};

    fn finding(transaction: &str, file: &str, line: u32) -> Finding {
        Finding {
            code: Code::ExternalWait,
            severity: Severity::Error,
            what: "waited".into(),
            transaction: transaction.into(),
            place: Location::caller(),
            site: Some(Site { file: file.into(), line, function: None, called: None }),
            elapsed: Duration::ZERO,
            waited: None,
            times: None,
            statements: 0,
            last_sql: None,
            locks: Vec::new(),
            occurrences: 1,
            expired: None,
        }
    }

    #[test]
    fn what_was_written_down_is_known_and_nothing_else() {
        let path = env::temp_dir().join(format!("txsafe-todo-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let missing = Todo::read(&path, false).err().unwrap().to_string();
        assert!(missing.contains("TXSAFE_GUARD_TODO=write"), "{missing}");

        let writing = Todo::read(&path, true).unwrap();
        assert!(writing.has(&finding("pay", "src/pay.rs", 7)));
        assert!(writing.has(&finding("pay", "src/pay.rs", 9)), "lines move");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEADING}TXS001\tpay\tsrc/pay.rs\t-\n"));

        let known = Todo::read(&path, false).unwrap();
        assert!(known.has(&finding("pay", "src/pay.rs", 8)));
        assert!(!known.has(&finding("ship", "src/pay.rs", 8)));
        assert!(!known.has(&finding("pay", "src/ship.rs", 8)));

        fs::write(&path, "TXS001 pay\n").unwrap();
        let wrong = Todo::read(&path, false).err().unwrap().to_string();
        assert!(wrong.contains("line 1: \"TXS001 pay\""), "{wrong}");
        fs::remove_file(&path).unwrap();
    }
}
