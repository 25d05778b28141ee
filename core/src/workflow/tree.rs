//! TOML as a tree that owns its text and keeps where each key and value was written.

use crate::fault::{Fault, Span};
use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) value: Branch,
    pub(crate) span: Span,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Branch {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Tree>),
    Table(Table),
}

/// Keys in written order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
    /// Written in braces: such a table is given anew, where one of dotted keys changes another.
    pub(crate) inline: bool,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Tree,
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.entries.retain(|entry| entry.key != key);
    }

    /// Puts an entry in the place of the one with its key, or at the end.
    pub(crate) fn put(&mut self, entry: Entry) {
        match self.get_mut(&entry.key) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }
}

impl Tree {
    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Branch::Text(text) = &self.value { Some(text) } else { None }
    }

    pub(crate) fn as_table(&self) -> Option<&Table> {
        if let Branch::Table(table) = &self.value { Some(table) } else { None }
    }

    pub(crate) fn is(&self, truth: bool) -> bool {
        matches!(self.value, Branch::Boolean(found) if found == truth)
    }

    /// In words, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.value {
            Branch::Text(_) => "text",
            Branch::Integer(_) => "a whole number",
            Branch::Float(_) => "a number",
            Branch::Boolean(_) => "true or false",
            Branch::Datetime(_) => "a date",
            Branch::Array(_) => "a list",
            Branch::Table(_) => "a table",
        }
    }

    /// The same as JSON; a number that JSON has no form for (`nan`, `inf`) becomes null.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Branch::Text(text) | Branch::Datetime(text) => Json::from(text.as_str()),
            Branch::Integer(number) => Json::from(*number),
            Branch::Float(number) => Json::from(*number),
            Branch::Boolean(truth) => Json::from(*truth),
            Branch::Array(items) => items.iter().map(Self::to_json).collect(),
            Branch::Table(table) => {
                let pair = |entry: &Entry| (entry.key.clone(), entry.value.to_json());
                Json::Object(table.entries.iter().map(pair).collect())
            }
        }
    }

    /// The value at a path of keys and indices, as far as it goes.
    pub(crate) fn at<'a>(&'a self, path: impl IntoIterator<Item = &'a str>) -> &'a Self {
        let mut here = self;
        for step in path {
            let next = match &here.value {
                Branch::Table(table) => table.get(step).map(|entry| &entry.value),
                Branch::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            match next {
                Some(next) => here = next,
                None => break,
            }
        }
        here
    }
}

/// Parses a whole file.
pub(crate) fn parse(text: &str, file: usize) -> Result<Table, Vec<Fault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut faults: Vec<_> = errors.iter().map(|error| syntax_fault(error, text, file)).collect();
    let table = from_table(text, file, table.get_ref(), &mut faults);
    if faults.is_empty() { Ok(table) } else { Err(faults) }
}

/// Parses the value of a `--set`, which begins at `offset` of its text. What is no TOML is taken as text.
pub(crate) fn parse_value(text: &str, offset: usize, file: usize) -> Tree {
    let written = text[offset..].trim();
    let start = text.len() - text[offset..].trim_start().len();
    let span = Span { file, start, end: start + written.len() };
    let bare = || Tree { value: Branch::Text(written.to_owned()), span };
    let mut faults = Vec::new();
    match DeValue::parse(written) {
        Ok(value) => {
            let tree = from_value(written, file, value.get_ref(), span, &mut faults);
            if faults.is_empty() { at_place(tree, span) } else { bare() }
        }
        Err(_) => bare(),
    }
}

/// Everything in an argument points at the argument's value as a whole.
fn at_place(tree: Tree, span: Span) -> Tree {
    let value = match tree.value {
        Branch::Array(items) => Branch::Array(items.into_iter().map(|item| at_place(item, span)).collect()),
        Branch::Table(table) => {
            let place = |entry: Entry| Entry { key_span: span, value: at_place(entry.value, span), ..entry };
            Branch::Table(Table { entries: table.entries.into_iter().map(place).collect(), ..table })
        }
        value => value,
    };
    Tree { value, span }
}

fn syntax_fault(error: &toml::de::Error, text: &str, file: usize) -> Fault {
    let range = error.span().unwrap_or(0..0);
    let end = range.end.max(range.start + usize::from(range.start < text.len()));
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    Fault::at(Span { file, start: range.start, end }, format!("this is no TOML: {message}"))
}

fn from_table(text: &str, file: usize, table: &DeTable<'_>, faults: &mut Vec<Fault>) -> Table {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            let range = key.span();
            let span = Span { file, start: value.span().start, end: value.span().end };
            Entry {
                key: key.get_ref().to_string(),
                key_span: Span { file, start: range.start, end: range.end },
                value: from_value(text, file, value.get_ref(), span, faults),
            }
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Table { entries, inline: false }
}

fn from_value(text: &str, file: usize, value: &DeValue<'_>, span: Span, faults: &mut Vec<Fault>) -> Tree {
    let value = match value {
        DeValue::String(content) => Branch::Text(content.to_string()),
        DeValue::Boolean(truth) => Branch::Boolean(*truth),
        DeValue::Datetime(date) => Branch::Datetime(date.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Branch::Integer(parsed.unwrap_or_else(|_| {
                faults.push(Fault::at(span, "this whole number does not fit into 64 bits"));
                0
            }))
        }
        DeValue::Float(number) => Branch::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Array(items) => {
            let item = |item: &toml::Spanned<DeValue<'_>>| {
                let span = Span { file, start: item.span().start, end: item.span().end };
                from_value(text, file, item.get_ref(), span, faults)
            };
            Branch::Array(items.iter().map(item).collect())
        }
        DeValue::Table(table) => {
            let inline = text.get(span.start..).is_some_and(|rest| rest.starts_with('{'));
            Branch::Table(Table { inline, ..from_table(text, file, table, faults) })
        }
    };
    Tree { value, span }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_written_order_and_place() {
        let text = "z = 1\na = { y = [true, \"x\"], b = 2.5 }\n";
        let table = parse(text, 3).unwrap();
        assert_eq!(table.entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["z", "a"]);
        let root = Tree { value: Branch::Table(table), span: Span::default() };
        let leaf = root.at(["a", "y", "1"]);
        assert_eq!(
            (leaf.as_text(), &text[leaf.span.start..leaf.span.end], leaf.span.file),
            (Some("x"), "\"x\"", 3)
        );
        assert_eq!(root.to_json(), serde_json::json!({"z": 1, "a": {"y": [true, "x"], "b": 2.5}}));
    }

    #[test]
    fn braces_are_told_from_dotted_keys_and_headers() {
        let table = parse("[a.b]\nc.d = 1\ne = { f = 1 }\n", 0).unwrap();
        let root = Tree { value: Branch::Table(table), span: Span::default() };
        let inline = |path: &[&str]| root.at(path.iter().copied()).as_table().unwrap().inline;
        assert!(!inline(&["a"]) && !inline(&["a", "b"]) && !inline(&["a", "b", "c"]));
        assert!(inline(&["a", "b", "e"]));
    }

    #[test]
    fn every_syntax_error_has_its_place() {
        let faults = parse("a = \nb = 1\nb = 2\nc = [1,\n", 0).unwrap_err();
        assert!(faults.len() >= 2, "{faults:?}");
        assert!(faults.iter().all(|fault| fault.span.is_some()));
    }

    #[test]
    fn a_set_value_that_is_no_toml_is_text() {
        assert_eq!(parse_value("s.device=cuda:0", 9, 0).as_text(), Some("cuda:0"));
        assert_eq!(parse_value("s.x=[1, 2]", 4, 0).to_json(), serde_json::json!([1, 2]));
        assert_eq!(parse_value("s.x=0.5", 4, 0).to_json(), serde_json::json!(0.5));
    }
}
