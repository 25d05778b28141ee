//! The picture as SVG, readable on light and dark ground.

use super::layout::{HEAD, LINE, MARGIN, place};
use super::{Drawing, Role};
use crate::plan::Graph;
use std::fmt::Write as _;

/// Colours follow the reader's scheme; the ground is drawn, so that the text stays readable anywhere.
const STYLE: &str = "\
svg { --ground: #ffffff; --ink: #1f2328; --faint: #59636e; --line: #818b98; --input: #ddf4ff; --stage: #f6f8fa; --output: #dafbe1; }
@media (prefers-color-scheme: dark) { svg { --ground: #0d1117; --ink: #f0f6fc; --faint: #9198a1; --line: #656c76; --input: #0c2d4a; --stage: #1c222b; --output: #0f3a21; } }
.ground { fill: var(--ground); }
text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.name { font-weight: 600; font-size: 13px; }
.more, .port { fill: var(--faint); font-size: 11px; }
.box rect { stroke: var(--line); }
.input rect { fill: var(--input); }
.stage rect { fill: var(--stage); }
.output rect { fill: var(--output); }
.optional rect, .stand-in { stroke-dasharray: 5 4; }
.arrow { fill: none; stroke: var(--line); stroke-width: 1.3; }
.head { fill: var(--line); }
";

/// The workflow as an SVG picture, complete in itself.
pub fn svg(graph: &Graph) -> String {
    let drawing = Drawing::of(graph);
    let placed = place(&drawing);
    let (width, height) = (placed.width.max(MARGIN), placed.height.max(MARGIN));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\">\n<title>Workflow {}</title>\n<style>\n{STYLE}</style>\n\
         <defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path class=\"head\" d=\"M0 0 L8 4 L0 8 z\"/></marker></defs>\n\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n",
        escape(&graph.name)
    );
    for (arrow, path) in drawing.arrows.iter().zip(&placed.paths) {
        let class = if arrow.stand_in { "arrow stand-in" } else { "arrow" };
        let (from, to) = (&drawing.blocks[arrow.from].name, &drawing.blocks[arrow.to].name);
        let parts = [from.as_str(), &arrow.output, "to", to, &arrow.input];
        let title = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            out,
            "<path class=\"{class}\" marker-end=\"url(#head)\" d=\"{}\"><title>{}</title></path>",
            curve(path),
            escape(&title)
        );
    }
    for (block, rect) in drawing.blocks.iter().zip(&placed.boxes) {
        let role = match block.role {
            Role::Input => "input",
            Role::Stage => "stage",
            Role::Output => "output",
        };
        let optional = if block.optional { " optional" } else { "" };
        let round = if block.role == Role::Stage { 4 } else { 14 };
        let _ = writeln!(
            out,
            "<g class=\"box {role}{optional}\" transform=\"translate({:.1} {:.1})\">",
            rect.x, rect.y
        );
        let _ =
            writeln!(out, "<rect width=\"{:.1}\" height=\"{:.1}\" rx=\"{round}\"/>", rect.width, rect.height);
        let middle = rect.width / 2.0;
        text(&mut out, "name", "middle", (middle, 19.0), &block.name);
        for (row, line) in block.lines.iter().enumerate() {
            text(&mut out, "more", "middle", (middle, HEAD + LINE * (row as f64 + 0.6)), line);
        }
        if block.role == Role::Stage {
            let y = |row: usize| HEAD + LINE * (block.lines.len() as f64 + row as f64 + 0.75);
            for (row, port) in block.inputs.iter().enumerate() {
                text(&mut out, "port", "start", (8.0, y(row)), port);
            }
            for (row, port) in block.outputs.iter().enumerate() {
                text(&mut out, "port", "end", (rect.width - 8.0, y(row)), port);
            }
        }
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn text(out: &mut String, class: &str, anchor: &str, at: (f64, f64), words: &str) {
    let (x, y) = at;
    let words = escape(words);
    let _ = writeln!(
        out,
        "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>"
    );
}

/// A smooth line: curves between layers, straight across them.
fn curve(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        let _ = match at.checked_sub(1).map(|before| points[before]) {
            None => write!(path, "M{x:.1} {y:.1}"),
            // Every second piece crosses a layer.
            Some(_) if at % 2 == 0 => write!(path, " L{x:.1} {y:.1}"),
            Some((from, level)) => {
                let middle = f64::midpoint(from, *x);
                write!(path, " C{middle:.1} {level:.1} {middle:.1} {y:.1} {x:.1} {y:.1}")
            }
        };
    }
    path
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
