//! Which cases are run: their labels, and where their files come from.
//!
//! [`Cohort::find`] finds the cases of a folder or table, with the file of each input, and says what came close where it
//! found none. It reads names only: no image, and no folder that is not asked for.

mod bids;
mod cohort;
mod entities;
mod error;
mod layout;
mod manifest;
#[cfg(test)]
mod on_disk;
#[cfg(test)]
mod other_layouts;
mod pattern;
mod resolve;
mod sidecar;
mod slices;
mod table;
mod tsv;

pub(crate) use bids::DESCRIPTION;
pub(crate) use cohort::in_time_order;
pub use cohort::{Cohort, CohortCase, CohortKind, Filters, Given, NearMiss, Problem};
pub use error::CohortError;
pub use slices::{Orientation, Slices};
pub(crate) use tsv::{NOT_AVAILABLE, Tsv, present};

use std::path::{Path, PathBuf};

/// A case's label: subject and, if there are several visits, session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseLabel {
    /// Without `sub-`.
    pub subject: String,
    /// Without `ses-`.
    pub session: Option<String>,
}

/// A label that BIDS does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "case label `{label}` is not of the form `sub-LABEL` or `sub-LABEL_ses-LABEL` with letters and digits only\n\
     hint: for example `--case sub-017` or `--case sub-017_ses-02`"
)]
pub struct BadLabel {
    /// What was given.
    pub label: String,
}

impl CaseLabel {
    /// From `sub-01_ses-02`, `sub-01`, or a bare subject such as `01`.
    ///
    /// # Errors
    /// [`BadLabel`] for anything but letters and digits: labels become names of files and folders.
    pub fn parse(label: &str) -> Result<Self, BadLabel> {
        let bad = || BadLabel { label: label.to_owned() };
        let (subject, session) = match label.split_once("_ses-") {
            Some((subject, session)) => (subject, Some(session.to_owned())),
            None => (label, None),
        };
        let subject = subject.strip_prefix("sub-").unwrap_or(subject).to_owned();
        let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
        if plain(&subject) && session.as_deref().is_none_or(plain) {
            Ok(Self { subject, session })
        } else {
            Err(bad())
        }
    }

    /// From the name of a file that follows BIDS.
    pub fn of_file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let entity = |key: &str| name.split('_').find_map(|part| part.strip_prefix(key));
        let label = match entity("ses-") {
            Some(session) => format!("sub-{}_ses-{session}", entity("sub-")?),
            None => format!("sub-{}", entity("sub-")?),
        };
        Self::parse(&label).ok()
    }

    /// `sub-01/ses-02`: its folder in a data set.
    pub fn folder(&self) -> PathBuf {
        let subject = PathBuf::from(format!("sub-{}", self.subject));
        match &self.session {
            Some(session) => subject.join(format!("ses-{session}")),
            None => subject,
        }
    }
}

impl serde::Serialize for CaseLabel {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::fmt::Display for CaseLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sub-{}", self.subject)?;
        match &self.session {
            Some(session) => write!(f, "_ses-{session}"),
            None => Ok(()),
        }
    }
}

/// The BIDS data set a file lies in, and its path within: the nearest folder above with a `dataset_description.json`.
pub fn dataset_of(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let path = path.canonicalize().ok()?;
    let root = path.ancestors().skip(1).find(|folder| folder.join("dataset_description.json").is_file())?;
    Some((root.to_owned(), path.strip_prefix(root).ok()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_leave_the_output_folder() {
        for label in ["../evil", "sub-a/b", "sub-", "", "sub-01_ses-", "sub-01_run-1", "sub-é"] {
            assert!(CaseLabel::parse(label).is_err(), "{label}");
        }
    }

    #[test]
    fn a_label_is_read_from_a_bids_name() {
        let label = CaseLabel::of_file(Path::new("x/sub-07_ses-b_acq-BRAVO_ce-gad_T1w.nii.gz")).unwrap();
        assert_eq!((label.to_string(), label.folder()), ("sub-07_ses-b".to_owned(), "sub-07/ses-b".into()));
        assert_eq!(CaseLabel::of_file(Path::new("t1c.nii.gz")), None);
        assert_eq!(CaseLabel::parse("07").unwrap().to_string(), "sub-07");
    }
}
