//! What goes beyond the paper: FROC, calibration, strata, a second model, a second reader.

use super::groups::{Metric, Spread, spread};
use super::{Cohort, Patient, Split, SummaryError};
use crate::calibration::Calibration;
use crate::case::FROC_THRESHOLDS;
use crate::readers::Agreement;
use crate::statistics::{Mean, mean};
use serde::Serialize;
use std::collections::BTreeMap;

/// A point of the FROC curve over the test cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FrocPoint {
    /// The threshold.
    pub threshold: f64,
    /// Share of all lesions that is found; none without a lesion.
    pub sensitivity: Option<f64>,
    /// Its 95 % interval over resampled patients.
    pub sensitivity_ci: Option<[f64; 2]>,
    /// Predicted components without truth, per patient.
    pub fp_per_patient: Option<f64>,
    /// Of these, those of at least the size limit.
    pub fp_10mm3_per_patient: Option<f64>,
}

/// Which model of a case is meant.
type ScoresOf = fn(&Patient) -> Option<&crate::case::ModelScores>;

/// The first model's scores.
pub fn of_model(patient: &Patient) -> Option<&crate::case::ModelScores> {
    Some(&patient.scored.as_ref()?.model)
}

/// The second model's scores.
pub fn of_other(patient: &Patient) -> Option<&crate::case::ModelScores> {
    patient.scored.as_ref()?.other.as_ref()
}

/// The FROC curve over all test cases, those without a lesion too.
pub fn froc(cohort: &Cohort, scores_of: ScoresOf) -> Vec<FrocPoint> {
    let patients: Vec<(&crate::case::ModelScores, u64)> = cohort
        .tests()
        .filter_map(|(patient, scored)| Some((scores_of(patient)?, scored.figures.n_lesions)))
        .collect();
    let point = |(n, &threshold): (usize, &f64)| {
        let at: Vec<(u64, u64, u64, u64)> = patients
            .iter()
            .filter_map(|(scores, lesions)| scores.froc.get(n).map(|p| (p.found, *lesions, p.fp, p.fp_10mm3)))
            .collect();
        let share = |drawn: &mut dyn Iterator<Item = usize>| {
            let (found, all) = drawn.fold((0, 0), |sum, n| (sum.0 + at[n].0, sum.1 + at[n].1));
            (all > 0).then(|| found as f64 / all as f64)
        };
        let per_patient = |of: fn(&(u64, u64, u64, u64)) -> u64| {
            (!at.is_empty()).then(|| at.iter().map(of).sum::<u64>() as f64 / at.len() as f64)
        };
        FrocPoint {
            threshold,
            sensitivity: share(&mut (0..at.len())),
            sensitivity_ci: cohort
                .bootstrap()
                .interval_of(at.len(), |drawn| share(&mut drawn.iter().copied())),
            fp_per_patient: per_patient(|p| p.2),
            fp_10mm3_per_patient: per_patient(|p| p.3),
        }
    };
    FROC_THRESHOLDS.iter().enumerate().map(point).collect()
}

/// Voxels of all test cases by score.
pub fn calibration(cohort: &Cohort, scores_of: ScoresOf) -> Calibration {
    let mut all = Calibration::default();
    for scores in cohort.side(Split::Test).filter_map(scores_of) {
        all.add(&scores.calibration);
    }
    all
}

/// Figures that are told of each stratum and of both models.
pub const MAIN_METRICS: [Metric; 5] =
    [Metric::Auc, Metric::Dice, Metric::LesionSensitivity, Metric::Fp, Metric::Fp10];

/// Test cases of one value of a column.
#[derive(Clone, Debug, Serialize)]
pub struct Stratum {
    /// The column.
    pub column: String,
    /// Its value; `n/a` where a case has none.
    pub value: String,
    /// Test cases with scores.
    pub n: usize,
    /// Test cases with this value, failed ones among them.
    pub of: usize,
    /// Its figures, by name.
    pub metrics: BTreeMap<&'static str, Spread>,
}

/// The strata of the test cases.
///
/// # Errors
/// [`SummaryError::NoColumn`].
pub fn strata(cohort: &Cohort) -> Result<Vec<Stratum>, SummaryError> {
    let mut strata = Vec::new();
    for column in cohort.strata()? {
        let mut by_value: BTreeMap<String, Vec<&Patient>> = BTreeMap::new();
        for patient in cohort.side(Split::Test) {
            let value = patient.stratum(&column).unwrap_or_else(|| "n/a".to_owned());
            by_value.entry(value).or_default().push(patient);
        }
        for (value, patients) in by_value {
            let scored: Vec<&Patient> = patients.iter().copied().filter(|p| p.scored.is_some()).collect();
            let metrics = MAIN_METRICS.iter().map(|&m| (m.name(), spread(cohort, &scored, m))).collect();
            let (n, of) = (scored.len(), patients.len());
            strata.push(Stratum { column: column.clone(), value, n, of, metrics });
        }
    }
    Ok(strata)
}

/// Two models on the same cases, by one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// Cases of which both models have the figure.
    pub n: usize,
    /// Mean of the first model.
    pub mean: Option<f64>,
    /// Mean of the second.
    pub mean_other: Option<f64>,
    /// Mean of first less second.
    pub difference: Option<f64>,
    /// Its 95 % interval over resampled patients.
    pub ci: Option<[f64; 2]>,
    /// Two-sided p by changes of sign.
    pub p: Option<f64>,
}

/// The two models on all test cases that both have; none without a second model.
pub fn paired(cohort: &Cohort) -> Option<Vec<(Metric, Paired)>> {
    cohort.other?;
    let of = |metric: Metric| {
        let both: Vec<(f64, f64)> = cohort
            .side(Split::Test)
            .filter_map(|patient| Some((metric.of(patient)?, metric.of_other(patient)?)))
            .collect();
        let mean_of =
            |values: &mut dyn Iterator<Item = f64>| mean(&values.map(Some).collect::<Vec<_>>()).mean;
        let differences: Vec<f64> = both.iter().map(|(a, b)| a - b).collect();
        let paired = Paired {
            n: both.len(),
            mean: mean_of(&mut both.iter().map(|pair| pair.0)),
            mean_other: mean_of(&mut both.iter().map(|pair| pair.1)),
            difference: mean_of(&mut differences.iter().copied()),
            ci: cohort.bootstrap().interval(&differences.iter().copied().map(Some).collect::<Vec<_>>()),
            p: cohort.bootstrap().sign_flip_p(&differences),
        };
        (metric, paired)
    };
    Some(MAIN_METRICS.map(of).to_vec())
}

/// Two readers over the cases that both have read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Readers {
    /// Cases.
    pub n: usize,
    /// Dice of the voxels.
    pub dice: Mean,
    /// Share of the first reader's lesions that the second has, over all lesions.
    pub seen_by_other: Option<f64>,
    /// Share of the second reader's lesions that the first has.
    pub other_seen: Option<f64>,
    /// Harmonic mean of the two.
    pub lesion_f1: Option<f64>,
    /// Volume of the first less that of the second, ml.
    pub volume_difference_ml: Mean,
    /// Bland-Altman limits of agreement of that difference: mean ± 1.96 SD, ml.
    pub limits_of_agreement_ml: Option<[f64; 2]>,
}

/// Normal deviate of the limits of agreement.
const NORMAL_95: f64 = 1.96;

/// Agreement of two readers over the test cases; none without a second reader.
pub fn readers(cohort: &Cohort) -> Option<Readers> {
    let cases: Vec<(Agreement, f64)> = cohort
        .tests()
        .filter_map(|(_, scored)| Some((scored.readers?, scored.figures.voxel_volume_mm3)))
        .collect();
    if cases.is_empty() {
        return None;
    }
    let sum = |of: fn(&Agreement) -> u64| cases.iter().map(|(a, _)| of(a)).sum::<u64>();
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let seen_by_other = share(sum(|a| a.lesions_seen), sum(|a| a.lesions));
    let other_seen = share(sum(|a| a.lesions_other_seen), sum(|a| a.lesions_other));
    let f1 = |(a, b): (f64, f64)| if a + b > 0.0 { 2.0 * a * b / (a + b) } else { 0.0 };
    let ml = |(a, mm3): &(Agreement, f64)| Some((a.voxels as f64 - a.voxels_other as f64) * mm3 / 1000.0);
    let volume_difference_ml = mean(&cases.iter().map(ml).collect::<Vec<_>>());
    let limits = volume_difference_ml
        .mean
        .zip(volume_difference_ml.sd)
        .map(|(mean, sd)| [mean - NORMAL_95 * sd, mean + NORMAL_95 * sd]);
    Some(Readers {
        n: cases.len(),
        dice: mean(&cases.iter().map(|(a, _)| Some(a.dice)).collect::<Vec<_>>()),
        seen_by_other,
        other_seen,
        lesion_f1: seen_by_other.zip(other_seen).map(f1),
        volume_difference_ml,
        limits_of_agreement_ml: limits,
    })
}
