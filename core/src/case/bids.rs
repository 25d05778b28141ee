//! Cases of a BIDS data set.
//!
//! One listing for each folder that is asked for: the data set (unless subjects are named), each subject, each session, and
//! the folders of the datatypes that the rules need. No file is opened but the tables of participants and, for subjects
//! with several sessions, of sessions.

use super::cohort::check_asked;
use super::entities::Rules;
use super::resolve::{Folder, Listed, resolve};
use super::tsv::{Tsv, present};
use super::{CaseLabel, Cohort, CohortCase, CohortError, CohortKind, Filters, Given, Problem};
use crate::plan::InputSpec;
use rayon::prelude::*;
use sdk::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What marks the root of a data set.
pub(crate) const DESCRIPTION: &str = "dataset_description.json";

/// A folder's names: folders, files.
#[derive(Debug, Default)]
struct Listing {
    folders: BTreeSet<String>,
    files: Vec<Listed>,
}

/// Lists a folder; hidden names are left out. No file is asked for its state, only links that may be folders.
fn list(path: &Path) -> std::io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type()?;
        // A link with an extension is a file, as in data sets whose content lies elsewhere.
        let folder = kind.is_dir() || (kind.is_symlink() && !name.contains('.') && entry.path().is_dir());
        if folder {
            listing.folders.insert(name);
        } else {
            listing.files.push(Listed { name, link: kind.is_symlink() });
        }
    }
    listing.files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listing)
}

/// Whether a folder is a BIDS data set: it says so, or has folders `sub-…` with folders in them.
pub(super) fn fits(path: &Path) -> Result<bool, CohortError> {
    if path.join(DESCRIPTION).is_file() {
        return Ok(true);
    }
    let listing = list(path).map_err(|source| CohortError::unreadable(path, source))?;
    let nested = |name: &&String| list(&path.join(name)).is_ok_and(|inner| !inner.folders.is_empty());
    Ok(listing.folders.iter().filter(|name| name.starts_with("sub-")).take(10).any(|name| nested(&name)))
}

/// Finds the cases of a data set.
pub(super) fn find(root: &Path, inputs: &[InputSpec], filters: &Filters) -> Result<Cohort, CohortError> {
    let rules = Rules::read(inputs, filters)?;
    let mut notes = Vec::new();
    let subjects = subjects(root, filters, &mut notes)?;
    let visits = filters.visits();
    let wanted = Wanted {
        above: above(root, &rules)?,
        rules: &rules,
        datatypes: rules
            .rules
            .iter()
            .flat_map(|(_, rule)| rule.datatypes.iter().map(String::as_str))
            .collect(),
        visits: &visits,
    };
    let found: Vec<Subject> = subjects
        .par_iter()
        .map(|subject| wanted.subject(&root.join(format!("sub-{subject}")), subject))
        .collect();
    let mut cases = Vec::new();
    let mut labels = Vec::new();
    for mut subject in found {
        notes.append(&mut subject.notes);
        cases.append(&mut subject.cases);
        labels.append(&mut subject.labels);
    }
    check_asked(root, filters, &labels)?;
    add_participants(root, &mut cases)?;
    for case in &mut cases {
        take_values(case, inputs);
    }
    let sought = rules.rules.iter().map(|(spec, rule)| (spec.name.clone(), rule.words())).collect();
    let declared_absent = rules.declared_absent;
    let root = root.to_owned();
    Ok(Cohort { kind: CohortKind::Bids, root, narrowed: false, cases, sought, declared_absent, notes })
}

/// Labels of the subjects to look at, in order.
fn subjects(root: &Path, filters: &Filters, notes: &mut Vec<String>) -> Result<Vec<String>, CohortError> {
    let named = filters.subjects();
    if !named.is_empty() && named.iter().all(|subject| root.join(format!("sub-{subject}")).is_dir()) {
        return Ok(named.into_iter().map(str::to_owned).collect());
    }
    let listing = list(root).map_err(|source| CohortError::unreadable(root, source))?;
    let mut labels = Vec::new();
    for name in listing.folders.iter().filter(|name| name.starts_with("sub-")) {
        match CaseLabel::parse(name) {
            Ok(label) if label.session.is_none() => labels.push(label),
            _ => notes.push(format!("folder `{name}` is left out: labels have letters and digits only")),
        }
    }
    check_asked(root, &Filters { sessions: Vec::new(), ..filters.clone() }, &labels)?;
    Ok(labels
        .into_iter()
        .filter(|label| filters.participants.is_empty() || named.contains(label.subject.as_str()))
        .map(|label| label.subject)
        .collect())
}

/// The data set's own folder, if its sidecars count.
fn above(root: &Path, rules: &Rules<'_>) -> Result<Option<Folder>, CohortError> {
    if !rules.rules.iter().any(|(_, rule)| rule.reads_sidecars()) {
        return Ok(None);
    }
    let listing = list(root).map_err(|source| CohortError::unreadable(root, source))?;
    Ok(Some(Folder { path: root.to_owned(), datatype: String::new(), files: listing.files }))
}

struct Wanted<'a> {
    above: Option<Folder>,
    rules: &'a Rules<'a>,
    datatypes: BTreeSet<&'a str>,
    visits: &'a BTreeSet<&'a str>,
}

#[derive(Debug, Default)]
struct Subject {
    cases: Vec<CohortCase>,
    /// Of all its cases, also those not asked for.
    labels: Vec<CaseLabel>,
    notes: Vec<String>,
}

impl Wanted<'_> {
    fn subject(&self, path: &Path, subject: &str) -> Subject {
        let mut found = Subject::default();
        let label = |session: Option<&str>| CaseLabel {
            subject: subject.to_owned(),
            session: session.map(str::to_owned),
        };
        let listing = match list(path) {
            Ok(listing) => listing,
            Err(error) => {
                found.labels.push(label(None));
                found.cases.push(unreadable(label(None), path, &error));
                return found;
            }
        };
        let sessions: Vec<&str> =
            listing.folders.iter().filter_map(|name| name.strip_prefix("ses-")).collect();
        if sessions.is_empty() {
            found.labels.push(label(None));
            if self.visits.is_empty() {
                found.cases.push(self.case(label(None), path, listing, None));
            }
            return found;
        }
        let stray = listing.folders.iter().find(|name| self.datatypes.contains(name.as_str()));
        if let Some(stray) = stray {
            let note = format!("sub-{subject}/{stray} is left out, as sub-{subject} has sessions");
            found.notes.push(note);
        }
        let above = self.above.as_ref();
        let own = above.map(|above| Folder {
            path: path.to_owned(),
            files: listing.files.clone(),
            ..above.clone()
        });
        for session in &sessions {
            let Ok(label) = CaseLabel::parse(&format!("sub-{subject}_ses-{session}")) else {
                let note = format!(
                    "folder `sub-{subject}/ses-{session}` is left out: labels have letters and digits only"
                );
                found.notes.push(note);
                continue;
            };
            found.labels.push(label.clone());
            if !self.visits.is_empty() && !self.visits.contains(session) {
                continue;
            }
            let folder = path.join(format!("ses-{session}"));
            found.cases.push(match list(&folder) {
                Ok(listing) => self.case(label, &folder, listing, own.as_ref()),
                Err(error) => unreadable(label, &folder, &error),
            });
        }
        if sessions.len() > 1 {
            add_dates(path, &listing, &mut found.cases, &mut found.notes);
        }
        found
    }

    fn case(&self, label: CaseLabel, path: &Path, listing: Listing, subject: Option<&Folder>) -> CohortCase {
        let mut case = CohortCase::new(label);
        let own = Folder { path: path.to_owned(), datatype: String::new(), files: listing.files };
        let mut folders = vec![own];
        for datatype in self.datatypes.iter().filter(|name| listing.folders.contains(**name)) {
            let path = path.join(datatype);
            match list(&path) {
                Ok(inner) => {
                    folders.push(Folder { path, datatype: (*datatype).to_owned(), files: inner.files });
                }
                Err(error) => case.problems.push(problem(&path, &error)),
            }
        }
        let looked = !self.rules.rules.is_empty();
        if looked && case.problems.is_empty() && folders.iter().all(|folder| folder.files.is_empty()) {
            let wanted = self.datatypes.iter().map(|name| format!("{name}/")).collect::<Vec<_>>().join(", ");
            let there: Vec<&str> = listing.folders.iter().map(String::as_str).collect();
            let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
            case.problems.push(Problem {
                input: None,
                message: format!("there is no file to choose from: `{}` holds {there}", path.display()),
                candidates: Vec::new(),
                hint: Some(format!("files are looked for in {wanted}")),
            });
        }
        let above: Vec<&Folder> = self.above.iter().chain(subject).collect();
        resolve(&mut case, &self.rules.rules, &above, &folders);
        case
    }
}

fn problem(path: &Path, error: &std::io::Error) -> Problem {
    Problem {
        input: None,
        message: format!("{}: {error}", path.display()),
        candidates: Vec::new(),
        hint: Some("may this account read it?".to_owned()),
    }
}

fn unreadable(label: CaseLabel, path: &Path, error: &std::io::Error) -> CohortCase {
    let mut case = CohortCase::new(label);
    case.problems.push(problem(path, error));
    case
}

/// Dates of a subject's sessions, from `sub-01_sessions.tsv` or each session's `scans.tsv`.
fn add_dates(path: &Path, listing: &Listing, cases: &mut [CohortCase], notes: &mut Vec<String>) {
    let table = listing.files.iter().find(|file| file.name.ends_with("_sessions.tsv"));
    let result = match table {
        Some(file) => Tsv::read(&path.join(&file.name)).map(|table| {
            for case in cases {
                let session = case.label.session.clone().unwrap_or_default();
                add_row(&table, "session_id", &["ses-", ""], &session, case);
            }
        }),
        None => cases.iter_mut().try_for_each(|case| {
            let file = path.join(format!("ses-{}", case.label.session.clone().unwrap_or_default()));
            let file = file.join(format!("{}_scans.tsv", case.label));
            if !file.is_file() {
                return Ok(());
            }
            let table = Tsv::read(&file)?;
            let Some(column) = table.column("acq_time") else { return Ok(()) };
            let times = table.rows.iter().filter_map(|(_, row)| present(&row[column]));
            if let Some(first) = times.min() {
                case.columns.insert("acq_time".to_owned(), first.to_owned());
            }
            Ok(())
        }),
    };
    if let Err(error) = result {
        notes.push(format!("sessions are not ordered by date: {error}"));
    }
}

/// Adds the cells of the row whose column `key` is `label`, with or without its prefix.
fn add_row(table: &Tsv, key: &str, prefixes: &[&str], label: &str, case: &mut CohortCase) {
    let Some(key) = table.column(key) else { return };
    let is = |cell: &str| prefixes.iter().any(|prefix| cell.strip_prefix(prefix) == Some(label));
    let Some((_, row)) = table.rows.iter().find(|(_, row)| is(&row[key])) else { return };
    for (index, (name, cell)) in table.head.iter().zip(row).enumerate() {
        if let Some(cell) = present(cell).filter(|_| index != key) {
            case.columns.insert(name.clone(), cell.to_owned());
        }
    }
}

/// Inputs that are texts or numbers are columns of the tables of participants or sessions.
fn take_values(case: &mut CohortCase, inputs: &[InputSpec]) {
    for spec in inputs.iter().filter(|spec| matches!(spec.kind, Kind::Text | Kind::Number)) {
        let Some(cell) = case.columns.get(&spec.name).filter(|_| !case.inputs.contains_key(&spec.name))
        else {
            continue;
        };
        match Given::of_cell(cell, spec, Path::new("")) {
            Ok(given) => drop(case.inputs.insert(spec.name.clone(), given)),
            Err(wrong) => {
                let hint = "write it as in `1` or `0.5` in `participants.tsv`";
                case.problems.push(Problem::of(&spec.name, wrong, hint));
            }
        }
    }
}

/// What `participants.tsv` says of each subject.
fn add_participants(root: &Path, cases: &mut [CohortCase]) -> Result<(), CohortError> {
    let path = root.join("participants.tsv");
    if !path.is_file() {
        return Ok(());
    }
    let table = Tsv::read(&path)?;
    let Some(key) = table.column("participant_id") else { return Ok(()) };
    let rows: BTreeMap<&str, &Vec<String>> =
        table.rows.iter().map(|(_, row)| (row[key].strip_prefix("sub-").unwrap_or(&row[key]), row)).collect();
    for case in cases {
        let Some(row) = rows.get(case.label.subject.as_str()) else { continue };
        for (index, (name, cell)) in table.head.iter().zip(*row).enumerate() {
            if let Some(cell) = present(cell).filter(|_| index != key) {
                case.columns.entry(name.clone()).or_insert_with(|| cell.to_owned());
            }
        }
    }
    Ok(())
}
