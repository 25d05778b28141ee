//! Leaves out what no case can run and what nothing needs, each with a note.

use crate::plan::{Graph, Source, WireSpec};
use std::collections::BTreeSet;

/// Leaves nodes and outputs out of the graph. `ran` tells which nodes run in some pattern, `skipped` why one does not.
pub(super) fn prune(graph: &mut Graph, ran: &[bool], skipped: &[String]) {
    let mut needed = vec![false; graph.nodes.len()];
    let outputs = graph.outputs.iter().flat_map(|output| &output.wires);
    let mut open: Vec<usize> = outputs.flat_map(sources).collect();
    open.extend(graph.nodes.iter().enumerate().filter(|(_, node)| node.always).map(|(index, _)| index));
    while let Some(index) = open.pop() {
        if ran[index] && !needed[index] {
            needed[index] = true;
            open.extend(graph.nodes[index].wires.iter().flat_map(sources));
        }
    }
    let mut places = Vec::new();
    let mut kept = 0;
    let mut notes = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        places.push(needed[index].then_some(kept));
        kept += usize::from(needed[index]);
        if !ran[index] {
            notes.push(format!("stage `{}` is left out: {}", node.label(), skipped[index]));
        } else if !needed[index] {
            notes.push(format!("stage `{}` is left out: nothing reads it", node.label()));
        }
    }
    let mut index = 0;
    graph.nodes.retain(|_| {
        index += 1;
        needed[index - 1]
    });
    graph.nodes.iter_mut().for_each(|node| rewire(&mut node.wires, &places));
    graph.outputs.iter_mut().for_each(|output| rewire(&mut output.wires, &places));
    for output in graph.outputs.iter().filter(|output| output.wires.is_empty()) {
        notes.push(format!("output `{}` is left out: nothing makes it any more", output.name));
    }
    graph.outputs.retain(|output| !output.wires.is_empty());
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
