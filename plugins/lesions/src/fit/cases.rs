//! What one case tells: its candidates, and which of them are true.

use super::FitError;
use crate::filter::features::{Feature, Features};
use sdk::{Cases, Cell, Facts, Inputs, Labels, OperatorError, Table};
use std::collections::{BTreeMap, BTreeSet};

/// A candidate of at least the size limit.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Its number in the case.
    pub(super) id: u32,
    pub(super) features: Features,
    pub(super) is_lesion: bool,
    /// Whether the filter of the case kept it.
    pub(super) accepted: bool,
}

/// A case with truth.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) subject: String,
    pub(super) split: Option<String>,
    pub(super) candidates: Vec<Candidate>,
    /// Voxels of each true lesion.
    pub(super) truth: BTreeMap<u32, usize>,
    /// Voxels that a true lesion and a candidate share.
    pub(super) shared: BTreeMap<(u32, u32), usize>,
    /// Limit of each hand-set rule.
    pub(super) limits: BTreeMap<String, f64>,
    /// Whether the case is a phantom.
    pub(super) synthetic: bool,
}

/// Reads a case; `None` if it failed.
pub(super) fn read(cases: &dyn Cases, index: usize) -> Result<Option<Case>, OperatorError> {
    let entry = cases.entry(index)?;
    if entry.failure.is_some() {
        return Ok(None);
    }
    let inputs = cases.inputs(index)?;
    let (truth, shared) = overlaps(&inputs, &entry.label)?;
    let table = inputs.table("candidates")?;
    let facts = inputs.facts("candidates");
    let found: BTreeSet<u32> = shared.keys().map(|(_, id)| *id).collect();
    Ok(Some(Case {
        subject: entry.subject,
        split: entry.columns.get("split").cloned(),
        candidates: candidates(&table, &found),
        truth,
        shared,
        limits: limits(&facts),
        synthetic: facts.warnings().iter().any(|warning| warning.contains("phantom"))
            || inputs.facts("truth").warnings().iter().any(|warning| warning.contains("phantom")),
    }))
}

fn candidates(table: &Table, found: &BTreeSet<u32>) -> Vec<Candidate> {
    let mut list = Vec::new();
    for row in 0..table.rows.len() {
        let text = |name: &str| table.cell(row, name).and_then(Cell::text);
        let number = |name: &str| table.cell(row, name).and_then(Cell::number);
        // Hysteresis belongs to the threshold: what it rejects is no candidate of any rule.
        if text("class") == Some("below_size") || text("rule") == Some("seed_threshold") {
            continue;
        }
        let Some(id) = number("id").map(|id| id as u32) else { continue };
        let mut features = Features::default();
        for feature in Feature::ALL {
            features.set(feature, number(feature.name()));
        }
        let accepted = text("class") == Some("accepted");
        list.push(Candidate { id, features, is_lesion: found.contains(&id), accepted });
    }
    list
}

/// Voxels of each true lesion, and those that it shares with each candidate.
type Overlaps = (BTreeMap<u32, usize>, BTreeMap<(u32, u32), usize>);

fn overlaps(inputs: &Inputs, case: &str) -> Result<Overlaps, OperatorError> {
    let (labels, truth) = (inputs.labels("labels")?, inputs.labels("truth")?);
    let rejected = inputs.optional_labels("rejected")?;
    let check = |name, other: &Labels| {
        let fits = labels.grid().matches(other.grid());
        if fits { Ok(()) } else { Err(FitError::OtherGrid { case: case.to_owned(), name }) }
    };
    check("truth", &truth)?;
    rejected.as_ref().map_or(Ok(()), |rejected| check("rejected", rejected))?;
    let (mut voxels, mut shared) = (BTreeMap::new(), BTreeMap::new());
    for (n, &lesion) in truth.voxels().iter().enumerate().filter(|(_, lesion)| **lesion != 0) {
        *voxels.entry(lesion).or_insert(0) += 1;
        let rejected = rejected.as_ref().map_or(0, |rejected| rejected.voxels()[n]);
        let id = labels.voxels()[n].max(rejected);
        if id != 0 {
            *shared.entry((lesion, id)).or_insert(0) += 1;
        }
    }
    Ok((voxels, shared))
}

fn limits(facts: &Facts) -> BTreeMap<String, f64> {
    let rules = facts.get("rules").and_then(serde_json::Value::as_object);
    let limit = |(name, rule): (&String, &serde_json::Value)| Some((name.clone(), rule["limit"].as_f64()?));
    rules.into_iter().flatten().filter_map(limit).collect()
}
