//! What a server leaves on the machine: a folder, and processes in one process group.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Taken while the server runs; tells later whether anything is left of it.
#[derive(Debug)]
pub(crate) struct Traces {
    home: PathBuf,
    group: String,
}

impl Traces {
    pub(crate) fn of(data_dir: &Path) -> Self {
        let pid_file = fs::read_to_string(data_dir.join("postmaster.pid")).unwrap();
        let postmaster = pid_file.lines().next().unwrap();
        let group = ps(&["-o", "pgid=", "-p", postmaster]).trim().to_owned();
        assert!(!group.is_empty(), "process {postmaster} does not run");
        Self { home: data_dir.parent().unwrap().to_owned(), group }
    }

    pub(crate) fn assert_gone(&self) {
        assert!(!self.home.exists(), "{self:?} left its folder behind");
        assert!(!self.group_is_alive(), "{self:?} left a process behind");
    }

    /// For an owner that could not wait for it. Nobody is left to tell us, so we must look.
    pub(crate) fn assert_gone_soon(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while (self.home.exists() || self.group_is_alive()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        self.assert_gone();
    }

    fn group_is_alive(&self) -> bool {
        ps(&["-A", "-o", "pgid=,stat="]).lines().any(|line| {
            let mut columns = line.split_whitespace();
            // A zombie is dead; in a container nobody may ever bury it.
            columns.next() == Some(&self.group) && !columns.next().unwrap_or("Z").starts_with('Z')
        })
    }
}

fn ps(arguments: &[&str]) -> String {
    let output = Command::new("ps").args(arguments).output().expect("these tests need `ps`");
    String::from_utf8(output.stdout).unwrap()
}
