//! An evaluation against the truth on the cohort's page: the JSON of `summarise`, its figures drawn anew.
//!
//! Nothing of the evaluation's own page or drawings is embedded: numbers are read, and everything that is shown is made of them.

use super::curves::{Axis, Chart};
use sdk::OperatorError;
use sdk::serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Groups by number of lesions, as the evaluation names them, and the style of their curves.
const GROUPS: [(&str, &str); 4] = [("1-3", "s1"), ("4-10", "s2"), (">10", "s3"), ("all", "s0")];
/// Figures of the tables: part of Table 3, key, title.
const METRICS: [(&str, &str, &str); 9] = [
    ("3A", "auc", "AUC"),
    ("3A", "sensitivity", "Sensitivity, at each case’s best threshold"),
    ("3A", "specificity", "Specificity, at each case’s best threshold"),
    ("3B", "dice", "Dice"),
    ("3B", "recall", "Recall of voxels"),
    ("3B", "precision", "Precision of voxels"),
    ("3C", "lesion_sensitivity", "Sensitivity for lesions"),
    ("3C", "fp", "False positives a case"),
    ("3C", "fp_10mm3", "False positives a case, of the size limit or more"),
];
/// False positives per case that the FROC curve reaches to at most, as in the evaluation's own figure.
const MOST_FALSE_POSITIVES: f64 = 20.0;

/// Why an evaluation cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The file cannot be read.
    #[error(
        "the evaluation {path} cannot be read: {source}\nhint: `evaluation` is the `evaluation.json` of `summarise`"
    )]
    Unreadable {
        /// Its path.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{path} is no evaluation: {source}\nhint: `evaluation` is the `evaluation.json` of `summarise`")]
    Other {
        /// Its path.
        path: String,
        /// What lacks.
        source: serde_json::Error,
    },
}

/// Mean and spread of a figure over cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(crate = "sdk::serde")]
pub struct Spread {
    /// Cases.
    pub n: u64,
    /// Their mean.
    pub mean: Option<f64>,
    /// Their standard deviation.
    pub sd: Option<f64>,
    /// 95 % interval of the mean.
    #[serde(default)]
    pub ci: Option<[f64; 2]>,
}

/// The evaluation's file, as far as it is shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "sdk::serde")]
struct File {
    threshold: f64,
    #[serde(default)]
    threshold_ci: Option<[f64; 2]>,
    table3: BTreeMap<String, BTreeMap<String, BTreeMap<String, Spread>>>,
    roc_mean: BTreeMap<String, MeanRoc>,
    froc: Vec<FrocPoint>,
    size: Sizes,
    cases: Sides,
    test: Vec<Judged>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "sdk::serde")]
struct MeanRoc {
    n: u64,
    tpr: Vec<f64>,
    ci_lo: Vec<f64>,
    ci_hi: Vec<f64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "sdk::serde")]
struct FrocPoint {
    sensitivity: Option<f64>,
    fp_per_patient: Option<f64>,
    fp_10mm3_per_patient: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "sdk::serde")]
struct Sizes {
    curve: Vec<SizePoint>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "sdk::serde")]
struct SizePoint {
    threshold: f64,
    sens_ge: Option<f64>,
    sens_lt: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "sdk::serde")]
struct Sides {
    dev: Side,
    test: Side,
    #[serde(default)]
    in_training: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "sdk::serde")]
struct Side {
    scored: u64,
    of: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "sdk::serde")]
struct Judged {
    id: String,
    roc: Roc,
    #[serde(default)]
    voxel: Option<Voxels>,
    #[serde(default)]
    lesion: Option<Lesions>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "sdk::serde")]
struct Roc {
    auc: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "sdk::serde")]
struct Voxels {
    dice: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "sdk::serde")]
struct Lesions {
    lesion_sensitivity: Option<f64>,
    fp: Option<f64>,
}

/// What the evaluation says of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct CaseScores {
    /// Area under its ROC curve over voxels.
    pub auc: Option<f64>,
    /// Dice of its voxels at the threshold.
    pub dice: Option<f64>,
    /// Share of its lesions that is found at the threshold.
    pub lesion_sensitivity: Option<f64>,
    /// Predicted components without truth at the threshold.
    pub false_positives: Option<f64>,
}

/// A row of the table of figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Metric {
    /// Its key in the evaluation.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Of each group of [`Evaluation::groups`].
    pub groups: Vec<Option<Spread>>,
}

/// An evaluation as the page shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Evaluation {
    /// The threshold that was judged.
    pub threshold: f64,
    /// Its 95 % interval.
    pub threshold_ci: Option<[f64; 2]>,
    /// Development cases with scores.
    pub dev: u64,
    /// Test cases with scores.
    pub scored: u64,
    /// All test cases.
    pub of: u64,
    /// Test cases that the model was trained on.
    pub in_training: Vec<String>,
    /// Cases of this cohort that were judged.
    pub here: usize,
    /// Groups by number of lesions.
    pub groups: Vec<&'static str>,
    /// Figures by group.
    pub metrics: Vec<Metric>,
    /// Curves.
    #[serde(skip)]
    pub charts: Vec<Chart>,
    /// Of each judged case, by its name.
    #[serde(skip)]
    cases: BTreeMap<String, CaseScores>,
}

impl Evaluation {
    /// Reads an `evaluation.json`.
    ///
    /// # Errors
    /// [`EvaluationError`] if it is none.
    pub fn read(path: &Path) -> Result<Self, OperatorError> {
        let name = || path.display().to_string();
        let bytes =
            std::fs::read(path).map_err(|source| EvaluationError::Unreadable { path: name(), source })?;
        let file: File = serde_json::from_slice(&bytes)
            .map_err(|source| EvaluationError::Other { path: name(), source })?;
        Ok(Self::of(&file))
    }

    fn of(file: &File) -> Self {
        let metric = |(part, name, title): (&str, &'static str, &'static str)| {
            let of_group = |group: &str| file.table3.get(part)?.get(group)?.get(name).cloned();
            Metric { name, title, groups: GROUPS.iter().map(|(group, _)| of_group(group)).collect() }
        };
        let scores = |case: &Judged| CaseScores {
            auc: case.roc.auc,
            dice: case.voxel.as_ref().and_then(|voxel| voxel.dice),
            lesion_sensitivity: case.lesion.as_ref().and_then(|lesion| lesion.lesion_sensitivity),
            false_positives: case.lesion.as_ref().and_then(|lesion| lesion.fp),
        };
        Self {
            threshold: file.threshold,
            threshold_ci: file.threshold_ci,
            dev: file.cases.dev.scored,
            scored: file.cases.test.scored,
            of: file.cases.test.of,
            in_training: file.cases.in_training.clone(),
            here: 0,
            groups: GROUPS.map(|(name, _)| name).to_vec(),
            metrics: METRICS.map(metric).to_vec(),
            charts: vec![roc(file), froc(file), by_size(file)],
            cases: file.test.iter().map(|case| (case.id.clone(), scores(case))).collect(),
        }
    }

    /// What it says of a case; a manifest may have named it without `sub-`.
    pub fn case(&self, label: &str) -> Option<CaseScores> {
        let short = label.strip_prefix("sub-").unwrap_or(label);
        self.cases.get(label).or_else(|| self.cases.get(short)).copied()
    }
}

fn roc(file: &File) -> Chart {
    let mut chart =
        Chart::new("Mean ROC curves over voxels", Axis::share("1 − specificity"), Axis::share("sensitivity"));
    chart.diagonal();
    let points = |values: &[f64]| -> Vec<(f64, f64)> {
        let last = values.len().saturating_sub(1).max(1) as f64;
        values.iter().enumerate().map(|(n, value)| (n as f64 / last, *value)).collect()
    };
    for (group, style) in GROUPS {
        let Some(roc) = file.roc_mean.get(group) else { continue };
        if group == "all" {
            chart.band(&points(&roc.ci_lo), &points(&roc.ci_hi), style);
        }
        let lesions = if group == "all" { "all, with 95 % interval" } else { group };
        chart.line(&points(&roc.tpr), style, format!("{lesions} (n = {})", roc.n));
    }
    chart
}

fn froc(file: &File) -> Chart {
    let points = |fp: fn(&FrocPoint) -> Option<f64>| -> Vec<(f64, f64)> {
        let all: Vec<(f64, f64)> = file.froc.iter().filter_map(|p| Some((fp(p)?, p.sensitivity?))).collect();
        // Below the threshold of the most false positives components grow into one another: the curve would turn back.
        let most = all.iter().map(|place| place.0).fold(0.0, f64::max);
        let from = all.iter().rposition(|place| place.0 >= most).unwrap_or(0);
        all[from..].iter().copied().filter(|place| place.0 <= MOST_FALSE_POSITIVES).collect()
    };
    let (whole, large) = (points(|p| p.fp_per_patient), points(|p| p.fp_10mm3_per_patient));
    let end = whole.iter().chain(&large).map(|place| place.0).fold(0.0, f64::max);
    let x = Axis::up_to("false positives a case", end);
    let mut chart = Chart::new("FROC curves", x, Axis::share("lesions found"));
    chart.line(&whole, "s0", "all components".to_owned());
    chart.line(&large, "s1", "of the size limit or more".to_owned());
    chart
}

fn by_size(file: &File) -> Chart {
    let points = |of: fn(&SizePoint) -> Option<f64>| -> Vec<(f64, f64)> {
        file.size.curve.iter().filter_map(|point| Some((point.threshold, of(point)?))).collect()
    };
    let end = file.size.curve.last().map_or(1.0, |point| point.threshold);
    let mut chart = Chart::new(
        "Lesions found by size",
        Axis::up_to("diameter s (mm)", end),
        Axis::share("lesions found"),
    );
    chart.line(&points(|point| point.sens_ge), "s0", "of s or more".to_owned());
    chart.line(&points(|point| point.sens_lt), "s1", "smaller than s".to_owned());
    chart
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file() -> serde_json::Value {
        let spread = json!({"n": 3, "mean": 0.9, "sd": 0.1, "ci": [0.8, 0.95]});
        let fp = json!({"n": 3, "mean": 8.3, "sd": 2.0, "ci": null});
        json!({
            "threshold": 0.93, "threshold_ci": [0.9, 0.95],
            "table3": {"3A": {"all": {"auc": spread}}, "3C": {"all": {"fp": fp}}},
            "roc_mean": {"all": {"n": 3, "tpr": [0.0, 0.9, 1.0], "ci_lo": [0.0, 0.8, 1.0], "ci_hi": [0.0, 1.0, 1.0]}},
            "froc": [{"sensitivity": 1.0, "fp_per_patient": 0.5, "fp_10mm3_per_patient": 0.0},
                {"sensitivity": 0.95, "fp_per_patient": 12.0, "fp_10mm3_per_patient": 3.0},
                {"sensitivity": 0.6, "fp_per_patient": 4.0, "fp_10mm3_per_patient": 1.0},
                {"sensitivity": 0.2, "fp_per_patient": null, "fp_10mm3_per_patient": null}],
            "size": {"curve": [{"threshold": 1.0, "sens_ge": 0.8, "sens_lt": null}, {"threshold": 2.0, "sens_ge": 0.9, "sens_lt": 0.3}]},
            "cases": {"dev": {"scored": 2, "of": 2}, "test": {"scored": 3, "of": 4}, "in_training": ["p2"]},
            "test": [{"id": "p1", "roc": {"auc": 0.98}, "voxel": {"dice": 0.7}, "lesion": {"lesion_sensitivity": 0.8, "fp": 3}},
                {"id": "sub-2", "roc": {"auc": null}}],
        })
    }

    fn read(value: &serde_json::Value) -> Result<Evaluation, OperatorError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), value.to_string()).unwrap();
        Evaluation::read(file.path())
    }

    #[test]
    fn what_is_missing_is_missing_and_cases_are_found_by_label_or_name() {
        let evaluation = read(&file()).unwrap();
        assert_eq!(evaluation.case("sub-p1").unwrap().false_positives, Some(3.0));
        assert_eq!(evaluation.case("sub-2"), Some(CaseScores::default()));
        assert_eq!(evaluation.case("sub-p3"), None);
        assert_eq!(evaluation.metrics[0].groups[3].as_ref().unwrap().mean, Some(0.9));
        assert_eq!(evaluation.metrics[3].groups, [const { None }; 4], "no Dice was given");
    }

    #[test]
    fn the_froc_curve_begins_at_the_most_false_positives_and_the_others_at_their_start() {
        let charts = read(&file()).unwrap().charts;
        let paths: Vec<usize> = charts.iter().map(|chart| chart.lines.len()).collect();
        assert_eq!(paths, [2, 2, 1], "the diagonal and all; both kinds; one point is no curve: {charts:?}");
        assert_eq!(charts[1].lines[0].path.matches('L').count(), 1, "what turns back is left out");
    }

    #[test]
    fn another_file_is_refused_by_name() {
        let error = read(&json!({"threshold": 0.5})).unwrap_err();
        assert!(error.message.contains("is no evaluation: missing field `table3`"), "{error:?}");
        assert!(error.hint.is_some_and(|hint| hint.contains("evaluation.json")));
        assert!(Evaluation::read(Path::new("nowhere.json")).unwrap_err().message.contains("nowhere.json"));
    }
}
