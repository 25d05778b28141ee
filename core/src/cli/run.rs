//! `neuroloom run`.

use super::progress::Reporter;
use super::{Common, Exit, Failure, WorkflowArgs, load, near_miss, open_site, print, say};
use crate::batch::{Finished, Session, Start, Submission, Task};
use crate::case::CaseLabel;
use crate::fault::suggest;
use crate::plan::{Graph, Plan};
use crate::record::{Attempts, Claimed, FORMAT, Liveness, Process, State};
use crate::registry::Registry;
use crate::runner::{self, CaseInput, CaseJob, CaseResult, RunOptions, StageState};
use crate::site::Site;
use clap::Args;
use sdk::{Kind, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    workflow: WorkflowArgs,
    /// What an input is: a file, or the value of a text or number
    #[arg(short, long = "input", value_name = "NAME=PATH")]
    inputs: Vec<String>,
    /// Where results go: a BIDS derivative data set, made if need be
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// The case's label, `sub-017` or `sub-017_ses-02` [default: as the first input's file name says]
    #[arg(long, value_name = "LABEL")]
    case: Option<String>,
    /// Device of stages that name none: `auto`, `cpu`, `cuda:0` …
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Threads that may work at a time [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

pub(super) fn run(common: &Common, args: &RunArgs) -> Result<Exit, Failure> {
    let (site, registry) = open_site(common)?;
    let graph = load(&args.workflow, &registry)?;
    for note in &graph.notes {
        tracing::info!("{note}");
    }
    let inputs = inputs(&graph, &args.inputs)?;
    let label = label(args, &inputs)?;
    let present: BTreeSet<String> = inputs.keys().cloned().collect();
    let plan =
        graph.plan(&registry, &present).map_err(|reasons| impossible(&graph, &present, &label, &reasons))?;
    for line in plan_lines(&graph, &plan) {
        say(&line);
    }
    let submission = submission(args, &graph, &registry);
    let files: Vec<PathBuf> = inputs.values().filter_map(file).cloned().collect();
    let session = Session::open(&mut Start {
        out: &args.out,
        inputs: &mut files.iter().map(PathBuf::as_path),
        keep_replaced: site.batch.keep_replaced,
        submission: &submission,
    })?;
    session.said().iter().for_each(|line| say(line));
    let attempts = Attempts::of_case(session.state(), &label.to_string());
    let plan = Arc::new(plan);
    let task = Task {
        label: label.clone(),
        inputs: inputs.clone(),
        plan: Arc::clone(&plan),
        why: "asked for".to_owned(),
        fingerprint: None,
    };
    if attempts.state(&Liveness::now(session.state())) == State::Running
        || session.claim(&attempts, task)? == Claimed::Taken
    {
        return Err(Failure::new(format!(
            "another process works on case `{label}` in {}\nhint: `neuroloom status {}` shows it",
            args.out.display(),
            args.out.display()
        )));
    }
    let stop = Stop::install()?;
    let options = options(common, args, &site, &stop);
    let job = CaseJob { label: label.to_string(), inputs, plan, memory_mib: 0 };
    let (graph, registry) = (Arc::new(graph), Arc::new(registry));
    let exit = OnceLock::new();
    runner::run(&graph, &registry, &options, &mut std::iter::once(job), &|result| {
        let _ = exit.set(conclude(&result, &session.finish(&graph, &result), &stop));
    });
    session.close();
    Ok(exit.into_inner().unwrap_or_else(|| stop.exit()))
}

fn submission(args: &RunArgs, graph: &Graph, registry: &Registry) -> Submission {
    Submission {
        format: FORMAT,
        command: "run".to_owned(),
        workflow: std::path::absolute(&args.workflow.workflow).unwrap_or_default(),
        name: graph.name.clone(),
        digest: graph.digest.clone(),
        operators: args.workflow.operators.clone(),
        settings: args.workflow.set.clone(),
        cohort: None,
        device: args.device.clone(),
        arguments: std::env::args().skip(1).collect(),
        folder: std::env::current_dir().unwrap_or_default(),
        provenance: runner::provenance(graph, registry),
        process: Process::this().clone(),
        since: crate::record::now(),
    }
}

fn file(input: &CaseInput) -> Option<&PathBuf> {
    match input {
        CaseInput::File(path) => Some(path),
        CaseInput::Value(_) | CaseInput::Slices(_) => None,
    }
}

/// What the machine gives: arguments first, then the site, then all there is.
fn options(common: &Common, args: &RunArgs, site: &Site, stop: &Stop) -> RunOptions {
    let reporter = Reporter::new(common.log_format);
    let defaults = RunOptions::default();
    RunOptions {
        cores: args.threads.map(usize::from).or(site.run.threads).unwrap_or(defaults.cores),
        memory_mib: site.run.memory_mib.unwrap_or(defaults.memory_mib),
        device: args.device.clone().or_else(|| site.run.device.clone()).unwrap_or(defaults.device),
        scratch_root: site.run.scratch.clone().unwrap_or(defaults.scratch_root),
        cancel: Arc::clone(&stop.any),
        site: site.plugin.clone(),
        events: Arc::new(move |event| reporter.show(event)),
        ..defaults
    }
}

/// The two ways to be stopped from outside.
struct Stop {
    any: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
}

impl Stop {
    /// The first signal asks stages to stop; a second Ctrl-C ends the process at once.
    fn install() -> Result<Self, Failure> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let stop = Self { any: Arc::default(), terminated: Arc::default() };
        signal_hook::flag::register_conditional_shutdown(SIGINT, Exit::CtrlC as i32, Arc::clone(&stop.any))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&stop.any))?;
        signal_hook::flag::register(SIGTERM, Arc::clone(&stop.terminated))?;
        signal_hook::flag::register(SIGTERM, Arc::clone(&stop.any))?;
        Ok(stop)
    }

    /// How a run ends that was stopped.
    fn exit(&self) -> Exit {
        if self.terminated.load(Ordering::Relaxed) { Exit::Interrupted } else { Exit::CtrlC }
    }
}

/// Decides the last lines and the exit code.
fn conclude(result: &CaseResult, finished: &Finished, stop: &Stop) -> Exit {
    for record in result.records.iter().filter(|record| record.state == StageState::Failed) {
        let reason = record.reason.as_deref().unwrap_or("no reason given");
        let place = record.location.as_ref().map(|at| format!(" (at {at})")).unwrap_or_default();
        let what = match record.stage.strip_prefix("input ") {
            Some(input) => format!(": input `{input}` could not be read"),
            None => format!(" stopped at stage `{}`", record.place()),
        };
        say(&format!("error: case `{}`{what}: {reason}{place}", result.label));
        if let Some(hint) = &record.hint {
            say(&format!("hint: {hint}"));
        }
    }
    if let Some(error) = &finished.error {
        say(&format!("error: case `{}`: {error}", result.label));
        return Exit::SomeFailed;
    }
    let files = &finished.published;
    for file in files {
        print(&format!("{}\t{}", file.output, file.path.display()));
    }
    if result.interrupted {
        say(&format!("interrupted: case `{}` is not complete; run it again", result.label));
        return stop.exit();
    }
    let (label, count, seconds) = (&result.label, files.len(), result.seconds);
    if result.ok {
        say(&format!("case `{label}` finished in {seconds:.1} s: {count} outputs"));
        Exit::Fine
    } else {
        let made = if count == 0 { "no".to_owned() } else { count.to_string() };
        say(&format!("case `{label}` failed after {seconds:.1} s; {made} outputs could still be made"));
        Exit::SomeFailed
    }
}

fn inputs(graph: &Graph, arguments: &[String]) -> Result<BTreeMap<String, CaseInput>, Failure> {
    let names: Vec<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
    let mut inputs = BTreeMap::new();
    for argument in arguments {
        let Some((name, text)) = argument.split_once('=') else {
            return Err(Failure::new(format!(
                "--input {argument}: no `=` between name and value\nhint: write --input NAME=PATH"
            )));
        };
        let Some(spec) = graph.input(name) else {
            let hint = suggest(name, "it has", &names).unwrap_or_default();
            return Err(Failure::new(format!(
                "the workflow `{}` has no input `{name}`\nhint: {hint}",
                graph.name
            )));
        };
        let input = match spec.kind {
            Kind::Number => {
                let wrong = |_| {
                    Failure::new(format!(
                        "--input {name}: `{text}` is no number\nhint: write it as in `1` or `0.5`"
                    ))
                };
                CaseInput::Value(Value::from(text.parse::<f64>().map_err(wrong)?))
            }
            Kind::Text => CaseInput::Value(Value::from(text)),
            _ if Path::new(text).is_file() => CaseInput::File(text.into()),
            _ if Path::new(text).is_dir() => {
                return Err(Failure::new(format!(
                    "--input {name}: `{text}` is a folder\nhint: name one file in it; this input is of kind `{}`",
                    spec.kind
                )));
            }
            _ => {
                return Err(Failure::new(format!(
                    "--input {name}: no file `{text}`{}",
                    near_miss(Path::new(text))
                )));
            }
        };
        if inputs.insert(name.to_owned(), input).is_some() {
            return Err(Failure::new(format!(
                "--input {name} is given twice\nhint: a case has one file for each input"
            )));
        }
    }
    Ok(inputs)
}

fn label(args: &RunArgs, inputs: &BTreeMap<String, CaseInput>) -> Result<CaseLabel, Failure> {
    /// A case that nobody named.
    const UNNAMED: &str = "sub-01";
    if let Some(label) = &args.case {
        return Ok(CaseLabel::parse(label)?);
    }
    let mut files = inputs.values().filter_map(file);
    if let Some(label) = files.find_map(|path| CaseLabel::of_file(path)) {
        return Ok(label);
    }
    say(&format!(
        "note: the case is called {UNNAMED}, as no file name has a BIDS label and --case is not given"
    ));
    Ok(CaseLabel::parse(UNNAMED)?)
}

fn impossible(
    graph: &Graph,
    present: &BTreeSet<String>,
    label: &CaseLabel,
    reasons: &[crate::plan::Impossible],
) -> Failure {
    let mut text = Vec::new();
    for reason in reasons {
        text.push(format!("error: case `{label}` cannot run: {}", reason.reason));
        text.extend(reason.hint.iter().map(|hint| format!("hint: {hint}")));
    }
    let missing = graph.inputs.iter().filter(|input| input.required && !present.contains(&input.name));
    let missing: Vec<String> = missing.map(|input| format!("--input {}=FILE", input.name)).collect();
    if !missing.is_empty() {
        text.push(format!("hint: give it with {}", missing.join(" ")));
    }
    text.push("note: nothing was read or written".to_owned());
    Failure(text.join("\n"))
}

fn plan_lines(graph: &Graph, plan: &Plan) -> Vec<String> {
    let absent: Vec<&str> =
        graph.inputs.iter().map(|i| i.name.as_str()).filter(|name| !plan.present.contains(*name)).collect();
    let mut lines = Vec::new();
    if !absent.is_empty() {
        lines.push(format!("note: without {}", absent.join(", ")));
    }
    lines.extend(plan.notes.iter().map(|note| format!("note: {note}")));
    lines
}
