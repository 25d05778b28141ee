//! What each missing input costs: stages skipped, stand-ins, outputs lost, or the whole case.

use super::patterns;
use crate::catalogue::Catalogue;
use crate::fault::list;
use crate::plan::{Graph, Impossible, NodePlan, OutputPlan, Plan, Source};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// Above this many optional inputs the text shows only rows with one or two absent; JSON has all.
const MOST_IN_FULL: usize = 4;

/// What absence costs: a row for every pattern of optional inputs, then one for each required input.
#[derive(Clone, Debug, Serialize)]
pub struct CostTable {
    /// Name of the workflow.
    pub workflow: String,
    /// What the checker noted about the workflow as a whole.
    pub notes: Vec<String>,
    /// Nothing absent first, then by number of inputs absent.
    pub rows: Vec<CostRow>,
}

/// What one pattern of absence costs, compared with nothing absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CostRow {
    /// The inputs that are absent.
    pub absent: Vec<String>,
    /// Why such a case cannot run; empty if it can.
    pub impossible: Vec<String>,
    /// Stages that are skipped, each with its chain of reasons.
    pub skipped: Vec<Loss>,
    /// What is read instead: "`reference_image` is `t1_post`".
    pub stand_ins: Vec<String>,
    /// What operators say about this pattern and not about the whole.
    pub notes: Vec<String>,
    /// Outputs, or members of them (`images.flair`), that are lost, each with its chain of reasons.
    pub lost: Vec<Loss>,
}

/// Something that is lost, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The stage or output.
    pub name: String,
    /// The chain of reasons.
    pub reason: String,
}

/// The whole table.
pub fn cost_table(graph: &Graph, catalogue: &dyn Catalogue) -> CostTable {
    let all: BTreeSet<String> = graph.inputs.iter().map(|input| input.name.clone()).collect();
    let mut rows = Vec::new();
    for present in patterns(graph).unwrap_or_default() {
        rows.push(cost_row(graph, catalogue, &all.difference(&present).cloned().collect()));
    }
    for input in graph.inputs.iter().filter(|input| input.required) {
        rows.push(cost_row(graph, catalogue, &BTreeSet::from([input.name.clone()])));
    }
    CostTable { workflow: graph.name.clone(), notes: graph.notes.clone(), rows }
}

/// What it costs when the inputs `absent` are.
pub fn cost_row(graph: &Graph, catalogue: &dyn Catalogue, absent: &BTreeSet<String>) -> CostRow {
    let all: BTreeSet<String> = graph.inputs.iter().map(|input| input.name.clone()).collect();
    let present = all.difference(absent).cloned().collect();
    let whole = graph.plan(catalogue, &all).ok();
    let plan = graph.plan(catalogue, &present);
    row_of(graph, whole.as_ref(), &present, plan.as_ref().map_err(Vec::as_slice))
}

/// What it costs that only the inputs `present` are there, if this comes to `plan`, compared with the plan for all.
pub fn row_of(
    graph: &Graph,
    whole: Option<&Plan>,
    present: &BTreeSet<String>,
    plan: Result<&Plan, &[Impossible]>,
) -> CostRow {
    let names = graph.inputs.iter().map(|input| input.name.clone());
    let mut row =
        CostRow { absent: names.filter(|name| !present.contains(name)).collect(), ..CostRow::default() };
    match plan {
        Ok(plan) => compare(graph, whole, plan, &mut row),
        Err(reasons) => row.impossible = reasons.iter().map(|reason| reason.reason.clone()).collect(),
    }
    row
}

fn compare(graph: &Graph, whole: Option<&Plan>, plan: &Plan, row: &mut CostRow) {
    for (index, (node, state)) in graph.nodes.iter().zip(&plan.nodes).enumerate() {
        let before = whole.map(|whole| &whole.nodes[index]);
        match (state, before) {
            (NodePlan::Skip { reason }, _) if before.is_none_or(NodePlan::runs) => {
                row.skipped.push(Loss { name: node.label(), reason: reason.clone() });
            }
            (NodePlan::Run { wiring, .. }, Some(NodePlan::Run { wiring: usual, .. })) => {
                for wire in wiring {
                    let same =
                        |other: &&crate::plan::Wire| other.port == wire.port && other.member == wire.member;
                    let changed = usual.iter().find(same).is_some_and(|other| other.source != wire.source);
                    let spec = node.wires.iter().find(|s| s.port == wire.port && s.member == wire.member);
                    if let (true, Some(spec)) = (changed, spec) {
                        let text = format!("`{}` is `{}`", spec.text, graph.name_of(&wire.source));
                        if !row.stand_ins.contains(&text) {
                            row.stand_ins.push(text);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    let usual = whole.map(|whole| whole.notes.as_slice()).unwrap_or_default();
    let own = row.absent.is_empty();
    row.notes = plan.notes.iter().filter(|note| own || !usual.contains(note)).cloned().collect();
    for (index, (group, state)) in graph.cohort.iter().zip(&plan.groups).enumerate() {
        let counted = whole.is_none_or(|whole| whole.groups[index].lacks.is_none());
        if let (Some(reason), true) = (&state.lacks, counted) {
            let name = format!("its part in `{}`", group.node.stage);
            row.lost.push(Loss { name, reason: reason.clone() });
        }
    }
    for (index, (output, state)) in graph.outputs.iter().zip(&plan.outputs).enumerate() {
        let before = whole.map(|whole| &whole.outputs[index]);
        match (state, before) {
            (OutputPlan::Missing(reason), Some(OutputPlan::Available(_)) | None) => {
                row.lost.push(Loss { name: output.name.clone(), reason: reason.clone() });
            }
            (OutputPlan::Available(now), Some(OutputPlan::Available(usual))) => {
                for (member, ..) in usual.iter().filter(|(member, ..)| !now.iter().any(|(n, ..)| n == member))
                {
                    let name = format!("{}.{member}", output.name);
                    let source = output.wires.iter().find(|wire| wire.member == *member);
                    let source = source.and_then(|wire| wire.candidates.first());
                    let reason = source.map_or_else(String::new, |source| why(graph, plan, source));
                    row.lost.push(Loss { name, reason });
                }
            }
            _ => {}
        }
    }
}

/// The chain of reasons for the absence of a source.
fn why(graph: &Graph, plan: &Plan, source: &Source) -> String {
    match source {
        Source::Output { node, .. } => match &plan.nodes[*node] {
            NodePlan::Skip { reason } => format!("{reason}, so `{}` is skipped", graph.nodes[*node].label()),
            NodePlan::Run { .. } => format!("`{}` is not made", graph.name_of(source)),
        },
        Source::Input(_) | Source::Reserved(_) => format!("input `{source}` is absent"),
    }
}

impl fmt::Display for CostRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.absent.as_slice() {
            [] => writeln!(f, "with all inputs")?,
            names => writeln!(f, "without {}", list(names))?,
        }
        for reason in &self.impossible {
            writeln!(f, "  cannot run   {reason}")?;
        }
        for loss in &self.skipped {
            writeln!(f, "  skipped      {}: {}", loss.name, loss.reason)?;
        }
        for text in &self.stand_ins {
            writeln!(f, "  stand-in     {text}")?;
        }
        for loss in &self.lost {
            writeln!(f, "  output lost  {}: {}", loss.name, loss.reason)?;
        }
        for note in &self.notes {
            writeln!(f, "  note         {note}")?;
        }
        let nothing = self.skipped.is_empty() && self.stand_ins.is_empty() && self.lost.is_empty();
        if self.impossible.is_empty() && nothing {
            writeln!(f, "  all stages run, all outputs are made")?;
        }
        Ok(())
    }
}

impl fmt::Display for CostTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional = self.rows.iter().map(|row| row.absent.len()).max().unwrap_or_default();
        for row in self.rows.iter().filter(|row| optional <= MOST_IN_FULL || row.absent.len() <= 2) {
            write!(f, "{row}")?;
        }
        if optional > MOST_IN_FULL {
            writeln!(f, "rows with three and more inputs absent: `--format json`")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}
