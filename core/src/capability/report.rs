//! What a workflow can do with a cohort, in one line for people and in full for programs.

use super::{Capability, Pattern, near_groups};
use crate::case::Cohort;
use crate::fault::list;
use crate::plan::Graph;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// As many ways to lack inputs as a line can tell.
const MOST_TOLD: usize = 5;

impl Capability {
    /// "184 cases run whole, 11 without `flair`, 5 cannot (no `t1_pre`)".
    pub fn summary(&self) -> String {
        let count = |patterns: &[&Pattern]| patterns.iter().map(|pattern| pattern.cases.len()).sum::<usize>();
        let (whole, rest): (Vec<&Pattern>, Vec<&Pattern>) =
            self.patterns.iter().partition(|pattern| pattern.is_whole());
        let (reduced, hopeless): (Vec<&Pattern>, Vec<&Pattern>) =
            rest.into_iter().partition(|pattern| pattern.plan.is_ok());
        let whole = count(&whole);
        let mut parts = vec![match whole {
            1 => "1 case runs whole".to_owned(),
            _ => format!("{whole} cases run whole"),
        }];
        for pattern in reduced.iter().take(MOST_TOLD) {
            parts.push(format!("{} without {}", pattern.cases.len(), list(&pattern.cost.absent)));
        }
        if let Some(more) = reduced.get(MOST_TOLD..).filter(|more| !more.is_empty()) {
            parts.push(format!("{} without others", count(more)));
        }
        if !hopeless.is_empty() {
            let reasons: BTreeSet<String> = hopeless.iter().filter_map(|pattern| lacks(pattern)).collect();
            let reasons: Vec<String> = reasons.into_iter().take(MOST_TOLD).collect();
            let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
            parts.push(format!("{} cannot{why}", count(&hopeless)));
        }
        match self.pattern_of.iter().filter(|pattern| pattern.is_none()).count() {
            0 => {}
            1 => parts.push("1 has a problem".to_owned()),
            problems => parts.push(format!("{problems} have problems")),
        }
        parts.join(", ")
    }

    /// All that is known, with stable keys.
    pub fn to_json(&self, graph: &Graph, cohort: &Cohort) -> Json {
        let label = |index: &usize| cohort.cases[*index].label.to_string();
        let pattern = |pattern: &Pattern| {
            let impossible = pattern.plan.as_ref().err();
            json!({
                "absent": pattern.cost.absent,
                "verdict": verdict(pattern),
                "count": pattern.cases.len(),
                "cases": pattern.cases.iter().map(label).collect::<Vec<_>>(),
                "runs": running(graph, pattern),
                "skipped": pattern.cost.skipped,
                "stand_ins": pattern.cost.stand_ins,
                "lost": pattern.cost.lost,
                "notes": pattern.cost.notes,
                "impossible": impossible.map_or(&[][..], Vec::as_slice),
            })
        };
        let cases = cohort.cases.iter().zip(&self.pattern_of).map(|(case, number)| {
            let mut record = serde_json::to_value(case).unwrap_or_default();
            record["pattern"] = json!(number);
            record["verdict"] = number.map_or("problem", |number| verdict(&self.patterns[number])).into();
            record
        });
        let near: BTreeMap<&str, _> = graph
            .inputs
            .iter()
            .map(|input| (input.name.as_str(), near_groups(&cohort.cases, &input.name)))
            .filter(|(_, groups)| !groups.is_empty())
            .collect();
        json!({
            "workflow": graph.name,
            "cohort": { "kind": cohort.kind, "root": cohort.root, "narrowed": cohort.narrowed, "count": cohort.cases.len() },
            "summary": self.summary(),
            "runnable": self.runnable(),
            "patterns": self.patterns.iter().map(pattern).collect::<Vec<_>>(),
            "unmatched": self.unmatched,
            "near_misses": near,
            "notes": cohort.notes,
            "cases": cases.collect::<Vec<_>>(),
        })
    }
}

/// `whole`, `reduced` or `impossible`.
fn verdict(pattern: &Pattern) -> &'static str {
    match (&pattern.plan, pattern.is_whole()) {
        (Err(_), _) => "impossible",
        (Ok(_), true) => "whole",
        (Ok(_), false) => "reduced",
    }
}

/// The stages that run, by label.
pub(crate) fn running(graph: &Graph, pattern: &Pattern) -> Vec<String> {
    let Ok(plan) = &pattern.plan else { return Vec::new() };
    let nodes = graph.nodes.iter().zip(&plan.nodes);
    nodes.filter(|(_, state)| state.runs()).map(|(node, _)| node.label()).collect()
}

/// The inputs for whose absence a pattern cannot run, as in "no `t1_pre`"; none if it is for another reason.
fn lacks(pattern: &Pattern) -> Option<String> {
    let reasons = pattern.plan.as_ref().err()?;
    let because = |name: &&String| {
        let opening = format!("input `{name}` is absent and required");
        reasons.iter().any(|reason| reason.reason.starts_with(&opening))
    };
    let names: Vec<&String> = pattern.cost.absent.iter().filter(because).collect();
    (!names.is_empty()).then(|| format!("no {}", list(&names)))
}
