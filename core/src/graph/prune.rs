//! Leaves out what no case can run and what nothing needs, each with a note.

use crate::plan::{Graph, Source, WireSpec};
use std::collections::BTreeSet;

/// Leaves nodes and outputs out of the graph. `ran` tells which nodes run in some pattern, `skipped` why one does not.
pub(super) fn prune(graph: &mut Graph, ran: &[bool], skipped: &[String]) {
    let mut needed = vec![false; graph.nodes.len()];
    let outputs = graph.outputs.iter().flat_map(|output| &output.wires);
    let mut open: Vec<usize> = outputs.flat_map(sources).collect();
    open.extend(graph.cohort_outputs.iter().flat_map(|output| &output.parts).map(|part| part.node));
    open.extend(graph.nodes.iter().enumerate().filter(|(_, node)| node.always).map(|(index, _)| index));
    while let Some(index) = open.pop() {
        if ran[index] && !needed[index] {
            needed[index] = true;
            open.extend(graph.nodes[index].wires.iter().flat_map(sources));
        }
    }
    let mut places = Vec::new();
    let mut kept = 0;
    for need in &needed {
        places.push(need.then_some(kept));
        kept += usize::from(*need);
    }
    let mut notes = left_out(graph, &needed, ran, skipped);
    let mut index = 0;
    graph.nodes.retain(|_| {
        index += 1;
        needed[index - 1]
    });
    graph.nodes.iter_mut().for_each(|node| rewire(&mut node.wires, &places));
    graph.outputs.iter_mut().for_each(|output| rewire(&mut output.wires, &places));
    for output in &mut graph.cohort_outputs {
        output.parts.retain_mut(|part| places[part.node].map(|place| part.node = place).is_some());
    }
    let cases = graph.outputs.iter().filter(|output| output.wires.is_empty()).map(|output| &output.name);
    let groups = graph.cohort_outputs.iter().filter(|output| output.parts.is_empty());
    for name in cases.chain(groups.map(|output| &output.name)) {
        notes.push(format!("output `{name}` is left out: nothing makes it any more"));
    }
    graph.outputs.retain(|output| !output.wires.is_empty());
    graph.cohort_outputs.retain(|output| !output.parts.is_empty());
    let wires = graph.nodes.iter().flat_map(|node| &node.wires);
    let wires = wires.chain(graph.outputs.iter().flat_map(|output| &output.wires));
    let read: BTreeSet<&Source> = wires.flat_map(|wire| &wire.candidates).collect();
    for input in &graph.inputs {
        let conditions = graph
            .nodes
            .iter()
            .any(|node| node.only_with.contains(&input.name) || node.only_without.contains(&input.name));
        if !conditions && !read.contains(&Source::Input(input.name.clone())) {
            notes.push(format!("nothing reads input `{}`", input.name));
        }
    }
    graph.notes.extend(notes);
}

/// Why nodes are left out; one note for a stage that is left out whole for one reason.
fn left_out(graph: &Graph, needed: &[bool], ran: &[bool], skipped: &[String]) -> Vec<String> {
    let reason = |index: usize| if ran[index] { "nothing reads it" } else { skipped[index].as_str() };
    let mut notes = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate().filter(|(index, _)| !needed[*index]) {
        let members = graph.nodes.iter().enumerate().filter(|(_, other)| other.stage == node.stage);
        let whole = members.clone().all(|(other, _)| !needed[other] && reason(other) == reason(index));
        let name = if whole { node.stage.clone() } else { node.label() };
        let note = format!("stage `{name}` is left out: {}", reason(index));
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

fn sources(wire: &WireSpec) -> impl Iterator<Item = usize> + '_ {
    wire.candidates.iter().filter_map(|source| match source {
        Source::Output { node, .. } => Some(*node),
        Source::Input(_) | Source::Reserved(_) => None,
    })
}

/// Drops what comes from nodes that were left out, and numbers the others anew.
fn rewire(wires: &mut Vec<WireSpec>, places: &[Option<usize>]) {
    for wire in wires.iter_mut() {
        wire.candidates.retain_mut(|source| match source {
            Source::Output { node, .. } => places[*node].map(|place| *node = place).is_some(),
            Source::Input(_) | Source::Reserved(_) => true,
        });
    }
    wires.retain(|wire| !wire.candidates.is_empty());
}
