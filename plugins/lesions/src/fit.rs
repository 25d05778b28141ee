//! A rule against false positives, learned from cases with truth, and what every rule does on cases it was not learned from.
//!
//! Of each case, the table of candidates of `filter_lesions` and the labels it numbers are held against the true lesions. A candidate is
//! a lesion if it shares a voxel with truth, else a false positive; candidates below the size limit take no part. A true lesion
//! is found if more than a tenth of it lies in candidates that are kept.
//!
//! Cases whose column `split` names the setting `train_split` are learned from, all others are unseen; without such a column all
//! are learned from. What a rule does is told for both.
//!
//! Nothing is random: cases come in their order, folds are every tenth subject, sums are made in order.

mod cases;
mod figures;
mod regression;

use crate::filter::features::Feature;
use crate::filter::learned::LearnedRule;
use cases::{Case, read};
use sdk::{Cases, Context, JsonSchema, OperatorError, Table};
use serde::{Deserialize, Serialize};

/// Settings of `fit_filter`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Columns of the table of candidates to learn from; one that no candidate has is left out.
    #[schemars(length(min = 1))]
    pub features: Vec<String>,
    /// Cases with this in their column `split` are learned from, the others are unseen.
    pub train_split: String,
    /// Strength of the penalty on weights, in candidates: the larger, the smaller the weights.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub penalty: f64,
    /// Share of the lesions among the candidates that the cut must keep, by scores of rules that did not see their subject.
    #[schemars(range(min = 0.5, max = 1.0))]
    pub keep: f64,
}

impl Default for Options {
    fn default() -> Self {
        let all = Feature::ALL.into_iter().filter(|feature| *feature != Feature::MeanScore);
        Self {
            features: all.map(|feature| feature.name().to_owned()).collect(),
            train_split: "dev".to_owned(),
            penalty: 1.0,
            keep: 0.98,
        }
    }
}

/// Why no rule could be learned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// A setting that cannot be used.
    #[error("`{name}` is {found}, where {expected} is expected")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Truth on another grid than the labels.
    #[error(
        "case {case}: `{name}` lies on another grid than `labels`\nhint: `resample` it onto the labels' grid"
    )]
    OtherGrid {
        /// Label of the case.
        case: String,
        /// The port.
        name: &'static str,
    },
    /// There are not both kinds to tell apart.
    #[error(
        "{lesions} lesions and {false_positives} false positives among the candidates to learn from, where at least {} of each are expected\nhint: lower the threshold of `filter_lesions`, or learn from more cases",
        regression::FEWEST
    )]
    TooFew {
        /// Candidates that are lesions.
        lesions: usize,
        /// Candidates that are none.
        false_positives: usize,
    },
    /// Nobody to leave out.
    #[error(
        "one subject to learn from, where at least 2 are expected\nhint: the cut is found on subjects that are left out"
    )]
    OneSubject,
    /// No feature was left to learn from.
    #[error(
        "no candidate has any of the features\nhint: wire `image`, `pre_contrast` and `black_blood` into `filter_lesions`"
    )]
    NoFeature,
    /// The equations cannot be solved.
    #[error("the weights cannot be found: the equations are singular\nhint: raise `penalty`")]
    Singular,
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), FitError> {
        let bad = |name, found: String, expected| Err(FitError::Setting { name, found, expected });
        if let Some(name) = self.features.iter().find(|name| Feature::from_name(name).is_none()) {
            return bad("features", name.clone(), "a column of the table of candidates");
        }
        if !(self.penalty > 0.0 && self.penalty.is_finite()) {
            return bad("penalty", self.penalty.to_string(), "a number above 0");
        }
        if !(0.5..=1.0).contains(&self.keep) {
            return bad("keep", self.keep.to_string(), "a share from 0.5 to 1");
        }
        Ok(())
    }

    fn features(&self) -> Vec<Feature> {
        self.features.iter().filter_map(|name| Feature::from_name(name)).collect()
    }
}

/// A learned rule, and what it and every other rule do.
#[derive(Debug)]
pub struct Fitted {
    /// The rule.
    pub rule: LearnedRule,
    /// A row for each rule, for cases it was learned from and for unseen ones.
    pub table: Table,
    /// What a reader must know.
    pub warnings: Vec<String>,
}

/// Learns a rule from the cases of a cohort.
///
/// # Errors
/// [`FitError`]; a value that cannot be read; the stage was asked to stop.
pub fn fit(cases: &dyn Cases, options: &Options, ctx: &Context) -> Result<Fitted, OperatorError> {
    options.check()?;
    let mut all: Vec<Case> = Vec::new();
    let mut failed = 0;
    for index in 0..cases.len() {
        ctx.check_cancelled()?;
        ctx.progress(index as f64 / cases.len().max(1) as f64, "read");
        match read(cases, index)? {
            Some(case) => all.push(case),
            None => failed += 1,
        }
    }
    let has_split = all.iter().any(|case| case.split.is_some());
    let (seen, unseen): (Vec<Case>, Vec<Case>) = all
        .into_iter()
        .partition(|case| !has_split || case.split.as_deref() == Some(options.train_split.as_str()));
    let rule = regression::learn(&seen, &options.features(), options, ctx)?;
    let mut table = figures::table();
    figures::add(&mut table, "training", &seen, &rule);
    figures::add(&mut table, "unseen", &unseen, &rule);
    let mut warnings = Vec::new();
    if failed > 0 {
        warnings.push(format!("{failed} cases failed and take no part"));
    }
    let subject = |case: &&Case| unseen.iter().any(|other| other.subject == case.subject);
    if let Some(case) = seen.iter().find(subject) {
        warnings
            .push(format!("subject {} is among the cases to learn from and the unseen ones", case.subject));
    }
    if seen.iter().chain(&unseen).any(|case| case.synthetic) {
        warnings.push("learned from or judged on synthetic phantoms, not patients".to_owned());
    }
    Ok(Fitted { rule, table, warnings })
}
