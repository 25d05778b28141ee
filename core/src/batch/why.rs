//! Why a case stands as it does: its attempts, what changed between them, what they took, and what probably went wrong.

use super::decide::stage_changes;
use super::look::{is_about, line_text, running_stages, tail};
use crate::record::{
    Attempt, Attempts, Claim, End, Ending, Heartbeat, Liveness, Process, StageEntry, State, StateFolder,
};
use crate::runner::StageState;
use serde::Serialize;
use std::path::Path;

/// Lines of the log that are shown.
const LOG_LINES: usize = 20;
/// With less memory left than this at the last sign of life, a process that vanished was probably killed for memory, in MiB:
/// a stage takes as much between two signs.
const SCARCE_MIB: u64 = 512;

/// Why a case stands as it does.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    /// Its label.
    pub case: String,
    /// Its state, as in `status`.
    pub state: State,
    /// Its attempts, latest first.
    pub attempts: Vec<AttemptLine>,
    /// What probably went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What differs from the attempt before, the most telling first.
    pub changes: Vec<String>,
    /// The inputs that were present.
    pub present: Vec<String>,
    /// What each stage did in the latest attempt that ended.
    pub stages: Vec<StageEntry>,
    /// The last lines of the log about it.
    pub log: Vec<String>,
}

/// An attempt in a line.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptLine {
    /// Its number.
    pub attempt: u32,
    /// The run that it was part of.
    pub run: u32,
    /// Why it ran.
    pub why: String,
    /// `ok`, `failed`, `interrupted`, `changed`; none if it has no end.
    pub ending: Option<Ending>,
    /// Why it ended so.
    pub reason: Option<String>,
    /// When it began.
    pub since: String,
    /// Seconds that it took.
    pub seconds: Option<f64>,
}

/// Nobody tried such a case.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// The case is unknown.
    #[error("nobody tried a case `{case}`{}", near.as_ref().map(|near| format!("\nhint: did you mean `{near}`?")).unwrap_or_default())]
    NoCase {
        /// What was asked for.
        case: String,
        /// A label that is close.
        near: Option<String>,
    },
    /// The stage is unknown.
    #[error("case `{case}` has no stage `{stage}`\nhint: it has {}", stages.join(", "))]
    NoStage {
        /// The case.
        case: String,
        /// What was asked for.
        stage: String,
        /// The stages that there are.
        stages: Vec<String>,
    },
}

impl Why {
    /// Looks at a case of an output folder, and at one of its stages only if that is asked for.
    ///
    /// # Errors
    /// [`WhyError`] if there is no such case or stage.
    pub fn of(out: &Path, label: &str, stage: Option<&str>) -> Result<Self, WhyError> {
        let state = StateFolder::of(out);
        let mut attempts = Attempts::of_case(&state, label);
        if attempts.latest().is_none() {
            // A stage over the cohort, `STAGE` or `STAGE/sub-01`, has records of the same form.
            attempts = Attempts::read(&state.groups().join(label));
        }
        let Some(latest) = attempts.latest() else {
            let entries = std::fs::read_dir(state.cases()).into_iter().flatten().filter_map(Result::ok);
            let names: Vec<String> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            let near =
                crate::fault::nearest(label, names.iter().map(String::as_str)).map(ToString::to_string);
            return Err(WhyError::NoCase { case: label.to_owned(), near });
        };
        let stands = attempts.state(&Liveness::now(&state));
        let run = latest.end.as_ref().map(|end| end.run).or(latest.claim.as_ref().map(|claim| claim.run));
        // A task of a scheduler has a folder of its own for log and heartbeat.
        let home = latest.claim.as_ref().map(|claim| state.path().join(&claim.home));
        let home = home.unwrap_or_else(|| state.run(run.unwrap_or_default()));
        let log: Vec<_> = tail(&home).into_iter().filter(|line| is_about(line, label)).collect();
        let ends: Vec<&End> = attempts.ends().map(|(_, end)| end).rev().collect();
        let (cause, hint) =
            cause(stands, latest, Heartbeat::read(&home).as_ref(), &running_stages(&log, label));
        let mut why = Self {
            case: label.to_owned(),
            state: stands,
            attempts: attempts.list.iter().rev().map(line).collect(),
            cause,
            hint,
            changes: ends.first().zip(ends.get(1)).map(|(now, old)| changes(now, old)).unwrap_or_default(),
            present: ends.first().map(|end| end.present.iter().cloned().collect()).unwrap_or_default(),
            stages: ends.first().map(|end| end.stages.clone()).unwrap_or_default(),
            log: log.iter().rev().take(LOG_LINES).rev().map(line_text).collect(),
        };
        if let Some(stage) = stage {
            why.only(stage)?;
        }
        Ok(why)
    }

    fn only(&mut self, stage: &str) -> Result<(), WhyError> {
        let stages: Vec<String> = self.stages.iter().map(StageEntry::place).collect();
        self.stages.retain(|entry| entry.stage == stage || entry.place() == stage);
        if self.stages.is_empty() {
            return Err(WhyError::NoStage { case: self.case.clone(), stage: stage.to_owned(), stages });
        }
        let place = |text: &str| text.contains(&format!("`{stage}")) || text.starts_with("plugin ");
        self.changes.retain(|text| place(text));
        self.log.retain(|text| text.contains(stage));
        Ok(())
    }
}

fn line(attempt: &Attempt) -> AttemptLine {
    let claim = attempt.claim.as_ref();
    let end = attempt.end.as_ref();
    AttemptLine {
        attempt: attempt.number,
        run: end.map(|end| end.run).or(claim.map(|claim| claim.run)).unwrap_or_default(),
        why: claim.map(|claim| claim.why.clone()).unwrap_or_default(),
        ending: end.map(|end| end.ending),
        reason: end.and_then(|end| end.reason.clone()),
        since: claim.map(|claim| claim.since.clone()).unwrap_or_default(),
        seconds: end.map(|end| end.seconds),
    }
}

/// What differs between two attempts: inputs first, then the keys of stages that both have.
fn changes(now: &End, before: &End) -> Vec<String> {
    let mut said = Vec::new();
    for input in &now.inputs {
        let Some(old) = before.inputs.iter().find(|old| old.name == input.name) else {
            said.push(format!("input `{}` is present now", input.name));
            continue;
        };
        if input.digest.is_some() && old.digest.is_some() && input.digest != old.digest {
            said.push(format!("input `{}` has other content", input.name));
        }
        if let (Some(value), Some(was)) = (&input.value, &old.value)
            && value != was
        {
            said.push(format!("input `{}` is {value}, was {was}", input.name));
        }
    }
    let gone = before.inputs.iter().filter(|old| now.inputs.iter().all(|input| input.name != old.name));
    said.extend(gone.map(|old| format!("input `{}` is absent now", old.name)));
    for entry in &now.stages {
        let old = before.stages.iter().find(|old| old.stage == entry.stage && old.member == entry.member);
        let parts = (entry.parts.as_ref(), old.and_then(|old| old.parts.as_ref()));
        if let (Some(now), Some(before)) = parts {
            for sentence in stage_changes(&entry.place(), now, before) {
                if !said.contains(&sentence) {
                    said.push(sentence);
                }
            }
        }
    }
    said
}

/// What probably went wrong, and the way out.
fn cause(
    state: State,
    latest: &Attempt,
    heartbeat: Option<&Heartbeat>,
    stages: &[String],
) -> (Option<String>, Option<String>) {
    let (text, hint) = match (state, &latest.end) {
        (State::Lost, _) => lost(latest.claim.as_ref(), heartbeat, stages),
        (State::Failed, Some(end)) => failed(end),
        (State::Interrupted | State::Changed, Some(end)) => {
            (end.reason.clone().unwrap_or_default(), Some("the same command runs it again".to_owned()))
        }
        _ => return (None, None),
    };
    (Some(text), hint)
}

fn lost(claim: Option<&Claim>, heartbeat: Option<&Heartbeat>, stages: &[String]) -> (String, Option<String>) {
    let during =
        if stages.is_empty() { String::new() } else { format!(" while it ran {}", stages.join(", ")) };
    let again = Some("the same command runs it again".to_owned());
    let restarted = claim.is_some_and(|claim| {
        claim.process.host == Process::this().host && claim.process.boot != Process::this().boot
    });
    if restarted {
        return (format!("the machine went down{during}"), again);
    }
    let left = heartbeat.and_then(|beat| beat.available_mib);
    match left {
        Some(left) if left < SCARCE_MIB => (
            format!(
                "probably out of memory: {left} MiB were left shortly before its process vanished{during}"
            ),
            Some(
                "run fewer cases at a time (`--jobs`), or give it less memory to plan with (`--memory`)"
                    .to_owned(),
            ),
        ),
        _ => (format!("its process was killed{during}"), again),
    }
}

fn failed(end: &End) -> (String, Option<String>) {
    let stage = end.stages.iter().find(|stage| stage.state == StageState::Failed);
    let reason = end.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
    let lower = reason.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let kind = if has(&["no space left", "os error 28", "quota"]) {
        "the disk is full"
    } else if has(&["no memory", "out of memory", "cannot allocate"]) {
        "out of memory"
    } else if stage.is_some_and(|stage| stage.location.is_some()) {
        "a panic in the plugin"
    } else if has(&["timeout", "timed out", "took longer than"]) {
        "a timeout"
    } else if has(&["no such file", "could not be read"]) {
        "an input that is missing or cannot be read"
    } else {
        "the stage itself"
    };
    (format!("{kind}: {reason}"), end.hint.clone())
}

#[cfg(test)]
mod tests;
