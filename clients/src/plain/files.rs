//! Files, read on tokio's blocking threads and written on the caller's own.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::case::{Call, Case, Failed, Wait, call};
use super::server::slowness;

pub(super) const CASES: &[Case] = &[
    Case::new("file.tokio.read", "read a file with `tokio::fs`", Wait::Suspends, || {
        Box::pin(read())
    }),
    Case::new("file.std.fsync", "write a file and fsync it", Wait::Blocks, || Box::pin(fsync())),
];

/// Takes some milliseconds to read or write: less might be over before anybody has looked.
const BYTES: usize = 16 << 20;

/// So many times more are enough, and fit into memory.
const MOST: u32 = 8;

fn bytes() -> Vec<u8> {
    vec![0; BYTES * slowness().min(MOST) as usize]
}

async fn read() -> Result<Call, Failed> {
    let file = Scratch::new()?;
    fs::write(file.path(), bytes())?;
    Ok(call(async move {
        tokio::fs::read(file.path()).await?;
        Ok(file)
    }))
}

async fn fsync() -> Result<Call, Failed> {
    let scratch = Scratch::new()?;
    let mut file = File::create(scratch.path())?;
    let bytes = bytes();
    Ok(call(async move {
        file.write_all(&bytes)?;
        file.sync_all()?;
        Ok((file, scratch))
    }))
}

/// The path of a file that is gone when this is dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    /// Beside the executable: a folder for temporary files may be memory, where fsync waits for nothing.
    fn new() -> io::Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);

        let mut path = env::current_exe()?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        path.set_file_name(format!("scratch-{}-{number}", process::id()));
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file that stays is no reason to fail.
        let _ = fs::remove_file(&self.0);
    }
}
