//! Text to [`Graph`]: reads a workflow, those it extends and the overrides of the command line, and checks it whole.
//!
//! ```toml
//! name = "strip"
//! [inputs]
//! head = { type = "image", bids = { suffix = "T1w" } }
//! [stages.strip]
//! operator = "bet"
//! inputs.head = "head"
//! [outputs]
//! mask = { from = "strip.mask", bids = "desc-brain_mask" }
//! ```
//!
//! Nothing of a case is read here: what is wrong shows before any
//! image is opened, and all of it at once, each fault with its place.

mod merge;
mod parse;
mod read;
mod review;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

use crate::catalogue::Catalogue;
use crate::fault::{Faults, Span};
use crate::graph;
use crate::plan::{DatasetKind, Graph, InputSpec, Means};
use std::path::Path;
use std::sync::Arc;
use tree::Tree;

#[cfg(test)]
pub(crate) use review::REVIEW_KEYS;
pub use review::ReviewPart;

#[cfg(test)]
pub(crate) use parse::{
    COHORT_KEYS, COHORT_OUTPUT_KEYS, COHORT_STAGE_KEYS, INPUT_KEYS, SECTIONS, STAGE_KEYS,
};

/// What the command line changes in a workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `STAGE=OPERATOR`, as given to `--use`: swaps the operator, within a role keeps the wires, drops the settings.
    pub operators: Vec<String>,
    /// `STAGE.KEY=VALUE`, as given to `--set`: `segment.settings.threshold=0.5`, `segment.device=cpu`. The value is TOML;
    /// what is none is text. Files in settings are relative to the working folder.
    pub settings: Vec<String>,
}

/// Reads and checks the workflow at `path`, with `overrides` laid over it.
///
/// # Errors
/// All faults of the workflow: of its text, names, wires, kinds, grids, frames and settings, in every pattern of presence.
pub fn load(path: &Path, overrides: &Overrides, catalogue: &dyn Catalogue) -> Result<Graph, Faults> {
    let read = read::read(path, overrides, catalogue, Ok)?;
    finish(read, catalogue)
}

/// Reads and checks what the workflow at `path` does with a reader's answer: itself, changed by its section `[review]`.
///
/// # Errors
/// As [`load`]; a workflow without that section.
pub fn load_review(
    path: &Path,
    overrides: &Overrides,
    catalogue: &dyn Catalogue,
) -> Result<(Graph, ReviewPart), Faults> {
    let mut part = ReviewPart::default();
    let read =
        read::read(path, overrides, catalogue, |table| review::laid_over(table, &mut part, catalogue))?;
    let graph = finish(read, catalogue)?;
    review::check(&graph, &part).map_err(|fault| Faults::new(Arc::default(), vec![fault]))?;
    Ok((graph, part))
}

/// Whether the workflow at `path`, or one that it extends, has a section `[review]`.
pub fn has_review(path: &Path, overrides: &Overrides, catalogue: &dyn Catalogue) -> bool {
    read::read(path, overrides, catalogue, Ok).is_ok_and(|read| read.table.get("review").is_some())
}

fn finish(read: read::Read, catalogue: &dyn Catalogue) -> Result<Graph, Faults> {
    let (workflow, mut faults) = parse::workflow(&read.table);
    let sources = Arc::new(read.sources);
    let outcome = graph::build(&workflow, &sources, catalogue, &mut faults);
    match outcome {
        Some(graph) if faults.is_empty() => Ok(graph),
        _ => Err(Faults::new(sources, faults)),
    }
}

/// A text and where it was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// A workflow as written: keys and types are right, names are not yet looked up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workflow {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) dataset: DatasetKind,
    pub(crate) inputs: Vec<InputSpec>,
    pub(crate) values: Vec<ValueDef>,
    pub(crate) stages: Vec<StageDef>,
    pub(crate) outputs: Vec<OutputDef>,
    /// `[cohort.stages]`.
    pub(crate) groups: Vec<StageDef>,
    /// `[cohort.outputs]`.
    pub(crate) group_outputs: Vec<OutputDef>,
    /// Inputs, values and stages that a later text removed.
    pub(crate) removed: Vec<Text>,
}

/// A stand-in: the first of several that is present.
#[derive(Clone, Debug)]
pub(crate) struct ValueDef {
    pub(crate) name: Text,
    pub(crate) first_of: Vec<Text>,
}

/// A member of a named set.
#[derive(Clone, Debug)]
pub(crate) enum Member {
    /// A name of its own.
    Named(Text, Text),
    /// Named after the last part of what it reads; all members, if that is a set.
    Listed(Text),
    /// All members of a set: `"*" = "aligned.registered"`.
    All(Text),
    /// Left out: `flair = false`.
    Without(Text),
}

/// What a port reads.
#[derive(Clone, Debug)]
pub(crate) enum Feed {
    /// A single name; it may name a set.
    One(Text),
    /// A set.
    Set(Vec<Member>),
}

/// A port and what it reads.
#[derive(Clone, Debug)]
pub(crate) struct PortDef {
    pub(crate) port: Text,
    pub(crate) feed: Feed,
}

/// Where a stage is put on wires.
#[derive(Clone, Debug, Default)]
pub(crate) struct InsertDef {
    pub(crate) wires: Vec<Text>,
    pub(crate) input: Option<Text>,
    pub(crate) output: Option<Text>,
}

/// A stage.
#[derive(Clone, Debug)]
pub(crate) struct StageDef {
    pub(crate) name: Text,
    pub(crate) operator: Option<Text>,
    pub(crate) inputs: Vec<PortDef>,
    pub(crate) each: Vec<PortDef>,
    pub(crate) settings: Option<Tree>,
    pub(crate) insert_after: Option<InsertDef>,
    pub(crate) always: bool,
    pub(crate) only_with: Vec<Text>,
    pub(crate) only_without: Vec<Text>,
    pub(crate) means: Means,
}

/// An output.
#[derive(Clone, Debug)]
pub(crate) struct OutputDef {
    pub(crate) name: Text,
    pub(crate) from: Feed,
    pub(crate) bids: Option<Text>,
    pub(crate) dataset: Option<String>,
    /// Whether it goes to the root of the output folder; of the cohort only.
    pub(crate) root: bool,
    pub(crate) sidecar: serde_json::Map<String, serde_json::Value>,
}
