//! A change of the output folder as a whole: files of several data sets, the record of it, kept values.
//!
//! Everything is written into `tmp/NAME.NUMBER.PROCESS.part`, each file made to last. Renaming that folder to `.ready` is the
//! commit. What follows are renames, each of which may be done again or found done: a later start finishes the `.ready` folder
//! of a dead process, and removes its `.part` folder. Before the commit a kill leaves all as it was; after it, all comes to be.
//!
//! A `.ready` folder is taken over by giving it the taker's name: of two processes that try, one succeeds.

use super::{PublishError, io, participants};
use crate::record::{Attempts, End, Ending, FORMAT, Liveness, Owned, StateFolder, sync_folder};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// State of a folder that is being written.
const PART: &str = "part";
/// State of a folder that is committed.
const READY: &str = "ready";
/// What is to be done with a committed folder.
const STEPS: &str = "steps.json";
/// The record, in a committed folder.
const END: &str = "end.json";
/// The kept values, in a committed folder.
const VALUES: &str = "values";

/// An output folder and its state.
#[derive(Clone, Debug)]
pub struct Place {
    /// The output folder.
    pub out: PathBuf,
    /// What the engine knows about it.
    pub state: StateFolder,
    /// How many replaced results of a case are kept.
    pub keep_replaced: usize,
    /// The data set whose table of participants is copied.
    pub told: Option<PathBuf>,
}

/// Whose change it is: an attempt that the caller has claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempted {
    /// The case's label, or `group-STAGE`; letters, digits, `-` and `_`.
    pub name: String,
    /// Folder of its records, relative to the state folder: `cases/sub-01`.
    pub records: PathBuf,
    /// The attempt's number.
    pub number: u32,
}

impl Attempted {
    /// An attempt at a case.
    pub fn at_case(label: &str, number: u32) -> Self {
        Self { name: label.to_owned(), records: Path::new("cases").join(label), number }
    }
}

/// What happens to a folder that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Old {
    /// It goes to `replaced/NAME.NUMBER`, with this number.
    Keep(u32),
    /// It is removed.
    Remove,
}

/// A staged folder or file, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Move {
    /// In the staging folder.
    from: String,
    /// In the output folder.
    to: PathBuf,
    /// Where, in the output folder, what is in the way goes; it is removed if this says nothing.
    aside: Option<PathBuf>,
}

/// What a committed folder is to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Steps {
    format: u32,
    whose: Attempted,
    moves: Vec<Move>,
    /// Folders and files of the output folder that are out of date once this is in place.
    clear: Vec<PathBuf>,
    /// Data sets, in the output folder, whose `participants.tsv` lists who is there.
    lists: Vec<PathBuf>,
    keep_replaced: usize,
}

/// A change that is being written. Unless it is committed, nothing comes of it.
#[derive(Debug)]
pub struct Transaction<'a> {
    place: &'a Place,
    part: PathBuf,
    steps: Steps,
}

impl<'a> Transaction<'a> {
    /// An empty change.
    ///
    /// # Errors
    /// [`PublishError`] if its folder cannot be made.
    pub fn begin(place: &'a Place, whose: Attempted) -> Result<Self, PublishError> {
        let part = place.state.tmp().join(Owned::name(&whose.name, u64::from(whose.number), PART));
        remove(&part)?;
        std::fs::create_dir_all(&part).map_err(io(&part))?;
        let keep_replaced = place.keep_replaced;
        let (moves, clear, lists) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { place, part, steps: Steps { format: FORMAT, whose, moves, clear, lists, keep_replaced } })
    }

    /// An empty folder whose content will be at `to` in the output folder.
    ///
    /// # Errors
    /// [`PublishError`] if it cannot be made.
    pub fn folder(&mut self, to: &Path, old: &Old) -> Result<PathBuf, PublishError> {
        let from = format!("data{}", self.steps.moves.len());
        let folder = self.part.join(&from);
        std::fs::create_dir(&folder).map_err(io(&folder))?;
        let aside = self.aside(to, old);
        self.steps.moves.push(Move { from, to: to.to_owned(), aside });
        Ok(folder)
    }

    /// Where to write a file that will be at `to` in the output folder.
    pub fn file(&mut self, to: &Path, old: &Old) -> PathBuf {
        let from = format!("data{}", self.steps.moves.len());
        let path = self.part.join(&from);
        let aside = self.aside(to, old);
        self.steps.moves.push(Move { from, to: to.to_owned(), aside });
        path
    }

    /// Where what is at `to` goes.
    fn aside(&self, to: &Path, old: &Old) -> Option<PathBuf> {
        let Old::Keep(number) = old else { return None };
        let name = format!("{}.{number:04}", self.steps.whose.name);
        Some(Path::new(StateFolder::NAME).join("replaced").join(name).join(to))
    }

    /// Where to write what group stages read; no file, no values.
    pub fn values_path(&self) -> PathBuf {
        self.part.join(VALUES)
    }

    /// A folder or file of the output folder that goes when this comes.
    pub fn clear(&mut self, folder: PathBuf) {
        self.steps.clear.push(folder);
    }

    /// A data set, in the output folder, that lists its participants.
    pub fn list_participants(&mut self, dataset: PathBuf) {
        self.steps.lists.push(dataset);
    }

    /// Makes it last, and puts everything into its place.
    ///
    /// # Errors
    /// [`PublishError::Fenced`] if the case was claimed again meanwhile: nothing is changed then. Otherwise [`PublishError`];
    /// if the commit was reached, a later start finishes it.
    pub fn commit(self, end: &End) -> Result<(), PublishError> {
        let ready = self.make_ready(end)?;
        apply(self.place, &ready)
    }

    /// Up to and with the commit.
    fn make_ready(&self, end: &End) -> Result<PathBuf, PublishError> {
        let text = serde_json::to_vec_pretty(end).expect("an end is plain data");
        super::write_synced(&self.part.join(END), &text)?;
        let steps = serde_json::to_vec_pretty(&self.steps).expect("steps are plain data");
        super::write_synced(&self.part.join(STEPS), &steps)?;
        sync_tree(&self.part)?;
        let whose = &self.steps.whose;
        if Attempts::is_overtaken(&self.place.state.path().join(&whose.records), whose.number) {
            return Err(PublishError::Fenced { name: whose.name.clone() });
        }
        let ready = self.part.with_extension(READY);
        rename(&self.part, &ready)?;
        Ok(ready)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // After the commit there is no such folder any more.
        let _ = std::fs::remove_dir_all(&self.part);
    }
}

/// One thing to do after the commit. Done twice, it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Takes what is in a move's way aside.
    Aside(Move),
    /// Renames a staged folder into its place.
    Place(Move),
    /// Moves the kept values to the records.
    Values,
    /// Removes what is out of date.
    Clear(PathBuf),
    /// Brings `participants.tsv` up to date.
    List(PathBuf),
    /// Puts the record into its place: from here on the result counts.
    Record,
    /// Removes replaced results beyond the policy.
    Prune,
    /// Removes the committed folder.
    Clean,
}

impl Steps {
    fn all(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for part in &self.moves {
            steps.extend([Step::Aside(part.clone()), Step::Place(part.clone())]);
        }
        steps.push(Step::Values);
        steps.extend(self.clear.iter().cloned().map(Step::Clear));
        steps.extend(self.lists.iter().cloned().map(Step::List));
        steps.extend([Step::Record, Step::Prune, Step::Clean]);
        steps
    }

    fn take(&self, place: &Place, ready: &Path, step: &Step) -> Result<(), PublishError> {
        let records = place.state.path().join(&self.whose.records);
        match step {
            Step::Aside(part) if ready.join(&part.from).exists() => set_aside(place, part),
            Step::Place(part) if ready.join(&part.from).exists() => {
                rename(&ready.join(&part.from), &place.out.join(&part.to))
            }
            Step::Values if ready.join(VALUES).is_file() => {
                rename(&ready.join(VALUES), &Attempts::values_path(&records, self.whose.number))
            }
            // Done before.
            Step::Aside(_) | Step::Place(_) | Step::Values => Ok(()),
            Step::Clear(folder) => remove(&place.out.join(folder)),
            Step::List(dataset) => participants::list(place, dataset),
            Step::Record => {
                let path = ready.join(END);
                let text = std::fs::read(&path).map_err(io(&path))?;
                let target = Attempts::end_path(&records, self.whose.number);
                crate::record::write_new(&place.state, &target, &text)?;
                Ok(())
            }
            Step::Prune => prune(&place.state, &self.whose.name, self.keep_replaced),
            Step::Clean => clean(ready),
        }
    }
}

/// Does all that a committed folder asks for.
fn apply(place: &Place, ready: &Path) -> Result<(), PublishError> {
    let steps = read_steps(ready)?;
    if is_superseded(place, &steps.whose) {
        return clean(ready);
    }
    steps.all().iter().try_for_each(|step| steps.take(place, ready, step))
}

/// Removes a committed folder; under a name that makes it unfinished first, for a kill may leave a part of it.
fn clean(ready: &Path) -> Result<(), PublishError> {
    let part = ready.with_extension(PART);
    rename(ready, &part)?;
    remove(&part)
}

fn read_steps(ready: &Path) -> Result<Steps, PublishError> {
    let path = ready.join(STEPS);
    let bytes = std::fs::read(&path).map_err(io(&path))?;
    serde_json::from_slice(&bytes).map_err(|source| PublishError::Damaged { path, source })
}

/// Whether a later attempt's result is in place already.
fn is_superseded(place: &Place, whose: &Attempted) -> bool {
    let attempts = Attempts::read(&place.state.path().join(&whose.records));
    attempts.ends().any(|(number, end)| number > whose.number && end.ending == Ending::Ok)
}

fn set_aside(place: &Place, part: &Move) -> Result<(), PublishError> {
    let target = place.out.join(&part.to);
    if !target.exists() {
        return Ok(());
    }
    let Some(aside) = &part.aside else { return remove(&target) };
    let aside = place.out.join(aside);
    remove(&aside)?;
    rename(&target, &aside)
}

/// Keeps the newest results that were replaced.
fn prune(state: &StateFolder, name: &str, keep: usize) -> Result<(), PublishError> {
    let entries = std::fs::read_dir(state.replaced()).into_iter().flatten().filter_map(Result::ok);
    let of_name = |path: PathBuf| {
        let number: u32 = path.file_name()?.to_str()?.strip_prefix(name)?.strip_prefix('.')?.parse().ok()?;
        Some((number, path))
    };
    let mut kept: Vec<(u32, PathBuf)> = entries.filter_map(|entry| of_name(entry.path())).collect();
    kept.sort();
    let surplus = kept.len().saturating_sub(keep);
    kept[..surplus].iter().try_for_each(|(_, path)| remove(path))
}

/// Finishes the committed changes of dead processes, and removes what they had not committed. Says what it finished.
pub(super) fn recover(place: &Place) -> Result<Vec<String>, PublishError> {
    let liveness = Liveness::now(&place.state);
    place.state.tidy(&liveness)?;
    let mut said = Vec::new();
    for owned in Owned::list(&place.state.tmp()) {
        if owned.is_alive(&liveness) {
            continue;
        }
        match owned.state.as_str() {
            PART => remove(&owned.path)?,
            READY => {
                let own = place.state.tmp().join(Owned::name(&owned.name, owned.number, READY));
                match std::fs::rename(&owned.path, &own) {
                    // Another process took it over.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    renamed => renamed.map_err(io(&own))?,
                }
                said.push(match apply(place, &own) {
                    Ok(()) => format!(
                        "note: finished publishing {}, where an interrupted run had begun",
                        owned.name
                    ),
                    Err(error @ PublishError::Damaged { .. }) => format!("warning: {error}"),
                    Err(error) => return Err(error),
                });
            }
            _ => {}
        }
    }
    Ok(said)
}

/// Renames and makes it last, with the folders above the new place made if need be.
fn rename(from: &Path, to: &Path) -> Result<(), PublishError> {
    let parent = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(io(parent))?;
    std::fs::rename(from, to).map_err(io(to))?;
    sync_folder(parent).map_err(io(parent))
}

fn remove(path: &Path) -> Result<(), PublishError> {
    let removed = if path.is_file() { std::fs::remove_file(path) } else { std::fs::remove_dir_all(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(path)(error)),
        _ => Ok(()),
    }
}

/// Makes the names in a folder and all below it last.
fn sync_tree(folder: &Path) -> Result<(), PublishError> {
    for entry in std::fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        }
    }
    sync_folder(folder).map_err(io(folder))
}

#[cfg(test)]
mod tests;
