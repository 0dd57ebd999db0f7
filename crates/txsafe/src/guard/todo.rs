//! Findings of an old code base that are known, and wait for somebody to do something about them: a file with a line for each.

mod dead;
mod entry;
mod list;

use self::{
    dead::dead,
    entry::{Entry, Sources},
    list::{add, lines},
};
use super::finding::Finding;
use crate::invalid::InvalidSetting;
use std::{
    collections::HashSet,
    env,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Set to `write`, findings are added to the to-do file, and fail nothing; no line of it is refused as dead.
pub const TODO_VARIABLE: &str = "TXSAFE_GUARD_TODO";

/// A to-do file.
pub(super) struct Todo {
    path: PathBuf,
    sources: Sources,
    /// New findings are written down.
    writes: bool,
    known: Mutex<HashSet<Entry>>,
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
            InvalidSetting::new("todo_file", format!("{}: {why}", path.display()), cure)
        };
        let cure = if writes {
            "make its folder, and see that it can be written there"
        } else {
            "run the tests once with TXSAFE_GUARD_TODO=write, which makes it"
        };
        let lines = lines(path, writes).map_err(|error| invalid(error.to_string(), cure))?;
        let sources = Sources::around(path);
        let parse = |(n, line): (usize, String)| match Entry::parse(&line) {
            Ok(entry) => Ok((n, entry)),
            Err(cure) => Err(invalid(format!("line {n}: {line:?}"), cure)),
        };
        let entries = lines.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if !writes && let Some((why, cure)) = dead(&entries, &sources) {
            return Err(invalid(why, cure));
        }
        let known = Mutex::new(entries.into_iter().map(|(_, entry)| entry).collect());
        Ok(Self { path: path.to_owned(), sources, writes, known })
    }

    /// Whether a finding waits for somebody; a new one does from now on, if it is to be written down.
    pub(super) fn has(&self, finding: &Finding, subject: &str) -> bool {
        let entry = Entry::of(finding, subject, &self.sources);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&entry) {
            return true;
        }
        // What can't be written down is told.
        if !self.writes || add(&self.path, &entry.to_string()).is_err() {
            return false;
        }
        known.insert(entry)
    }
}

#[cfg(test)]
mod tests;
