//! How an output folder stands. Reads only: it works while a run goes on, and after one was killed.

use super::look::{self, running_stages, tail, urgency};
use super::manifest::{self, Line};
use super::session::Submission;
use super::stages::{Collected, StageTimes};
use crate::record::{Attempt, Attempts, Heartbeat, Liveness, State, StateFolder};
use crate::slurm::{Hands, Held};
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a case that never ran and cannot run is called.
pub const CANNOT: &str = "cannot";

/// What a case is called that a scheduler has in its queue, for the first time or again.
pub const PENDING: &str = "pending";

/// How an output folder stands.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Cases by state.
    pub counts: BTreeMap<String, usize>,
    /// The latest run, and all that live.
    pub runs: Vec<RunStatus>,
    /// All cases, those that are not done first.
    pub cases: Vec<CaseStatus>,
    /// The stages over the cohort that were tried: `STAGE`, or `STAGE/sub-01`.
    pub groups: Vec<CaseStatus>,
    /// What stages took, over all attempts: those of cases in the graph's order, then those over the cohort.
    pub stages: Vec<StageTimes>,
    /// Files that are no records or are damaged, and why.
    pub odd: Vec<Odd>,
    /// Why Slurm could not be asked, if there was something to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct RunStatus {
    /// Its number.
    pub run: u32,
    /// Whether its process lives.
    pub alive: bool,
    /// What was asked for, if that can be read.
    pub submission: Option<Submission>,
    /// Its last sign of life.
    pub heartbeat: Option<Heartbeat>,
    /// The jobs that Slurm has of it, unless it is settled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
}

/// A case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseStatus {
    /// Its label.
    pub case: String,
    /// `running`, `pending`, `failed`, `lost`, `changed`, `interrupted`, `never`, `cannot` or `done`.
    pub state: String,
    /// Number of the latest attempt; 0 if there is none.
    pub attempt: u32,
    /// The run that it was part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
    /// Since when it is so, as far as known: RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Seconds that the attempt took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Stages that run now, or ran when it was lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<String>,
    /// Why it is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether a result, maybe an earlier one, is in place.
    pub result: bool,
}

/// Something in the state folder that is no record.
#[derive(Clone, Debug, Serialize)]
pub struct Odd {
    /// Where.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// No run has been here.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} holds no state of any run\nhint: name the output folder of `neuroloom batch` or `neuroloom run`",
    out.display()
)]
pub struct NoState {
    /// The folder.
    pub out: PathBuf,
}

/// Logs that were read, by the run's folder.
type Logs = BTreeMap<String, Vec<Json>>;

impl Status {
    /// Looks at an output folder.
    ///
    /// # Errors
    /// [`NoState`] if no run has been there.
    pub fn of(out: &Path) -> Result<Self, NoState> {
        let state = StateFolder::of(out);
        if !state.runs().is_dir() {
            return Err(NoState { out: out.to_owned() });
        }
        // Slurm is asked before the records are read: what ends in between is then seen to have ended.
        let hands = Hands::of(&state);
        let liveness = Liveness::now(&state);
        let runs = runs(&state, &liveness, &hands);
        let planned = planned(&state, &runs);
        let mut labels: BTreeSet<String> = planned.keys().cloned().collect();
        labels.extend(names(&state.cases()));
        let (mut logs, mut odd, mut cases) = (Logs::new(), Vec::new(), Vec::new());
        let mut stages = Collected::default();
        for label in labels {
            let attempts = Attempts::of_case(&state, &label);
            odd.extend(
                attempts.odd.iter().map(|(path, reason)| Odd { path: path.clone(), reason: reason.clone() }),
            );
            stages.add(&attempts);
            let looks = Looks { state: &state, liveness: &liveness, hands: &hands };
            cases.push(looks.case(&attempts, &label, planned.get(&label), &mut logs));
        }
        let groups = groups(&state)
            .into_iter()
            .map(|name| {
                let attempts = Attempts::read(&state.groups().join(&name));
                stages.add(&attempts);
                Looks { state: &state, liveness: &liveness, hands: &hands }
                    .case(&attempts, &name, None, &mut logs)
                    .1
            })
            .collect();
        cases.sort_by(|(a, one), (b, two)| (a, &one.case).cmp(&(b, &two.case)));
        let cases: Vec<CaseStatus> = cases.into_iter().map(|(_, case)| case).collect();
        let mut counts = BTreeMap::new();
        for case in &cases {
            *counts.entry(case.state.clone()).or_insert(0) += 1;
        }
        let shown = runs.len().saturating_sub(1);
        let runs = runs
            .into_iter()
            .enumerate()
            .filter(|(index, run)| run.alive || !run.jobs.is_empty() || *index == shown);
        Ok(Self {
            counts,
            runs: runs.map(|(_, run)| run).collect(),
            cases,
            groups,
            stages: stages.times(),
            odd,
            trouble: hands.trouble,
        })
    }
}

/// The stages over the cohort that have records: `STAGE`, or `STAGE/sub-01`.
fn groups(state: &StateFolder) -> Vec<String> {
    let mut found = Vec::new();
    for stage in names(&state.groups()) {
        let inside = names(&state.groups().join(&stage));
        if inside.iter().any(|name| Path::new(name).extension().is_some_and(|end| end == "json")) {
            found.push(stage.clone());
        }
        let subjects = inside.iter().filter(|name| name.starts_with("sub-"));
        found.extend(subjects.map(|subject| format!("{stage}/{subject}")));
    }
    found.sort();
    found
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// All runs, by number.
fn runs(state: &StateFolder, liveness: &Liveness, hands: &Hands) -> Vec<RunStatus> {
    let mut numbers: Vec<u32> = names(&state.runs()).iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    let run = |run| {
        let home = state.run(run);
        let (submission, heartbeat) = (Submission::read(&home), Heartbeat::read(&home));
        let process = submission.as_ref().map(|submission| &submission.process);
        let alive = process.is_some_and(|process| liveness.is_alive(process, &StateFolder::home(run)));
        let jobs = hands.runs.get(&run).cloned().unwrap_or_default();
        RunStatus { run, alive, submission, heartbeat, jobs }
    };
    numbers.into_iter().map(run).collect()
}

/// The cases of the last batch.
fn planned(state: &StateFolder, runs: &[RunStatus]) -> BTreeMap<String, (Line, u32)> {
    let last = runs.iter().rev().map(|run| (run.run, manifest::read(&state.run(run.run))));
    let (run, lines) = last.into_iter().find(|(_, lines)| !lines.is_empty()).unwrap_or_default();
    lines.into_iter().map(|line| (line.case.clone(), (line, run))).collect()
}

/// What a case is looked at with.
struct Looks<'a> {
    state: &'a StateFolder,
    liveness: &'a Liveness,
    hands: &'a Hands,
}

impl Looks<'_> {
    fn case(
        &self,
        attempts: &Attempts,
        label: &str,
        planned: Option<&(Line, u32)>,
        logs: &mut Logs,
    ) -> (u8, CaseStatus) {
        let stands = attempts.state(self.liveness);
        let mut status = CaseStatus {
            case: label.to_owned(),
            state: stands.name().to_owned(),
            attempt: 0,
            run: None,
            since: None,
            seconds: None,
            stages: Vec::new(),
            reason: None,
            result: attempts.latest_ok().is_some(),
        };
        let mut urgency = urgency(stands);
        if let Some(latest) = attempts.latest() {
            fill(&mut status, latest);
            if matches!(stands, State::Running | State::Lost) {
                let home = latest.claim.as_ref().map(|claim| claim.home.clone()).unwrap_or_default();
                let log = logs.entry(home.clone()).or_insert_with(|| tail(&self.state.path().join(&home)));
                status.stages = running_stages(log, label);
            }
        } else if let Some((line, run)) = planned {
            (status.run, status.reason) = (Some(*run), Some(line.why.clone()));
            if line.decision == CANNOT {
                (status.state, urgency) = (CANNOT.to_owned(), 6);
            }
        }
        if let Some((held, why)) = self.hands.word(label, attempts, stands) {
            (status.state, urgency) = match held {
                Held::Lost => (State::Lost.name().to_owned(), look::urgency(State::Lost)),
                Held::Pending | Held::Running => (PENDING.to_owned(), look::urgency(State::Never)),
            };
            status.reason = Some(why.to_owned());
            status.stages.clear();
        }
        (urgency, status)
    }
}

fn fill(status: &mut CaseStatus, latest: &Attempt) {
    status.attempt = latest.number;
    if let Some(claim) = &latest.claim {
        (status.run, status.since) = (Some(claim.run), Some(claim.since.clone()));
        status.reason = Some(claim.why.clone());
    }
    if let Some(end) = &latest.end {
        (status.run, status.since, status.seconds) =
            (Some(end.run), Some(end.until.clone()), Some(end.seconds));
        status.reason.clone_from(&end.reason);
    }
}
