//! Adds a reviewed case to a table of cases with truth, from which a model is trained.

use crate::case::{CaseLabel, CohortError, Tsv};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The column of labels in new tables, and of sessions where a table has one.
const LABEL: &str = "participant_id";
/// Columns that hold a case's label or subject, as cohorts know them.
const LABELS: [&str; 3] = [LABEL, "case", "subject"];
/// Columns that hold its session.
const SESSIONS: [&str; 2] = ["session", "session_id"];
/// What stands for no value, as BIDS writes it.
const NOT_AVAILABLE: &str = "n/a";

/// Why a case cannot be added to a training table.
#[derive(Debug, thiserror::Error)]
pub enum TrainingTableError {
    /// The table is none.
    #[error(transparent)]
    Table(#[from] CohortError),
    /// It cannot be written.
    #[error("cannot write {}: {source}\nhint: is there space, and may you write there?", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A path that a table cannot hold.
    #[error("{}: `{column}` would be `{cell}`, and a table of tabs cannot hold that\nhint: rename the folder", path.display())]
    Cell {
        /// The table.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it would be.
        cell: String,
    },
}

/// Puts the row of a case into a table: in the place of its row, else at the end. Columns that the table lacks are added.
/// Returns whether the table changed. It is written whole or not at all, and two that write at once wait for each other.
///
/// # Errors
/// [`TrainingTableError`]; the table is then as it was.
pub fn put_row(
    path: &Path,
    label: &CaseLabel,
    cells: &[(String, String)],
) -> Result<bool, TrainingTableError> {
    if let Some((column, cell)) = cells.iter().find(|(_, cell)| cell.contains(['\t', '\n', '\r'])) {
        let (path, column, cell) = (path.to_owned(), column.clone(), cell.escape_debug().to_string());
        return Err(TrainingTableError::Cell { path, column, cell });
    }
    let io = |source| TrainingTableError::Io { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Held until this returns. The folder, since the table itself is replaced.
    let lock = std::fs::File::open(folder).map_err(io)?;
    lock.lock().map_err(io)?;
    let old = if path.is_file() { Some(Tsv::read(path)?) } else { None };
    let before = old.as_ref().map(|_| std::fs::read_to_string(path).map_err(io)).transpose()?;
    let text = with_row(old, label, cells);
    if before.as_deref() == Some(text.as_str()) {
        return Ok(false);
    }
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    if let Ok(data) = path.metadata() {
        file.as_file().set_permissions(data.permissions()).map_err(io)?;
    }
    file.persist(path).map_err(|error| io(error.error))?;
    lock.sync_all().map_err(io)?;
    Ok(true)
}

fn with_row(old: Option<Tsv>, label: &CaseLabel, cells: &[(String, String)]) -> String {
    let (mut head, mut rows) = match old {
        Some(table) => (table.head, table.rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>()),
        None => (vec![LABEL.to_owned()], Vec::new()),
    };
    let find =
        |head: &[String], names: &[&str]| names.iter().find_map(|name| head.iter().position(|c| c == name));
    let key = find(&head, &LABELS).unwrap_or_else(|| {
        head.insert(0, LABEL.to_owned());
        for row in &mut rows {
            row.insert(0, NOT_AVAILABLE.to_owned());
        }
        0
    });
    let session = find(&head, &SESSIONS);
    for (name, _) in cells.iter().filter(|(name, _)| !head.contains(name)).cloned().collect::<Vec<_>>() {
        head.push(name);
        for row in &mut rows {
            row.push(NOT_AVAILABLE.to_owned());
        }
    }
    let of_row = |row: &[String]| {
        let visit = session
            .map(|session| row[session].as_str())
            .filter(|visit| !visit.is_empty() && *visit != NOT_AVAILABLE);
        let text = match visit {
            Some(visit) => format!("{}_ses-{}", row[key], visit.strip_prefix("ses-").unwrap_or(visit)),
            None => row[key].clone(),
        };
        CaseLabel::parse(&text).ok()
    };
    let place = rows.iter().position(|row| of_row(row).as_ref() == Some(label)).unwrap_or_else(|| {
        let mut row = vec![NOT_AVAILABLE.to_owned(); head.len()];
        match (session, &label.session) {
            (Some(column), Some(visit)) => {
                row[key] = format!("sub-{}", label.subject);
                row[column] = format!("ses-{visit}");
            }
            _ => row[key] = label.to_string(),
        }
        rows.push(row);
        rows.len() - 1
    });
    for (column, name) in head.iter().enumerate() {
        if let Some((_, cell)) = cells.iter().find(|(known, _)| known == name) {
            rows[place][column].clone_from(cell);
        }
    }
    let line = |row: &Vec<String>| row.join("\t") + "\n";
    line(&head) + &rows.iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(truth: &str) -> Vec<(String, String)> {
        vec![("bravo".to_owned(), "/raw/b.nii.gz".to_owned()), ("truth".to_owned(), truth.to_owned())]
    }

    #[test]
    fn a_case_has_one_row_and_other_columns_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cases.tsv");
        let label = |text| CaseLabel::parse(text).unwrap();
        assert!(put_row(&path, &label("sub-01"), &cells("/out/1.nii.gz")).unwrap());
        assert!(!put_row(&path, &label("sub-01"), &cells("/out/1.nii.gz")).unwrap(), "nothing to change");
        assert!(put_row(&path, &label("sub-02_ses-b"), &cells("/out/2.nii.gz")).unwrap());
        assert!(put_row(&path, &label("sub-01"), &cells("/out/new.nii.gz")).unwrap());
        let text = "participant_id\tbravo\ttruth\nsub-01\t/raw/b.nii.gz\t/out/new.nii.gz\n\
                    sub-02_ses-b\t/raw/b.nii.gz\t/out/2.nii.gz\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let known = "participant_id\tsession\tsplit\tbravo\nsub-01\t1\tdev\told\n";
        std::fs::write(&path, known).unwrap();
        put_row(&path, &label("sub-01_ses-1"), &cells("t")).unwrap();
        put_row(&path, &label("sub-01_ses-2"), &cells("t")).unwrap();
        let text = "participant_id\tsession\tsplit\tbravo\ttruth\nsub-01\t1\tdev\t/raw/b.nii.gz\tt\n\
                    sub-01\tses-2\tn/a\t/raw/b.nii.gz\tt\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn of_many_that_write_at_once_no_row_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cases.tsv");
        std::thread::scope(|scope| {
            for n in 0..12 {
                let path = &path;
                scope.spawn(move || {
                    let label = CaseLabel::parse(&format!("sub-{n:02}")).unwrap();
                    put_row(path, &label, &cells("t")).unwrap();
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 13);
    }

    #[test]
    fn what_is_no_table_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cases.tsv");
        std::fs::write(&path, "participant_id,truth\nsub-01,x\n").unwrap();
        let label = CaseLabel::parse("sub-01").unwrap();
        let error = put_row(&path, &label, &cells("t")).unwrap_err().to_string();
        assert!(error.contains("columns are separated by commas"), "{error}");
        let odd = vec![("truth".to_owned(), "a\tb".to_owned())];
        assert!(matches!(put_row(&path, &label, &odd), Err(TrainingTableError::Cell { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "participant_id,truth\nsub-01,x\n");
    }
}
