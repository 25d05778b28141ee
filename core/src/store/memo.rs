//! What was once found out about files, so that nothing is read twice: their content's digest, and whether it can be read.
//!
//! A digest is believed as long as the file's size, time of change and inode are what they were when it was hashed. A file
//! that was changed less than [`RACY`] before could change again without showing it, so it is not remembered.
//!
//! Beside a store, what was found out is kept for later runs.

mod journal;

use super::Store;
use super::digest::Digest;
use journal::{Journal, Record};
use sdk::{Grid, Kind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Where it is kept; nothing if it ends with the process.
    journal: Option<Journal>,
}

impl Memo {
    /// A memo that ends with the process.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// The memo that is kept beside a store. If it cannot be read or written, it ends with the process.
    pub fn beside(store: &Store) -> Self {
        /// The folder of the memo in a store.
        const FOLDER: &str = "memo";
        let (mut journal, records) = Journal::open(&store.folder().join(FOLDER));
        let mut known = Known::default();
        for record in records {
            known.take(record);
        }
        if journal.is_scattered() {
            known.forget_the_gone();
            if let Err(error) = journal.replace(known.records()) {
                tracing::debug!("the memo of files could not be written anew: {error}");
            }
        }
        known.journal = Some(journal);
        Self { known: Mutex::new(known) }
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
        let path = &std::path::absolute(path)?;
        let stamp = Self::stamp(path)?;
        if let Some(known) = self.known().files.get(path).filter(|known| known.stamp == stamp) {
            return Ok(*known);
        }
        let begun = SystemTime::now();
        let state = hash(path)?;
        if !is_racy(state.stamp, begun) {
            self.known().note(Record::File { path: path.clone(), state });
        }
        Ok(state)
    }

    /// Whether that content was read as a value of that kind before; if so, on which grid (none unless it is a volume).
    pub fn readable(&self, digest: Digest, kind: Kind) -> Option<Option<Grid>> {
        self.known().readable.get(&(digest, kind)).copied()
    }

    /// Remembers that content can be read as a value of that kind.
    pub fn note_readable(&self, digest: Digest, kind: Kind, grid: Option<Grid>) {
        let mut known = self.known();
        if known.readable.get(&(digest, kind)) != Some(&grid) {
            known.note(Record::Readable { digest, kind, grid });
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Remembers what another process, or an earlier one, found out.
    fn take(&mut self, record: Record) {
        match record {
            Record::File { path, state } => drop(self.files.insert(path, state)),
            Record::Readable { digest, kind, grid } => {
                self.readable.insert((digest, kind), grid);
            }
        }
    }

    /// Remembers something new, and writes it down.
    fn note(&mut self, record: Record) {
        if let Some(Err(error)) = self.journal.as_mut().map(|journal| journal.append(&record)) {
            tracing::debug!("the memo of files cannot be written: {error}");
            self.journal = None;
        }
        self.take(record);
    }

    /// Drops files that were changed or removed, and what is known of their content. What lies in a folder that is not there
    /// now may be on a disk that comes back.
    fn forget_the_gone(&mut self) {
        let is_same = |path: &PathBuf, state: &FileState| match Memo::stamp(path) {
            Ok(stamp) => stamp == state.stamp,
            Err(_) => path.parent().is_none_or(|folder| !folder.is_dir()),
        };
        self.files.retain(|path, state| is_same(path, state));
        let contents: BTreeSet<Digest> = self.files.values().map(|state| state.digest).collect();
        self.readable.retain(|(digest, _), _| contents.contains(digest));
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        let files = self.files.iter().map(|(path, state)| Record::File { path: path.clone(), state: *state });
        let readable = self.readable.iter();
        files.chain(readable.map(|((digest, kind), grid)| Record::Readable {
            digest: *digest,
            kind: *kind,
            grid: *grid,
        }))
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

    /// A store, and a file beside it that is old enough to be trusted.
    fn old_file() -> (tempfile::TempDir, Store, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), 1 << 20).unwrap();
        let path = folder.path().join("scan.nii");
        std::fs::write(&path, "one").unwrap();
        age(&path, 60);
        (folder, store, path)
    }

    fn journals(store: &Store) -> Vec<PathBuf> {
        let files = std::fs::read_dir(store.folder().join("memo")).unwrap();
        files.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn what_one_process_found_out_the_next_one_knows_unless_the_line_is_spoilt() {
        let (_folder, store, path) = old_file();
        let (first, grid) = (Memo::beside(&store), Grid::axis_aligned([3, 4, 5], [0.1, 0.2, 0.3]));
        let state = first.digest_of(&path).unwrap();
        first.note_readable(state.digest, Kind::Image, Some(grid));
        first.note_readable(state.digest, Kind::File, None);
        let later = Memo::beside(&store);
        assert_eq!(later.known().files.get(&path), Some(&state));
        assert_eq!(later.readable(state.digest, Kind::Image), Some(Some(grid)));
        assert_eq!(later.readable(state.digest, Kind::File), Some(None));
        assert_eq!(later.readable(state.digest, Kind::Mask), None);
        let [journal] = journals(&store).try_into().unwrap();
        let text = std::fs::read_to_string(&journal).unwrap();
        let spoilt = text.replace("[3,4,5]", "[3,4,6]");
        std::fs::write(&journal, format!("{}\n{}", &spoilt, &text[..40])).unwrap();
        let later = Memo::beside(&store);
        assert_eq!(later.readable(state.digest, Kind::Image), None);
        assert_eq!(later.readable(state.digest, Kind::File), Some(None));
    }

    #[test]
    fn many_small_files_become_one_and_what_is_gone_is_forgotten() {
        let (folder, store, path) = old_file();
        for number in 0..20 {
            let other = folder.path().join(format!("other-{number}"));
            std::fs::write(&other, number.to_string()).unwrap();
            age(&other, 60);
            Memo::beside(&store).digest_of(&other).unwrap();
            std::fs::remove_file(&other).unwrap();
        }
        let state = Memo::beside(&store).digest_of(&path).unwrap();
        assert!(journals(&store).len() <= 17, "{}", journals(&store).len());
        for _ in 0..20 {
            age(&path, 50);
            Memo::beside(&store).digest_of(&path).unwrap();
        }
        let later = Memo::beside(&store);
        assert_eq!(later.known().files.get(&path).map(|known| known.digest), Some(state.digest));
        assert!(later.known().files.len() < 20, "{:?}", later.known().files);
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert_eq!(
            Memo::in_memory().digest_of(Path::new("nowhere.nii")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
