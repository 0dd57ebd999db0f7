//! Lines of a file, in order, that several processes write at once.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Result, Seek, Write},
    path::Path,
};

/// What a new file begins with.
pub(super) const HEADING: &str = "\
# Findings of txsafe's guard that are known. Others fail; take a line away once it is dealt with.
# code\ttransaction\tfile\tcalled
";

/// The lines and their numbers, without comments. A file that is to be written is made, if there is none.
pub(super) fn lines(path: &Path, writes: bool) -> Result<Vec<(usize, String)>> {
    let text = if writes { open(path)?.1 } else { fs::read_to_string(path)? };
    let lines = (1..).zip(text.lines()).filter(|&(_, line)| is_entry(line));
    Ok(lines.map(|(n, line)| (n, line.to_owned())).collect())
}

/// Adds a line where it belongs in the alphabet, so that a file that is made anew differs from the old one by what is new or
/// gone. Comments and other lines stay as they are; a line that is there is not added.
pub(super) fn add(path: &Path, line: &str) -> Result<()> {
    let (mut file, mut text) = open(path)?;
    if text.lines().any(|known| known == line) {
        return Ok(());
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.insert_str(place(&text, line), &format!("{line}\n"));
    // It only grows, so nothing of the old text is left behind.
    file.rewind()?;
    file.write_all(text.as_bytes())
}

/// Behind the last line that comes before it: a comment stays with the line below.
fn place(text: &str, line: &str) -> usize {
    let mut place = if text.starts_with(HEADING) { HEADING.len() } else { 0 };
    let mut end = 0;
    for known in text.split_inclusive('\n') {
        end += known.len();
        if is_entry(known) && known.trim_end_matches(['\r', '\n']) < line {
            place = end;
        }
    }
    place
}

fn is_entry(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with('#')
}

/// The file and what is in it; nobody else has it open like this meanwhile.
fn open(path: &Path) -> Result<(File, String)> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    lock(&file)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    if text.is_empty() {
        text.push_str(HEADING);
        file.write_all(text.as_bytes())?;
    }
    Ok((file, text))
}

/// Until it is closed, or the process dies. A signal interrupts the wait for others.
fn lock(file: &File) -> Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}
