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
    /// `ran`, `skipped`, `failed`, `cancelled`, `replaced`; `runs` if only the plan is known.
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
const ORDER: [&str; 6] = ["failed", "cancelled", "skipped", "replaced", "runs", "ran"];

fn worst<'a>(states: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rank = |state: &str| ORDER.iter().position(|known| *known == state).unwrap_or(ORDER.len());
    states.min_by_key(|state| rank(state))
}

/// The stages in the plan's order, each with its outcome; stages known from the outcome alone come last.
pub fn rows(plan: Option<&Plan>, outcome: Option<&Outcome>) -> Vec<StageRow> {
    let planned = plan.map(|plan| plan.stages.as_slice()).unwrap_or_default();
    let ended = outcome.map(|outcome| outcome.stages.as_slice()).unwrap_or_default();
    let mut rows: Vec<StageRow> = Vec::new();
    for stage in planned {
        rows.push(row(stage, ended));
    }
    for end in ended {
        if !rows.iter().any(|row| row.stage == end.stage) {
            let stage = PlannedStage { stage: end.stage.clone(), ..PlannedStage::default() };
            rows.push(row(&stage, ended));
        }
    }
    rows
}

fn row(planned: &PlannedStage, ended: &[StageOutcome]) -> StageRow {
    let own: Vec<&StageOutcome> = ended.iter().filter(|end| end.stage == planned.stage).collect();
    let states = own.iter().filter_map(|end| end.state.as_deref());
    // A member that was left out from the start is said in the details; it does not make the whole stage skipped.
    let ran = states.clone().any(|state| state == "ran");
    let state = worst(states.filter(|state| !ran || *state != "skipped"));
    let mut details: Vec<Detail> = own.iter().map(|end| detail(end)).collect();
    if own.is_empty() && planned.reason.is_some() {
        details.push(Detail {
            state: planned.state.clone().unwrap_or_default(),
            reason: planned.reason.clone().unwrap_or_default(),
            ..Detail::default()
        });
    }
    if details.is_empty() {
        let member = |name: &String| Detail { member: name.clone(), ..Detail::default() };
        details = planned.members.iter().map(member).collect();
    }
    details
        .retain(|detail| !detail.member.is_empty() || !detail.reason.is_empty() || !detail.hint.is_empty());
    let operator = planned.operator.clone().or_else(|| own.iter().find_map(|end| end.operator.clone()));
    StageRow {
        stage: planned.stage.clone(),
        operator: operator.unwrap_or_default(),
        plugin: planned.plugin.clone().unwrap_or_default(),
        state: state.or(planned.state.as_deref()).unwrap_or("unknown").to_owned(),
        inputs: planned.inputs.clone(),
        settings: entries(&planned.settings),
        details,
    }
}

fn detail(end: &StageOutcome) -> Detail {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Detail {
        member: text(&end.member),
        state: text(&end.state),
        reason: text(&end.reason),
        hint: text(&end.hint),
        location: text(&end.location),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stage_is_as_good_as_its_worst_member_and_an_absent_member_is_no_fault() {
        let plan: Plan = serde_json::from_value(json!({"stages": [
            {"stage": "aligned", "operator": "register", "members": ["t1_pre", "flair"], "state": "runs"},
            {"stage": "segment", "operator": "segment", "state": "runs"},
            {"stage": "late", "operator": "x", "state": "skipped", "reason": "needs `flair`"}]}))
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
            [("aligned", "ran"), ("segment", "failed"), ("late", "skipped"), ("extra", "ran")]
        );
        assert_eq!(rows[0].details[1].reason, "input `flair` is absent");
        assert_eq!(rows[1].details[0].hint, "use less");
        assert_eq!(rows[2].details[0].reason, "needs `flair`");
        assert_eq!(rows[3].operator, "y");
    }
}
