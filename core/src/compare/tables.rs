//! Two tables of tab-separated values, cell by cell.

use super::Verdict;
use super::measures::{CellDifference, Measures, Pair, TableMeasures};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Up to which share of the larger two numbers count as the same: sums in another order differ less.
pub(super) const RELATIVE_TOLERANCE: f64 = 1e-6;

/// Why a table cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    /// The file cannot be had, or is no text.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A row with too few or too many cells.
    #[error("{}, line {line}: {found} cells where the head has {expected}\nhint: is the file cut short?", path.display())]
    Ragged {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Cells of the row.
        found: usize,
        /// Cells of the head.
        expected: usize,
    },
}

/// A table as written.
struct Tsv {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Tsv {
    fn read(path: &Path) -> Result<Self, TableError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TableError::Unreadable { path: path.to_owned(), source })?;
        let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
        let mut lines = text.lines();
        let columns = lines.next().map(cells).unwrap_or_default();
        let mut rows = Vec::new();
        for (n, line) in lines.enumerate() {
            let row = cells(line);
            if row.len() != columns.len() {
                let (found, expected) = (row.len(), columns.len());
                return Err(TableError::Ragged { path: path.to_owned(), line: n + 2, found, expected });
            }
            rows.push(row);
        }
        Ok(Self { columns, rows })
    }

    /// Rows by their first cell; none if two rows share one.
    fn by_first(&self) -> Option<BTreeMap<&str, usize>> {
        let keys: BTreeMap<&str, usize> =
            self.rows.iter().enumerate().filter_map(|(n, row)| Some((row.first()?.as_str(), n))).collect();
        (keys.len() == self.rows.len()).then_some(keys)
    }
}

/// Compares two tables.
pub(super) fn compare(files: Pair<&Path>) -> Result<(Verdict, Measures), TableError> {
    let (a, b) = (Tsv::read(files.a)?, Tsv::read(files.b)?);
    let (rows, rows_by) = match_rows(&a, &b);
    let mut measures = TableMeasures {
        rows: Pair { a: a.rows.len(), b: b.rows.len() },
        columns_only: Pair { a: missing(&a, &b), b: missing(&b, &a) },
        rows_only: Pair { a: a.rows.len() - rows.len(), b: b.rows.len() - rows.len() },
        rows_by,
        cells: 0,
        cells_differ: 0,
        largest: None,
    };
    let place = |name: &String| b.columns.iter().position(|column| column == name);
    let columns: Vec<(usize, usize)> =
        a.columns.iter().enumerate().filter_map(|(n, name)| Some((n, place(name)?))).collect();
    for (row, in_a, in_b) in &rows {
        for &(from, to) in &columns {
            let cell = Pair { a: a.rows[*in_a][from].as_str(), b: b.rows[*in_b][to].as_str() };
            look_at(&mut measures, &a.columns[from], row, cell);
        }
    }
    let whole = measures.rows_only == Pair::default() && measures.columns_only == Pair::default();
    let verdict = if whole && measures.cells_differ == 0 { Verdict::Close } else { Verdict::Differs };
    Ok((verdict, Measures::Table(measures)))
}

fn missing(of: &Tsv, other: &Tsv) -> Vec<String> {
    of.columns.iter().filter(|column| !other.columns.contains(column)).cloned().collect()
}

/// Rows that both have, each with its name and its place in each table, and the column they are matched by.
///
/// The first column names rows if it has no doubles and at least half of the shorter table's names are in the other: measured
/// numbers in a first column name nothing.
fn match_rows(a: &Tsv, b: &Tsv) -> (Vec<(String, usize, usize)>, Option<String>) {
    let shorter = a.rows.len().min(b.rows.len());
    if let (Some(in_a), Some(in_b), Some(column)) = (a.by_first(), b.by_first(), a.columns.first())
        && b.columns.first() == Some(column)
    {
        let both = in_a.iter().filter_map(|(key, n)| Some(((*key).to_owned(), *n, *in_b.get(key)?)));
        let both: Vec<(String, usize, usize)> = both.collect();
        if 2 * both.len() >= shorter {
            return (both, Some(column.clone()));
        }
    }
    ((0..shorter).map(|n| ((n + 1).to_string(), n, n)).collect(), None)
}

/// The difference of two numbers as a share of the larger; 0 for equal ones.
pub(super) fn relative(a: f64, b: f64) -> f64 {
    let larger = a.abs().max(b.abs());
    if larger == 0.0 { 0.0 } else { (a - b).abs() / larger }
}

fn look_at(measures: &mut TableMeasures, column: &str, row: &str, cell: Pair<&str>) {
    measures.cells += 1;
    if cell.a == cell.b {
        return;
    }
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let (Some(a), Some(b)) = (number(cell.a), number(cell.b)) else {
        measures.cells_differ += 1;
        return;
    };
    let relative = relative(a, b);
    measures.cells_differ += usize::from(relative > RELATIVE_TOLERANCE);
    if measures.largest.as_ref().is_none_or(|largest| largest.relative < relative) {
        let value = Pair { a, b };
        let (column, row) = (column.to_owned(), row.to_owned());
        measures.largest = Some(CellDifference { column, row, value, relative });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(a: &str, b: &str) -> Result<(Verdict, TableMeasures), TableError> {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.tsv", "b.tsv"].map(|name| folder.path().join(name));
        std::fs::write(&paths[0], a).unwrap();
        std::fs::write(&paths[1], b).unwrap();
        compare(Pair { a: &paths[0], b: &paths[1] }).map(|(verdict, measures)| match measures {
            Measures::Table(measures) => (verdict, measures),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn rows_are_matched_by_a_first_column_without_doubles() {
        let (verdict, m) = compared(
            "lesion\tvolume\tplace\n1\t10\tleft\n2\t20\tright\n3\t5\tleft\n",
            "lesion\tplace\tvolume\n3\tleft\t5\n1\tright\t8\n4\tleft\t1\n",
        )
        .unwrap();
        assert_eq!(verdict, Verdict::Differs);
        assert_eq!(m.rows_by.as_deref(), Some("lesion"));
        assert_eq!((m.rows, m.rows_only), (Pair { a: 3, b: 3 }, Pair { a: 1, b: 1 }));
        assert_eq!((m.cells, m.cells_differ), (6, 2));
        let largest = m.largest.unwrap();
        assert_eq!((largest.column.as_str(), largest.row.as_str(), largest.relative), ("volume", "1", 0.2));
    }

    #[test]
    fn rows_without_a_name_are_matched_by_place_and_columns_may_be_missing() {
        let (verdict, m) = compared("x\ty\n1\t2\n1\t3\n", "x\tz\n1\t2\n1\t3\n1\t4\n").unwrap();
        assert_eq!((verdict, m.rows_by), (Verdict::Differs, None));
        assert_eq!(m.columns_only, Pair { a: vec!["y".to_owned()], b: vec!["z".to_owned()] });
        assert_eq!((m.cells, m.cells_differ, m.rows_only), (2, 0, Pair { a: 0, b: 1 }));
    }

    #[test]
    fn measured_numbers_in_the_first_column_name_no_rows() {
        let (_, m) = compared("volume_ml\tsmooth\n2081.9\t1\n", "volume_ml\tsmooth\n1907.6\t1\n").unwrap();
        assert_eq!((m.rows_by, m.rows_only), (None, Pair { a: 0, b: 0 }));
        assert_eq!((m.cells, m.cells_differ), (2, 1));
    }

    #[test]
    fn rounding_is_close_and_an_absent_cell_is_a_difference() {
        let close = compared("x\ty\n1\t0.30000000000000004\n", "x\ty\n1\t0.3\n").unwrap();
        assert_eq!((close.0, close.1.cells_differ), (Verdict::Close, 0));
        let absent = compared("x\ty\n1\t0.3\n", "x\ty\n1\tn/a\n").unwrap();
        assert_eq!((absent.0, absent.1.cells_differ, absent.1.largest), (Verdict::Differs, 1, None));
    }

    #[test]
    fn a_table_that_is_cut_short_is_named_with_its_line() {
        let error = compared("x\ty\n1\t2\n", "x\ty\n1\t2\n3\n").unwrap_err().to_string();
        assert!(error.contains("b.tsv, line 3: 1 cells where the head has 2"), "{error}");
    }
}
