//! The files of a store, and which of them go when they take too much room.

use super::entry::PART_SUFFIX;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// After what a process wrote, as a share of the limit, the folder is looked through again: other processes write, too.
const SCAN_SHARE: u64 = 32;
/// What remains of the limit after it was exceeded, as a share: so that not every entry that follows costs another one.
const KEPT_SHARE: f64 = 0.9;
/// A file that is not complete after this belongs to a process that was killed: writing one takes seconds.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Hexadecimal digits of a key.
const KEY_DIGITS: usize = 64;
/// Those of them that name the folder; the others name the file.
pub(super) const FOLDER_DIGITS: usize = 2;

/// One file of a store.
#[derive(Clone, Debug)]
pub(super) struct StoredFile {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// When it was last used.
    pub(super) used: SystemTime,
}

/// What is in a store's folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// The entries.
    pub(super) entries: Vec<StoredFile>,
    /// Files that processes left behind that were killed.
    pub(super) left_behind: Vec<StoredFile>,
}

/// How much a store may hold, and what this process knows of it.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) bytes: u64,
    /// Bytes written since the folder was last looked through; nothing before the first time.
    unseen: Option<u64>,
}

impl Limit {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, unseen: None }
    }

    /// Counts an entry that was written, and says whether it is time to look through the folder.
    pub(super) fn is_due(&mut self, written: u64) -> bool {
        let unseen = self.unseen.map(|unseen| unseen.saturating_add(written));
        let due = unseen.is_none_or(|unseen| unseen > self.bytes / SCAN_SHARE);
        self.unseen = Some(if due { 0 } else { unseen.unwrap_or(0) });
        due
    }
}

impl Listing {
    /// Looks through a folder of entries. What goes away meanwhile, or cannot be seen, is not there.
    pub(super) fn of(folder: &Path) -> Self {
        let mut listing = Self::default();
        let now = SystemTime::now();
        for sub in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            if !is_digits(&sub.file_name(), FOLDER_DIGITS) {
                continue;
            }
            for entry in fs::read_dir(sub.path()).into_iter().flatten().filter_map(Result::ok) {
                let Ok(metadata) = entry.metadata() else { continue };
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                let file = StoredFile { path: entry.path(), bytes: metadata.len(), used };
                if is_digits(&entry.file_name(), KEY_DIGITS - FOLDER_DIGITS) {
                    listing.entries.push(file);
                } else if entry.file_name().to_string_lossy().ends_with(PART_SUFFIX)
                    && now.duration_since(used).is_ok_and(|age| age > LEFT_BEHIND)
                {
                    listing.left_behind.push(file);
                }
            }
        }
        listing
    }

    /// Bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.iter().map(|file| file.bytes).sum()
    }

    /// Removes what is left behind and, if the entries exceed `limit`, those that were not used for longest, until they take
    /// 0.9 of it. Returns what was removed.
    pub(super) fn shrink(mut self, limit: u64) -> Vec<StoredFile> {
        let mut bytes = self.bytes();
        let goal = if bytes > limit { (limit as f64 * KEPT_SHARE) as u64 } else { bytes };
        self.entries.sort_by_key(|file| file.used);
        let mut removed = self.left_behind;
        removed.retain(|file| remove(&file.path));
        for file in self.entries {
            if bytes <= goal {
                break;
            }
            if remove(&file.path) {
                bytes -= file.bytes;
                removed.push(file);
            }
        }
        removed
    }
}

/// Whether a name is one that a store gives: other files in its folder are not its own.
fn is_digits(name: &OsStr, count: usize) -> bool {
    let name = name.as_encoded_bytes();
    name.len() == count && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Removes a file; whether it is gone, by whomever.
pub(super) fn remove(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_looked_through_at_the_first_entry_and_then_rarely() {
        let mut limit = Limit::new(3200);
        let due: Vec<bool> = [60, 60, 60, 60, 60].map(|bytes| limit.is_due(bytes)).into();
        assert_eq!(due, [true, false, true, false, true]);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_so_do_files_of_the_dead() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("ab")).unwrap();
        let write = |name: &str, bytes: usize, age: u64| {
            let path = folder.path().join("ab").join(name);
            fs::write(&path, vec![0; bytes]).unwrap();
            let when = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().append(true).open(path).unwrap().set_modified(when).unwrap();
        };
        let entry = |digit: &str| digit.repeat(KEY_DIGITS - FOLDER_DIGITS);
        for (digit, bytes, age) in [("1", 400, 1), ("2", 400, 500), ("3", 400, 900)] {
            write(&entry(digit), bytes, age);
        }
        write("a file of somebody else", 5000, 9000);
        write(".dead.part", 10, 7200);
        write(".alive.part", 10, 60);
        let listing = Listing::of(folder.path());
        assert_eq!((listing.entries.len(), listing.bytes()), (3, 1200));
        let name = |file: &StoredFile| file.path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(listing.shrink(1199).iter().map(name).collect::<Vec<_>>(), [".dead.part", &entry("3")]);
        let left = Listing::of(folder.path());
        assert_eq!((left.bytes(), left.shrink(800).len()), (800, 0), "within the limit nothing goes");
    }
}
