//! What readers answered to a result: what the engine hands on, as a JSON list of [`Review`], to the operator that applies it.
//!
//! The engine has checked texts and times, and brought times to RFC 3339, UTC, whole seconds: as texts they are in order.

use serde::{Deserialize, Serialize};

/// What one reader answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// The case, `sub-01_ses-02`.
    pub case: String,
    /// BLAKE3 of the form that the reader saw, in hexadecimal digits.
    pub reviewed: String,
    /// Name or initials of the reader who signed.
    pub reader: String,
    /// When.
    pub signed: String,
    /// What was decided; the rest is as the model says.
    pub decisions: Vec<Decision>,
}

/// What was decided about one candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Its number.
    pub candidate: u32,
    /// The model's verdict: the class of the candidate as the reader saw it.
    pub model: String,
    /// The reader's: `accepted` or `rejected`; none for a comment alone.
    pub reader: Option<String>,
    /// What the reader says.
    #[serde(default)]
    pub comment: String,
    /// Who decided: the reader who signed, or one whose review was loaded.
    pub by: String,
    /// When.
    pub at: String,
}
