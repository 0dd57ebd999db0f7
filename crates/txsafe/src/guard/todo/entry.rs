//! A line of a to-do file.

use crate::guard::{code::Code, finding::Finding};
use std::{
    env, fmt, fs,
    path::{Component, Path, PathBuf},
};

/// What is written where there is nothing to write.
const NOTHING: &str = "-";

/// What tells findings apart, and doesn't change with every edit: so not the line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    code: Code,
    transaction: String,
    pub(super) file: String,
    called: String,
}

impl Entry {
    /// Of a finding that was told of `subject`: for a call that has a name.
    pub(super) fn of(finding: &Finding, subject: &str, sources: &Sources) -> Self {
        let site = finding.site.as_ref();
        let clean = |text: &str| text.replace(['\t', '\n', '\r'], " ");
        let file = site.map(|site| sources.name(&site.file));
        let called = match finding.code {
            Code::ExternalCall => Some(subject),
            // Not what it was asked for, which is another file or port each time.
            Code::SystemCall => subject.split('(').next(),
            _ => site.and_then(|site| site.called.as_deref()),
        };
        Self {
            code: finding.code,
            transaction: clean(&finding.transaction),
            file: clean(file.as_deref().unwrap_or(NOTHING)),
            called: clean(called.unwrap_or(NOTHING)),
        }
    }

    /// Reads a line, or says what is wrong with it.
    pub(super) fn parse(line: &str) -> Result<Self, &'static str> {
        let parts: Vec<_> = line.split('\t').collect();
        let [code, transaction, file, called] = parts[..] else {
            return Err(
                "a line is a code, a transaction, a file and what was called, with tabs between",
            );
        };
        let code = code.parse().map_err(|_| "no finding has this code: take the line away")?;
        let [transaction, file, called] = [transaction, file, called].map(str::to_owned);
        Ok(Self { code, transaction, file, called })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}\t{}", self.code, self.transaction, self.file, self.called)
    }
}

/// The source files around a to-do file. They are named as seen from it, so that a line means the same on every machine: a
/// finding names them as seen from the workspace, or from the root of the disk.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Of the to-do file.
    folder: PathBuf,
    /// Of the workspace. Files outside, as in cargo's registry, lie elsewhere on every machine.
    root: Option<PathBuf>,
}

impl Sources {
    /// Around the to-do file at `path`.
    pub(super) fn around(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let Ok(folder) = fs::canonicalize(folder.unwrap_or(Path::new("."))) else {
            return Self::default();
        };
        let packages = folder.ancestors().filter(|folder| folder.join("Cargo.toml").is_file());
        let root = packages.last().map(Path::to_owned);
        Self { folder, root }
    }

    /// The name of a file, seen from the to-do file; as it is, if it isn't found.
    fn name(&self, file: &str) -> String {
        self.seen(file).unwrap_or_else(|| file.to_owned())
    }

    /// Whether a file that is so named is there; unknown of those that nobody could look for.
    pub(super) fn have(&self, name: &str) -> Option<bool> {
        let is_ours = name != NOTHING && Path::new(name).is_relative();
        is_ours.then(|| self.folder.join(name).is_file())
    }

    fn seen(&self, file: &str) -> Option<String> {
        let here = env::current_dir().ok()?;
        let found = here.ancestors().map(|folder| folder.join(file)).find(|path| path.is_file())?;
        let found = fs::canonicalize(found).ok()?;
        found.starts_with(self.root.as_ref()?).then_some(())?;
        let shared = self.folder.ancestors().find(|&folder| found.starts_with(folder))?;
        let up = self.folder.strip_prefix(shared).ok()?.components();
        let up = up.map(|_| Component::ParentDir);
        let down = found.strip_prefix(shared).ok()?.components();
        let parts = up.chain(down).map(|part| part.as_os_str().to_str());
        Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
    }
}
