//! One run's hold on an output folder.

use super::decide::{bytes, content, fingerprint, place_of};
use super::heart::Heart;
use super::log::RunLog;
use crate::case::{CaseLabel, DESCRIPTION};
use crate::plan::{Graph, Plan};
use crate::publish::{Policy, Publication, PublishError, Published, Publisher, SourceFile};
use crate::record::{
    self, Attempts, Claim, Claimed, End, Ending, FORMAT, InputEntry, Process, RecordError, StageEntry,
    StateFolder, Token, write_new,
};
use crate::runner::{CaseInput, CaseResult, Keeping, StageRecord, StageState};
use crate::store::Digest;
use sdk::{Content, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was asked for, frozen in the run's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// `run` or `batch`.
    pub command: String,
    /// The workflow's file, absolute.
    pub workflow: PathBuf,
    /// Its name.
    pub name: String,
    /// BLAKE3 of all its texts, overrides included.
    pub digest: String,
    /// The files that it was read from, the user's first, each with the BLAKE3 of its text.
    #[serde(default)]
    pub files: Vec<(PathBuf, Digest)>,
    /// `--use` arguments.
    #[serde(default)]
    pub operators: Vec<String>,
    /// `--set` arguments.
    #[serde(default)]
    pub settings: Vec<String>,
    /// Where the cohort is, absolute; none for a single case.
    #[serde(default)]
    pub cohort: Option<PathBuf>,
    /// The device asked for.
    #[serde(default)]
    pub device: Option<String>,
    /// All arguments as given.
    pub arguments: Vec<String>,
    /// The folder they were given in.
    pub folder: PathBuf,
    /// Engine, workflow and plugins, as in `case.provenance`.
    pub provenance: serde_json::Value,
    /// The process that runs it.
    pub process: Process,
    /// When, for people: RFC 3339, UTC.
    pub since: String,
}

impl Submission {
    /// Name of the file in a run's folder.
    pub const FILE: &'static str = "submission.json";

    /// What was asked for in a run, if it can be read.
    pub fn read(home: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(home.join(Self::FILE)).ok()?).ok()
    }
}

/// What a session is opened with.
pub struct Start<'a> {
    /// Where results go.
    pub out: &'a Path,
    /// All files that its cases will be read from.
    pub inputs: &'a mut dyn Iterator<Item = &'a Path>,
    /// What the site wants of its output folders.
    pub policy: Policy,
    /// What was asked for.
    pub submission: &'a Submission,
    /// What identifies results and files; without it no record has a fingerprint.
    pub keeping: Option<&'a Keeping>,
    /// The task of a run that this process is, if a scheduler started it; otherwise the session is a run of its own.
    pub part: Option<Part>,
}

/// A task that a scheduler started for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of the run that it is a part of.
    pub run: u32,
    /// How the scheduler calls it.
    pub token: Token,
}

impl Part {
    /// The folder of its heartbeat and log, relative to the state folder: `runs/0007/tasks/1234_7.0`.
    pub fn home(&self) -> String {
        format!("{}/tasks/{}.{}", StateFolder::home(self.run), self.token.task_name(), self.token.restart)
    }
}

/// A case that is to be claimed.
pub struct Task {
    /// Whose.
    pub label: CaseLabel,
    /// What it brings.
    pub inputs: BTreeMap<String, CaseInput>,
    /// What it is to do.
    pub plan: Arc<Plan>,
    /// Why it runs.
    pub why: String,
    /// What it is made from, if that is known.
    pub fingerprint: Option<Digest>,
}

/// How a case ended and what came of it.
#[derive(Debug)]
pub struct Finished {
    /// Its label.
    pub label: String,
    /// How it ended; none if another run has overtaken it.
    pub ending: Option<Ending>,
    /// The main file of each output.
    pub published: Vec<Published>,
    /// Why it ended so, unless it is ok.
    pub reason: Option<String>,
    /// The way out.
    pub hint: Option<String>,
    /// Why nothing was published, if something was to be.
    pub error: Option<PublishError>,
    /// Seconds from admission to its end.
    pub seconds: f64,
}

/// A case that this session works on.
struct Open {
    number: u32,
    since: String,
    task: Task,
}

/// One run's hold on an output folder.
pub struct Session {
    publisher: Publisher,
    run: u32,
    /// Relative to the state folder.
    home: String,
    token: Option<Token>,
    keeping: Option<Keeping>,
    open: Mutex<BTreeMap<String, Open>>,
    /// What the start finished for earlier runs.
    said: Vec<String>,
    _heart: Heart,
}

impl Session {
    /// Opens the folder, finishes what dead runs left, and takes the next run's number.
    ///
    /// # Errors
    /// [`PublishError`] if the folder is not ours to write to.
    pub fn open(start: &mut Start<'_>) -> Result<Self, PublishError> {
        // The cohort first: its files may be links to somewhere else.
        let cohort = start.submission.cohort.as_ref().map(|cohort| cohort.join(DESCRIPTION));
        let cohort = cohort.filter(|path| path.is_file());
        let mut inputs = cohort.as_deref().into_iter().chain(start.inputs.map(|path| -> &Path { path }));
        let (publisher, said) = Publisher::open(start.out, &mut inputs, start.policy)?;
        let state = &publisher.place().state;
        let (run, within) = match start.part {
            Some(part) => (part.run, part.home()),
            None => next_run(state).map(|run| (run, StateFolder::home(run)))?,
        };
        let home = state.path().join(&within);
        if start.part.is_none() {
            let text = serde_json::to_vec_pretty(start.submission).expect("a submission is plain data");
            write_new(state, &home.join(Submission::FILE), &text)?;
        } else {
            std::fs::create_dir_all(&home)
                .map_err(|source| PublishError::Io { path: home.clone(), source })?;
        }
        let attached = RunLog::attach(&home);
        attached.map_err(|source| PublishError::Io { path: home.clone(), source })?;
        let heart = Heart::start(state, &home)?;
        let keeping = start.keeping.cloned();
        let token = start.part.map(|part| part.token);
        Ok(Self { publisher, run, home: within, token, keeping, open: Mutex::default(), said, _heart: heart })
    }

    /// The run's number.
    pub const fn run(&self) -> u32 {
        self.run
    }

    /// The run's folder, or that of the task.
    pub fn home(&self) -> PathBuf {
        self.state().path().join(&self.home)
    }

    /// Whether the scheduler has started a later attempt of this very task, to which everything is left.
    pub fn is_overruled_by(&self, claim: &Claim) -> bool {
        let theirs = claim.token.as_deref().and_then(Token::parse);
        claim.run == self.run && self.token.zip(theirs).is_some_and(|(own, theirs)| theirs.overrules(&own))
    }

    /// Whether the scheduler has ended what made a claim, and started this process in its place.
    pub fn overrules(&self, claim: &Claim) -> bool {
        claim.is_overruled(self.run, self.token)
    }

    /// The state that it works on.
    pub fn state(&self) -> &StateFolder {
        &self.publisher.place().state
    }

    /// Where it publishes.
    pub const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// What the start finished for earlier runs, as notes and warnings.
    pub fn said(&self) -> &[String] {
        &self.said
    }

    fn cases(&self) -> MutexGuard<'_, BTreeMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a case, if nobody has since `attempts` were read.
    ///
    /// # Errors
    /// [`RecordError`] if the claim cannot be written.
    pub fn claim(&self, attempts: &Attempts, task: Task) -> Result<Claimed, RecordError> {
        let label = task.label.to_string();
        let since = record::now();
        let claim = Claim {
            format: FORMAT,
            name: label.clone(),
            run: self.run,
            process: Process::this().clone(),
            home: self.home.clone(),
            token: self.token.map(|token| token.to_string()),
            why: task.why.clone(),
            fingerprint: task.fingerprint,
            since: since.clone(),
        };
        let claimed = attempts.claim_next(self.state(), &claim)?;
        if let Claimed::Mine(number) = claimed {
            self.cases().insert(label, Open { number, since, task });
        }
        Ok(claimed)
    }

    /// Publishes what a claimed case made, with the record of how it ended.
    pub fn finish(&self, graph: &Graph, result: &CaseResult) -> Finished {
        let open = self.cases().remove(&result.label);
        let open = open.expect("a case that runs was claimed, and ends once");
        let end = self.end(graph, &open, result);
        let mut finished = Finished {
            label: result.label.clone(),
            ending: Some(end.ending),
            published: Vec::new(),
            reason: end.reason.clone(),
            hint: end.hint.clone(),
            error: None,
            seconds: result.seconds,
        };
        let written = if matches!(end.ending, Ending::Ok | Ending::Failed) {
            self.publish(graph, &open, result, end.clone())
        } else {
            self.note(&open, &end).map(|()| Vec::new()).map_err(PublishError::from)
        };
        match written {
            Ok(published) => finished.published = published,
            Err(error) => {
                finished.ending = self.note_unpublished(&open, end, &error);
                finished.error = Some(error);
            }
        }
        finished
    }

    fn publish(
        &self,
        graph: &Graph,
        open: &Open,
        result: &CaseResult,
        end: End,
    ) -> Result<Vec<Published>, PublishError> {
        let sources = sources(result);
        let kept: Vec<(String, Value)> =
            result.kept.iter().map(|(source, value)| (graph.name_of(source), value.clone())).collect();
        let publication = Publication {
            graph,
            plan: &result.plan,
            label: &open.task.label,
            outputs: &result.outputs,
            sources: &sources,
            values: &kept,
        };
        Ok(self.publisher.publish(open.number, &publication, end)?.0)
    }

    fn note(&self, open: &Open, end: &End) -> Result<(), RecordError> {
        let folder = self.state().case(&end.name);
        Attempts::write_end(self.state(), &folder, open.number, end).map(drop)
    }

    /// Records that a result could not be published, as far as that can still be written.
    fn note_unpublished(&self, open: &Open, end: End, error: &PublishError) -> Option<Ending> {
        if matches!(error, PublishError::Fenced { .. }) {
            return None;
        }
        let full = record::is_disk_full(error);
        let ending = if full { Ending::Interrupted } else { Ending::Failed };
        let text = error.to_string();
        let (reason, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        let end = End { ending, reason: Some(reason.to_owned()), hint, outputs: Vec::new(), ..end };
        let _ = self.note(open, &end);
        Some(ending)
    }

    /// Ends what was claimed and never ran: it is interrupted. Returns how many cases that are.
    pub fn release(&self) -> usize {
        let open = std::mem::take(&mut *self.cases());
        for (label, open) in &open {
            let end = End {
                reason: Some("the run was stopped before it began".to_owned()),
                ..self.blank(label, open)
            };
            let _ = self.note(open, &end);
        }
        open.len()
    }

    fn end(&self, graph: &Graph, open: &Open, result: &CaseResult) -> End {
        let failed = result.records.iter().find(|record| record.state == StageState::Failed);
        let (ending, reason) = if result.interrupted {
            (Ending::Interrupted, Some("the run was stopped from outside".to_owned()))
        } else if let Some(changed) = &result.changed {
            (Ending::Changed, Some(changed.clone()))
        } else if result.ok {
            (Ending::Ok, None)
        } else {
            (Ending::Failed, failed.map(failure))
        };
        let digests = self.digests(open, result);
        let fingerprint = open.task.fingerprint.or_else(|| self.fingerprint(graph, &open.task, &digests));
        End {
            ending,
            reason,
            hint: failed.filter(|_| ending == Ending::Failed).and_then(|record| record.hint.clone()),
            fingerprint,
            present: result.plan.present.clone(),
            stages: result.records.iter().map(stage_entry).collect(),
            inputs: open.task.inputs.iter().map(|input| input_entry(input, &digests)).collect(),
            seconds: result.seconds,
            until: record::now(),
            ..self.blank(&result.label, open)
        }
    }

    /// Content of a case's files, as far as they can be read.
    fn digests(&self, open: &Open, result: &CaseResult) -> BTreeMap<String, Digest> {
        let Some(keeping) = &self.keeping else { return BTreeMap::new() };
        let seen = |name: &String| result.inputs.iter().find(|seen| seen.name == *name)?.state;
        let digest = |(name, input): (&String, &CaseInput)| {
            let known = seen(name).filter(|_| matches!(input, CaseInput::File(_))).map(|state| state.digest);
            Some((name.clone(), known.or_else(|| content(&keeping.memo, input)?.ok())?))
        };
        open.task.inputs.iter().filter_map(digest).collect()
    }

    /// What a case was made from; none if a file cannot be read.
    fn fingerprint(&self, graph: &Graph, task: &Task, digests: &BTreeMap<String, Digest>) -> Option<Digest> {
        let keys = &self.keeping.as_ref()?.keys;
        let on_disk = task.inputs.iter().filter(|(_, input)| place_of(input).is_some());
        let known = on_disk.into_iter().all(|(name, _)| digests.contains_key(name));
        known.then(|| fingerprint(graph, keys, &task.plan, &task.inputs, digests))
    }

    /// The end of a case that did nothing.
    fn blank(&self, label: &str, open: &Open) -> End {
        End {
            format: FORMAT,
            name: label.to_owned(),
            run: self.run,
            ending: Ending::Interrupted,
            reason: None,
            hint: None,
            fingerprint: open.task.fingerprint,
            present: open.task.plan.present.clone(),
            stages: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            values: false,
            seconds: 0.0,
            since: open.since.clone(),
            until: record::now(),
        }
    }
}

/// `stage `brain`: no brain found`.
fn failure(record: &StageRecord) -> String {
    let reason = record.reason.as_deref().unwrap_or("no reason given");
    match record.stage.strip_prefix("input ") {
        Some(input) => format!("input `{input}` could not be read: {reason}"),
        None => format!("stage `{}`: {reason}", record.place()),
    }
}

fn stage_entry(record: &StageRecord) -> StageEntry {
    StageEntry {
        stage: record.stage.clone(),
        member: record.member.clone(),
        operator: record.operator.clone(),
        state: record.state,
        reason: record.reason.clone(),
        hint: record.hint.clone(),
        location: record.location.clone(),
        seconds: record.evidence.seconds,
        peak_mib: record.evidence.peak_mib,
        alone: record.evidence.alone,
        cached: record.evidence.cached,
        key: record.evidence.key,
        parts: record.evidence.parts.as_deref().cloned(),
        outputs: record.evidence.outputs.clone(),
    }
}

/// What a case brings, as it is recorded.
pub(super) fn input_entry(
    (name, input): (&String, &CaseInput),
    digests: &BTreeMap<String, Digest>,
) -> InputEntry {
    let path = place_of(input).map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let value = match input {
        CaseInput::File(_) => None,
        CaseInput::Slices(slices) => Some(slices.assumed().to_string()),
        CaseInput::Value(value) => plain(&value.content),
    };
    InputEntry { name: name.clone(), path, value, digest: digests.get(name).copied(), bytes: bytes(input) }
}

/// A number or a text as it was given.
pub(super) fn plain(content: &Content) -> Option<String> {
    match content {
        Content::Number(number) => Some(number.to_string()),
        Content::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn sources(result: &CaseResult) -> Vec<SourceFile> {
    let file = |seen: &crate::runner::InputRecord| SourceFile {
        input: seen.name.clone(),
        path: seen.path.clone(),
        grid: seen.grid,
    };
    result.inputs.iter().map(file).collect()
}

/// Makes the next run's folder: of several processes each gets one of its own.
fn next_run(state: &StateFolder) -> Result<u32, PublishError> {
    let runs = state.runs();
    let io = |source| PublishError::Io { path: runs.clone(), source };
    std::fs::create_dir_all(&runs).map_err(io)?;
    loop {
        let entries = std::fs::read_dir(&runs).map_err(io)?.filter_map(Result::ok);
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let next = numbers.max().unwrap_or(0) + 1;
        match std::fs::create_dir(state.run(next)) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| next).map_err(io),
        }
    }
}

#[cfg(test)]
pub(super) mod tests_support {
    use super::*;

    /// A workflow of nothing.
    pub(in crate::batch) fn blank_graph() -> Graph {
        Graph {
            name: "nothing".to_owned(),
            version: "1".to_owned(),
            dataset: crate::plan::DatasetKind::Derivative,
            files: Vec::new(),
            digest: "0".repeat(64),
            inputs: Vec::new(),
            nodes: Vec::new(),
            outputs: Vec::new(),
            cohort: Vec::new(),
            cohort_outputs: Vec::new(),
            notes: Vec::new(),
        }
    }
}
