//! `neuroloom review`.

use super::means::MeansArgs;
use super::progress::Reporter;
use super::replay::{in_its_folder, workflow_of};
use super::stop::Stop;
use super::{Common, Exit, Failure, WorkflowArgs, colour, open_site, run, say};
use crate::batch::{Decider, Decision, Session, Start, place_of};
use crate::plan::{Graph, Plan};
use crate::record::{Liveness, StateFolder};
use crate::registry::Registry;
use crate::replay::{self, Recorded};
use crate::review::{self, COMMAND, FOLDER, Review};
use crate::runner::{self, CaseInput, CaseJob, Keeping};
use crate::site::Site;
use crate::workflow::{self, Overrides, ReviewPart};
use clap::Args;
use sdk::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

#[derive(Debug, Args)]
pub(super) struct ReviewArgs {
    /// The output folder of the reviewed cases
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// What readers saved from the pages of cases
    #[arg(value_name = "REVIEW", required = true)]
    reviews: Vec<PathBuf>,
    /// Add each case, its lesions as reviewed for truth, to this table of cases to train with
    #[arg(long, value_name = "FILE")]
    training_table: Option<PathBuf>,
    #[command(flatten)]
    means: MeansArgs,
}

/// What all cases of a call share.
struct Call<'a> {
    common: &'a Common,
    args: &'a ReviewArgs,
    site: &'a Site,
    registry: &'a Arc<Registry>,
    stop: &'a Stop,
}

/// A case with all that is known of its reviews, looked at and found good.
struct Reviewed {
    recorded: Recorded,
    workflow: WorkflowArgs,
    graph: Arc<Graph>,
    part: ReviewPart,
    inputs: BTreeMap<String, CaseInput>,
    plan: Arc<Plan>,
    keeping: Keeping,
    /// Why it runs, if it does: who signed.
    signed: String,
}

pub(super) fn review(common: &Common, args: &ReviewArgs) -> Result<Exit, Failure> {
    let reviews: Vec<(PathBuf, Review)> = args
        .reviews
        .iter()
        .map(|path| Ok((path.clone(), review::read(path)?)))
        .collect::<Result<_, Failure>>()?;
    let mut by_case: BTreeMap<&str, Vec<&(PathBuf, Review)>> = BTreeMap::new();
    for review in &reviews {
        by_case.entry(&review.1.case).or_default().push(review);
    }
    let (site, registry) = open_site(common)?;
    let registry = Arc::new(registry);
    // All cases are looked at before anything is run.
    let cases: Vec<Reviewed> = by_case
        .into_iter()
        .map(|(case, reviews)| prepare(args, &site, &registry, case, &reviews))
        .collect::<Result<_, Failure>>()?;
    let stop = Stop::install()?;
    let call = Call { common, args, site: &site, registry: &registry, stop: &stop };
    let mut exit = Exit::Fine;
    for case in &cases {
        match one(&call, case)? {
            Exit::Fine => {}
            Exit::SomeFailed => exit = Exit::SomeFailed,
            stopped => return Ok(stopped),
        }
    }
    Ok(exit)
}

fn prepare(
    args: &ReviewArgs,
    site: &Site,
    registry: &Arc<Registry>,
    case: &str,
    reviews: &[&(PathBuf, Review)],
) -> Result<Reviewed, Failure> {
    let named = reviews.first().map(|(path, _)| path.display().to_string()).unwrap_or_default();
    let recorded = replay::find(&args.out, case).map_err(|error| {
        let text = error.to_string();
        let hint = if text.contains("hint: ") {
            ""
        } else {
            "\nhint: `neuroloom why OUT CASE` tells what became of it"
        };
        Failure::new(format!("{named}: {text}{hint}"))
    })?;
    let workflow = workflow_of(&recorded);
    let (graph, part) = load(&recorded, registry)?;
    let form = review::form(&recorded.out, &recorded.label, &recorded.end, &part.form)?;
    for (path, review) in reviews {
        review::check(path, review, &form)?;
    }
    let earlier = review::earlier(&args.out, &recorded.label, &part.input);
    let new: Vec<Review> = reviews.iter().map(|(_, review)| review.clone()).collect();
    let readers: Vec<String> = new.iter().map(|r| format!("{}, {}", r.reader, r.signed)).collect();
    let (all, left_out) = review::gather(earlier, new, &form.1);
    if left_out > 0 {
        say(&format!(
            "note: case `{case}` was remade since: {left_out} reviews of what it was before are left out"
        ));
    }
    let keeping = args.means.keeping(site, &graph, registry)?;
    let mut changed = Vec::new();
    let mut inputs = replay::inputs(&recorded, &graph, &keeping.memo, &mut changed);
    if !changed.is_empty() {
        let list = changed.join("\n  ");
        return Err(Failure::new(format!(
            "case `{case}` cannot be made again from what the reader saw:\n  {list}\n\
             hint: bring these back, or run the case again and review the new page"
        )));
    }
    inputs.insert(part.input.clone(), CaseInput::Value(Value::from(serde_json::to_string(&all)?)));
    let plan = graph.plan(registry.as_ref(), &inputs.keys().cloned().collect()).map_err(|reasons| {
        let reasons: Vec<String> = reasons.iter().map(|reason| format!("  {}", reason.reason)).collect();
        Failure::new(format!("the review of case `{case}` cannot be used:\n{}", reasons.join("\n")))
    })?;
    let (graph, plan) = (Arc::new(graph), Arc::new(plan));
    let signed = format!("reviewed by {}", readers.join("; "));
    Ok(Reviewed { recorded, workflow, graph, part, inputs, plan, keeping, signed })
}

/// The workflow with what it does with reviews, and the overrides that the case was run with.
pub(super) fn load(recorded: &Recorded, registry: &Registry) -> Result<(Graph, ReviewPart), Failure> {
    let submission = &recorded.submission;
    let overrides =
        Overrides { operators: submission.operators.clone(), settings: submission.settings.clone() };
    in_its_folder(submission, || {
        workflow::load_review(&submission.workflow, &overrides, registry).map_err(|faults| {
            Failure(format!("{}\nnote: nothing was run", faults.render(colour()).trim_end()))
        })
    })
}

/// Makes the reviewed result of a case, unless it is there.
fn one(call: &Call<'_>, case: &Reviewed) -> Result<Exit, Failure> {
    let (label, out) = (&case.recorded.label, call.args.out.join(FOLDER));
    match decide(&out, case) {
        Decision::UpToDate => say(&format!("case `{label}` is reviewed so already: nothing was changed")),
        Decision::Busy { why } => {
            return Err(Failure::new(format!(
                "another process works on the review of case `{label}`: {why}\nhint: try again when it is done"
            )));
        }
        _ => {
            let exit = make(call, case)?;
            if exit != Exit::Fine {
                return Ok(exit);
            }
        }
    }
    if let Some(table) = &call.args.training_table {
        train(&out, case, table)?;
    }
    Ok(Exit::Fine)
}

fn decide(out: &Path, case: &Reviewed) -> Decision {
    let state = StateFolder::of(out);
    let decider = Decider {
        graph: &case.graph,
        keys: &case.keeping.keys,
        memo: &case.keeping.memo,
        state: &state,
        out,
        liveness: Liveness::now(&state),
        retry_only: false,
        cancel: &AtomicBool::new(false),
        held: &BTreeMap::new(),
        task: None,
    };
    decider.known(case.recorded.label.clone(), case.inputs.clone(), &case.plan).decision
}

fn make(call: &Call<'_>, case: &Reviewed) -> Result<Exit, Failure> {
    let Call { common, args, site, registry, stop } = *call;
    let (recorded, graph) = (&case.recorded, &case.graph);
    let (label, out) = (&recorded.label, args.out.join(FOLDER));
    let mut submission = args.means.submission(COMMAND, &case.workflow, None, graph, registry);
    // Files in overrides are relative to where these were given.
    submission.folder.clone_from(&recorded.submission.folder);
    submission.device = submission.device.or_else(|| recorded.submission.device.clone());
    let session = Session::open(&mut Start {
        out: &out,
        inputs: &mut case.inputs.values().filter_map(place_of),
        policy: site.batch.policy(None),
        submission: &submission,
        keeping: Some(&case.keeping),
        part: None,
    })?;
    session.said().iter().for_each(|line| say(line));
    run::claim((&out, &case.signed), &session, label, &case.inputs, &case.plan)?;
    let reporter = Reporter::new(common.log_format);
    let mut options = args.means.options(site, stop, case.keeping.clone());
    if let Some(device) = &submission.device {
        options.device.clone_from(device);
    }
    options.events = Arc::new(move |event| reporter.show(event));
    options.kept = graph.kept().into_iter().collect();
    let (inputs, plan) = (case.inputs.clone(), Arc::clone(&case.plan));
    let job = CaseJob { label: label.to_string(), inputs, plan, memory_mib: 0 };
    let exit = OnceLock::new();
    runner::run(graph, registry, &options, &mut std::iter::once(job), &|mut result| {
        let other = review::first_difference(&recorded.end, &result, graph, &case.part.input);
        if let Some(stage) = other.filter(|_| result.ok) {
            result.changed = Some(format!(
                "stage `{stage}` delivers something else than when the reader's page was made, so the review may not fit"
            ));
        }
        let _ = exit.set(run::conclude(&result, &session.finish(graph, &result), stop));
    });
    session.release();
    Ok(exit.into_inner().unwrap_or_else(|| run::stopped(stop)))
}

/// Adds a case to a training table: what it was read from, and its lesions as reviewed.
fn train(out: &Path, case: &Reviewed, table: &Path) -> Result<(), Failure> {
    /// The column of labels that training reads.
    const TRUTH: &str = "truth";
    let label = &case.recorded.label;
    let Some(truth) = &case.part.truth else {
        let name = &case.graph.name;
        return Err(Failure::new(format!(
            "`[review]` of the workflow `{name}` does not say which output is the truth\nhint: add `truth = \"…\"`, the name of the labels in `[review.outputs]`"
        )));
    };
    let reviewed = replay::find(out, &label.to_string())?;
    let outputs = reviewed.end.outputs.iter().find(|entry| entry.output == *truth);
    let Some(entry) = outputs else {
        return Err(Failure::new(format!(
            "the reviewed case `{label}` has no output `{truth}`\nhint: was it removed?"
        )));
    };
    let path = out.join(&entry.path).canonicalize()?.display().to_string();
    let given = case.recorded.end.inputs.iter().filter_map(|input| {
        let cell = input.path.as_ref().map(|path| path.display().to_string()).or_else(|| input.value.clone());
        Some((input.name.clone(), cell?))
    });
    let cells: Vec<(String, String)> = given.chain([(TRUTH.to_owned(), path)]).collect();
    let changed = review::put_row(table, label, &cells)?;
    let table = table.display();
    say(&if changed {
        format!("case `{label}` is in {table}, with its lesions as reviewed")
    } else {
        format!("case `{label}` was in {table} already, as it is")
    });
    Ok(())
}
