//! Tables as they are shown: titles instead of column names, digits by unit.

use sdk::serde::Serialize;
use sdk::{Cell, Table};

/// A table for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Shown {
    /// The columns.
    pub columns: Vec<ShownColumn>,
    /// The rows.
    pub rows: Vec<ShownRow>,
}

/// A column's title.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct ShownColumn {
    /// Name in the data.
    pub name: String,
    /// Title above the column, without unit.
    pub title: String,
    /// Unit; empty for counts and words.
    pub unit: String,
    /// What it tells.
    pub about: String,
    /// Whether it holds numbers, which stand right.
    pub numeric: bool,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct ShownRow {
    /// Number of the lesion or candidate, if it has one.
    pub id: Option<u64>,
    /// The cells.
    pub cells: Vec<ShownCell>,
}

/// A cell: as shown, and as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct ShownCell {
    /// For people.
    pub text: String,
    /// The value.
    pub value: Cell,
}

/// Titles of the columns of this project's tables. Others are shown under their own names.
const TITLES: &[(&str, &str)] = &[
    ("lesion", "Lesion"),
    ("id", "Candidate"),
    ("class", "Class"),
    ("rule", "Rule that decided"),
    ("edge_mm", "Depth below edge"),
    ("black_blood", "Black-blood contrast"),
    ("rules_off", "Rules off"),
    ("volume_mm3", "Volume"),
    ("volume_ml", "Volume"),
    ("voxels", "Voxels"),
    ("longest_diameter_mm", "Longest diameter"),
    ("longest_diameter_centre_mm", "Between centres"),
    ("longest_axial_diameter_mm", "Longest axial"),
    ("perpendicular_mm", "Perpendicular"),
    ("axial_slice", "Axial slice"),
    ("mean_score", "Mean score"),
    ("max_score", "Max score"),
    ("contrast_ratio", "Contrast ratio"),
    ("touches_mask_edge", "At mask edge"),
    ("measurable", "Measurable"),
];

/// Three columns that become one.
struct Merged {
    parts: [&'static str; 3],
    title: &'static str,
    unit: &'static str,
    about: &'static str,
    text: fn([f64; 3]) -> String,
}

const MERGED: [Merged; 2] = [
    Merged {
        parts: ["centroid_x", "centroid_y", "centroid_z"],
        title: "Centroid",
        unit: "mm",
        about: "centre of mass in the world: right or left, front (A) or back (P), up (S) or down (I)",
        text: place,
    },
    Merged {
        parts: ["centroid_i", "centroid_j", "centroid_k"],
        title: "Centroid",
        unit: "voxel",
        about: "centre of mass as voxel index, counted from 0 as stored in the file",
        text: |index| index.map(|i| format!("{i:.0}")).join(", "),
    },
];

impl Merged {
    /// The rule that merges a column of this name, and its place among the three.
    fn of(table: &Table, name: &str) -> Option<(&'static Self, usize)> {
        let rule = MERGED.iter().find(|rule| rule.parts.contains(&name))?;
        let whole = rule.parts.iter().all(|part| table.column(part).is_some());
        let part = rule.parts.iter().position(|part| *part == name)?;
        whole.then_some((rule, part))
    }

    fn cell(&self, table: &Table, row: &[Cell]) -> ShownCell {
        let part = |name: &str| row.get(table.column(name)?)?.number();
        let [Some(a), Some(b), Some(c)] = self.parts.map(part) else {
            return ShownCell { text: "–".to_owned(), value: Cell::Absent };
        };
        let exact = format!("{a} {b} {c}");
        ShownCell { text: (self.text)([a, b, c]), value: Cell::Text(exact) }
    }
}

/// `nmi_before` becomes `Nmi before`; a unit at the end goes, since it is shown apart.
fn title(name: &str, unit: &str) -> String {
    if let Some((_, title)) = TITLES.iter().find(|(known, _)| *known == name) {
        return (*title).to_owned();
    }
    let end = format!("_{}", unit.replace('^', ""));
    let words = name.strip_suffix(&end).filter(|_| !unit.is_empty()).unwrap_or(name).replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A number with the digits its unit deserves: millimetres to a tenth, millilitres to a thousandth, scores to a hundredth.
pub fn number(value: f64, unit: &str, name: &str) -> String {
    let whole = value.fract() == 0.0 && value.abs() < 1e15;
    match unit {
        "mm^3" | "mm3" if value >= 100.0 => format!("{value:.0}"),
        "mm" | "mm^3" | "mm3" => format!("{value:.1}"),
        "deg" => format!("{value:.2}"),
        "ml" => format!("{value:.3}"),
        _ if name.ends_with("score") || name.ends_with("ratio") => format!("{value:.2}"),
        _ if whole => format!("{value:.0}"),
        _ => format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

fn text(cell: &Cell, unit: &str, name: &str) -> String {
    match cell {
        Cell::Absent => "–".to_owned(),
        Cell::Bool(value) => if *value { "yes" } else { "no" }.to_owned(),
        Cell::Number(value) => number(*value, unit, name),
        // The filter's class is a word of the data: `below_size`.
        Cell::Text(value) if name == "class" => value.replace('_', " "),
        Cell::Text(value) => value.clone(),
    }
}

/// `R 12 · A 34 · S 56`: a place in the world in words of anatomy, whole millimetres.
fn place(world: [f64; 3]) -> String {
    let letters = [['R', 'L'], ['A', 'P'], ['S', 'I']];
    let part = |axis: usize| {
        let letter = letters[axis][usize::from(world[axis] < 0.0)];
        format!("{letter} {:.0}", world[axis].abs())
    };
    [0, 1, 2].map(part).join(" · ")
}

impl Shown {
    /// Shows a table; the three parts of a place become one column.
    pub fn of(table: &Table) -> Self {
        let later_part =
            |c: &usize| Merged::of(table, &table.columns[*c].name).is_some_and(|(_, part)| part > 0);
        let kept: Vec<usize> = (0..table.columns.len()).filter(|c| !later_part(c)).collect();
        let row = |cells: &Vec<Cell>| {
            let id = ["lesion", "id"].iter().find_map(|name| {
                cells.get(table.column(name)?)?.number().filter(|n| *n >= 0.0).map(|n| n as u64)
            });
            ShownRow { id, cells: kept.iter().map(|&c| cell(table, c, cells)).collect() }
        };
        Self {
            columns: kept.iter().map(|&c| column(table, c)).collect(),
            rows: table.rows.iter().map(row).collect(),
        }
    }
}

fn column(table: &Table, c: usize) -> ShownColumn {
    let column = &table.columns[c];
    if let Some((rule, _)) = Merged::of(table, &column.name) {
        return ShownColumn {
            name: "centroid".to_owned(),
            title: rule.title.to_owned(),
            unit: rule.unit.to_owned(),
            about: rule.about.to_owned(),
            numeric: false,
        };
    }
    let mut cells = table.rows.iter().filter_map(|row| row.get(c));
    ShownColumn {
        name: column.name.clone(),
        title: title(&column.name, &column.unit),
        unit: column.unit.replace("mm^3", "mm³").replace("deg", "°"),
        about: column.description.clone(),
        numeric: cells.any(|cell| matches!(cell, Cell::Number(_))),
    }
}

fn cell(table: &Table, c: usize, row: &[Cell]) -> ShownCell {
    let column = &table.columns[c];
    if let Some((rule, _)) = Merged::of(table, &column.name) {
        return rule.cell(table, row);
    }
    let value = row.get(c).cloned().unwrap_or(Cell::Absent);
    ShownCell { text: text(&value, &column.unit, &column.name), value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Column;

    #[test]
    fn a_measure_table_reads_like_a_report() {
        let columns = [
            ("lesion", ""),
            ("centroid_x", "mm"),
            ("centroid_y", "mm"),
            ("centroid_z", "mm"),
            ("volume_mm3", "mm^3"),
            ("drift_mm", "mm"),
            ("measurable", ""),
        ];
        let mut table = Table::new(columns.map(|(name, unit)| Column::new(name, unit, "")).to_vec());
        table.rows.push(vec![
            2usize.into(),
            (-12.4).into(),
            3.0.into(),
            40.6.into(),
            1234.56.into(),
            Cell::Absent,
            true.into(),
        ]);
        let shown = Shown::of(&table);
        let titles: Vec<&str> = shown.columns.iter().map(|c| c.title.as_str()).collect();
        assert_eq!(titles, ["Lesion", "Centroid", "Volume", "Drift", "Measurable"]);
        let texts: Vec<&str> = shown.rows[0].cells.iter().map(|c| c.text.as_str()).collect();
        assert_eq!(texts, ["2", "L 12 · A 3 · S 41", "1235", "–", "yes"]);
        assert_eq!(shown.rows[0].id, Some(2));
    }
}
