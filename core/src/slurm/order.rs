//! What a run has with Slurm: rounds of cases, the jobs they became, and how it was settled. Files in the run's folder.

use super::classes::Class;
use super::submit::Submitter;
use crate::batch::Summary;
use crate::record::{RecordError, StateFolder, write_new};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Why what a run has with Slurm cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A file could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There is no such round, array or task.
    #[error("run {run} of {} has no {what}\nhint: these commands are for the scripts that `neuroloom batch --executor slurm` writes", state.display())]
    Unknown {
        /// The run.
        run: u32,
        /// The state folder.
        state: PathBuf,
        /// What was asked for.
        what: String,
    },
}

/// A case in a round: its place in the arrays, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The case's label.
    pub case: String,
    /// Which array of the round, from 1.
    pub array: usize,
    /// Which task of the array, from 0.
    pub task: usize,
    /// What it asks for.
    pub class: Class,
    /// How often it was submitted again without a larger class.
    pub retries: u32,
    /// Why it is in the round.
    pub why: String,
}

/// An array that Slurm took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayJob {
    /// Slurm's number for it.
    pub job: String,
    /// Which array of the round, from 1; 0 for the job that follows.
    pub array: usize,
    /// How many tasks it has; 0 for the job that follows.
    pub tasks: usize,
    /// What its tasks ask for.
    pub class: Class,
    /// When it was submitted, for people: RFC 3339, UTC.
    pub at: String,
}

/// Cases that were submitted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Its number, from 1.
    pub number: u32,
    /// Its cases, array by array, task by task.
    pub places: Vec<Place>,
    /// The arrays that Slurm took.
    pub arrays: Vec<ArrayJob>,
    /// The job that follows, once Slurm took it.
    pub follow: Option<ArrayJob>,
}

impl Round {
    /// The job and task of a case, `1234_7`, once Slurm took it.
    pub fn task_of(&self, place: &Place) -> Option<String> {
        let array = self.arrays.iter().find(|array| array.array == place.array)?;
        Some(format!("{}_{}", array.job, place.task))
    }

    /// Numbers of all its jobs.
    pub fn jobs(&self) -> impl Iterator<Item = &str> {
        self.arrays.iter().chain(&self.follow).map(|array| array.job.as_str())
    }
}

/// How a run was settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// Cases by what came of them.
    pub summary: Summary,
    /// The stages over the cohort, and what came of them.
    #[serde(default)]
    pub groups: serde_json::Value,
    /// Why it was settled before its time, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When, for people: RFC 3339, UTC.
    pub at: String,
}

/// Who cancelled a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// The jobs that Slurm was told to end.
    pub jobs: Vec<String>,
    /// When, for people: RFC 3339, UTC.
    pub at: String,
}

/// A run that was given to Slurm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlurmRun {
    state: StateFolder,
    /// Its number.
    pub run: u32,
}

impl SlurmRun {
    /// A run of an output folder.
    pub fn new(state: &StateFolder, run: u32) -> Self {
        Self { state: state.clone(), run }
    }

    /// All runs of an output folder that were given to Slurm and are neither settled nor cancelled.
    pub fn open(state: &StateFolder) -> Vec<Self> {
        let entries = std::fs::read_dir(state.runs()).into_iter().flatten().filter_map(Result::ok);
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut runs: Vec<Self> = numbers.map(|run| Self::new(state, run)).collect();
        runs.retain(|run| run.round_path(1).is_file() && !run.is_over());
        runs.sort_by_key(|run| run.run);
        runs
    }

    /// The output folder's state.
    pub const fn state(&self) -> &StateFolder {
        &self.state
    }

    /// The run's folder.
    pub fn home(&self) -> PathBuf {
        self.state.run(self.run)
    }

    /// The folder of the jobs' logs.
    pub fn logs(&self) -> PathBuf {
        self.home().join("logs")
    }

    /// Whether it is settled or cancelled.
    pub fn is_over(&self) -> bool {
        self.home().join(SETTLED).exists() || self.home().join(CANCELLED).exists()
    }

    /// Freezes what its jobs are sent with.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn keep_submitter(&self, submitter: &Submitter) -> Result<bool, OrderError> {
        self.write(&self.home().join(SUBMITTER), submitter)
    }

    /// What its jobs are sent with.
    pub fn submitter(&self) -> Option<Submitter> {
        read(&self.home().join(SUBMITTER))
    }

    /// How it was settled, if it was.
    pub fn settled(&self) -> Option<Settled> {
        read(&self.home().join(SETTLED))
    }

    /// Who cancelled it, if somebody did.
    pub fn cancelled(&self) -> Option<Cancelled> {
        read(&self.home().join(CANCELLED))
    }

    /// Freezes how it was settled; whether nobody was faster.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn settle(&self, settled: &Settled) -> Result<bool, OrderError> {
        self.write(&self.home().join(SETTLED), settled)
    }

    /// Notes that it was cancelled.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn cancel(&self, cancelled: &Cancelled) -> Result<bool, OrderError> {
        self.write(&self.home().join(CANCELLED), cancelled)
    }

    /// Freezes a round; whether nobody was faster.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn begin_round(&self, number: u32, places: &[Place]) -> Result<bool, OrderError> {
        let line = |place: &Place| serde_json::to_string(place).expect("a place is plain data") + "\n";
        let text: String = places.iter().map(line).collect();
        Ok(write_new(&self.state, &self.round_path(number), text.as_bytes())?)
    }

    /// Notes that Slurm took an array of a round, or the job that follows.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn note_job(&self, round: u32, job: &ArrayJob) -> Result<bool, OrderError> {
        let path = match job.array {
            0 => self.home().join(format!("round-{round:02}.follow.json")),
            array => self.array_path(round, array),
        };
        self.write(&path, job)
    }

    /// Keeps a script beside what it was sent for.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn keep_script(&self, round: u32, array: usize, text: &str) -> Result<PathBuf, OrderError> {
        let path = match array {
            0 => self.home().join(format!("round-{round:02}.follow.sh")),
            array => self.home().join(format!("round-{round:02}.array-{array:02}.sh")),
        };
        write_new(&self.state, &path, text.as_bytes())?;
        Ok(path)
    }

    /// A round, as far as it is written.
    pub fn round(&self, number: u32) -> Option<Round> {
        let text = std::fs::read_to_string(self.round_path(number)).ok()?;
        let places: Vec<Place> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let most = places.iter().map(|place| place.array).max().unwrap_or(0);
        let arrays = (1..=most).filter_map(|array| read(&self.array_path(number, array))).collect();
        let follow = read(&self.home().join(format!("round-{number:02}.follow.json")));
        Some(Round { number, places, arrays, follow })
    }

    /// The last round that is written.
    pub fn last_round(&self) -> Option<Round> {
        let mut number = 0;
        while self.round_path(number + 1).is_file() {
            number += 1;
        }
        self.round(number)
    }

    /// All jobs of all rounds that Slurm took.
    pub fn jobs(&self) -> Vec<String> {
        let rounds = (1..).map_while(|number| self.round(number));
        rounds.flat_map(|round| round.jobs().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// That something is not there.
    pub fn unknown(&self, what: String) -> OrderError {
        OrderError::Unknown { run: self.run, state: self.state.path().to_owned(), what }
    }

    fn round_path(&self, number: u32) -> PathBuf {
        self.home().join(format!("round-{number:02}.jsonl"))
    }

    fn array_path(&self, round: u32, array: usize) -> PathBuf {
        self.home().join(format!("round-{round:02}.array-{array:02}.json"))
    }

    fn write<T: Serialize>(&self, path: &Path, what: &T) -> Result<bool, OrderError> {
        let text = serde_json::to_vec_pretty(what).expect("it is plain data");
        Ok(write_new(&self.state, path, &text)?)
    }
}

const SUBMITTER: &str = "slurm.json";
const SETTLED: &str = "settled.json";
const CANCELLED: &str = "cancelled.json";

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Puts cases into arrays: one for each class, cut where Slurm allows no more tasks. `cases` have label, class, retries, reason.
pub(super) fn places(
    cases: &[(String, Class, u32, String)],
    cases_per_task: usize,
    most_tasks: usize,
) -> Vec<Place> {
    let mut classes: Vec<Class> = cases.iter().map(|(_, class, ..)| *class).collect();
    classes.sort();
    classes.dedup();
    let (mut all, mut array) = (Vec::new(), 0);
    for class in classes {
        let own: Vec<_> = cases.iter().filter(|(_, of, ..)| *of == class).collect();
        for chunk in own.chunks(cases_per_task.max(1).saturating_mul(most_tasks.max(1))) {
            array += 1;
            for (index, (case, class, retries, why)) in chunk.iter().enumerate() {
                all.push(Place {
                    case: case.clone(),
                    array,
                    task: index / cases_per_task.max(1),
                    class: *class,
                    retries: *retries,
                    why: why.clone(),
                });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(count: usize, class: Class) -> Vec<(String, Class, u32, String)> {
        (0..count).map(|case| (format!("sub-{case:03}"), class, 0, "missing".to_owned())).collect()
    }

    #[test]
    fn each_class_is_an_array_and_long_ones_are_cut() {
        let small = Class::default();
        let large = Class { memory: 1, time: 0 };
        let all = places(&[cases(5, small), cases(1, large)].concat(), 2, 2);
        let found: Vec<_> = all.iter().map(|place| (place.array, place.task)).collect();
        assert_eq!(found, [(1, 0), (1, 0), (1, 1), (1, 1), (2, 0), (3, 0)]);
        assert_eq!(all[5].class, large);
        assert_eq!(places(&cases(500, small), 1, 1001).iter().map(|place| place.array).max(), Some(1));
    }

    #[test]
    fn a_round_is_frozen_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::of(folder.path());
        state.make().unwrap();
        let run = SlurmRun::new(&state, 7);
        assert!(SlurmRun::open(&state).is_empty());
        let places = places(&cases(3, Class::default()), 1, 2);
        assert!(run.begin_round(1, &places).unwrap());
        assert!(!run.begin_round(1, &places[..1]).unwrap(), "another was faster");
        assert!(run.home().join("round-01.jsonl").metadata().unwrap().permissions().readonly());
        let job = |array: usize, job: &str| ArrayJob {
            job: job.to_owned(),
            array,
            tasks: 2,
            class: Class::default(),
            at: String::new(),
        };
        for (array, number) in [(1, "12"), (2, "13"), (0, "14")] {
            run.note_job(1, &job(array, number)).unwrap();
        }
        let round = run.last_round().unwrap();
        assert_eq!(round.places, places);
        assert_eq!(round.task_of(&places[2]).as_deref(), Some("13_0"));
        assert_eq!(run.jobs(), ["12", "13", "14"]);
        assert_eq!(SlurmRun::open(&state), std::slice::from_ref(&run));
        run.cancel(&Cancelled { jobs: run.jobs(), at: String::new() }).unwrap();
        assert!(SlurmRun::open(&state).is_empty());
    }
}
