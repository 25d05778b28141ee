//! What one session brings.

use super::MatchError;
use sdk::{Affine, Cases, Facts, Grid, Inputs, Labels, OperatorError, Table};
use std::collections::BTreeMap;

/// A session of the subject.
#[derive(Debug)]
pub(super) struct Session {
    /// Label of the case.
    pub(super) label: String,
    /// Its date, if the cohort's table has one.
    pub(super) date: Option<String>,
    /// Whether the brain was treated before, if the cohort's table says so.
    pub(super) treated: Option<bool>,
    /// Why it has no lesions to look at.
    pub(super) failure: Option<String>,
    /// Its lesions.
    pub(super) seen: Option<Seen>,
}

/// The lesions of a session.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The lesions, by label.
    pub lesions: Vec<Lesion>,
    /// Each lesion voxel's place in memory and its lesion's place in `lesions`, in memory order.
    voxels: Vec<(usize, usize)>,
    grid: Grid,
    /// From the common frame to voxel index.
    common_to_voxel: Affine,
    /// From voxel index to the common frame.
    voxel_to_common: Affine,
    /// Whether a transform led to the common frame.
    pub moved: bool,
    /// Facts of the measures: model, burden, warnings.
    pub facts: Facts,
}

/// A lesion as it was measured.
#[derive(Clone, Debug)]
pub struct Lesion {
    /// Its label.
    pub label: u32,
    /// Number of voxels.
    pub voxels: usize,
    /// Centroid in the common frame, mm.
    pub centroid: [f64; 3],
    /// Volume, ml.
    pub volume_ml: f64,
    /// Longest axial diameter, mm.
    pub axial_mm: f64,
    /// Longest diameter in 3-D, mm.
    pub longest_mm: f64,
    /// Whether RANO-BM calls it measurable.
    pub measurable: bool,
}

/// Reads the case of that index; a failed one has no lesions.
pub(super) fn read(cases: &dyn Cases, index: usize, date_column: &str) -> Result<Session, OperatorError> {
    let entry = cases.entry(index)?;
    let treated = entry.columns.get("treated").and_then(|text| match text.to_lowercase().as_str() {
        "yes" | "true" | "1" => Some(true),
        "no" | "false" | "0" => Some(false),
        _ => None,
    });
    let date = entry.columns.get(date_column).cloned();
    let seen =
        if entry.failure.is_none() { Some(Seen::of(&cases.inputs(index)?, &entry.label)?) } else { None };
    Ok(Session { label: entry.label, date, treated, failure: entry.failure, seen })
}

impl Seen {
    fn of(inputs: &Inputs, session: &str) -> Result<Self, OperatorError> {
        let labels = inputs.labels("labels")?;
        let measures = inputs.table("measures")?;
        let transform = inputs.optional_transform("common_to_session")?;
        let to_session = transform.as_ref().and_then(sdk::Transform::as_affine);
        let to_session = to_session.copied().unwrap_or(Affine::IDENTITY);
        let flat = |what| MatchError::Flat { session: session.to_owned(), what };
        let to_common = to_session.inverse().ok_or_else(|| flat("`common_to_session`"))?;
        let grid = *labels.grid();
        let to_voxel = grid.world_to_voxel().ok_or_else(|| flat("the affine of `labels`"))?;
        let voxel_to_common = to_common.after(&grid.voxel_to_world);
        let (lesions, voxels) = lesions(&labels, &measures, &voxel_to_common, session)?;
        Ok(Self {
            lesions,
            voxels,
            grid,
            common_to_voxel: to_voxel.after(&to_session),
            voxel_to_common,
            moved: transform.is_some(),
            facts: inputs.facts("measures"),
        })
    }

    /// For each pair of an own lesion and one of `other`: how many of the own voxels' centres lie in it.
    pub fn overlaps(&self, other: &Self) -> BTreeMap<(usize, usize), usize> {
        let map = other.common_to_voxel.after(&self.voxel_to_common);
        let mut found = BTreeMap::new();
        for &(offset, lesion) in &self.voxels {
            let index = map.point(self.grid.index(offset).map(|i| i as f64)).map(f64::round);
            let inside = (0..3).all(|a| index[a] >= 0.0 && index[a] < other.grid.shape[a] as f64);
            if !inside {
                continue;
            }
            let there = other.grid.offset(index.map(|i| i as usize));
            if let Ok(place) = other.voxels.binary_search_by_key(&there, |(offset, _)| *offset) {
                *found.entry((lesion, other.voxels[place].1)).or_insert(0) += 1;
            }
        }
        found
    }
}

/// The measured lesions of a label volume, and their voxels.
type Gathered = (Vec<Lesion>, Vec<(usize, usize)>);

fn lesions(
    labels: &Labels,
    measures: &Table,
    voxel_to_common: &Affine,
    session: &str,
) -> Result<Gathered, OperatorError> {
    let mut sums: BTreeMap<u32, ([f64; 3], usize)> = BTreeMap::new();
    let mut voxels = Vec::new();
    for (offset, &label) in labels.voxels().iter().enumerate().filter(|(_, label)| **label != 0) {
        let (sum, count) = sums.entry(label).or_default();
        for (sum, i) in sum.iter_mut().zip(labels.grid().index(offset)) {
            *sum += i as f64;
        }
        *count += 1;
        voxels.push((offset, label as usize));
    }
    let mut lesions = Vec::new();
    for (&label, &(sum, count)) in &sums {
        let row = (0..measures.rows.len())
            .find(|&row| measures.cell(row, "lesion").and_then(sdk::Cell::number) == Some(f64::from(label)));
        let row = row.ok_or_else(|| MatchError::NoMeasures { session: session.to_owned(), label })?;
        let number = |name: &str| measures.cell(row, name).and_then(sdk::Cell::number).unwrap_or(0.0);
        lesions.push(Lesion {
            label,
            voxels: count,
            centroid: voxel_to_common.point(sum.map(|sum| sum / count as f64)),
            volume_ml: number("volume_ml"),
            axial_mm: number("longest_axial_diameter_mm"),
            longest_mm: number("longest_diameter_mm"),
            measurable: measures.cell(row, "measurable") == Some(&sdk::Cell::Bool(true)),
        });
    }
    let places: BTreeMap<usize, usize> =
        sums.keys().zip(0..).map(|(&label, n)| (label as usize, n)).collect();
    for (_, lesion) in &mut voxels {
        *lesion = places[lesion];
    }
    Ok((lesions, voxels))
}
