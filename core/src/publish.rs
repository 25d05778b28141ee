//! Writes a case's outputs as BIDS, all or nothing.
//!
//! Files are written into a folder of their own beside the data set's, which is then renamed into place. An older result is
//! moved to `.neuroloom/replaced` first; a start that finds a half swap finishes it. A failed case never replaces a good one.

mod dataset;
mod files;

use crate::case::{CaseLabel, dataset_of};
use crate::plan::{DatasetKind, Graph, OutputSpec, Plan};
use sdk::{Grid, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The engine's own folder in an output data set.
pub const STATE_FOLDER: &str = ".neuroloom";

/// Why a case's results could not be written. Nothing half written is left in the data set.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file or folder could not be written, moved or removed.
    #[error("cannot write {}: {source}\nhint: is there space, and may you write there?", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A volume could not be written.
    #[error(transparent)]
    Nifti(#[from] sdk::nifti::NiftiError),
    /// The output folder is a file.
    #[error("{} is a file where a folder is expected\nhint: name a folder; it is made if need be", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// The output folder already holds something else.
    #[error(
        "{} holds files but no `dataset_description.json`\nhint: choose an empty folder, or one that an earlier run made",
        path.display()
    )]
    NotADataset {
        /// The folder.
        path: PathBuf,
    },
    /// The output folder holds a data set that is the input.
    #[error("{} is the data set that the case is read from\nhint: choose another folder", path.display())]
    OwnInput {
        /// The folder.
        path: PathBuf,
    },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> PublishError + '_ {
    move |source| PublishError::Io { path: path.to_owned(), source }
}

/// A file the case was read from: its input's name, path and grid.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The input's name.
    pub input: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its grid, if it is a volume.
    pub grid: Option<Grid>,
}

/// What is published for a case.
pub struct Publication<'a> {
    /// The workflow.
    pub graph: &'a Graph,
    /// What the case was to do.
    pub plan: &'a Plan,
    /// Whose.
    pub label: &'a CaseLabel,
    /// For each of the graph's outputs: its members and their values.
    pub outputs: &'a [Vec<(String, Value)>],
    /// What it was made from.
    pub sources: &'a [SourceFile],
    /// Whether every stage delivered.
    pub ok: bool,
}

/// An output and one of its values, with its member's name.
type Item<'a> = (&'a OutputSpec, &'a (String, Value));

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The output's name.
    pub output: String,
    /// The file.
    pub path: PathBuf,
}

/// Looks at the output folder before anything is computed, and finishes what an interrupted run left half done.
///
/// # Errors
/// [`PublishError`] if the folder is not ours to write to.
pub fn prepare(out: &Path, graph: &Graph, sources: &[SourceFile]) -> Result<(), PublishError> {
    if out.is_file() {
        return Err(PublishError::NotAFolder { path: out.to_owned() });
    }
    std::fs::create_dir_all(out).map_err(io(out))?;
    let own = sources.iter().filter_map(|source| dataset_of(&source.path)).map(|(root, _)| root);
    let here = out.canonicalize().map_err(io(out))?;
    if own.into_iter().any(|root| root == here) {
        return Err(PublishError::OwnInput { path: out.to_owned() });
    }
    let mut entries = std::fs::read_dir(out).map_err(io(out))?;
    let empty = entries.all(|entry| entry.is_ok_and(|e| e.file_name().to_string_lossy().starts_with('.')));
    if !empty && !out.join("dataset_description.json").is_file() {
        return Err(PublishError::NotADataset { path: out.to_owned() });
    }
    let probe = out.join(STATE_FOLDER);
    std::fs::create_dir_all(&probe).map_err(io(&probe))?;
    tempfile::tempfile_in(&probe).map_err(io(&probe))?;
    let inner: BTreeSet<PathBuf> =
        graph.outputs.iter().filter_map(|spec| Some(out.join(spec.dataset.as_ref()?))).collect();
    inner.iter().try_for_each(|root| recover(root))?;
    recover(out)
}

/// Writes a case's outputs below `out`.
///
/// # Errors
/// [`PublishError`]; the data set is then as it was.
pub fn publish(out: &Path, case: &Publication<'_>) -> Result<Vec<Published>, PublishError> {
    let mut by_dataset: BTreeMap<PathBuf, Vec<Item<'_>>> = BTreeMap::new();
    for (spec, values) in case.graph.outputs.iter().zip(case.outputs) {
        let root = spec.dataset.as_ref().map_or_else(|| out.to_owned(), |folder| out.join(folder));
        by_dataset.entry(root).or_default().extend(values.iter().map(|value| (spec, value)));
    }
    let mut published = Vec::new();
    for (root, values) in by_dataset {
        if values.is_empty() {
            continue;
        }
        std::fs::create_dir_all(&root).map_err(io(&root))?;
        let kind = if root == *out { case.graph.dataset } else { DatasetKind::Derivative };
        dataset::describe(&root, kind, case, &values)?;
        let part = staging(&root, case.label, "part");
        std::fs::create_dir_all(&part).map_err(io(&part))?;
        let written = files::write_all(&part, case, &values);
        let written = written.inspect_err(|_| drop(std::fs::remove_dir_all(&part)))?;
        let target = place(&root, &part, case)?;
        published
            .extend(written.into_iter().map(|(output, file)| Published { output, path: target.join(file) }));
    }
    Ok(published)
}

/// `.neuroloom/tmp/sub-01_ses-02.PROCESS.part`.
fn staging(root: &Path, label: &CaseLabel, state: &str) -> PathBuf {
    let name = format!("{label}.{}.{state}", std::process::id());
    root.join(STATE_FOLDER).join("tmp").join(name)
}

/// Moves a finished folder to its place. From the moment it is called `ready`, a later start can finish the move.
fn place(root: &Path, part: &Path, case: &Publication<'_>) -> Result<PathBuf, PublishError> {
    let target = root.join(case.label.folder());
    if !case.ok && target.exists() {
        let failed = root.join(STATE_FOLDER).join("failed").join(case.label.to_string());
        remove(&failed)?;
        rename(part, &failed)?;
        return Ok(failed);
    }
    let ready = staging(root, case.label, "ready");
    rename(part, &ready)?;
    swap_in(root, &ready, case.label)?;
    Ok(target)
}

/// Puts a finished folder in the case's place; what was there is kept until the next change.
fn swap_in(root: &Path, ready: &Path, label: &CaseLabel) -> Result<(), PublishError> {
    let target = root.join(label.folder());
    if target.exists() {
        let old = root.join(STATE_FOLDER).join("replaced").join(label.to_string());
        remove(&old)?;
        rename(&target, &old)?;
    }
    rename(ready, &target)
}

/// Renames a folder and makes it last, with the folders above its new place made if need be.
fn rename(from: &Path, to: &Path) -> Result<(), PublishError> {
    let parent = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(io(parent))?;
    std::fs::rename(from, to).map_err(io(to))?;
    std::fs::File::open(parent).and_then(|folder| folder.sync_all()).map_err(io(parent))
}

fn remove(folder: &Path) -> Result<(), PublishError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(folder)(error)),
        _ => Ok(()),
    }
}

/// Finishes the swaps and removes the unfinished folders of processes that are gone.
fn recover(root: &Path) -> Result<(), PublishError> {
    let folder = root.join(STATE_FOLDER).join("tmp");
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(()) };
    for entry in entries.filter_map(Result::ok) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let mut parts = name.splitn(3, '.');
        let (Some(label), Some(process), Some(state)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if process.parse::<u32>().is_ok_and(is_running) {
            continue;
        }
        match (state, CaseLabel::parse(label)) {
            ("ready", Ok(label)) => swap_in(root, &path, &label)?,
            _ => remove(&path)?,
        }
    }
    Ok(())
}

/// Whether a process of this machine is alive. Where that cannot be told, its folders are left alone.
fn is_running(process: u32) -> bool {
    process != std::process::id()
        && (!Path::new("/proc").is_dir() || Path::new(&format!("/proc/{process}")).exists())
}

/// Writes a small file as a whole: a reader sees the old text or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), PublishError> {
    use std::io::Write as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io(path))?;
    file.write_all(bytes).map_err(io(path))?;
    make_readable(file.as_file()).map_err(io(path))?;
    file.as_file().sync_all().map_err(io(path))?;
    file.persist(path).map_err(|error| PublishError::Io { path: path.to_owned(), source: error.error })?;
    Ok(())
}

/// Temporary files are private; published ones follow the usual rights.
#[cfg(unix)]
fn make_readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    /// Owner writes, everyone reads.
    const PUBLISHED: u32 = 0o644;
    file.set_permissions(std::fs::Permissions::from_mode(PUBLISHED))
}

#[cfg(not(unix))]
fn make_readable(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}
