//! The plan as a picture: stages in columns by what they wait for, lines from what each reads.

use crate::stages::StageRow;
use sdk::serde::Serialize;
use std::collections::BTreeMap;

/// The picture of a plan, in units of an SVG.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Graph {
    /// Width of the whole.
    pub width: usize,
    /// Height of the whole.
    pub height: usize,
    /// Stages and inputs.
    pub nodes: Vec<Node>,
    /// Lines, as paths.
    pub lines: Vec<String>,
    /// The same in words.
    pub words: String,
}

/// A box.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Node {
    /// Its name, shortened to fit.
    pub name: String,
    /// Its state; `input` for what the case brings.
    pub state: String,
    /// The whole name, the state, and the first reason.
    pub about: String,
    /// Left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
}

/// Width of a box.
pub const BOX_WIDTH: usize = 132;
/// Height of a box.
pub const BOX_HEIGHT: usize = 26;
/// From one column to the next.
const COLUMN: usize = BOX_WIDTH + 44;
/// From one row to the next.
const ROW: usize = BOX_HEIGHT + 12;
/// Letters that fit into a box.
const LETTERS: usize = 18;

/// Name of a stage or input behind a source such as `filter.labels` or `aligned.registered.t1_pre`.
fn origin(source: &str) -> &str {
    source.split('.').next().unwrap_or(source)
}

impl Graph {
    /// Of the stages in the plan's order. Empty without stages.
    pub fn of(stages: &[StageRow]) -> Self {
        let known: BTreeMap<&str, &StageRow> =
            stages.iter().map(|stage| (stage.stage.as_str(), stage)).collect();
        let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
        let mut names: Vec<&str> = Vec::new();
        for stage in stages {
            // What is no stage is an input; documents of the case would lead from nowhere to the page alone.
            for source in stage.inputs.iter().map(|source| origin(source)).filter(|name| *name != "case") {
                if !known.contains_key(source) && columns.insert(source, 0).is_none() {
                    names.push(source);
                }
            }
        }
        // The plan's order may be any: a column is right once nothing changes. A cycle cannot pass the engine's check.
        names.extend(stages.iter().map(|stage| stage.stage.as_str()));
        for _ in 0..stages.len() {
            for stage in stages {
                let sources = stage.inputs.iter().map(|source| origin(source));
                let last = sources.filter_map(|source| columns.get(source)).max().copied().unwrap_or(0);
                columns.insert(&stage.stage, (last + 1).min(stages.len()));
            }
        }
        let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
        let mut places: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        for name in &names {
            let column = columns.get(name).copied().unwrap_or(0);
            let row = rows.entry(column).or_insert(0);
            places.insert(name, [2 + column * COLUMN, 2 + *row * ROW]);
            *row += 1;
        }
        let nodes = names.iter().map(|name| node(name, known.get(name).copied(), places[name])).collect();
        let lines = stages.iter().flat_map(|stage| lines(stage, &places)).collect();
        let most = rows.values().max().copied().unwrap_or(0);
        let last = rows.keys().max().copied().unwrap_or(0);
        let words: Vec<String> =
            stages.iter().map(|stage| format!("{} {}", stage.stage, stage.state)).collect();
        Self {
            width: last * COLUMN + BOX_WIDTH + 4,
            height: most * ROW,
            nodes,
            lines,
            words: words.join(", "),
        }
    }
}

fn node(name: &str, stage: Option<&StageRow>, [x, y]: [usize; 2]) -> Node {
    let state = stage.map_or("input", |stage| stage.state.as_str());
    let reason =
        stage.and_then(|stage| stage.details.iter().map(|detail| &detail.reason).find(|r| !r.is_empty()));
    let reason = reason.map_or_else(String::new, |reason| format!(" – {reason}"));
    let short = if name.chars().count() > LETTERS {
        name.chars().take(LETTERS - 1).chain(['…']).collect()
    } else {
        name.to_owned()
    };
    Node { name: short, state: state.to_owned(), about: format!("{name}: {state}{reason}"), x, y }
}

/// One line from each origin, however many of its ports are read.
fn lines(stage: &StageRow, places: &BTreeMap<&str, [usize; 2]>) -> Vec<String> {
    let Some([x, y]) = places.get(stage.stage.as_str()) else { return Vec::new() };
    let mut origins: Vec<&str> = stage.inputs.iter().map(|source| origin(source)).collect();
    origins.sort_unstable();
    origins.dedup();
    let line = |name: &str| {
        let [from_x, from_y] = places.get(name)?;
        let (x0, y0) = (from_x + BOX_WIDTH, from_y + BOX_HEIGHT / 2);
        let (x1, y1) = (*x, y + BOX_HEIGHT / 2);
        let middle = x1.saturating_sub(22);
        Some(format!("M{x0} {y0}C{} {y0} {middle} {y1} {x1} {y1}", x0 + 22))
    };
    origins.into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, state: &str, inputs: &[&str]) -> StageRow {
        StageRow {
            stage: name.to_owned(),
            state: state.to_owned(),
            inputs: inputs.iter().map(|&i| i.to_owned()).collect(),
            ..StageRow::default()
        }
    }

    #[test]
    fn stages_stand_to_the_right_of_what_they_read() {
        let stages = [
            stage("page", "ran", &["filter.labels", "case.plan"]),
            stage("filter", "failed", &["score", "brain.mask", "brain.inside"]),
            stage("brain", "ran", &["t1"]),
        ];
        let graph = Graph::of(&stages);
        let x = |name: &str| graph.nodes.iter().find(|node| node.name == name).unwrap().x;
        assert!(x("t1") < x("brain") && x("brain") < x("filter") && x("filter") < x("page"));
        assert_eq!(x("score"), x("t1"), "inputs share the first column");
        assert_eq!(graph.lines.len(), 4, "one line from each origin: {:?}", graph.lines);
        assert!(graph.nodes.iter().any(|node| node.about == "filter: failed"));
        assert!(graph.nodes.iter().all(|node| node.name != "case"));
    }

    #[test]
    fn no_stages_give_an_empty_picture_and_a_circle_an_end() {
        assert!(Graph::of(&[]).nodes.is_empty());
        let circle = [stage("a", "ran", &["b.x"]), stage("b", "ran", &["a.x"])];
        assert_eq!(Graph::of(&circle).nodes.len(), 2);
    }
}
