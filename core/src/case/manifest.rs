//! Cases of a JSON manifest: `{"dev": [{"id": "p01", "truth": "p01/truth.nii.gz"}], "test": […], "options": {…}}`.
//!
//! What stands beside the lists is said of every case: a text or number as it is, a table as its JSON text. An input of that name
//! takes it; otherwise it is a label, and that is noted.

use super::table::{Row, of_rows};
use super::{BadLabel, CaseLabel, Cohort, CohortError, CohortKind, Filters};
use crate::plan::InputSpec;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::path::Path;

/// Keys that hold a case's label, the first that is there.
const LABELS: [&str; 4] = ["id", "case", "participant_id", "subject"];
/// The column that says which list a case stands in.
const SPLIT: &str = "split";
/// The column with a case's name as the manifest has it, for labels are letters and digits only.
const ID: &str = "id";

/// Finds the cases of a manifest.
pub(super) fn find(path: &Path, inputs: &[InputSpec], filters: &Filters) -> Result<Cohort, CohortError> {
    let wrong = |message: String| {
        let hint =
            "write lists of cases, as in `{\"test\": [{\"id\": \"p01\", \"flair\": \"p01/flair.nii.gz\"}]}`";
        CohortError::table(path, message, hint)
    };
    let text = std::fs::read_to_string(path).map_err(|source| CohortError::unreadable(path, source))?;
    let json: Json = serde_json::from_str(&text).map_err(|error| wrong(format!("no JSON: {error}")))?;
    let (mut lists, mut of_all) = (Vec::new(), BTreeMap::new());
    match json {
        Json::Array(cases) => lists.push((String::new(), cases)),
        Json::Object(table) => {
            for (name, value) in table {
                match value {
                    Json::Array(cases) => lists.push((name, cases)),
                    Json::Object(_) => drop(of_all.insert(name, Some(value.to_string()))),
                    _ => drop(of_all.insert(name, plain(&value))),
                }
            }
        }
        _ => return Err(wrong("neither a table nor a list of cases".to_owned())),
    }
    let is_input = |name: &str| inputs.iter().any(|input| input.name == name);
    let notes: Vec<String> = of_all
        .keys()
        .filter(|name| !is_input(name))
        .map(|name| format!("`{name}` of {} is a label: the workflow has no such input", path.display()))
        .collect();
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
            for (name, cell) in &of_all {
                row.cells.entry(name.clone()).or_insert_with(|| cell.clone());
            }
            rows.push(row);
        }
    }
    let mut columns: Vec<String> = rows.iter().flat_map(|row| row.cells.keys().cloned()).collect();
    columns.sort();
    columns.dedup();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut cohort = of_rows(path, CohortKind::Manifest, &columns, rows, inputs, filters)?;
    // A case of a manifest names what it has: an input that none names, under no similar name either, is none's.
    let unnamed = inputs.iter().filter(|input| !columns.contains(&input.name.as_str()));
    let is_plain = |name: &str| cohort.cases.iter().all(|case| !case.near_misses.contains_key(name));
    let absent: Vec<String> =
        unnamed.filter(|input| is_plain(&input.name)).map(|input| input.name.clone()).collect();
    cohort.declared_absent.extend(absent);
    Ok(Cohort { notes, ..cohort })
}

/// A value as in a table; none for null.
fn plain(value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::String(text) => super::tsv::present(text).map(str::to_owned),
        other => Some(other.to_string()),
    }
}

/// The label of a case whose name may hold anything: its letters and digits, if it is no label as it stands.
fn label_of(id: &str) -> Result<CaseLabel, BadLabel> {
    CaseLabel::parse(id).or_else(|bad| {
        let squeezed: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        if id.contains(['/', '\\']) { Err(bad) } else { CaseLabel::parse(&squeezed).map_err(|_| bad) }
    })
}

fn row(path: &Path, place: String, mut case: Map<String, Json>) -> Result<Row, CohortError> {
    let wrong = |message: String, hint: &str| CohortError::table(path, message, hint);
    let key = LABELS.iter().find(|key| case.contains_key(**key));
    let Some(Json::String(label)) = key.and_then(|key| case.remove(*key)) else {
        return Err(wrong(format!("{place}: no `id`"), "each case has a text `id`, its label"));
    };
    let id = label.clone();
    let label = match case.remove("session") {
        Some(Json::String(visit)) => format!("{label}_ses-{}", visit.strip_prefix("ses-").unwrap_or(&visit)),
        _ => label,
    };
    let label = label_of(&label)
        .map_err(|source| CohortError::Label { place: format!("{}, {place}", path.display()), source })?;
    let mut cells = BTreeMap::from([(ID.to_owned(), Some(id))]);
    for (name, value) in case {
        if value.is_array() || value.is_object() {
            let message = format!("{place}: `{name}` is a list or table");
            return Err(wrong(message, "name one file, or a value"));
        }
        cells.insert(name, plain(&value));
    }
    Ok(Row { place, label, cells })
}
