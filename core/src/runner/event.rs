//! What a run tells while it goes on: to progress bars, JSON lines, the record.

use crate::store::{Digest, KeyParts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a stage ended for a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// It delivered.
    Ran,
    /// The plan leaves it out: an input is absent.
    Skipped,
    /// It did not deliver.
    Failed,
    /// Something it needs failed, or the run was interrupted.
    Cancelled,
}

impl StageState {
    /// As written in records and pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How a stage ended, and why.
#[derive(Clone, Debug, Serialize)]
pub struct StageRecord {
    /// The stage's name; `input NAME` for a file that could not be read.
    pub stage: String,
    /// The member of a mapped stage.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub member: String,
    /// The operator it ran.
    pub operator: String,
    /// How it ended.
    pub state: StageState,
    /// Why, unless it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the plugin's source, after a panic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What it cost and what its result rests on.
    #[serde(skip)]
    pub evidence: Evidence,
}

/// What a stage's run cost and what its result rests on. Never part of a result: it goes to the records only.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Seconds the operator worked.
    pub seconds: f64,
    /// How far the process's own memory grew while it ran, in MiB; none where the system does not tell.
    pub peak_mib: Option<u64>,
    /// Whether no other stage ran meanwhile, so that `peak_mib` is this stage's alone.
    pub alone: bool,
    /// Whether its outputs were there already.
    pub cached: bool,
    /// What identifies its result, if the run keeps results.
    pub key: Option<Digest>,
    /// What that key is made of.
    pub parts: Option<Box<KeyParts>>,
    /// The content of what it made: `port` or `port.member`.
    pub outputs: BTreeMap<String, Digest>,
}

impl StageRecord {
    /// How a node ended, without evidence.
    pub(super) fn new(node: &crate::plan::Node, state: StageState, reason: Option<String>) -> Self {
        Self {
            stage: node.stage.clone(),
            member: node.member.clone(),
            operator: node.operator.name.clone(),
            state,
            reason,
            hint: None,
            location: None,
            evidence: Evidence::default(),
        }
    }

    /// `aligned` or `aligned (flair)`.
    pub fn place(&self) -> String {
        place(&self.stage, &self.member)
    }
}

/// `aligned` or `aligned (flair)`.
pub fn place(stage: &str, member: &str) -> String {
    if member.is_empty() { stage.to_owned() } else { format!("{stage} ({member})") }
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A case was admitted.
    CaseStarted {
        /// Its label.
        case: String,
        /// Stages that its plan runs.
        stages: usize,
    },
    /// An operator began.
    StageStarted {
        /// The case's label.
        case: String,
        /// Stage, with its member in parentheses.
        stage: String,
    },
    /// An operator tells how far it is.
    StageProgress {
        /// The case's label.
        case: String,
        /// Stage, with its member in parentheses.
        stage: String,
        /// 0 to 1.
        fraction: f64,
        /// What it does.
        message: String,
    },
    /// A stage ended.
    StageEnded {
        /// The case's label.
        case: String,
        /// How.
        #[serde(flatten)]
        record: Box<StageRecord>,
        /// Seconds the operator worked.
        seconds: f64,
        /// Whether its outputs were there already.
        cached: bool,
    },
    /// A case ended.
    CaseEnded {
        /// Its label.
        case: String,
        /// Whether every stage delivered or was left out by plan.
        ok: bool,
        /// Seconds from admission.
        seconds: f64,
    },
}

/// Where events go. Called from several threads; must not block.
pub type EventSink = Arc<dyn Fn(&Event) + Send + Sync>;
