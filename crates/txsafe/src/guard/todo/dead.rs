//! Lines that can only be dead, whatever a run finds.

use super::entry::{Entry, Sources};
use std::collections::HashMap;

/// Why one of these lines is dead, by its number, and the cure.
pub(super) fn dead(
    entries: &[(usize, Entry)],
    sources: &Sources,
) -> Option<(String, &'static str)> {
    twice(entries).or_else(|| gone(entries, sources))
}

fn twice(entries: &[(usize, Entry)]) -> Option<(String, &'static str)> {
    let mut seen = HashMap::new();
    entries.iter().find_map(|(n, entry)| {
        let first = seen.insert(entry, n)?;
        let cure = "take one of them away, or the finding stays excused by the other";
        Some((format!("line {n} is line {first} again"), cure))
    })
}

/// Where the program runs without its sources, or was told other names for them, none of the files is there, which says
/// nothing.
fn gone(entries: &[(usize, Entry)], sources: &Sources) -> Option<(String, &'static str)> {
    let is = |there| move |(_, entry): &&(usize, Entry)| sources.have(&entry.file) == Some(there);
    let (n, entry) = entries.iter().find(is(false))?;
    entries.iter().find(is(true))?;
    let cure = "take the line away, or write the file's new name into it";
    Some((format!("line {n}: there is no {} any more", entry.file), cure))
}
