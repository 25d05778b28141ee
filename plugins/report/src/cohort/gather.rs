//! What the cohort's page says: each case in a row, and what they are together.

use super::evaluation::{CaseScores, Evaluation};
use super::failures::{Failure, failures};
use super::options::CohortOptions;
use super::quality::{self, Outlier};
use sdk::serde::Serialize;
use sdk::{CaseEntry, Cases, Context, Inputs, OperatorError};
use serde_json::Value;
use std::collections::BTreeMap;

/// The most lesions of a case of each group but the last: none, 1 to 3, 4 to 10, more, as in Grøvik et al. 2020.
const GROUPS: [(&str, u64); 3] = [("no lesion", 0), ("1 to 3", 3), ("4 to 10", 10)];
/// The last group.
const MANY: &str = "more than 10";
/// The most lesions of a case in each bar of the histogram but the last.
const BARS: [u64; 8] = [0, 1, 2, 3, 6, 10, 20, 40];
/// The volume in ml that a case of each bar of the other histogram has less than; the first bar holds cases without any.
const VOLUMES_ML: [f64; 6] = [0.1, 1.0, 3.0, 10.0, 30.0, 100.0];

/// A case of the cohort.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Row {
    /// Its place in the cohort.
    #[serde(skip)]
    pub index: usize,
    /// Its label.
    pub case: String,
    /// Where its own page lies, from the root of the output folder; of a failed case, if it left one.
    pub page: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
    /// What helps, if that is known.
    pub hint: Option<String>,
    /// Accepted lesions.
    pub accepted: Option<u64>,
    /// Lesions below the size limit.
    pub below_size: Option<u64>,
    /// Candidates that another rule rejected.
    pub rejected: Option<u64>,
    /// Volume of the accepted lesions in ml.
    pub total_ml: Option<f64>,
    /// Volume of the largest in ml.
    pub largest_ml: Option<f64>,
    /// Sum of the longest axial diameters of the target lesions in mm.
    pub target_sum_mm: Option<f64>,
    /// Group by number of lesions.
    pub burden: Option<&'static str>,
    /// Inputs that the case lacks.
    pub missing: Vec<String>,
    /// What a reader of the case should bear in mind.
    pub warnings: Vec<String>,
    /// The similarity after registration of each image.
    pub registrations: BTreeMap<String, f64>,
    /// Volume of the brain mask in ml.
    pub brain_ml: Option<f64>,
    /// Median intensity of the reference in the brain.
    pub median_intensity: Option<f64>,
    /// Figures of quality control that lie apart from the cohort.
    pub outliers: Vec<Outlier>,
    /// What the evaluation says of it, if there is one that judged it.
    pub scores: Option<CaseScores>,
    /// Workflow, engine and model that it was made with.
    #[serde(skip)]
    pub made_by: String,
}

/// So many cases have this.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Count {
    /// What.
    pub name: String,
    /// How many cases.
    pub cases: usize,
    /// Share of the largest count in percent.
    pub percent: f64,
}

/// Warnings about models, once for all cases that have them.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct CohortBanner {
    /// `danger` or `warning`.
    pub level: String,
    /// The message.
    pub title: String,
    /// More, and the way out.
    pub text: String,
    /// How many cases.
    pub cases: usize,
}

/// The cohort as the page tells it.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct CohortSummary {
    /// [`crate::report::USE_LIMIT`].
    pub use_limit: &'static str,
    /// Robust z-score from which on a figure lies apart.
    pub outlier_z: f64,
    /// Workflow, engine and model, by the number of cases that were made with them.
    pub made_by: Vec<Count>,
    /// Cases that failed.
    pub failed: usize,
    /// Failed cases by cause.
    pub failures: Vec<Failure>,
    /// Accepted lesions of all cases.
    pub lesions: u64,
    /// What nobody may overlook.
    pub banners: Vec<CohortBanner>,
    /// Cases by group of lesion counts.
    pub burden: Vec<Count>,
    /// Cases by number of lesions.
    pub histogram: Vec<Count>,
    /// Cases by total volume of their lesions.
    pub volumes: Vec<Count>,
    /// Cases by what they lack.
    pub patterns: Vec<Count>,
    /// The evaluation, if one was given.
    pub evaluation: Option<Evaluation>,
    /// All cases, those that failed first.
    pub cases: Vec<Row>,
}

impl CohortSummary {
    /// Reads all cases.
    ///
    /// # Errors
    /// A case's report or tile that cannot be read; the stage was asked to stop.
    pub fn of(
        cases: &dyn Cases,
        options: &CohortOptions,
        mut evaluation: Option<Evaluation>,
        ctx: &Context,
    ) -> Result<Self, OperatorError> {
        let (mut rows, mut banners) = (Vec::with_capacity(cases.len()), Vec::new());
        for index in 0..cases.len() {
            ctx.check_cancelled()?;
            let entry = cases.entry(index)?;
            ctx.progress((index + 1) as f64 / cases.len() as f64, &entry.label);
            let mut row = Row::named(index, &entry, options);
            row.scores = evaluation.as_ref().and_then(|evaluation| evaluation.case(&row.case));
            if entry.failure.is_none() {
                row.read(&cases.inputs(index)?, &mut banners)?;
            }
            rows.push(row);
        }
        quality::mark(&mut rows, options.outlier_z);
        if let Some(evaluation) = &mut evaluation {
            evaluation.here = rows.iter().filter(|row| row.scores.is_some()).count();
        }
        Ok(Self::summed(rows, banners, evaluation, options.outlier_z))
    }

    fn summed(
        mut rows: Vec<Row>,
        banners: Vec<CohortBanner>,
        evaluation: Option<Evaluation>,
        outlier_z: f64,
    ) -> Self {
        let ran = || rows.iter().filter(|row| row.failure.is_none());
        let pattern = |row: &Row| match row.missing.as_slice() {
            [] => "nothing missing".to_owned(),
            missing => missing.join(", "),
        };
        let known: Vec<u64> = ran().filter_map(|row| row.accepted).collect();
        let groups = GROUPS.map(|(name, _)| name).into_iter().chain([MANY]);
        let burden =
            groups.map(|name| (name.to_owned(), known.iter().filter(|n| burden(**n) == name).count()));
        let burden = counted(burden.collect());
        let volumes: Vec<f64> = ran().filter_map(|row| row.total_ml).collect();
        let (failed, failures) = (rows.len() - ran().count(), failures(&rows));
        let (patterns, made_by) =
            (most_common(ran().map(pattern)), most_common(ran().map(|row| row.made_by.clone())));
        rows.sort_by_key(|row| row.failure.is_none());
        Self {
            use_limit: crate::report::USE_LIMIT,
            outlier_z,
            made_by,
            failed,
            failures,
            lesions: known.iter().sum(),
            banners,
            burden,
            histogram: counted(bars(&known)),
            volumes: counted(volume_bars(&volumes)),
            patterns,
            evaluation,
            cases: rows,
        }
    }
}

impl Row {
    fn named(index: usize, entry: &CaseEntry, options: &CohortOptions) -> Self {
        let of_case = if entry.failure.is_none() { page_of } else { page_left };
        Self {
            index,
            case: entry.label.clone(),
            page: of_case(entry, &options.page),
            failure: entry.failure.clone(),
            hint: entry.hint.clone(),
            ..Self::default()
        }
    }

    /// Takes what the case's report and its tile say.
    fn read(&mut self, inputs: &Inputs, banners: &mut Vec<CohortBanner>) -> Result<(), OperatorError> {
        if let Some(report) = json(inputs, "report", &self.case)? {
            let summary = &report["summary"];
            self.accepted = summary["accepted"].as_u64();
            self.below_size = summary["below_size"].as_u64();
            self.rejected = summary["rejected"].as_u64();
            self.total_ml = summary["total_ml"].as_f64();
            self.largest_ml = summary["largest_ml"].as_f64();
            self.target_sum_mm = summary["target_sum_mm"].as_f64();
            self.burden = self.accepted.map(burden);
            self.warnings = list(&report["warnings"]).filter_map(text).collect();
            let absent = list(&report["inputs"]).filter(|input| input["present"] == false);
            self.missing = absent.filter_map(|input| text(&input["name"])).collect();
            self.registrations = registrations(&report);
            self.made_by = made_by(&report);
            list(&report["banners"]).for_each(|banner| add_banner(banners, banner));
        }
        if let Some(tile) = json(inputs, "tile", &self.case)? {
            self.brain_ml = tile["brain_ml"].as_f64();
            self.median_intensity = tile["median_intensity"].as_f64();
        }
        Ok(())
    }
}

/// The JSON at an optional port.
///
/// # Errors
/// It is no JSON.
pub fn json(inputs: &Inputs, port: &str, case: &str) -> Result<Option<Value>, OperatorError> {
    let Some(document) = inputs.optional_document(port)? else { return Ok(None) };
    let read = serde_json::from_slice(&document.bytes).map_err(|error| {
        OperatorError::failed(format!(
            "case `{case}`: its `{port}` is no JSON: {error}\nhint: run the case again"
        ))
    });
    read.map(Some)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// `sub-01/ses-02/sub-01_ses-02_report.html`; none for a label that is no plain name.
fn page_of(entry: &CaseEntry, ending: &str) -> Option<String> {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let session = entry.session.as_ref().map(|session| format!("ses-{session}/")).unwrap_or_default();
    let named = !ending.is_empty() && plain(&entry.label) && plain(&entry.subject);
    named.then(|| format!("sub-{}/{session}{}_{ending}.html", entry.subject, entry.label))
}

/// The page among what a failed case left; none if its path is not plain.
fn page_left(entry: &CaseEntry, ending: &str) -> Option<String> {
    let name = format!("{}_{ending}.html", entry.label);
    let is_page = |path: &&String| path.rsplit('/').next() == Some(name.as_str());
    let plain = |path: &&String| {
        path.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
            && !path.starts_with('/')
    };
    entry.left.iter().filter(is_page).find(plain).filter(|_| !ending.is_empty()).cloned()
}

/// `brain-metastases 1.0.0, Neuroloom 0.1.0, model phantom-demo`, as far as the report tells.
fn made_by(report: &Value) -> String {
    let (name, version) = (&report["workflow"]["name"], &report["workflow"]["version"]);
    let workflow = [name, version].into_iter().filter_map(text).collect::<Vec<_>>().join(" ");
    let engine = text(&report["engine"]).map(|version| format!("Neuroloom {version}"));
    let model = text(&report["model"]["name"]).map(|name| format!("model {name}"));
    let parts = [Some(workflow).filter(|workflow| !workflow.is_empty()), engine, model];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// The least `metric_after` of each image in the tables of the registrations.
fn registrations(report: &Value) -> BTreeMap<String, f64> {
    let mut least: BTreeMap<String, f64> = BTreeMap::new();
    for quality in list(&report["quality"]) {
        let table = &quality["table"];
        let place = |name: &str| list(&table["columns"]).position(|column| column["name"] == name);
        let Some(metric) = place("metric_after") else { continue };
        let image = place("image");
        for row in list(&table["rows"]) {
            let named =
                image.and_then(|n| text(&row["cells"][n]["value"])).or_else(|| text(&quality["name"]));
            let (Some(name), Some(value)) = (named, row["cells"][metric]["value"].as_f64()) else { continue };
            least.entry(name).and_modify(|known| *known = known.min(value)).or_insert(value);
        }
    }
    least
}

fn add_banner(banners: &mut Vec<CohortBanner>, banner: &Value) {
    let Some(title) = text(&banner["title"]) else { return };
    match banners.iter_mut().find(|known| known.title == title) {
        Some(known) => known.cases += 1,
        None => banners.push(CohortBanner {
            level: if banner["level"] == "danger" { "danger" } else { "warning" }.to_owned(),
            title,
            text: text(&banner["text"]).unwrap_or_default(),
            cases: 1,
        }),
    }
}

/// The group of so many lesions.
fn burden(lesions: u64) -> &'static str {
    GROUPS.iter().find(|(_, most)| lesions <= *most).map_or(MANY, |(name, _)| *name)
}

/// Cases by number of lesions.
fn bars(known: &[u64]) -> Vec<(String, usize)> {
    let within = |low: u64, high: u64| known.iter().filter(|n| (low..=high).contains(*n)).count();
    let mut bars = Vec::with_capacity(BARS.len() + 1);
    let mut low = 0;
    for high in BARS {
        let name = if low == high { low.to_string() } else { format!("{low} to {high}") };
        bars.push((name, within(low, high)));
        low = high + 1;
    }
    bars.push((format!("{low} and more"), within(low, u64::MAX)));
    bars
}

/// Cases by the total volume of their lesions.
fn volume_bars(known_ml: &[f64]) -> Vec<(String, usize)> {
    let within = |low: f64, high: f64| known_ml.iter().filter(|ml| **ml >= low && **ml < high).count();
    let mut bars = vec![("none".to_owned(), known_ml.iter().filter(|ml| **ml <= 0.0).count())];
    let mut low = f64::MIN_POSITIVE;
    for high in VOLUMES_ML {
        let name = if bars.len() == 1 { format!("below {high}") } else { format!("{low} to {high}") };
        bars.push((name, within(low, high)));
        low = high;
    }
    bars.push((format!("{low} and more"), within(low, f64::INFINITY)));
    bars
}

/// How many there are of each, the most common first.
fn most_common(names: impl Iterator<Item = String>) -> Vec<Count> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, cases)| std::cmp::Reverse(*cases));
    counted(counts)
}

fn counted(counts: Vec<(String, usize)>) -> Vec<Count> {
    let most = counts.iter().map(|(_, cases)| *cases).max().unwrap_or(0).max(1);
    let count = |(name, cases): (String, usize)| {
        let percent = (cases as f64 / most as f64 * 1000.0).round() / 10.0;
        Count { name, cases, percent }
    };
    counts.into_iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_the_paper() {
        let groups = [0, 1, 3, 4, 10, 11].map(burden);
        assert_eq!(groups, ["no lesion", "1 to 3", "1 to 3", "4 to 10", "4 to 10", "more than 10"]);
        let counts = bars(&[0, 5, 6, 41]);
        assert_eq!(counts.iter().map(|(_, n)| n).sum::<usize>(), 4);
        assert_eq!((counts[4].0.as_str(), counts[4].1), ("4 to 6", 2));
        let volumes = volume_bars(&[0.0, 0.05, 0.1, 250.0]);
        assert_eq!(volumes.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [1, 1, 1, 0, 0, 0, 0, 1]);
        assert_eq!((volumes[1].0.as_str(), volumes[2].0.as_str()), ("below 0.1", "0.1 to 1"));
    }

    #[test]
    fn a_label_that_is_no_plain_name_has_no_link() {
        let page = |label| page_of(&CaseEntry::of(label), "report");
        assert_eq!(page("sub-01_ses-2").unwrap(), "sub-01/ses-2/sub-01_ses-2_report.html");
        assert_eq!(page("sub-<b>../x"), None);
        let left = |path: &str| {
            let entry = CaseEntry {
                left: vec!["sub-01/sub-01_data.json".to_owned(), path.to_owned()],
                ..CaseEntry::of("sub-01")
            };
            page_left(&entry, "report")
        };
        let aside = ".neuroloom/failed/sub-01/sub-01/sub-01_report.html";
        assert_eq!(left(aside).as_deref(), Some(aside));
        assert_eq!(left("javascript:alert(1)/sub-01_report.html"), None);
        assert_eq!(left("sub-01/sub-01_other.html"), None);
    }
}
