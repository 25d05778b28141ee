//! What readers answer to a result, and what becomes of it.
//!
//! A page lets its reader decide on numbered candidates and saves that as a **review**: JSON of the form [`Review`], which names the
//! case and, by digest, the **form** that was decided on. The form is a published file that lists the candidates. A review belongs to
//! a result as long as the form there has that digest.
//!
//! A workflow says in `[review]` what it does with reviews. It is run again for the case, from its record, with all reviews of
//! this result as one more input, into a data set of its own, [`FOLDER`] in the output folder. So nothing that the model made
//! is touched, and all that holds for a run holds for a review: records, publication as a whole, `status`, `why`, `replay`. The
//! reviews are part of the record there, and so the next one finds those before it.

mod format;
mod training;

pub use format::{Candidate, Form, read};
pub use sdk::review::{Decision, Review};
pub use training::{TrainingTableError, put_row};

use crate::case::{BadLabel, CaseLabel};
use crate::plan::{Graph, Plan, Source};
use crate::record::{Attempts, End, StateFolder};
use crate::runner::CaseResult;
use crate::store::Digest;
use std::path::{Path, PathBuf};

/// Where reviewed results go, in the output folder.
pub const FOLDER: &str = "derivatives/reviewed";

/// The command in the record of a run that made a reviewed result.
pub const COMMAND: &str = "review";

/// Why reviews cannot be used. Nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// A file cannot be read.
    #[error("{}: {source}\nhint: name a file that a reader saved from the page of a case", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is larger than any review.
    #[error("{}: {bytes} bytes, more than the {limit} that a review can have\nhint: is this a review?", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that is read.
        limit: u64,
    },
    /// It is no JSON.
    #[error("{}: {source}\nhint: was it saved whole? save it again from the page", path.display())]
    NoJson {
        /// Which.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// It is JSON of something else.
    #[error("{}: its `format` is not `{expected}`\nhint: name a file that a reader saved from the page of a case", path.display())]
    OtherFormat {
        /// Which.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A later version of this program made the page.
    #[error("{}: a review of version {found}, and this program knows {known}\nhint: use the version of Neuroloom that made the page", path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The latest version that is known.
        known: u64,
    },
    /// Something in it is not as it must be.
    #[error("{}: {what}\nhint: save it again from the page, and leave it as it is", path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What.
        what: String,
    },
    /// Its case cannot be a case.
    #[error("{}: {source}", path.display())]
    Label {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: BadLabel,
    },
    /// The case was run without the form.
    #[error(
        "case `{case}` has no output `{form}`, which lists what can be decided on\nhint: run the case again with this workflow, and review the new page"
    )]
    NoForm {
        /// The case.
        case: String,
        /// The output.
        form: String,
    },
    /// The case's form was changed or removed.
    #[error("{}: {why}\nhint: run the case again, and review the new page", path.display())]
    BadForm {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The result is another one than the reader saw.
    #[error("{}: case `{case}` was remade since this review: its candidates are others\nhint: open the case's page as it is now, and review it again", path.display())]
    Stale {
        /// The review.
        path: PathBuf,
        /// The case.
        case: String,
    },
    /// A decision on nothing.
    #[error("{}: it decides on candidate {number}, and case `{case}` has {count} candidates\nhint: save it again from the page, and leave it as it is", path.display())]
    UnknownCandidate {
        /// The review.
        path: PathBuf,
        /// The case.
        case: String,
        /// The candidate.
        number: u32,
        /// How many there are.
        count: usize,
    },
}

/// The form of a case's result.
///
/// # Errors
/// [`ReviewError::NoForm`] or [`ReviewError::BadForm`].
pub fn form(out: &Path, label: &CaseLabel, end: &End, name: &str) -> Result<(Form, Digest), ReviewError> {
    let missing = || ReviewError::NoForm { case: label.to_string(), form: name.to_owned() };
    let entry = end.outputs.iter().find(|entry| entry.output == name).ok_or_else(missing)?;
    let path = out.join(&entry.path);
    let bad = |why: String| ReviewError::BadForm { path: path.clone(), why };
    let bytes = std::fs::read(&path).map_err(|error| bad(error.to_string()))?;
    if Digest::of_bytes(&bytes) != entry.blake3 {
        return Err(bad("it was changed after it was published".to_owned()));
    }
    let form = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    Ok((form, entry.blake3))
}

/// Whether a review is about what the case is now.
///
/// # Errors
/// [`ReviewError`] if it is not.
pub fn check(path: &Path, review: &Review, (form, digest): &(Form, Digest)) -> Result<(), ReviewError> {
    let case = || review.case.clone();
    if review.reviewed != digest.to_string() {
        return Err(ReviewError::Stale { path: path.to_owned(), case: case() });
    }
    for decision in &review.decisions {
        let number = decision.candidate;
        let listed = form.candidates.iter().find(|candidate| candidate.candidate == number);
        let Some(listed) = listed else {
            let count = form.candidates.len();
            return Err(ReviewError::UnknownCandidate { path: path.to_owned(), case: case(), number, count });
        };
        if listed.model != decision.model {
            let (found, seen) = (&listed.model, &decision.model);
            let what = format!(
                "it says that the model's verdict on candidate {number} was `{seen}`, and it was `{found}`"
            );
            return Err(ReviewError::Wrong { path: path.to_owned(), what });
        }
    }
    Ok(())
}

/// Earlier reviews of a case: those that made the latest reviewed result.
pub fn earlier(out: &Path, label: &CaseLabel, input: &str) -> Vec<Review> {
    let attempts = Attempts::of_case(&StateFolder::of(&out.join(FOLDER)), &label.to_string());
    let latest = attempts.latest_ok().map(|(_, end)| end);
    let text = latest.and_then(|end| end.inputs.iter().find(|entry| entry.name == input)?.value.clone());
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// All reviews of one result, oldest first, each once; those of another result are left out, and counted.
pub fn gather(earlier: Vec<Review>, new: Vec<Review>, digest: &Digest) -> (Vec<Review>, usize) {
    let reviewed = digest.to_string();
    let before = earlier.len();
    let mut all: Vec<Review> = earlier.into_iter().filter(|review| review.reviewed == reviewed).collect();
    let left_out = before - all.len();
    for review in new {
        if !all.contains(&review) {
            all.push(review);
        }
    }
    // Stable: of one second, the one that came first stays first.
    all.sort_by(|a, b| a.signed.cmp(&b.signed));
    (all, left_out)
}

/// The first stage before the reviews that delivered something else than when the result was made that readers saw.
pub fn first_difference(before: &End, result: &CaseResult, graph: &Graph, input: &str) -> Option<String> {
    let differs = |(index, node): (usize, &crate::plan::Node)| {
        if is_behind(&result.plan, index, input) {
            return None;
        }
        let old = before.stages.iter().find(|old| old.stage == node.stage && old.member == node.member)?;
        let new = result.records.iter().find(|new| new.stage == node.stage && new.member == node.member)?;
        let (old, new) = (&old.outputs, &new.evidence.outputs);
        (!old.is_empty() && !new.is_empty() && old != new).then(|| node.label())
    };
    graph.nodes.iter().enumerate().find_map(differs)
}

fn is_behind(plan: &Plan, node: usize, input: &str) -> bool {
    let source = Source::Output { node, port: String::new(), member: String::new() };
    plan.inputs_behind(&source).contains(input)
}

#[cfg(test)]
mod tests;
