//! What an output folder holds: its cases, and the files of each.

use super::CompareError;
use crate::case::CaseLabel;
use crate::record::StateFolder;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder of what is published about the cohort, and its label in a comparison.
pub const GROUP: &str = "group";

/// The file that makes a folder a data set.
const DESCRIPTION: &str = "dataset_description.json";

/// How deep below an output folder a data set within it may lie: `derivatives/truth` is two.
const INNER_DEPTH: usize = 3;

/// What became of a case in an output folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseState {
    /// It has results.
    Published,
    /// It was tried, and has no results.
    Failed,
    /// The folder does not know it.
    #[default]
    Missing,
}

/// What a file holds, as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Integers: lesions, classes (`dseg`).
    Labels,
    /// 0 and 1 (`mask`).
    Mask,
    /// 0..=1 (`probseg`).
    Probability,
    /// Any other volume.
    Image,
    /// A 4 x 4 matrix (`xfm`).
    Transform,
    /// Columns and rows.
    Table,
    /// A number or text in a file of its own.
    Text,
    /// Pages, pictures and whatever else there is.
    Document,
}

impl FileKind {
    /// As in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Mask => "mask",
            Self::Probability => "probability",
            Self::Image => "image",
            Self::Transform => "transform",
            Self::Table => "table",
            Self::Text => "text",
            Self::Document => "document",
        }
    }

    /// Whether it is one of the four volumes.
    pub const fn is_volume(self) -> bool {
        matches!(self, Self::Labels | Self::Mask | Self::Probability | Self::Image)
    }

    fn of(stem: &str, extension: &str) -> Self {
        let suffix = stem.rsplit('_').next().unwrap_or(stem);
        match (extension, suffix) {
            (".nii.gz" | ".nii", "dseg") => Self::Labels,
            (".nii.gz" | ".nii", "mask") => Self::Mask,
            (".nii.gz" | ".nii", "probseg") => Self::Probability,
            (".nii.gz" | ".nii", _) => Self::Image,
            (".tsv", _) => Self::Table,
            (".txt", "xfm") => Self::Transform,
            (".txt", _) => Self::Text,
            _ => Self::Document,
        }
    }
}

/// A published file, without the sidecars that belong to it.
#[derive(Clone, Debug)]
pub(crate) struct OutputFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its path in the output folder.
    pub(super) relative: String,
    /// Its name without case and extension, `space-orig_desc-lesions_dseg`; behind the inner data set's, if it lies in one.
    pub(super) name: String,
    /// What it holds.
    pub(super) kind: FileKind,
}

impl OutputFile {
    /// Its JSON sidecar, whether or not there is one.
    pub(super) fn sidecar(&self) -> PathBuf {
        sidecar(&self.path)
    }
}

/// Where the JSON sidecar of a file is.
pub(super) fn sidecar(path: &Path) -> PathBuf {
    let name = file_name(path);
    path.with_file_name(format!("{}.json", split(&name).0))
}

/// A case's files.
#[derive(Clone, Debug, Default)]
pub(crate) struct CaseFiles {
    /// What became of it.
    pub(super) state: CaseState,
    /// Its files, by what is the same in two folders: the name without the case's label, with the extension.
    pub(super) files: BTreeMap<String, OutputFile>,
}

impl CaseFiles {
    /// The first volume: the region in which transforms are compared.
    pub(super) fn first_volume(&self) -> Option<&OutputFile> {
        self.files.values().find(|file| file.kind.is_volume())
    }
}

static NO_FILES: CaseFiles = CaseFiles { state: CaseState::Missing, files: BTreeMap::new() };

/// An output folder: one that a run published to.
pub(super) struct OutputFolder {
    root: PathBuf,
    cases: BTreeMap<String, CaseFiles>,
}

impl OutputFolder {
    /// Lists a folder; no file but `dataset_description.json` is opened.
    pub(super) fn open(root: &Path) -> Result<Self, CompareError> {
        if !root.is_dir() {
            return Err(CompareError::NotAFolder { path: root.to_owned() });
        }
        if !root.join(DESCRIPTION).is_file() && !StateFolder::of(root).path().is_dir() {
            return Err(CompareError::NotAnOutput { path: root.to_owned() });
        }
        let mut folder = Self { root: root.to_owned(), cases: BTreeMap::new() };
        folder.list_dataset(root, "", 0)?;
        folder.list_failed()?;
        Ok(folder)
    }

    /// Whether both are one folder, under whatever names.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.root == other.root || self.root.canonicalize().ok() == other.root.canonicalize().ok()
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// All labels, of failed cases too.
    pub(super) fn labels(&self) -> impl Iterator<Item = &String> {
        self.cases.keys()
    }

    /// All files of all cases.
    pub(super) fn files(&self) -> impl Iterator<Item = &OutputFile> {
        self.cases.values().flat_map(|case| case.files.values())
    }

    /// A case's files; none if the folder does not know it.
    pub(super) fn case(&self, label: &str) -> &CaseFiles {
        self.cases.get(label).unwrap_or(&NO_FILES)
    }

    /// Whether a case has files here.
    pub(super) fn has_results(&self, label: &str) -> bool {
        !self.case(label).files.is_empty()
    }

    /// Lists the cases of a data set and of the data sets within it; `within` is its path in the output folder.
    fn list_dataset(&mut self, root: &Path, within: &str, depth: usize) -> Result<(), CompareError> {
        for path in entries(root)? {
            let name = file_name(&path);
            if !path.is_dir() || name.starts_with('.') {
                continue;
            }
            if let Some(subject) = name.strip_prefix("sub-") {
                self.list_subject(&path, subject, within)?;
            } else if name == GROUP && depth == 0 {
                self.list_files(GROUP, &path, GROUP)?;
            } else if depth < INNER_DEPTH {
                let within = format!("{within}{name}/");
                self.list_dataset(&path, &within, depth + 1)?;
            }
        }
        Ok(())
    }

    fn list_subject(&mut self, folder: &Path, subject: &str, within: &str) -> Result<(), CompareError> {
        let label = |session| CaseLabel { subject: subject.to_owned(), session };
        for path in entries(folder)? {
            let name = file_name(&path);
            let session = name.strip_prefix("ses-").filter(|_| path.is_dir()).map(str::to_owned);
            self.list_files(&label(session).to_string(), &path, within)?;
        }
        Ok(())
    }

    /// Lists a file, or all files below a folder, as a case's.
    fn list_files(&mut self, label: &str, path: &Path, within: &str) -> Result<(), CompareError> {
        if path.is_dir() {
            return entries(path)?.iter().try_for_each(|path| self.list_files(label, path, within));
        }
        let file_name = file_name(path);
        let (stem, extension) = split(&file_name);
        if is_companion(path, stem, extension) {
            return Ok(());
        }
        let plain = stem.strip_prefix(label).and_then(|stem| stem.strip_prefix('_')).unwrap_or(stem);
        let relative = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned();
        let name = if label == GROUP { plain.to_owned() } else { format!("{within}{plain}") };
        let kind = FileKind::of(stem, extension);
        let key = if label == GROUP { relative.clone() } else { format!("{name}{extension}") };
        let file = OutputFile { path: path.to_owned(), relative, name, kind };
        let case = self.cases.entry(label.to_owned()).or_default();
        case.state = CaseState::Published;
        case.files.insert(key, file);
        Ok(())
    }

    /// Cases that were tried and have no results: their pages or records lie in the state folder.
    fn list_failed(&mut self) -> Result<(), CompareError> {
        let state = StateFolder::of(&self.root);
        for folder in [state.failed(), state.cases()].iter().filter(|folder| folder.is_dir()) {
            for path in entries(folder)? {
                let case = self.cases.entry(file_name(&path)).or_default();
                if case.state == CaseState::Missing {
                    case.state = CaseState::Failed;
                }
            }
        }
        Ok(())
    }
}

/// What a folder holds, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, CompareError> {
    let unlisted = |source| CompareError::Unlisted { path: folder.to_owned(), source };
    let listed: Result<Vec<PathBuf>, _> =
        std::fs::read_dir(folder).map_err(unlisted)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = listed.map_err(unlisted)?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file's name without extension, and the extension with its dot.
fn split(name: &str) -> (&str, &str) {
    let double = name.strip_suffix(".nii.gz").map(str::len);
    let end = double.or_else(|| name.rfind('.').filter(|dot| *dot > 0)).unwrap_or(name.len());
    name.split_at(end)
}

/// Whether a file only says something about another: the sidecar of a volume, table or text, the names of
/// labels, ITK's form of a transform.
fn is_companion(path: &Path, stem: &str, extension: &str) -> bool {
    let beside = |extension: &str| path.with_file_name(format!("{stem}{extension}")).is_file();
    match extension {
        ".json" => [".nii.gz", ".nii", ".tsv", ".txt"].into_iter().any(beside),
        ".tfm" => beside(".txt"),
        ".tsv" => [".nii.gz", ".nii"].into_iter().any(beside),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, file: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }

    #[test]
    fn sessions_are_cases_of_their_own_and_sidecars_are_none() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "dataset_description.json",
            "sub-01/anat/sub-01_desc-lesions_dseg.nii.gz",
            "sub-01/anat/sub-01_desc-lesions_dseg.tsv",
            "sub-01/anat/sub-01_desc-lesions_dseg.json",
            "sub-01/sub-01_desc-data_report.json",
            "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz",
            "derivatives/truth/sub-01/anat/sub-01_dseg.nii.gz",
            "group/anat/all_lesions.tsv",
            ".neuroloom/failed/sub-09/sub-09_report.html",
            ".neuroloom/failed/sub-01/sub-01_report.html",
        ] {
            touch(root.path(), file);
        }
        let folder = OutputFolder::open(root.path()).unwrap();
        let listed: Vec<String> = folder
            .cases
            .iter()
            .map(|(label, case)| {
                let outputs: Vec<_> =
                    case.files.values().map(|f| format!("{} ({})", f.name, f.kind.name())).collect();
                format!("{label} {:?}: {}", case.state, outputs.join(", "))
            })
            .collect();
        insta::assert_snapshot!(listed.join("\n"), @r"
        group Published: all_lesions (table)
        sub-01 Published: derivatives/truth/dseg (labels), desc-data_report (document), desc-lesions_dseg (labels)
        sub-02_ses-a Published: T1w (image)
        sub-09 Failed: 
        ");
    }
}
