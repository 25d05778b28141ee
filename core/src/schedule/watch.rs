//! Which cases of a watched folder are ready.
//!
//! A folder is looked through every so often, and by nothing else: that works on network file systems, which tell nobody of changes
//! that another machine made. A case is ready when its files, by size and time of change, were the same for long enough *as seen from
//! here*: no clock but the scheduler's own is compared with. A subject is handed over as a whole, when all its cases are ready.

use super::book::Book;
use super::file::{Job, Watch};
use crate::case::{Cohort, CohortCase};
use crate::plan::InputSpec;
use crate::record::RecordError;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A file as it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Where.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was changed, in ns since 1970 by the clock of its file system.
    pub changed_ns: u128,
}

impl Stamp {
    /// A file, if it is there.
    pub fn of(path: &Path) -> Option<Self> {
        let data = path.metadata().ok()?;
        let changed = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let changed_ns = changed.map_or(0, |time| time.as_nanos());
        Some(Self { path: path.to_owned(), bytes: data.len(), changed_ns })
    }
}

/// A case that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its label.
    pub case: String,
    /// Its subject, without `sub-`.
    pub subject: String,
    /// Its files.
    pub files: Vec<Stamp>,
    /// Inputs that it is to be waited for, and that are not there yet.
    pub lacks: Vec<String>,
}

impl Arrived {
    /// The cases of a cohort that could run. Beside its inputs a case's files are all in the folders of its inputs, unless another
    /// subject has files there, too: a copy that is still going on shows by a file of another name.
    pub fn of(cohort: &Cohort, inputs: &[InputSpec], wait_for: &[String]) -> Vec<Self> {
        let folders = |case: &CohortCase| -> BTreeSet<PathBuf> {
            case.inputs.values().filter_map(|given| Some(given.file()?.parent()?.to_owned())).collect()
        };
        let mut owners: BTreeMap<PathBuf, BTreeSet<&str>> = BTreeMap::new();
        for case in &cohort.cases {
            for folder in folders(case) {
                owners.entry(folder).or_default().insert(&case.label.subject);
            }
        }
        let can_run = |case: &&CohortCase| {
            inputs.iter().all(|input| !input.required || case.inputs.contains_key(&input.name))
        };
        let arrived = |case: &CohortCase| {
            let own = folders(case).into_iter().filter(|folder| owners[folder].len() == 1);
            let beside = own.flat_map(|folder| entries(&folder));
            let given = case.inputs.values().filter_map(|given| given.file().map(Path::to_owned));
            let files: BTreeSet<PathBuf> = beside.chain(given.flat_map(|path| whole(&path))).collect();
            Self {
                case: case.label.to_string(),
                subject: case.label.subject.clone(),
                files: files.iter().filter_map(|path| Stamp::of(path)).collect(),
                lacks: wait_for.iter().filter(|input| !case.inputs.contains_key(*input)).cloned().collect(),
            }
        };
        cohort.cases.iter().filter(can_run).map(arrived).collect()
    }

    /// Its files in short.
    fn state(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for file in &self.files {
            let line = format!("{}\0{}\0{}\n", file.path.display(), file.bytes, file.changed_ns);
            hasher.update(line.as_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

/// A file, or all files of a folder of slices.
fn whole(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() { entries(path) } else { vec![path.to_owned()] }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    all.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

/// Looks through a job's folder.
pub trait Look {
    /// The cases that could run, now.
    ///
    /// # Errors
    /// What the user should know, if the folder cannot be looked through.
    fn cases(&mut self, job: &Job) -> Result<Vec<Arrived>, String>;
}

/// A case as it was seen last.
struct Seen {
    subject: String,
    state: String,
    /// Since when it is so.
    since: Timestamp,
    /// Whether it was so for long enough.
    stable: bool,
    /// Whether what it is to be waited for is there, or was waited for long enough.
    complete: bool,
}

/// Follows the cases of one watched folder.
#[derive(Default)]
pub struct Watcher {
    cases: BTreeMap<String, Seen>,
}

/// Subjects to hand over, and the state of their files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ready {
    /// All that are ready.
    pub(super) all: BTreeMap<String, String>,
    /// Of these, the ones that were not handed over in this state before.
    pub(super) new: BTreeMap<String, String>,
    /// Whether there are others, which are not.
    pub(super) others: bool,
}

impl Watcher {
    /// Takes note of what is there now.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be recorded since when an incomplete case is there.
    pub fn observe(
        &mut self,
        arrived: Vec<Arrived>,
        now: Timestamp,
        rule: &Watch,
        book: &Book,
    ) -> Result<(), RecordError> {
        let mut before = std::mem::take(&mut self.cases);
        for case in arrived {
            let state = case.state();
            let old = before.remove(&case.case).filter(|old| old.state == state);
            let since = old.map_or(now, |old| old.since);
            let stable = now.duration_since(since) >= seconds(rule.stable_s);
            let complete = case.lacks.is_empty() || {
                let limit = SignedDuration::from_secs_f64(rule.limit_h * 3600.0);
                now.duration_since(book.seen(&case.case, now)?) >= limit
            };
            let seen = Seen { subject: case.subject, state, since, stable, complete };
            self.cases.insert(case.case, seen);
        }
        Ok(())
    }

    /// Whether some case changed a moment ago: a little later more is known.
    pub fn is_settling(&self) -> bool {
        self.cases.values().any(|case| !case.stable)
    }

    /// What is ready, where these subjects were handed over before.
    pub(super) fn ready(&self, fed: &BTreeMap<String, String>) -> Ready {
        let mut subjects: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
        for case in self.cases.values() {
            subjects.entry(&case.subject).or_default().push(case);
        }
        let mut ready = Ready::default();
        for (subject, cases) in subjects {
            let states: Vec<&str> = cases.iter().map(|case| case.state.as_str()).collect();
            let state = states.join(" ");
            let known = fed.get(subject) == Some(&state);
            if known || cases.iter().all(|case| case.stable && case.complete) {
                ready.all.insert(subject.to_owned(), state.clone());
                if !known {
                    ready.new.insert(subject.to_owned(), state);
                }
            } else {
                ready.others = true;
            }
        }
        ready
    }
}

/// Whole seconds as a span of time.
pub(super) fn seconds(count: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(count).unwrap_or(i64::MAX))
}
