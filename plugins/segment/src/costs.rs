//! What missing sequences cost, by a model's card.
//!
//! The card's key `costs` holds figures that were measured with all sequences and without some:
//! `{"on": "phantoms", "patterns": {"": {"cases": 12, "auc": 0.97, …}, "flair": {…}}}`; a pattern is named by the sequences that
//! were left out, in the card's order, joined by commas. Figures that do not exist are null or left out.

use crate::card::Card;
use crate::model::quoted;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The card's key.
pub(crate) const KEY: &str = "costs";

#[derive(Debug, Deserialize)]
struct Costs {
    /// What the figures were measured on, for people.
    on: String,
    patterns: BTreeMap<String, Figures>,
}

/// Means over cases, but for the share of lesions, which is pooled.
#[derive(Debug, Deserialize)]
struct Figures {
    cases: usize,
    auc: Option<f64>,
    /// Share of the lesions of 7 mm and more that were found.
    sensitivity_7mm: Option<f64>,
    /// Accepted components without a voxel of truth, 10 mm3 and more, of a case.
    false_positives: Option<f64>,
    dice: Option<f64>,
}

/// What the lack of `zeroed` channels is expected to cost; `None` if nothing lacks, or the card does not tell.
pub(crate) fn note(card: &Card, zeroed: &[&str]) -> Option<String> {
    let text = card.other.get(KEY).filter(|_| !zeroed.is_empty())?;
    let Ok(costs) = serde_json::from_str::<Costs>(text) else {
        return Some(format!("model `{}`: `{KEY}` of its card cannot be read", card.name));
    };
    let found = costs.patterns.get("").zip(costs.patterns.get(&zeroed.join(",")));
    let Some((whole, without)) = found else {
        return Some(format!(
            "model `{}`: what it costs to lack {} was not measured",
            card.name,
            quoted(zeroed)
        ));
    };
    let change = |name: &str, whole: Option<f64>, without: Option<f64>| {
        whole.zip(without).map(|(whole, without)| format!("{name} {whole:.2} -> {without:.2}"))
    };
    let changes = [
        change("lesions of 7 mm and more found", whole.sensitivity_7mm, without.sensitivity_7mm),
        change("false positives of a case", whole.false_positives, without.false_positives),
        change("Dice", whole.dice, without.dice),
        change("AUC", whole.auc, without.auc),
    ];
    let changes: Vec<String> = changes.into_iter().flatten().collect();
    Some(format!(
        "expected without {}: {} (on {}: {} and {} cases)",
        quoted(zeroed),
        changes.join(", "),
        costs.on,
        whole.cases,
        without.cases
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::untrained;

    const COSTS: &str = r#"{"on": "phantoms", "patterns": {
        "": {"cases": 12, "auc": 0.97, "sensitivity_7mm": 0.86, "false_positives": 3.0, "dice": 0.5, "more": 1},
        "flair": {"cases": 4, "auc": 0.96, "sensitivity_7mm": 0.83, "false_positives": 4.25, "dice": null}}}"#;

    fn told(costs: &str, zeroed: &[&str]) -> Option<String> {
        let mut card = untrained(0.25, 1);
        card.other.insert(KEY.to_owned(), costs.to_owned());
        note(&card, zeroed)
    }

    #[test]
    fn what_a_missing_sequence_costs_is_told_where_it_was_measured() {
        assert_eq!(
            told(COSTS, &["flair"]).unwrap(),
            "expected without `flair`: lesions of 7 mm and more found 0.86 -> 0.83, false positives of a case 3.00 -> 4.25, \
             AUC 0.97 -> 0.96 (on phantoms: 12 and 4 cases)"
        );
        assert_eq!(
            told(COSTS, &["t1_post", "flair"]).unwrap(),
            "model `untrained-w025`: what it costs to lack `t1_post`, `flair` was not measured"
        );
        assert_eq!(
            told("{}", &["flair"]).unwrap(),
            "model `untrained-w025`: `costs` of its card cannot be read"
        );
        assert_eq!(told(COSTS, &[]), None);
        assert_eq!(note(&untrained(0.25, 1), &["flair"]), None);
    }
}
