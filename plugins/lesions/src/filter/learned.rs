//! A rule learned from cases with truth: logistic regression over the features, kept as JSON that a person can read.
//!
//! `p = 1 / (1 + exp(-(intercept + sum of weight * (value - mean) / scale)))`; a candidate with `p` below `cut` is rejected. A
//! feature that a case lacks counts as its mean, and so for nothing.
//!
//! Source: D. R. Cox, "The regression analysis of binary sequences", J. R. Stat. Soc. B 20(2), 1958.

use super::features::{Feature, Features};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What `format` must say.
pub const FORMAT: &str = "neuroloom-lesion-rule-1";
/// Contributions that are told of a rejected candidate.
const TOLD: usize = 3;

/// Why a learned rule cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// It cannot be read.
    #[error("the rule {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It is no rule.
    #[error("{} is no rule: {source}\nhint: `fit_filter` makes one", path.display())]
    NotARule {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// It says something that cannot be.
    #[error("the rule {} says `{key} = {found}` where {expected} is expected", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
}

/// A feature's part in a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// Its column in the table of candidates.
    pub name: String,
    /// Mean over the candidates that the rule was learned from.
    pub mean: f64,
    /// Their standard deviation, above 0.
    pub scale: f64,
    /// Change of the log odds of being a lesion for one `scale`.
    pub weight: f64,
}

/// A learned rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnedRule {
    /// [`FORMAT`].
    pub format: String,
    /// The features it looks at.
    pub features: Vec<Term>,
    /// Log odds of a candidate whose features are all at their means.
    pub intercept: f64,
    /// Lowest probability of an accepted candidate, 0 to 1.
    pub cut: f64,
    /// How it was learned; shown, never acted upon.
    #[serde(default)]
    pub training: serde_json::Value,
}

impl LearnedRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn read(path: &Path) -> Result<Self, RuleError> {
        let text =
            std::fs::read(path).map_err(|source| RuleError::Unreadable { path: path.to_owned(), source })?;
        let rule: Self = serde_json::from_slice(&text)
            .map_err(|source| RuleError::NotARule { path: path.to_owned(), source })?;
        rule.check(path)?;
        Ok(rule)
    }

    fn check(&self, path: &Path) -> Result<(), RuleError> {
        let bad = |key: &str, found: String, expected| {
            let (path, key) = (path.to_owned(), key.to_owned());
            Err(RuleError::Bad { path, key, found, expected })
        };
        if self.format != FORMAT {
            return bad("format", self.format.clone(), FORMAT);
        }
        if !(0.0..=1.0).contains(&self.cut) {
            return bad("cut", self.cut.to_string(), "a probability, 0 to 1");
        }
        for term in &self.features {
            if Feature::from_name(&term.name).is_none() {
                return bad("name", term.name.clone(), "a column of the table of candidates");
            }
            if !(term.scale > 0.0 && term.scale.is_finite()) {
                return bad("scale", term.scale.to_string(), "a number above 0");
            }
        }
        Ok(())
    }

    /// What each feature adds to the log odds, in the order of the rule.
    pub fn contributions<'a>(&'a self, features: &'a Features) -> impl Iterator<Item = (&'a str, f64)> {
        self.features.iter().map(|term| {
            let value = Feature::from_name(&term.name).and_then(|feature| features.get(feature));
            let standard = value.map_or(0.0, |value| (value - term.mean) / term.scale);
            (term.name.as_str(), term.weight * standard)
        })
    }

    /// Probability of being a lesion, as far as the training cases go.
    pub fn probability(&self, features: &Features) -> f64 {
        let log_odds = self.intercept + self.contributions(features).map(|(_, part)| part).sum::<f64>();
        1.0 / (1.0 + (-log_odds).exp())
    }

    /// The largest contributions against a candidate, as text: `black_blood -3.1, vesselness -0.8`.
    pub fn explanation(&self, features: &Features) -> String {
        let mut against: Vec<(&str, f64)> =
            self.contributions(features).filter(|(_, part)| *part < 0.0).collect();
        against.sort_by(|a, b| a.1.total_cmp(&b.1));
        let told = against.iter().take(TOLD).map(|(name, part)| format!("{name} {part:.1}"));
        told.collect::<Vec<_>>().join(", ")
    }
}
