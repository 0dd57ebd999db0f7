use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;

/// What a template was made of, as 64 bits (FNV-1a): the same in every process and with every compiler.
#[derive(Clone, Debug)]
pub(super) struct Fingerprint {
    hash: u64,
    parts: usize,
}

impl Fingerprint {
    /// Of this suite, before anything of its migrations is known.
    pub(super) fn of_suite(suite: &str) -> Self {
        const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        let mut fingerprint = Self { hash: OFFSET_BASIS, parts: 0 };
        fingerprint.hash_part(suite.as_bytes());
        fingerprint
    }

    pub(super) fn add(&mut self, part: &[u8]) {
        self.parts += 1;
        self.hash_part(part);
    }

    /// Adds the names and the contents of all files under `folder`, in the order of their names.
    pub(super) fn add_files(&mut self, folder: &Path) -> Result<(), Error> {
        let unreadable = |path: &Path, source: io::Error| {
            let message = format!(
                "the migrations at {} can't be read, so the template can't be compared with them; name their \
                 folder like `concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/migrations\")`",
                path.display()
            );
            Error::caused(message, source)
        };
        let mut files = Vec::new();
        collect(folder, &mut files).map_err(|source| unreadable(folder, source))?;
        files.sort();
        for file in files {
            let contents = fs::read(&file).map_err(|source| unreadable(&file, source))?;
            let name = file.strip_prefix(folder).unwrap_or(&file);
            self.add(name.to_string_lossy().as_bytes());
            self.add(&contents);
        }
        Ok(())
    }

    /// 16 hexadecimal digits; `None` if nothing was added.
    pub(super) fn digits(&self) -> Option<String> {
        (self.parts > 0).then(|| format!("{:016x}", self.hash))
    }

    /// With its length, so that what is added can't be cut elsewhere and hash alike.
    fn hash_part(&mut self, part: &[u8]) {
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let length = (part.len() as u64).to_le_bytes();
        for byte in length.iter().chain(part) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&str]) -> Option<String> {
        let mut fingerprint = Fingerprint::of_suite("shop");
        parts.iter().for_each(|part| fingerprint.add(part.as_bytes()));
        fingerprint.digits()
    }

    #[test]
    fn it_changes_with_every_part() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
    }

    #[test]
    fn files_count_by_name_and_contents() {
        let folder = std::env::temp_dir().join(format!("txsafe-fingerprint-{}", fastrand::u64(..)));
        let one = folder.join("1_create");
        fs::create_dir_all(&one).unwrap();
        let digits = || {
            let mut fingerprint = Fingerprint::of_suite("shop");
            fingerprint.add_files(&folder).unwrap();
            fingerprint.digits()
        };
        fs::write(one.join("up.sql"), "CREATE TABLE a ()").unwrap();
        let first = digits();
        assert_eq!(first, digits());
        fs::write(one.join("up.sql"), "CREATE TABLE b ()").unwrap();
        let second = digits();
        assert_ne!(first, second);
        fs::rename(&one, folder.join("2_create")).unwrap();
        assert_ne!(second, digits());
        fs::remove_dir_all(&folder).unwrap();

        let error = Fingerprint::of_suite("shop").add_files(&folder).unwrap_err();
        assert!(error.to_string().contains("CARGO_MANIFEST_DIR"), "{error}");
    }
}
