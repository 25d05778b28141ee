//! `neuroloom batch`.

use super::cohort::CohortArgs;
use super::means::MeansArgs;
use super::progress::{Pace, Reporter};
use super::stop::Stop;
use super::{
    Common, Exit, Failure, Format, LogFormat, WorkflowArgs, load, open_site, print, say, submit, table,
};
use crate::batch::{
    Decided, Decider, Finished, Gathered, Listener, Outcome, Part, Session, Start, Stopped, Submission,
    Summary, longest_first, manifest, place_of, run_cases,
};
use crate::capability::Capability;
use crate::case::{Cohort, CohortCase};
use crate::group::{self, GroupResult, GroupRun, GroupState};
use crate::learned::Learned;
use crate::plan::Graph;
use crate::record::{Attempts, Ending, Liveness, StateFolder};
use crate::registry::Registry;
use crate::runner::{CaseInput, CaseResult, Keeping, RunOptions};
use crate::site::{Executor, Site};
use crate::slurm::Hands;
use clap::Args;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// As many labels as serve to find a case of a kind.
const EXAMPLES: usize = 4;
/// As many reasons as a screen can bear; the manifest and `--dry-run` have all.
const REASONS: usize = 12;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(super) struct BatchArgs {
    #[command(flatten)]
    pub(super) workflow: WorkflowArgs,
    #[command(flatten)]
    pub(super) cohort: CohortArgs,
    /// Where results go: a BIDS data set, made if need be
    #[arg(value_name = "OUT")]
    pub(super) out: PathBuf,
    #[command(flatten)]
    pub(super) means: MeansArgs,
    /// Cases at a time [default: one a core, as far as memory allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
    /// Where cases run: in this process, or as an array of Slurm's [default: the site's, or local]
    #[arg(long, value_enum, value_name = "E")]
    pub(super) executor: Option<Executor>,
    /// With Slurm: stay until all is done, and end as a local run does
    #[arg(long)]
    pub(super) wait: bool,
    /// Only cases that were tried before and have no result
    #[arg(long)]
    pub(super) retry: bool,
    /// A case that cannot run is a failure
    #[arg(long)]
    pub(super) strict: bool,
    /// Say which cases would run, and why; write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Keep this many replaced results of each case [default: 1]
    #[arg(long, value_name = "N")]
    pub(super) keep_replaced: Option<usize>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

impl BatchArgs {
    /// The workflow asked for.
    pub(super) const fn workflow(&self) -> &WorkflowArgs {
        &self.workflow
    }

    /// The cohort asked for.
    pub(super) const fn cohort(&self) -> &CohortArgs {
        &self.cohort
    }
}

pub(super) fn batch(common: &Common, args: &BatchArgs) -> Result<Exit, Failure> {
    let began = Instant::now();
    let scene = Scene::prepare(common, args)?;
    let slurm = args.executor.unwrap_or(scene.site.batch.executor) == Executor::Slurm;
    if args.dry_run {
        let cases = scene.decide_all();
        let scripts = if slurm { submit::scripts(&scene, &cases)? } else { Vec::new() };
        return Ok(dry_run(args, &cases, &scripts));
    }
    let (session, cases) = scene.begin("batch")?;
    if slurm {
        return submit::submit(&scene, session, &cases, began);
    }
    let gathered = Gathered::of(&scene.graph, &scene.cohort, &cases);
    run_here(&scene, session, cases, gathered.as_ref(), began)
}

/// Runs the cases that are to run in this process, then the stages over the cases that were `gathered`.
pub(super) fn run_here(
    scene: &Scene<'_>,
    session: Session,
    cases: Vec<Decided>,
    gathered: Option<&Gathered>,
    began: Instant,
) -> Result<Exit, Failure> {
    let mut options = scene.args.means.options(&scene.site, &scene.stop, scene.keeping.clone());
    let mut summary = scene.run(&session, cases, &mut options);
    let groups =
        gathered.map(|gathered| scene.run_groups(&session, &options, None, gathered)).unwrap_or_default();
    summary.groups_failed = groups.iter().filter(|group| group.state == GroupState::Failed).count();
    drop(session);
    summary.seconds = began.elapsed().as_secs_f64();
    Ok(conclude(scene.args, &summary, &serde_json::to_value(&groups)?, scene.stop.stopped()))
}

/// All that a command over a cohort needs, looked at and found good.
pub(super) struct Scene<'a> {
    pub(super) common: &'a Common,
    pub(super) args: &'a BatchArgs,
    pub(super) site: Site,
    pub(super) registry: Arc<Registry>,
    pub(super) graph: Arc<Graph>,
    pub(super) cohort: Cohort,
    capability: Capability,
    pub(super) keeping: Keeping,
    pub(super) state: StateFolder,
    pub(super) stop: Stop,
}

impl<'a> Scene<'a> {
    pub(super) fn prepare(common: &'a Common, args: &'a BatchArgs) -> Result<Self, Failure> {
        let (site, registry) = open_site(common)?;
        let graph = Arc::new(load(&args.workflow, &registry)?);
        let cohort = args.cohort.find(&graph, &site)?;
        let capability = Capability::new(&graph, &registry, &cohort);
        graph.notes.iter().for_each(|note| tracing::info!("{note}"));
        cohort.notes.iter().for_each(|note| say(&format!("note: {note}")));
        capability.check_matched()?;
        let keeping = args.means.keeping(&site, &graph, &registry)?;
        let (state, stop) = (StateFolder::of(&args.out), Stop::install()?);
        let registry = Arc::new(registry);
        Ok(Self { common, args, site, registry, graph, cohort, capability, keeping, state, stop })
    }

    /// Leaves out all other cases: a table may have more rows by now.
    pub(super) fn keep_only(&mut self, labels: &BTreeSet<String>) {
        self.cohort.cases.retain(|case| labels.contains(&case.label.to_string()));
        self.capability = Capability::new(&self.graph, self.registry.as_ref(), &self.cohort);
    }

    /// Looks at all cases, but for those that a scheduler has in hand.
    pub(super) fn decide(&self, held: &BTreeMap<String, String>, task: Option<Part>) -> Vec<Decided> {
        let decider = Decider {
            graph: &self.graph,
            keys: &self.keeping.keys,
            memo: &self.keeping.memo,
            state: &self.state,
            out: &self.args.out,
            liveness: Liveness::now(&self.state),
            retry_only: self.args.retry,
            cancel: &self.stop.any,
            held,
            task: task.map(|part| (part.run, part.token)),
        };
        decider.all(&self.cohort, &self.capability)
    }

    /// Looks at all cases, but for those that Slurm has in hand.
    pub(super) fn decide_all(&self) -> Vec<Decided> {
        self.decide(&Hands::of(&self.state).held(&self.state), None)
    }

    /// Takes hold of the output folder for a new run, and says which cases run. `command` is what asked for it.
    pub(super) fn begin(&self, command: &str) -> Result<(Session, Vec<Decided>), Failure> {
        let session = self.open(&self.submission(command), None)?;
        let cases = self.decide_all();
        manifest::freeze(session.state(), &session.home(), &cases)?;
        announce(session.run(), &cases);
        Ok((session, cases))
    }

    /// What was asked for.
    pub(super) fn submission(&self, command: &str) -> Submission {
        let (args, cohort) = (self.args, self.args.cohort.path());
        args.means.submission(command, &args.workflow, Some(cohort), &self.graph, &self.registry)
    }

    /// Takes hold of the output folder.
    pub(super) fn open(&self, submission: &Submission, part: Option<Part>) -> Result<Session, Failure> {
        let inputs: Vec<BTreeMap<String, CaseInput>> =
            self.cohort.cases.iter().map(CohortCase::case_inputs).collect();
        let session = Session::open(&mut Start {
            out: &self.args.out,
            inputs: &mut inputs.iter().flat_map(BTreeMap::values).filter_map(place_of),
            policy: self.site.batch.policy(self.args.keep_replaced),
            submission,
            keeping: Some(&self.keeping),
            part,
        })?;
        session.said().iter().for_each(|line| say(line));
        Ok(session)
    }

    /// Runs the cases that are to run.
    fn run(&self, session: &Session, cases: Vec<Decided>, options: &mut RunOptions) -> Summary {
        let jobs = self.args.jobs.map(usize::from);
        run_decided(&self.graph, &self.registry, session, cases, options, jobs, self.common.log_format)
    }

    /// Runs the stages over the cohort, now that all cases have ended and their records are in place.
    pub(super) fn run_groups(
        &self,
        session: &Session,
        options: &RunOptions,
        part: Option<Part>,
        gathered: &Gathered,
    ) -> Vec<GroupResult> {
        if let Some(reason) = gathered.waits(&self.cohort) {
            say(&format!("note: the cohort's stages wait for another run: {reason}"));
            return Vec::new();
        }
        let run = GroupRun {
            graph: &self.graph,
            registry: &self.registry,
            options,
            keys: &self.keeping.keys,
            publisher: session.publisher(),
            run: session.run(),
            part,
        };
        let results = group::run(&run, &gathered.cases(&run.publisher.place().state));
        for result in &results {
            say(&group_line(result));
        }
        results
    }
}

/// Runs the cases that are to run, the longest first; `jobs` at a time, unless set as many as there is room for.
pub(super) fn run_decided(
    graph: &Arc<Graph>,
    registry: &Arc<Registry>,
    session: &Session,
    mut cases: Vec<Decided>,
    options: &mut RunOptions,
    jobs: Option<usize>,
    log_format: LogFormat,
) -> Summary {
    let learned = learn(session.state(), &cases);
    longest_first(&mut cases, &learned, graph);
    let need = Need::of(&cases, &learned, graph);
    options.permits = jobs.unwrap_or_else(|| need.jobs(options.cores, options.memory_mib));
    options.estimates = learned.peaks_mib(need.largest_bytes);
    options.kept = graph.kept().into_iter().collect();
    let running = cases.iter().filter(|case| case.decision.runs()).count();
    let pace = Pace::new(running, need.seconds, options.permits);
    let reporter = Arc::new(Reporter::of_cohort(log_format, pace));
    let shown = Arc::clone(&reporter);
    options.events = Arc::new(move |event| shown.show(event));
    let listener = Told { reporter: &reporter };
    let summary = run_cases(graph, registry, options, session, cases, &learned, &listener);
    reporter.close();
    summary
}

/// What earlier attempts at these cases took.
pub(super) fn learn(state: &StateFolder, cases: &[Decided]) -> Learned {
    let mut learned = Learned::default();
    for case in cases {
        let attempts = Attempts::of_case(state, &case.label.to_string());
        attempts.ends().for_each(|(_, end)| learned.add(end));
    }
    learned
}

/// What the cases that run will need.
struct Need {
    largest_bytes: u64,
    largest_mib: u64,
    /// All of them in a row, if that is known.
    seconds: Option<f64>,
}

impl Need {
    fn of(cases: &[Decided], learned: &Learned, graph: &Graph) -> Self {
        let running =
            || cases.iter().filter(|case| case.decision.runs()).filter_map(|c| Some((c, c.plan.as_deref()?)));
        Self {
            largest_bytes: running().map(|(case, _)| case.bytes).max().unwrap_or(0),
            largest_mib: running().map(|(c, plan)| learned.case_mib(graph, plan, c.bytes)).max().unwrap_or(1),
            seconds: running().map(|(case, plan)| learned.seconds(graph, plan, case.bytes)).sum(),
        }
    }

    /// One case a core, as far as memory allows.
    fn jobs(&self, cores: usize, memory_mib: u64) -> usize {
        let fit = usize::try_from(memory_mib / self.largest_mib.max(1)).unwrap_or(usize::MAX);
        cores.min(fit).max(1)
    }
}

/// Says how many cases run, and why, the most frequent reason first.
fn announce(run: u32, cases: &[Decided]) {
    let count = |kind: &str| cases.iter().filter(|case| case.decision.name() == kind).count();
    say(&format!(
        "run {run}: {} of {} cases run, {} up to date",
        count("run"),
        cases.len(),
        count("up_to_date")
    ));
    let mut reasons: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for case in cases.iter().filter(|case| case.decision.name() != "up_to_date") {
        let key = (case.decision.name(), case.decision.why());
        reasons.entry(key).or_default().push(case.label.to_string());
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, labels)| std::cmp::Reverse(labels.len()));
    for ((decision, why), labels) in reasons.iter().take(REASONS) {
        let more = if labels.len() > EXAMPLES { " …" } else { "" };
        let named = labels[..labels.len().min(EXAMPLES)].join(" ");
        let verb = decision.replace('_', " ");
        say(&format!("  {verb}: {} ({named}{more}): {why}", labels.len()));
    }
    if reasons.len() > REASONS {
        say(&format!("  … and {} other reasons: `--dry-run` has all", reasons.len() - REASONS));
    }
}

fn dry_run(args: &BatchArgs, cases: &[Decided], scripts: &[String]) -> Exit {
    match args.format {
        Format::Json => {
            let lines: Vec<manifest::Line> = cases.iter().map(manifest::Line::of).collect();
            print(&format!("{:#}", json!({ "cases": lines, "scripts": scripts })));
        }
        Format::Text => {
            let mut rows = table::plain(&["case", "decision", "why"]);
            for case in cases {
                let (label, decision) = (case.label.to_string(), case.decision.name().replace('_', " "));
                rows.add_row([label.as_str(), &decision, case.decision.why()]);
            }
            print(&rows.to_string());
            for script in scripts {
                print(&format!("\n{script}"));
            }
        }
    }
    let running = cases.iter().filter(|case| case.decision.runs()).count();
    say(&format!("{running} of {} cases would run; nothing was written", cases.len()));
    Exit::Fine
}

/// Tells of cases as they end.
struct Told<'a> {
    reporter: &'a Reporter,
}

impl Listener for Told<'_> {
    fn finished(&self, result: &CaseResult, finished: &Finished) {
        self.reporter.case_ended(finished.ending == Some(Ending::Ok), &case_line(result, finished));
    }

    fn say(&self, line: &str) {
        self.reporter.above(line);
    }
}

/// `sub-07 done in 3.1 s`, or what went wrong.
fn case_line(result: &CaseResult, finished: &Finished) -> String {
    let (label, seconds) = (&finished.label, finished.seconds);
    let mut line = match finished.ending {
        Some(Ending::Ok) => return format!("case `{label}` done in {seconds:.1} s"),
        Some(Ending::Failed) => format!("error: case `{label}` failed after {seconds:.1} s"),
        Some(Ending::Changed) => format!("error: case `{label}` was not published"),
        Some(Ending::Interrupted) => format!("note: case `{label}` was interrupted"),
        None => format!("note: case `{label}` was not published"),
    };
    let hint = |line: &mut String, hint: Option<&String>| {
        if let Some(hint) = hint {
            let _ = write!(line, "\nhint: {hint}");
        }
    };
    match (&finished.error, &finished.reason) {
        // A full disk is told of once, for all cases.
        (Some(error), _) if crate::record::is_disk_full(error) => {}
        (Some(error), _) => {
            let _ = write!(line, ": {error}");
        }
        (None, Some(reason)) if !result.interrupted => {
            let _ = write!(line, ": {reason}");
            hint(&mut line, finished.hint.as_ref());
        }
        _ => {}
    }
    line
}

/// `cohort stage `volumes` done in 3.1 s`, or what went wrong.
fn group_line(result: &GroupResult) -> String {
    let subject = result.subject.as_ref().map(|subject| format!(" of {subject}")).unwrap_or_default();
    let (name, reason, seconds) =
        (format!("cohort stage `{}`{subject}", result.stage), &result.reason, result.seconds);
    let mut line = match result.state {
        GroupState::UpToDate => format!("{name} is up to date"),
        GroupState::Done => format!("{name} done in {seconds:.1} s, which ran because: {reason}"),
        GroupState::Nothing => format!("note: {name} did not run: {reason}"),
        GroupState::Interrupted => format!("note: {name} was interrupted: {reason}"),
        GroupState::Failed => format!("error: {name} failed after {seconds:.1} s: {reason}"),
    };
    if let Some(hint) = &result.hint {
        let _ = write!(line, "\nhint: {hint}");
    }
    line
}

/// The last line and the exit code.
pub(super) fn conclude(
    args: &BatchArgs,
    summary: &Summary,
    groups: &serde_json::Value,
    stopped: Option<Stopped>,
) -> Exit {
    let (outcome, line) = summary.conclude(stopped, args.strict);
    if args.format == Format::Json {
        print(&format!("{:#}", json!({ "outcome": outcome, "summary": summary, "groups": groups })));
    }
    say(&format!("{line} ({:.1} s)", summary.seconds));
    if summary.failed + summary.changed + summary.groups_failed > 0 {
        let out = args.out.display();
        say(&format!("note: `neuroloom status {out}` lists them, `neuroloom why {out} CASE` says why"));
    }
    exit_of(outcome)
}

/// The exit code of an outcome.
pub(super) const fn exit_of(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Fine => Exit::Fine,
        Outcome::SomeFailed => Exit::SomeFailed,
        Outcome::Nothing => Exit::Nothing,
        Outcome::Terminated => Exit::Interrupted,
        Outcome::CtrlC => Exit::CtrlC,
    }
}
