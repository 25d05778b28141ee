//! Figures of groups of test cases: Tables 3 and 4, mean ROC curves, lesions by size.

use super::{Cohort, Patient, Split};
use crate::case::Lesion;
use crate::curve::POINTS;
use crate::ranksum::{RankSum, holm, rank_sum};
use crate::statistics::{Mean, mean};
use serde::Serialize;

/// Groups by number of lesions, and all that have one.
pub const GROUPS: [&str; 4] = ["1-3", "4-10", ">10", "all"];
/// Pairs of groups that Table 4 compares.
pub const PAIRS: [[&str; 2]; 3] = [["1-3", "4-10"], ["1-3", ">10"], ["4-10", ">10"]];

/// A part of Tables 3 and 4: voxels by the ROC curve, voxels at the threshold, lesions at the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// `A`, `B` or `C`.
    pub letter: char,
    /// What it is about.
    pub title: &'static str,
    /// Its figures.
    pub metrics: [Metric; 3],
}

/// The parts of Tables 3 and 4.
pub const PARTS: [Part; 3] = [
    Part {
        letter: 'A',
        title: "ROC curve over voxels",
        metrics: [Metric::Auc, Metric::Sensitivity, Metric::Specificity],
    },
    Part {
        letter: 'B',
        title: "voxels at the threshold",
        metrics: [Metric::Dice, Metric::Recall, Metric::Precision],
    },
    Part {
        letter: 'C',
        title: "lesions at the threshold",
        metrics: [Metric::LesionSensitivity, Metric::Fp, Metric::Fp10],
    },
];

/// A figure of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Area under the ROC curve.
    Auc,
    /// At the case's own Youden threshold.
    Sensitivity,
    /// At the case's own Youden threshold.
    Specificity,
    /// Dice of the voxels.
    Dice,
    /// Share of the lesion voxels that are predicted.
    Recall,
    /// Share of the predicted voxels that are lesion.
    Precision,
    /// Share of the lesions that are found.
    LesionSensitivity,
    /// Predicted components without truth.
    Fp,
    /// Of these, those of at least the size limit.
    Fp10,
    /// Lesion-wise Dice by the rules of BraTS-METS.
    BratsDice,
    /// Lesion-wise HD95 by the rules of BraTS-METS, mm.
    BratsHd95,
}

impl Metric {
    /// Its key.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auc => "auc",
            Self::Sensitivity => "sensitivity",
            Self::Specificity => "specificity",
            Self::Dice => "dice",
            Self::Recall => "recall",
            Self::Precision => "precision",
            Self::LesionSensitivity => "lesion_sensitivity",
            Self::Fp => "fp",
            Self::Fp10 => "fp_10mm3",
            Self::BratsDice => "brats_lesionwise_dice",
            Self::BratsHd95 => "brats_lesionwise_hd95",
        }
    }

    /// The model's figure of a case, if it exists.
    pub fn of(self, patient: &Patient) -> Option<f64> {
        let scored = patient.scored.as_ref()?;
        self.pick(&scored.model.roc, patient.at.as_ref())
    }

    /// The second model's figure of a case, if it exists.
    pub fn of_other(self, patient: &Patient) -> Option<f64> {
        let scored = patient.scored.as_ref()?.other.as_ref()?;
        self.pick(&scored.roc, patient.other_at.as_ref())
    }

    /// The model's figure of a case at one of the cohort's `draws`, if it exists.
    pub fn at_draw(self, patient: &Patient, draw: usize) -> Option<f64> {
        let scored = patient.scored.as_ref()?;
        self.pick(&scored.model.roc, patient.along.get(draw))
    }

    /// Whether it is one of voxels or lesions at the threshold (those of BraTS-METS, which take long, are told without its
    /// uncertainty).
    pub const fn depends_on_threshold(self) -> bool {
        matches!(
            self,
            Self::Dice | Self::Recall | Self::Precision | Self::LesionSensitivity | Self::Fp | Self::Fp10
        )
    }

    fn pick(self, roc: &crate::curve::Roc, at: Option<&super::AtThreshold>) -> Option<f64> {
        match self {
            Self::Auc => roc.auc,
            Self::Sensitivity => roc.sensitivity,
            Self::Specificity => roc.specificity,
            Self::Dice => at.map(|at| at.voxel.dice()),
            Self::Recall => at?.voxel.recall(),
            Self::Precision => at?.voxel.precision(),
            Self::LesionSensitivity => at?.lesion.lesion_sensitivity,
            Self::Fp => at.map(|at| at.lesion.fp as f64),
            Self::Fp10 => at.map(|at| at.lesion.fp_10mm3 as f64),
            Self::BratsDice => at?.brats.map(|brats| brats.lesionwise_dice),
            Self::BratsHd95 => at?.brats.map(|brats| brats.lesionwise_hd95),
        }
    }

    /// What it is at worst; none for counts without a limit.
    pub const fn worst(self) -> Option<f64> {
        match self {
            Self::Fp | Self::Fp10 => None,
            Self::BratsHd95 => Some(crate::brats::WORST_MM),
            _ => Some(0.0),
        }
    }
}

/// Test cases with scores in a group.
pub fn members<'a>(cohort: &'a Cohort, group: &str) -> Vec<&'a Patient> {
    let fits = |patient: &&Patient| patient.group().is_some_and(|own| group == "all" || own == group);
    cohort.side(Split::Test).filter(fits).collect()
}

/// A figure over patients, with its interval over resampled patients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Count, mean, SD.
    #[serde(flatten)]
    pub mean: Mean,
    /// 95 % interval of the mean over resampled test patients, at the threshold that is used.
    pub ci: Option<[f64; 2]>,
    /// The same, over resampled development patients as well: with the uncertainty of the threshold that they chose. Absent for figures
    /// that do not depend on it, and where it is fixed or chosen by one patient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_with_threshold: Option<[f64; 2]>,
}

/// A figure over patients.
pub fn spread(cohort: &Cohort, patients: &[&Patient], metric: Metric) -> Spread {
    spread_with(cohort, patients, &[], metric)
}

/// The figure over all test cases with a lesion, those that failed counted as misses: as bad as can be.
pub fn worst_case(cohort: &Cohort, metric: Metric) -> Spread {
    let failed = cohort.side(Split::Test).filter(|patient| patient.scored.is_none()).map(|_| metric.worst());
    spread_with(cohort, &members(cohort, "all"), &failed.collect::<Vec<_>>(), metric)
}

/// A figure over patients, and over others whose figure is known.
fn spread_with(cohort: &Cohort, patients: &[&Patient], known: &[Option<f64>], metric: Metric) -> Spread {
    let with_known = |own: &dyn Fn(&Patient) -> Option<f64>| -> Vec<Option<f64>> {
        patients.iter().map(|patient| own(patient)).chain(known.iter().copied()).collect()
    };
    let values = with_known(&|patient| metric.of(patient));
    let draws = if metric.depends_on_threshold() { cohort.draws.len() } else { 0 };
    let along: Vec<_> = (0..draws).map(|draw| with_known(&|patient| metric.at_draw(patient, draw))).collect();
    Spread {
        mean: mean(&values),
        ci: cohort.bootstrap().interval(&values),
        ci_with_threshold: cohort.bootstrap().interval_over(&along),
    }
}

/// A comparison of Table 4.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Which of [`PAIRS`].
    #[serde(skip)]
    pub pair: usize,
    /// Which of the part's metrics.
    #[serde(skip)]
    pub metric: Metric,
    /// The test.
    #[serde(flatten)]
    pub test: RankSum,
    /// Its p, adjusted by Holm's method over the nine tests of the part.
    pub p_holm: Option<f64>,
}

/// All comparisons of a part of Table 4, pair by pair.
pub fn comparisons(cohort: &Cohort, part: &Part) -> Vec<Comparison> {
    let values = |group: &str, metric: Metric| -> Vec<f64> {
        members(cohort, group).into_iter().map(|p| metric.of(p).unwrap_or(f64::NAN)).collect()
    };
    let mut all: Vec<Comparison> = (0..PAIRS.len())
        .flat_map(|pair| part.metrics.map(|metric| (pair, metric)))
        .map(|(pair, metric)| {
            let [first, second] = PAIRS[pair].map(|group| values(group, metric));
            Comparison { pair, metric, test: rank_sum(&first, &second), p_holm: None }
        })
        .collect();
    let p: Vec<Option<f64>> = all.iter().map(|comparison| comparison.test.p).collect();
    for (comparison, adjusted) in all.iter_mut().zip(holm(&p)) {
        comparison.p_holm = adjusted;
    }
    all
}

/// The mean ROC curve of a group, at FPR 0, 0.01 .. 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeanRoc {
    /// Curves.
    pub n: usize,
    /// Mean TPR.
    pub tpr: Vec<f64>,
    /// SD of the TPR.
    pub sd: Vec<f64>,
    /// Lower end of the 95 % interval of the mean.
    pub ci_lo: Vec<f64>,
    /// Its upper end.
    pub ci_hi: Vec<f64>,
}

/// Normal deviate of a 95 % interval, as the paper has it.
const NORMAL_95: f64 = 1.96;

/// The mean curve of a group; none without a curve.
pub fn mean_roc(cohort: &Cohort, group: &str) -> Option<MeanRoc> {
    let members = members(cohort, group);
    let curves: Vec<&Vec<f64>> =
        members.iter().filter_map(|patient| patient.scored.as_ref()?.model.tpr.as_ref()).collect();
    let n = curves.len();
    if n == 0 {
        return None;
    }
    let mut roc = MeanRoc { n, tpr: vec![], sd: vec![], ci_lo: vec![], ci_hi: vec![] };
    for point in 0..POINTS {
        let values: Vec<Option<f64>> = curves.iter().map(|curve| curve.get(point).copied()).collect();
        let found = mean(&values);
        let (mean, sd) = (found.mean.unwrap_or(0.0), found.sd.unwrap_or(0.0));
        let half = NORMAL_95 * sd / (n as f64).sqrt();
        roc.tpr.push(mean);
        roc.sd.push(sd);
        roc.ci_lo.push((mean - half).clamp(0.0, 1.0));
        roc.ci_hi.push((mean + half).clamp(0.0, 1.0));
    }
    Some(roc)
}

/// Lesions of one millimetre of diameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SizeBin {
    /// From this diameter, mm.
    pub lo: f64,
    /// To this one, itself outside.
    pub hi: f64,
    /// Lesions found.
    pub found: u64,
    /// Lesions missed.
    pub missed: u64,
}

/// Sensitivity on both sides of a diameter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SizePoint {
    /// The diameter, mm.
    pub threshold: f64,
    /// Lesions of at least it.
    pub n_ge: u64,
    /// Share of them that is found.
    pub sens_ge: Option<f64>,
    /// Lesions below it.
    pub n_lt: u64,
    /// Share of them that is found.
    pub sens_lt: Option<f64>,
}

/// Lesions of all test cases by their longest diameter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sizes {
    /// Lesions by millimetre.
    pub histogram: Vec<SizeBin>,
    /// Sensitivity for at least and for less than a diameter.
    pub curve: Vec<SizePoint>,
    /// Lesions.
    pub n: usize,
    /// Share of them that is found.
    pub pooled_sensitivity: Option<f64>,
    /// Diameter of the largest that is not.
    pub largest_missed_mm: Option<f64>,
}

/// Sizes of the lesions of the test cases, as found at the found threshold.
pub fn sizes(cohort: &Cohort) -> Sizes {
    let lesions: Vec<&Lesion> = cohort.tests().flat_map(|(_, scored)| &scored.lesions).collect();
    let share = |of: &[&&Lesion]| {
        let found = of.iter().filter(|lesion| lesion.met.found).count();
        (of.len() as u64, (!of.is_empty()).then(|| found as f64 / of.len() as f64))
    };
    let largest = lesions.iter().map(|lesion| lesion.diameter_mm).fold(0.0, f64::max);
    let bins = (cohort.settings.size_max_mm as usize).max(largest.floor() as usize + 1);
    let mut histogram: Vec<SizeBin> =
        (0..bins).map(|n| SizeBin { lo: n as f64, hi: (n + 1) as f64, ..SizeBin::default() }).collect();
    for lesion in &lesions {
        let bin = &mut histogram[lesion.diameter_mm.floor() as usize];
        if lesion.met.found {
            bin.found += 1;
        } else {
            bin.missed += 1;
        }
    }
    let point = |mm: u32| {
        let threshold = f64::from(mm);
        let (large, small): (Vec<&&Lesion>, Vec<&&Lesion>) =
            lesions.iter().partition(|lesion| lesion.diameter_mm >= threshold);
        let ((n_ge, sens_ge), (n_lt, sens_lt)) = (share(&large), share(&small));
        SizePoint { threshold, n_ge, sens_ge, n_lt, sens_lt }
    };
    let missed = lesions.iter().filter(|lesion| !lesion.met.found).map(|lesion| lesion.diameter_mm);
    Sizes {
        histogram,
        curve: (1..=cohort.settings.size_max_mm).map(point).collect(),
        n: lesions.len(),
        pooled_sensitivity: share(&lesions.iter().collect::<Vec<_>>()).1,
        largest_missed_mm: missed.reduce(f64::max),
    }
}
