//! Reading: the files a workflow consists of, laid over each other, and the overrides on top.

use super::tree::{self, Branch, Entry, Table, Tree};
use super::{Overrides, merge};
use crate::catalogue::Catalogue;
use crate::fault::{Fault, Faults, Sources, Span, suggest};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// All texts of a workflow, as one table.
pub(super) struct Read {
    pub(super) sources: Sources,
    pub(super) table: Table,
}

/// Reads `path` and what it extends, and lays `overrides` on top. `take` takes what is asked for out of the whole.
pub(super) fn read(
    path: &Path,
    overrides: &Overrides,
    catalogue: &dyn Catalogue,
    take: impl FnOnce(Table) -> Result<Table, Fault>,
) -> Result<Read, Faults> {
    let mut reader = Reader { sources: Sources::default(), faults: Vec::new(), open: Vec::new(), catalogue };
    let table = reader.file(path, None);
    let table = table.map(|table| reader.overrides(table, overrides));
    let table = table.filter(|_| reader.faults.is_empty()).and_then(|table| match take(table) {
        Ok(table) => Some(table),
        Err(fault) => {
            reader.faults.push(fault);
            None
        }
    });
    match table {
        Some(table) if reader.faults.is_empty() => Ok(Read { sources: reader.sources, table }),
        _ => Err(Faults::new(Arc::new(reader.sources), reader.faults)),
    }
}

struct Reader<'a> {
    sources: Sources,
    faults: Vec<Fault>,
    /// Files that are being read, each extended by the one before.
    open: Vec<PathBuf>,
    catalogue: &'a dyn Catalogue,
}

impl Reader<'_> {
    /// A file laid over the one it extends. `asked` is where another file names it.
    fn file(&mut self, path: &Path, asked: Option<Span>) -> Option<Table> {
        let fault = |message: String| match asked {
            Some(span) => Fault::at(span, message),
            None => Fault::whole(message),
        };
        let shown = path.display();
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.open.contains(&identity) {
            self.faults.push(fault(format!("`{shown}` extends itself")));
            return None;
        }
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.faults.push(fault(format!("cannot read workflow `{shown}`: {error}")));
                return None;
            }
        };
        let file = self.sources.add(path, text.clone());
        let table = match tree::parse(&text, file) {
            Ok(table) => table,
            Err(faults) => {
                self.faults.extend(faults);
                return None;
            }
        };
        self.open.push(identity);
        let table = self.extended(path, table);
        self.open.pop();
        table
    }

    fn extended(&mut self, path: &Path, mut table: Table) -> Option<Table> {
        let Some(entry) = table.get("extends") else { return Some(table) };
        let span = entry.value.span;
        let Some(name) = entry.value.as_text() else {
            let kind = entry.value.kind();
            self.faults.push(Fault::at(span, format!("`extends` is {kind}, not the path of a workflow")));
            return None;
        };
        let base = tidy(&path.parent().unwrap_or(Path::new("")).join(name));
        table.remove("extends");
        let base = self.file(&base, Some(span))?;
        Some(merge::workflows(base, table, self.catalogue))
    }

    fn overrides(&mut self, mut table: Table, overrides: &Overrides) -> Table {
        for argument in &overrides.operators {
            if let Some(over) = self.argument("--use", argument, &table) {
                table = merge::workflows(table, over, self.catalogue);
            }
        }
        for argument in &overrides.settings {
            if let Some(over) = self.argument("--set", argument, &table) {
                table = merge::workflows(table, over, self.catalogue);
            }
        }
        table
    }

    /// `STAGE=OPERATOR` or `STAGE.KEY=VALUE` as a workflow that changes one thing.
    fn argument(&mut self, flag: &str, argument: &str, table: &Table) -> Option<Table> {
        let file = self.sources.add(Path::new(flag), argument.to_owned());
        let whole = Span { file, start: 0, end: argument.len() };
        let form = if flag == "--use" { "STAGE=OPERATOR" } else { "STAGE.KEY=VALUE" };
        let Some((path, _)) = argument.split_once('=') else {
            self.faults.push(Fault::at(whole, format!("`{flag}` takes {form}, and there is no `=`")));
            return None;
        };
        let value = tree::parse_value(argument, path.len() + 1, file);
        let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
        if flag == "--use" {
            keys.push("operator");
        }
        let span = Span { file, start: 0, end: path.len() };
        if keys.len() < 2 || keys.iter().any(|key| key.is_empty()) || (flag == "--use" && keys.len() > 2) {
            self.faults.push(Fault::at(span, format!("`{flag}` takes {form}")));
            return None;
        }
        let of_cases = section(table, "stages");
        let of_cohort = table.get("cohort").and_then(|entry| entry.value.as_table());
        let of_cohort = of_cohort.map(|cohort| section(cohort, "stages")).unwrap_or_default();
        let names: Vec<&str> = of_cases.iter().chain(&of_cohort).copied().collect();
        if !names.contains(&keys[0]) {
            let message = format!("there is no stage `{}` in this workflow", keys[0]);
            self.faults.push(Fault::at(span, message).maybe_hint(suggest(keys[0], "its stages", &names)));
            return None;
        }
        let nest = |value: Tree, key: &&str| {
            let entry = Entry { key: (*key).to_owned(), key_span: span, value };
            Tree { value: Branch::Table(Table { entries: vec![entry], inline: false }), span }
        };
        keys.insert(0, "stages");
        if !of_cases.contains(&keys[1]) {
            keys.insert(0, "cohort");
        }
        keys.iter().rev().fold(value, nest).as_table().cloned()
    }
}

/// The names in a section.
fn section<'a>(table: &'a Table, name: &str) -> Vec<&'a str> {
    let section = table.get(name).and_then(|entry| entry.value.as_table());
    section.iter().flat_map(|table| &table.entries).map(|entry| entry.key.as_str()).collect()
}

/// Without `.` and, where a folder goes before it, without `..`: `workflows/sites/../a.toml` is `workflows/a.toml`.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_without_detours() {
        assert_eq!(tidy(Path::new("workflows/sites/../a.toml")), Path::new("workflows/a.toml"));
        assert_eq!(tidy(Path::new("../../a.toml")), Path::new("../../a.toml"));
    }
}
