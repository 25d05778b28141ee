//! Lesions of the truth against components of the prediction.
//!
//! A lesion is found if more than `overlap_min` of it (or what `overlap_of` says) is predicted. A predicted component without
//! a voxel of the truth is a false positive; by the strict count, one of which at most `overlap_min` lies in the truth.

use crate::evidence::{Evidence, Run, shared_by_label};
use crate::options::{Options, OptionsError, OverlapOf};
use crate::region::Region;
use sdk::Context;
use sdk::imaging::components::Connectivity;
use serde::{Deserialize, Serialize};

/// How far below the limit a volume still counts as on it, relative: spacings in headers are f32.
pub const SIZE_SLACK: f64 = 1e-9;

/// Whether a score counts as predicted: both as f32, equal ones do.
pub fn is_predicted(score: f32, threshold: f64) -> bool {
    score >= threshold as f32
}

/// The components of the voxels whose score is at least a threshold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    /// Voxels of each component, component 1 first.
    pub voxels: Vec<u64>,
    /// Runs with the number of their component, in memory order.
    pub runs: Vec<Run>,
}

/// Which scores a prediction is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The model's.
    Model,
    /// The second model's.
    Other,
}

impl Prediction {
    /// The prediction at a threshold.
    pub fn at(
        threshold: f64,
        evidence: &Evidence<'_>,
        whose: Whose,
        connectivity: Connectivity,
        ctx: &Context,
    ) -> Self {
        let runs = predicted(threshold, evidence, whose);
        let Some(region) = Region::around(evidence.shape, &runs) else { return Self::default() };
        let (voxels, runs) = region.components(&region.paint(&runs), connectivity, ctx);
        Self { voxels, runs }
    }
}

/// Runs of the voxels whose score is at least a threshold.
fn predicted(threshold: f64, evidence: &Evidence<'_>, whose: Whose) -> Vec<Run> {
    let scores: &[f32] = match whose {
        Whose::Model => &evidence.scores,
        Whose::Other => &evidence.other,
    };
    let limit = threshold as f32;
    let mut runs = Vec::new();
    let mut first = 0;
    for run in evidence.mask.iter() {
        let scores = &scores[first..first + run[1] as usize];
        first += scores.len();
        let mut i = 0;
        while i < scores.len() {
            if scores[i] < limit {
                i += 1;
                continue;
            }
            let begin = i;
            i += scores[i..].iter().take_while(|&&score| score >= limit).count();
            runs.push([run[0] + begin as u32, (i - begin) as u32, 1]);
        }
    }
    runs
}

/// Counts of voxels inside the mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VoxelFigures {
    /// Predicted, and lesion.
    pub tp: u64,
    /// Predicted, but no lesion.
    pub fp: u64,
    /// Lesion, but not predicted.
    #[serde(rename = "fn")]
    pub fn_: u64,
    /// Neither.
    pub tn: u64,
}

impl VoxelFigures {
    /// The counts at a threshold.
    pub fn at(threshold: f64, evidence: &Evidence<'_>, whose: Whose) -> Self {
        let scores: &[f32] = match whose {
            Whose::Model => &evidence.scores,
            Whose::Other => &evidence.other,
        };
        let limit = threshold as f32;
        let count = |scores: &[f32]| scores.iter().map(|&score| u64::from(score >= limit)).sum::<u64>();
        let (mut positives, mut tp) = (0, 0);
        for range in evidence.positives() {
            positives += range.len() as u64;
            tp += count(&scores[range]);
        }
        let fp = count(scores) - tp;
        Self { tp, fp, fn_: positives - tp, tn: scores.len() as u64 - positives - fp }
    }

    /// Share of the predicted voxels that are lesion; none without a prediction.
    pub fn precision(&self) -> Option<f64> {
        share(self.tp, self.tp + self.fp)
    }

    /// Share of the lesion voxels that are predicted; none without a lesion.
    pub fn recall(&self) -> Option<f64> {
        share(self.tp, self.tp + self.fn_)
    }

    /// 2TP / (2TP + FP + FN); 1 where truth and prediction are empty.
    pub fn dice(&self) -> f64 {
        share(2 * self.tp, 2 * self.tp + self.fp + self.fn_).unwrap_or(1.0)
    }

    /// Mean of the Dice of the foreground and that of the background.
    pub fn dice_macro(&self) -> f64 {
        let background = share(2 * self.tn, 2 * self.tn + self.fp + self.fn_).unwrap_or(1.0);
        f64::midpoint(self.dice(), background)
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// How a lesion was met.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// Share of the lesion that is predicted.
    pub overlap_gt: f64,
    /// Share of the components that touch it, together, that lies in it; 0 if none does.
    pub overlap_pred: f64,
    /// Voxels of both over voxels of either, with those components.
    pub iou: f64,
    /// Whether the overlap is larger than the least one.
    pub found: bool,
    /// Whether one voxel of it is predicted.
    pub found_any: bool,
    /// Whether it is found by components of at least the size limit.
    pub found_10mm3: bool,
}

/// Lesions and false positives of a case at one threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LesionFigures {
    /// Lesions of the truth.
    pub n_truth: u64,
    /// Components of the prediction.
    pub n_pred: u64,
    /// Share of the lesions that are found; none without a lesion.
    pub lesion_sensitivity: Option<f64>,
    /// Share of which one voxel is predicted.
    pub lesion_sensitivity_any: Option<f64>,
    /// Share found by components of at least the size limit.
    pub lesion_sensitivity_10mm3: Option<f64>,
    /// Components without a voxel of the truth.
    pub fp: u64,
    /// Of these, those of at least the size limit.
    pub fp_10mm3: u64,
    /// Components of which no more than the least overlap lies in the truth.
    pub fp_strict: u64,
    /// Of these, those of at least the size limit.
    pub fp_strict_10mm3: u64,
}

/// The rules by which lesions are found.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Which voxels touch.
    pub connectivity: Connectivity,
    /// The least overlap, itself too little.
    pub overlap_min: f64,
    /// What the overlap is a share of.
    pub overlap_of: OverlapOf,
    /// Voxels of a component that is just large enough; a fraction.
    pub least_voxels: f64,
}

impl Rules {
    /// The rules on a grid whose voxels have that volume.
    ///
    /// # Errors
    /// [`OptionsError`] for options that cannot be used.
    pub fn of(options: &Options, voxel_volume_mm3: f64) -> Result<Self, OptionsError> {
        Ok(Self {
            connectivity: Connectivity::of(options.connectivity)?,
            overlap_min: options.overlap_min,
            overlap_of: options.overlap_of,
            least_voxels: options.size_limit_mm3 * (1.0 - SIZE_SLACK) / voxel_volume_mm3,
        })
    }
}

/// Overlap of one lesion with a set of components.
#[derive(Clone, Copy, Default)]
struct Met {
    /// Voxels of the lesion that are predicted.
    both: u64,
    /// Voxels of the components that touch it.
    touching: u64,
}

impl Met {
    fn add(&mut self, both: u64, component: u64) {
        self.both += both;
        self.touching += component;
    }

    fn overlaps(self, lesion: u64) -> [f64; 3] {
        let either = lesion + self.touching - self.both;
        [lesion, self.touching, either].map(|whole| share(self.both, whole).unwrap_or(0.0))
    }

    fn is_found(self, lesion: u64, rules: &Rules) -> bool {
        let [gt, pred, iou] = self.overlaps(lesion);
        let overlap = match rules.overlap_of {
            OverlapOf::Gt => gt,
            OverlapOf::Pred => pred,
            OverlapOf::Iou => iou,
        };
        overlap > rules.overlap_min
    }
}

/// Holds the lesions of the truth against a prediction: how each was met, and the case's figures.
///
/// * `truth`: runs with the numbers of their lesions; * `lesions`: voxels of each.
pub fn compare(
    truth: &[Run],
    lesions: &[u64],
    prediction: &Prediction,
    rules: &Rules,
) -> (Vec<Match>, LesionFigures) {
    let mut met = vec![Met::default(); lesions.len()];
    let mut met_by_large = met.clone();
    let mut in_truth = vec![0u64; prediction.voxels.len()];
    let large = |component: usize| prediction.voxels[component] as f64 >= rules.least_voxels;
    for (lesion, component, both) in shared_by_label(truth, &prediction.runs) {
        let (lesion, component) = (lesion as usize - 1, component as usize - 1);
        let voxels = prediction.voxels[component];
        met[lesion].add(both, voxels);
        if large(component) {
            met_by_large[lesion].add(both, voxels);
        }
        in_truth[component] += both;
    }
    let each = |((&voxels, met), by_large): ((&u64, &Met), &Met)| {
        let [overlap_gt, overlap_pred, iou] = met.overlaps(voxels);
        Match {
            overlap_gt,
            overlap_pred,
            iou,
            found: met.is_found(voxels, rules),
            found_any: met.both > 0,
            found_10mm3: by_large.is_found(voxels, rules),
        }
    };
    let matches: Vec<Match> = lesions.iter().zip(&met).zip(&met_by_large).map(each).collect();
    let count = |is: &dyn Fn(&Match) -> bool| matches.iter().filter(|m| is(m)).count() as u64;
    let n_truth = lesions.len() as u64;
    let components = || in_truth.iter().enumerate();
    let strict = |n: usize, inside: u64| inside as f64 / prediction.voxels[n] as f64 <= rules.overlap_min;
    let figures = LesionFigures {
        n_truth,
        n_pred: prediction.voxels.len() as u64,
        lesion_sensitivity: share(count(&|m| m.found), n_truth),
        lesion_sensitivity_any: share(count(&|m| m.found_any), n_truth),
        lesion_sensitivity_10mm3: share(count(&|m| m.found_10mm3), n_truth),
        fp: components().filter(|&(_, &inside)| inside == 0).count() as u64,
        fp_10mm3: components().filter(|&(n, &inside)| inside == 0 && large(n)).count() as u64,
        fp_strict: components().filter(|&(n, &inside)| strict(n, inside)).count() as u64,
        fp_strict_10mm3: components().filter(|&(n, &inside)| strict(n, inside) && large(n)).count() as u64,
    };
    (matches, figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::testing::context;

    const RULES: Rules = Rules {
        connectivity: Connectivity::Corners26,
        overlap_min: 0.10,
        overlap_of: OverlapOf::Gt,
        least_voxels: 10.0,
    };

    fn row(scores: &[f32], truth: Vec<Run>) -> Evidence<'_> {
        let len = scores.len();
        Evidence {
            shape: [len, 1, 1],
            mask: vec![[0, len as u32, 1]].into(),
            truth: truth.into(),
            scores: scores.into(),
            other: [].as_slice().into(),
        }
    }

    fn compared(evidence: &Evidence<'_>, rules: &Rules) -> (Vec<Match>, LesionFigures) {
        let prediction = Prediction::at(0.5, evidence, Whose::Model, rules.connectivity, &context());
        compare(&evidence.truth, &evidence.lesion_voxels(), &prediction, rules)
    }

    #[test]
    fn an_overlap_of_exactly_a_tenth_is_a_miss() {
        let mut scores = [0.0; 40];
        scores[9] = 1.0;
        let found = |lesion: u32| compared(&row(&scores, vec![[0, lesion, 1]]), &RULES).0[0];
        assert!(!found(10).found);
        assert!(found(10).found_any);
        scores[8] = 1.0;
        let found = |lesion: u32| compared(&row(&scores, vec![[0, lesion, 1]]), &RULES).0[0].found;
        assert!(found(10) && found(19) && !found(20) && !found(30));
    }

    #[test]
    fn a_component_of_exactly_the_limit_counts() {
        let mut scores = [0.0; 40];
        scores[..10].fill(1.0);
        scores[20..29].fill(1.0);
        let (_, figures) = compared(&row(&scores, vec![]), &RULES);
        assert_eq!((figures.n_pred, figures.fp, figures.fp_10mm3), (2, 2, 1));
        assert_eq!((figures.fp_strict, figures.fp_strict_10mm3), (2, 1));
        assert_eq!(figures.lesion_sensitivity, None);
    }

    #[test]
    fn a_score_equal_to_the_threshold_as_f32_is_in() {
        // 0.7 as f32 lies below 0.7 as f64.
        let scores = [0.7f32, 0.6];
        let evidence = row(&scores, vec![[0, 1, 1]]);
        let voxels = VoxelFigures::at(0.7, &evidence, Whose::Model);
        assert_eq!(voxels, VoxelFigures { tp: 1, fp: 0, fn_: 0, tn: 1 });
        let prediction = Prediction::at(0.7, &evidence, Whose::Model, RULES.connectivity, &context());
        assert_eq!(prediction.voxels, [1]);
    }

    #[test]
    fn overlaps_are_shares_of_what_they_say() {
        let mut scores = [0.0; 40];
        scores[5..25].fill(1.0);
        let evidence = row(&scores, vec![[0, 10, 1]]);
        let found = compared(&evidence, &RULES).0[0];
        assert_eq!((found.overlap_gt, found.overlap_pred, found.iou), (0.5, 0.25, 0.2));
        let with = |overlap_of, overlap_min| {
            compared(&evidence, &Rules { overlap_min, overlap_of, ..RULES }).0[0].found
        };
        assert!(with(OverlapOf::Pred, 0.24) && !with(OverlapOf::Pred, 0.25));
        assert!(with(OverlapOf::Iou, 0.19) && !with(OverlapOf::Iou, 0.20));
        let (_, figures) = compared(&evidence, &Rules { overlap_min: 0.25, ..RULES });
        assert_eq!((figures.fp, figures.fp_strict), (0, 1));
    }

    proptest::proptest! {
        /// Why the paper's means of Dice, precision and recall cannot all be those of the foreground.
        #[test]
        fn dice_never_exceeds_the_mean_of_precision_and_recall(tp in 1u64..999, fp in 0u64..999, fn_ in 0u64..999) {
            let voxels = VoxelFigures { tp, fp, fn_, tn: 9 };
            let mean = f64::midpoint(voxels.precision().unwrap(), voxels.recall().unwrap());
            proptest::prop_assert!(voxels.dice() <= mean + 1e-15);
        }
    }

    #[test]
    fn nothing_against_nothing_is_a_dice_of_one() {
        let nothing = VoxelFigures::at(0.5, &row(&[0.0; 4], vec![]), Whose::Model);
        assert_eq!((nothing.dice(), nothing.dice_macro()), (1.0, 1.0));
        assert_eq!((nothing.precision(), nothing.recall()), (None, None));
        let missed = VoxelFigures::at(0.5, &row(&[0.0; 4], vec![[0, 1, 1]]), Whose::Model);
        assert_eq!((missed.dice(), missed.precision(), missed.recall()), (0.0, None, Some(0.0)));
    }
}
