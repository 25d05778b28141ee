//! Two output folders side by side: what a swapped stage, another model or other settings change.
//!
//! Cases are matched by label, files by name. A file is compared as what it is: images, masks, labels and probabilities voxel by
//! voxel, tables cell by cell, transforms by where they send points, all else by its bytes. One pair of volumes is held at a time.
//!
//! Lesions are the 26-connected components of a label file's foreground; one is *matched* if more than 10 % of its voxels
//! are foreground in the other folder. Dice is `2TP / (2TP + FP + FN)`, and 1 where both are empty.

mod file;
mod folder;
mod lesions;
mod measures;
mod records;
mod runs;
mod summary;
mod tables;
mod transforms;
mod volumes;
mod words;

pub use folder::{CaseState, FileKind, GROUP};
pub use measures::{
    Delta, DocumentMeasures, GridFacts, ImageMeasures, LabelMeasures, MaskMeasures, Measures, NumberMeasures,
    Pair, ProbabilityMeasures, TableMeasures, TransformMeasures,
};
pub use runs::{RunFacts, SidecarChange};
pub use summary::{Counts, OutputSummary};
pub use words::{figures, headline, in_words, many};

use crate::case::CaseLabel;
use crate::fault::suggest;
use folder::{CaseFiles, OutputFile, OutputFolder};
use records::Recorded;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Why two folders cannot be compared at all.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// There is no such folder.
    #[error("{} is no folder\nhint: name the folder that was given to `--out`", path.display())]
    NotAFolder {
        /// What was named.
        path: PathBuf,
    },
    /// The folder holds something else.
    #[error(
        "{} is no output folder: it holds no `dataset_description.json`\nhint: name the folder that was given to `--out`",
        path.display()
    )]
    NotAnOutput {
        /// The folder.
        path: PathBuf,
    },
    /// Both names mean one folder.
    #[error("{} and {} are the same folder\nhint: name the output folders of two runs", a.display(), b.display())]
    SameFolder {
        /// The first name.
        a: PathBuf,
        /// The second.
        b: PathBuf,
    },
    /// A folder cannot be listed.
    #[error("cannot list {}: {source}\nhint: may you read there, and is the disk mounted?", path.display())]
    Unlisted {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A name on the command line that neither folder knows.
    #[error("{what} `{name}` is in neither folder{}", hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default())]
    Unknown {
        /// `case` or `output`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// Names that are near.
        hint: Option<String>,
    },
    /// No case is in both folders.
    #[error("no case is in both folders: {}\nhint: {}", counts(*a, *b), "cases are matched by their label, `sub-LABEL` or `sub-LABEL_ses-LABEL`")]
    NothingInCommon {
        /// Cases with results in the first.
        a: usize,
        /// Cases with results in the second.
        b: usize,
    },
    /// Labels that BIDS does not allow.
    #[error(transparent)]
    Label(#[from] crate::case::BadLabel),
}

fn counts(a: usize, b: usize) -> String {
    format!("the first has results of {a}, the second of {b}, with other labels")
}

/// What of two folders is compared.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Labels of cases; all if empty.
    pub cases: Vec<String>,
    /// Names of outputs, or parts of file names as in `desc-lesions_dseg`; all if empty.
    pub outputs: Vec<String>,
}

/// How two files, or the files of two cases, relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The same content, bit for bit.
    Identical,
    /// The same but for rounding: see the tolerances of [`ProbabilityMeasures`], [`TableMeasures`], [`TransformMeasures`].
    Close,
    /// Other content.
    Differs,
    /// Volumes that lie on other grids.
    OtherGrid,
    /// The first folder alone has it.
    OnlyA,
    /// The second folder alone has it.
    OnlyB,
    /// One of the two cannot be read.
    Unreadable,
    /// Neither folder has results of the case.
    Neither,
}

/// Two files, or one that has no partner.
#[derive(Clone, Debug, Serialize)]
pub struct FileComparison {
    /// The output's name as in the workflow where that is known, else as in the file's name.
    pub output: String,
    /// The file, relative to the output folder.
    pub file: String,
    /// Its name without case and extension, `space-orig_desc-lesions_dseg`.
    pub name: String,
    /// What it holds.
    pub kind: FileKind,
    /// How the two relate.
    pub verdict: Verdict,
    /// By how much they differ; none where one has no partner or cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measures: Option<Measures>,
    /// Keys of the JSON sidecars that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sidecar: Vec<SidecarChange>,
    /// Why one of them cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A case in two folders.
#[derive(Clone, Debug, Serialize)]
pub struct CaseComparison {
    /// Its label; `group` for what is published about the cohort.
    pub case: String,
    /// What became of it in each folder.
    pub state: Pair<CaseState>,
    /// Why the latest attempt of each has no results, as far as records tell.
    pub reason: Pair<Option<String>>,
    /// What the results of the second hang on otherwise than those of the first, in sentences; none without records of both.
    pub causes: Option<Vec<String>>,
    /// How the two relate, documents left aside: those tell of the run itself.
    pub verdict: Verdict,
    /// Its files, worst first.
    pub files: Vec<FileComparison>,
}

/// Two output folders side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What is known of the two runs.
    pub runs: Pair<RunFacts>,
    /// What differs between the runs themselves, in sentences.
    pub runs_differ: Vec<String>,
    /// How many cases and files.
    pub counts: Counts,
    /// Each output over all cases, worst first.
    pub outputs: Vec<OutputSummary>,
    /// Each case, worst first.
    pub cases: Vec<CaseComparison>,
}

/// Compares two output folders.
///
/// Files that cannot be read are named in the result, and the others are compared.
///
/// # Errors
/// [`CompareError`] if there is nothing that could be compared.
pub fn compare(a: &Path, b: &Path, selection: &Selection) -> Result<Comparison, CompareError> {
    let folders = Pair { a: OutputFolder::open(a)?, b: OutputFolder::open(b)? };
    if folders.a.is(&folders.b) {
        return Err(CompareError::SameFolder { a: a.to_owned(), b: b.to_owned() });
    }
    let labels = select_cases(&folders, &selection.cases)?;
    if !labels.iter().any(|label| folders.a.has_results(label) && folders.b.has_results(label)) {
        let count = |folder: &OutputFolder| labels.iter().filter(|label| folder.has_results(label)).count();
        return Err(CompareError::NothingInCommon { a: count(&folders.a), b: count(&folders.b) });
    }
    let mut cases: Vec<CaseComparison> = labels
        .iter()
        .map(|label| compare_case(label, &folders, &selection.outputs))
        .filter(|case| selection.outputs.is_empty() || !case.files.is_empty())
        .collect();
    check_outputs(&folders, &selection.outputs, &cases)?;
    // Stable: cases that are equally bad stay in the order of their labels.
    cases.sort_by(|one, other| summary::badness(other).total_cmp(&summary::badness(one)));
    Ok(Comparison {
        runs_differ: runs::differences(&folders, &cases),
        counts: summary::counts(&cases),
        outputs: summary::outputs(&cases),
        runs: Pair {
            a: runs::facts(folders.a.root(), cases.iter().map(|case| case.state.a)),
            b: runs::facts(folders.b.root(), cases.iter().map(|case| case.state.b)),
        },
        cases,
    })
}

/// Compares a case's files; `outputs` as in [`Selection`].
fn compare_case(label: &str, folders: &Pair<OutputFolder>, outputs: &[String]) -> CaseComparison {
    let files = Pair { a: folders.a.case(label), b: folders.b.case(label) };
    let recorded =
        Pair { a: Recorded::of(folders.a.root(), label), b: Recorded::of(folders.b.root(), label) };
    let mut compared = compare_files(files, &recorded, outputs);
    compared.sort_by(|one, other| summary::file_badness(other).total_cmp(&summary::file_badness(one)));
    let state = Pair { a: recorded.a.state(files.a.state), b: recorded.b.state(files.b.state) };
    CaseComparison {
        case: label.to_owned(),
        state,
        causes: records::causes(Pair { a: &recorded.a, b: &recorded.b }),
        reason: recorded.map(|recorded| recorded.reason),
        verdict: summary::case_verdict(state, &compared),
        files: compared,
    }
}

fn compare_files(
    files: Pair<&CaseFiles>,
    recorded: &Pair<Recorded>,
    outputs: &[String],
) -> Vec<FileComparison> {
    let keys: BTreeSet<&String> = files.a.files.keys().chain(files.b.files.keys()).collect();
    let region = files.a.first_volume();
    let named = |file: &OutputFile| {
        let name = recorded.a.output_name(&file.relative).or_else(|| recorded.b.output_name(&file.relative));
        name.unwrap_or(&file.name).to_owned()
    };
    let wanted = |file: &&OutputFile| {
        outputs.is_empty() || outputs.iter().any(|name| is_called(&named(file), &file.name, name))
    };
    let mut compared = Vec::new();
    for key in keys {
        let comparison = match (files.a.files.get(key).filter(wanted), files.b.files.get(key).filter(wanted))
        {
            (Some(a), Some(b)) => FileComparison { output: named(a), ..file::compare(a, b, region) },
            (Some(a), None) => FileComparison { output: named(a), ..file::alone(a, Verdict::OnlyA) },
            (None, Some(b)) => FileComparison { output: named(b), ..file::alone(b, Verdict::OnlyB) },
            (None, None) => continue,
        };
        compared.push(comparison);
    }
    compared
}

/// Whether a name on the command line means a file: its output's name, its own, entities of it, or the value of one.
fn is_called(output: &str, name: &str, wanted: &str) -> bool {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let value = |entity: &str| entity.split_once('-').is_some_and(|(_, value)| value == wanted);
    output == wanted
        || name == wanted
        || format!("_{stem}_").contains(&format!("_{wanted}_"))
        || stem.split('_').any(value)
}

/// The JSON sidecar of a published file; null without one.
pub(crate) fn sidecar(path: &Path) -> serde_json::Value {
    runs::json(&folder::sidecar(path))
}

fn select_cases(folders: &Pair<OutputFolder>, wanted: &[String]) -> Result<Vec<String>, CompareError> {
    let all: BTreeSet<&String> = folders.a.labels().chain(folders.b.labels()).collect();
    if wanted.is_empty() {
        return Ok(all.into_iter().cloned().collect());
    }
    let names: Vec<&str> = all.iter().map(|label| label.as_str()).collect();
    let mut labels = BTreeSet::new();
    for name in wanted {
        let label = if name == GROUP { name.clone() } else { CaseLabel::parse(name)?.to_string() };
        if !all.contains(&label) {
            let hint = suggest(&label, "there is", &names);
            return Err(CompareError::Unknown { what: "case", name: label, hint });
        }
        labels.insert(label);
    }
    Ok(labels.into_iter().collect())
}

/// Looks whether each wanted name means some file.
fn check_outputs(
    folders: &Pair<OutputFolder>,
    wanted: &[String],
    cases: &[CaseComparison],
) -> Result<(), CompareError> {
    let compared = || cases.iter().flat_map(|case| &case.files);
    let unknown = |name: &&String| !compared().any(|file| is_called(&file.output, &file.name, name));
    let Some(name) = wanted.iter().find(unknown) else { return Ok(()) };
    let files = folders.a.files().chain(folders.b.files());
    let names: BTreeSet<&str> = files.map(|file| file.name.as_str()).collect();
    let hint = suggest(name, "there is", &names.into_iter().collect::<Vec<_>>());
    Err(CompareError::Unknown { what: "output", name: name.clone(), hint })
}

#[cfg(test)]
mod tests;
