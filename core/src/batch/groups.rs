//! What the stages over the cohort see of its cases.

use super::decide::{Decided, Decision};
use crate::case::{Cohort, CohortCase};
use crate::group::GroupCase;
use crate::plan::Graph;
use crate::record::{Attempts, End, Ending, StateFolder};
use sdk::CaseEntry;
use std::collections::BTreeMap;
use std::path::Path;

/// What was decided on a case before the run.
struct Before {
    entry: CaseEntry,
    decision: Decision,
}

/// The cases of a cohort, for the stages over it: gathered before the cases run, looked up when they have ended.
pub struct Gathered {
    cases: Vec<Before>,
}

impl Gathered {
    /// The cases in the order of their labels; nothing if the workflow has no stages over the cohort.
    pub fn of(graph: &Graph, cohort: &Cohort, decided: &[Decided]) -> Option<Self> {
        if graph.cohort.is_empty() {
            return None;
        }
        let decisions: BTreeMap<_, _> = decided.iter().map(|case| (&case.label, &case.decision)).collect();
        let case = |case: &CohortCase| {
            let entry = CaseEntry { columns: case.columns.clone(), ..CaseEntry::of(&case.label.to_string()) };
            Some(Before { entry, decision: (*decisions.get(&case.label)?).clone() })
        };
        Some(Self { cases: cohort.cases.iter().filter_map(case).collect() })
    }

    /// Why the stages have to wait for another run, if they do: they stand for the cohort as a whole.
    pub fn waits(&self, cohort: &Cohort) -> Option<String> {
        let count = |name: &str| self.cases.iter().filter(|case| case.decision.name() == name).count();
        if cohort.narrowed {
            return Some("only a part of the cohort was asked for".to_owned());
        }
        match (count("busy"), count("left_out")) {
            (0, 0) => None,
            (0, left_out) => Some(format!("{left_out} cases were left out")),
            (busy, _) => Some(format!("another run works on {busy} cases")),
        }
    }

    /// The cases with what was kept of them, or why they have nothing.
    pub fn cases(&self, state: &StateFolder) -> Vec<GroupCase> {
        self.cases.iter().map(|case| case.look(state)).collect()
    }
}

impl Before {
    fn look(&self, state: &StateFolder) -> GroupCase {
        let without = |entry| GroupCase { entry, ..GroupCase::default() };
        let failed =
            |reason: &str| without(CaseEntry { failure: Some(reason.to_owned()), ..self.entry.clone() });
        if let Decision::Cannot { why } = &self.decision {
            return failed(why);
        }
        let attempts = Attempts::of_case(state, &self.entry.label);
        let last = if self.decision == Decision::UpToDate {
            attempts.latest_ok()
        } else {
            // An attempt that was stopped says nothing of the case.
            attempts.ends().rfind(|(_, end)| end.ending != Ending::Interrupted)
        };
        match last {
            Some((number, end)) if end.ending == Ending::Ok => GroupCase {
                entry: self.entry.clone(),
                values: end.values.then(|| Attempts::values_path(attempts.folder(), number)),
                present: end.present.clone(),
            },
            Some((_, end)) => without(failure(&self.entry, end)),
            None if attempts.latest().is_none() => failed("it has not run"),
            None => failed("it has not run to its end"),
        }
    }
}

/// A failed case with its reason, the way out, and what it left.
fn failure(entry: &CaseEntry, end: &End) -> CaseEntry {
    let left = end.outputs.iter().filter(|file| !file.output.is_empty());
    let slashed = |path: &Path| {
        let names = path.components().map(|part| part.as_os_str().to_string_lossy());
        names.collect::<Vec<_>>().join("/")
    };
    CaseEntry {
        failure: Some(end.reason.clone().unwrap_or_else(|| "it failed".to_owned())),
        hint: end.hint.clone(),
        left: left.map(|file| slashed(&file.path)).collect(),
        ..entry.clone()
    }
}
