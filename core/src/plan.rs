//! What a checked workflow is: the [`Graph`] of all that any case may need, and the [`Plan`] for one pattern of presence.
//!
//! A graph is made from a workflow that was found free of faults. It holds the
//! union over all patterns of presence: a wire lists every source that some pattern uses. A [`Plan`] picks, for the
//! inputs that a case has, which nodes run, on what, and which outputs remain.

use crate::catalogue::OperatorRef;
use crate::fault::Span;
use sdk::{Interface, Kind, Scope};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What the engine itself knows about a case, under the name `case`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reserved {
    /// `case.label`, a text.
    Label,
    /// `case.plan`: what runs and what is skipped, and why; a JSON document.
    Plan,
    /// `case.outcome`: what failed, and why; a JSON document.
    Outcome,
    /// `case.provenance`: workflow, plugins, settings; a JSON document.
    Provenance,
}

impl Reserved {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Label, Self::Plan, Self::Outcome, Self::Provenance];

    /// As written after `case.`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Plan => "plan",
            Self::Outcome => "outcome",
            Self::Provenance => "provenance",
        }
    }

    /// What it holds.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Label => Kind::Text,
            Self::Plan | Self::Outcome | Self::Provenance => Kind::Document,
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The input of that name.
    Input(String),
    /// A node's output.
    Output {
        /// Index into [`Graph::nodes`].
        node: usize,
        /// The output's name.
        port: String,
        /// The member, if the port holds a set; empty otherwise.
        member: String,
    },
    /// What the engine knows itself; always present.
    Reserved(Reserved),
}

/// What the outputs are, as a BIDS data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetKind {
    /// Computed from other data.
    #[default]
    Derivative,
    /// As it came from the scanner (or looks so: a phantom).
    Raw,
}

/// A checked workflow.
#[derive(Clone, Debug, Serialize)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// Its version, as written.
    pub version: String,
    /// What its outputs are.
    pub dataset: DatasetKind,
    /// The files that were read, the user's first, then those it extends.
    pub files: Vec<PathBuf>,
    /// BLAKE3 of the method in hexadecimal: inputs, operators, settings, wires and outputs as they are after merging, but neither
    /// comments nor what stages are given to run with (device, threads, memory).
    pub digest: String,
    /// What a case may bring, in written order.
    pub inputs: Vec<InputSpec>,
    /// What may run, each after all that it may read from.
    pub nodes: Vec<Node>,
    /// What is published, in written order.
    pub outputs: Vec<OutputSpec>,
    /// Stages that run after all cases, in written order.
    pub cohort: Vec<GroupNode>,
    /// What of them is published, in written order.
    pub cohort_outputs: Vec<GroupOutput>,
    /// What the user should know: stages left out, for one.
    pub notes: Vec<String>,
}

/// Which of several files that match one input is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// There must be one alone.
    #[default]
    Only,
    /// The first run.
    First,
    /// The last run.
    Last,
}

/// What an input's file that cannot be read means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The case fails.
    #[default]
    Fail,
    /// The input is absent.
    Absent,
}

/// What a case may bring.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputSpec {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// BIDS entities and suffix that its file must have: text, whole number, boolean, or a list of texts.
    pub bids: BTreeMap<String, serde_json::Value>,
    /// Whether a case without it cannot run.
    pub required: bool,
    /// Which of several files.
    pub pick: Pick,
    /// What an unreadable file means.
    pub on_error: OnError,
    /// Inputs of one name here lie on one grid; to be verified when they are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<String>,
    /// Inputs of one name here lie in one frame; taken on trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// Where it is declared.
    #[serde(skip)]
    pub span: Span,
}

/// An operator with settings and wires: a stage, or one member of a stage with `each`.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// The stage's name.
    pub stage: String,
    /// The member, for a stage with `each`; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub member: String,
    /// What it runs.
    pub operator: OperatorRef,
    /// The role of that operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its settings, valid by the operator's schema; paths are absolute. What is not set is not there.
    pub settings: serde_json::Value,
    /// The files that settings name, absolute: their content counts as part of the result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// What may be wired, in written order.
    pub wires: Vec<WireSpec>,
    /// Runs also when what it reads has failed.
    pub always: bool,
    /// Runs only if all of these inputs are present.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only_with: Vec<String>,
    /// Runs only if none of these inputs is present.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only_without: Vec<String>,
    /// What the engine gives it.
    #[serde(flatten)]
    pub means: Means,
    /// Where the stage is declared.
    #[serde(skip)]
    pub span: Span,
}

impl Node {
    /// As in names of values: `aligned`, or `aligned.flair` for a member. No two nodes share it.
    pub fn name(&self) -> String {
        if self.member.is_empty() { self.stage.clone() } else { format!("{}.{}", self.stage, self.member) }
    }

    /// Its settings with file names in place of this machine's paths.
    pub fn portable_settings(&self) -> serde_json::Value {
        portable(&self.settings, &self.files)
    }

    /// As in messages: `aligned`, or `aligned (flair)` for a member.
    pub fn label(&self) -> String {
        if self.member.is_empty() { self.stage.clone() } else { format!("{} ({})", self.stage, self.member) }
    }
}

/// A stage over the sessions of a subject or the cases of a cohort.
#[derive(Clone, Debug, Serialize)]
pub struct GroupNode {
    /// Operator, settings and wires; the wires lead to values of each case. `always` runs it even if no case has values.
    #[serde(flatten)]
    pub node: Node,
    /// Whose cases it sees.
    pub scope: Scope,
    /// Its ports, for a case that has all that is wired.
    pub interface: Interface,
}

/// What is published of a group stage.
#[derive(Clone, Debug, Serialize)]
pub struct GroupOutput {
    /// Its name.
    pub name: String,
    /// Its values: one with an empty member, or the members of a set.
    pub parts: Vec<GroupPart>,
    /// Entities and suffix of the file's name, as in `desc-lesions_table`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bids: Option<String>,
    /// Whether it goes to the root of the output folder, not below `group/`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub root: bool,
    /// Keys to add to the file's JSON sidecar.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub sidecar: serde_json::Map<String, serde_json::Value>,
    /// Where it is declared.
    #[serde(skip)]
    pub span: Span,
}

impl GroupOutput {
    /// The name of its file without the extension, if it goes to the root of the output folder.
    pub fn root_name(&self) -> String {
        self.bids.clone().unwrap_or_else(|| self.name.replace('_', "-"))
    }
}

/// A value of a [`GroupOutput`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupPart {
    /// Its name in the output; empty for a single value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub member: String,
    /// Index into [`Graph::cohort`].
    pub node: usize,
    /// That stage's output port.
    pub port: String,
    /// The member at that port, if it holds a set; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub port_member: String,
}

fn portable(settings: &serde_json::Value, files: &[PathBuf]) -> serde_json::Value {
    use serde_json::Value as Json;
    match settings {
        Json::String(text) => match files.iter().find(|file| file.to_string_lossy() == *text) {
            Some(file) => Json::from(file.file_name().unwrap_or_default().to_string_lossy()),
            None => settings.clone(),
        },
        Json::Array(list) => list.iter().map(|item| portable(item, files)).collect(),
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), portable(value, files))).collect(),
        _ => settings.clone(),
    }
}

/// What a stage is given to run with; none of it changes the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Means {
    /// `cpu`, `cuda:0` … or `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Threads; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Declared peak of memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// How long one run may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How often a failed run is tried again.
    pub retries: u32,
    /// Whether results may be kept for later runs.
    pub cache: bool,
}

impl Default for Means {
    fn default() -> Self {
        Self { device: None, threads: None, memory: None, timeout: None, retries: 0, cache: true }
    }
}

/// A wire in all patterns of presence: the first candidate that is present is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WireSpec {
    /// The input port.
    pub port: String,
    /// The member, if the port holds a set; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub member: String,
    /// Where the value may come from, in order of preference. Empty if its only source was removed.
    pub candidates: Vec<Source>,
    /// What was written, as in `aligned.registered.flair`.
    #[serde(skip)]
    pub text: String,
    /// Where it was written.
    #[serde(skip)]
    pub span: Span,
}

/// What is published.
#[derive(Clone, Debug, Serialize)]
pub struct OutputSpec {
    /// Its name.
    pub name: String,
    /// Its values: one with an empty member, or the members of a set. The port's name is empty.
    pub wires: Vec<WireSpec>,
    /// Entities and suffix of the file's name, as in `desc-lesions_dseg`; for a set the member's name is to be added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bids: Option<String>,
    /// A data set of its own inside the output folder (`derivatives/truth`); relative, without `..`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Keys to add to the file's JSON sidecar.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub sidecar: serde_json::Map<String, serde_json::Value>,
    /// Where it is declared.
    #[serde(skip)]
    pub span: Span,
}

/// A wire in one pattern of presence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wire {
    /// The input port.
    pub port: String,
    /// The member, if the port holds a set; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub member: String,
    /// Where the value comes from.
    pub source: Source,
    /// What it holds.
    pub kind: Kind,
}

/// What happens for one pattern of presence.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The inputs that are present.
    pub present: BTreeSet<String>,
    /// For each of [`Graph::nodes`].
    pub nodes: Vec<NodePlan>,
    /// For each of [`Graph::outputs`].
    pub outputs: Vec<OutputPlan>,
    /// For each of [`Graph::cohort`].
    pub groups: Vec<GroupPlan>,
    /// What operators say about this pattern, as `stage: note`.
    pub notes: Vec<String>,
}

/// What happens to a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodePlan {
    /// It runs.
    Run {
        /// Every value it reads, in written order.
        wiring: Vec<Wire>,
        /// Its ports for this wiring.
        interface: Interface,
    },
    /// It is skipped.
    Skip {
        /// The chain of reasons, from its root: "input `flair` is absent, so `aligned (flair)` is skipped".
        reason: String,
    },
}

/// What a case brings to a group stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupPlan {
    /// Every value it brings, in written order.
    pub wiring: Vec<Wire>,
    /// The chain of reasons why the case does not count there: it has nothing at a required port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
}

impl Plan {
    /// The values that group stages read of such a case.
    pub fn kept(&self) -> BTreeSet<&Source> {
        self.groups.iter().flat_map(|group| &group.wiring).map(|wire| &wire.source).collect()
    }

    /// The inputs that a value is made from, directly or through other stages.
    pub fn inputs_behind(&self, source: &Source) -> BTreeSet<String> {
        let mut inputs = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![source];
        while let Some(source) = open.pop() {
            match source {
                Source::Input(name) => drop(inputs.insert(name.clone())),
                Source::Reserved(_) => {}
                Source::Output { node, .. } => {
                    if let Some(NodePlan::Run { wiring, .. }) =
                        self.nodes.get(*node).filter(|_| seen.insert(*node))
                    {
                        open.extend(wiring.iter().map(|wire| &wire.source));
                    }
                }
            }
        }
        inputs
    }
}

impl NodePlan {
    /// Whether it runs.
    pub const fn runs(&self) -> bool {
        matches!(self, Self::Run { .. })
    }
}

/// What happens to an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputPlan {
    /// It is published: its members (one with an empty name for a single value), each with its source and kind.
    Available(Vec<(String, Source, Kind)>),
    /// It is not, for this chain of reasons.
    Missing(String),
}

/// Why a case cannot run at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{reason}")]
pub struct Impossible {
    /// The chain of reasons, or what an operator said.
    pub reason: String,
    /// The way out, if the operator named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(name) => f.write_str(name),
            Self::Output { node, port, member } if member.is_empty() => write!(f, "#{node}.{port}"),
            Self::Output { node, port, member } => write!(f, "#{node}.{port}.{member}"),
            Self::Reserved(reserved) => write!(f, "case.{}", reserved.name()),
        }
    }
}

impl Graph {
    /// How a source is called in this workflow: `flair`, `aligned.registered.flair`, `case.label`.
    pub fn name_of(&self, source: &Source) -> String {
        let Source::Output { node, port, member } = source else { return source.to_string() };
        let Some(node) = self.nodes.get(*node) else { return source.to_string() };
        let parts = [node.stage.as_str(), port, &node.member, member];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }

    /// The values that group stages read of some case, each once: what a run keeps for them.
    pub fn kept(&self) -> Vec<Source> {
        let wires = self.cohort.iter().flat_map(|group| &group.node.wires);
        wires.flat_map(|wire| wire.candidates.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What [`Graph::digest`] holds.
    pub(crate) fn method_digest(&self) -> String {
        let node = |node: &Node| {
            let wires = node.wires.iter().map(|wire| (&wire.port, &wire.member, &wire.candidates));
            serde_json::json!([
                node.name(),
                node.operator.to_string(),
                node.portable_settings(),
                wires.collect::<Vec<_>>(),
                node.always,
                node.only_with,
                node.only_without,
            ])
        };
        let method = serde_json::json!([
            self.name,
            self.version,
            self.dataset,
            self.inputs,
            self.nodes.iter().map(node).collect::<Vec<_>>(),
            self.outputs,
        ]);
        blake3::hash(method.to_string().as_bytes()).to_hex().to_string()
    }

    /// The input of that name.
    pub fn input(&self, name: &str) -> Option<&InputSpec> {
        self.inputs.iter().find(|input| input.name == name)
    }
}
