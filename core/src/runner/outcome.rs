//! What the engine tells stages about a case: its plan, its outcome, its provenance. Deterministic: no clocks, no machine's paths.

use super::{Shared, StageRecord, StageState};
use crate::plan::{Graph, NodePlan, OutputPlan, Plan};
use crate::registry::Registry;
use crate::store::Digest;
use sdk::{Document, Grid, Value};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

fn document(content: &Json) -> Value {
    Value::from(Document::new("application/json", content.to_string()))
}

/// `case.plan`.
pub(super) fn plan(graph: &Graph, plan: &Plan) -> Value {
    let input = |input: &crate::plan::InputSpec| json!({ "name": input.name, "kind": input.kind, "present": plan.present.contains(&input.name) });
    let stage = |(node, planned): (&crate::plan::Node, &NodePlan)| {
        let (state, reason, inputs) = match planned {
            NodePlan::Skip { reason } => ("skipped", Some(reason.clone()), Vec::new()),
            NodePlan::Run { wiring, .. } => {
                let names = wiring.iter().map(|wire| (wire, graph.name_of(&wire.source)));
                ("runs", None, names.map(|(wire, name)| json!({ "port": wire.port, "from": name })).collect())
            }
        };
        json!({
            "stage": node.stage, "member": node.member, "operator": node.operator.name, "plugin": node.operator.plugin,
            "state": state, "reason": reason, "inputs": inputs,
            "settings": node.portable_settings(),
        })
    };
    let output = |(output, planned): (&crate::plan::OutputSpec, &OutputPlan)| {
        let reason = match planned {
            OutputPlan::Missing(reason) => Some(reason),
            OutputPlan::Available(_) => None,
        };
        json!({ "name": output.name, "available": reason.is_none(), "reason": reason })
    };
    document(&json!({
        "workflow": { "name": graph.name, "version": graph.version },
        "inputs": graph.inputs.iter().map(input).collect::<Vec<_>>(),
        "stages": graph.nodes.iter().zip(&plan.nodes).map(stage).collect::<Vec<_>>(),
        "outputs": graph.outputs.iter().zip(&plan.outputs).map(output).collect::<Vec<_>>(),
        "notes": plan.notes,
    }))
}

/// `case.outcome`, from the records of all stages before it.
pub(super) fn outcome(label: &str, records: &[StageRecord]) -> Value {
    let ok = records.iter().all(|record| matches!(record.state, StageState::Ran | StageState::Skipped));
    document(&json!({ "case": label, "ok": ok, "stages": records }))
}

/// `case.provenance`; `inputs`: those that could be read, as [`input_entry`] tells them.
pub(super) fn case_provenance(shared: &Shared, label: &str, inputs: &[Json]) -> Value {
    let mut content = provenance(&shared.graph, &shared.registry);
    content["case"] = json!(label);
    content["inputs"] = json!(inputs);
    document(&content)
}

/// An input in `case.provenance`: a file by its name, never its place.
pub(super) fn input_entry(name: &str, file: Option<(&str, Option<Digest>)>, grid: Option<Grid>) -> Json {
    let grid = grid.map(|grid| grid.to_string());
    match file {
        None => json!({ "name": name, "grid": grid }),
        Some((file, digest)) => json!({ "name": name, "file": file, "digest": digest, "grid": grid }),
    }
}

/// Engine, workflow, plugins and operators of a run.
pub fn provenance(graph: &Graph, registry: &Registry) -> Json {
    let used = |name: &str| graph.nodes.iter().any(|node| node.operator.plugin == name);
    let plugins = registry.plugins().iter().filter(|plugin| used(&plugin.description.name));
    let plugins: Vec<Json> = plugins
        .map(
            |p| json!({ "name": p.description.name, "version": p.description.version, "digest": p.digest() }),
        )
        .collect();
    let mut operators: BTreeMap<&str, Json> = BTreeMap::new();
    for node in &graph.nodes {
        let described = registry.plugin(&node.operator.plugin).and_then(|plugin| {
            plugin.description.operators.iter().find(|operator| operator.name == node.operator.name)
        });
        let citation = described.map(|operator| operator.citation.as_str()).unwrap_or_default();
        let settings = node.portable_settings();
        operators.entry(&node.stage).or_insert_with(|| {
            json!({ "stage": node.stage, "operator": node.operator.name, "citation": citation, "settings": settings })
        });
    }
    json!({
        "engine": { "name": "neuroloom", "version": env!("CARGO_PKG_VERSION") },
        "workflow": { "name": graph.name, "version": graph.version, "digest": graph.digest },
        "plugins": plugins,
        "operators": operators.into_values().collect::<Vec<_>>(),
    })
}

/// The same, and the stages over the cohort: what a run's folder keeps. Operators see [`provenance`] alone.
pub fn provenance_with_cohort(graph: &Graph, registry: &Registry) -> Json {
    let stages = graph.cohort.iter().map(|stage| {
        let node = &stage.node;
        let plugin = registry.plugin(&node.operator.plugin);
        let operators = plugin.into_iter().flat_map(|plugin| &plugin.description.operators);
        let described = operators.into_iter().find(|operator| operator.name == node.operator.name);
        let citation = described.map(|operator| operator.citation.as_str()).unwrap_or_default();
        let settings = node.portable_settings();
        json!({ "stage": node.stage, "operator": node.operator.name, "citation": citation, "settings": settings })
    });
    let mut whole = provenance(graph, registry);
    let stages: Vec<Json> = stages.collect();
    if !stages.is_empty() {
        whole["cohort"] = Json::Array(stages);
    }
    whole
}
