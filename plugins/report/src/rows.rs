//! One table of all candidates: the filter's verdicts and, for accepted ones, the measures.

use crate::tables::{Shown, ShownCell, ShownColumn, ShownRow};
use sdk::serde::Serialize;
use sdk::{Cell, Column, Table};
use std::collections::BTreeMap;

/// All candidates, with what matters in columns and the rest below.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Listed {
    /// The columns of [`ListedRow::cells`].
    pub columns: Vec<ShownColumn>,
    /// Candidates in the filter's order.
    pub rows: Vec<ListedRow>,
    /// Candidates of each class, of those listed.
    pub classes: Vec<(String, usize)>,
    /// Candidates that are in the tables but not here.
    pub omitted: usize,
}

/// A candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct ListedRow {
    /// Its number, as in the label volumes.
    pub id: Option<u64>,
    /// `accepted`, `below_size`, `rejected`.
    pub class: String,
    /// What matters.
    pub cells: Vec<ShownCell>,
    /// Everything else: title with unit, and value.
    pub more: Vec<(String, String)>,
}

/// More would make the page slow; a score of an untrained network can have thousands.
const MOST_ROWS: usize = 400;

/// Names and units of the columns that stand side by side, in this order.
const MAIN: [(&str, Option<&str>); 8] = [
    ("volume_mm3", None),
    ("longest_axial_diameter_mm", None),
    ("perpendicular_mm", None),
    ("max_score", None),
    ("measurable", None),
    ("axial_slice", None),
    ("centroid", Some("mm")),
    ("rule", None),
];

/// The parts of a verdict, which are shown as one.
const VERDICT: [&str; 3] = ["rule", "value", "limit"];

fn is_main(column: &ShownColumn) -> bool {
    MAIN.iter().any(|(name, unit)| column.name == *name && unit.is_none_or(|unit| column.unit == unit))
}

fn main_column<'a>(shown: &'a Shown, wanted: &(&str, Option<&str>)) -> Option<(usize, &'a ShownColumn)> {
    let (name, unit) = wanted;
    let mut columns = shown.columns.iter().enumerate();
    columns.find(|(_, column)| column.name == *name && unit.is_none_or(|unit| column.unit == unit))
}

/// The cell of a column by name.
fn named<'a>(shown: &Shown, row: &'a ShownRow, name: &str) -> Option<&'a ShownCell> {
    row.cells.get(shown.columns.iter().position(|column| column.name == name)?)
}

impl Listed {
    /// Joins the measures of accepted lesions and the filter's list by number.
    pub fn of(lesions: Option<&Shown>, candidates: Option<&Shown>) -> Self {
        let empty = Shown::default();
        let (lesions, candidates) = (lesions.unwrap_or(&empty), candidates.unwrap_or(&empty));
        let wanted: Vec<&(&str, Option<&str>)> = MAIN
            .iter()
            .filter(|w| main_column(lesions, w).is_some() || main_column(candidates, w).is_some())
            .collect();
        let columns = wanted.iter().filter_map(|w| {
            let (_, column) = main_column(lesions, w).or_else(|| main_column(candidates, w))?;
            let verdict = column.name == "rule";
            Some(ShownColumn { numeric: column.numeric && !verdict, ..column.clone() })
        });
        let measured: BTreeMap<u64, &ShownRow> =
            lesions.rows.iter().filter_map(|row| Some((row.id?, row))).collect();
        let listed = |row: &ShownRow| candidates.rows.iter().any(|c| c.id.is_some() && c.id == row.id);
        let alone = lesions.rows.iter().filter(|row| !listed(row)).map(|row| (Some(row), None));
        let judged =
            candidates.rows.iter().map(|row| (row.id.and_then(|id| measured.get(&id).copied()), Some(row)));
        let all: Vec<ListedRow> = alone
            .chain(judged)
            .take(MOST_ROWS)
            .map(|(measures, verdict)| {
                row(&wanted, measures.map(|row| (lesions, row)), verdict.map(|row| (candidates, row)))
            })
            .collect();
        let mut classes: Vec<(String, usize)> = Vec::new();
        for row in &all {
            match classes.iter_mut().find(|(class, _)| *class == row.class) {
                Some((_, count)) => *count += 1,
                None => classes.push((row.class.clone(), 1)),
            }
        }
        let total = lesions.rows.iter().filter(|row| !listed(row)).count() + candidates.rows.len();
        Self { columns: columns.collect(), omitted: total - all.len(), rows: all, classes }
    }
}

/// A row of a table, with the table's columns.
type Of<'a> = Option<(&'a Shown, &'a ShownRow)>;

fn row(wanted: &[&(&str, Option<&str>)], measures: Of<'_>, verdict: Of<'_>) -> ListedRow {
    let sources = [measures, verdict];
    let class = verdict.and_then(|(shown, row)| named(shown, row, "class")?.value.text());
    let class = match class {
        None | Some("accepted") => "accepted",
        Some("below_size") => "below_size",
        Some(_) => "rejected",
    };
    let cell = |w: &&(&str, Option<&str>)| {
        if w.0 == "rule" {
            return judged(verdict, class);
        }
        let found = sources.into_iter().flatten().find_map(|(shown, row)| {
            let (n, _) = main_column(shown, w)?;
            row.cells.get(n).filter(|cell| cell.value != Cell::Absent)
        });
        found.cloned().unwrap_or_else(|| ShownCell { text: "–".to_owned(), value: Cell::Absent })
    };
    let mut more: Vec<(String, String)> = Vec::new();
    for (shown, row) in sources.into_iter().flatten() {
        let pairs = shown.columns.iter().zip(&row.cells);
        for (column, cell) in pairs.filter(|(column, cell)| is_detail(column) && cell.value != Cell::Absent) {
            let unit = if column.unit.is_empty() { String::new() } else { format!(", {}", column.unit) };
            let title = format!("{}{unit}", column.title);
            if !more.iter().any(|(known, _)| *known == title) {
                more.push((title, cell.text.clone()));
            }
        }
    }
    let id = sources.into_iter().flatten().find_map(|(_, row)| row.id);
    ListedRow { id, class: class.to_owned(), cells: wanted.iter().map(cell).collect(), more }
}

/// Whether a column is told below the row: all but the main ones, the number, the class and the verdict.
fn is_detail(column: &ShownColumn) -> bool {
    let told =
        ["id", "lesion", "class"].contains(&column.name.as_str()) || VERDICT.contains(&column.name.as_str());
    !told && !is_main(column)
}

/// The rule that decided with its value and limit; nothing for what was accepted.
fn judged(verdict: Of<'_>, class: &str) -> ShownCell {
    let absent = ShownCell { text: "–".to_owned(), value: Cell::Absent };
    let Some((shown, row)) = verdict.filter(|_| class != "accepted") else { return absent };
    let [rule, value, limit] =
        VERDICT.map(|name| named(shown, row, name).filter(|c| c.value != Cell::Absent));
    let Some(rule) = rule else { return absent };
    let text = match (value, limit) {
        (Some(value), Some(limit)) => format!("{}: {} (limit {})", rule.text, value.text, limit.text),
        _ => rule.text.clone(),
    };
    ShownCell { text, value: rule.value.clone() }
}

/// A candidate's rows in the tables of measures and of verdicts.
type Pair<'a> = (Option<&'a Vec<Cell>>, Option<&'a Vec<Cell>>);

/// The same as a table for programs: all candidates with verdict and, for accepted ones, every measure.
pub fn joined(lesions: Option<&Table>, candidates: Option<&Table>) -> Table {
    let empty = Table::default();
    let (lesions, candidates) = (lesions.unwrap_or(&empty), candidates.unwrap_or(&empty));
    let id = |table: &Table, row: &[Cell]| {
        ["lesion", "id"].iter().find_map(|name| row.get(table.column(name)?)?.number()).map(|id| id as u64)
    };
    let own = |column: &&Column| !["lesion", "id", "class"].contains(&column.name.as_str());
    let mut table = Table::new(vec![
        Column::new("lesion", "", "number of the candidate in the label volumes"),
        Column::new("class", "", "`accepted`, `below_size` or `rejected`"),
    ]);
    table.columns.extend(lesions.columns.iter().filter(own).cloned());
    let further = candidates.columns.iter().filter(own).filter(|c| lesions.column(&c.name).is_none());
    table.columns.extend(further.cloned());
    let mut rows: BTreeMap<(bool, u64), Pair<'_>> = BTreeMap::new();
    // Rows without a number stay, each by itself.
    let key = |id: Option<u64>, n: usize| (id.is_none(), id.unwrap_or(n as u64));
    for (n, row) in lesions.rows.iter().enumerate() {
        rows.entry(key(id(lesions, row), n)).or_default().0 = Some(row);
    }
    for (n, row) in candidates.rows.iter().enumerate() {
        rows.entry(key(id(candidates, row), lesions.rows.len() + n)).or_default().1 = Some(row);
    }
    for ((unnumbered, number), (measures, verdict)) in rows {
        let sources = [measures.map(|row| (lesions, row)), verdict.map(|row| (candidates, row))];
        let cell = |name: &str| {
            let found = sources.iter().flatten().find_map(|(table, row)| row.get(table.column(name)?));
            found.cloned().unwrap_or(Cell::Absent)
        };
        let class = if cell("class") == Cell::Absent { "accepted".into() } else { cell("class") };
        let number = if unnumbered { Cell::Absent } else { (number as usize).into() };
        let others = table.columns[2..].iter().map(|column| cell(&column.name));
        table.rows.push([number, class].into_iter().chain(others).collect());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(columns: &[&str], rows: &[&[Cell]]) -> Shown {
        let mut table = Table::new(columns.iter().map(|name| Column::new(name, "", "")).collect());
        table.rows = rows.iter().map(|row| row.to_vec()).collect();
        Shown::of(&table)
    }

    #[test]
    fn measures_and_verdicts_of_one_number_share_a_row() {
        let lesions =
            shown(&["lesion", "volume_mm3", "perpendicular_mm"], &[&[1.into(), 20.0.into(), 3.0.into()]]);
        let candidates = shown(
            &["id", "class", "rule", "value", "limit", "volume_mm3", "voxels"],
            &[
                &[
                    1.into(),
                    "accepted".into(),
                    "min_volume_mm3".into(),
                    20.0.into(),
                    10.0.into(),
                    20.0.into(),
                    20.into(),
                ],
                &[
                    2.into(),
                    "rejected".into(),
                    "max_elongation".into(),
                    6.5.into(),
                    4.0.into(),
                    12.0.into(),
                    12.into(),
                ],
            ],
        );
        let listed = Listed::of(Some(&lesions), Some(&candidates));
        let texts: Vec<Vec<&str>> =
            listed.rows.iter().map(|row| row.cells.iter().map(|cell| cell.text.as_str()).collect()).collect();
        assert_eq!(texts, [vec!["20", "3", "–"], vec!["12", "–", "max_elongation: 6.5 (limit 4)"]]);
        assert_eq!(listed.rows[1].more, [("Voxels".to_owned(), "12".to_owned())]);
        assert_eq!(listed.classes, [("accepted".to_owned(), 1), ("rejected".to_owned(), 1)]);
    }

    #[test]
    fn the_joined_table_has_every_candidate_and_every_column_once() {
        let column = |name: &&str| Column::new(name, "", "");
        let mut lesions = Table::new(["lesion", "voxels", "perpendicular_mm"].iter().map(column).collect());
        lesions.rows = vec![vec![1.into(), 20.into(), 3.0.into()]];
        let mut candidates = Table::new(["id", "class", "voxels", "rule"].iter().map(column).collect());
        candidates.rows = vec![
            vec![1.into(), "accepted".into(), 20.into(), "min_volume_mm3".into()],
            vec![2.into(), "rejected".into(), 4.into(), "max_elongation".into()],
        ];
        let table = joined(Some(&lesions), Some(&candidates));
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["lesion", "class", "voxels", "perpendicular_mm", "rule"]);
        let second: Vec<Cell> =
            vec![2.into(), "rejected".into(), 4.into(), Cell::Absent, "max_elongation".into()];
        assert_eq!(table.rows[1], second);
        assert!(joined(None, None).rows.is_empty());
    }

    #[test]
    fn either_table_alone_is_enough_and_thousands_are_cut() {
        let rows: Vec<Vec<Cell>> = (1..=1000usize).map(|n| vec![n.into(), 3.0.into()]).collect();
        let rows: Vec<&[Cell]> = rows.iter().map(Vec::as_slice).collect();
        let listed = Listed::of(Some(&shown(&["lesion", "volume_mm3"], &rows)), None);
        assert_eq!((listed.rows.len(), listed.omitted), (MOST_ROWS, 1000 - MOST_ROWS));
        assert_eq!(listed.rows[6].id, Some(7));
        assert_eq!(Listed::of(None, None), Listed::default());
    }
}
