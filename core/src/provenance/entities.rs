//! What a crate says about workflow, engine, plugins and profiles.

use super::{Made, items, word};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

/// Where the profiles live.
const RUN_PROFILES: &str = "https://w3id.org/ro/wfrun";
/// The profile of crates with a workflow.
const WORKFLOW_CRATE: &str = "https://w3id.org/workflowhub/workflow-ro-crate/1.0";
/// The profile of a workflow's inputs and outputs.
const PARAMETER: &str = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE";

/// A reference to an entity.
pub(super) fn to(id: impl Into<String>) -> Json {
    json!({ "@id": id.into() })
}

/// The context, and what describes the file itself.
pub(super) fn whole(graph: &[Json]) -> Json {
    let context = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"];
    json!({ "@context": context, "@graph": graph })
}

/// The crate's own file and the profiles that it follows.
pub(super) fn frame() -> Vec<Json> {
    let profile = |(word, name): (&str, &str)| json!({ "@id": format!("{RUN_PROFILES}/{word}/0.5"), "@type": "CreativeWork", "name": name, "version": "0.5" });
    let names = [
        ("process", "Process Run Crate"),
        ("workflow", "Workflow Run Crate"),
        ("provenance", "Provenance Run Crate"),
    ];
    let mut frame: Vec<Json> = names.into_iter().map(profile).collect();
    frame.extend([
        json!({
            "@id": "ro-crate-metadata.json", "@type": "CreativeWork", "about": to("./"),
            "conformsTo": [to("https://w3id.org/ro/crate/1.1"), to(WORKFLOW_CRATE)],
        }),
        json!({ "@id": WORKFLOW_CRATE, "@type": "CreativeWork", "name": "Workflow RO-Crate", "version": "1.0" }),
        json!({ "@id": PARAMETER, "@type": "CreativeWork", "name": "FormalParameter", "version": "1.0-RELEASE" }),
        json!({
            "@id": "#licence", "@type": "CreativeWork", "name": "not stated",
            "description": "Nothing is said here about who may use these data: ask who gave you this crate.",
        }),
        json!({
            "@id": "#toml", "@type": "ComputerLanguage", "name": "Neuroloom workflow (TOML)",
            "url": to(env!("CARGO_PKG_REPOSITORY")),
        }),
    ]);
    frame
}

/// The profiles that the root data set conforms to.
pub(super) fn profiles() -> Vec<Json> {
    let run = ["process", "workflow", "provenance"].map(|word| to(format!("{RUN_PROFILES}/{word}/0.5")));
    run.into_iter().chain([to(WORKFLOW_CRATE)]).collect()
}

/// Identifiers of what belongs to one set of things that cases were made with.
pub(super) struct Ids(pub(super) usize);

impl Ids {
    pub(super) fn engine(&self) -> String {
        format!("#engine-{}", self.0)
    }

    pub(super) fn step(&self, stage: &str) -> String {
        format!("#step-{}/{stage}", self.0)
    }

    pub(super) fn operator(&self, name: &str) -> String {
        format!("#operator-{}/{name}", self.0)
    }

    fn plugin(&self, name: &str) -> String {
        format!("#plugin-{}/{name}", self.0)
    }

    pub(super) fn input(&self, name: &str) -> String {
        format!("#input-{}/{name}", self.0)
    }

    pub(super) fn output(&self, name: &str) -> String {
        format!("#output-{}/{name}", self.0)
    }
}

/// The workflow at `file` in the crate, with its steps, operators, plugins and engine.
pub(super) fn workflow(made: &Made, ids: &Ids, file: &str, sha256: &str) -> Vec<Json> {
    let provenance = &made.submission.provenance;
    let (own, engine) = (&provenance["workflow"], &provenance["engine"]);
    let stages = super::stages(made);
    let operators: BTreeSet<&str> = stages.iter().map(|stage| word(stage, "operator")).collect();
    let inputs: BTreeSet<&str> =
        made.cases.iter().flat_map(|case| &case.end.inputs).map(|input| input.name.as_str()).collect();
    let outputs: BTreeSet<&str> = made
        .cases
        .iter()
        .flat_map(|case| &case.end.outputs)
        .map(|output| output.output.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    let refer = |names: &BTreeSet<&str>, id: &dyn Fn(&str) -> String| -> Vec<Json> {
        names.iter().map(|name| to(id(name))).collect()
    };
    let mut all = vec![json!({
        "@id": file, "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": word(own, "name"), "version": word(own, "version"), "identifier": format!("blake3:{}", word(own, "digest")),
        "encodingFormat": "application/toml", "sha256": sha256, "programmingLanguage": to("#toml"),
        "input": refer(&inputs, &|name| ids.input(name)), "output": refer(&outputs, &|name| ids.output(name)),
        "hasPart": refer(&operators, &|name| ids.operator(name)),
        "step": stages.iter().map(|stage| to(ids.step(word(stage, "stage")))).collect::<Vec<_>>(),
    })];
    all.push(json!({
        "@id": ids.engine(), "@type": "SoftwareApplication", "name": "Neuroloom",
        "softwareVersion": word(engine, "version"), "url": to(env!("CARGO_PKG_REPOSITORY")),
    }));
    all.extend(items(provenance, "plugins").iter().map(|plugin| {
        json!({
            "@id": ids.plugin(word(plugin, "name")), "@type": "SoftwareApplication", "name": word(plugin, "name"),
            "softwareVersion": word(plugin, "version"), "identifier": format!("blake3:{}", word(plugin, "digest")),
        })
    }));
    all.extend(steps(made, ids, &stages));
    let parameter = |id: String, name: &str, kind: &str| json!({ "@id": id, "@type": "FormalParameter", "name": name, "additionalType": kind, "conformsTo": to(PARAMETER) });
    let is_value = |name: &str| {
        let entries = made.cases.iter().flat_map(|case| &case.end.inputs);
        entries.filter(|input| input.name == name).all(|input| input.path.is_none())
    };
    all.extend(
        inputs
            .iter()
            .map(|name| parameter(ids.input(name), name, if is_value(name) { "Text" } else { "File" })),
    );
    all.extend(outputs.iter().map(|name| parameter(ids.output(name), name, "File")));
    all
}

/// The steps of a workflow and the operators that do them.
fn steps(made: &Made, ids: &Ids, stages: &[&Json]) -> Vec<Json> {
    let records = || made.cases.iter().flat_map(|case| &case.end.stages);
    let plugin_of = |stage: &str| {
        let parts =
            records().filter(|record| record.stage == stage).find_map(|record| record.parts.as_ref())?;
        Some(parts.operator.split(':').next()?.to_owned())
    };
    let mut all = Vec::new();
    let mut known = BTreeSet::new();
    for (index, stage) in stages.iter().enumerate() {
        let (name, operator) = (word(stage, "stage"), word(stage, "operator"));
        all.push(json!({
            "@id": ids.step(name), "@type": "HowToStep", "name": name, "position": (index + 1).to_string(),
            "workExample": to(ids.operator(operator)),
        }));
        if known.insert(operator) {
            let mut entity =
                json!({ "@id": ids.operator(operator), "@type": "SoftwareApplication", "name": operator });
            if let Some(plugin) = plugin_of(name) {
                let plugins = items(&made.submission.provenance, "plugins");
                let version = plugins
                    .iter()
                    .find(|known| word(known, "name") == plugin)
                    .map(|known| word(known, "version"));
                entity["softwareVersion"] = json!(version.unwrap_or_default());
                entity["isPartOf"] = to(ids.plugin(&plugin));
            }
            if !word(stage, "citation").is_empty() {
                entity["citation"] = json!(word(stage, "citation"));
            }
            all.push(entity);
        }
    }
    all
}
