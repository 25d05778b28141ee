//! `neuroloom batch`.

use super::cohort::CohortArgs;
use super::means::MeansArgs;
use super::progress::{Pace, Reporter};
use super::stop::Stop;
use super::{Common, Exit, Failure, Format, WorkflowArgs, load, open_site, print, say, table};
use crate::batch::{
    Decided, Decider, Finished, Gathered, Listener, Outcome, Session, Start, Summary, longest_first,
    manifest, place_of, run_cases,
};
use crate::capability::Capability;
use crate::case::{Cohort, CohortCase};
use crate::group::{self, GroupResult, GroupRun, GroupState};
use crate::learned::Learned;
use crate::plan::Graph;
use crate::record::{Attempts, Ending, Liveness, StateFolder};
use crate::runner::{CaseInput, CaseResult, Keeping};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// As many labels as serve to find a case of a kind.
const EXAMPLES: usize = 4;
/// As many reasons as a screen can bear; the manifest and `--dry-run` have all.
const REASONS: usize = 12;

#[derive(Debug, Args)]
pub(super) struct BatchArgs {
    #[command(flatten)]
    workflow: WorkflowArgs,
    #[command(flatten)]
    cohort: CohortArgs,
    /// Where results go: a BIDS data set, made if need be
    #[arg(value_name = "OUT")]
    out: PathBuf,
    #[command(flatten)]
    means: MeansArgs,
    /// Cases at a time [default: one a core, as far as memory allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Only cases that were tried before and have no result
    #[arg(long)]
    retry: bool,
    /// A case that cannot run is a failure
    #[arg(long)]
    strict: bool,
    /// Say which cases would run, and why; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep this many replaced results of each case [default: 1]
    #[arg(long, value_name = "N")]
    keep_replaced: Option<usize>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
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
    let (site, registry) = open_site(common)?;
    let graph = Arc::new(load(&args.workflow, &registry)?);
    let cohort = args.cohort.find(&graph, &site)?;
    let capability = Capability::new(&graph, &registry, &cohort);
    graph.notes.iter().for_each(|note| tracing::info!("{note}"));
    cohort.notes.iter().for_each(|note| say(&format!("note: {note}")));
    capability.check_matched()?;
    let keeping = args.means.keeping(&site, &graph, &registry)?;
    let keys = Arc::clone(&keeping.keys);
    let stop = Stop::install()?;
    let state = StateFolder::of(&args.out);
    if args.dry_run {
        let cases = decider(args, &graph, &keeping, &state, &stop).all(&cohort, &capability);
        return Ok(dry_run(args, &cases));
    }
    let submission =
        args.means.submission("batch", &args.workflow, Some(args.cohort.path()), &graph, &registry);
    let inputs: Vec<BTreeMap<String, CaseInput>> = cohort.cases.iter().map(CohortCase::case_inputs).collect();
    let session = Session::open(&mut Start {
        out: &args.out,
        inputs: &mut inputs.iter().flat_map(BTreeMap::values).filter_map(place_of),
        keep_replaced: args.keep_replaced.unwrap_or(site.batch.keep_replaced),
        submission: &submission,
        keeping: Some(&keeping),
    })?;
    session.said().iter().for_each(|line| say(line));
    let mut cases = decider(args, &graph, &keeping, &state, &stop).all(&cohort, &capability);
    manifest::freeze(session.state(), &session.home(), &cases)?;
    announce(session.run(), &cases);
    let learned = learn(&state, &cases);
    longest_first(&mut cases, &learned, &graph);
    let gathered = Gathered::of(&graph, &cohort, &cases);

    let registry = Arc::new(registry);
    let mut options = args.means.options(&site, &stop, keeping);
    let need = Need::of(&cases, &learned, &graph);
    options.permits = args.jobs.map_or_else(|| need.jobs(options.cores, options.memory_mib), usize::from);
    options.estimates = learned.peaks_mib(need.largest_bytes);
    options.kept = graph.kept().into_iter().collect();
    let pace =
        Pace::new(cases.iter().filter(|case| case.decision.runs()).count(), need.seconds, options.permits);
    let reporter = Arc::new(Reporter::of_cohort(common.log_format, pace));
    let shown = Arc::clone(&reporter);
    options.events = Arc::new(move |event| shown.show(event));
    let listener = Told { reporter: &reporter };
    let mut summary = run_cases(&graph, &registry, &options, &session, cases, &learned, &listener);
    reporter.close();
    let run = GroupRun {
        graph: &graph,
        registry: &registry,
        options: &options,
        keys: &keys,
        publisher: session.publisher(),
        run: session.run(),
    };
    let groups = gathered.map(|gathered| run_groups(&run, &gathered, &cohort)).unwrap_or_default();
    summary.groups_failed = groups.iter().filter(|group| group.state == GroupState::Failed).count();
    drop(session);
    summary.seconds = began.elapsed().as_secs_f64();
    Ok(conclude(args, &summary, &groups, &stop))
}

fn decider<'a>(
    args: &'a BatchArgs,
    graph: &'a Graph,
    keeping: &'a Keeping,
    state: &'a StateFolder,
    stop: &'a Stop,
) -> Decider<'a> {
    Decider {
        graph,
        keys: &keeping.keys,
        memo: &keeping.memo,
        state,
        out: &args.out,
        liveness: Liveness::now(state),
        retry_only: args.retry,
        cancel: &stop.any,
    }
}

/// What earlier attempts at these cases took.
fn learn(state: &StateFolder, cases: &[Decided]) -> Learned {
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

fn dry_run(args: &BatchArgs, cases: &[Decided]) -> Exit {
    match args.format {
        Format::Json => {
            let lines: Vec<manifest::Line> = cases.iter().map(manifest::Line::of).collect();
            print(&format!("{:#}", json!({ "cases": lines })));
        }
        Format::Text => {
            let mut rows = table::plain(&["case", "decision", "why"]);
            for case in cases {
                let (label, decision) = (case.label.to_string(), case.decision.name().replace('_', " "));
                rows.add_row([label.as_str(), &decision, case.decision.why()]);
            }
            print(&rows.to_string());
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

/// Runs the stages over the cohort, now that all cases have ended and their records are in place.
fn run_groups(run: &GroupRun<'_>, gathered: &Gathered, cohort: &Cohort) -> Vec<GroupResult> {
    if let Some(reason) = gathered.waits(cohort) {
        say(&format!("note: the cohort's stages wait for another run: {reason}"));
        return Vec::new();
    }
    let results = group::run(run, &gathered.cases(&run.publisher.place().state));
    for result in &results {
        say(&group_line(result));
    }
    results
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
fn conclude(args: &BatchArgs, summary: &Summary, groups: &[GroupResult], stop: &Stop) -> Exit {
    let (outcome, line) = summary.conclude(stop.stopped(), args.strict);
    if args.format == Format::Json {
        print(&format!("{:#}", json!({ "outcome": outcome, "summary": summary, "groups": groups })));
    }
    say(&format!("{line} ({:.1} s)", summary.seconds));
    if summary.failed + summary.changed + summary.groups_failed > 0 {
        let out = args.out.display();
        say(&format!("note: `neuroloom status {out}` lists them, `neuroloom why {out} CASE` says why"));
    }
    match outcome {
        Outcome::Fine => Exit::Fine,
        Outcome::SomeFailed => Exit::SomeFailed,
        Outcome::Nothing => Exit::Nothing,
        Outcome::Terminated => Exit::Interrupted,
        Outcome::CtrlC => Exit::CtrlC,
    }
}
