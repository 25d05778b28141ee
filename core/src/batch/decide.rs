//! Which cases run, and why.

use crate::capability::{Capability, Verdict};
use crate::case::{CaseLabel, Cohort, CohortCase, Slices};
use crate::plan::{Graph, NodePlan, Plan};
use crate::record::{Attempts, Claim, End, Liveness, State, StateFolder, Token};
use crate::runner::CaseInput;
use crate::store::{Digest, KeyParts, Memo, NodeKeys};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is to become of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// It runs.
    Run {
        /// Why: "missing", "failed before: …", "input `flair` has other content".
        why: String,
    },
    /// Its result is there and made from the same.
    UpToDate,
    /// It cannot run by plan.
    Cannot {
        /// Every reason.
        why: String,
    },
    /// Another process works on it.
    Busy {
        /// Who, in words.
        why: String,
    },
    /// It was not asked for.
    LeftOut {
        /// Why not.
        why: String,
    },
}

impl Decision {
    /// Whether it runs.
    pub const fn runs(&self) -> bool {
        matches!(self, Self::Run { .. })
    }

    /// As in manifests: `run`, `up_to_date`, `cannot`, `busy`, `left_out`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Run { .. } => "run",
            Self::UpToDate => "up_to_date",
            Self::Cannot { .. } => "cannot",
            Self::Busy { .. } => "busy",
            Self::LeftOut { .. } => "left_out",
        }
    }

    /// The reason, in words.
    pub fn why(&self) -> &str {
        match self {
            Self::UpToDate => "up to date",
            Self::Run { why } | Self::Cannot { why } | Self::Busy { why } | Self::LeftOut { why } => why,
        }
    }
}

/// A case of the cohort and what is to become of it.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Whose.
    pub label: CaseLabel,
    /// What it brings.
    pub inputs: BTreeMap<String, CaseInput>,
    /// What it is to do, if it can run.
    pub plan: Option<Arc<Plan>>,
    /// Size of its files.
    pub bytes: u64,
    /// What is to become of it.
    pub decision: Decision,
    /// What it is made from, where that had to be known.
    pub fingerprint: Option<Digest>,
    /// Content of its files, where that had to be known.
    pub digests: BTreeMap<String, Digest>,
    /// Number of the latest attempt that was seen.
    pub seen: u32,
}

impl Decided {
    fn new(label: CaseLabel, inputs: BTreeMap<String, CaseInput>) -> Self {
        Self {
            label,
            bytes: inputs.values().filter_map(bytes).sum(),
            inputs,
            plan: None,
            decision: Decision::UpToDate,
            fingerprint: None,
            digests: BTreeMap::new(),
            seen: 0,
        }
    }
}

/// Looks at the records of a cohort's cases.
pub struct Decider<'a> {
    /// The workflow.
    pub graph: &'a Graph,
    /// What identifies its stages' results.
    pub keys: &'a NodeKeys,
    /// What is known of the content of files.
    pub memo: &'a Memo,
    /// Where the records are.
    pub state: &'a StateFolder,
    /// Where the results are.
    pub out: &'a Path,
    /// Who is alive.
    pub liveness: Liveness,
    /// Only cases that were tried and have no result.
    pub retry_only: bool,
    /// Set it to look at no further case; none of them will run.
    pub cancel: &'a AtomicBool,
    /// Cases that a scheduler has in hand for another run, and how, in words.
    pub held: &'a BTreeMap<String, String>,
    /// The run and task that this process is, if a scheduler started it.
    pub task: Option<(u32, Token)>,
}

/// The content of a case's files, and what it is made from.
struct Made {
    digests: BTreeMap<String, Digest>,
    fingerprint: Digest,
}

impl Decider<'_> {
    /// Decides on all cases, in their order.
    pub fn all(&self, cohort: &Cohort, capability: &Capability) -> Vec<Decided> {
        let one = |(index, case)| self.one(case, capability.verdict(cohort, index));
        cohort.cases.par_iter().enumerate().map(one).collect()
    }

    fn one(&self, case: &CohortCase, verdict: Verdict<'_>) -> Decided {
        let mut decided = Decided::new(case.label.clone(), case.case_inputs());
        let reasons: Vec<String> = match verdict {
            Verdict::Runs(plan) => return self.known(case.label.clone(), decided.inputs, plan),
            Verdict::Impossible(reasons) => reasons.iter().map(|reason| reason.reason.clone()).collect(),
            Verdict::Problems(problems) => problems.iter().map(ToString::to_string).collect(),
        };
        decided.decision = Decision::Cannot { why: reasons.join("; ") };
        decided
    }

    /// Decides on a case that can run.
    pub fn known(&self, label: CaseLabel, inputs: BTreeMap<String, CaseInput>, plan: &Arc<Plan>) -> Decided {
        let mut decided = Decided::new(label, inputs);
        decided.plan = Some(Arc::clone(plan));
        self.look(&mut decided, plan);
        decided
    }

    /// Decides on a case that can run, from its records.
    fn look(&self, case: &mut Decided, plan: &Plan) {
        if self.cancel.load(Ordering::Relaxed) {
            case.decision = Decision::Run { why: "the run was stopped before it was looked at".to_owned() };
            return;
        }
        if let Some(why) = self.held.get(&case.label.to_string()) {
            case.decision = Decision::Busy { why: why.clone() };
            return;
        }
        let attempts = Attempts::of_case(self.state, &case.label.to_string());
        case.seen = attempts.latest().map_or(0, |attempt| attempt.number);
        let claim = attempts.latest().and_then(|attempt| attempt.claim.as_ref());
        let ours =
            self.task.zip(claim).is_some_and(|((run, token), claim)| claim.is_overruled(run, Some(token)));
        let mut state = attempts.state(&self.liveness);
        if state == State::Running && ours {
            // Slurm says that its process is gone, whatever its last sign of life says.
            state = State::Lost;
        }
        if state == State::Running {
            case.decision = Decision::Busy { why: claim.map(worker).unwrap_or_default() };
            return;
        }
        case.decision = match attempts.latest_ok() {
            None => Decision::Run { why: why_again(state, &attempts) },
            Some((_, end)) => {
                let made = self.made(case, plan);
                let decision = self.compare(case, plan, end, made.as_ref());
                if let Some(made) = made {
                    (case.digests, case.fingerprint) = (made.digests, Some(made.fingerprint));
                }
                decision
            }
        };
        let tried = !matches!(state, State::Never | State::Done);
        if self.retry_only && case.decision.runs() && !tried {
            case.decision = Decision::LeftOut { why: "not tried before".to_owned() };
        }
    }

    /// Whether a result is there and made from what the case brings now.
    fn compare(&self, case: &Decided, plan: &Plan, end: &End, made: Option<&Made>) -> Decision {
        let Some(made) = made else { return Decision::Run { why: "an input cannot be read".to_owned() } };
        if end.fingerprint != Some(made.fingerprint) {
            let changes = self.changes(case, plan, end, &made.digests);
            let changes = if changes.is_empty() {
                "what the workflow wires or publishes changed".to_owned()
            } else {
                changes.join("; ")
            };
            return Decision::Run { why: changes };
        }
        let gone = end.outputs.iter().find(|output| {
            !self.out.join(&output.path).metadata().is_ok_and(|data| data.len() == output.bytes)
        });
        match gone {
            Some(output) => Decision::Run {
                why: format!("its files are gone or were changed: {}", output.path.display()),
            },
            None => Decision::UpToDate,
        }
    }

    /// Looks at the content of a case's inputs; none if one cannot be read.
    fn made(&self, case: &Decided, plan: &Plan) -> Option<Made> {
        let mut digests = BTreeMap::new();
        for (name, input) in &case.inputs {
            if let Some(content) = content(self.memo, input) {
                digests.insert(name.clone(), content.ok()?);
            }
        }
        let fingerprint = fingerprint(self.graph, self.keys, plan, &case.inputs, &digests);
        Some(Made { digests, fingerprint })
    }

    /// What differs from an earlier result, the most telling first.
    fn changes(
        &self,
        case: &Decided,
        plan: &Plan,
        end: &End,
        digests: &BTreeMap<String, Digest>,
    ) -> Vec<String> {
        let mut said = input_changes(case, end, digests);
        let same_inputs = plan.present == end.present;
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let before = end.stages.iter().find(|s| s.stage == node.stage && s.member == node.member);
            let runs = plan.nodes.get(index).is_some_and(NodePlan::runs);
            match before.and_then(|entry| entry.parts.as_ref()) {
                Some(parts) if runs => {
                    let now = self.keys.parts(index, &case.label.to_string(), parts.inputs.clone());
                    said.extend(stage_changes(&node.label(), &now, parts));
                }
                None if runs && same_inputs && before.is_none() => {
                    said.push(format!("stage `{}` is new", node.label()));
                }
                _ => {}
            }
        }
        let mut once = Vec::new();
        for sentence in said {
            if !once.contains(&sentence) {
                once.push(sentence);
            }
        }
        once
    }
}

/// What differs between two keys of a stage. What concerns a plugin as a whole is said without the stage.
pub(super) fn stage_changes(stage: &str, now: &KeyParts, before: &KeyParts) -> Vec<String> {
    let of_plugin = |sentence: &str| sentence.starts_with("plugin ");
    let sentences = now.diff(before).into_iter();
    sentences.map(|s| if of_plugin(&s) { s } else { format!("stage `{stage}`: {s}") }).collect()
}

/// What a case with these inputs and this plan is made from.
pub(super) fn fingerprint(
    graph: &Graph,
    keys: &NodeKeys,
    plan: &Plan,
    inputs: &BTreeMap<String, CaseInput>,
    digests: &BTreeMap<String, Digest>,
) -> Digest {
    let content = |spec: &crate::plan::InputSpec| {
        let digest = match inputs.get(&spec.name) {
            Some(CaseInput::File(path)) => {
                digests.get(&spec.name).map(|content| Digest::of_input(spec.kind, path, *content))
            }
            Some(CaseInput::Slices(_)) => digests.get(&spec.name).copied(),
            Some(CaseInput::Value(value)) => Some(Digest::of_value(value)),
            None => None,
        };
        (spec.name.clone(), digest)
    };
    keys.case_fingerprint(graph, plan, &graph.inputs.iter().map(content).collect())
}

fn input_changes(case: &Decided, end: &End, digests: &BTreeMap<String, Digest>) -> Vec<String> {
    let mut said = Vec::new();
    for (name, input) in &case.inputs {
        let Some(before) = end.inputs.iter().find(|entry| entry.name == *name) else {
            said.push(format!("input `{name}` is new"));
            continue;
        };
        match input {
            CaseInput::File(path) | CaseInput::Slices(Slices { folder: path, .. }) => {
                let old = before.path.as_deref().and_then(Path::file_name);
                if before.digest.is_some() && before.digest != digests.get(name).copied() {
                    said.push(format!("input `{name}` has other content"));
                } else if old != path.file_name() {
                    said.push(format!("the file of input `{name}` has another name"));
                }
            }
            CaseInput::Value(value) => {
                let now = super::session::plain(&value.content);
                if now != before.value {
                    let text = |value: Option<String>| value.unwrap_or_else(|| "a file".to_owned());
                    said.push(format!("input `{name}` is {}, was {}", text(now), text(before.value.clone())));
                }
            }
        }
    }
    let gone = end.inputs.iter().filter(|entry| !case.inputs.contains_key(&entry.name));
    said.extend(gone.map(|entry| format!("input `{}` is absent now", entry.name)));
    said
}

/// Why a case without a result runs.
fn why_again(state: State, attempts: &Attempts) -> String {
    let reason = attempts.latest().and_then(|attempt| attempt.end.as_ref()?.reason.clone());
    let reason = reason.map(|reason| format!(": {}", reason.lines().next().unwrap_or_default()));
    let reason = reason.unwrap_or_default();
    match state {
        State::Failed => format!("failed before{reason}"),
        State::Interrupted => "was interrupted".to_owned(),
        State::Lost => "its process was killed".to_owned(),
        State::Changed => format!("changed while it ran{reason}"),
        State::Never | State::Running | State::Done => "missing".to_owned(),
    }
}

/// Who works on a case: `run 7, process 4242 on node3, since 2026-…`.
pub(super) fn worker(claim: &Claim) -> String {
    let Claim { run, process, since, .. } = claim;
    format!("run {run}, process {} on {}, since {since}", process.pid, process.host)
}

/// Where an input lies: its file, or the folder of its slices.
pub fn place_of(input: &CaseInput) -> Option<&Path> {
    match input {
        CaseInput::File(path) => Some(path),
        CaseInput::Slices(slices) => Some(&slices.folder),
        CaseInput::Value(_) => None,
    }
}

/// Size of what an input brings from the disk, as far as that can be seen.
pub(super) fn bytes(input: &CaseInput) -> Option<u64> {
    match input {
        CaseInput::File(path) => Some(path.metadata().ok()?.len()),
        CaseInput::Slices(slices) => {
            let files = slices.files().ok()?;
            Some(files.iter().filter_map(|path| Some(path.metadata().ok()?.len())).sum())
        }
        CaseInput::Value(_) => None,
    }
}

/// Content of what an input brings from the disk; none for a number or a text.
pub(super) fn content(memo: &Memo, input: &CaseInput) -> Option<std::io::Result<Digest>> {
    let digest = |path: &PathBuf| Ok(memo.digest_of(path)?.digest);
    match input {
        CaseInput::File(path) => Some(digest(path)),
        CaseInput::Slices(slices) => Some((|| {
            let files = slices.files().map_err(|error| std::io::Error::other(error.message))?;
            let digests: Vec<Digest> = files.iter().map(digest).collect::<std::io::Result<_>>()?;
            Ok(Digest::of_json(&serde_json::json!([slices.assumed(), digests])))
        })()),
        CaseInput::Value(_) => None,
    }
}

#[cfg(test)]
mod tests;
