//! `neuroloom bids-app`: `batch` with the arguments of a BIDS App.
//!
//! The level `participant` runs cases, and nothing that is over all of them; the level `group` runs only that, on what the
//! records in the output folder hold. Each level is an ordinary run: it may be killed, and given again.
//!
//! Source: K. J. Gorgolewski et al., "BIDS apps", PLOS Computational Biology 13(3), 2017, for the command line; options beyond
//! it are called as in fMRIPrep and MRIQC.

use super::batch::{BatchArgs, Scene, run_here};
use super::cohort::CohortArgs;
use super::means::MeansArgs;
use super::{ChangeArgs, Common, Exit, Failure, Format, WorkflowArgs, print, say};
use crate::batch::{Decided, Decision, Gathered, Outcome, Summary, manifest};
use crate::case::CohortKind;
use crate::group::{GroupCase, GroupResult, GroupState};
use crate::site::Executor;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The workflow that runs unless another is named.
const SHIPPED: &str = "brain-metastases.toml";
/// Where shipped workflows are, seen from the program: installed, and in a source tree.
const PLACES: [&str; 2] = ["../share/neuroloom/workflows", "../../workflows"];
/// Where BIDS wants what is made from a data set, if it lies within.
const DERIVATIVES: &str = "derivatives";
/// As many cases as are named with a reason.
const NAMED: usize = 3;
/// MiB of a GiB.
const MIB_OF_GIB: f64 = 1024.0;

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Each case by itself; may be given for several participants at once.
    Participant,
    /// What is over all cases, when they have run.
    Group,
}

#[derive(Debug, Args)]
#[command(
    mut_arg("cohort", |arg| arg.index(1).value_name("BIDS_DIR").help("A BIDS data set")),
    mut_arg("bids_filter", |arg| arg.visible_aliases(["bids-filter-file", "bids_filter_file"])),
    mut_arg("threads", |arg| arg.visible_aliases(["nprocs", "n_cpus"]).aliases(["n-cpus", "nthreads"])),
)]
pub(super) struct BidsAppArgs {
    #[command(flatten)]
    cohort: CohortArgs,
    /// Where results go: a BIDS derivative data set, made if need be
    #[arg(index = 2, value_name = "OUT")]
    out: PathBuf,
    /// What is run
    #[arg(index = 3, value_enum, value_name = "LEVEL")]
    level: Level,
    /// The workflow [default: the shipped brain-metastases.toml]
    #[arg(long, value_name = "FILE")]
    workflow: Option<PathBuf>,
    #[command(flatten)]
    changes: ChangeArgs,
    #[command(flatten)]
    means: MeansArgs,
    /// Memory to plan with, with its unit: `16G`, `16000M`
    #[arg(long, value_name = "SIZE", value_parser = size_gib, conflicts_with_all = ["memory", "mem_mb", "mem_gb"])]
    mem: Option<f64>,
    /// The same in MiB
    #[arg(long, alias = "mem_mb", value_name = "MIB", conflicts_with_all = ["memory", "mem_gb"])]
    mem_mb: Option<f64>,
    /// The same in GiB
    #[arg(long, alias = "mem_gb", value_name = "GIB", conflicts_with = "memory")]
    mem_gb: Option<f64>,
    /// Where scratch folders are made, and results of stages are kept for later runs
    #[arg(short, long, alias = "work_dir", value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Do not ask for a sound `dataset_description.json`; the BIDS validator is never run
    #[arg(long, alias = "skip_bids_validation")]
    skip_bids_validation: bool,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A size with its unit, in GiB.
fn size_gib(text: &str) -> Result<f64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let size: f64 = digits.parse().map_err(|_| "write a number and a unit, as in `16G`".to_owned())?;
    match text[digits.len()..].to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
        "M" => Ok(size / MIB_OF_GIB),
        "G" => Ok(size),
        "T" => Ok(size * MIB_OF_GIB),
        "" => Err(format!("is it `{size}M` or `{size}G`? BIDS Apps differ in what a bare number means")),
        other => Err(format!("the unit `{other}` is none of M, G and T")),
    }
}

pub(super) fn bids_app(common: &Common, args: BidsAppArgs) -> Result<Exit, Failure> {
    let began = Instant::now();
    let (level, root) = (args.level, args.cohort.path().to_owned());
    if level == Level::Group && args.cohort.filters().narrow() {
        return Err(Failure::new(
            "the level `group` is over all participants, but only some are asked for\n\
             hint: leave the labels out; who has no result is listed with the reason",
        ));
    }
    check_data_set(&root, args.skip_bids_validation)?;
    check_places(&root, &args)?;
    let args = args.batch()?;
    let scene = Scene::prepare(common, &args)?;
    if scene.cohort.kind != CohortKind::Bids {
        let kind = scene.cohort.kind;
        return Err(not_bids(&root, &format!("its layout is another one ({kind})")));
    }
    if level == Level::Group {
        return group(&scene, began);
    }
    let (session, cases) = scene.begin(COMMAND)?;
    let exit = run_here(&scene, session, cases, None, began)?;
    if !scene.graph.cohort.is_empty() {
        say("note: what is over all participants is made by the level `group`, when they have run");
    }
    Ok(exit)
}

/// What runs of this command are recorded as.
const COMMAND: &str = "bids-app";

impl BidsAppArgs {
    /// The same as arguments of `batch`; makes the working folder.
    fn batch(self) -> Result<BatchArgs, Failure> {
        let mut means = self.means;
        means.memory = self.mem.or(self.mem_gb).or(self.mem_mb.map(|mib| mib / MIB_OF_GIB)).or(means.memory);
        if let Some(folder) = &self.work_dir {
            means.work_in(folder).map_err(|source| {
                let folder = folder.display();
                Failure::new(format!("--work-dir {folder}: {source}\nhint: may you write there?"))
            })?;
        }
        let workflow = self.workflow.map_or_else(shipped, Ok)?;
        Ok(BatchArgs {
            workflow: WorkflowArgs { workflow, changes: self.changes },
            cohort: self.cohort,
            out: self.out,
            means,
            jobs: None,
            executor: Some(Executor::Local),
            wait: false,
            retry: false,
            strict: false,
            dry_run: false,
            keep_replaced: None,
            format: self.format,
        })
    }
}

/// The shipped workflow, in the tree that this program was installed or built in.
fn shipped() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?;
    let beside = program.parent().unwrap_or(Path::new("/"));
    let found = PLACES.iter().find_map(|place| beside.join(place).join(SHIPPED).canonicalize().ok());
    found.ok_or_else(|| {
        let places = PLACES.map(|place| beside.join(place).display().to_string()).join(" and ");
        Failure::new(format!(
            "the shipped workflow {SHIPPED} is not there: looked in {places}\nhint: name a workflow with `--workflow FILE`"
        ))
    })
}

fn not_bids(root: &Path, why: &str) -> Failure {
    Failure::new(format!(
        "{} is no BIDS data set: {why}\nhint: `neuroloom batch` takes tables and other layouts, too",
        root.display()
    ))
}

/// Looks whether the folder says that it is a BIDS data set, as far as asked.
fn check_data_set(root: &Path, skip: bool) -> Result<(), Failure> {
    if !root.exists() {
        // Finding the cohort tells of a like name.
        return Ok(());
    }
    if !root.is_dir() {
        return Err(not_bids(root, "it is a file"));
    }
    if skip {
        return Ok(());
    }
    let wrong = |why: &str| {
        Failure::new(format!(
            "{} is no sound BIDS data set: {why}\n\
             hint: BIDS asks for a JSON object with `Name` and `BIDSVersion`; `--skip-bids-validation` does without",
            root.display()
        ))
    };
    let text = std::fs::read_to_string(root.join("dataset_description.json"))
        .map_err(|error| wrong(&format!("its `dataset_description.json` cannot be read ({error})")))?;
    let description: serde_json::Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| wrong(&format!("its `dataset_description.json` is no JSON ({error})")))?;
    match ["Name", "BIDSVersion"].iter().find(|key| !description[**key].is_string()) {
        Some(key) => Err(wrong(&format!("its `dataset_description.json` has no text `{key}`"))),
        None => Ok(()),
    }
}

/// Results may lie in `derivatives/NAME` of the data set or outside, scratch outside of both.
fn check_places(root: &Path, args: &BidsAppArgs) -> Result<(), Failure> {
    let (data, out) = (real(root), real(&args.out));
    if let Ok(within) = out.strip_prefix(&data) {
        let mut parts = within.components();
        let derived = parts.next().is_some_and(|part| part.as_os_str() == DERIVATIVES);
        if !derived || parts.next().is_none() {
            return Err(Failure::new(format!(
                "OUT {} is {} the data set that is read\nhint: name a folder outside, or {}",
                args.out.display(),
                if out == data { "itself" } else { "a folder in" },
                root.join(DERIVATIVES).join("neuroloom").display()
            )));
        }
    }
    let Some(work_dir) = &args.work_dir else { return Ok(()) };
    let work = real(work_dir);
    match [(&data, "BIDS_DIR"), (&out, "OUT")].into_iter().find(|(folder, _)| work.starts_with(folder)) {
        Some((_, name)) => Err(Failure::new(format!(
            "--work-dir {} lies in {name}, which is to be a data set and nothing else\nhint: name a folder outside",
            work_dir.display()
        ))),
        None => Ok(()),
    }
}

/// The absolute path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there =
        |above: &Path| Some((above.canonicalize().ok()?, absolute.strip_prefix(above).ok()?.to_owned()));
    match absolute.ancestors().find_map(there) {
        // Nothing to join: `join("")` would end in a slash.
        Some((above, rest)) if rest.as_os_str().is_empty() => above,
        Some((above, rest)) => above.join(rest),
        None => absolute,
    }
}

/// Runs the stages over subjects and cohort, on what the records hold. No case runs.
fn group(scene: &Scene<'_>, began: Instant) -> Result<Exit, Failure> {
    let cases = scene.decide_all();
    let Some(gathered) = Gathered::of(&scene.graph, &scene.cohort, &cases) else {
        let name = &scene.graph.name;
        say(&format!("nothing to do: the workflow `{name}` has no stages over subjects or cohort"));
        return Ok(Exit::Fine);
    };
    if let Some(reason) = gathered.waits(&scene.cohort) {
        return Err(Failure::new(format!("{reason}\nhint: give `group` when the participants have run")));
    }
    let seen = gathered.cases(&scene.state);
    let without = seen.iter().filter(|case| case.entry.failure.is_some()).count();
    if without == seen.len() {
        return Err(nobody(scene, &seen));
    }
    tell_of_outdated(&cases, &seen);
    let session = scene.open(&scene.submission(COMMAND), None)?;
    let cases: Vec<Decided> = cases.into_iter().map(left_out).collect();
    manifest::freeze(session.state(), &session.home(), &cases)?;
    let of = cases.len();
    say(&format!("run {}: stages over the cohort of {of} cases; {without} have no result", session.run()));
    let options = scene.args.means.options(&scene.site, &scene.stop, scene.keeping.clone());
    let results = scene.run_groups(&session, &options, None, &gathered);
    drop(session);
    Ok(conclude(scene, &results, &cases, began))
}

/// No case has a result.
fn nobody(scene: &Scene<'_>, seen: &[GroupCase]) -> Failure {
    let (root, out) = (scene.cohort.root.display(), scene.args.out.display());
    let reason = |case: &GroupCase| {
        format!("\nnote: {}: {}", case.entry.label, case.entry.failure.as_deref().unwrap_or_default())
    };
    let reasons: String = seen.iter().take(NAMED).map(reason).collect();
    Failure::new(format!(
        "none of the {} cases of {root} has a result in {out}{reasons}\n\
         hint: `neuroloom bids-app {root} {out} participant` makes them",
        seen.len()
    ))
}

/// Names cases whose result was made from something else than there is now.
fn tell_of_outdated(cases: &[Decided], seen: &[GroupCase]) {
    let outdated =
        |(case, seen): &(&Decided, &GroupCase)| case.decision.runs() && seen.entry.failure.is_none();
    let outdated: Vec<&Decided> = cases.iter().zip(seen).filter(outdated).map(|(case, _)| case).collect();
    if outdated.is_empty() {
        return;
    }
    let named =
        outdated.iter().take(NAMED).map(|case| format!("\n  {}: {}", case.label, case.decision.why()));
    say(&format!(
        "note: {} results are not up to date, and are taken as they are; `participant` makes them again{}",
        outdated.len(),
        named.collect::<String>()
    ));
}

/// Who would run in a batch does not run at this level.
fn left_out(mut case: Decided) -> Decided {
    if let Decision::Run { why } = case.decision {
        case.decision = Decision::LeftOut { why: format!("the level `group` runs no case ({why})") };
    }
    case
}

/// The last line and the exit code.
fn conclude(scene: &Scene<'_>, results: &[GroupResult], cases: &[Decided], began: Instant) -> Exit {
    let count = |state| results.iter().filter(|result| result.state == state).count();
    let (done, failed) = (count(GroupState::Done), count(GroupState::Failed));
    let seconds = began.elapsed().as_secs_f64();
    let summary = Summary { groups_failed: failed, seconds, ..Summary::of_settled(cases) };
    let (outcome, _) = summary.conclude(scene.stop.stopped(), false);
    if scene.args.format == Format::Json {
        print(&format!("{:#}", json!({ "outcome": outcome, "summary": summary, "groups": results })));
    }
    let head = match outcome {
        Outcome::Terminated | Outcome::CtrlC => "interrupted",
        Outcome::SomeFailed => "finished with failures",
        _ if done == 0 => "nothing to do",
        _ => "finished",
    };
    let words = [
        (done, "done"),
        (count(GroupState::UpToDate), "up to date"),
        (count(GroupState::Nothing), "without values"),
        (failed, "failed"),
        (count(GroupState::Interrupted), "interrupted"),
    ];
    let words = words.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    let counts = words.collect::<Vec<_>>().join(", ");
    say(&format!("{head}: stages over the cohort: {counts} ({seconds:.1} s)"));
    super::batch::exit_of(outcome)
}
