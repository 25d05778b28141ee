//! Why a cohort cannot be used.

use super::BadLabel;
use crate::fault::list;
use std::path::{Path, PathBuf};

/// Why a cohort as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CohortError {
    /// There is nothing at the path.
    #[error("{}: no such folder or table{}", path.display(), hint(near.as_deref()))]
    Missing {
        /// What was given.
        path: PathBuf,
        /// A like name beside it.
        near: Option<String>,
    },
    /// A folder or file cannot be read.
    #[error("{}: {source}\nhint: may this account read it?", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No known layout fits a folder.
    #[error(
        "{}: this is no cohort that Neuroloom knows: it holds {found}\n\
         hint: name a BIDS data set (folders `sub-01`), a table `cases.tsv` with a column `participant_id` and a \
         column for each input, or describe the folders in the site file: `[layouts.ours]` with \
         `files = \"{{subject}}/{{input}}.nii.gz\"`",
        path.display()
    )]
    UnknownLayout {
        /// The folder.
        path: PathBuf,
        /// What is in it, in short.
        found: String,
    },
    /// A file is no table that can be read.
    #[error("{}: {message}\nhint: {hint}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        message: String,
        /// The way out.
        hint: String,
    },
    /// A label that BIDS does not allow.
    #[error("{}: {source}", place)]
    Label {
        /// File and line.
        place: String,
        /// What is wrong.
        source: BadLabel,
    },
    /// There is no case.
    #[error("{}: no case was found{}\nhint: a case is a folder `sub-LABEL`, or a row of a table", path.display(), lines(notes))]
    NoCases {
        /// The cohort.
        path: PathBuf,
        /// What was left out, and why.
        notes: Vec<String>,
    },
    /// A subject that was asked for is not there.
    #[error("{} has no subject {}{}", path.display(), list(missing), hint(near.as_deref()))]
    NoSuchSubject {
        /// The cohort.
        path: PathBuf,
        /// All that are not there, as `sub-017`.
        missing: Vec<String>,
        /// One that was probably meant.
        near: Option<String>,
    },
    /// A session that was asked for is not there.
    #[error("{}: no case asked for has the session `ses-{session}`\nhint: there is {there}", path.display())]
    NoSuchSession {
        /// The cohort.
        path: PathBuf,
        /// Without `ses-`.
        session: String,
        /// Sessions that are there.
        there: String,
    },
    /// A `--bids-filter` that cannot be used.
    #[error("--bids-filter {}: {message}\nhint: {hint}", path.display())]
    Filter {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// The way out.
        hint: String,
    },
    /// A layout of the site file that cannot be used.
    #[error("[layouts.{name}]: {message}\nhint: {hint}")]
    Layout {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
        /// The way out.
        hint: String,
    },
    /// Nothing says which file of the cohort an input is.
    #[error("nothing says which files are the input `{input}`\nhint: {hint}")]
    NoRule {
        /// The input.
        input: String,
        /// The way out.
        hint: String,
    },
}

impl CohortError {
    pub(super) fn unreadable(path: &Path, source: std::io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }

    /// Nothing is there: looks for a like name.
    pub(super) fn missing(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let names: Vec<String> = names(folder);
        let wanted = path.file_name().unwrap_or_default().to_string_lossy();
        let near = crate::fault::nearest(&wanted, names.iter().map(String::as_str)).map(str::to_owned);
        Self::Missing { path: path.to_owned(), near }
    }

    /// No layout fits: says what is in the folder.
    pub(super) fn unknown_layout(path: &Path) -> Self {
        /// As many names as help to see that it is the wrong folder.
        const MOST: usize = 5;
        let mut names = names(path);
        let more = names.len().saturating_sub(MOST);
        names.truncate(MOST);
        let found = match (names.is_empty(), more) {
            (true, _) => "nothing".to_owned(),
            (_, 0) => list(&names),
            _ => format!("`{}` and {more} more", names.join("`, `")),
        };
        Self::UnknownLayout { path: path.to_owned(), found }
    }

    pub(super) fn table(path: &Path, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Table { path: path.to_owned(), message: message.into(), hint: hint.into() }
    }
}

/// The names in a folder, in order; none if it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn hint(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("\nhint: did you mean `{near}`?"))
}

fn lines(notes: &[String]) -> String {
    notes.iter().fold(String::new(), |text, note| format!("{text}\nnote: {note}"))
}
