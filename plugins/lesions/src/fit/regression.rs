//! Logistic regression with a penalty on the weights, by Newton's method, and a cut from scores of subjects left out.
//!
//! Source: T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2nd ed., sections 4.4.1 and 3.4.1.

use super::cases::{Candidate, Case};
use super::{FitError, Options};
use crate::filter::features::Feature;
use crate::filter::learned::{FORMAT, LearnedRule, Term};
use nalgebra::{DMatrix, DVector};
use sdk::{Context, OperatorError};
use serde_json::json;
use std::collections::BTreeSet;

/// Fewest candidates of each kind that a rule is learned from.
pub(super) const FEWEST: usize = 3;
/// Subjects are left out in so many folds.
const FOLDS: usize = 10;
/// Newton's method has converged long before: it doubles the digits at each step.
const STEPS: usize = 50;
/// Change of a weight that is none, in log odds.
const CONVERGED: f64 = 1e-10;
/// Penalty on the intercept, in candidates: moves nothing, but keeps the equations of a set of one kind solvable.
const INTERCEPT_PENALTY: f64 = 1e-6;

/// A candidate and its subject's place.
type Sample<'a> = (usize, &'a Candidate);

/// Learns a rule from the cases; see the module above.
pub(super) fn learn(
    cases: &[Case],
    features: &[Feature],
    options: &Options,
    ctx: &Context,
) -> Result<LearnedRule, OperatorError> {
    let subjects: BTreeSet<&str> = cases.iter().map(|case| case.subject.as_str()).collect();
    let place = |case: &Case| subjects.iter().position(|subject| *subject == case.subject).unwrap_or(0);
    let samples: Vec<Sample<'_>> = cases
        .iter()
        .flat_map(|case| case.candidates.iter().map(move |candidate| (place(case), candidate)))
        .collect();
    let lesions = samples.iter().filter(|(_, candidate)| candidate.is_lesion).count();
    let false_positives = samples.len() - lesions;
    if lesions < FEWEST || false_positives < FEWEST {
        return Err(FitError::TooFew { lesions, false_positives }.into());
    }
    if subjects.len() < 2 {
        return Err(FitError::OneSubject.into());
    }
    let known: Vec<Feature> = features.iter().copied().filter(|&f| varies(&samples, f)).collect();
    if known.is_empty() {
        return Err(FitError::NoFeature.into());
    }
    let mut rule = weights(&samples, &known, options.penalty)?;
    let folds = FOLDS.min(subjects.len());
    let scores = left_out_scores(&samples, folds, &known, options, ctx)?;
    let split = |is_lesion: bool| {
        let own = samples.iter().zip(&scores).filter(move |((_, c), _)| c.is_lesion == is_lesion);
        own.map(|(_, &score)| score).collect::<Vec<f64>>()
    };
    let (mut of_lesions, of_false) = (split(true), split(false));
    of_lesions.sort_by(f64::total_cmp);
    let lost = ((1.0 - options.keep) * lesions as f64).floor() as usize;
    rule.cut = of_lesions[lost.min(lesions - 1)];
    let removed = of_false.iter().filter(|&&score| score < rule.cut).count();
    let dropped: Vec<&str> = features.iter().filter(|f| !known.contains(f)).map(|f| f.name()).collect();
    rule.training = json!({
        "cases": cases.len(),
        "subjects": subjects.len(),
        "lesions": lesions,
        "false_positives": false_positives,
        "penalty": options.penalty,
        "keep": options.keep,
        "features_left_out": dropped,
        "left_out_subjects": {
            "folds": folds,
            "auc": auc(&of_lesions, &of_false),
            "lesions_lost": lost,
            "false_positives_removed": removed,
        },
        "synthetic": cases.iter().any(|case| case.synthetic),
    });
    Ok(rule)
}

/// Each candidate's score by a rule that did not see its subject.
fn left_out_scores(
    samples: &[Sample<'_>],
    folds: usize,
    features: &[Feature],
    options: &Options,
    ctx: &Context,
) -> Result<Vec<f64>, OperatorError> {
    let mut scores = vec![0.0; samples.len()];
    for fold in 0..folds {
        ctx.check_cancelled()?;
        let others: Vec<Sample<'_>> = samples.iter().copied().filter(|(n, _)| n % folds != fold).collect();
        let of_others = weights(&others, features, options.penalty)?;
        for (score, (_, candidate)) in scores.iter_mut().zip(samples).filter(|(_, (n, _))| n % folds == fold)
        {
            *score = of_others.probability(&candidate.features);
        }
    }
    Ok(scores)
}

/// Whether the candidates differ in a feature.
fn varies(samples: &[Sample<'_>], feature: Feature) -> bool {
    let mut values = samples.iter().filter_map(|(_, candidate)| candidate.features.get(feature));
    let first = values.next();
    values.any(|value| Some(value) != first)
}

/// Mean and standard deviation of a feature; (0, 1) where there is none to tell them.
fn mean_and_scale(samples: &[Sample<'_>], feature: Feature) -> (f64, f64) {
    let values: Vec<f64> = samples.iter().filter_map(|(_, c)| c.features.get(feature)).collect();
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let scale = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    (mean, if scale > 0.0 { scale } else { 1.0 })
}

/// The penalised weights of largest likelihood, without a cut.
fn weights(samples: &[Sample<'_>], features: &[Feature], penalty: f64) -> Result<LearnedRule, FitError> {
    let scales: Vec<(f64, f64)> = features.iter().map(|&f| mean_and_scale(samples, f)).collect();
    let size = features.len() + 1;
    let row = |candidate: &Candidate| {
        let of = |(&feature, (mean, scale)): (&Feature, &(f64, f64))| {
            candidate.features.get(feature).map_or(0.0, |value| (value - mean) / scale)
        };
        DVector::from_iterator(size, std::iter::once(1.0).chain(features.iter().zip(&scales).map(of)))
    };
    let rows: Vec<(DVector<f64>, f64)> =
        samples.iter().map(|(_, c)| (row(c), f64::from(u8::from(c.is_lesion)))).collect();
    let mut weights = DVector::<f64>::zeros(size);
    for _ in 0..STEPS {
        let mut slope = DVector::<f64>::zeros(size);
        let mut curvature = DMatrix::<f64>::zeros(size, size);
        for (row, truth) in &rows {
            let p = 1.0 / (1.0 + (-row.dot(&weights)).exp());
            slope.axpy(truth - p, row, 1.0);
            curvature.ger(p * (1.0 - p), row, row, 1.0);
        }
        for n in 0..size {
            let penalty = if n == 0 { INTERCEPT_PENALTY } else { penalty };
            slope[n] -= penalty * weights[n];
            curvature[(n, n)] += penalty;
        }
        let step = curvature.cholesky().ok_or(FitError::Singular)?.solve(&slope);
        weights += &step;
        if step.amax() < CONVERGED {
            break;
        }
    }
    if !weights.iter().all(|weight| weight.is_finite()) {
        return Err(FitError::Singular);
    }
    let term = |(n, (&feature, &(mean, scale))): (usize, (&Feature, &(f64, f64)))| Term {
        name: feature.name().to_owned(),
        mean,
        scale,
        weight: weights[n + 1],
    };
    Ok(LearnedRule {
        format: FORMAT.to_owned(),
        features: features.iter().zip(&scales).enumerate().map(term).collect(),
        intercept: weights[0],
        cut: 0.0,
        training: serde_json::Value::Null,
    })
}

/// Share of pairs in which the lesion has the higher score, ties half.
fn auc(lesions: &[f64], false_positives: &[f64]) -> f64 {
    let wins = |score: f64| {
        let of = |other: &f64| if score > *other { 1.0 } else { f64::from(u8::from(score == *other)) / 2.0 };
        false_positives.iter().map(of).sum::<f64>()
    };
    lesions.iter().map(|&score| wins(score)).sum::<f64>() / (lesions.len() * false_positives.len()) as f64
}
