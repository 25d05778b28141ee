//! The stages of the cohort, while they are checked as nodes, and how they are taken out of these.

#[cfg(test)]
mod tests;

use super::presence::{Evaluation, State};
use crate::catalogue::Catalogue;
use crate::plan::{Graph, GroupNode};
use sdk::Interface;
use std::collections::BTreeMap;

/// The ports of each stage of the cohort, by its name, for the case with fewest inputs absent that counts in it.
pub(super) type Ports = BTreeMap<String, Interface>;

/// Notes the ports of the stages of the cohort, the nodes from `first` on, in which a case of this pattern counts, and tells
/// whether there is one.
pub(super) fn look(graph: &Graph, first: usize, evaluation: &Evaluation, ports: &mut Ports) -> bool {
    let mut counts = false;
    for (node, state) in graph.nodes.iter().zip(&evaluation.states).skip(first) {
        if let State::Run(running) = state {
            counts = true;
            ports.entry(node.stage.clone()).or_insert_with(|| (*running.interface).clone());
        }
    }
    counts
}

/// Takes the stages of the cohort, whose ports are known, out of the nodes.
pub(super) fn take_apart(graph: &mut Graph, mut ports: Ports, catalogue: &dyn Catalogue) {
    let first = graph.nodes.iter().position(|node| ports.contains_key(&node.stage));
    let first = first.unwrap_or(graph.nodes.len());
    for node in graph.nodes.split_off(first) {
        let interface = ports.remove(&node.stage).unwrap_or_default();
        let found = catalogue.find(&node.operator.to_string());
        let scope = found.map(|found| found.description.scope).unwrap_or_default();
        graph.notes.extend(interface.notes.iter().map(|note| format!("{}: {note}", node.stage)));
        graph.cohort.push(GroupNode { node, scope, interface });
    }
    for part in graph.cohort_outputs.iter_mut().flat_map(|output| &mut output.parts) {
        part.node -= first;
    }
}
