//! What was done, told to others: a research object crate, and a methods paragraph.
//!
//! Both are made from the records of an output folder, after the fact, so that runs pay nothing for them. An [`Account`] holds for each case
//! its last attempt that ended by itself, grouped by what it was made with: workflow, settings, engine and plugins.

mod crates;
mod entities;
mod methods;

pub use crates::{CrateError, write as write_crate};
pub use methods::{Form, Text, text as methods};

use crate::batch::{Submission, manifest};
use crate::record::{Attempts, End, Ending, StateFolder};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The folder has no records.
    #[error("{} holds no records of runs\nhint: name the folder that was given to `batch`, or to `run` as `--out`", out.display())]
    NoRecords {
        /// The folder.
        out: PathBuf,
    },
    /// No case has ended by itself.
    #[error("no case in {} has ended yet\nhint: `neuroloom status` tells how it stands", out.display())]
    NoneEnded {
        /// The folder.
        out: PathBuf,
    },
}

/// A case and how it ended last.
#[derive(Clone, Debug)]
pub struct CaseAccount {
    /// Its label.
    pub label: String,
    /// The record of its last attempt that ended by itself.
    pub end: End,
}

/// Cases that were made with the same things.
#[derive(Clone, Debug)]
pub struct Made {
    /// What was asked for, in the latest of their runs.
    pub submission: Submission,
    /// The latest of their runs.
    pub run: u32,
    /// They, by label.
    pub cases: Vec<CaseAccount>,
}

/// What was done in an output folder.
#[derive(Clone, Debug)]
pub struct Account {
    /// The folder.
    pub out: PathBuf,
    /// The latest first.
    pub made: Vec<Made>,
    /// Labels of cases that could not run by plan in the latest batch.
    pub cannot: Vec<String>,
}

impl Account {
    /// Reads the records of an output folder.
    ///
    /// # Errors
    /// [`AccountError`] if there are none.
    pub fn of(out: &Path) -> Result<Self, AccountError> {
        let state = StateFolder::of(out);
        let entries = std::fs::read_dir(state.cases());
        let entries = entries.map_err(|_| AccountError::NoRecords { out: out.to_owned() })?;
        let labels: BTreeSet<String> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let mut made: Vec<Made> = Vec::new();
        for label in labels {
            let attempts = Attempts::of_case(&state, &label);
            let by_itself = |end: &&End| matches!(end.ending, Ending::Ok | Ending::Failed | Ending::Changed);
            let Some(end) = attempts.ends().map(|(_, end)| end).rfind(by_itself).cloned() else {
                continue;
            };
            let Some(submission) = Submission::read(&state.run(end.run)) else { continue };
            let run = end.run;
            let case = CaseAccount { label, end };
            match made.iter_mut().find(|made| made.submission.provenance == submission.provenance) {
                Some(same) => {
                    same.cases.push(case);
                    if run > same.run {
                        (same.run, same.submission) = (run, submission);
                    }
                }
                None => made.push(Made { submission, run, cases: vec![case] }),
            }
        }
        made.sort_by_key(|made| std::cmp::Reverse(made.run));
        let Some(latest) = made.first() else { return Err(AccountError::NoneEnded { out: out.to_owned() }) };
        let lines = manifest::read(&state.run(latest.run)).into_iter();
        let cannot = lines.filter(|line| line.decision == "cannot").map(|line| line.case).collect();
        Ok(Self { out: out.to_owned(), made, cannot })
    }
}

/// A text of the provenance that runs leave.
fn word<'a>(json: &'a serde_json::Value, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_default()
}

/// A list of it.
fn items<'a>(json: &'a serde_json::Value, key: &str) -> &'a [serde_json::Value] {
    json[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The stages of a workflow, in the order in which they come in the records of cases.
fn stages(made: &Made) -> Vec<&serde_json::Value> {
    let mut stages: Vec<_> = items(&made.submission.provenance, "operators").iter().collect();
    let records = made.cases.iter().map(|case| &case.end.stages).max_by_key(|stages| stages.len());
    let place = |stage: &serde_json::Value| {
        records.into_iter().flatten().position(|record| record.stage == word(stage, "stage"))
    };
    stages.sort_by_key(|stage| place(stage).unwrap_or(usize::MAX));
    stages
}

#[cfg(test)]
mod tests;
