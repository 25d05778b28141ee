//! Writes what a case made as BIDS, with its record, all or nothing.
//!
//! One [`Transaction`] holds the files of all data sets of a case, the record of the attempt and what group stages will read.
//! A failed case never replaces a good one, and an attempt that another has overtaken publishes nothing.

mod dataset;
mod files;
mod group;
mod participants;
mod transaction;

pub use group::{GroupPublication, GroupValue};
pub use transaction::{Attempted, Old, Place, Transaction};

use crate::case::{CaseLabel, dataset_of};
use crate::plan::{DatasetKind, Graph, OutputSpec, Plan};
use crate::record::{Attempts, End, Ending, OutputEntry, RecordError, StateFolder};
use crate::store::Digest;
use crate::store::entry::{self, EntryError};
use sdk::{Grid, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
    /// A record could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A volume could not be written.
    #[error(transparent)]
    Nifti(#[from] sdk::nifti::NiftiError),
    /// What group stages read could not be written.
    #[error(transparent)]
    Values(#[from] EntryError),
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
    /// A case without a session would swallow those with one.
    #[error(
        "case `{label}` has no session, but {} holds results of its sessions\nhint: choose another output folder, or name the session",
        path.display()
    )]
    HasSessions {
        /// The case.
        label: String,
        /// The subject's folder.
        path: PathBuf,
    },
    /// Another process took the case over.
    #[error(
        "`{name}` was claimed by another run meanwhile, so this result was not published\nhint: its result will come from that run"
    )]
    Fenced {
        /// The case.
        name: String,
    },
    /// What was committed cannot be read.
    #[error("{} is damaged: {source}\nhint: remove its folder and run the case again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
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
    /// What group stages read, by its name in the workflow.
    pub values: &'a [(String, Value)],
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

/// What a site wants of its output folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many replaced results of a case are kept.
    pub keep_replaced: usize,
    /// Whether what the raw data set's table says of participants is copied.
    pub copy_participants: bool,
}

/// Publishes into one output folder. Cases may be published from several threads at once.
#[derive(Debug)]
pub struct Publisher {
    place: Place,
    /// The data set that the cases are read from.
    raw: Option<PathBuf>,
    /// Held while files at the root of a data set are written.
    roots: Mutex<()>,
}

impl Publisher {
    /// Looks at the output folder before anything is computed, and finishes what an interrupted run left half done; says what.
    ///
    /// # Errors
    /// [`PublishError`] if the folder is not ours to write to.
    pub fn open(
        out: &Path,
        inputs: &mut dyn Iterator<Item = &Path>,
        policy: Policy,
    ) -> Result<(Self, Vec<String>), PublishError> {
        if out.is_file() {
            return Err(PublishError::NotAFolder { path: out.to_owned() });
        }
        std::fs::create_dir_all(out).map_err(io(out))?;
        let here = out.canonicalize().map_err(io(out))?;
        let roots = dataset_roots(inputs);
        if roots.contains(&here) {
            return Err(PublishError::OwnInput { path: out.to_owned() });
        }
        let mut entries = std::fs::read_dir(out).map_err(io(out))?;
        let empty =
            entries.all(|entry| entry.is_ok_and(|e| e.file_name().to_string_lossy().starts_with('.')));
        if !empty && !out.join("dataset_description.json").is_file() {
            return Err(PublishError::NotADataset { path: out.to_owned() });
        }
        let state = StateFolder::of(out);
        state.make()?;
        let tmp = state.tmp();
        tempfile::tempfile_in(&tmp).map_err(io(&tmp))?;
        let raw = roots.into_iter().next();
        let told = raw.clone().filter(|_| policy.copy_participants);
        let place = Place { out: out.to_owned(), state, keep_replaced: policy.keep_replaced, told };
        let said = transaction::recover(&place)?;
        participants::refresh(&place)?;
        Ok((Self { place, raw, roots: Mutex::new(()) }, said))
    }

    /// The folder that is published into.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Publishes a case and the record of its attempt. `end` says how it ended; what was published is added to it.
    ///
    /// # Errors
    /// [`PublishError`]; the data set is then as it was, or a later start completes it.
    pub fn publish(
        &self,
        number: u32,
        case: &Publication<'_>,
        mut end: End,
    ) -> Result<(Vec<Published>, End), PublishError> {
        let mut by_dataset: BTreeMap<PathBuf, Vec<Item<'_>>> = BTreeMap::new();
        for (spec, values) in case.graph.outputs.iter().zip(case.outputs) {
            let within = spec.dataset.as_ref().map_or_else(PathBuf::new, PathBuf::from);
            by_dataset.entry(within).or_default().extend(values.iter().map(|value| (spec, value)));
        }
        by_dataset.retain(|_, values| !values.is_empty());
        let label = case.label.to_string();
        let standing = self.standing(case, by_dataset.keys())?;
        let aside = standing == Standing::Good && end.ending != Ending::Ok;
        let mut transaction = Transaction::begin(&self.place, Attempted::at_case(&label, number))?;
        let mut published = Vec::new();
        for (within, values) in &by_dataset {
            if !aside {
                self.describe(within, case.graph, dataset::ignored(values))?;
            }
            let home = within.join(case.label.folder());
            let target = if aside { failed(&label).join(&home) } else { home };
            let old = if aside || standing == Standing::Failed {
                Old::Remove
            } else {
                Old::Keep(in_place(&self.place, &label).map_or(0, |(number, _)| number))
            };
            let folder = transaction.folder(&target, &old)?;
            let written = files::write_all(&folder, case, values)?;
            end.outputs.extend(entries(&folder, &target, &written)?);
            let outermost = within.as_os_str().is_empty();
            let lists = dataset::kind_of(case.graph, within) == DatasetKind::Raw
                || (outermost && participants::are_told_of(&self.place));
            if !aside && lists {
                transaction.list_participants(within.clone());
            }
            let path = |file| self.place.out.join(&target).join(file);
            published
                .extend(written.into_iter().map(|(output, file)| Published { output, path: path(file) }));
        }
        if end.ending == Ending::Ok {
            transaction.clear(failed(&label));
        }
        if !case.values.is_empty() {
            let values: Vec<_> = case.values.iter().map(|(name, value)| (name.as_str(), "", value)).collect();
            entry::write(&transaction.values_path(), &values)?;
            end.values = true;
        }
        transaction.commit(&end)?;
        Ok((published, end))
    }

    fn describe(&self, within: &Path, graph: &Graph, ignored: BTreeSet<String>) -> Result<(), PublishError> {
        let _alone = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        dataset::describe(&self.place, within, self.raw.as_deref(), graph, ignored)
    }

    /// What is in the case's places now.
    fn standing<'a>(
        &self,
        case: &Publication<'_>,
        datasets: impl Iterator<Item = &'a PathBuf>,
    ) -> Result<Standing, PublishError> {
        let mut standing = Standing::Empty;
        for within in datasets {
            let path = self.place.out.join(within).join(case.label.folder());
            if !path.is_dir() {
                continue;
            }
            if case.label.session.is_none() && has_sessions(&path) {
                return Err(PublishError::HasSessions { label: case.label.to_string(), path });
            }
            let failed = in_place(&self.place, &case.label.to_string()).map(|(_, ending)| ending);
            standing = if failed == Some(Ending::Failed) { Standing::Failed } else { Standing::Good };
        }
        Ok(standing)
    }
}

/// What is in a case's place before it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Empty,
    /// What a failed attempt could still make.
    Failed,
    /// A result, or something that nobody has recorded.
    Good,
}

/// `.neuroloom/failed/sub-01`, in the output folder.
fn failed(label: &str) -> PathBuf {
    Path::new(StateFolder::NAME).join("failed").join(label)
}

fn has_sessions(subject: &Path) -> bool {
    let entries = std::fs::read_dir(subject).into_iter().flatten().filter_map(Result::ok);
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("ses-"))
}

/// The attempt whose files are in the case's place, and how it ended.
fn in_place(place: &Place, label: &str) -> Option<(u32, Ending)> {
    let attempts = Attempts::of_case(&place.state, label);
    let in_data_set = |end: &End| end.outputs.first().is_some_and(|o| !o.path.starts_with(StateFolder::NAME));
    attempts.ends().rfind(|(_, end)| in_data_set(end)).map(|(number, end)| (number, end.ending))
}

/// The data sets that files lie in, in the order of the files; each folder is looked at once.
fn dataset_roots(files: &mut dyn Iterator<Item = &Path>) -> Vec<PathBuf> {
    let (mut seen, mut roots) = (BTreeSet::new(), Vec::new());
    for file in files {
        if seen.insert(file.parent().map(Path::to_owned)) {
            let root = dataset_of(file).map(|(root, _)| root);
            roots.extend(root.filter(|root| !roots.contains(root)));
        }
    }
    roots
}

/// All files that were staged, as they will be found in the output folder.
fn entries(
    folder: &Path,
    target: &Path,
    written: &[(String, PathBuf)],
) -> Result<Vec<OutputEntry>, PublishError> {
    let mut all = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(within) = open.pop() {
        let here = folder.join(&within);
        for entry in std::fs::read_dir(&here).map_err(io(&here))? {
            let entry = entry.map_err(io(&here))?;
            let (file, path) = (within.join(entry.file_name()), entry.path());
            if path.is_dir() {
                open.push(file);
                continue;
            }
            let content = std::fs::File::open(&path).map_err(io(&path))?;
            let bytes = content.metadata().map_err(io(&path))?.len();
            let blake3 = Digest::of_reader(content).map_err(io(&path))?;
            let output = written.iter().find(|(_, main)| *main == file).map(|(output, _)| output.clone());
            all.push(OutputEntry {
                output: output.unwrap_or_default(),
                path: target.join(file),
                bytes,
                blake3,
            });
        }
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

/// Writes a file and makes its content last.
fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), PublishError> {
    use std::io::Write as _;
    let write = || {
        let mut file = std::fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(io(path))
}

#[cfg(test)]
mod tests;
