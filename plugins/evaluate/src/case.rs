//! All that can be said of a case before the cohort is known.
//!
//! Voxel figures use voxels of the mask only; lesion figures use all voxels of the truth, so that truth outside the mask can
//! only be missed. A score that is not finite counts as 0, and is counted.

use crate::calibration::Calibration;
use crate::curve::{self, Roc};
use crate::evidence::{Evidence, EvidenceError, Run, check_grid, label_runs, mask_runs, scores_at};
use crate::lesions::{LesionFigures, Match, Prediction, Rules, Whose, compare};
use crate::options::{Options, OptionsError, TruthMode};
use crate::readers::{self, Agreement};
use crate::region::{Region, index};
use sdk::imaging::components::Connectivity;
use sdk::imaging::diameter::longest;
use sdk::{Context, Grid, Labels, Mask, Probability};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Thresholds of the FROC curve: dense at both ends, where networks are steep.
pub const FROC_THRESHOLDS: [f64; 21] = [
    0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85,
    0.9, 0.95,
];

/// What a case brings.
#[derive(Clone, Copy, Debug)]
pub struct Volumes<'a> {
    /// What is true: voxels above 0 are metastasis.
    pub truth: &'a Labels,
    /// The model's scores.
    pub probability: &'a Probability,
    /// The brain.
    pub mask: &'a Mask,
    /// The scores of a second model.
    pub other: Option<&'a Probability>,
    /// What a second reader says is true.
    pub other_truth: Option<&'a Labels>,
}

/// Why a case could not be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// The volumes cannot be used.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The options cannot be used.
    #[error(transparent)]
    Options(#[from] OptionsError),
}

/// The case's own part of the evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Its name.
    pub id: String,
    /// Volume of a voxel, mm³.
    pub voxel_volume_mm3: f64,
    /// Voxels inside the mask.
    pub mask_voxels: u64,
    /// Voxels of the truth.
    pub truth_voxels: u64,
    /// Of these, those outside the mask.
    pub truth_voxels_outside_mask: u64,
    /// Scores inside the mask that are not finite.
    pub nonfinite_in_mask: u64,
    /// Lesions of the truth.
    pub n_lesions: u64,
    /// `1-3`, `4-10`, `>10`; none without a lesion.
    pub group: Option<String>,
    /// The ROC curve's figures.
    pub roc: Roc,
}

/// A lesion of the truth, and how the prediction at the found threshold met it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesion {
    /// How it was met.
    #[serde(flatten)]
    pub met: Match,
    /// The case's name.
    pub case: String,
    /// Its voxels.
    pub voxels: u64,
    /// Its volume, mm³.
    pub volume_mm3: f64,
    /// Longest diameter between centres of voxel faces, mm.
    pub diameter_mm: f64,
    /// Longest diameter between voxel centres, mm.
    pub diameter_centre_mm: f64,
    /// Mean place of its voxels, RAS+ mm.
    pub centroid_ras: [f64; 3],
}

/// A point of the FROC curve of a case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Froc {
    /// The threshold.
    pub threshold: f64,
    /// Lesions found there.
    pub found: u64,
    /// Predicted components without truth.
    pub fp: u64,
    /// Of these, those of at least the size limit.
    pub fp_10mm3: u64,
}

/// What is said of a model's scores, whatever the threshold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelScores {
    /// The ROC curve's figures.
    pub roc: Roc,
    /// Its TPR at FPR 0, 0.01 .. 1; none where there is no curve.
    pub tpr: Option<Vec<f64>>,
    /// Lesions found and false positives at [`FROC_THRESHOLDS`].
    pub froc: Vec<Froc>,
    /// How far scores are probabilities.
    pub calibration: Calibration,
    /// Scores inside the mask that are not finite.
    pub nonfinite_in_mask: u64,
}

/// What `score` tells `summarise` of a case, beside the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The case's own part of the evaluation.
    pub figures: Figures,
    /// The options it was scored by.
    pub options: Options,
    /// Where its voxels lie.
    pub grid: Grid,
    /// Its lesions, the largest first.
    pub lesions: Vec<Lesion>,
    /// Lesions and false positives at the found threshold.
    pub lesion_at_found_threshold: LesionFigures,
    /// The model.
    pub model: ModelScores,
    /// The second model.
    pub other: Option<ModelScores>,
    /// Agreement of the two readers.
    pub readers: Option<Agreement>,
    /// Inputs of the case that the model was trained on, by name.
    #[serde(default)]
    pub in_training: Vec<String>,
    /// Sequences that the model had to do without, if it says so.
    #[serde(default)]
    pub missing_sequences: Option<String>,
    /// What the readers of the results must know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The group of a case with so many lesions.
pub const fn group(lesions: u64) -> Option<&'static str> {
    match lesions {
        0 => None,
        1..=3 => Some("1-3"),
        4..=10 => Some("4-10"),
        _ => Some(">10"),
    }
}

/// Scores a case.
///
/// # Errors
/// [`ScoreError`].
pub fn score(
    id: &str,
    volumes: &Volumes<'_>,
    options: &Options,
    ctx: &Context,
) -> Result<(Scored, Evidence<'static>), ScoreError> {
    options.check()?;
    let grid = volumes.truth.grid();
    let rules = Rules::of(options, grid.voxel_volume_mm3())?;
    let (evidence, odd) = gather(volumes, options, rules.connectivity, ctx)?;
    let model = model_scores(&evidence, Whose::Model, odd[0], &rules, ctx);
    let other = volumes.other.map(|_| model_scores(&evidence, Whose::Other, odd[1], &rules, ctx));
    let lesion_voxels = evidence.lesion_voxels();
    let prediction =
        Prediction::at(options.found_threshold, &evidence, Whose::Model, rules.connectivity, ctx);
    let (matches, at_found) = compare(&evidence.truth, &lesion_voxels, &prediction, &rules);
    let lesions = lesions(id, &evidence.truth, &matches, grid);
    let inside: usize = evidence.positives().iter().map(ExactSizeIterator::len).sum();
    let truth_voxels: u64 = lesion_voxels.iter().sum();
    let n_lesions = lesion_voxels.len() as u64;
    let readers = volumes.other_truth.map(|second| {
        readers::agreement(&evidence.truth, &truth_runs(second, options, rules.connectivity, ctx), &rules)
    });
    let figures = Figures {
        id: id.to_owned(),
        voxel_volume_mm3: grid.voxel_volume_mm3(),
        mask_voxels: evidence.mask_voxels() as u64,
        truth_voxels,
        truth_voxels_outside_mask: truth_voxels - inside as u64,
        nonfinite_in_mask: odd[0],
        n_lesions,
        group: group(n_lesions).map(str::to_owned),
        roc: model.roc,
    };
    let scored = Scored {
        figures,
        options: options.clone(),
        grid: *grid,
        lesions,
        lesion_at_found_threshold: at_found,
        model,
        other,
        readers,
        in_training: Vec::new(),
        missing_sequences: None,
        warnings: Vec::new(),
    };
    Ok((scored, evidence))
}

/// The evidence, and how many scores of each model are not finite.
fn gather(
    volumes: &Volumes<'_>,
    options: &Options,
    connectivity: Connectivity,
    ctx: &Context,
) -> Result<(Evidence<'static>, [u64; 2]), ScoreError> {
    let grid = volumes.truth.grid();
    check_grid("probability", volumes.probability.grid(), grid)?;
    check_grid("mask", volumes.mask.grid(), grid)?;
    volumes.other.map_or(Ok(()), |other| check_grid("other", other.grid(), grid))?;
    volumes.other_truth.map_or(Ok(()), |second| check_grid("other_truth", second.grid(), grid))?;
    let mask = mask_runs(volumes.mask)?;
    let (scores, odd) = scores_at("probability", volumes.probability, &mask)?;
    let (other, odd_other) = match volumes.other {
        Some(other) => scores_at("other", other, &mask)?,
        None => (Vec::new(), 0),
    };
    let truth = truth_runs(volumes.truth, options, connectivity, ctx);
    let evidence = Evidence {
        shape: grid.shape,
        mask: Cow::Owned(mask),
        truth: Cow::Owned(truth),
        scores: Cow::Owned(scores),
        other: Cow::Owned(other),
    };
    Ok((evidence, [odd, odd_other]))
}

/// Runs of the truth with the numbers of their lesions: components, or labels in ascending order.
fn truth_runs(truth: &Labels, options: &Options, connectivity: Connectivity, ctx: &Context) -> Vec<Run> {
    let mut runs = label_runs(truth);
    match options.truth_mode {
        TruthMode::Components => match Region::around(truth.grid().shape, &runs) {
            Some(region) => region.components(&region.paint(&runs), connectivity, ctx).1,
            None => runs,
        },
        TruthMode::Instances => {
            let ids: BTreeMap<u32, u32> = runs.iter().map(|run| (run[2], 0)).collect();
            let numbers: BTreeMap<u32, u32> = ids.into_keys().zip(1..).collect();
            for run in &mut runs {
                run[2] = numbers[&run[2]];
            }
            runs
        }
    }
}

fn model_scores(
    evidence: &Evidence<'_>,
    whose: Whose,
    nonfinite_in_mask: u64,
    rules: &Rules,
    ctx: &Context,
) -> ModelScores {
    let scores: &[f32] = match whose {
        Whose::Model => &evidence.scores,
        Whose::Other => &evidence.other,
    };
    let positives = evidence.positives();
    let mut keys: Vec<u32> = scores.iter().map(|&score| curve::key(score, false)).collect();
    for range in &positives {
        keys[range.clone()].iter_mut().for_each(|key| *key |= 1);
    }
    curve::sort(&mut keys);
    let (roc, tpr) = curve::roc(&keys).map_or((Roc::default(), None), |(roc, tpr)| (roc, Some(tpr)));
    drop(keys);
    let lesions = evidence.lesion_voxels();
    let froc = FROC_THRESHOLDS.map(|threshold| {
        let prediction = Prediction::at(threshold, evidence, whose, rules.connectivity, ctx);
        let (matches, figures) = compare(&evidence.truth, &lesions, &prediction, rules);
        let found = matches.iter().filter(|m| m.found).count() as u64;
        Froc { threshold, found, fp: figures.fp, fp_10mm3: figures.fp_10mm3 }
    });
    let calibration = Calibration::of(scores, &positives);
    ModelScores { roc, tpr, froc: froc.to_vec(), calibration, nonfinite_in_mask }
}

/// The lesions of the truth, the largest first.
fn lesions(case: &str, truth: &[Run], matches: &[Match], grid: &Grid) -> Vec<Lesion> {
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); matches.len()];
    for run in truth {
        runs[run[2] as usize - 1].push(*run);
    }
    let one = |(runs, met): (&Vec<Run>, &Match)| {
        let voxels: u64 = runs.iter().map(|run| u64::from(run[1])).sum();
        let longest = longest(runs.iter().flat_map(|run| ends(grid, run)).collect(), grid);
        Lesion {
            met: *met,
            case: case.to_owned(),
            voxels,
            volume_mm3: voxels as f64 * grid.voxel_volume_mm3(),
            diameter_mm: longest.by_faces_mm,
            diameter_centre_mm: longest.by_centres_mm,
            centroid_ras: grid.voxel_to_world.point(centroid(grid, runs, voxels)),
        }
    };
    let mut lesions: Vec<Lesion> = runs.iter().zip(matches).map(one).collect();
    lesions.sort_by(|a, b| {
        let places = || a.centroid_ras.iter().zip(&b.centroid_ras).map(|(a, b)| a.total_cmp(b));
        b.voxels
            .cmp(&a.voxels)
            .then_with(|| places().find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal))
    });
    lesions
}

/// A run's first and last voxel.
fn ends(grid: &Grid, run: &Run) -> [[i32; 3]; 2] {
    let [i, j, k] = index(grid.shape, run[0] as usize);
    [i, i + run[1] as usize - 1].map(|i| [i, j, k].map(|n| n as i32))
}

/// Mean voxel index; sums of integers, so exact but for the division.
fn centroid(grid: &Grid, runs: &[Run], voxels: u64) -> [f64; 3] {
    let mut doubled = [0u64; 3];
    for run in runs {
        let [i, j, k] = index(grid.shape, run[0] as usize).map(|n| n as u64);
        let len = u64::from(run[1]);
        doubled[0] += (2 * i + len - 1) * len;
        doubled[1] += 2 * j * len;
        doubled[2] += 2 * k * len;
    }
    doubled.map(|sum| sum as f64 / (2 * voxels) as f64)
}
