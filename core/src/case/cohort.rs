//! A cohort: its cases, and what each brings.

use super::slices::Slices;
use super::{CaseLabel, CohortError, bids, layout, manifest, table};
use crate::fault::list;
use crate::plan::InputSpec;
use crate::runner::CaseInput;
use crate::site::Site;
use sdk::{Kind, Value};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// How a cohort is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CohortKind {
    /// A BIDS data set: `sub-01/[ses-01/]anat/sub-01_T1w.nii.gz`.
    Bids,
    /// A table, tab-separated: a row a case, a column an input or a label.
    Table,
    /// A JSON file with lists of cases.
    Manifest,
    /// Folders that the site file describes.
    Folders,
    /// `BraTS-MET-00001-000/BraTS-MET-00001-000-t1c.nii.gz`.
    BratsMets,
    /// `Mets_001/0/17.png`: slices.
    BrainMetShare,
}

impl fmt::Display for CohortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bids => "BIDS data set",
            Self::Table => "table",
            Self::Manifest => "manifest",
            Self::Folders => "folders",
            Self::BratsMets => "BraTS-METS layout",
            Self::BrainMetShare => "BrainMetShare layout",
        })
    }
}

/// Which part of a cohort is asked for, and how its files are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Subjects, with or without `sub-`; all if empty.
    pub participants: Vec<String>,
    /// Sessions, with or without `ses-`; all if empty.
    pub sessions: Vec<String>,
    /// A JSON file of entities for each input, as fMRIPrep reads it; it replaces single entities of the workflow's rules.
    pub bids_filter: Option<PathBuf>,
}

impl Filters {
    /// Whether only a part of the cohort is asked for.
    pub const fn narrow(&self) -> bool {
        !self.participants.is_empty() || !self.sessions.is_empty()
    }

    /// Subjects asked for, without `sub-`.
    pub(super) fn subjects(&self) -> BTreeSet<&str> {
        self.participants.iter().map(|label| label.strip_prefix("sub-").unwrap_or(label)).collect()
    }

    /// Sessions asked for, without `ses-`.
    pub(super) fn visits(&self) -> BTreeSet<&str> {
        self.sessions.iter().map(|label| label.strip_prefix("ses-").unwrap_or(label)).collect()
    }

    /// Whether a case is asked for.
    pub(super) fn takes(&self, label: &CaseLabel) -> bool {
        let visit = label.session.as_deref();
        (self.participants.is_empty() || self.subjects().contains(label.subject.as_str()))
            && (self.sessions.is_empty() || visit.is_some_and(|visit| self.visits().contains(visit)))
    }
}

/// What a case brings for an input.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// A file.
    File(PathBuf),
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// A folder of PNG slices.
    Slices(Slices),
}

impl Given {
    /// The file, or the folder of slices.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Slices(slices) => Some(&slices.folder),
            Self::Text(_) | Self::Number(_) => None,
        }
    }

    /// As the runner takes it.
    pub fn case_input(&self) -> CaseInput {
        match self {
            Self::File(path) => CaseInput::File(path.clone()),
            Self::Slices(slices) => CaseInput::Slices(slices.clone()),
            Self::Text(text) => CaseInput::Value(Value::from(text.as_str())),
            Self::Number(number) => CaseInput::Value(Value::from(*number)),
        }
    }

    /// What a cell of a table means for an input.
    ///
    /// # Errors
    /// The text, if it is to be a number and is none.
    pub(super) fn of_cell(text: &str, spec: &InputSpec, folder: &Path) -> Result<Self, String> {
        match spec.kind {
            Kind::Text => Ok(Self::Text(text.to_owned())),
            Kind::Number => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Self::Number(number)),
                _ => Err(format!("`{text}` is no number")),
            },
            _ => Ok(Self::File(folder.join(text))),
        }
    }
}

/// Why a case cannot run, whatever the workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The input it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// What is wrong, and where.
    pub message: String,
    /// The files among which none could be chosen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    pub(super) fn of(input: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            input: Some(input.to_owned()),
            message: message.into(),
            candidates: Vec::new(),
            hint: Some(hint.into()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(input) = &self.input {
            write!(f, "input `{input}`: ")?;
        }
        f.write_str(&self.message)?;
        for candidate in &self.candidates {
            write!(f, "\n  {candidate}")?;
        }
        self.hint.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

/// A file that came close to an input's rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NearMiss {
    /// Its name.
    pub file: String,
    /// What keeps it from being taken, as in `has no acq-BRAVO`.
    pub differs: Vec<String>,
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.differs.join(", "))
    }
}

/// A case, and what was found for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CohortCase {
    /// Subject and session.
    pub label: CaseLabel,
    /// What it brings, by input name.
    pub inputs: BTreeMap<String, Given>,
    /// What a table says of it beside inputs: `seed`, `split`, `date` …
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// Why it cannot run; empty if all is well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// For inputs that are absent, the files that came closest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub near_misses: BTreeMap<String, Vec<NearMiss>>,
    /// What the files do not say and the site does, by input: `spacing_mm`, `orientation`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub assumed: BTreeMap<String, serde_json::Value>,
}

impl CohortCase {
    /// A case of which nothing is known yet.
    pub(super) const fn new(label: CaseLabel) -> Self {
        Self {
            label,
            inputs: BTreeMap::new(),
            columns: BTreeMap::new(),
            problems: Vec::new(),
            near_misses: BTreeMap::new(),
            assumed: BTreeMap::new(),
        }
    }

    /// The names of the inputs it has.
    pub fn present(&self) -> BTreeSet<String> {
        self.inputs.keys().cloned().collect()
    }

    /// What it brings, as the runner takes it.
    pub fn case_inputs(&self) -> BTreeMap<String, CaseInput> {
        self.inputs.iter().map(|(name, given)| (name.clone(), given.case_input())).collect()
    }

    /// When it was made, as far as known: the column `date`, `acq_time` or `session_date`; ISO 8601 sorts as text.
    pub fn date(&self) -> Option<&str> {
        date_of(&self.columns)
    }
}

/// The cases of a folder or table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cohort {
    /// How it is laid out.
    pub kind: CohortKind,
    /// The folder or file.
    pub root: PathBuf,
    /// Whether only a part of its cases was asked for.
    pub narrowed: bool,
    /// In the order of their labels; no label twice.
    pub cases: Vec<CohortCase>,
    /// What was looked for, in words, by input: `acq-BRAVO, any ce-, T1w`.
    pub sought: BTreeMap<String, String>,
    /// Inputs that nobody looked for, since the cohort itself says that it has none.
    pub declared_absent: BTreeSet<String>,
    /// What the user should know: folders left out, for one.
    pub notes: Vec<String>,
}

impl Cohort {
    /// Finds the cases of the folder or table `path` and, for each, what it brings for `inputs`.
    ///
    /// # Errors
    /// [`CohortError`] if the cohort as a whole cannot be used. What is wrong with single cases is in their
    /// [`CohortCase::problems`].
    pub fn find(
        path: &Path,
        inputs: &[InputSpec],
        filters: &Filters,
        site: &Site,
    ) -> Result<Self, CohortError> {
        if !path.exists() {
            return Err(CohortError::missing(path));
        }
        let mut cohort = if path.is_dir() {
            let table = path.join(table::FILE);
            if table.is_file() && !path.join(bids::DESCRIPTION).is_file() {
                table::find(&table, inputs, filters)?
            } else if bids::fits(path)? {
                bids::find(path, inputs, filters)?
            } else {
                let found = layout::find(path, inputs, filters, site)?;
                found.ok_or_else(|| CohortError::unknown_layout(path))?
            }
        } else if path.extension().is_some_and(|extension| extension == "json") {
            manifest::find(path, inputs, filters)?
        } else {
            table::find(path, inputs, filters)?
        };
        cohort.narrowed = filters.narrow();
        cohort.cases.sort_by(|a, b| a.label.cmp(&b.label));
        if cohort.cases.is_empty() {
            return Err(CohortError::NoCases { path: path.to_owned(), notes: cohort.notes });
        }
        Ok(cohort)
    }

    /// The case of that label.
    pub fn case(&self, label: &CaseLabel) -> Option<&CohortCase> {
        let index = self.cases.binary_search_by(|case| case.label.cmp(label)).ok()?;
        self.cases.get(index)
    }

    /// The cases of each subject: sessions by date where all have one, else by label, `ses-2` before `ses-10`.
    pub fn by_subject(&self) -> BTreeMap<&str, Vec<&CohortCase>> {
        let mut subjects: BTreeMap<&str, Vec<&CohortCase>> = BTreeMap::new();
        for case in &self.cases {
            subjects.entry(&case.label.subject).or_default().push(case);
        }
        for cases in subjects.values_mut() {
            in_time_order(cases, |case| (&case.columns, case.label.session.as_deref()));
        }
        subjects
    }
}

/// When a case was made, as far as its columns say.
fn date_of(columns: &BTreeMap<String, String>) -> Option<&str> {
    ["date", "acq_time", "session_date"].iter().find_map(|name| columns.get(*name)).map(String::as_str)
}

/// Sorts the sessions of a subject by date where all have one, else by label, `ses-2` before `ses-10`. `of` tells a session's
/// columns and label.
pub(crate) fn in_time_order<T>(
    sessions: &mut [T],
    of: impl Fn(&T) -> (&BTreeMap<String, String>, Option<&str>),
) {
    let dated = sessions.iter().all(|session| date_of(of(session).0).is_some());
    sessions.sort_by(|a, b| {
        let ((columns_a, a), (columns_b, b)) = (of(a), of(b));
        let by_date = if dated { date_of(columns_a).cmp(&date_of(columns_b)) } else { Ordering::Equal };
        by_date.then_with(|| natural(a.unwrap_or_default(), b.unwrap_or_default()))
    });
}

/// Orders texts with numbers in them by the numbers' size: `2` before `10`, `1` before `01`, `a2` before `a10`.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while !left.is_empty() && !right.is_empty() {
        let (l, rest_l) = chunk(left);
        let (r, rest_r) = chunk(right);
        let numbers = l.as_bytes()[0].is_ascii_digit() && r.as_bytes()[0].is_ascii_digit();
        let (short_l, short_r) = (l.trim_start_matches('0'), r.trim_start_matches('0'));
        let order = if numbers {
            short_l.len().cmp(&short_r.len()).then_with(|| short_l.cmp(short_r))
        } else {
            l.cmp(r)
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (rest_l, rest_r);
    }
    left.len().cmp(&right.len()).then_with(|| a.len().cmp(&b.len())).then_with(|| a.cmp(b))
}

/// The leading digits, or all up to the first digit; and the rest.
fn chunk(text: &str) -> (&str, &str) {
    let digit = text.as_bytes()[0].is_ascii_digit();
    let end = text.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(text.len());
    text.split_at(end)
}

/// Fails if a subject or session that was asked for is not there.
pub(super) fn check_asked(path: &Path, filters: &Filters, labels: &[CaseLabel]) -> Result<(), CohortError> {
    let there: BTreeSet<&str> = labels.iter().map(|label| label.subject.as_str()).collect();
    let missing: Vec<&str> =
        filters.subjects().into_iter().filter(|subject| !there.contains(subject)).collect();
    if let Some(first) = missing.first() {
        let near = crate::fault::nearest(first, there.iter().copied()).map(|near| format!("sub-{near}"));
        let missing = missing.iter().map(|label| format!("sub-{label}")).collect();
        return Err(CohortError::NoSuchSubject { path: path.to_owned(), missing, near });
    }
    let visits: BTreeSet<&str> = labels.iter().filter_map(|label| label.session.as_deref()).collect();
    if let Some(missing) = filters.visits().into_iter().find(|visit| !visits.contains(visit)) {
        let there = visits.iter().take(10).map(|visit| format!("ses-{visit}")).collect::<Vec<_>>();
        let there = if there.is_empty() { "no sessions".to_owned() } else { list(&there) };
        return Err(CohortError::NoSuchSession { path: path.to_owned(), session: missing.to_owned(), there });
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fault::Span;
    use crate::plan::{OnError, Pick};

    pub(in crate::case) fn spec(name: &str, kind: Kind, bids: &serde_json::Value) -> InputSpec {
        InputSpec {
            name: name.to_owned(),
            kind,
            bids: serde_json::from_value(bids.clone()).unwrap(),
            required: false,
            pick: Pick::Only,
            on_error: OnError::Fail,
            grid: None,
            frame: None,
            span: Span { file: 0, start: 0, end: 0 },
        }
    }

    fn case(label: &str, date: Option<&str>) -> CohortCase {
        let mut case = CohortCase::new(CaseLabel::parse(label).unwrap());
        case.columns.extend(date.map(|date| ("date".to_owned(), date.to_owned())));
        case
    }

    fn cohort(cases: Vec<CohortCase>) -> Cohort {
        Cohort {
            kind: CohortKind::Table,
            root: "cases.tsv".into(),
            narrowed: false,
            cases,
            sought: BTreeMap::new(),
            declared_absent: BTreeSet::new(),
            notes: Vec::new(),
        }
    }

    fn order(cohort: &Cohort) -> Vec<String> {
        cohort.by_subject()["01"].iter().map(|case| case.label.session.clone().unwrap()).collect()
    }

    #[test]
    fn sessions_go_by_date_where_all_have_one_else_by_the_numbers_in_their_labels() {
        let dated = [("sub-01_ses-a", "2020-05-01"), ("sub-01_ses-b", "2019-12-24")];
        let cases = dated.map(|(label, date)| case(label, Some(date))).to_vec();
        assert_eq!(order(&cohort(cases)), ["b", "a"]);
        let labels = ["sub-01_ses-10", "sub-01_ses-2", "sub-01_ses-1"];
        let mut cases = labels.map(|label| case(label, None)).to_vec();
        cases[0].columns.insert("date".into(), "2001-01-01".into());
        assert_eq!(order(&cohort(cases)), ["1", "2", "10"]);
    }

    #[test]
    fn texts_with_numbers_are_ordered_by_the_numbers() {
        let mut names = ["m12", "m2", "m02", "base", "m", "2", "10", "m2b"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["2", "10", "base", "m", "m2", "m02", "m2b", "m12"]);
    }
}
