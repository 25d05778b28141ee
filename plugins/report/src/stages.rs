//! The plan and what became of it, stage by stage.

use crate::documents::{Outcome, Plan, PlannedStage, StageOutcome};
use crate::model::entries;
use sdk::serde::Serialize;

/// A stage as the page shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct StageRow {
    /// Its name.
    pub stage: String,
    /// What runs there.
    pub operator: String,
    /// Which plugin provides it.
    pub plugin: String,
    /// `ran`, `skipped`, `failed`, `cancelled`; `runs` if only the plan is known.
    pub state: String,
    /// What it reads.
    pub inputs: Vec<String>,
    /// Its settings.
    pub settings: Vec<(String, String)>,
    /// Its members, or itself with an empty name, where there is something to say about them.
    pub details: Vec<Detail>,
}

/// What happened to one member of a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Detail {
    /// The member; empty for the whole stage.
    pub member: String,
    /// As [`StageRow::state`].
    pub state: String,
    /// Why.
    pub reason: String,
    /// The way out.
    pub hint: String,
    /// Where a panic happened.
    pub location: String,
}

/// States from worst to best: a stage is as good as its worst member.
const ORDER: [&str; 5] = ["failed", "cancelled", "skipped", "runs", "ran"];

/// The worst of the members' states. A member that the case does not have does not make the whole stage skipped.
fn overall(details: &[Detail]) -> String {
    let rank = |state: &str| ORDER.iter().position(|known| *known == state).unwrap_or(ORDER.len());
    let states: Vec<&str> = details.iter().map(|detail| detail.state.as_str()).collect();
    let worked = states.iter().any(|state| matches!(*state, "ran" | "runs"));
    let counted = states.into_iter().filter(|state| !worked || *state != "skipped");
    counted.min_by_key(|state| rank(state)).unwrap_or("unknown").to_owned()
}

/// The stages in the plan's order, each with its outcome; stages known from the outcome alone come last.
pub fn rows(plan: Option<&Plan>, outcome: Option<&Outcome>) -> Vec<StageRow> {
    let planned = plan.map(|plan| plan.stages.as_slice()).unwrap_or_default();
    let ended = outcome.map(|outcome| outcome.stages.as_slice()).unwrap_or_default();
    let mut names: Vec<&str> = Vec::new();
    let all = planned.iter().map(|stage| stage.stage.as_str());
    for name in all.chain(ended.iter().map(|end| end.stage.as_str())) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| row(name, planned, ended)).collect()
}

fn row(name: &str, planned: &[PlannedStage], ended: &[StageOutcome]) -> StageRow {
    let planned: Vec<&PlannedStage> = planned.iter().filter(|stage| stage.stage == name).collect();
    let ended: Vec<&StageOutcome> = ended.iter().filter(|end| end.stage == name).collect();
    let mut details: Vec<Detail> = Vec::new();
    for stage in &planned {
        let end = ended.iter().find(|end| text(end.member.as_ref()) == text(stage.member.as_ref()));
        details.push(end.map_or_else(|| expected(stage), |end| detail(end)));
    }
    let unplanned =
        |end: &&&StageOutcome| !details.iter().any(|known| known.member == text(end.member.as_ref()));
    let late: Vec<Detail> = ended.iter().filter(unplanned).map(|end| detail(end)).collect();
    details.extend(late);
    let state = overall(&details);
    details
        .retain(|detail| !detail.member.is_empty() || !detail.reason.is_empty() || !detail.hint.is_empty());
    let mut inputs: Vec<String> = Vec::new();
    for wire in planned.iter().flat_map(|stage| &stage.inputs) {
        let from = wire.as_str().or_else(|| wire.get("from")?.as_str());
        if let Some(from) = from.filter(|from| !inputs.iter().any(|known| known == from)) {
            inputs.push(from.to_owned());
        }
    }
    let operators = planned.iter().map(|stage| text(stage.operator.as_ref()));
    let operator =
        operators.chain(ended.iter().map(|end| text(end.operator.as_ref()))).find(|name| !name.is_empty());
    StageRow {
        stage: name.to_owned(),
        operator: operator.unwrap_or_default(),
        plugin: planned.first().map(|stage| text(stage.plugin.as_ref())).unwrap_or_default(),
        state,
        inputs,
        settings: planned.first().map(|stage| entries(&stage.settings)).unwrap_or_default(),
        details,
    }
}

fn text(field: Option<&String>) -> String {
    field.cloned().unwrap_or_default()
}

fn expected(stage: &PlannedStage) -> Detail {
    Detail {
        member: text(stage.member.as_ref()),
        state: text(stage.state.as_ref()),
        reason: text(stage.reason.as_ref()),
        ..Detail::default()
    }
}

fn detail(end: &StageOutcome) -> Detail {
    Detail {
        member: text(end.member.as_ref()),
        state: text(end.state.as_ref()),
        reason: text(end.reason.as_ref()),
        hint: text(end.hint.as_ref()),
        location: text(end.location.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stage_is_as_good_as_its_worst_member_and_an_absent_member_is_no_fault() {
        let plan: Plan = serde_json::from_value(json!({"stages": [
            {"stage": "aligned", "member": "t1_pre", "operator": "register", "state": "runs",
             "inputs": [{"port": "fixed", "from": "bravo"}, {"port": "moving", "from": "t1_pre"}]},
            {"stage": "aligned", "member": "flair", "operator": "register", "state": "skipped",
             "inputs": ["bravo"], "reason": "input `flair` is absent"},
            {"stage": "segment", "member": "", "operator": "segment", "state": "runs"},
            {"stage": "late", "operator": "x", "state": "skipped", "reason": "needs `flair`"},
            {"stage": "page", "operator": "case_report", "state": "runs"}]}))
        .unwrap();
        let outcome: Outcome = serde_json::from_value(json!({"stages": [
            {"stage": "aligned", "member": "t1_pre", "state": "ran"},
            {"stage": "aligned", "member": "flair", "state": "skipped", "reason": "input `flair` is absent"},
            {"stage": "segment", "state": "failed", "reason": "out of memory", "hint": "use less"},
            {"stage": "extra", "operator": "y", "state": "ran"}]}))
        .unwrap();
        let rows = rows(Some(&plan), Some(&outcome));
        let states: Vec<(&str, &str)> = rows.iter().map(|r| (r.stage.as_str(), r.state.as_str())).collect();
        assert_eq!(
            states,
            [
                ("aligned", "ran"),
                ("segment", "failed"),
                ("late", "skipped"),
                ("page", "runs"),
                ("extra", "ran")
            ]
        );
        assert_eq!(rows[0].inputs, ["bravo", "t1_pre"]);
        assert_eq!(rows[0].details[1].reason, "input `flair` is absent");
        assert_eq!(rows[1].details[0].hint, "use less");
        assert_eq!(rows[2].details[0].reason, "needs `flair`");
        assert_eq!(rows[4].operator, "y");
    }
}
