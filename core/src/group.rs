//! Stages over the sessions of a subject, or over a cohort: they run after all cases, one after the other.
//!
//! A group stage reads what was kept of each case, from a file a case; nothing stays in memory between two reads. Its key is
//! made of operator, build, settings and, for each case, the digests of what it brings, or why it brings nothing: if the last
//! result has that key, it stays. Otherwise the stage runs, with a folder of its own that survives a kill as long as the key
//! is the same.

mod brings;
mod work;

use crate::batch::Part;
use crate::plan::{Graph, GroupNode};
use crate::publish::{Attempted, GroupPublication, GroupValue, PublishError, Published, Publisher};
use crate::record::{
    Attempts, Claim, Claimed, End, Ending, FORMAT, Liveness, Process, RecordError, StageEntry, State,
    StateFolder, now,
};
use crate::registry::Registry;
use crate::runner::{RunOptions, StageState};
use crate::store::{Digest, KeyParts, NodeKeys};
use brings::Brings;
use sdk::{CaseEntry, Cause, OperatorError, Outputs, Scope};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A case of the cohort, after it has run.
#[derive(Clone, Debug, Default)]
pub struct GroupCase {
    /// Who it is, and why it failed, if it did.
    pub entry: CaseEntry,
    /// The entry file with what was kept of it, under the names of the values; none if it failed, or nothing was to be kept.
    pub values: Option<PathBuf>,
    /// The inputs that were present.
    pub present: BTreeSet<String>,
}

/// What the group stages of a run are given.
pub struct GroupRun<'a> {
    /// The workflow.
    pub graph: &'a Graph,
    /// The plugins.
    pub registry: &'a Arc<Registry>,
    /// Device, threads, scratch folder, events; set `cancel` to stop.
    pub options: &'a RunOptions,
    /// What identifies results.
    pub keys: &'a NodeKeys,
    /// Where results go.
    pub publisher: &'a Publisher,
    /// Number of the run, for the records.
    pub run: u32,
    /// The job that this process is, if a scheduler started it for the run.
    pub part: Option<Part>,
}

/// What became of a group stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// The last result is still that of these cases.
    UpToDate,
    /// It ran, and its result is in place.
    Done,
    /// No case has values for it.
    Nothing,
    /// It failed; an older result stays.
    Failed,
    /// It was stopped, and will go on where it was.
    Interrupted,
}

/// How a group stage ended.
#[derive(Debug, Serialize)]
pub struct GroupResult {
    /// The stage's name.
    pub stage: String,
    /// The subject with `sub-`; none for the cohort.
    pub subject: Option<String>,
    /// How it ended.
    pub state: GroupState,
    /// Why it ran, failed or did not run.
    pub reason: String,
    /// The way out.
    pub hint: Option<String>,
    /// The main file of each output that was published now.
    #[serde(skip)]
    pub published: Vec<Published>,
    /// Seconds the operator worked.
    pub seconds: f64,
}

/// Where the records of a group stage lie, relative to the state folder: `groups/STAGE`, or `groups/STAGE/sub-01`.
pub fn records(stage: &str, subject: Option<&str>) -> PathBuf {
    Path::new("groups").join(stage).join(subject.unwrap_or_default())
}

/// Why a group stage could not be run at all.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("another process is at work on it\nhint: wait for its end, then run the cohort again")]
    Busy,
    #[error("cannot write {}: {source}\nhint: is there space, and may you write there?", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
}

/// Runs all group stages over `cases`, which are in the order of their labels.
pub fn run(run: &GroupRun<'_>, cases: &[GroupCase]) -> Vec<GroupResult> {
    let mut results = Vec::new();
    let plans = brings::Plans::new(run.graph, run.registry.as_ref());
    for (index, group) in run.graph.cohort.iter().enumerate() {
        for (subject, members) in units(group.scope, cases) {
            let brings = members.iter().map(|case| plans.brings(index, case)).collect();
            let unit = Unit { run, index, group, subject, cases: brings };
            results.push(unit.result());
        }
    }
    results
}

/// The groups that a stage sees: each subject's sessions in time order, or all cases.
fn units(scope: Scope, cases: &[GroupCase]) -> Vec<(Option<String>, Vec<&GroupCase>)> {
    if scope != Scope::Subject {
        return vec![(None, cases.iter().collect())];
    }
    let mut subjects: BTreeMap<&str, Vec<&GroupCase>> = BTreeMap::new();
    for case in cases {
        subjects.entry(&case.entry.subject).or_default().push(case);
    }
    let unit = |(subject, mut sessions): (&str, Vec<_>)| {
        crate::case::in_time_order(&mut sessions, |case: &&GroupCase| {
            (&case.entry.columns, case.entry.session.as_deref())
        });
        (Some(format!("sub-{subject}")), sessions)
    };
    subjects.into_iter().map(unit).collect()
}

/// A group stage and the cases it sees.
struct Unit<'a> {
    run: &'a GroupRun<'a>,
    index: usize,
    group: &'a GroupNode,
    subject: Option<String>,
    cases: Vec<Brings>,
}

/// An attempt that this process has claimed.
struct Mine {
    number: u32,
    why: String,
    since: String,
    parts: KeyParts,
    fingerprint: Digest,
}

impl Unit<'_> {
    fn result(self) -> GroupResult {
        let (stage, subject) = (self.group.node.stage.clone(), self.subject.clone());
        let mut result = GroupResult {
            stage,
            subject,
            state: GroupState::Failed,
            reason: String::new(),
            hint: None,
            published: Vec::new(),
            seconds: 0.0,
        };
        if let Err(trouble) = self.attempt(&mut result) {
            let text = trouble.to_string();
            let (reason, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
            result.state = GroupState::Failed;
            reason.clone_into(&mut result.reason);
            result.hint = (!hint.is_empty()).then(|| hint.to_owned());
        }
        result
    }

    fn attempt(self, result: &mut GroupResult) -> Result<(), Trouble> {
        let parts = self.parts();
        let fingerprint = self.fingerprint(&parts);
        let state = &self.run.publisher.place().state;
        let attempts = Attempts::read(&state.path().join(self.records()));
        let resume = self.resume_folder(&parts);
        let Some(mut why) = self.why(&attempts, &parts, fingerprint) else {
            result.state = GroupState::UpToDate;
            return forget(&resume);
        };
        let values = self.cases.iter().any(|case| case.entry.failure.is_none());
        if !values && !self.group.node.always {
            result.state = GroupState::Nothing;
            "no case has values for it".clone_into(&mut result.reason);
            return Ok(());
        }
        if self.run.options.cancel.load(Ordering::Relaxed) {
            result.state = GroupState::Interrupted;
            "stopped before it began".clone_into(&mut result.reason);
            return Ok(());
        }
        let claim = attempts.latest().and_then(|latest| latest.claim.as_ref());
        let gone = self
            .run
            .part
            .zip(claim)
            .is_some_and(|(part, claim)| claim.is_overruled(part.run, Some(part.token)));
        if attempts.state(&Liveness::now(state)) == State::Running && !gone {
            return Err(Trouble::Busy);
        }
        if prepare(&resume)? {
            why.push_str("; goes on where it was");
        }
        let mine = self.claim(&attempts, state, why, parts, fingerprint)?;
        let start = Instant::now();
        let made = work::run(self.run, self.group, self.subject.as_deref(), &self.cases, resume.clone());
        result.seconds = start.elapsed().as_secs_f64();
        result.reason.clone_from(&mine.why);
        match made {
            Ok(made) => {
                result.published = self.publish(&mine, &made, result.seconds)?;
                result.state = GroupState::Done;
                forget(&resume)
            }
            Err(error) => {
                result.state =
                    if error.cause == Cause::Cancelled && self.run.options.cancel.load(Ordering::Relaxed) {
                        GroupState::Interrupted
                    } else {
                        GroupState::Failed
                    };
                self.note(&mine, &error, result)
            }
        }
    }

    fn records(&self) -> PathBuf {
        records(&self.group.node.stage, self.subject.as_deref())
    }

    /// `resume/STAGE[/sub-01]/KEY` in the state folder.
    fn resume_folder(&self, parts: &KeyParts) -> PathBuf {
        let state = self.run.publisher.place().state.path();
        let of_stage = state.join("resume").join(&self.group.node.stage);
        of_stage.join(self.subject.as_deref().unwrap_or_default()).join(parts.key().short())
    }

    fn parts(&self) -> KeyParts {
        let mut inputs = BTreeMap::new();
        self.cases.iter().for_each(|case| case.add_to_key(&mut inputs));
        let mut order: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for wire in self.group.node.wires.iter().filter(|wire| !wire.member.is_empty()) {
            order.entry(wire.port.clone()).or_default().push(wire.member.clone());
        }
        if self.subject.is_some() {
            let sessions = self.cases.iter().map(|case| case.entry.label.clone()).collect();
            order.insert("sessions".to_owned(), sessions);
        }
        order.retain(|_, members| members.len() > 1);
        let label = self.subject.as_deref().unwrap_or_default();
        KeyParts { order, ..self.run.keys.group_parts(self.index, label, inputs) }
    }

    /// The key, and what is published of the result under which names.
    fn fingerprint(&self, parts: &KeyParts) -> Digest {
        let outputs = self.run.graph.cohort_outputs.iter().filter_map(|output| {
            let own = output.parts.iter().filter(|part| part.node == self.index);
            let parts: Vec<_> = own.map(|part| json!([part.member, part.port, part.port_member])).collect();
            (!parts.is_empty()).then(|| json!([output.name, output.bids, output.root, output.sidecar, parts]))
        });
        Digest::of_json(&json!([parts.key(), outputs.collect::<Vec<_>>()]))
    }

    /// Why the stage has to run; nothing if its last result is up to date.
    fn why(&self, attempts: &Attempts, parts: &KeyParts, fingerprint: Digest) -> Option<String> {
        let out = &self.run.publisher.place().out;
        let Some((number, done)) = attempts.latest_ok() else {
            return Some(match attempts.latest() {
                None => "missing".to_owned(),
                Some(attempt) => match attempt.end.as_ref().map(|end| end.ending) {
                    Some(Ending::Failed) => format!("attempt {} failed", attempt.number),
                    Some(_) => format!("attempt {} was interrupted", attempt.number),
                    None => format!("attempt {} was killed", attempt.number),
                },
            });
        };
        if done.fingerprint != Some(fingerprint) {
            let before = done.stages.first().and_then(|stage| stage.parts.as_ref());
            let changes = before.map(|before| parts.diff(before)).unwrap_or_default();
            return Some(match changes.len() {
                0 => "its outputs are published under other names".to_owned(),
                1..=MOST_CHANGES => changes.join("; "),
                many => format!(
                    "{}; and {} more changes",
                    changes[..MOST_CHANGES].join("; "),
                    many - MOST_CHANGES
                ),
            });
        }
        let there = |output: &crate::record::OutputEntry| {
            out.join(&output.path).metadata().is_ok_and(|found| found.len() == output.bytes)
        };
        let gone = done.outputs.iter().find(|output| !there(output));
        gone.map(|output| format!("{} of attempt {number} is not there any more", output.path.display()))
    }

    fn claim(
        &self,
        attempts: &Attempts,
        state: &StateFolder,
        why: String,
        parts: KeyParts,
        fingerprint: Digest,
    ) -> Result<Mine, Trouble> {
        let claim = Claim {
            format: FORMAT,
            name: self.group.node.stage.clone(),
            run: self.run.run,
            process: Process::this().clone(),
            home: self.run.part.map_or_else(|| StateFolder::home(self.run.run), |part| part.home()),
            token: self.run.part.map(|part| part.token.to_string()),
            why: why.clone(),
            fingerprint: Some(fingerprint),
            since: now(),
        };
        match attempts.claim_next(state, &claim)? {
            Claimed::Mine(number) => Ok(Mine { number, why, since: claim.since, parts, fingerprint }),
            Claimed::Taken => Err(Trouble::Busy),
        }
    }

    fn end(&self, mine: &Mine, ending: Ending, seconds: f64) -> End {
        let node = &self.group.node;
        let state = match ending {
            Ending::Ok => StageState::Ran,
            Ending::Failed => StageState::Failed,
            Ending::Interrupted | Ending::Changed => StageState::Cancelled,
        };
        let stage = StageEntry {
            stage: node.stage.clone(),
            member: String::new(),
            operator: node.operator.name.clone(),
            state,
            reason: None,
            hint: None,
            location: None,
            seconds,
            peak_mib: None,
            alone: false,
            cached: false,
            key: Some(mine.parts.key()),
            parts: Some(mine.parts.clone()),
            outputs: BTreeMap::new(),
        };
        End {
            format: FORMAT,
            name: node.stage.clone(),
            run: self.run.run,
            ending,
            reason: None,
            hint: None,
            fingerprint: Some(mine.fingerprint),
            present: BTreeSet::new(),
            stages: vec![stage],
            inputs: Vec::new(),
            outputs: Vec::new(),
            values: false,
            seconds,
            since: mine.since.clone(),
            until: now(),
        }
    }

    fn publish(&self, mine: &Mine, made: &Outputs, seconds: f64) -> Result<Vec<Published>, Trouble> {
        let mut values: Vec<GroupValue<'_>> = Vec::new();
        for output in &self.run.graph.cohort_outputs {
            for part in output.parts.iter().filter(|part| part.node == self.index) {
                let value = made.members(&part.port).find(|(member, _)| *member == part.port_member);
                values.extend(value.map(|(_, value)| (output, part.member.clone(), value.clone())));
            }
        }
        let mut end = self.end(mine, Ending::Ok, seconds);
        for (port, member, value) in made.iter() {
            let name = if member.is_empty() { port.to_owned() } else { format!("{port}.{member}") };
            end.stages[0].outputs.insert(name, Digest::of_value(value));
        }
        let stage = &self.group.node.stage;
        let subject = self.subject.as_deref();
        let name = ["group", stage].into_iter().chain(subject).collect::<Vec<_>>().join("-");
        let publication = GroupPublication {
            graph: self.run.graph,
            stage,
            subject,
            whose: Attempted { name, records: self.records(), number: mine.number },
            values: &values,
        };
        Ok(self.run.publisher.publish_group(&publication, end)?)
    }

    /// Records that the stage did not deliver.
    fn note(&self, mine: &Mine, error: &OperatorError, result: &mut GroupResult) -> Result<(), Trouble> {
        let ending =
            if result.state == GroupState::Interrupted { Ending::Interrupted } else { Ending::Failed };
        let mut end = self.end(mine, ending, result.seconds);
        end.reason = Some(error.message.clone());
        end.hint.clone_from(&error.hint);
        if let Some(stage) = end.stages.first_mut() {
            stage.reason = Some(error.message.clone());
            stage.hint.clone_from(&error.hint);
            stage.location.clone_from(&error.location);
        }
        result.reason.clone_from(&error.message);
        result.hint.clone_from(&error.hint);
        let state = &self.run.publisher.place().state;
        Attempts::write_end(state, &state.path().join(self.records()), mine.number, &end)?;
        Ok(())
    }
}

/// Changes that are told before the others are counted.
const MOST_CHANGES: usize = 5;

/// Makes the folder to resume from, removes those of other keys, and tells whether something is in it.
fn prepare(folder: &Path) -> Result<bool, Trouble> {
    let trouble = |path: &Path| {
        let path = path.to_owned();
        move |source| Trouble::Folder { path, source }
    };
    std::fs::create_dir_all(folder).map_err(trouble(folder))?;
    let beside = folder.parent().unwrap_or(folder);
    for entry in std::fs::read_dir(beside).map_err(trouble(beside))?.filter_map(Result::ok) {
        if entry.path() != folder {
            std::fs::remove_dir_all(entry.path()).map_err(trouble(&entry.path()))?;
        }
    }
    let mut entries = std::fs::read_dir(folder).map_err(trouble(folder))?;
    Ok(entries.next().is_some())
}

/// Removes the folder to resume from, and those above it that are empty then.
fn forget(folder: &Path) -> Result<(), Trouble> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Trouble::Folder { path: folder.to_owned(), source: error });
        }
        _ => {}
    }
    let above = folder.ancestors().skip(1).take_while(|path| !path.ends_with(StateFolder::NAME));
    for path in above {
        if std::fs::remove_dir(path).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
