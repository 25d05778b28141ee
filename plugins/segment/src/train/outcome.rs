//! What a training leaves: the model file with its card, the curve, and what each case was for.

use super::cohort::{Member, Split};
use super::{Options, Row};
use crate::card::Card;
use crate::file::{Entry, encode};
use sdk::{Column, Document, Facts, OperatorError, Outputs, Table, Value};

/// What must be said wherever a model that saw phantoms is used, unless the settings say something else.
const PHANTOMS: &str =
    "PHANTOM-TRAINED MODEL: it learned from synthetic heads; for demonstration only, not for patients";

/// All outputs.
///
/// # Errors
/// When JSON cannot be made.
pub(super) fn outputs(
    options: &Options,
    members: &[Member],
    curve: &[Row],
    weights: &[Entry],
) -> Result<Outputs, OperatorError> {
    let best = curve.iter().rev().find(|row| row.best);
    let card = card(options, members, best)?;
    let mut facts = Facts::new();
    if !card.warning.is_empty() {
        facts.warn(card.warning.clone());
    }
    if best.is_none_or(|row| row.auc.is_none()) {
        facts.warn(
            "no development case with lesions: the last loss chose the weights, and the threshold is a guess",
        );
    }
    let metadata = card.metadata();
    let model = Document::new("application/vnd.safetensors", encode(&metadata, weights, options.stored));
    let shown = Document::new("application/json", serde_json::to_vec_pretty(&metadata)?);
    Ok(Outputs::new()
        .with("model", Value::from(model).facts(&facts))
        .with("card", Value::from(shown).facts(&facts))
        .with("curve", Value::from(curve_table(curve)).facts(&facts))
        .with("splits", Value::from(split_table(members)).facts(&facts)))
}

fn card(options: &Options, members: &[Member], best: Option<&Row>) -> Result<Card, OperatorError> {
    let mut card = options.card();
    let learned: Vec<&Member> = members.iter().filter(|member| member.split != Split::Test).collect();
    let count = |split| members.iter().filter(|member| member.split == split).count();
    let subjects: std::collections::BTreeSet<&str> =
        learned.iter().map(|member| member.subject.as_str()).collect();
    card.trained_on = format!(
        "{} cases with {} lesions, and {} to choose epoch and threshold; {} subjects",
        count(Split::Train),
        learned.iter().filter(|m| m.split == Split::Train).map(|m| m.lesions).sum::<usize>(),
        count(Split::Development),
        subjects.len()
    );
    let said = card.warning.to_lowercase().contains("phantom");
    if said || members.iter().any(|member| member.synthetic) {
        card.trained_on = format!("synthetic phantoms: {}", card.trained_on);
        if card.warning.is_empty() {
            PHANTOMS.clone_into(&mut card.warning);
        }
    }
    if let Some(row) = best {
        card.threshold = row.threshold;
        let figures = serde_json::json!({
            "epoch": row.epoch, "steps": row.steps, "loss": row.loss,
            "development_auc": row.auc, "development_dice": row.dice,
        });
        card.other.insert("figures".to_owned(), figures.to_string());
    }
    let mut recipe = serde_json::to_value(options)?;
    // A path is the site's own matter.
    recipe["start"] = serde_json::json!(options.start.is_some());
    card.other.insert("recipe".to_owned(), recipe.to_string());
    let digests: Vec<&str> = learned.iter().flat_map(|member| &member.digests).map(String::as_str).collect();
    card.other.insert("training_digests".to_owned(), serde_json::to_string(&digests)?);
    Ok(card)
}

fn curve_table(curve: &[Row]) -> Table {
    let mut table = Table::new(vec![
        Column::new("epoch", "", "from 1"),
        Column::new("steps", "", "steps so far"),
        Column::new("loss", "", "mean weighted cross-entropy of a voxel over the epoch"),
        Column::new("auc", "", "area under the ROC curve, mean over development cases"),
        Column::new("dice", "", "Dice at the threshold, mean over development cases"),
        Column::new("threshold", "", "score from which on a voxel counts as lesion"),
        Column::new("best", "", "whether no epoch before was better"),
    ]);
    for row in curve {
        table.rows.push(vec![
            row.epoch.into(),
            row.steps.into(),
            row.loss.into(),
            row.auc.into(),
            row.dice.into(),
            row.threshold.into(),
            row.best.into(),
        ]);
    }
    table
}

fn split_table(members: &[Member]) -> Table {
    let mut table = Table::new(vec![
        Column::new("participant_id", "", "label of the case"),
        Column::new("split", "", "`train`, `dev` or `test`"),
        Column::new("lesions", "", "true lesions"),
    ]);
    for member in members {
        let cells = [member.label.as_str().into(), member.split.name().into(), member.lesions.into()];
        table.rows.push(cells.to_vec());
    }
    table
}
