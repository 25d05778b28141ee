//! A workflow as a picture: mermaid, Graphviz dot, or SVG.
//!
//! A box for each input, stage and output; a stage with `each` is one box that names its members. Dashed boxes are optional
//! inputs, dashed arrows are stand-ins. What the engine itself knows of a case (`case.label` …) is not drawn.

mod layout;
mod svg;

use crate::plan::{Graph, GroupNode, Source, WireSpec};
use sdk::Scope;
use std::fmt::Write as _;

pub use svg::svg;

/// What a box stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Input,
    Stage,
    Output,
}

/// A box.
#[derive(Clone, Debug)]
struct Block {
    role: Role,
    name: String,
    /// Kind, operator, members, file name.
    lines: Vec<String>,
    /// An input that may be absent.
    optional: bool,
    /// Ports that are read into and out of it, in order.
    inputs: Vec<String>,
    outputs: Vec<String>,
}

/// An arrow from an output of one box to an input of another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arrow {
    from: usize,
    output: String,
    to: usize,
    input: String,
    /// One of several sources, of which the first that is present is read.
    stand_in: bool,
}

/// Boxes and arrows of a workflow.
#[derive(Clone, Debug, Default)]
struct Drawing {
    blocks: Vec<Block>,
    arrows: Vec<Arrow>,
}

impl Drawing {
    fn of(graph: &Graph) -> Self {
        let mut drawing = Self::default();
        for input in &graph.inputs {
            let optional = if input.required { "" } else { ", optional" };
            let lines = vec![format!("{}{optional}", input.kind)];
            drawing.block(Role::Input, &input.name, lines, !input.required);
        }
        let mut places = Vec::new();
        for node in &graph.nodes {
            let known = drawing.find(Role::Stage, &node.stage);
            let place = known.unwrap_or_else(|| {
                drawing.block(Role::Stage, &node.stage, vec![node.operator.name.clone()], false)
            });
            if !node.member.is_empty() {
                let lines = &mut drawing.blocks[place].lines;
                match lines.get_mut(1) {
                    Some(members) => *members = format!("{members}, {}", node.member),
                    None => lines.push(node.member.clone()),
                }
            }
            places.push(place);
        }
        let after: Vec<usize> = graph.cohort.iter().map(|group| drawing.group(group, &places)).collect();
        for (node, place) in graph.nodes.iter().zip(&places) {
            node.wires.iter().for_each(|wire| drawing.wire(wire, *place, &places));
        }
        for output in &graph.outputs {
            let lines = output.bids.iter().cloned().collect();
            let place = drawing.block(Role::Output, &output.name, lines, false);
            output.wires.iter().for_each(|wire| drawing.wire(wire, place, &places));
        }
        for output in &graph.cohort_outputs {
            let lines = output.bids.iter().cloned().collect();
            let to = drawing.block(Role::Output, &output.name, lines, false);
            for part in &output.parts {
                let (from, output, input) = (after[part.node], part.port.clone(), String::new());
                drawing.arrow(Arrow { from, output, to, input, stand_in: false });
            }
        }
        drawing
    }

    /// A stage of the cohort.
    fn group(&mut self, group: &GroupNode, places: &[usize]) -> usize {
        let scope = if group.scope == Scope::Subject { "for each subject" } else { "for the cohort" };
        let lines = vec![group.node.operator.name.clone(), scope.to_owned()];
        let place = self.block(Role::Stage, &group.node.stage, lines, false);
        group.node.wires.iter().for_each(|wire| self.wire(wire, place, places));
        place
    }

    fn find(&self, role: Role, name: &str) -> Option<usize> {
        self.blocks.iter().position(|block| block.role == role && block.name == name)
    }

    fn block(&mut self, role: Role, name: &str, lines: Vec<String>, optional: bool) -> usize {
        let (inputs, outputs) = (Vec::new(), Vec::new());
        self.blocks.push(Block { role, name: name.to_owned(), lines, optional, inputs, outputs });
        self.blocks.len() - 1
    }

    fn wire(&mut self, wire: &WireSpec, to: usize, places: &[usize]) {
        for source in &wire.candidates {
            let (from, output) = match source {
                Source::Reserved(_) => continue,
                Source::Input(name) => (self.find(Role::Input, name), String::new()),
                Source::Output { node, port, .. } => (places.get(*node).copied(), port.clone()),
            };
            let Some(from) = from else { continue };
            let stand_in = wire.candidates.len() > 1;
            self.arrow(Arrow { from, output, to, input: wire.port.clone(), stand_in });
        }
    }

    fn arrow(&mut self, arrow: Arrow) {
        add(&mut self.blocks[arrow.from].outputs, &arrow.output);
        add(&mut self.blocks[arrow.to].inputs, &arrow.input);
        if !self.arrows.contains(&arrow) {
            self.arrows.push(arrow);
        }
    }

    /// An identifier that is unique and has letters, digits and `_` only.
    fn id(&self, block: usize) -> String {
        let Block { role, name, .. } = &self.blocks[block];
        let prefix = match role {
            Role::Input => "in",
            Role::Stage => "stage",
            Role::Output => "out",
        };
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        format!("{prefix}{block}_{plain}")
    }
}

fn add(ports: &mut Vec<String>, port: &str) {
    if !ports.iter().any(|known| known == port) {
        ports.push(port.to_owned());
    }
}

impl Arrow {
    fn label(&self) -> String {
        match (self.output.as_str(), self.input.as_str()) {
            ("", input) => input.to_owned(),
            (output, "") => output.to_owned(),
            (output, input) if output == input => output.to_owned(),
            (output, input) => format!("{output} to {input}"),
        }
    }
}

/// The workflow as a mermaid flowchart.
pub fn mermaid(graph: &Graph) -> String {
    let drawing = Drawing::of(graph);
    let text = |text: &str| {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
    };
    let mut out = String::from("flowchart LR\n");
    for (index, block) in drawing.blocks.iter().enumerate() {
        let (open, close) = match block.role {
            Role::Input => ("([", "])"),
            Role::Stage => ("[", "]"),
            Role::Output => ("[/", "/]"),
        };
        let lines: Vec<_> = block.lines.iter().map(|line| format!("<br/>{}", text(line))).collect();
        let class = if block.optional { ":::optional" } else { "" };
        let (id, name) = (drawing.id(index), text(&block.name));
        let _ = writeln!(out, "    {id}{open}\"<b>{name}</b>{}\"{close}{class}", lines.concat());
    }
    for arrow in &drawing.arrows {
        let line = if arrow.stand_in { "-.->" } else { "-->" };
        let label = match arrow.label().as_str() {
            "" => String::new(),
            label => format!("|\"{}\"|", text(label)),
        };
        let _ = writeln!(out, "    {} {line}{label} {}", drawing.id(arrow.from), drawing.id(arrow.to));
    }
    out.push_str("    classDef optional stroke-dasharray: 5 4\n");
    out
}

/// The workflow for Graphviz.
pub fn dot(graph: &Graph) -> String {
    let drawing = Drawing::of(graph);
    let text = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut out = format!("digraph \"{}\" {{\n", text(&graph.name));
    out.push_str("    rankdir=LR;\n    node [fontname=\"sans-serif\", fontsize=11];\n");
    out.push_str("    edge [fontname=\"sans-serif\", fontsize=9];\n");
    for (index, block) in drawing.blocks.iter().enumerate() {
        let shape = match block.role {
            Role::Input => "oval",
            Role::Stage => "box",
            Role::Output => "note",
        };
        let style = if block.optional { ", style=dashed" } else { "" };
        let lines: Vec<_> = block.lines.iter().map(|line| format!("\\n{}", text(line))).collect();
        let label = format!("{}{}", text(&block.name), lines.concat());
        let _ = writeln!(out, "    {} [label=\"{label}\", shape={shape}{style}];", drawing.id(index));
    }
    for arrow in &drawing.arrows {
        let style = if arrow.stand_in { ", style=dashed" } else { "" };
        let (from, to) = (drawing.id(arrow.from), drawing.id(arrow.to));
        let _ = writeln!(out, "    {from} -> {to} [label=\"{}\"{style}];", text(&arrow.label()));
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::fake::Fake;
    use crate::workflow::{Overrides, load};
    use std::path::Path;

    fn paper() -> Graph {
        let path = Path::new("tests/data/brain-metastases.toml");
        load(path, &Overrides::default(), &Fake::new()).unwrap()
    }

    #[test]
    fn the_paper_s_workflow_as_mermaid_and_dot() {
        insta::assert_snapshot!("mermaid", mermaid(&paper()));
        insta::assert_snapshot!("dot", dot(&paper()));
    }

    #[test]
    fn every_box_and_arrow_is_in_the_svg() {
        let graph = paper();
        let drawing = Drawing::of(&graph);
        let text = svg(&graph);
        assert_eq!(text.matches("<g class=\"box ").count(), drawing.blocks.len());
        assert_eq!(text.matches("<path class=\"arrow").count(), drawing.arrows.len());
        assert!(!text.contains("NaN"));
    }

    #[test]
    fn boxes_of_the_svg_do_not_overlap() {
        let drawing = Drawing::of(&paper());
        let placed = layout::place(&drawing);
        for (a, one) in placed.boxes.iter().enumerate() {
            for (b, other) in placed.boxes.iter().enumerate().skip(a + 1) {
                let apart = one.x + one.width <= other.x
                    || other.x + other.width <= one.x
                    || one.y + one.height <= other.y
                    || other.y + other.height <= one.y;
                assert!(apart, "{} and {}", drawing.blocks[a].name, drawing.blocks[b].name);
            }
        }
    }

    #[test]
    fn names_cannot_break_out_of_a_picture() {
        let mut graph = paper();
        graph.name = "</svg>\"<script>".to_owned();
        graph.outputs[0].bids = Some("a\"]<b>&".to_owned());
        assert!(!svg(&graph).contains("<script>") && !svg(&graph).contains("<b>&"));
        assert!(mermaid(&graph).contains("a&quot;]&lt;b&gt;&amp;"));
        assert!(dot(&graph).contains("digraph \"</svg>\\\"<script>\""));
    }
}
