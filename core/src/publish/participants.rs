//! `participants.tsv` and `participants.json` at the root of a data set: who is in it, and what the raw data set says of them.
//!
//! Participants are those whose folders are there. Their rows in the table of the raw data set are copied, with the columns'
//! descriptions; all else that stands in the files stays. A cell that was copied gives way to what the raw table says now, a cell
//! that somebody wrote here does not. Which is which is known by small files in the state folder, one for each row that was
//! copied, written before the table is: `participants/sub-01/DIGEST` holds digests of the row's cells, not the cells.
//!
//! Several processes may publish at once: each makes the files from these names and looks again, as all that is at the root of a
//! data set is settled.

use super::dataset::settle;
use super::{Place, PublishError};
use crate::case::{NOT_AVAILABLE, Tsv, present};
use crate::record::write_new;
use crate::store::Digest;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The table's name.
const TABLE: &str = "participants.tsv";
/// The name of the file that describes its columns.
const DESCRIPTIONS: &str = "participants.json";
/// The column that names them.
const KEY: &str = "participant_id";
/// Whose digests those of the columns and their descriptions are; no participant is called so.
const COLUMNS: &str = "columns";

/// Adds the participants whose folders are there to the table of the data set at `within`, each before the first that comes
/// after it by name; in the outermost with what the raw data set says of them.
pub(super) fn list(place: &Place, within: &Path) -> Result<(), PublishError> {
    let root = place.out.join(within);
    let told = || place.told.as_deref().filter(|_| within.as_os_str().is_empty()).and_then(Told::read);
    settle(place, &root.join(TABLE), |before| {
        let there = participants(&root);
        let listed = with_participants(before, there.clone());
        told().map_or(Ok(listed.clone()), |told| told.copied_to(place, &listed, &there))
    })?;
    settle(place, &root.join(DESCRIPTIONS), |before| {
        told().map_or_else(|| Ok(before.to_owned()), |told| told.described_in(place, before))
    })
}

/// Whether the raw data set says anything of its participants.
pub(super) fn are_told_of(place: &Place) -> bool {
    place.told.as_deref().and_then(Told::read).is_some()
}

/// Brings the tables to what the raw data set says now, if participants are there already.
pub(super) fn refresh(place: &Place) -> Result<(), PublishError> {
    if are_told_of(place) && !participants(&place.out).is_empty() {
        list(place, Path::new(""))?;
    }
    Ok(())
}

/// The participants whose folders are there: `sub-01`.
fn participants(root: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let is_folder = |entry: &std::fs::DirEntry| match entry.file_type() {
        // Only a link has to be looked at: there may be thousands of folders on a slow disk.
        Ok(kind) if !kind.is_symlink() => kind.is_dir(),
        _ => entry.path().is_dir(),
    };
    let named = entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry)));
    named.filter(|(name, entry)| name.starts_with("sub-") && is_folder(entry)).map(|(name, _)| name).collect()
}

fn with_participants(before: &str, mut missing: BTreeSet<String>) -> String {
    let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        lines.push(KEY.to_owned());
    }
    let columns = lines[0].split('\t').count();
    let id = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    for line in &lines {
        missing.remove(&id(line));
    }
    for subject in missing {
        let after = lines.iter().skip(1).position(|line| id(line) > subject);
        let row = format!("{subject}{}", format!("\t{NOT_AVAILABLE}").repeat(columns - 1));
        lines.insert(after.map_or(lines.len(), |index| index + 1), row);
    }
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// What the raw data set says of its participants. It is read each time it is needed, since it may change.
struct Told {
    /// Without the key.
    columns: Vec<String>,
    /// A cell for each column, by participant: `sub-01`.
    rows: BTreeMap<String, Vec<String>>,
    /// By column.
    descriptions: Map<String, Json>,
}

impl Told {
    /// None if there is no table that can be read, or nothing but names in it.
    fn read(raw: &Path) -> Option<Self> {
        let path = raw.join(TABLE);
        if !path.is_file() {
            return None;
        }
        let table = Tsv::read(&path)
            .inspect_err(|error| tracing::warn!("nothing is copied of participants: {error}"))
            .ok()?;
        let key = table.column(KEY)?;
        let without_key = |row: &[String]| {
            row.iter().enumerate().filter(|(index, _)| *index != key).map(|(_, cell)| cell.clone()).collect()
        };
        let columns: Vec<String> = without_key(&table.head);
        if columns.is_empty() {
            return None;
        }
        let id = |cell: &str| format!("sub-{}", cell.strip_prefix("sub-").unwrap_or(cell));
        let rows = table.rows.iter().map(|(_, row)| (id(&row[key]), without_key(row))).collect();
        let text = std::fs::read_to_string(raw.join(DESCRIPTIONS)).unwrap_or_default();
        let mut descriptions = parse(&text).unwrap_or_default();
        descriptions.retain(|column, _| column == KEY || columns.contains(column));
        Some(Self { columns, rows, descriptions })
    }

    /// A table with the rows of those who are `there`; as it was, if it is none that can be read.
    fn copied_to(
        &self,
        place: &Place,
        before: &str,
        there: &BTreeSet<String>,
    ) -> Result<String, PublishError> {
        let Some(mut table) = Tsv::parse(Path::new(TABLE), before).ok().filter(|table| table.head[0] == KEY)
        else {
            return Ok(before.to_owned());
        };
        let old = table.clone();
        let own: Vec<String> =
            table.head.iter().skip(1).filter(|column| !self.columns.contains(column)).cloned().collect();
        table.head = [KEY.to_owned()].into_iter().chain(self.columns.clone()).chain(own.clone()).collect();
        let heads = Copies { place, of: COLUMNS };
        let no_longer: BTreeSet<&String> =
            own.iter().filter(|column| heads.hold(column, &Json::Null)).collect();
        for (_, row) in &mut table.rows {
            let cell =
                |column: &String| old.column(column).map_or(NOT_AVAILABLE, |index| row[index].as_str());
            let id = row[0].clone();
            let told = self.rows.get(&id).filter(|_| there.contains(&id));
            let copies = Copies { place, of: &id };
            let mut new = vec![id.clone()];
            for (index, column) in self.columns.iter().enumerate() {
                let now = told.map(|told| told[index].as_str());
                new.push(copies.settled(column, cell(column), now).to_owned());
            }
            if let Some(told) =
                told.filter(|_| self.columns.iter().zip(&new[1..]).any(|(c, new)| new != cell(c)))
            {
                let cells = self.columns.iter().zip(told);
                copies.note(cells.map(|(column, cell)| (column.as_str(), json!(cell))))?;
                heads.note(self.columns.iter().map(|column| (column.as_str(), Json::Null)))?;
            }
            for column in &own {
                let now = told.filter(|_| no_longer.contains(column)).map(|_| NOT_AVAILABLE);
                new.push(copies.settled(column, cell(column), now).to_owned());
            }
            *row = new;
        }
        for column in no_longer {
            remove_if_empty(&mut table, column);
        }
        Ok(if table == old { before.to_owned() } else { text_of(&table) })
    }

    /// The descriptions of columns with those of the raw data set; as they were, if they cannot be read.
    fn described_in(&self, place: &Place, before: &str) -> Result<String, PublishError> {
        let Some(old) = parse(before) else { return Ok(before.to_owned()) };
        let copies = Copies { place, of: COLUMNS };
        let mut new = old.clone();
        new.retain(|column, text| self.descriptions.contains_key(column) || !copies.hold(column, text));
        for (column, text) in &self.descriptions {
            let stays = new.get(column).is_some_and(|before| before != text && !copies.hold(column, before));
            if !stays {
                new.insert(column.clone(), text.clone());
            }
        }
        if new == old {
            return Ok(before.to_owned());
        }
        copies.note(self.descriptions.iter().map(|(column, text)| (column.as_str(), text.clone())))?;
        Ok(format!("{:#}\n", Json::Object(new)))
    }
}

/// A JSON object; an empty one if there is no text.
fn parse(text: &str) -> Option<Map<String, Json>> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() { Some(Map::new()) } else { serde_json::from_str(text).ok() }
}

/// What was copied of a participant.
struct Copies<'a> {
    place: &'a Place,
    of: &'a str,
}

impl Copies<'_> {
    fn folder(&self) -> PathBuf {
        self.place.state.path().join("participants").join(self.of)
    }

    /// What a cell is to say that the raw table has a column for: what it says `now`, unless somebody wrote something else.
    fn settled<'t>(&self, column: &str, before: &'t str, now: Option<&'t str>) -> &'t str {
        let now = match now {
            None => return before,
            Some(now) => present(now).unwrap_or(NOT_AVAILABLE),
        };
        let gives_way = before == now || present(before).is_none() || self.hold(column, &json!(before));
        if gives_way { now } else { before }
    }

    /// Whether this was copied at some time. The disk is asked only where two texts differ.
    fn hold(&self, column: &str, text: &Json) -> bool {
        let digest = digest(column, text);
        let entries = std::fs::read_dir(self.folder()).into_iter().flatten().filter_map(Result::ok);
        let mut texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        texts.any(|text| text.lines().any(|line| line == digest))
    }

    /// Notes that these cells are copied.
    fn note<'t>(&self, cells: impl Iterator<Item = (&'t str, Json)>) -> Result<(), PublishError> {
        let lines: BTreeSet<String> = cells.map(|(column, text)| digest(column, &text)).collect();
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let path = self.folder().join(Digest::of_bytes(text.as_bytes()).short());
        if !path.exists() {
            write_new(&self.place.state, &path, text.as_bytes())?;
        }
        Ok(())
    }
}

fn digest(column: &str, text: &Json) -> String {
    Digest::of_json(&json!([column, text])).to_string()
}

/// Removes a column that says nothing of anybody.
fn remove_if_empty(table: &mut Tsv, column: &str) {
    let empty = |index: &usize| table.rows.iter().all(|(_, row)| present(&row[*index]).is_none());
    if let Some(index) = table.column(column).filter(empty) {
        table.head.remove(index);
        table.rows.iter_mut().for_each(|(_, row)| drop(row.remove(index)));
    }
}

fn text_of(table: &Tsv) -> String {
    let rows = table.rows.iter().map(|(_, row)| row);
    let lines: Vec<String> = [&table.head].into_iter().chain(rows).map(|row| row.join("\t")).collect();
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

#[cfg(test)]
mod tests;
