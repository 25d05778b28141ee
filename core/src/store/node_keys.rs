//! The keys of a workflow's nodes.

use super::digest::Digest;
use super::key::{KEY_VERSION, KeyParts};
use super::memo::Memo;
use crate::plan::{Graph, Node, NodePlan, OutputPlan, OutputSpec, Plan};
use crate::registry::Registry;
use sdk::Place;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// What belongs to nodes whatever the case: plugin builds, identities, settings, files that settings name.
#[derive(Clone, Debug)]
pub struct NodeKeys {
    nodes: Vec<StaticParts>,
    /// Of the stages that run after all cases.
    groups: Vec<StaticParts>,
}

/// The parts of a node's keys that are the same for all cases.
#[derive(Clone, Debug)]
struct StaticParts {
    operator: String,
    build: Digest,
    identity: String,
    settings: Json,
    files: BTreeMap<String, Digest>,
    /// `(port, member)` of its wires, in written order.
    wires: Vec<(String, String)>,
}

/// Why a workflow has no keys: a file that decides its results cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("stage `{stage}`: {} cannot be read: {source}\nhint: was it moved or removed since the workflow was checked?", path.display())]
pub struct NodeKeysError {
    /// The stage.
    pub stage: String,
    /// The plugin's file, or one that the stage's settings name.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// The build of a node's plugin, and what its operator depends on beside.
type Origin = (Digest, String);

impl NodeKeys {
    /// Looks up what the nodes of `graph` run; files are hashed once, through `memo`. `site` holds the site's tables for
    /// plugins, by their names.
    ///
    /// # Errors
    /// [`NodeKeysError`] if a plugin's file, or one that settings name, cannot be read.
    pub fn new(
        graph: &Graph,
        registry: &Registry,
        memo: &Memo,
        site: &BTreeMap<String, Json>,
    ) -> Result<Self, NodeKeysError> {
        Self::with(graph, memo, |node| {
            let Some(plugin) = registry.plugin(&node.operator.plugin) else {
                // Such a node fails when it runs; its key is never stored under.
                return Ok((Digest::of_bytes(b""), "its plugin is not loaded".to_owned()));
            };
            let build = plugin.digest_by(memo).map_err(|source| NodeKeysError {
                stage: node.name(),
                path: plugin.path.clone(),
                source,
            })?;
            let place = Place {
                plugin_dir: plugin.path.parent().map(Into::into).unwrap_or_default(),
                site: site.get(&node.operator.plugin).cloned().unwrap_or_default(),
                ..Place::default()
            };
            let identity = plugin.identity(&node.operator.name, &node.settings, &place);
            // An operator that does not know what it depends on cannot be opened either, in general. If it can, its results
            // are found again as long as the reason stays.
            Ok((build, identity.unwrap_or_else(|error| format!("unknown: {}", error.message))))
        })
    }

    fn with(
        graph: &Graph,
        memo: &Memo,
        origin: impl Fn(&Node) -> Result<Origin, NodeKeysError>,
    ) -> Result<Self, NodeKeysError> {
        let fixed = |node: &Node| {
            let (build, identity) = origin(node)?;
            StaticParts::of(node, memo, build, identity)
        };
        let nodes = graph.nodes.iter().map(&fixed).collect::<Result<_, _>>()?;
        let groups = graph.cohort.iter().map(|group| fixed(&group.node)).collect::<Result<_, _>>()?;
        Ok(Self { nodes, groups })
    }

    /// What decides the result of `graph.nodes[node]` in the case `label`.
    ///
    /// * `inputs`: what stands at each `port` or `port.member` that is wired; nothing for an absent one.
    pub fn parts(&self, node: usize, label: &str, inputs: BTreeMap<String, Option<Digest>>) -> KeyParts {
        self.nodes[node].parts(label, inputs)
    }

    /// What decides the result of `graph.cohort[group]` for the subject, or the cohort, `label`.
    ///
    /// * `inputs`: what each case brings, by a name that holds the case's label; nothing for a case that brings nothing.
    pub fn group_parts(
        &self,
        group: usize,
        label: &str,
        inputs: BTreeMap<String, Option<Digest>>,
    ) -> KeyParts {
        self.groups[group].parts(label, inputs)
    }

    /// What decides all that a case leaves behind: two cases of one fingerprint have the same results.
    ///
    /// * `inputs`: content of the case's inputs, by name; nothing for an absent one.
    pub fn case_fingerprint(
        &self,
        graph: &Graph,
        plan: &Plan,
        inputs: &BTreeMap<String, Option<Digest>>,
    ) -> Digest {
        let nodes = graph.nodes.iter().zip(&self.nodes).zip(&plan.nodes);
        let nodes = nodes.filter_map(|((node, fixed), planned)| {
            let NodePlan::Run { wiring, .. } = planned else { return None };
            let from =
                |wire: &crate::plan::Wire| json!([wire.port, wire.member, graph.name_of(&wire.source)]);
            let wiring: Vec<Json> = wiring.iter().map(from).collect();
            Some(json!([node.name(), fixed.json(), node.always, wiring]))
        });
        let nodes: Vec<Json> = nodes.collect();
        let outputs = graph.outputs.iter().zip(&plan.outputs);
        let outputs: Vec<Json> = outputs.filter_map(|(spec, planned)| output(graph, spec, planned)).collect();
        let kept: Vec<String> = plan.kept().into_iter().map(|source| graph.name_of(source)).collect();
        Digest::of_json(&json!([KEY_VERSION, graph.dataset, nodes, outputs, kept, inputs]))
    }
}

/// What is published of an output; nothing if it is missing.
fn output(graph: &Graph, spec: &OutputSpec, planned: &OutputPlan) -> Option<Json> {
    let OutputPlan::Available(members) = planned else { return None };
    let members: Vec<Json> =
        members.iter().map(|(member, source, kind)| json!([member, graph.name_of(source), kind])).collect();
    Some(json!([spec.name, spec.bids, spec.dataset, spec.sidecar, members]))
}

impl StaticParts {
    fn of(node: &Node, memo: &Memo, build: Digest, identity: String) -> Result<Self, NodeKeysError> {
        let names = short_names(&node.files);
        let mut files = BTreeMap::new();
        for (path, name) in &names {
            let state = memo.digest_of(path).map_err(|source| NodeKeysError {
                stage: node.name(),
                path: path.clone(),
                source,
            })?;
            files.insert(name.clone(), state.digest);
        }
        let wires = node.wires.iter().map(|wire| (wire.port.clone(), wire.member.clone())).collect();
        let operator = node.operator.to_string();
        let settings = portable(&node.settings, &names);
        Ok(Self { operator, build, identity, settings, files, wires })
    }

    fn parts(&self, label: &str, inputs: BTreeMap<String, Option<Digest>>) -> KeyParts {
        let mut order: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (port, member) in self.wires.iter().filter(|(_, member)| !member.is_empty()) {
            if inputs.get(&format!("{port}.{member}")).is_some_and(Option::is_some) {
                order.entry(port.clone()).or_default().push(member.clone());
            }
        }
        order.retain(|_, members| members.len() > 1);
        KeyParts {
            operator: self.operator.clone(),
            build: self.build,
            identity: self.identity.clone(),
            case: label.to_owned(),
            settings: self.settings.clone(),
            files: self.files.clone(),
            order,
            inputs,
        }
    }

    fn json(&self) -> Json {
        json!([self.operator, self.build, self.identity, self.settings, self.files])
    }
}

/// A name for each file that does not change when all of them move: its own, numbered where another file has it, too.
fn short_names(files: &[PathBuf]) -> Vec<(PathBuf, String)> {
    let mut names: Vec<(PathBuf, String)> = Vec::new();
    for path in files {
        if names.iter().any(|(known, _)| known == path) {
            continue;
        }
        let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let numbered = (2..).map(|number| format!("{own} ({number})"));
        let free = |name: &String| names.iter().all(|(_, taken)| taken != name);
        let name = std::iter::once(own.clone()).chain(numbered).find(free);
        names.push((path.clone(), name.unwrap_or(own)));
    }
    names
}

/// Settings with names in place of this machine's paths.
fn portable(settings: &Json, names: &[(PathBuf, String)]) -> Json {
    match settings {
        Json::String(text) => {
            let name = names.iter().find(|(path, _)| path.to_string_lossy() == *text);
            json!(name.map_or(text, |(_, name)| name))
        }
        Json::Array(list) => list.iter().map(|item| portable(item, names)).collect(),
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), portable(value, names))).collect(),
        _ => settings.clone(),
    }
}

#[cfg(test)]
mod tests;
