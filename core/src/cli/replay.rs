//! `neuroloom replay`.

use super::progress::Reporter;
use super::stop::Stop;
use super::{ChangeArgs, Common, Exit, Failure, Format, WorkflowArgs, load, open_site, print, say, table};
use crate::batch::{Stopped, Submission};
use crate::compare::{self, Verdict};
use crate::plan::Graph;
use crate::registry::Registry;
use crate::replay::{self, Outcome, Recorded, ReplayError};
use crate::review::COMMAND as REVIEW;
use crate::runner::{Keeping, RunOptions};
use crate::site::Site;
use crate::store::{Memo, NodeKeys};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The output folder
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// The case whose result is made again
    #[arg(value_name = "CASE")]
    case: String,
    /// Make it again although inputs, plugins, models or the workflow are no longer as recorded
    #[arg(long)]
    anyway: bool,
    /// Where it is made again, in a folder that is removed at the end [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Threads that may work at a time [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn replay(common: &Common, args: &ReplayArgs) -> Result<Exit, Failure> {
    let recorded = replay::find(&args.out, &args.case)?;
    let (site, registry) = open_site(common)?;
    let graph = load_as_recorded(&recorded, &registry)?;
    let memo = Memo::in_memory();
    let keys = NodeKeys::new(&graph, &registry, &memo, &site.plugin)?;
    let mut changed = replay::changes(&recorded, &graph, &registry, &keys);
    let inputs = replay::inputs(&recorded, &graph, &memo, &mut changed);
    refuse_changes(args, &recorded, &changed)?;
    let plan = graph.plan(&registry, &inputs.keys().cloned().collect()).map_err(|reasons| {
        let reasons: Vec<String> = reasons.iter().map(|reason| format!("  {}", reason.reason)).collect();
        Failure::new(format!("case `{}` cannot be made again:\n{}", recorded.label, reasons.join("\n")))
    })?;
    let scratch = scratch(args, &site)?;
    let stop = Stop::install()?;
    let mut options = options(common, args, &site, &recorded, &stop);
    // Without a store: contents are digested, and nothing is taken from earlier runs.
    options.keeping = Some(Keeping { keys: Arc::new(keys), memo: Arc::new(memo), store: None });
    let (graph, registry) = (Arc::new(graph), Arc::new(registry));
    let made = replay::rerun(&recorded, (&graph, &registry), (inputs, plan), &options, scratch.path());
    match (made, stop.stopped()) {
        (Err(ReplayError::Stopped), Some(by)) => {
            say("interrupted: nothing was compared");
            return Ok(if by == Stopped::Terminated { Exit::Interrupted } else { Exit::CtrlC });
        }
        (made, _) => made?,
    }
    let outcome = replay::judge(&recorded, scratch.path(), changed)?;
    match args.format {
        Format::Json => print(&format!("{:#}", serde_json::to_value(&outcome)?)),
        Format::Text => print(&text(&outcome)),
    }
    Ok(if outcome.verdict == Verdict::Differs { Exit::SomeFailed } else { Exit::Fine })
}

/// The workflow with the overrides it was run with; a reviewed result with what the workflow does with reviews.
fn load_as_recorded(recorded: &Recorded, registry: &Registry) -> Result<Graph, Failure> {
    if recorded.submission.command == REVIEW {
        return Ok(super::review::load(recorded, registry)?.0);
    }
    let workflow = workflow_of(recorded);
    in_its_folder(&recorded.submission, || load(&workflow, registry))
}

/// The workflow that a result was made with, as on the command line.
pub(super) fn workflow_of(recorded: &Recorded) -> WorkflowArgs {
    let submission = &recorded.submission;
    WorkflowArgs {
        workflow: submission.workflow.clone(),
        changes: ChangeArgs { operators: submission.operators.clone(), set: submission.settings.clone() },
    }
}

/// Does something in the folder where a run was asked for: files in overrides are relative to that.
pub(super) fn in_its_folder<T>(
    submission: &Submission,
    load: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let here = std::env::current_dir()?;
    if !submission.settings.is_empty() && std::env::set_current_dir(&submission.folder).is_err() {
        return Err(Failure::new(format!(
            "{} is gone, and files that `--set` named are relative to it\nhint: bring the folder back",
            submission.folder.display()
        )));
    }
    let loaded = load();
    std::env::set_current_dir(here)?;
    loaded
}

fn refuse_changes(args: &ReplayArgs, recorded: &Recorded, changed: &[String]) -> Result<(), Failure> {
    if changed.is_empty() {
        return Ok(());
    }
    let list = changed.join("\n  ");
    if args.anyway {
        say(&format!("note: not as recorded:\n  {list}"));
        return Ok(());
    }
    Err(Failure::new(format!(
        "case `{}` cannot be made again from what it was made from:\n  {list}\n\
         hint: bring these back, or say --anyway to replay with what there is now",
        recorded.label
    )))
}

/// The folder in which the result is made again.
fn scratch(args: &ReplayArgs, site: &Site) -> Result<tempfile::TempDir, Failure> {
    let root = args.scratch.clone().or_else(|| site.run.scratch.clone()).unwrap_or_else(std::env::temp_dir);
    let made = tempfile::Builder::new().prefix("neuroloom-replay-").tempdir_in(&root);
    made.map_err(|error| {
        let root = root.display();
        Failure::new(format!("{root}: {error}\nhint: name a folder that can be written with --scratch"))
    })
}

fn options(common: &Common, args: &ReplayArgs, site: &Site, recorded: &Recorded, stop: &Stop) -> RunOptions {
    let reporter = Reporter::new(common.log_format);
    let defaults = RunOptions::default();
    let device = recorded.submission.device.clone().or_else(|| site.run.device.clone());
    RunOptions {
        cores: args.threads.map(usize::from).or(site.run.threads).unwrap_or(defaults.cores),
        memory_mib: site.run.memory_mib.unwrap_or(defaults.memory_mib),
        device: device.unwrap_or_else(|| defaults.device.clone()),
        scratch_root: scratch_root(args, site, &defaults.scratch_root),
        cancel: Arc::clone(&stop.any),
        site: site.plugin.clone(),
        events: Arc::new(move |event| reporter.show(event)),
        ..defaults
    }
}

fn scratch_root(args: &ReplayArgs, site: &Site, default: &Path) -> PathBuf {
    args.scratch.clone().or_else(|| site.run.scratch.clone()).unwrap_or_else(|| default.to_owned())
}

fn text(outcome: &Outcome) -> String {
    let Outcome { outputs, identical, close, .. } = *outcome;
    let mut lines = vec![match outcome.verdict {
        Verdict::Identical => format!("identical: {identical} of {outputs} outputs, bit for bit"),
        Verdict::Close => format!(
            "the same but for rounding: {identical} of {outputs} outputs bit for bit, {close} within a network's tolerance"
        ),
        _ => format!("differs: {} of {outputs} outputs", outputs - identical),
    }];
    lines.extend(outcome.altered.iter().map(|altered| format!("note: {altered}")));
    let first = outcome.first_stage.as_ref();
    lines.extend(first.map(|stage| format!("the first stage that delivered something else: `{stage}`")));
    let rows = compare::in_words(&outcome.comparison);
    if !rows.is_empty() {
        let mut shown = table::plain(&["output", "difference (A published, B made again)"]);
        for (output, _, words) in rows {
            shown.add_row([output, words]);
        }
        lines.push(format!("\n{shown}"));
    }
    lines.join("\n")
}
