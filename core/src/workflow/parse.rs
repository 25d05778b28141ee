//! Table to [`Workflow`]: every key is known and of the right type, names are well formed.

mod cohort;

use super::tree::{Branch, Entry, Table, Tree};
use super::{Feed, InsertDef, Member, OutputDef, PortDef, StageDef, Text, ValueDef, Workflow};
use crate::fault::{Fault, suggest};
use crate::plan::{DatasetKind, InputSpec, Means, OnError, Pick};
use sdk::Kind;
use std::time::Duration;

#[cfg(test)]
pub(crate) use cohort::{COHORT_KEYS, COHORT_OUTPUT_KEYS, COHORT_STAGE_KEYS};

/// Keys of a workflow.
pub(crate) const SECTIONS: [&str; 10] =
    ["name", "version", "dataset", "extends", "inputs", "stages", "values", "outputs", "cohort", "review"];
/// Keys of a stage.
pub(crate) const STAGE_KEYS: [&str; 16] = [
    "operator",
    "inputs",
    "each",
    "settings",
    "insert_after",
    "always",
    "only_with",
    "only_without",
    "device",
    "threads",
    "memory",
    "timeout",
    "retries",
    "isolation",
    "cache",
    "remove",
];
/// Keys of an input.
pub(crate) const INPUT_KEYS: [&str; 8] =
    ["type", "bids", "required", "pick", "on_error", "grid", "frame", "remove"];
const OUTPUT_KEYS: [&str; 5] = ["from", "bids", "dataset", "sidecar", "remove"];
/// A stage may be tried again at most this often.
const MOST_RETRIES: i64 = 100;

/// Whether something can be called so: a letter, then letters, digits, `_` and `-`.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// The workflow, and what is wrong with its keys and types.
pub(super) fn workflow(table: &Table) -> (Workflow, Vec<Fault>) {
    let mut parser = Parser { faults: Vec::new() };
    let mut workflow = Workflow::default();
    for entry in &table.entries {
        match entry.key.as_str() {
            "name" => workflow.name = parser.text(entry).map(|text| text.text).unwrap_or_default(),
            "version" => workflow.version = parser.text(entry).map(|text| text.text).unwrap_or_default(),
            "dataset" => {
                let kinds = [("derivative", DatasetKind::Derivative), ("raw", DatasetKind::Raw)];
                workflow.dataset = parser.choice(entry, &kinds).unwrap_or_default();
            }
            "inputs" => {
                for (item, table) in parser.items(entry, &mut workflow.removed) {
                    workflow.inputs.extend(parser.input(item, table));
                }
            }
            "values" => {
                for (item, table) in parser.items(entry, &mut workflow.removed) {
                    workflow.values.push(parser.value(item, table));
                }
            }
            "stages" => {
                for (item, table) in parser.items(entry, &mut workflow.removed) {
                    workflow.stages.push(parser.stage(item, table));
                }
            }
            "outputs" => {
                for (item, table) in parser.items(entry, &mut Vec::new()) {
                    workflow.outputs.extend(parser.output(item, table, &OUTPUT_KEYS));
                }
            }
            "cohort" => parser.cohort(entry, &mut workflow),
            // A workflow of its own, which is read where a review is asked for.
            "review" if entry.value.as_table().is_some() => {}
            "review" => parser.wrong(entry, "a table"),
            _ => parser.unknown(entry, "a workflow", &SECTIONS),
        }
    }
    parser.faults.extend(grids(&workflow.inputs));
    if workflow.name.is_empty() && table.get("name").is_none() {
        parser.faults.push(Fault::whole("the workflow has no `name`").hint("begin with `name = \"…\"`"));
    }
    (workflow, parser.faults)
}

/// Inputs on one grid lie in one frame.
fn grids(inputs: &[InputSpec]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, input) in inputs.iter().enumerate().filter(|(_, input)| input.grid.is_some()) {
        let other = inputs[..at].iter().find(|other| other.grid == input.grid && other.frame != input.frame);
        if let Some(other) = other {
            let message =
                format!("inputs `{}` and `{}` share a grid, but not a frame", other.name, input.name);
            faults.push(Fault::at(input.span, message).hint("give both the same `frame`, or none"));
        }
    }
    faults
}

struct Parser {
    faults: Vec<Fault>,
}

impl Parser {
    fn unknown(&mut self, entry: &Entry, whose: &str, keys: &[&str]) {
        let fault = Fault::at(entry.key_span, format!("{whose} has no key `{}`", entry.key));
        self.faults.push(fault.maybe_hint(suggest(&entry.key, "its keys", keys)));
    }

    fn wrong(&mut self, entry: &Entry, expected: &str) {
        let message = format!("`{}` is {}, not {expected}", entry.key, entry.value.kind());
        self.faults.push(Fault::at(entry.value.span, message));
    }

    fn text(&mut self, entry: &Entry) -> Option<Text> {
        let Some(text) = entry.value.as_text() else {
            self.wrong(entry, "text");
            return None;
        };
        Some(Text { text: text.to_owned(), span: entry.value.span })
    }

    fn truth(&mut self, entry: &Entry) -> Option<bool> {
        if let Branch::Boolean(truth) = entry.value.value {
            Some(truth)
        } else {
            self.wrong(entry, "true or false");
            None
        }
    }

    fn choice<T: Copy>(&mut self, entry: &Entry, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(entry)?;
        let found = choices.iter().find(|(name, _)| *name == text.text).map(|(_, choice)| *choice);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let fault = Fault::at(text.span, format!("`{}` cannot be `{}`", entry.key, text.text));
            self.faults.push(fault.maybe_hint(suggest(&text.text, "it can be", &names)));
        }
        found
    }

    fn count(&mut self, entry: &Entry, least: i64, most: i64) -> Option<i64> {
        match entry.value.value {
            Branch::Integer(number) if (least..=most).contains(&number) => Some(number),
            Branch::Integer(number) => {
                let message = format!("`{}` is {number}, outside {least} to {most}", entry.key);
                self.faults.push(Fault::at(entry.value.span, message));
                None
            }
            _ => {
                self.wrong(entry, "a whole number");
                None
            }
        }
    }

    /// One text or a list of them.
    fn texts(&mut self, entry: &Entry) -> Vec<Text> {
        let Branch::Array(items) = &entry.value.value else { return self.text(entry).into_iter().collect() };
        let mut texts = Vec::new();
        for item in items {
            let place = Entry { value: item.clone(), ..entry.clone() };
            texts.extend(self.text(&place));
        }
        texts
    }

    /// The named tables of a section; those with `remove = true` go to `removed`.
    fn items<'a>(&mut self, entry: &'a Entry, removed: &mut Vec<Text>) -> Vec<(Text, &'a Table)> {
        let Some(section) = entry.value.as_table() else {
            self.wrong(entry, "a table");
            return Vec::new();
        };
        let mut items = Vec::new();
        for item in &section.entries {
            let name = Text { text: item.key.clone(), span: item.key_span };
            let Some(table) = item.value.as_table() else {
                self.wrong(item, "a table");
                continue;
            };
            if !is_name(&item.key) || item.key == "case" {
                let fault = Fault::at(item.key_span, format!("`{}` cannot be a name here", item.key));
                let hint =
                    "a name is a letter, then letters, digits, `_` and `-`; `case` is the engine's own";
                self.faults.push(fault.hint(hint));
            }
            match table.get("remove") {
                Some(flag) if self.truth(flag) == Some(true) => removed.push(name),
                _ => items.push((name, table)),
            }
        }
        items
    }

    fn input(&mut self, name: Text, table: &Table) -> Option<InputSpec> {
        let mut input = InputSpec {
            name: name.text,
            kind: Kind::Image,
            bids: std::collections::BTreeMap::new(),
            required: true,
            pick: Pick::Only,
            on_error: OnError::Fail,
            grid: None,
            frame: None,
            span: name.span,
        };
        for entry in &table.entries {
            match entry.key.as_str() {
                "type" => input.kind = self.choice(entry, &Kind::ALL.map(|kind| (kind.name(), kind)))?,
                "bids" => self.bids(entry, &mut input),
                "required" => input.required = self.truth(entry).unwrap_or(true),
                "pick" => {
                    let choices = [("only", Pick::Only), ("first", Pick::First), ("last", Pick::Last)];
                    input.pick = self.choice(entry, &choices).unwrap_or_default();
                }
                "on_error" => {
                    let choices = [("fail", OnError::Fail), ("absent", OnError::Absent)];
                    input.on_error = self.choice(entry, &choices).unwrap_or_default();
                }
                "grid" => input.grid = self.text(entry).map(|text| text.text),
                "frame" => input.frame = self.text(entry).map(|text| text.text),
                "remove" => {}
                _ => self.unknown(entry, "an input", &INPUT_KEYS),
            }
        }
        if let Some(entry) = table.get("grid").or(table.get("frame")).filter(|_| !input.kind.is_volume()) {
            let message = format!("input `{}` is {}, which has no `{}`", input.name, input.kind, entry.key);
            self.faults.push(Fault::at(entry.key_span, message).hint("leave it out"));
        }
        if table.get("type").is_none() {
            let fault = Fault::at(name.span, format!("input `{}` has no `type`", input.name));
            self.faults.push(fault.hint("for one, `type = \"image\"`"));
        }
        Some(input)
    }

    fn bids(&mut self, entry: &Entry, input: &mut InputSpec) {
        let Some(table) = entry.value.as_table() else {
            return self.wrong(entry, "a table of BIDS entities");
        };
        for entity in &table.entries {
            let texts = |items: &[Tree]| items.iter().all(|item| item.as_text().is_some());
            match &entity.value.value {
                Branch::Text(_) | Branch::Integer(_) | Branch::Boolean(_) => {}
                Branch::Array(items) if texts(items) => {}
                _ => self.wrong(entity, "text, a whole number, true or false, or a list of texts"),
            }
            input.bids.insert(entity.key.clone(), entity.value.to_json());
        }
    }

    fn value(&mut self, name: Text, table: &Table) -> ValueDef {
        let mut value = ValueDef { name, first_of: Vec::new() };
        for entry in &table.entries {
            match entry.key.as_str() {
                "first_of" => value.first_of = self.texts(entry),
                "remove" => {}
                _ => self.unknown(entry, "a value", &["first_of", "remove"]),
            }
        }
        if value.first_of.is_empty() {
            let message = format!("value `{}` names nothing in `first_of`", value.name.text);
            self.faults.push(Fault::at(value.name.span, message));
        }
        value
    }

    /// * `known`: keys that it may have.
    fn output(&mut self, name: Text, table: &Table, known: &[&str]) -> Option<OutputDef> {
        let (mut from, mut bids, mut dataset, mut sidecar) = (None, None, None, serde_json::Map::new());
        let mut root = false;
        for entry in &table.entries {
            match entry.key.as_str() {
                "from" if entry.value.is(false) => self.wrong(entry, "the name of what it publishes"),
                "from" => from = self.feed(entry),
                "bids" => bids = self.text(entry),
                "dataset" => dataset = self.text(entry),
                "root" if known.contains(&"root") => root = self.truth(entry).unwrap_or_default(),
                "sidecar" => match entry.value.to_json() {
                    serde_json::Value::Object(keys) => sidecar = keys,
                    _ => self.wrong(entry, "a table"),
                },
                "remove" => {}
                _ => self.unknown(entry, "an output", known),
            }
        }
        let inside = |text: &Text| {
            let path = std::path::Path::new(&text.text);
            path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
                && !text.text.is_empty()
        };
        if let Some(folder) = dataset.as_ref().filter(|text| !inside(text)) {
            let message = format!("`dataset` is `{}`, not a folder inside the output folder", folder.text);
            self.faults
                .push(Fault::at(folder.span, message).hint("for one, `dataset = \"derivatives/truth\"`"));
        }
        if table.get("from").is_none() {
            let fault = Fault::at(name.span, format!("output `{}` has no `from`", name.text));
            self.faults.push(fault.hint("for one, `from = \"stage.port\"`"));
        }
        Some(OutputDef { name, from: from?, bids, dataset: dataset.map(|text| text.text), root, sidecar })
    }

    /// What a port reads; nothing if the wire was dropped by `false` or `remove = true`, or is of a wrong type.
    fn feed(&mut self, entry: &Entry) -> Option<Feed> {
        let empty = match &entry.value.value {
            Branch::Array(items) => items.is_empty(),
            Branch::Table(table) => table.entries.is_empty(),
            _ => false,
        };
        if empty {
            let fault = Fault::at(entry.value.span, format!("`{}` names nothing", entry.key));
            self.faults.push(fault.hint("leave it out, or name what it reads"));
        }
        match &entry.value.value {
            Branch::Text(text) => Some(Feed::One(Text { text: text.clone(), span: entry.value.span })),
            Branch::Boolean(false) => None,
            Branch::Array(_) => Some(Feed::Set(self.texts(entry).into_iter().map(Member::Listed).collect())),
            Branch::Table(table) if table.get("remove").is_some_and(|entry| entry.value.is(true)) => None,
            Branch::Table(table) => Some(Feed::Set(self.members(table))),
            _ => {
                self.wrong(entry, "the name of what it reads, or a set of names");
                None
            }
        }
    }

    fn members(&mut self, table: &Table) -> Vec<Member> {
        let mut members = Vec::new();
        for entry in &table.entries {
            let name = Text { text: entry.key.clone(), span: entry.key_span };
            if entry.value.is(false) && entry.key != "*" {
                members.push(Member::Without(name));
            } else if entry.key == "*" {
                members.extend(self.text(entry).map(Member::All));
            } else if is_name(&entry.key) {
                members.extend(self.text(entry).map(|from| Member::Named(name, from)));
            } else {
                let fault = Fault::at(name.span, format!("`{}` cannot be the name of a member", entry.key));
                self.faults.push(fault.hint("a name is a letter, then letters, digits, `_` and `-`"));
            }
        }
        members
    }

    fn ports(&mut self, entry: &Entry) -> Vec<PortDef> {
        let Some(table) = entry.value.as_table() else {
            self.wrong(entry, "a table of ports");
            return Vec::new();
        };
        let port = |port: &Entry| {
            let name = Text { text: port.key.clone(), span: port.key_span };
            Some(PortDef { port: name, feed: self.feed(port)? })
        };
        table.entries.iter().filter_map(port).collect()
    }

    fn stage(&mut self, name: Text, table: &Table) -> StageDef {
        let mut stage = StageDef {
            name,
            operator: None,
            inputs: Vec::new(),
            each: Vec::new(),
            settings: None,
            insert_after: None,
            always: false,
            only_with: Vec::new(),
            only_without: Vec::new(),
            means: Means::default(),
        };
        for entry in &table.entries {
            match entry.key.as_str() {
                "operator" => stage.operator = self.text(entry),
                "inputs" => stage.inputs = self.ports(entry),
                "each" => stage.each = self.ports(entry),
                "settings" if entry.value.as_table().is_some() => stage.settings = Some(entry.value.clone()),
                "settings" => self.wrong(entry, "a table"),
                "insert_after" => stage.insert_after = Some(self.insert(entry)),
                "always" => stage.always = self.truth(entry).unwrap_or_default(),
                "only_with" => stage.only_with = self.texts(entry),
                "only_without" => stage.only_without = self.texts(entry),
                "remove" => {}
                _ => self.means(entry, &mut stage.means),
            }
        }
        if table.get("operator").is_none() {
            let fault = Fault::at(stage.name.span, format!("stage `{}` has no `operator`", stage.name.text));
            self.faults.push(fault.hint("`neuroloom plugins list` shows what there is"));
        }
        stage
    }

    fn insert(&mut self, entry: &Entry) -> InsertDef {
        let Some(table) = entry.value.as_table() else {
            return InsertDef { wires: self.texts(entry), ..InsertDef::default() };
        };
        let mut insert = InsertDef::default();
        for key in &table.entries {
            match key.key.as_str() {
                "wires" => insert.wires = self.texts(key),
                "input" => insert.input = self.text(key),
                "output" => insert.output = self.text(key),
                _ => self.unknown(key, "`insert_after`", &["wires", "input", "output"]),
            }
        }
        insert
    }

    fn means(&mut self, entry: &Entry, means: &mut Means) {
        match entry.key.as_str() {
            "device" => means.device = self.text(entry).map(|text| text.text),
            "threads" => means.threads = self.count(entry, 1, 4096).map(|count| count as usize),
            "retries" => {
                means.retries = self.count(entry, 0, MOST_RETRIES).map_or(0, |count| count as u32);
            }
            "cache" => means.cache = self.truth(entry).unwrap_or(true),
            "memory" => {
                means.memory = self.quantity(entry, "`4 GiB`", &MEMORY_UNITS).map(|bytes| bytes as u64);
            }
            "timeout" => {
                let seconds = self.quantity(entry, "`90 s`, `10 min` or `2 h`", &TIME_UNITS);
                means.timeout = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            }
            "isolation" => match self.text(entry) {
                Some(text) if text.text == "process" => self.faults.push(
                    Fault::at(text.span, "`isolation = \"process\"` is not in this version")
                        .hint("`isolation = \"thread\"`, the default, is"),
                ),
                Some(_) => {
                    self.choice(entry, &[("thread", ())]);
                }
                None => {}
            },
            _ => self.unknown(entry, "a stage", &STAGE_KEYS),
        }
    }

    /// A number with a unit, above zero; a bare number has the first unit.
    fn quantity(&mut self, entry: &Entry, example: &str, units: &[(&str, f64)]) -> Option<f64> {
        let parsed = match &entry.value.value {
            Branch::Integer(number) => Some(*number as f64),
            Branch::Float(number) => Some(*number),
            Branch::Text(text) => {
                let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
                let factor = units.iter().find(|(unit, _)| *unit == text[split..].trim()).map(|(_, f)| *f);
                let number = text[..split].trim().parse::<f64>().ok();
                number.and_then(|number| Some(number * factor?))
            }
            _ => None,
        };
        let valid = parsed.filter(|value| value.is_finite() && *value > 0.0);
        if valid.is_none() {
            let message = format!("`{}` is no quantity above zero such as {example}", entry.key);
            self.faults.push(Fault::at(entry.value.span, message));
        }
        valid
    }
}

/// Bytes for each unit of memory.
const MEMORY_UNITS: [(&str, f64); 7] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
];
/// Seconds for each unit of time.
const TIME_UNITS: [(&str, f64); 4] = [("s", 1.0), ("ms", 1e-3), ("min", 60.0), ("h", 3600.0)];
