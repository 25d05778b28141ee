//! What a training leaves: the model file with its card, the curve, and what each case was for.

use super::cohort::{Member, Split};
use super::development::Judged;
use super::{Criterion, Options, Row};
use crate::card::Card;
use crate::costs;
use crate::file::{Entry, encode};
use sdk::{Column, Document, Facts, OperatorError, Outputs, Table, Value};

/// What must be said wherever a model that saw phantoms is used, unless the settings say something else.
const PHANTOMS: &str =
    "PHANTOM-TRAINED MODEL: it learned from synthetic heads; for demonstration only, not for patients";

/// The card's key for digests of files that had a part in the model.
const DIGESTS: &str = "training_digests";

/// How a run went.
pub(super) struct Outcome<'a> {
    pub(super) options: &'a Options,
    /// The model's card, but for what only the run can tell.
    pub(super) card: &'a Card,
    pub(super) members: &'a [Member],
    pub(super) curve: &'a [Row],
    /// The best weights' figures without some sequences.
    pub(super) without: &'a [Judged],
}

/// All outputs.
///
/// # Errors
/// When JSON cannot be made.
pub(super) fn outputs(outcome: &Outcome<'_>, weights: &[Entry]) -> Result<Outputs, OperatorError> {
    let Outcome { options, members, curve, .. } = outcome;
    let best = curve.iter().rev().find(|row| row.best);
    let card = card(outcome, best)?;
    let mut facts = Facts::new();
    if !card.warning.is_empty() {
        facts.warn(card.warning.clone());
    }
    if best.is_none_or(|row| row.auc.is_none()) {
        facts.warn(
            "no development case with lesions: the last loss chose the weights, and the threshold is a guess",
        );
    }
    if options.calibrate && card.calibration.is_none() {
        facts.warn(
            "the scores are not calibrated: on the development cases larger ones are no likelier lesion, so the network is of no use",
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

fn card(outcome: &Outcome<'_>, best: Option<&Row>) -> Result<Card, OperatorError> {
    let Outcome { options, members, without, .. } = outcome;
    let mut card = outcome.card.clone();
    if options.judges_only() {
        judged_anew(&mut card, outcome);
    } else {
        taught(&mut card, options, members)?;
    }
    if let Some(row) = best {
        // What was set is meant as it is; what was found moves along with the scores.
        let moves = options.calibrate && options.criterion != Criterion::Fixed;
        let line = card.calibration.filter(|_| moves);
        card.threshold = line.map_or(row.threshold, |line| line.score(row.threshold));
        let mut figures = figures_of(&card);
        if row.epoch > 0 {
            figures.insert("epoch".to_owned(), row.epoch.into());
            figures.insert("steps".to_owned(), row.steps.into());
            figures.insert("loss".to_owned(), row.loss.into());
        }
        figures.insert("development_auc".to_owned(), row.auc.into());
        figures.insert("development_dice".to_owned(), row.dice.into());
        figures.insert("development_without".to_owned(), figures_without(without));
        card.other.insert("figures".to_owned(), serde_json::Value::Object(figures).to_string());
    }
    card.thresholds =
        without.iter().map(|judged| (judged.pattern.clone(), judged.figures.threshold)).collect();
    // What chose a threshold is no test of it either.
    let mut digests: Vec<String> =
        card.other.get(DIGESTS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    for digest in members.iter().filter(|member| used(options, member)).flat_map(|member| &member.digests) {
        if !digests.contains(digest) {
            digests.push(digest.clone());
        }
    }
    card.other.insert(DIGESTS.to_owned(), serde_json::to_string(&digests)?);
    Ok(card)
}

/// Whether a case had a part in the model.
fn used(options: &Options, member: &Member) -> bool {
    member.split == Split::Development || member.split == Split::Train && !options.judges_only()
}

/// What the training says of itself.
fn taught(card: &mut Card, options: &Options, members: &[Member]) -> Result<(), OperatorError> {
    let learned: Vec<&Member> = members.iter().filter(|member| used(options, member)).collect();
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
    let mut recipe = serde_json::to_value(options)?;
    // A path is the site's own matter.
    recipe["start"] = serde_json::json!(options.start.is_some());
    card.other.insert("recipe".to_owned(), recipe.to_string());
    Ok(())
}

/// What choosing thresholds says of itself. What was measured at the old ones is no longer so.
fn judged_anew(card: &mut Card, outcome: &Outcome<'_>) {
    let Outcome { options, members, .. } = outcome;
    let cases: Vec<&Member> = members.iter().filter(|member| used(options, member)).collect();
    let by = serde_json::json!({
        "cases": cases.len(),
        "lesions": cases.iter().map(|member| member.lesions).sum::<usize>(),
        "criterion": options.criterion,
        "judge_every": options.judge_every,
    });
    card.version.clone_from(&options.version);
    card.other.insert("thresholds_by".to_owned(), by.to_string());
    card.other.remove(costs::KEY);
}

/// The figures that the card has already.
fn figures_of(card: &Card) -> serde_json::Map<String, serde_json::Value> {
    card.other.get("figures").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// AUC and Dice of each pattern; null where there is none.
fn figures_without(without: &[Judged]) -> serde_json::Value {
    let told =
        |Judged { figures, .. }: &Judged| serde_json::json!({ "auc": figures.auc, "dice": figures.dice });
    without
        .iter()
        .map(|judged| (judged.pattern.clone(), told(judged)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn curve_table(curve: &[Row]) -> Table {
    let mut table = Table::new(vec![
        Column::new("epoch", "", "from 1; 0 for weights that were not taught here"),
        Column::new("steps", "", "steps so far"),
        Column::new("loss", "", "mean weighted cross-entropy of a voxel over the epoch; 0 for epoch 0"),
        Column::new("auc", "", "area under the ROC curve, mean over development cases"),
        Column::new("dice", "", "Dice at the threshold, mean over development cases"),
        Column::new("threshold", "", "score from which on a voxel counts as lesion, before calibration"),
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
