//! Forms and reviews as files: what a page writes, and nothing else, is read.

use super::ReviewError;
use crate::case::CaseLabel;
use crate::record;
use sdk::review::Review;
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What the key `format` of a review says.
const FORMAT: &str = "neuroloom-review";
/// The version that is written and the latest that is read.
const VERSION: u64 = 1;
/// Largest review in bytes: a comment of 1 kB on each of several thousand candidates.
const MOST_BYTES: u64 = 8 << 20;
/// Longest name or initials, in characters.
const MOST_NAME: usize = 64;
/// Longest comment, in characters.
const MOST_COMMENT: usize = 4000;
/// The verdicts that a reader can give.
const VERDICTS: [&str; 2] = ["accepted", "rejected"];

/// What can be decided on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Form {
    /// Whose.
    pub case: String,
    /// Each candidate.
    pub candidates: Vec<Candidate>,
}

/// What can be decided on, one of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Candidate {
    /// Its number.
    pub candidate: u32,
    /// The model's verdict.
    pub model: String,
}

/// Reads a file that a reader saved.
///
/// # Errors
/// [`ReviewError`] for anything that the page does not write.
pub fn read(path: &Path) -> Result<Review, ReviewError> {
    let unreadable = |source| ReviewError::Unreadable { path: path.to_owned(), source };
    let bytes = path.metadata().map_err(unreadable)?.len();
    if bytes > MOST_BYTES {
        return Err(ReviewError::TooLarge { path: path.to_owned(), bytes, limit: MOST_BYTES });
    }
    parse(path, &std::fs::read(path).map_err(unreadable)?)
}

/// Reads the text of a file; `path` is for messages.
///
/// # Errors
/// [`ReviewError`] for anything that the page does not write.
pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Review, ReviewError> {
    let owned = || path.to_owned();
    let no_json = |source| ReviewError::NoJson { path: owned(), source };
    let json: Json = serde_json::from_slice(text).map_err(no_json)?;
    if json["format"] != FORMAT {
        return Err(ReviewError::OtherFormat { path: owned(), expected: FORMAT });
    }
    match json["version"].as_u64() {
        Some(VERSION) => {}
        Some(found) if found > VERSION => {
            return Err(ReviewError::Newer { path: owned(), found, known: VERSION });
        }
        _ => return Err(wrong(path, "its `version` is no whole number from 1")),
    }
    let mut review: Review = serde_json::from_value(json).map_err(|error| wrong(path, &error.to_string()))?;
    CaseLabel::parse(&review.case).map_err(|source| ReviewError::Label { path: owned(), source })?;
    check(&mut review, path)?;
    Ok(review)
}

/// Checks every text, and brings times to one form.
fn check(review: &mut Review, path: &Path) -> Result<(), ReviewError> {
    is_name(path, "reader", &review.reader)?;
    review.signed = time(path, "signed", &review.signed)?;
    let mut numbers = BTreeSet::new();
    for decision in &mut review.decisions {
        let number = decision.candidate;
        if !numbers.insert(number) {
            return Err(wrong(path, &format!("it decides twice on candidate {number}")));
        }
        is_name(path, "by", &decision.by)?;
        decision.at = time(path, "at", &decision.at)?;
        if let Some(verdict) = decision.reader.as_deref().filter(|verdict| !VERDICTS.contains(verdict)) {
            let shown = shown(verdict);
            return Err(wrong(
                path,
                &format!("the verdict on candidate {number} is `{shown}`, not `accepted` or `rejected`"),
            ));
        }
        let length = decision.comment.chars().count();
        if length > MOST_COMMENT {
            return Err(wrong(
                path,
                &format!(
                    "the comment on candidate {number} has {length} characters, more than {MOST_COMMENT}"
                ),
            ));
        }
        if decision.comment.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            return Err(wrong(path, &format!("the comment on candidate {number} has control characters")));
        }
    }
    Ok(())
}

fn wrong(path: &Path, what: &str) -> ReviewError {
    ReviewError::Wrong { path: path.to_owned(), what: what.to_owned() }
}

/// A foreign text as a message can show it.
fn shown(text: &str) -> String {
    text.chars().take(MOST_NAME).flat_map(char::escape_debug).collect()
}

fn is_name(path: &Path, key: &str, name: &str) -> Result<(), ReviewError> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > MOST_NAME || name.chars().any(char::is_control) {
        let what =
            format!("`{key}` is `{}`, no name or initials of 1 to {MOST_NAME} characters", shown(name));
        return Err(wrong(path, &what));
    }
    Ok(())
}

/// A time as this program writes it, so that times as texts are in order.
fn time(path: &Path, key: &str, text: &str) -> Result<String, ReviewError> {
    let none = || wrong(path, &format!("`{key}` is `{}`, no time such as 2026-05-31T10:15:00Z", shown(text)));
    let parsed: jiff::Timestamp = text.parse().map_err(|_| none())?;
    let seconds = u64::try_from(parsed.as_second()).map_err(|_| none())?;
    Ok(record::timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}
