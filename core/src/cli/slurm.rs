//! `neuroloom slurm task` and `slurm follow`: what the jobs of a batch run.
//!
//! A job knows its run only: what was asked for stands in the run's folder, as the arguments that `batch` was given.

use super::batch::{BatchArgs, Scene, run_decided};
use super::means::SHARE_OF_MEMORY;
use super::stop::Stop;
use super::{Cli, Command, Common, Exit, Failure, batch, load, open_site, say};
use crate::batch::{
    Decided, Decider, Decision, Gathered, Part, Session, Start, Submission, Summary, machine, manifest,
    place_of,
};
use crate::case::CaseLabel;
use crate::group::GroupState;
use crate::plan::Graph;
use crate::record::{Attempts, Liveness, State, StateFolder, Token, now};
use crate::registry::Registry;
use crate::runner::{CaseInput, RunOptions};
use crate::slurm::{Next, Place, Settled, SlurmRun, Submitter, WARNED, settle};
use clap::{Args, Parser as _, Subcommand};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the job that follows waits for tasks that Slurm has not quite ended.
const PAUSE: Duration = Duration::from_secs(5);
/// How often it tries to submit a round, and how long it waits in between: a controller that is restarted is back by then.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_secs(20);
/// Bytes of a GiB.
const GIB: f64 = (1_u64 << 30) as f64;

#[derive(Debug, Args)]
pub(super) struct SlurmArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run the cases of one task of an array
    Task(TaskArgs),
    /// Settle a round that is over: submit what is missing, or run the stages over the cohort
    Follow(RoundArgs),
}

#[derive(Debug, Args)]
struct RoundArgs {
    /// The output folder of `batch`
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// The run
    #[arg(long)]
    run: u32,
    /// The round
    #[arg(long)]
    round: u32,
}

#[derive(Debug, Args)]
struct TaskArgs {
    #[command(flatten)]
    round: RoundArgs,
    /// The array
    #[arg(long)]
    array: usize,
}

pub(super) fn slurm(args: &SlurmArgs) -> Result<Exit, Failure> {
    let began = Instant::now();
    match &args.what {
        What::Task(args) => task(args),
        What::Follow(args) => follow(args, began),
    }
}

/// What a run was asked for.
struct Recalled {
    run: SlurmRun,
    common: Common,
    args: BatchArgs,
    submission: Submission,
}

impl Recalled {
    /// Reads it back, and goes to the folder that it was asked in.
    fn of(args: &RoundArgs) -> Result<Self, Failure> {
        let run = SlurmRun::new(&StateFolder::of(&args.out), args.run);
        let submission = Submission::read(&run.home())
            .ok_or_else(|| run.unknown("submission that can be read".to_owned()))?;
        std::env::set_current_dir(&submission.folder)?;
        let words = std::iter::once("neuroloom".to_owned()).chain(submission.arguments.iter().cloned());
        match Cli::try_parse_from(words) {
            Ok(Cli { command: Command::Batch(batch), common }) => {
                Ok(Self { run, common, args: BatchArgs { out: args.out.clone(), ..batch }, submission })
            }
            _ => Err(run.unknown("arguments of `batch`".to_owned()).into()),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn task(args: &TaskArgs) -> Result<Exit, Failure> {
    let stop = Stop::install_in_task()?;
    let recalled = Recalled::of(&args.round)?;
    let run = &recalled.run;
    let token = Token::of_environment(variable)
        .ok_or_else(|| Failure::new("this is no task of an array: Slurm's variables are not set"))?;
    if run.is_over() {
        say("note: the run is over; nothing is done");
        return Ok(Exit::Fine);
    }
    let round =
        run.round(args.round.round).ok_or_else(|| run.unknown(format!("round {}", args.round.round)))?;
    let own = |place: &&Place| place.array == args.array && place.task as u64 == token.task;
    let places: Vec<&Place> = round.places.iter().filter(own).collect();
    if places.is_empty() {
        return Err(run.unknown(format!("task {} of array {}", token.task, args.array)).into());
    }
    let part = Part { run: args.round.run, token };
    let Some(scratch) = scratch(&recalled)? else { return Ok(Exit::Interrupted) };
    let summary = run_task(&recalled, part, &places, &stop, scratch)?;
    if stop.warned.load(Ordering::Relaxed) {
        say(&format!("note: {WARNED}: what is not done goes on in another task"));
    }
    let (outcome, line) = summary.conclude(stop.stopped(), false);
    say(&format!("{line} ({:.1} s)", summary.seconds));
    Ok(batch::exit_of(outcome))
}

/// Runs the cases of a task as they were frozen.
fn run_task(
    recalled: &Recalled,
    part: Part,
    places: &[&Place],
    stop: &Stop,
    scratch: PathBuf,
) -> Result<Summary, Failure> {
    let began = Instant::now();
    let Recalled { run, common, args, submission } = recalled;
    let (site, registry) = open_site(common)?;
    let graph = load(&args.workflow, &registry)?;
    if graph.digest != submission.digest {
        return Err(Failure::new(format!(
            "{} was changed since it was submitted\nhint: `neuroloom cancel {}`, then give the batch again",
            submission.workflow.display(),
            args.out.display()
        )));
    }
    let keeping = args.means.keeping(&site, &graph, &registry)?;
    let cases = frozen_cases(run, &graph, places)?;
    let session = Session::open(&mut Start {
        out: &args.out,
        inputs: &mut cases.iter().flat_map(|case| case.inputs.values()).filter_map(place_of),
        policy: site.batch.policy(args.keep_replaced),
        submission,
        keeping: Some(&keeping),
        part: Some(part),
    })?;
    session.said().iter().for_each(|line| say(line));
    let decider = Decider {
        graph: &graph,
        keys: &keeping.keys,
        memo: &keeping.memo,
        state: session.state(),
        out: &args.out,
        liveness: Liveness::now(session.state()),
        retry_only: false,
        cancel: &stop.any,
        held: &BTreeMap::new(),
        task: Some((part.run, part.token)),
    };
    let decided = cases.into_iter().map(|case| case.decide(&decider, &registry));
    let decided = decided.collect::<Result<Vec<Decided>, Failure>>()?;
    let mut options = given(args.means.options(&site, stop, keeping.clone()), scratch);
    let (graph, registry) = (Arc::new(graph), Arc::new(registry));
    let mut summary =
        run_decided(&graph, &registry, &session, decided, &mut options, Some(1), common.log_format);
    summary.seconds = began.elapsed().as_secs_f64();
    Ok(summary)
}

/// A case of the manifest.
struct Frozen {
    label: CaseLabel,
    inputs: BTreeMap<String, CaseInput>,
    why: String,
}

/// The cases of a task, as the manifest has them.
fn frozen_cases(run: &SlurmRun, graph: &Graph, places: &[&Place]) -> Result<Vec<Frozen>, Failure> {
    let mut cases = Vec::new();
    for line in manifest::read(&run.home()) {
        if let Some(place) = places.iter().find(|place| place.case == line.case) {
            let (label, why) = (CaseLabel::parse(&line.case)?, place.why.clone());
            cases.push(Frozen { label, inputs: line.case_inputs(graph).map_err(Failure::new)?, why });
        }
    }
    Ok(cases)
}

impl Frozen {
    fn decide(self, decider: &Decider<'_>, registry: &Registry) -> Result<Decided, Failure> {
        let present: BTreeSet<String> = self.inputs.keys().cloned().collect();
        let plan = decider.graph.plan(registry, &present);
        let plan = plan.map_err(|_| Failure::new(format!("case `{}` cannot run any more", self.label)))?;
        let mut decided = decider.known(self.label, self.inputs, &Arc::new(plan));
        if let Decision::Run { why } = &mut decided.decision {
            *why = self.why;
        }
        Ok(decided)
    }
}

/// What Slurm gave to the job: processors and memory.
fn given(options: RunOptions, scratch: PathBuf) -> RunOptions {
    let number = |name: &str| variable(name)?.parse::<u64>().ok();
    let cores = number("SLURM_CPUS_PER_TASK").and_then(|cpus| usize::try_from(cpus).ok());
    let own = machine::resident_mib().unwrap_or(0);
    let memory = number("SLURM_MEM_PER_NODE").map(|mib| (mib as f64 * SHARE_OF_MEMORY) as u64);
    RunOptions {
        cores: cores.filter(|cores| *cores > 0).unwrap_or(options.cores),
        memory_mib: memory.map_or(options.memory_mib, |mib| mib.saturating_sub(own).max(1)),
        scratch_root: scratch,
        ..options
    }
}

/// The first folder for scratch with enough room: the job's own, the user's, the site's, the system's. Says so if there is none.
fn scratch(recalled: &Recalled) -> Result<Option<PathBuf>, Failure> {
    let submitter = recalled.run.submitter();
    let wanted = submitter.map_or(0.0, |submitter| submitter.site.scratch_gib);
    let named = ["SLURM_TMPDIR", "TMPDIR"].into_iter().filter_map(variable).map(PathBuf::from);
    let site = crate::site::Site::find(recalled.common.site.as_deref())?.run.scratch;
    let mut said = Vec::new();
    for folder in named.chain(site).chain([std::env::temp_dir()]) {
        let free = if folder.is_dir() { free_gib(&folder) } else { Some(-1.0) };
        match free {
            Some(free) if free < 0.0 => said.push(format!("{} is no folder", folder.display())),
            Some(free) if free < wanted => said.push(format!("{} has {free:.1} GiB", folder.display())),
            // Where nobody tells, the stages will.
            _ => return Ok(Some(folder)),
        }
    }
    say(&format!("error: no scratch with {wanted} GiB on this node: {}", said.join(", ")));
    Ok(None)
}

/// Space of a folder's file system that an ordinary user may still take.
fn free_gib(folder: &Path) -> Option<f64> {
    let system = rustix::fs::statvfs(folder).ok()?;
    Some(system.f_bavail as f64 * system.f_frsize as f64 / GIB)
}

fn follow(args: &RoundArgs, began: Instant) -> Result<Exit, Failure> {
    let stop = Stop::install()?;
    let recalled = Recalled::of(args)?;
    let run = &recalled.run;
    let submitter = run.submitter().ok_or_else(|| run.unknown("options for Slurm".to_owned()))?;
    loop {
        if let Some(stopped) = stop.stopped() {
            say(&format!("note: stopped ({stopped:?})"));
            return Ok(Exit::Interrupted);
        }
        match settle(run, args.round, &submitter)? {
            Next::Over => return Ok(Exit::Fine),
            Next::Waits(tasks) => {
                say(&format!("note: {tasks} cases are not over; looking again"));
                std::thread::sleep(PAUSE);
            }
            Next::Round(number) => return send(run, number, &submitter),
            Next::Finish => {
                return finish(&recalled, &submitter, began, &stop);
            }
        }
    }
}

/// Submits a round; if that cannot be done, the run is over and says so.
fn send(run: &SlurmRun, number: u32, submitter: &Submitter) -> Result<Exit, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        match submitter.submit(run, number) {
            Ok((round, said)) => {
                say(&said);
                let jobs: Vec<&str> = round.jobs().collect();
                say(&format!("round {number}: {} cases, jobs {}", round.places.len(), jobs.join(" ")));
                return Ok(Exit::Fine);
            }
            Err(error) if tries < TRIES => {
                say(&format!("warning: {error}"));
                std::thread::sleep(BETWEEN_TRIES);
            }
            Err(error) => {
                let text = format!("round {number} could not be submitted: {error}");
                let settled = Settled {
                    summary: Summary::default(),
                    groups: json!([]),
                    error: Some(text.clone()),
                    at: now(),
                };
                run.settle(&settled)?;
                return Err(Failure::new(text));
            }
        }
    }
}

/// Runs the stages over the cohort and closes the run.
fn finish(recalled: &Recalled, submitter: &Submitter, began: Instant, stop: &Stop) -> Result<Exit, Failure> {
    let Recalled { run, args, .. } = recalled;
    let groups = if submitter.groups { groups(recalled)? } else { Vec::new() };
    if stop.stopped().is_some() {
        return Ok(Exit::Interrupted);
    }
    let failed = groups.iter().filter(|group| group["state"] == json!(GroupState::Failed)).count();
    let mut summary = summary(run);
    summary.groups_failed = failed;
    summary.seconds = began.elapsed().as_secs_f64();
    let (outcome, line) = summary.conclude(None, args.strict);
    run.settle(&Settled { summary, groups: Json::Array(groups), error: None, at: now() })?;
    say(&line);
    Ok(batch::exit_of(outcome))
}

/// The stages over the cohort of the run's cases, as they were when it was submitted.
fn groups(recalled: &Recalled) -> Result<Vec<Json>, Failure> {
    let Recalled { run, common, args, submission } = recalled;
    let mut scene = Scene::prepare(common, args)?;
    let frozen: BTreeSet<String> = manifest::read(&run.home()).into_iter().map(|line| line.case).collect();
    scene.keep_only(&frozen);
    // The job that follows is no array: it has its own number, as if it were the first task of one.
    let number = |name: &str| variable(name)?.parse::<u64>().ok();
    let job = number("SLURM_JOB_ID").unwrap_or_default();
    let token = Token { job, task: 0, restart: number("SLURM_RESTART_COUNT").unwrap_or(0) };
    let part = Part { run: run.run, token };
    let session = scene.open(submission, Some(part))?;
    let decided = scene.decide(&BTreeMap::new(), Some(part));
    let Some(gathered) = Gathered::of(&scene.graph, &scene.cohort, &decided) else { return Ok(Vec::new()) };
    let scratch = scene.site.run.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let options = given(args.means.options(&scene.site, &scene.stop, scene.keeping.clone()), scratch);
    let results = scene.run_groups(&session, &options, Some(part), &gathered);
    results.iter().map(|result| Ok(serde_json::to_value(result)?)).collect()
}

/// What came of the cases of a run.
fn summary(run: &SlurmRun) -> Summary {
    let lines = manifest::read(&run.home());
    let liveness = Liveness::now(run.state());
    let mut summary = Summary { cases: lines.len(), ..Summary::default() };
    for line in lines {
        match line.decision.as_str() {
            "up_to_date" => summary.up_to_date += 1,
            "cannot" => summary.cannot += 1,
            "busy" => summary.busy += 1,
            "left_out" => summary.left_out += 1,
            _ => match Attempts::of_case(run.state(), &line.case).state(&liveness) {
                State::Done => summary.done += 1,
                State::Failed => summary.failed += 1,
                State::Changed => summary.changed += 1,
                State::Running => summary.busy += 1,
                State::Interrupted | State::Lost => summary.interrupted += 1,
                State::Never => summary.not_begun += 1,
            },
        }
    }
    summary
}
