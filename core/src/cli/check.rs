//! `neuroloom check`.

use super::{Common, Exit, Failure, Format, WorkflowArgs, colour, load_or_faults, open_site, print, say};
use crate::fault::Faults;
use crate::graph::cost::{CostTable, cost_row, cost_table};
use crate::registry::Registry;
use crate::workflow;
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    workflow: WorkflowArgs,
    /// Show what happens to a case that lacks this input (may be given several times)
    #[arg(long, value_name = "INPUT")]
    without: Vec<String>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn check(common: &Common, args: &CheckArgs) -> Result<Exit, Failure> {
    let (_, registry) = open_site(common)?;
    let graph = match load_or_faults(&args.workflow, &registry)? {
        Ok(graph) => graph,
        Err(faults) if args.format == Format::Json => {
            print(&format!("{:#}", json!({ "faults": faults.records() })));
            return Ok(Exit::Nothing);
        }
        Err(faults) => {
            let plural = if faults.len() == 1 { "" } else { "s" };
            let (text, path) = (faults.render(colour()), args.workflow.workflow.display());
            say(&format!("{text}\nerror: {} fault{plural} in {path}", faults.len()));
            return Ok(Exit::Nothing);
        }
    };
    for name in &args.without {
        if graph.input(name).is_none() {
            let names: Vec<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
            let hint = crate::fault::suggest(name, "it has", &names).unwrap_or_default();
            return Err(Failure::new(format!("--without {name}: no such input\nhint: {hint}")));
        }
    }
    if let Some(faults) = review_faults(args, &registry) {
        match args.format {
            Format::Json => print(&format!("{:#}", json!({ "faults": faults.records() }))),
            Format::Text => {
                let (text, path) = (faults.render(colour()), args.workflow.workflow.display());
                say(&format!("{text}\nerror: a fault in what {path} does with reviews"));
            }
        }
        return Ok(Exit::Nothing);
    }
    let table = if args.without.is_empty() {
        cost_table(&graph, &registry)
    } else {
        let rows = vec![cost_row(&graph, &registry, &args.without.iter().cloned().collect())];
        CostTable { workflow: graph.name.clone(), notes: graph.notes.clone(), rows }
    };
    match args.format {
        Format::Json => print(&format!("{:#}", json!({ "faults": [], "table": table }))),
        Format::Text => print(&table.to_string()),
    }
    let asked_for_impossible =
        !args.without.is_empty() && table.rows.iter().any(|row| !row.impossible.is_empty());
    Ok(if asked_for_impossible { Exit::Nothing } else { Exit::Fine })
}

/// What is wrong with the section `[review]`, if there is one.
fn review_faults(args: &CheckArgs, registry: &Registry) -> Option<Faults> {
    let overrides = args.workflow.changes.overrides();
    let path = &args.workflow.workflow;
    workflow::has_review(path, &overrides, registry)
        .then(|| workflow::load_review(path, &overrides, registry).err())?
}
