//! `[cohort]`: stages that see all cases of a subject or of the cohort, and what of them is published.

use super::Parser;
use crate::fault::Fault;
use crate::workflow::tree::{Entry, Table};
use crate::workflow::{Text, Workflow};

/// Keys of `[cohort]`.
pub(crate) const COHORT_KEYS: [&str; 2] = ["stages", "outputs"];
/// Keys of a cohort stage.
pub(crate) const COHORT_STAGE_KEYS: [&str; 9] =
    ["operator", "inputs", "settings", "always", "device", "threads", "memory", "timeout", "remove"];
/// Keys of a cohort output.
pub(crate) const COHORT_OUTPUT_KEYS: [&str; 5] = ["from", "bids", "root", "sidecar", "remove"];

/// Keys of a case stage that a cohort stage cannot have, each with the reason.
const NOT_OF_A_STAGE: [(&str, &str); 7] = [
    ("each", "wire the set to one port: the operator sees all its members"),
    ("insert_after", "it stands on no wire: it runs after all cases"),
    ("only_with", "a case without the input has nothing at the port: let the operator decide"),
    ("only_without", "a case without the input has nothing at the port: let the operator decide"),
    ("retries", "run the cohort again: the stage goes on where it was"),
    ("isolation", "it runs in a thread of its own"),
    ("cache", "it runs again only when something that it reads has changed"),
];
/// Keys of a case's output that a cohort output cannot have, each with the reason.
const NOT_OF_AN_OUTPUT: [(&str, &str); 1] = [("dataset", "it goes to the folder `group` of the output")];

impl Parser {
    pub(super) fn cohort(&mut self, entry: &Entry, workflow: &mut Workflow) {
        let Some(section) = entry.value.as_table() else { return self.wrong(entry, "a table") };
        for part in &section.entries {
            match part.key.as_str() {
                "stages" => {
                    for (name, table) in self.items(part, &mut workflow.removed) {
                        let whose = ("a cohort stage", &name);
                        let table = self.reduced(table, whose, &COHORT_STAGE_KEYS, &NOT_OF_A_STAGE);
                        workflow.groups.push(self.stage(name, &table));
                    }
                }
                "outputs" => {
                    for (name, table) in self.items(part, &mut Vec::new()) {
                        let whose = ("a cohort output", &name);
                        let table = self.reduced(table, whose, &COHORT_OUTPUT_KEYS, &NOT_OF_AN_OUTPUT);
                        workflow.group_outputs.extend(self.output(name, &table, &COHORT_OUTPUT_KEYS));
                    }
                }
                _ => self.unknown(part, "`[cohort]`", &COHORT_KEYS),
            }
        }
    }

    /// A table with the `known` keys alone; each other is a fault.
    fn reduced(
        &mut self,
        table: &Table,
        (whose, name): (&str, &Text),
        known: &[&str],
        refused: &[(&str, &str)],
    ) -> Table {
        let mut kept = Table { inline: table.inline, ..Table::default() };
        for entry in &table.entries {
            if known.contains(&entry.key.as_str()) {
                kept.entries.push(entry.clone());
            } else if let Some((key, reason)) = refused.iter().find(|(key, _)| *key == entry.key) {
                let message = format!("`{}` is {whose}, which has no `{key}`", name.text);
                self.faults.push(Fault::at(entry.key_span, message).hint(*reason));
            } else {
                self.unknown(entry, whose, known);
            }
        }
        kept
    }
}
