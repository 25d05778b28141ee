//! Cases of a JSON manifest: `{"dev": [{"id": "p01", "truth": "p01/truth.nii.gz"}], "test": […]}`.

use super::table::{Row, of_rows};
use super::{CaseLabel, Cohort, CohortError, CohortKind, Filters};
use crate::plan::InputSpec;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::path::Path;

/// Keys that hold a case's label, the first that is there.
const LABELS: [&str; 4] = ["id", "case", "participant_id", "subject"];
/// The column that says which list a case stands in.
const SPLIT: &str = "split";

/// Finds the cases of a manifest.
pub(super) fn find(path: &Path, inputs: &[InputSpec], filters: &Filters) -> Result<Cohort, CohortError> {
    let wrong = |message: String| {
        let hint =
            "write lists of cases, as in `{\"test\": [{\"id\": \"p01\", \"flair\": \"p01/flair.nii.gz\"}]}`";
        CohortError::table(path, message, hint)
    };
    let text = std::fs::read_to_string(path).map_err(|source| CohortError::unreadable(path, source))?;
    let json: Json = serde_json::from_str(&text).map_err(|error| wrong(format!("no JSON: {error}")))?;
    let lists: Vec<(String, Vec<Json>)> = match json {
        Json::Array(cases) => vec![(String::new(), cases)],
        Json::Object(table) => table
            .into_iter()
            .filter_map(
                |(name, value)| if let Json::Array(cases) = value { Some((name, cases)) } else { None },
            )
            .collect(),
        _ => return Err(wrong("neither a table nor a list of cases".to_owned())),
    };
    let mut rows = Vec::new();
    for (name, cases) in lists {
        for (index, case) in cases.into_iter().enumerate() {
            let place = if name.is_empty() {
                format!("case {}", index + 1)
            } else {
                format!("case {} of `{name}`", index + 1)
            };
            let Json::Object(case) = case else { return Err(wrong(format!("{place}: not a table"))) };
            let mut row = row(path, place, case)?;
            if !name.is_empty() && name != "cases" {
                row.cells.entry(SPLIT.to_owned()).or_insert_with(|| Some(name.clone()));
            }
            rows.push(row);
        }
    }
    let mut columns: Vec<String> = rows.iter().flat_map(|row| row.cells.keys().cloned()).collect();
    columns.sort();
    columns.dedup();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    of_rows(path, CohortKind::Manifest, &columns, rows, inputs, filters)
}

fn row(path: &Path, place: String, mut case: Map<String, Json>) -> Result<Row, CohortError> {
    let wrong = |message: String, hint: &str| CohortError::table(path, message, hint);
    let key = LABELS.iter().find(|key| case.contains_key(**key));
    let Some(Json::String(label)) = key.and_then(|key| case.remove(*key)) else {
        return Err(wrong(format!("{place}: no `id`"), "each case has a text `id`, its label"));
    };
    let label = match case.remove("session") {
        Some(Json::String(visit)) => format!("{label}_ses-{}", visit.strip_prefix("ses-").unwrap_or(&visit)),
        _ => label,
    };
    let label = CaseLabel::parse(&label)
        .map_err(|source| CohortError::Label { place: format!("{}, {place}", path.display()), source })?;
    let mut cells = BTreeMap::new();
    for (name, value) in case {
        let cell = match value {
            Json::Null => None,
            Json::String(text) => super::tsv::present(&text).map(str::to_owned),
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(truth) => Some(truth.to_string()),
            _ => {
                return Err(wrong(
                    format!("{place}: `{name}` is a list or table"),
                    "name one file, or a value",
                ));
            }
        };
        cells.insert(name, cell);
    }
    Ok(Row { place, label, cells })
}
