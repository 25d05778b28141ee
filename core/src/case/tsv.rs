//! Tab-separated tables.

use super::CohortError;
use std::path::{Path, PathBuf};

/// What stands for no value, as BIDS writes it.
pub(crate) const NOT_AVAILABLE: &str = "n/a";

/// A table with a head; no row is longer or shorter than the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tsv {
    /// The file.
    pub(crate) path: PathBuf,
    /// Names of columns; no two are the same.
    pub(crate) head: Vec<String>,
    /// Each with its line, counted from 1.
    pub(crate) rows: Vec<(usize, Vec<String>)>,
}

impl Tsv {
    /// Reads a table.
    ///
    /// # Errors
    /// [`CohortError`] if it cannot be read, has no head or two columns of one name, or a row of another length.
    pub(crate) fn read(path: &Path) -> Result<Self, CohortError> {
        let text = std::fs::read_to_string(path).map_err(|source| CohortError::unreadable(path, source))?;
        Self::parse(path, &text)
    }

    /// The table that a file holds.
    ///
    /// # Errors
    /// [`CohortError`] if it has no head or two columns of one name, or a row of another length.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, CohortError> {
        let wrong = |message: String, hint: &str| CohortError::table(path, message, hint);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let Some((_, head)) = lines.next().filter(|(_, head)| !head.trim().is_empty()) else {
            return Err(wrong(
                "line 1: no head".to_owned(),
                "the first line names the columns, with tabs between",
            ));
        };
        let cells = |line: &str| line.split('\t').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let head_cells = cells(head);
        let other = [(',', "commas"), (';', "semicolons")];
        if let Some((_, name)) = other.iter().find(|(c, _)| head_cells.len() == 1 && head.contains(*c)) {
            let hint = "columns are separated by tabs, as in all BIDS tables: save it as tab-separated text";
            return Err(wrong(format!("line 1: columns are separated by {name}"), hint));
        }
        if let Some(name) =
            head_cells.iter().enumerate().find_map(|(i, n)| head_cells[..i].contains(n).then_some(n))
        {
            return Err(wrong(format!("line 1: two columns are called `{name}`"), "rename or remove one"));
        }
        let mut rows = Vec::new();
        for (line, row) in lines.filter(|(_, row)| !row.trim().is_empty()) {
            let row = cells(row);
            if row.len() != head_cells.len() {
                let message =
                    format!("line {line}: {} cells, but the head has {}", row.len(), head_cells.len());
                return Err(wrong(
                    message,
                    "write `n/a` where there is no value; no tabs at the end of a line",
                ));
            }
            rows.push((line, row));
        }
        Ok(Self { path: path.to_owned(), head: head_cells, rows })
    }

    /// The index of a column.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.head.iter().position(|column| column == name)
    }
}

/// The cell's text; none for `n/a` and for an empty cell.
pub(crate) fn present(cell: &str) -> Option<&str> {
    (!cell.is_empty() && cell != NOT_AVAILABLE).then_some(cell)
}
