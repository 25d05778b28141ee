//! Makes a published result again from its record, and compares every output.
//!
//! The record of the attempt and of its run say which workflow with which overrides was run on which files, and what they
//! and the plugins held. All of that is looked at first: a result is made again from the same things or not at all, unless
//! the caller wants it anyway. Nothing is taken from a cache, and the output folder is only read.

use crate::batch::{Finished, Session, Start, Submission, Task};
use crate::case::{BadLabel, CaseLabel, Slices};
use crate::compare::{self, CaseComparison, CompareError, FileComparison, Selection, Verdict};
use crate::plan::{Graph, Plan};
use crate::publish::{Policy, PublishError};
use crate::record::{Attempts, End, Ending, InputEntry, Liveness, RecordError, State, StateFolder};
use crate::registry::Registry;
use crate::runner::{self, CaseInput, CaseJob, CaseResult, RunOptions, StageState};
use crate::store::{Digest, Memo, NodeKeys};
use sdk::{Kind, Value};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Why a result cannot be made again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A label that BIDS does not allow.
    #[error(transparent)]
    Label(#[from] BadLabel),
    /// The folder has no records.
    #[error("{} holds no records of runs\nhint: name the folder that was given to `--out`", out.display())]
    NoRecords {
        /// The folder.
        out: PathBuf,
    },
    /// The case has no result.
    #[error("case `{label}` has no result in {}: {why}{}", out.display(), hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default())]
    NoResult {
        /// The case.
        label: String,
        /// The output folder.
        out: PathBuf,
        /// What its records say.
        why: String,
        /// A label that is near.
        hint: Option<String>,
    },
    /// The run's own record is gone.
    #[error("{} cannot be read\nhint: it tells which workflow was run; without it nothing can be made again", path.display())]
    NoSubmission {
        /// The file.
        path: PathBuf,
    },
    /// The case failed this time.
    #[error("the case could not be made again: {reason}")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// The run was stopped from outside.
    #[error("the replay was stopped")]
    Stopped,
    /// The scratch folder cannot be written.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The scratch folder cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The two results cannot be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
}

/// A result and how it was made.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The output folder.
    pub out: PathBuf,
    /// Whose result.
    pub label: CaseLabel,
    /// Number of the attempt that made it.
    pub attempt: u32,
    /// The record of that attempt.
    pub end: End,
    /// What was asked for.
    pub submission: Submission,
}

/// What became of a replay.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The case.
    pub case: String,
    /// Number of the attempt whose result was made again.
    pub attempt: u32,
    /// `identical`, `close` (but for the rounding of a network's scores) or `differs`.
    pub verdict: Verdict,
    /// Files of the result, without sidecars.
    pub outputs: usize,
    /// Of these, the same bit for bit.
    pub identical: usize,
    /// Of these, the same but for rounding.
    pub close: usize,
    /// Published files that are not as they were published.
    pub altered: Vec<String>,
    /// What is not as it was when the result was made.
    pub changed: Vec<String>,
    /// The first stage that delivered something else than recorded; none if none did or the record does not tell.
    pub first_stage: Option<String>,
    /// Every output.
    pub comparison: CaseComparison,
}

/// Finds the record of a case's result.
///
/// # Errors
/// [`ReplayError`] if there is no result, or its run has left no record.
pub fn find(out: &Path, label: &str) -> Result<Recorded, ReplayError> {
    let label = CaseLabel::parse(label)?;
    let state = StateFolder::of(out);
    if !state.cases().is_dir() {
        return Err(ReplayError::NoRecords { out: out.to_owned() });
    }
    let attempts = Attempts::of_case(&state, &label.to_string());
    let Some((attempt, end)) = attempts.latest_ok() else {
        let (why, hint) = no_result(&state, &label, &attempts);
        return Err(ReplayError::NoResult { label: label.to_string(), out: out.to_owned(), why, hint });
    };
    let home = state.run(end.run);
    let submission = Submission::read(&home)
        .ok_or_else(|| ReplayError::NoSubmission { path: home.join(Submission::FILE) })?;
    Ok(Recorded { out: out.to_owned(), label, attempt, end: end.clone(), submission })
}

fn no_result(state: &StateFolder, label: &CaseLabel, attempts: &Attempts) -> (String, Option<String>) {
    let said = attempts.latest().and_then(|attempt| attempt.end.as_ref()?.reason.clone());
    let why = match attempts.state(&Liveness::now(state)) {
        State::Never => "it was never run".to_owned(),
        State::Running => "it is running".to_owned(),
        State::Lost => "its process was killed".to_owned(),
        other => format!("{}{}", other.name(), said.map(|said| format!(": {said}")).unwrap_or_default()),
    };
    let entries = std::fs::read_dir(state.cases()).into_iter().flatten().filter_map(Result::ok);
    let known: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let near = attempts.list.is_empty().then(|| {
        crate::fault::nearest(&label.to_string(), known.iter().map(String::as_str))
            .map(|near| format!("did you mean `{near}`?"))
    });
    (why, near.flatten())
}

/// The published files that are not as they were published, sidecars too.
pub fn altered(recorded: &Recorded) -> Vec<String> {
    let look = |entry: &crate::record::OutputEntry| {
        let path = recorded.out.join(&entry.path);
        let content = match std::fs::File::open(&path).and_then(Digest::of_reader) {
            Ok(content) => content,
            Err(error) => return Some(format!("{}: {error}", entry.path.display())),
        };
        (content != entry.blake3)
            .then(|| format!("{} was changed after it was published", entry.path.display()))
    };
    recorded.end.outputs.iter().filter_map(look).collect()
}

/// What the case was read from; what is not there or not the same is added to `changed`.
pub fn inputs(
    recorded: &Recorded,
    graph: &Graph,
    memo: &Memo,
    changed: &mut Vec<String>,
) -> BTreeMap<String, CaseInput> {
    let mut inputs = BTreeMap::new();
    for entry in recorded.end.inputs.iter().filter(|entry| recorded.end.present.contains(&entry.name)) {
        match input(entry, graph, memo) {
            Ok((input, same)) => {
                changed.extend(same.err());
                inputs.insert(entry.name.clone(), input);
            }
            Err(reason) => changed.push(reason),
        }
    }
    inputs
}

/// An input as it was given, and whether it still is the same; an error if it cannot be had at all.
fn input(entry: &InputEntry, graph: &Graph, memo: &Memo) -> Result<(CaseInput, Result<(), String>), String> {
    let name = &entry.name;
    let spec = graph.input(name).ok_or_else(|| format!("the workflow has no input `{name}` any more"))?;
    match (&entry.path, &entry.value) {
        (Some(folder), Some(assumed)) => {
            let slices = Slices::assuming(folder, assumed);
            let slices = slices.ok_or_else(|| format!("the record of input `{name}` is damaged"))?;
            Ok((CaseInput::Slices(slices), Ok(())))
        }
        (Some(path), None) => {
            let file = memo.digest_of(path);
            let file = file.map_err(|error| format!("input `{name}`, {}: {error}", path.display()))?;
            let same = match (entry.digest, entry.bytes) {
                (Some(digest), _) => digest == file.digest,
                (None, bytes) => bytes.is_none_or(|bytes| bytes == file.stamp.size),
            };
            let other = || format!("input `{name}`, {}, has other content", path.display());
            Ok((CaseInput::File(path.clone()), if same { Ok(()) } else { Err(other()) }))
        }
        (None, Some(text)) if spec.kind == Kind::Number => {
            let number = text.parse::<f64>();
            let number = number.map_err(|_| format!("the record of input `{name}` holds no number"))?;
            Ok((CaseInput::Value(Value::from(number)), Ok(())))
        }
        (None, Some(text)) => Ok((CaseInput::Value(Value::from(text.as_str())), Ok(()))),
        (None, None) => Err(format!("the record does not say what input `{name}` was")),
    }
}

/// What of workflow, plugins, settings and models is not as it was when the result was made.
pub fn changes(recorded: &Recorded, graph: &Graph, registry: &Registry, keys: &NodeKeys) -> Vec<String> {
    let mut changed = Vec::new();
    let submission = &recorded.submission;
    if graph.digest != submission.digest {
        changed.push(format!("the workflow {} was edited", submission.workflow.display()));
    }
    let plugins = submission.provenance["plugins"].as_array().into_iter().flatten();
    for plugin in plugins {
        let (name, digest) = (plugin["name"].as_str().unwrap_or_default(), plugin["digest"].as_str());
        match registry.plugin(name) {
            None => changed.push(format!("plugin `{name}` is not here")),
            Some(present) if Some(present.digest()) != digest => {
                changed.push(format!("plugin `{name}` was rebuilt"));
            }
            Some(_) => {}
        }
    }
    for stage in &recorded.end.stages {
        let node =
            graph.nodes.iter().position(|node| node.stage == stage.stage && node.member == stage.member);
        let (Some(node), Some(before)) = (node, &stage.parts) else { continue };
        let now = keys.parts(node, &recorded.label.to_string(), before.inputs.clone());
        let own = now.diff(before).into_iter().filter(|sentence| !sentence.starts_with("plugin `"));
        changed.extend(own.map(|sentence| format!("stage `{}`: {sentence}", stage.place())));
    }
    changed
}

/// Runs the case again, without a cache, into the folder `scratch`.
///
/// # Errors
/// [`ReplayError`] if a stage fails, or the folder cannot be written.
pub fn rerun(
    recorded: &Recorded,
    (graph, registry): (&Arc<Graph>, &Arc<Registry>),
    (inputs, plan): (BTreeMap<String, CaseInput>, Plan),
    options: &RunOptions,
    scratch: &Path,
) -> Result<(), ReplayError> {
    let files: Vec<PathBuf> = inputs.values().filter_map(file).collect();
    let session = Session::open(&mut Start {
        out: scratch,
        inputs: &mut files.iter().map(PathBuf::as_path),
        policy: Policy { keep_replaced: 0, copy_participants: false },
        submission: &recorded.submission,
        keeping: options.keeping.as_ref(),
        part: None,
    })?;
    let label = recorded.label.to_string();
    let plan = Arc::new(plan);
    let task = Task {
        label: recorded.label.clone(),
        inputs: inputs.clone(),
        plan: Arc::clone(&plan),
        why: "replay".to_owned(),
        fingerprint: recorded.end.fingerprint,
    };
    // Nobody else knows the folder, so the claim is had.
    session.claim(&Attempts::of_case(session.state(), &label), task)?;
    let job = CaseJob { label, inputs, plan, memory_mib: 0 };
    let outcome = Mutex::new(Err(ReplayError::Stopped));
    runner::run(graph, registry, options, &mut std::iter::once(job), &|result| {
        let made = made(&result, session.finish(graph, &result));
        *outcome.lock().unwrap_or_else(PoisonError::into_inner) = made;
    });
    session.release();
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a case was made again, and if not, why.
fn made(result: &CaseResult, finished: Finished) -> Result<(), ReplayError> {
    if let Some(error) = finished.error {
        return Err(error.into());
    }
    let failed = result.records.iter().find(|record| record.state == StageState::Failed);
    match (finished.ending, failed, &result.changed) {
        (Some(Ending::Ok), ..) => Ok(()),
        (Some(Ending::Failed), Some(record), _) => {
            let reason = record.reason.clone().unwrap_or_default();
            Err(ReplayError::Failed { reason: format!("stage `{}`: {reason}", record.place()) })
        }
        (_, _, Some(changed)) => Err(ReplayError::Failed { reason: changed.clone() }),
        _ => Err(ReplayError::Stopped),
    }
}

fn file(input: &CaseInput) -> Option<PathBuf> {
    match input {
        CaseInput::File(path) => Some(path.clone()),
        CaseInput::Slices(slices) => Some(slices.folder.clone()),
        CaseInput::Value(_) => None,
    }
}

/// Compares a result with the one made again in `scratch`.
///
/// # Errors
/// [`ReplayError`] if there is nothing to compare.
pub fn judge(recorded: &Recorded, scratch: &Path, changed: Vec<String>) -> Result<Outcome, ReplayError> {
    let label = recorded.label.to_string();
    let selection = Selection { cases: vec![label.clone()], outputs: Vec::new() };
    let comparison = compare::compare(&recorded.out, scratch, &selection)?;
    let mut cases = comparison.cases.into_iter();
    let comparison = cases.next().ok_or(ReplayError::Stopped)?;
    let count = |verdict| comparison.files.iter().filter(|file| file.verdict == verdict).count();
    let outputs = comparison.files.len();
    let (identical, close) = (count(Verdict::Identical), count(Verdict::Close));
    let verdict = if identical == outputs {
        Verdict::Identical
    } else if identical + close == outputs && is_behind_network(recorded, &comparison.files) {
        Verdict::Close
    } else {
        Verdict::Differs
    };
    let again = Attempts::of_case(&StateFolder::of(scratch), &label);
    let first_stage = again.latest_ok().and_then(|(_, again)| first_difference(&recorded.end, again));
    let (attempt, altered) = (recorded.attempt, altered(recorded));
    Ok(Outcome {
        case: label,
        attempt,
        verdict,
        outputs,
        identical,
        close,
        altered,
        changed,
        first_stage,
        comparison,
    })
}

/// The first stage, in the graph's order, that delivered something else.
fn first_difference(before: &End, again: &End) -> Option<String> {
    let other = again.stages.iter().find(|stage| {
        let old = before.stages.iter().find(|old| old.stage == stage.stage && old.member == stage.member);
        old.is_some_and(|old| !old.outputs.is_empty() && old.outputs != stage.outputs)
    });
    other.map(crate::record::StageEntry::place)
}

/// Whether the sidecar of some output names a model: only then is rounding to be expected, as networks may run on other devices.
fn is_behind_network(recorded: &Recorded, files: &[FileComparison]) -> bool {
    files.iter().any(|file| compare::sidecar(&recorded.out.join(&file.file)).get("Model").is_some())
}

#[cfg(test)]
mod tests;
