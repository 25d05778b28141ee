//! `neuroloom run`.

use super::means::MeansArgs;
use super::progress::Reporter;
use super::stop::Stop;
use super::{Common, Exit, Failure, WorkflowArgs, load, near_miss, open_site, print, say};
use crate::batch::{Finished, Session, Start, Stopped, Task, place_of};
use crate::case::CaseLabel;
use crate::fault::suggest;
use crate::plan::{Graph, Plan};
use crate::record::{Attempts, Claimed, Ending, Liveness, State};
use crate::runner::{self, CaseInput, CaseJob, CaseResult, StageState};
use clap::Args;
use sdk::{Kind, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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
    #[command(flatten)]
    means: MeansArgs,
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
    let keeping = args.means.keeping(&site, &graph, &registry)?;
    let submission = args.means.submission("run", &args.workflow, None, &graph, &registry);
    let session = Session::open(&mut Start {
        out: &args.out,
        inputs: &mut inputs.values().filter_map(place_of),
        policy: site.batch.policy(None),
        submission: &submission,
        keeping: Some(&keeping),
        part: None,
    })?;
    session.said().iter().for_each(|line| say(line));
    let plan = Arc::new(plan);
    claim((&args.out, "asked for"), &session, &label, &inputs, &plan)?;
    let stop = Stop::install()?;
    let reporter = Reporter::new(common.log_format);
    let mut options = args.means.options(&site, &stop, keeping);
    options.events = Arc::new(move |event| reporter.show(event));
    options.kept = graph.kept().into_iter().collect();
    let job = CaseJob { label: label.to_string(), inputs, plan, memory_mib: 0 };
    let (graph, registry) = (Arc::new(graph), Arc::new(registry));
    let exit = OnceLock::new();
    runner::run(&graph, &registry, &options, &mut std::iter::once(job), &|result| {
        let _ = exit.set(conclude(&result, &session.finish(&graph, &result), &stop));
    });
    session.release();
    Ok(exit.into_inner().unwrap_or_else(|| stopped(&stop)))
}

/// Takes the case, unless another process is at it; `why` it runs goes to the record.
pub(super) fn claim(
    (out, why): (&Path, &str),
    session: &Session,
    label: &CaseLabel,
    inputs: &BTreeMap<String, CaseInput>,
    plan: &Arc<Plan>,
) -> Result<(), Failure> {
    let attempts = Attempts::of_case(session.state(), &label.to_string());
    let task = Task {
        label: label.clone(),
        inputs: inputs.clone(),
        plan: Arc::clone(plan),
        why: why.to_owned(),
        fingerprint: None,
    };
    let running = attempts.state(&Liveness::now(session.state())) == State::Running;
    if !running && session.claim(&attempts, task)? != Claimed::Taken {
        return Ok(());
    }
    let out = out.display();
    Err(Failure::new(format!(
        "another process works on case `{label}` in {out}\nhint: `neuroloom status {out}` shows it"
    )))
}

/// How a run ends that was stopped.
pub(super) fn stopped(stop: &Stop) -> Exit {
    if stop.stopped() == Some(Stopped::Terminated) { Exit::Interrupted } else { Exit::CtrlC }
}

/// Decides the last lines and the exit code.
pub(super) fn conclude(result: &CaseResult, finished: &Finished, stop: &Stop) -> Exit {
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
    if finished.ending == Some(Ending::Changed) {
        let reason = finished.reason.as_deref().unwrap_or_default();
        say(&format!("error: case `{}` was not published: {reason}\nhint: run it again", result.label));
        return Exit::SomeFailed;
    }
    let files = &finished.published;
    for file in files {
        print(&format!("{}\t{}", file.output, file.path.display()));
    }
    if result.interrupted {
        say(&format!("interrupted: case `{}` is not complete; run it again", result.label));
        return stopped(stop);
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
    let mut files = inputs.values().filter_map(place_of);
    if let Some(label) = files.find_map(CaseLabel::of_file) {
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
