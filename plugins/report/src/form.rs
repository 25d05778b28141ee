//! What a reader can decide on, and what readers decided before.
//!
//! The **form** lists the candidates with what identifies them. It is published beside the page, and its digest is in every
//! review that is saved from the page: so a review can be held against the result that it was made on. After a review the form
//! is the same, as it holds the model's verdicts alone.

use crate::case::Case;
use sdk::serde::{Deserialize, Serialize};
use sdk::{Cell, Table};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What readers decided before, as far as a page tells it: the document of `apply_review`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct Record {
    /// The reviews, oldest first.
    pub reviews: Vec<Signed>,
    /// What of them holds, candidate by candidate.
    pub decisions: Vec<Decision>,
}

/// A review in short.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct Signed {
    /// Who.
    pub reader: String,
    /// When: RFC 3339, UTC.
    pub signed: String,
    /// What was decided.
    #[serde(skip_serializing)]
    pub decisions: Vec<Decision>,
    /// How many verdicts it gave.
    #[serde(skip_deserializing)]
    pub decided: usize,
    /// How many of them differ from the model's.
    #[serde(skip_deserializing)]
    pub changed: usize,
}

/// A decision on a candidate.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(crate = "sdk::serde", default)]
pub struct Decision {
    /// Its number.
    pub candidate: u64,
    /// The model's verdict.
    pub model: String,
    /// The reader's; none for a comment alone.
    pub reader: Option<String>,
    /// What the reader said.
    pub comment: String,
    /// Who.
    pub by: String,
    /// When.
    pub at: String,
}

impl Record {
    /// Counts what each review decided.
    #[must_use]
    pub fn counted(mut self) -> Self {
        for review in &mut self.reviews {
            let given = || review.decisions.iter().filter(|decision| decision.reader.is_some());
            let changed = given().filter(|decision| decision.reader.as_ref() != Some(&decision.model));
            (review.decided, review.changed) = (given().count(), changed.count());
        }
        self
    }
}

/// Cells that tell a candidate from any other.
const IDENTITY: [&str; 5] = ["voxels", "centroid_x", "centroid_y", "centroid_z", "max_score"];

/// The model's verdict on each candidate by number, in the order of the table.
fn verdicts(candidates: &Table) -> Vec<(u64, &'static str, &Vec<Cell>)> {
    let class = candidates.column("model_class").or_else(|| candidates.column("class"));
    let (Some(id), Some(class)) = (candidates.column("id"), class) else { return Vec::new() };
    let one = |row: &Vec<Cell>| {
        let model = match row.get(class).and_then(Cell::text)? {
            "accepted" => "accepted",
            "below_size" => "below_size",
            _ => "rejected",
        };
        Some((row.get(id)?.number().filter(|number| *number >= 1.0)? as u64, model))
    };
    candidates.rows.iter().filter_map(|row| one(row).map(|(number, model)| (number, model, row))).collect()
}

/// The form of a case, as text.
pub fn form(case: &Case) -> String {
    let entry = |(table, (number, model, row)): (&Table, (u64, &str, &Vec<Cell>))| {
        let mut entry = json!({ "candidate": number, "model": model });
        for name in IDENTITY {
            if let Some(cell) = table.column(name).and_then(|column| row.get(column)) {
                entry[name] = json!(cell);
            }
        }
        entry
    };
    let listed = |table| verdicts(table).into_iter().map(move |row| (table, row));
    let candidates: Vec<Value> = case.candidates.iter().flat_map(listed).map(entry).collect();
    let form = json!({
        "format": "neuroloom-review-form", "version": 1, "case": case.label, "candidates": candidates,
    });
    format!("{form:#}\n")
}

/// What the page's script needs, as JSON that can stand in a page; none where there is nothing to decide on.
pub fn head(case: &Case, form: &str) -> Option<String> {
    let table = case.candidates.as_ref()?;
    let candidates: BTreeMap<u64, &str> =
        verdicts(table).into_iter().map(|(number, model, _)| (number, model)).collect();
    if candidates.is_empty() {
        return None;
    }
    let earlier: &[Decision] = case.review.as_ref().map_or(&[], |review| &review.decisions);
    let head = json!({
        "case": case.label, "reviewed": blake3::hash(form.as_bytes()).to_hex().as_str(),
        "candidates": candidates, "earlier": earlier,
    });
    // `<` would end the element that holds it.
    Some(head.to_string().replace('<', "\\u003c"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Column;

    fn table(names: &[&str], rows: &[&[Cell]]) -> Table {
        let mut table = Table::new(names.iter().map(|name| Column::new(name, "", "")).collect());
        table.rows = rows.iter().map(|row| row.to_vec()).collect();
        table
    }

    #[test]
    fn the_form_is_the_same_after_a_review() {
        let before = table(
            &["id", "class", "voxels"],
            &[&[1.into(), "accepted".into(), 20.into()], &[2.into(), "seed".into(), 4.into()]],
        );
        let after = table(
            &["id", "class", "voxels", "model_class"],
            &[
                &[1.into(), "rejected".into(), 20.into(), "accepted".into()],
                &[2.into(), "accepted".into(), 4.into(), "seed".into()],
            ],
        );
        let of = |table| form(&Case { candidates: Some(table), ..Case::default() });
        assert_eq!(of(before.clone()), of(after));
        let read: Value = serde_json::from_str(&of(before)).unwrap();
        assert_eq!(read["candidates"][1], json!({ "candidate": 2, "model": "rejected", "voxels": 4.0 }));
    }

    #[test]
    fn what_readers_wrote_cannot_end_the_script_that_holds_it() {
        let hostile = "</script><script>alert(1)</script>";
        let decision =
            Decision { comment: hostile.to_owned(), by: hostile.to_owned(), ..Decision::default() };
        let record = Record { decisions: vec![decision], ..Record::default() };
        let candidates = table(&["id", "class"], &[&[1.into(), "accepted".into()]]);
        let case = Case {
            label: hostile.to_owned(),
            candidates: Some(candidates),
            review: Some(record),
            ..Case::default()
        };
        let head = head(&case, &form(&case)).unwrap();
        assert!(!head.contains('<'), "{head}");
        let read: Value = serde_json::from_str(&head).unwrap();
        assert_eq!((&read["case"], &read["earlier"][0]["comment"]), (&json!(hostile), &json!(hostile)));
    }

    #[test]
    fn without_candidates_there_is_nothing_to_decide_on() {
        assert_eq!(head(&Case::default(), ""), None);
    }
}
