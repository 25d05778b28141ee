//! What was computed before, found again by content.
//!
//! A stage's result has a [key](KeyParts): all that decides it, as one digest. Under its key a [`Store`] keeps one file with
//! the values and their digests, which are in the keys of the stages that read them: so a chain of stages is found without
//! reading any values. [`NodeKeys`] makes the keys of a workflow's nodes, and [`Memo`] knows the content of files without reading them again.
//!
//! Several processes may use one store at a time: a file gets its name when it is complete and never changes. Whatever is
//! wrong with a store costs time, never a case: damaged files count as not there, and what cannot be written is computed again.

mod digest;
pub mod entry;
mod key;
mod limit;
mod map;
mod memo;
mod node_keys;

pub use digest::{Digest, NoDigest};
pub use key::{KEY_VERSION, KeyParts};
pub use memo::{FileState, Memo, RACY, Stamp};
pub use node_keys::{NodeKeys, NodeKeysError};

use entry::{Draft, EntryError, EntryFile, Listed};
use limit::{FOLDER_DIGITS, Limit, Listing, remove};
use sdk::Outputs;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How fast stored values come back: a modest disk or a network share, in bytes per second. What a stage makes faster than
/// this is not stored, only its digests are: reading it would take longer than making it again.
pub const READ_BYTES_PER_SECOND: f64 = 400e6;
/// How much a store holds unless told otherwise, in GiB.
pub const DEFAULT_MAX_GIB: f64 = 20.0;
/// Bytes in a GiB.
pub const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
/// The folder of entries in a store: another layout gets another one, so that two versions of the engine can share a store.
const ENTRIES: &str = "v1";
/// How old the mark of an entry's last use may be before it is set anew: finer does not change which entries go first.
const MARK_AGE: Duration = Duration::from_secs(60);

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the cache folder {} cannot be used: {source}\nhint: name another with `--cache DIR` or `[cache] folder` in the site file, \
     or go without by `--no-cache`",
    folder.display()
)]
pub struct StoreError {
    /// Its folder.
    pub folder: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// Results by key, in a folder.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    limit: Mutex<Limit>,
    /// Reasons for which it failed that the user knows of.
    told: Mutex<BTreeSet<io::ErrorKind>>,
}

/// A result that is in the store.
#[derive(Clone, Debug)]
pub struct Hit {
    /// `(port, member, digest)` of each value.
    pub outputs: Vec<(String, String, Digest)>,
    /// Whether the values are there, too; if not, they are cheaper to make than to read.
    pub has_values: bool,
    /// What it took to make them, in seconds.
    pub seconds: f64,
    path: PathBuf,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Results.
    pub entries: usize,
    /// Their files, in bytes.
    pub bytes: u64,
    /// When the entry was last used that was not used for longest.
    pub oldest: Option<SystemTime>,
    /// The last use of any.
    pub newest: Option<SystemTime>,
}

/// What was removed from a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Opens a store, and makes its folder (for its owner alone: it holds images of people).
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be made or is none.
    pub fn open(folder: &Path, limit_bytes: u64) -> Result<Self, StoreError> {
        let failed = |source| StoreError { folder: folder.to_owned(), source };
        if !Self::is_at(folder) {
            make_private(folder).map_err(failed)?;
            make_private(&folder.join(ENTRIES)).map_err(failed)?;
        }
        let (limit, told) = (Mutex::new(Limit::new(limit_bytes)), Mutex::default());
        Ok(Self { folder: folder.to_owned(), limit, told })
    }

    /// Whether a folder holds a store.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(ENTRIES).is_dir()
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was stored under `key`. Only the head of its file is read; a damaged file is removed, with a warning.
    pub fn look_up(&self, key: &Digest) -> Option<Hit> {
        let path = self.path(key);
        let file = match entry::open(&path) {
            Ok(file) if file.key() == Some(*key) => file,
            Ok(_) => {
                self.discard(&EntryError::Damaged { path, what: "it belongs to another key".to_owned() });
                return None;
            }
            Err(EntryError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return None;
            }
            Err(error) => {
                self.discard(&error);
                return None;
            }
        };
        mark_used(file.file());
        Some(Hit::of(path, &file))
    }

    /// Stores what a stage made under `key`, and what that took, in seconds. Of values that are cheaper to make than to read,
    /// of paths, and of values beyond the store's limit only the digests are stored.
    ///
    /// # Errors
    /// [`EntryError::Unwritten`]. The user has been warned then, once for each reason; there is nothing left to do.
    pub fn put(&self, key: &Digest, outputs: &Outputs, seconds: f64) -> Result<Hit, EntryError> {
        let values: Vec<_> = outputs.iter().collect();
        let draft = Draft::new(&values).unwrap_or_else(|_| Draft::digests(&values)).under(*key, seconds);
        let keep =
            seconds * READ_BYTES_PER_SECOND >= draft.bytes() as f64 && draft.bytes() <= self.limit_bytes();
        let draft = if keep { draft } else { draft.without_values() };
        if let Some(hit) = self.look_up(key)
            && hit.outputs == triples(&draft.listed())
            && hit.has_values >= draft.has_values()
        {
            return Ok(hit);
        }
        let path = self.path(key);
        let written = self.write(&path, &draft).inspect_err(|error| self.tell(error))?;
        let due = self.limit.lock().unwrap_or_else(PoisonError::into_inner).is_due(written);
        if due {
            let removed = Listing::of(&self.folder.join(ENTRIES)).shrink(self.limit_bytes());
            tracing::debug!(files = removed.len(), "the cache was looked through");
        }
        Ok(Hit { outputs: triples(&draft.listed()), has_values: draft.has_values(), seconds, path })
    }

    fn write(&self, path: &Path, draft: &Draft<'_>) -> Result<u64, EntryError> {
        // Not durable: what a crash of the machine spoils is found out by its checksums, and made again.
        match draft.write(path, false) {
            Err(EntryError::Unwritten { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(&self.folder);
                let made = make_private(folder);
                made.map_err(|source| EntryError::Unwritten {
                    path: path.to_owned(),
                    bytes: draft.bytes(),
                    source,
                })?;
                draft.write(path, false)
            }
            written => written,
        }
    }

    /// Warns of an entry that cannot be used: of each damaged one, which is removed; else once for each reason.
    fn discard(&self, error: &EntryError) {
        match error {
            EntryError::Damaged { path, .. } => {
                remove(path);
                tracing::warn!("the cache holds a damaged entry, which was removed: {error}");
            }
            EntryError::Unreadable { source, .. } if self.is_news(source) => {
                tracing::warn!("the cache cannot be read: {error}");
            }
            _ => {}
        }
    }

    /// Whether the user does not know yet that the store fails for this reason.
    fn is_news(&self, reason: &io::Error) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(reason.kind())
    }

    /// Warns of a write that failed, once for each reason.
    fn tell(&self, error: &EntryError) {
        let EntryError::Unwritten { source, .. } = error else { return };
        if self.is_news(source) {
            tracing::warn!(
                "the cache cannot keep a result, which will be computed again next time: {error}, or set `[cache]` in \
                 the site file, or go without by `--no-cache`"
            );
        }
    }

    /// What it holds.
    pub fn survey(&self) -> Survey {
        let entries = Listing::of(&self.folder.join(ENTRIES)).entries;
        Survey {
            entries: entries.len(),
            bytes: entries.iter().map(|file| file.bytes).sum(),
            oldest: entries.iter().map(|file| file.used).min(),
            newest: entries.iter().map(|file| file.used).max(),
        }
    }

    /// Reads every entry; removes those that are damaged, and tells what is wrong with them.
    pub fn verify(&self) -> Vec<EntryError> {
        let mut entries = Listing::of(&self.folder.join(ENTRIES)).entries;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let wrong: Vec<_> = entries.iter().filter_map(|file| self.check(&file.path).err()).collect();
        for error in &wrong {
            if let EntryError::Damaged { path, .. } = error {
                remove(path);
            }
        }
        wrong
    }

    fn check(&self, path: &Path) -> Result<(), EntryError> {
        let file = match entry::open(path) {
            // Another process removed it in the meantime.
            Err(EntryError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            file => file?,
        };
        if file.key().is_none_or(|key| self.path(&key) != path) {
            let what = "it belongs to another key".to_owned();
            return Err(EntryError::Damaged { path: path.to_owned(), what });
        }
        if file.has_values() { file.load_all().map(drop) } else { Ok(()) }
    }

    /// Removes what was not used for longest until no more than `limit_bytes` remain.
    pub fn collect(&self, limit_bytes: u64) -> Removed {
        let removed = Listing::of(&self.folder.join(ENTRIES)).shrink(limit_bytes);
        Removed { files: removed.len(), bytes: removed.iter().map(|file| file.bytes).sum() }
    }

    /// How much it may hold, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// The file of a key: in one of 256 folders, by its first byte.
    fn path(&self, key: &Digest) -> PathBuf {
        let name = key.to_string();
        let (folder, file) = name.split_at(FOLDER_DIGITS);
        self.folder.join(ENTRIES).join(folder).join(file)
    }
}

impl Hit {
    fn of(path: PathBuf, file: &EntryFile) -> Self {
        let outputs = triples(&file.list());
        Self { outputs, has_values: file.has_values(), seconds: file.seconds(), path }
    }

    /// The values: mapped, and verified.
    ///
    /// # Errors
    /// When the file is damaged (it is removed then), gone, another's, or holds digests only: the stage must run.
    pub fn load(&self) -> Result<Outputs, EntryError> {
        let loaded = entry::open(&self.path).and_then(|file| {
            if triples(&file.list()) == self.outputs {
                return file.load_all();
            }
            let what = "it was replaced by another result".to_owned();
            Err(EntryError::Unreadable { path: self.path.clone(), source: io::Error::other(what) })
        });
        loaded.inspect_err(|error| {
            if matches!(error, EntryError::Damaged { .. }) {
                remove(&self.path);
            }
        })
    }
}

fn triples(listed: &[Listed]) -> Vec<(String, String, Digest)> {
    listed.iter().map(|value| (value.port.clone(), value.member.clone(), value.digest)).collect()
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    /// For the owner alone.
    const MODE: u32 = 0o700;
    fs::DirBuilder::new().recursive(true).mode(MODE).create(folder)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// Marks a file as used now, unless it was a moment ago. A store that cannot be written to keeps its marks.
fn mark_used(file: &File) {
    let now = SystemTime::now();
    let fresh = file
        .metadata()
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|used| now.duration_since(used).is_ok_and(|since| since < MARK_AGE));
    if !fresh && let Err(error) = file.set_modified(now) {
        tracing::debug!("the use of a cache entry could not be marked: {error}");
    }
}

#[cfg(test)]
mod tests;
