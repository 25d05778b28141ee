//! What is known about a job: small files below its output folder, `.neuroloom/schedule/JOB`.
//!
//! `fires/TIME.ATTEMPT.start.json` says that the job was started for a due time, `….end.json` how that ended. Starts are created
//! exclusively, so of several schedulers, and of one that was killed and started again, one fires. `begun-DIGEST.json` says since when
//! a time table is known: what was due before is none of its business. `fed.json` tells which cases a watched folder has handed over,
//! and in which state of their files.

use crate::record::{Heartbeat, Liveness, Process, RecordError, StateFolder, write_new, write_whole};
use jiff::{Timestamp, Unit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Version of the records' form.
const FORMAT: u32 = 1;

/// As many fires of a job are kept; older ones are removed when the scheduler starts.
const KEPT: usize = 500;

/// Why a job's records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// They cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Another scheduler has the job.
    #[error(
        "job `{job}` is run by another scheduler: process {pid} on {host}\nhint: stop that one first, or give this job a name of its own"
    )]
    Held {
        /// The job.
        job: String,
        /// Its process.
        pid: u32,
        /// Its machine.
        host: String,
    },
}

/// Why a job was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its time had come.
    Time,
    /// Its time had come while no scheduler ran.
    CaughtUp,
    /// Cases had arrived.
    Arrived,
    /// It had been started for that time before, and did not end by itself.
    Resumed,
}

impl Why {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "its time",
            Self::CaughtUp => "a missed time, caught up",
            Self::Arrived => "new cases",
            Self::Resumed => "an earlier start that was cut off",
        }
    }
}

/// The start of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fire {
    /// Version of the form.
    pub format: u32,
    /// The due time; the time of the start if it came by cases.
    pub due: Timestamp,
    /// How often it was started for that time.
    pub attempt: u32,
    /// Why.
    pub why: Why,
    /// Due times before this one that were missed with it.
    #[serde(default)]
    pub missed: u32,
    /// The subjects that it was started for; none: the whole cohort.
    #[serde(default)]
    pub only: Option<Vec<String>>,
    /// The scheduler.
    pub process: Process,
    /// When.
    pub since: Timestamp,
}

impl Fire {
    /// A start by this process.
    pub fn new(due: Timestamp, attempt: u32, why: Why, since: Timestamp) -> Self {
        // Records are named to the second.
        let due = due.round(Unit::Second).unwrap_or(due);
        let process = Process::this().clone();
        Self { format: FORMAT, due, attempt, why, missed: 0, only: None, process, since }
    }

    fn stem(&self) -> String {
        format!("{}.{:03}", self.due.strftime("%Y%m%dT%H%M%SZ"), self.attempt)
    }
}

/// How a start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The batch ended well.
    Done,
    /// Some case failed.
    Failed,
    /// The batch could not run.
    CouldNotRun,
    /// It was stopped; the next start of the scheduler goes on with it.
    Interrupted,
    /// An earlier start was still at work.
    Skipped,
    /// Its time was missed, and the job says that such are not caught up.
    Missed,
    /// No case was ready.
    NothingReady,
}

impl Outcome {
    /// That of a batch's exit code; a batch that a signal ended has none.
    pub const fn of_exit(exit: Option<i32>) -> Self {
        match exit {
            Some(0) => Self::Done,
            Some(1) => Self::Failed,
            Some(75 | 130) | None => Self::Interrupted,
            Some(_) => Self::CouldNotRun,
        }
    }

    /// Whether a batch was started.
    pub const fn is_of_batch(self) -> bool {
        !matches!(self, Self::Skipped | Self::Missed | Self::NothingReady)
    }

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::CouldNotRun => "could not run",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped: an earlier one was at work",
            Self::Missed => "missed",
            Self::NothingReady => "no case was ready",
        }
    }
}

/// What came of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit code.
    pub exit: Option<i32>,
    /// Its summary as `batch --format json` gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<serde_json::Value>,
    /// What went wrong beside the batch: it could not be started, or a hook failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<String>,
}

/// The end of a start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FireEnd {
    /// Version of the form.
    pub format: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// What the batch said.
    #[serde(flatten)]
    pub batch: Ended,
    /// When.
    pub until: Timestamp,
}

impl FireEnd {
    /// An end now.
    pub const fn new(outcome: Outcome, batch: Ended, until: Timestamp) -> Self {
        Self { format: FORMAT, outcome, batch, until }
    }
}

/// Since when a time table is known.
#[derive(Serialize, Deserialize)]
struct Begun {
    since: Timestamp,
}

/// The records of a job.
#[derive(Clone, Debug)]
pub struct Book {
    state: StateFolder,
    home: String,
    folder: PathBuf,
}

impl Book {
    /// The records of a job that writes to `out`. Nothing is made.
    pub fn of(out: &Path, job: &str) -> Self {
        let state = StateFolder::of(out);
        let home = format!("schedule/{job}");
        Self { folder: state.path().join(&home), state, home }
    }

    /// Takes the job for this process.
    ///
    /// # Errors
    /// [`BookError`] if another scheduler has it, or nothing can be written.
    pub fn take(&self, job: &str) -> Result<(), BookError> {
        self.state.make()?;
        if let Some(other) = self.holder().filter(|other| other != Process::this()) {
            return Err(BookError::Held { job: job.to_owned(), pid: other.pid, host: other.host });
        }
        std::fs::create_dir_all(&self.folder)
            .map_err(|source| RecordError::Io { path: self.folder.clone(), source })?;
        self.beat(0)?;
        self.prune();
        Ok(())
    }

    /// The living process that has the job, if there is one.
    pub fn holder(&self) -> Option<Process> {
        let process = Heartbeat::read(&self.folder)?.process;
        Liveness::now(&self.state).is_alive(&process, &self.home).then_some(process)
    }

    /// A sign of life.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be written.
    pub fn beat(&self, number: u64) -> Result<(), RecordError> {
        Heartbeat::of_this_process(number, None, None).write(&self.state, &self.folder)
    }

    /// Since when a time table is known: now, if it was not.
    ///
    /// # Errors
    /// [`RecordError`] if that cannot be written.
    pub fn known_since(&self, table: &str, now: Timestamp) -> Result<Timestamp, RecordError> {
        let path = self.folder.join(format!("begun-{}.json", &blake3::hash(table.as_bytes()).to_hex()[..16]));
        write_new(&self.state, &path, &text(&Begun { since: now }))?;
        Ok(read::<Begun>(&path).map_or(now, |begun| begun.since))
    }

    /// Records a start; whether nobody else has made it before.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be written.
    pub fn start(&self, fire: &Fire) -> Result<bool, RecordError> {
        write_new(&self.state, &self.fires().join(format!("{}.start.json", fire.stem())), &text(fire))
    }

    /// Records an end.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be written.
    pub fn end(&self, fire: &Fire, end: &FireEnd) -> Result<(), RecordError> {
        write_new(&self.state, &self.fires().join(format!("{}.end.json", fire.stem())), &text(end)).map(drop)
    }

    /// All starts, in their order, with their ends.
    pub fn history(&self) -> Vec<(Fire, Option<FireEnd>)> {
        let fires = self.fires();
        let one = |stem: String| {
            let fire = read(&fires.join(format!("{stem}.start.json")))?;
            Some((fire, read(&fires.join(format!("{stem}.end.json")))))
        };
        self.stems().into_iter().filter_map(one).collect()
    }

    /// The subjects that were handed over, with the state of their files.
    pub fn fed(&self) -> BTreeMap<String, String> {
        read(&self.folder.join("fed.json")).unwrap_or_default()
    }

    /// Adds subjects that were handed over.
    ///
    /// # Errors
    /// [`RecordError`] if that cannot be written.
    pub fn feed(&self, subjects: &BTreeMap<String, String>) -> Result<(), RecordError> {
        let mut fed = self.fed();
        fed.extend(subjects.iter().map(|(subject, state)| (subject.clone(), state.clone())));
        write_whole(&self.state, &self.folder.join("fed.json"), &text(&fed))
    }

    /// When an incomplete case was first seen: now, if it was not.
    ///
    /// # Errors
    /// [`RecordError`] if that cannot be written.
    pub fn seen(&self, case: &str, now: Timestamp) -> Result<Timestamp, RecordError> {
        let path = self.folder.join("incomplete").join(format!("{case}.json"));
        write_new(&self.state, &path, &text(&Begun { since: now }))?;
        Ok(read::<Begun>(&path).map_or(now, |begun| begun.since))
    }

    fn fires(&self) -> PathBuf {
        self.folder.join("fires")
    }

    /// Names of the starts, oldest first.
    fn stems(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.fires()).into_iter().flatten().filter_map(Result::ok);
        let stem = |entry: std::fs::DirEntry| {
            Some(entry.file_name().to_str()?.strip_suffix(".start.json")?.to_owned())
        };
        let mut stems: Vec<String> = entries.filter_map(stem).collect();
        stems.sort();
        stems
    }

    /// Removes the oldest starts.
    fn prune(&self) {
        let stems = self.stems();
        for stem in stems.iter().rev().skip(KEPT) {
            // What stays is only history.
            let _ = std::fs::remove_file(self.fires().join(format!("{stem}.end.json")));
            let _ = std::fs::remove_file(self.fires().join(format!("{stem}.start.json")));
        }
    }
}

fn text(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(record).expect("a record is plain data")
}

/// A record, if it is there and whole.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
