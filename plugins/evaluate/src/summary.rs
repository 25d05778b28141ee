//! A cohort: who is in it, the thresholds of its development cases, and the figures of its test cases at the chosen one.
//!
//! Scores of all cases are read once (some kilobytes each); then the evidence of each test case is mapped, one after another,
//! so that memory does not grow with the cohort. A case that failed stays in sight, with its reason.

pub mod figures;
pub mod further;
pub mod groups;
pub mod json;
pub mod page;
pub mod tables;

use crate::brats::{self, Brats};
use crate::case::Scored;
use crate::evidence::{Evidence, EvidenceError};
use crate::lesions::{LesionFigures, Prediction, Rules, VoxelFigures, Whose, compare};
use crate::options::{Criterion, Options, OptionsError, Summary};
use crate::statistics::Bootstrap;
use sdk::{CaseEntry, Cases, Context, OperatorError};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The threshold where neither development cases nor settings give one.
const DEFAULT_THRESHOLD: f64 = 0.5;
/// Equally likely thresholds at which test cases are scored for the intervals that hold its uncertainty: their ends lie between the
/// fortieths of its distribution at either end.
const DRAWS: usize = 20;
/// Columns of a cohort's table that are no property of a patient.
const NOT_STRATA: [&str; 9] =
    ["id", "split", "date", "acq_time", "session_date", "seed", "options", "participant_id", "session"];
/// Name of the stratum that score maps themselves tell of.
const MISSING_SEQUENCES: &str = "missing_sequences";
/// Different values that make a column a stratum.
const STRATUM_VALUES: std::ops::RangeInclusive<usize> = 2..=8;

/// Why a cohort cannot be summed up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SummaryError {
    /// Subjects on both sides.
    #[error(
        "subjects stand in development and in test: {names}\n\
         hint: a threshold that saw a subject says nothing about it; put all sessions of a subject on one side"
    )]
    Straddle {
        /// Their names.
        names: String,
    },
    /// Nothing to sum up.
    #[error(
        "no test case has scores\nhint: cases without a column `split`, or with `test` in it, are test cases"
    )]
    NoTest,
    /// Cases that were scored by different rules.
    #[error(
        "cases `{one}` and `{other}` were scored with different options\nhint: run both again with the same"
    )]
    Options {
        /// A case.
        one: String,
        /// Another.
        other: String,
    },
    /// A column that is not there.
    #[error("no case has a column `{name}` to tell strata apart\nhint: there is {there}")]
    NoColumn {
        /// The column asked for.
        name: String,
        /// Those that are there.
        there: String,
    },
    /// Settings that cannot be used.
    #[error(transparent)]
    Settings(#[from] OptionsError),
    /// What was kept of a case cannot be read.
    #[error("case `{case}`: {message}\nhint: run the case again")]
    Damaged {
        /// The case.
        case: String,
        /// What is wrong.
        message: String,
    },
}

/// On which side of the cohort a case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// It chooses thresholds.
    Dev,
    /// It is judged.
    Test,
    /// Neither.
    LeftOut,
}

/// What is known of a test case at the threshold.
#[derive(Clone, Copy, Debug)]
pub struct AtThreshold {
    /// Voxels inside the mask.
    pub voxel: VoxelFigures,
    /// Lesions.
    pub lesion: LesionFigures,
    /// By the rules of BraTS-METS, if wanted.
    pub brats: Option<Brats>,
}

/// A case of the cohort.
#[derive(Debug)]
pub struct Patient {
    /// Its place in the cohort.
    pub index: usize,
    /// Its name.
    pub id: String,
    /// Who it is.
    pub entry: CaseEntry,
    /// On which side it stands.
    pub split: Split,
    /// Its scores; none if it failed.
    pub scored: Option<Scored>,
    /// Why it failed.
    pub failure: Option<String>,
    /// At the threshold, for test cases.
    pub at: Option<AtThreshold>,
    /// The second model at its own threshold.
    pub other_at: Option<AtThreshold>,
    /// At each of the cohort's `draws`, without BraTS-METS; empty for other than test cases with scores.
    pub along: Vec<AtThreshold>,
}

/// Thresholds by criterion: means over the development patients; none where no patient has an optimum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Thresholds {
    /// Of the highest Dice.
    pub dice: Option<f64>,
    /// Of the highest Youden index.
    pub youden: Option<f64>,
    /// Closest to the upper left corner.
    pub corner: Option<f64>,
}

/// A cohort, summed up.
#[derive(Debug)]
pub struct Cohort {
    /// Settings of the case stage.
    pub options: Options,
    /// Settings of the cohort stage.
    pub settings: Summary,
    /// All cases, in the order of their labels.
    pub patients: Vec<Patient>,
    /// Thresholds of the model.
    pub thresholds: Thresholds,
    /// The one that is used.
    pub threshold: f64,
    /// 95 % interval of the chosen criterion's threshold over the development patients.
    pub threshold_interval: Option<[f64; 2]>,
    /// Equally likely thresholds, ascending, from resampled development patients; empty if the threshold is fixed, or there is
    /// one patient.
    pub draws: Vec<f64>,
    /// Thresholds of the second model, and the one used; none without one.
    pub other: Option<(Thresholds, f64)>,
}

impl Cohort {
    /// Reads the cases and scores the test cases at the threshold of the development cases.
    ///
    /// # Errors
    /// [`SummaryError`]; a stored value cannot be read; the stage was asked to stop.
    pub fn of(cases: &dyn Cases, settings: &Summary, ctx: &Context) -> Result<Self, OperatorError> {
        let (patients, manifest) = read(cases, ctx)?;
        check_subjects(&patients)?;
        let settings = settings.with(manifest.as_deref())?;
        let options = same_options(&patients)?;
        if !patients.iter().any(|patient| patient.split == Split::Test && patient.scored.is_some()) {
            return Err(SummaryError::NoTest.into());
        }
        let roc = |patient: &Patient| Some(patient.scored.as_ref()?.model.roc);
        let thresholds = thresholds(&patients, roc);
        let (threshold_interval, draws) = uncertainty(&patients, &settings);
        let other_roc = |patient: &Patient| Some(patient.scored.as_ref()?.other.as_ref()?.roc);
        let other = patients.iter().any(|patient| other_roc(patient).is_some()).then(|| {
            let of_other = self::thresholds(&patients, other_roc);
            (of_other, chosen(&of_other, &settings))
        });
        let threshold = chosen(&thresholds, &settings);
        let mut cohort =
            Self { options, settings, patients, thresholds, threshold, threshold_interval, draws, other };
        cohort.score_tests(cases, ctx)?;
        Ok(cohort)
    }

    fn score_tests(&mut self, cases: &dyn Cases, ctx: &Context) -> Result<(), OperatorError> {
        let (threshold, other, wants_brats) =
            (self.threshold, self.other.map(|(_, threshold)| threshold), self.settings.brats);
        let count = self.patients.len();
        for patient in self.patients.iter_mut().filter(|patient| patient.split == Split::Test) {
            ctx.check_cancelled()?;
            ctx.progress(patient.index as f64 / count as f64, "test cases at the threshold");
            let Some(scored) = &patient.scored else { continue };
            let document = cases.inputs(patient.index)?.document("evidence")?;
            let evidence = Evidence::unpack(&document.bytes).map_err(|error: EvidenceError| {
                SummaryError::Damaged { case: patient.id.clone(), message: error.to_string() }
            })?;
            let at = |threshold, whose| at_threshold(threshold, whose, &evidence, scored, wants_brats, ctx);
            patient.at = Some(at(threshold, Whose::Model)?);
            if let (Some(threshold), Some(_)) = (other, &scored.other) {
                patient.other_at = Some(at(threshold, Whose::Other)?);
            }
            for (n, &draw) in self.draws.iter().enumerate() {
                ctx.check_cancelled()?;
                let before = patient.along.last().filter(|_| n > 0 && self.draws[n - 1] == draw);
                let at = match before {
                    Some(&before) => before,
                    None => at_threshold(draw, Whose::Model, &evidence, scored, false, ctx)?,
                };
                patient.along.push(at);
            }
        }
        Ok(())
    }

    /// Cases of one side.
    pub fn side(&self, split: Split) -> impl Iterator<Item = &Patient> {
        self.patients.iter().filter(move |patient| patient.split == split)
    }

    /// Test cases with scores.
    pub fn tests(&self) -> impl Iterator<Item = (&Patient, &Scored)> {
        self.side(Split::Test).filter_map(|patient| Some((patient, patient.scored.as_ref()?)))
    }

    /// How patients are resampled.
    pub fn bootstrap(&self) -> Bootstrap {
        Bootstrap { replicates: self.settings.bootstrap, seed: self.settings.seed }
    }

    /// Columns that tell patients apart: those asked for, or all with two to eight values among the test cases.
    ///
    /// # Errors
    /// [`SummaryError::NoColumn`] for a column asked for that no case has.
    pub fn strata(&self) -> Result<Vec<String>, SummaryError> {
        let mut values: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for patient in self.side(Split::Test) {
            for name in patient.entry.columns.keys().map(String::as_str).chain([MISSING_SEQUENCES]) {
                if let Some(value) = patient.stratum(name) {
                    values.entry(name).or_default().insert(value);
                }
            }
        }
        if self.settings.strata.is_empty() {
            let useful = |(name, values): &(&&str, &BTreeSet<String>)| {
                !NOT_STRATA.contains(name) && STRATUM_VALUES.contains(&values.len())
            };
            return Ok(values.iter().filter(useful).map(|(name, _)| (*name).to_owned()).collect());
        }
        if let Some(name) = self.settings.strata.iter().find(|name| !values.contains_key(name.as_str())) {
            let there = values.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(SummaryError::NoColumn { name: name.clone(), there });
        }
        Ok(self.settings.strata.clone())
    }
}

impl Patient {
    /// The group by number of lesions; none without a lesion or without scores.
    pub fn group(&self) -> Option<&str> {
        self.scored.as_ref()?.figures.group.as_deref()
    }

    /// What the cohort's table, or the score map itself, says of it under this name.
    pub fn stratum(&self, column: &str) -> Option<String> {
        let told = || self.scored.as_ref()?.missing_sequences.clone();
        self.entry.columns.get(column).cloned().or_else(|| (column == MISSING_SEQUENCES).then(told).flatten())
    }
}

/// All cases, and the options of their manifest.
fn read(cases: &dyn Cases, ctx: &Context) -> Result<(Vec<Patient>, Option<String>), OperatorError> {
    let (mut patients, mut manifest) = (Vec::with_capacity(cases.len()), None);
    for index in 0..cases.len() {
        ctx.check_cancelled()?;
        let entry = cases.entry(index)?;
        let split = match entry.columns.get("split").map(String::as_str) {
            None | Some("test") => Split::Test,
            Some("dev") => Split::Dev,
            Some(_) => Split::LeftOut,
        };
        let id = entry.columns.get("id").unwrap_or(&entry.label).clone();
        let failure = entry.failure.clone();
        let mut scored = None;
        if failure.is_none() {
            let inputs = cases.inputs(index)?;
            manifest = manifest.or(inputs.optional_text("options")?);
            let document = inputs.document("scores")?;
            let mut read: Scored = serde_json::from_slice(&document.bytes)
                .map_err(|error| SummaryError::Damaged { case: id.clone(), message: error.to_string() })?;
            read.figures.id.clone_from(&id);
            read.lesions.iter_mut().for_each(|lesion| lesion.case.clone_from(&id));
            scored = Some(read);
        }
        patients.push(Patient {
            index,
            id,
            entry,
            split,
            scored,
            failure,
            at: None,
            other_at: None,
            along: Vec::new(),
        });
    }
    Ok((patients, manifest))
}

fn check_subjects(patients: &[Patient]) -> Result<(), SummaryError> {
    let of = |split: Split| -> BTreeSet<&str> {
        patients.iter().filter(|p| p.split == split).map(|p| p.entry.subject.as_str()).collect()
    };
    let (dev, test) = (of(Split::Dev), of(Split::Test));
    let both: Vec<String> = dev.intersection(&test).map(|subject| format!("`sub-{subject}`")).collect();
    if both.is_empty() { Ok(()) } else { Err(SummaryError::Straddle { names: both.join(", ") }) }
}

fn same_options(patients: &[Patient]) -> Result<Options, SummaryError> {
    let mut all = patients.iter().filter_map(|p| Some((p.id.as_str(), &p.scored.as_ref()?.options)));
    let Some((one, options)) = all.next() else { return Ok(Options::default()) };
    match all.find(|(_, other)| *other != options) {
        Some((other, _)) => Err(SummaryError::Options { one: one.to_owned(), other: other.to_owned() }),
        None => Ok(options.clone()),
    }
}

/// Mean optima of the development patients.
fn thresholds(patients: &[Patient], roc: impl Fn(&Patient) -> Option<crate::curve::Roc>) -> Thresholds {
    let dev: Vec<_> = patients.iter().filter(|patient| patient.split == Split::Dev).filter_map(roc).collect();
    let mean = |of: fn(&crate::curve::Roc) -> Option<f64>| {
        let optima: Vec<f64> = dev.iter().filter_map(of).collect();
        (!optima.is_empty()).then(|| optima.iter().sum::<f64>() / optima.len() as f64)
    };
    Thresholds {
        dice: mean(|roc| roc.dice_threshold),
        youden: mean(|roc| roc.youden_threshold),
        corner: mean(|roc| roc.corner_threshold),
    }
}

fn chosen(thresholds: &Thresholds, settings: &Summary) -> f64 {
    let of_criterion = match settings.criterion {
        Criterion::Dice => thresholds.dice,
        Criterion::Youden => thresholds.youden,
        Criterion::Corner => thresholds.corner,
    };
    settings.threshold.or(of_criterion).unwrap_or(DEFAULT_THRESHOLD)
}

/// 95 % interval of the chosen criterion's mean threshold over resampled development patients, and equally likely values of it;
/// neither if the threshold is fixed.
fn uncertainty(patients: &[Patient], settings: &Summary) -> (Option<[f64; 2]>, Vec<f64>) {
    let optimum = |patient: &Patient| {
        let roc = patient.scored.as_ref()?.model.roc;
        match settings.criterion {
            Criterion::Dice => roc.dice_threshold,
            Criterion::Youden => roc.youden_threshold,
            Criterion::Corner => roc.corner_threshold,
        }
    };
    if settings.threshold.is_some() {
        return (None, Vec::new());
    }
    let dev: Vec<Option<f64>> = patients.iter().filter(|p| p.split == Split::Dev).map(optimum).collect();
    let bootstrap = Bootstrap { replicates: settings.bootstrap, seed: settings.seed };
    (bootstrap.interval(&dev), bootstrap.quantiles(&dev, DRAWS))
}

fn at_threshold(
    threshold: f64,
    whose: Whose,
    evidence: &Evidence<'_>,
    scored: &Scored,
    wants_brats: bool,
    ctx: &Context,
) -> Result<AtThreshold, OperatorError> {
    let rules = Rules::of(&scored.options, scored.grid.voxel_volume_mm3())?;
    let prediction = Prediction::at(threshold, evidence, whose, rules.connectivity, ctx);
    let (_, lesion) = compare(&evidence.truth, &evidence.lesion_voxels(), &prediction, &rules);
    let brats = if wants_brats {
        // The challenge's components touch at corners, whatever the option says.
        let prediction = Prediction::at(
            threshold,
            evidence,
            whose,
            sdk::imaging::components::Connectivity::Corners26,
            ctx,
        );
        Some(brats::score(&evidence.truth, &prediction, &scored.grid, ctx)?)
    } else {
        None
    };
    Ok(AtThreshold { voxel: VoxelFigures::at(threshold, evidence, whose), lesion, brats })
}
