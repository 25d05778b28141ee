//! Wiring, kinds, frames, grids and absence: from a workflow as written to a [`Graph`] free of faults.
//!
//! The work goes in three steps. *Expansion* looks up names, spreads `each` and `insert_after`, and makes the nodes. Then,
//! for every pattern of presence of the optional inputs, *presence* decides what runs and asks the operators for their
//! ports, and *unification* follows frames and grids. What nothing needs is left out at the end.
//!
//! The stages of the cohort are checked as nodes that come after all others, and taken out of these at the end.
//!
//! A fault poisons what depends on it: a value of unknown kind or grid fits everywhere, so that one mistake is told once.

mod cohort;
pub mod cost;
mod expand;
mod kinds;
mod names;
mod node;
mod order;
mod presence;
mod prune;
mod settings;
#[cfg(test)]
pub(crate) mod tests;
mod unify;

use crate::catalogue::Catalogue;
use crate::fault::{Fault, Sources, list};
use crate::plan::{Graph, Impossible, Plan};
use crate::workflow::Workflow;
use std::collections::BTreeSet;

/// Optional inputs beyond this are a fault: each doubles the patterns to be checked.
pub const MOST_OPTIONAL_INPUTS: usize = 12;

/// The graph of a workflow; none if its faults leave nothing to check patterns on. Faults go to `faults`.
pub(crate) fn build(
    workflow: &Workflow,
    sources: &Sources,
    catalogue: &dyn Catalogue,
    faults: &mut Vec<Fault>,
) -> Option<Graph> {
    let (mut graph, health) = expand::expand(workflow, sources, catalogue, faults);
    let cache = presence::Interfaces::default();
    let patterns = match patterns(&graph) {
        Ok(patterns) => patterns,
        Err(fault) => {
            faults.push(fault);
            return None;
        }
    };
    let of_cases = graph.nodes.len() - workflow.groups.len();
    let mut groups = cohort::Ports::new();
    let mut ran = vec![false; graph.nodes.len()];
    let mut skipped = vec![String::new(); graph.nodes.len()];
    let mut hopeless = Vec::new();
    let mut sink = unify::Sink::default();
    for present in &patterns {
        let mut evaluation = presence::evaluate(&graph, &health, present, catalogue, &cache);
        evaluation.counts = cohort::look(&graph, of_cases, &evaluation, &mut groups);
        for (index, state) in evaluation.states.iter().enumerate() {
            match state {
                presence::State::Skip(reason) if skipped[index].is_empty() => {
                    skipped[index].clone_from(reason);
                }
                presence::State::Skip(_) => {}
                _ => ran[index] = true,
            }
        }
        if present.len() == graph.inputs.len() {
            hopeless = evaluation.impossible(&graph, present);
        }
        sink.begin(&graph, present);
        presence::report(&graph, &evaluation, &mut sink);
        unify::check(&graph, &health, &evaluation, &mut sink);
    }
    faults.extend(sink.into_faults());
    if faults.is_empty() {
        faults.extend(hopeless.into_iter().map(|reason| Fault::whole(reason.reason).maybe_hint(reason.hint)));
        prune::prune(&mut graph, &ran, &skipped);
        cohort::take_apart(&mut graph, groups, catalogue);
    }
    graph.digest = graph.method_digest();
    Some(graph)
}

/// Every pattern of presence in which all required inputs are there; those with fewest absent come first.
///
/// # Errors
/// A fault if there are more than [`MOST_OPTIONAL_INPUTS`] optional inputs.
pub(crate) fn patterns(graph: &Graph) -> Result<Vec<BTreeSet<String>>, Fault> {
    let optional: Vec<_> = graph.inputs.iter().filter(|input| !input.required).collect();
    if optional.len() > MOST_OPTIONAL_INPUTS {
        let names: Vec<_> = optional.iter().map(|input| input.name.as_str()).collect();
        let message = format!(
            "{} inputs are optional, more than {MOST_OPTIONAL_INPUTS}: {}",
            optional.len(),
            list(&names)
        );
        let span = optional[MOST_OPTIONAL_INPUTS].span;
        return Err(Fault::at(span, message).hint("each doubles the patterns to check; make some required"));
    }
    let mut masks: Vec<u32> = (0..1 << optional.len()).collect();
    masks.sort_by_key(|mask| (mask.count_ones(), *mask));
    let pattern = |mask: u32| {
        let absent = |name: &str| {
            optional.iter().enumerate().any(|(bit, input)| mask & (1 << bit) != 0 && input.name == name)
        };
        graph.inputs.iter().map(|input| input.name.clone()).filter(|name| !absent(name)).collect()
    };
    Ok(masks.into_iter().map(pattern).collect())
}

impl Graph {
    /// What happens to a case that has the inputs `present`: which nodes run, on what, and which outputs remain.
    ///
    /// # Errors
    /// Every reason why such a case cannot run: a required input is absent, an operator refuses, or no output remains but
    /// those of `always` stages.
    pub fn plan(
        &self,
        catalogue: &dyn Catalogue,
        present: &BTreeSet<String>,
    ) -> Result<Plan, Vec<Impossible>> {
        let cache = presence::Interfaces::default();
        presence::evaluate(self, &[], present, catalogue, &cache).into_plan(self, present)
    }
}
