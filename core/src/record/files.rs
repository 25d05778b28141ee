//! Where the state of an output folder lies, and how its small files are written.

use super::process::{Liveness, Process};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Why the state of an output folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file or folder could not be written, read or removed.
    #[error("cannot write {}: {source}\nhint: is there space, and may you write there?", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl RecordError {
    pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Whether an error comes of a disk that is full, of a user's share that is used up, or of a file system that became read-only.
pub fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem);
        }
        cause = error.source();
    }
    false
}

/// `OUT/.neuroloom`, and what lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// Its name.
    pub const NAME: &'static str = ".neuroloom";

    /// That of an output folder.
    pub fn of(out: &Path) -> Self {
        Self(out.join(Self::NAME))
    }

    /// Makes it.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be made.
    pub fn make(&self) -> Result<(), RecordError> {
        let tmp = self.tmp();
        std::fs::create_dir_all(&tmp).map_err(RecordError::at(&tmp))
    }

    /// Itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is being written; nothing in it lasts.
    pub fn tmp(&self) -> PathBuf {
        self.0.join("tmp")
    }

    /// All runs.
    pub fn runs(&self) -> PathBuf {
        self.0.join("runs")
    }

    /// A run's folder: manifest, submission, log, heartbeat.
    pub fn run(&self, number: u32) -> PathBuf {
        self.0.join(Self::home(number))
    }

    /// A run's folder, relative to this: `runs/0007`.
    pub fn home(number: u32) -> String {
        format!("runs/{number:04}")
    }

    /// All cases with records.
    pub fn cases(&self) -> PathBuf {
        self.0.join("cases")
    }

    /// The records of a case.
    pub fn case(&self, label: &str) -> PathBuf {
        self.cases().join(label)
    }

    /// The records of all group stages.
    pub fn groups(&self) -> PathBuf {
        self.0.join("groups")
    }

    /// Results that were replaced.
    pub fn replaced(&self) -> PathBuf {
        self.0.join("replaced")
    }

    /// What failed cases could still make, where a good result is in place.
    pub fn failed(&self) -> PathBuf {
        self.0.join("failed")
    }

    /// Removes the small files that dead processes left half written.
    ///
    /// # Errors
    /// [`RecordError`] if one cannot be removed.
    pub fn tidy(&self, liveness: &Liveness) -> Result<(), RecordError> {
        let small = Owned::list(&self.tmp()).into_iter().filter(|owned| owned.state == SMALL);
        for owned in small.filter(|owned| !owned.is_alive(liveness)) {
            match std::fs::remove_file(&owned.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(RecordError::at(&owned.path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What the names of small files in `tmp` end with.
const SMALL: &str = "small";

/// Something in `tmp`: `NAME.ATTEMPT.PROCESS.STATE`. Its name tells who may touch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it is for: a case's label.
    pub(crate) name: String,
    /// Number of the attempt, or of the file.
    pub(crate) number: u64,
    /// Its owner's [`Process::tag`].
    pub(crate) tag: String,
    /// `part`, `ready` or `small`.
    pub(crate) state: String,
}

impl Owned {
    /// The name of something of this process.
    pub(crate) fn name(name: &str, number: u64, state: &str) -> String {
        format!("{name}.{number:04}.{}.{state}", Process::this().tag())
    }

    /// All that lies in a `tmp` folder under such a name, sorted.
    pub(crate) fn list(tmp: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(tmp).into_iter().flatten().filter_map(Result::ok);
        let mut found: Vec<Self> = entries.filter_map(|entry| Self::parse(&entry.path())).collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    fn parse(path: &Path) -> Option<Self> {
        let mut parts = path.file_name()?.to_str()?.rsplitn(4, '.').map(str::to_owned);
        let (state, tag, number, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Self { path: path.to_owned(), name, number: number.parse().ok()?, tag, state })
    }

    /// Whether its owner may still be at work on it.
    pub(crate) fn is_alive(&self, liveness: &Liveness) -> bool {
        Process::is_own_tag_alive(&self.tag).unwrap_or_else(|| liveness.is_fresh(&self.path))
    }
}

/// A number for each small file of this process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Writes a file under a name of its own in `tmp`, and makes it last if it is to.
fn write_aside(state: &StateFolder, bytes: &[u8], lasts: bool) -> Result<PathBuf, RecordError> {
    let name = Owned::name("file", NEXT.fetch_add(1, Ordering::Relaxed), SMALL);
    let path = state.tmp().join(name);
    let write = || {
        let mut file = std::fs::File::create(&path)?;
        file.write_all(bytes)?;
        if lasts { file.sync_all() } else { Ok(()) }
    };
    write().map_err(|source| {
        let _ = std::fs::remove_file(&path);
        RecordError::Io { path: path.clone(), source }
    })?;
    Ok(path)
}

/// Makes a new name in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// Replaces a small file as a whole: a reader sees the old text or the new one.
///
/// # Errors
/// [`RecordError`]; the old file is then as it was.
pub fn write_whole(state: &StateFolder, path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    replace(path, &write_aside(state, bytes, true)?)
}

/// The same for what says nothing any more once the machine has gone down: nobody waits for the disk.
///
/// # Errors
/// [`RecordError`]; the old file is then as it was.
pub(super) fn write_passing(state: &StateFolder, path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    replace(path, &write_aside(state, bytes, false)?)
}

/// Gives a finished file its name.
fn replace(path: &Path, aside: &Path) -> Result<(), RecordError> {
    std::fs::rename(aside, path).map_err(|source| {
        let _ = std::fs::remove_file(aside);
        RecordError::Io { path: path.to_owned(), source }
    })
}

/// Creates a small read-only file unless one of that name exists; whether it did. Of several processes on several machines,
/// one creates it.
///
/// # Errors
/// [`RecordError`] if it cannot be written.
pub fn write_new(state: &StateFolder, path: &Path, bytes: &[u8]) -> Result<bool, RecordError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(RecordError::at(folder))?;
    let aside = write_aside(state, bytes, true)?;
    let created = link_new(&aside, path, bytes);
    let _ = std::fs::remove_file(&aside);
    let created = created.map_err(RecordError::at(path))?;
    sync_folder(folder).map_err(RecordError::at(folder))?;
    Ok(created)
}

/// Gives a finished file its name, if that is free.
fn link_new(aside: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    make_read_only(aside)?;
    match std::fs::hard_link(aside, path) {
        Ok(()) => Ok(true),
        // On a network file system the reply may be lost and the link be made: then the file has two names.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(links(aside) == 2),
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Err(error),
        // A file system without hard links: exclusive creation still lets one process through.
        Err(_) => match std::fs::File::options().write(true).create_new(true).open(path) {
            Ok(mut file) => file.write_all(bytes).and_then(|()| file.sync_all()).map(|()| true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        },
    }
}

/// How many names a file has.
#[cfg(unix)]
fn links(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().map_or(0, |data| data.nlink())
}

#[cfg(not(unix))]
fn links(_: &Path) -> u64 {
    0
}

fn make_read_only(path: &Path) -> std::io::Result<()> {
    let mut rights = path.metadata()?.permissions();
    rights.set_readonly(true);
    std::fs::set_permissions(path, rights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_that_create_one_file_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::of(folder.path());
        state.make().unwrap();
        let path = state.case("sub-01").join("0001.claim.json");
        let create = |number: u8| write_new(&state, &path, &[number]).unwrap();
        let created: Vec<bool> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|number| scope.spawn(move || create(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<usize> =
            created.iter().enumerate().filter(|(_, won)| **won).map(|(i, _)| i).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), [winners[0] as u8]);
        assert_eq!(std::fs::read_dir(state.tmp()).unwrap().count(), 0);
    }

    #[test]
    fn what_the_dead_left_is_removed_and_what_the_living_write_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::of(folder.path());
        state.make().unwrap();
        let dead = Process { started: 1, ..Process::this().clone() }.tag();
        let names = [format!("file.0001.{dead}.small"), Owned::name("file", 7, SMALL), "alien".to_owned()];
        for name in &names {
            std::fs::write(state.tmp().join(name), "x").unwrap();
        }
        state.tidy(&Liveness::now(&state)).unwrap();
        let left = names.map(|name| state.tmp().join(name).exists());
        assert_eq!(left, [false, true, true]);
    }
}
