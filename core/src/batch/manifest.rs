//! A submission's manifest: one line a case, frozen when the run starts.

use super::decide::Decided;
use super::session::input_entry;
use crate::case::Slices;
use crate::plan::Graph;
use crate::record::{InputEntry, RecordError, StateFolder, write_new};
use crate::runner::CaseInput;
use crate::store::Digest;
use sdk::{Kind, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Name of the file in a run's folder.
pub const MANIFEST_FILE: &str = "manifest.jsonl";

/// A case in a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The case's label.
    pub case: String,
    /// `run`, `up_to_date`, `cannot`, `busy` or `left_out`.
    pub decision: String,
    /// Why.
    pub why: String,
    /// The inputs that it brings: its pattern of presence.
    pub present: Vec<String>,
    /// Stages that its plan runs.
    pub stages: usize,
    /// What it brings; a file's content where that had to be known: the record of the case has it in any event.
    pub inputs: Vec<InputEntry>,
    /// What it is made from, where that had to be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
}

impl Line {
    /// A case that was decided on.
    pub fn of(case: &Decided) -> Self {
        Self {
            case: case.label.to_string(),
            decision: case.decision.name().to_owned(),
            why: case.decision.why().to_owned(),
            present: case.inputs.keys().cloned().collect(),
            stages: case.plan.iter().flat_map(|plan| &plan.nodes).filter(|node| node.runs()).count(),
            inputs: case.inputs.iter().map(|input| input_entry(input, &case.digests)).collect(),
            fingerprint: case.fingerprint,
        }
    }
}

impl Line {
    /// What the case brings, as it was frozen.
    ///
    /// # Errors
    /// In words, if the workflow has no such input, or the line is damaged.
    pub fn case_inputs(&self, graph: &Graph) -> Result<BTreeMap<String, CaseInput>, String> {
        let one = |entry: &InputEntry| {
            let name = &entry.name;
            let spec = graph.input(name).ok_or_else(|| format!("the workflow has no input `{name}`"))?;
            let damaged = || format!("input `{name}` of the manifest is damaged");
            let input = match (&entry.path, &entry.value) {
                (Some(folder), Some(assumed)) => {
                    CaseInput::Slices(Slices::assuming(folder, assumed).ok_or_else(damaged)?)
                }
                (Some(path), None) => CaseInput::File(path.clone()),
                (None, Some(text)) if spec.kind == Kind::Number => {
                    CaseInput::Value(Value::from(text.parse::<f64>().map_err(|_| damaged())?))
                }
                (None, Some(text)) => CaseInput::Value(Value::from(text.as_str())),
                (None, None) => return Err(damaged()),
            };
            Ok((name.clone(), input))
        };
        self.inputs.iter().map(one).collect()
    }
}

/// Freezes the manifest of a run.
///
/// # Errors
/// [`RecordError`] if it cannot be written.
pub fn freeze(state: &StateFolder, home: &Path, cases: &[Decided]) -> Result<(), RecordError> {
    let mut text = String::new();
    for case in cases {
        text.push_str(&serde_json::to_string(&Line::of(case)).expect("a line is plain data"));
        text.push('\n');
    }
    write_new(state, &home.join(MANIFEST_FILE), text.as_bytes()).map(drop)
}

/// The manifest in a run's folder; lines that cannot be read are left out.
pub fn read(home: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(home.join(MANIFEST_FILE)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
