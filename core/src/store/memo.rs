//! What was once found out about files, so that nothing is read twice: their content's digest, and whether it can be read.
//!
//! A digest is believed as long as the file's size, time of change and inode are what they were when it was hashed. A file
//! that was changed less than [`RACY`] before could change again without showing it, so it is not remembered.

use super::digest::Digest;
use sdk::{Grid, Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The coarsest step in which file systems in use keep the time of change (FAT): two changes within it may look like one.
pub const RACY: Duration = Duration::from_secs(2);
/// How often a file that changes while it is read is read again before that is an error.
const MOST_READS: usize = 3;

/// How a file looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Time of change, in nanoseconds since 1970; negative before.
    pub mtime_ns: i64,
    /// The file's number in its file system; 0 where there is none.
    pub inode: u64,
}

/// A file's content and how it looked when that was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileState {
    /// BLAKE3 of its content.
    pub digest: Digest,
    /// How it looked.
    pub stamp: Stamp,
}

/// What was found out about files so far.
#[derive(Debug, Default)]
pub struct Memo {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    files: BTreeMap<PathBuf, FileState>,
    /// Contents that could be read as values of a kind, with the grid of volumes.
    readable: BTreeMap<(Digest, Kind), Option<Grid>>,
}

impl Memo {
    /// A memo that ends with the process.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// How a file looks now.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn stamp(path: &Path) -> io::Result<Stamp> {
        std::fs::metadata(path).map(|metadata| Stamp::of(&metadata))
    }

    /// A file's content; it is read only if that is not known.
    ///
    /// # Errors
    /// When the file cannot be read, or changes all the while.
    pub fn digest_of(&self, path: &Path) -> io::Result<FileState> {
        let stamp = Self::stamp(path)?;
        if let Some(known) = self.known().files.get(path).filter(|known| known.stamp == stamp) {
            return Ok(*known);
        }
        let state = hash(path)?;
        if !is_racy(state.stamp, SystemTime::now()) {
            self.known().files.insert(path.to_owned(), state);
        }
        Ok(state)
    }

    /// Whether that content was read as a value of that kind before; if so, on which grid (none unless it is a volume).
    pub fn readable(&self, digest: Digest, kind: Kind) -> Option<Option<Grid>> {
        self.known().readable.get(&(digest, kind)).copied()
    }

    /// Remembers that content can be read as a value of that kind.
    pub fn note_readable(&self, digest: Digest, kind: Kind, grid: Option<Grid>) {
        self.known().readable.insert((digest, kind), grid);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stamp {
    /// Of what the system says about a file.
    pub fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let nanoseconds = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        let mtime_ns = match modified.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => nanoseconds(since),
            Err(before) => -nanoseconds(before.duration()),
        };
        Self { size: metadata.len(), mtime_ns, inode: inode(metadata) }
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

/// Whether the file may change again without showing it: it changed just now, or in what the clock holds for the future.
fn is_racy(stamp: Stamp, now: SystemTime) -> bool {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    i128::from(stamp.mtime_ns) > now as i128 - RACY.as_nanos() as i128
}

/// The content of a file that looks the same before and after it was read.
fn hash(path: &Path) -> io::Result<FileState> {
    for _ in 0..MOST_READS {
        let file = File::open(path)?;
        let before = Stamp::of(&file.metadata()?);
        let digest = Digest::of_reader(&file)?;
        if Stamp::of(&file.metadata()?) == before {
            return Ok(FileState { digest, stamp: before });
        }
    }
    Err(io::Error::other(format!(
        "it changed {MOST_READS} times while it was read; is it still being written?"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path, seconds: u64) {
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    #[test]
    fn a_file_that_looks_the_same_is_not_read_again_and_one_that_does_not_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.nii");
        std::fs::write(&path, "one").unwrap();
        age(&path, 60);
        let memo = Memo::in_memory();
        let first = memo.digest_of(&path).unwrap();
        let when = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "two").unwrap();
        File::options().append(true).open(&path).unwrap().set_modified(when).unwrap();
        assert_eq!(memo.digest_of(&path).unwrap(), first, "same size, time and inode");
        age(&path, 59);
        assert_eq!(memo.digest_of(&path).unwrap().digest, Digest::of_bytes(b"two"));
    }

    #[test]
    fn a_file_that_changed_a_moment_ago_or_in_the_future_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.nii");
        let memo = Memo::in_memory();
        for shift in [0i64, 3600] {
            let when = SystemTime::now() + Duration::from_secs(shift as u64);
            for text in ["one", "two"] {
                std::fs::write(&path, text).unwrap();
                File::options().append(true).open(&path).unwrap().set_modified(when).unwrap();
                assert_eq!(memo.digest_of(&path).unwrap().digest, Digest::of_bytes(text.as_bytes()));
            }
        }
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert_eq!(
            Memo::in_memory().digest_of(Path::new("nowhere.nii")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
