//! Cases of a table, a row a case.

use super::cohort::check_asked;
use super::tsv::{Tsv, present};
use super::{CaseLabel, Cohort, CohortCase, CohortError, CohortKind, Filters, Given, NearMiss, Problem};
use crate::fault::{list, nearest};
use crate::plan::InputSpec;
use sdk::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A folder with this table in it is read by it.
pub(super) const FILE: &str = "cases.tsv";

/// Columns that hold a case's label or subject, the first that is there.
const LABELS: [&str; 3] = ["participant_id", "case", "subject"];
/// Columns that hold its session.
const SESSIONS: [&str; 2] = ["session", "session_id"];

/// For this many files that are missing a like name is looked for: each costs a listing.
const MOST_LOOKED_FOR: usize = 20;

/// What is said of a case, wherever it was written.
#[derive(Debug)]
pub(super) struct Row {
    /// `line 3`, or `case 2 of test`.
    pub(super) place: String,
    pub(super) label: CaseLabel,
    /// By column; none for no value.
    pub(super) cells: BTreeMap<String, Option<String>>,
}

/// Finds the cases of a table.
pub(super) fn find(path: &Path, inputs: &[InputSpec], filters: &Filters) -> Result<Cohort, CohortError> {
    if let Some(hint) = refused(path) {
        return Err(CohortError::table(path, "this is no table that Neuroloom reads", hint));
    }
    let table = Tsv::read(path)?;
    let Some(key) = LABELS.iter().find_map(|name| table.column(name)) else {
        let names: Vec<&str> = table.head.iter().map(String::as_str).collect();
        let near = LABELS.iter().find_map(|label| nearest(label, names.iter().copied()));
        let hint = near.map_or_else(
            || format!("name one {}; there is {}", list(&LABELS), list(&names)),
            |near| format!("rename the column `{near}` to `participant_id`"),
        );
        return Err(CohortError::table(path, "line 1: no column names the cases", hint));
    };
    let session = SESSIONS.iter().find_map(|name| table.column(name));
    let mut rows = Vec::new();
    for (line, row) in &table.rows {
        let text = match session.and_then(|session| present(&row[session])) {
            Some(visit) => format!("{}_ses-{}", row[key], visit.strip_prefix("ses-").unwrap_or(visit)),
            None => row[key].clone(),
        };
        let place = format!("line {line}");
        let label = CaseLabel::parse(&text)
            .map_err(|source| CohortError::Label { place: format!("{}, {place}", path.display()), source })?;
        let cells = table.head.iter().zip(row).enumerate();
        let cells = cells.filter(|(index, _)| *index != key && Some(*index) != session);
        let cells = cells.map(|(_, (name, cell))| (name.clone(), present(cell).map(str::to_owned))).collect();
        rows.push(Row { place, label, cells });
    }
    let columns: Vec<&str> = table.head.iter().map(String::as_str).collect();
    of_rows(path, CohortKind::Table, &columns, rows, inputs, filters)
}

/// Why a file is not read as a table, and what to do.
fn refused(path: &Path) -> Option<&'static str> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "tsv" => None,
        "csv" => Some(
            "commas stand in paths and numbers, too: save it as `cases.tsv`, with tabs between the columns",
        ),
        "xlsx" | "ods" => Some("save it as `cases.tsv`, with tabs between the columns"),
        _ => Some("name a folder, or a table that ends in `.tsv` or `.json`"),
    }
}

/// Makes cases of rows.
pub(super) fn of_rows(
    path: &Path,
    kind: CohortKind,
    columns: &[&str],
    mut rows: Vec<Row>,
    inputs: &[InputSpec],
    filters: &Filters,
) -> Result<Cohort, CohortError> {
    if let Some(filter) = &filters.bids_filter {
        return Err(CohortError::Filter {
            path: filter.clone(),
            message: format!("{} is a {kind}, which names its files itself", path.display()),
            hint: "leave the filter out, or name a BIDS data set".to_owned(),
        });
    }
    rows.sort_by(|a, b| a.label.cmp(&b.label));
    let labels: Vec<CaseLabel> = rows.iter().map(|row| row.label.clone()).collect();
    check_asked(path, filters, &labels)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut looked_for = 0;
    let mut cases: Vec<CohortCase> = Vec::new();
    rows.retain(|row| filters.takes(&row.label));
    for same in rows.chunk_by(|a, b| a.label == b.label) {
        let mut case = case(&same[0], columns, inputs, folder, &mut looked_for);
        if same.len() > 1 {
            case.problems = vec![doubled(path, same)];
            case.inputs.clear();
        }
        cases.push(case);
    }
    let declared_absent: BTreeSet<String> = columns
        .iter()
        .filter(|column| inputs.iter().any(|input| input.name == **column))
        .map(|column| (*column).to_owned())
        .filter(|column| {
            cases.iter().all(|case| !case.inputs.contains_key(column) && case.problems.is_empty())
        })
        .collect();
    let sought =
        inputs.iter().map(|input| (input.name.clone(), format!("column `{}`", input.name))).collect();
    let root = path.to_owned();
    Ok(Cohort { kind, root, narrowed: false, cases, sought, declared_absent, notes: Vec::new() })
}

/// Rows of one case: which of them is meant, nobody knows.
fn doubled(path: &Path, rows: &[Row]) -> Problem {
    let places: Vec<&str> = rows.iter().map(|row| row.place.as_str()).collect();
    let (last, others) = places.split_last().unwrap_or((&"", &[]));
    let message = format!("{}: {} and {last} are of this one case", path.display(), others.join(", "));
    let hint = "a case has one row; tell visits apart in a column `session`".to_owned();
    Problem { input: None, message, candidates: Vec::new(), hint: Some(hint) }
}

fn case(
    row: &Row,
    columns: &[&str],
    inputs: &[InputSpec],
    folder: &Path,
    looked_for: &mut usize,
) -> CohortCase {
    let mut case = CohortCase::new(row.label.clone());
    for (column, cell) in &row.cells {
        let Some(cell) = cell else { continue };
        let Some(spec) = inputs.iter().find(|input| input.name == *column) else {
            case.columns.insert(column.clone(), cell.clone());
            continue;
        };
        match Given::of_cell(cell, spec, folder) {
            Err(wrong) => {
                let message = format!("{}: {wrong}", row.place);
                case.problems.push(Problem::of(column, message, "write it as in `1` or `0.5`"));
            }
            Ok(Given::File(path)) if !path.is_file() => {
                *looked_for += 1;
                case.problems.push(missing_file(&row.place, spec, &path, *looked_for <= MOST_LOOKED_FOR));
            }
            Ok(given) => {
                case.inputs.insert(column.clone(), given);
            }
        }
    }
    for input in inputs.iter().filter(|input| !columns.contains(&input.name.as_str())) {
        if let Some(near) = nearest(&input.name, columns.iter().copied().filter(|c| !is_input(c, inputs))) {
            let miss = NearMiss {
                file: format!("column `{near}`"),
                differs: vec![format!("is not called `{}`", input.name)],
            };
            case.near_misses.insert(input.name.clone(), vec![miss]);
        }
    }
    case
}

fn is_input(column: &str, inputs: &[InputSpec]) -> bool {
    inputs.iter().any(|input| input.name == column)
}

fn missing_file(place: &str, spec: &InputSpec, path: &Path, look: bool) -> Problem {
    let what = if path.is_dir() { "is a folder" } else { "there is no such file" };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let siblings = path.parent().filter(|_| look).map(std::fs::read_dir).into_iter().flatten().flatten();
    let siblings: Vec<String> = siblings
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let hint = match nearest(&name, siblings.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{}`?", path.with_file_name(near).display()),
        None => "paths are relative to the table; write `n/a` if the case has no such file".to_owned(),
    };
    let kind = if spec.kind == Kind::File { String::new() } else { format!(" ({})", spec.kind) };
    Problem::of(&spec.name, format!("{place}: `{}`{kind}: {what}", path.display()), hint)
}
