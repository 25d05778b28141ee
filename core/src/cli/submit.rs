//! `neuroloom batch --executor slurm`: gives the cases to Slurm, and with `--wait` stays until they are done.

use super::batch::{Scene, conclude, learn};
use super::{Exit, Failure, Format, print, say};
use crate::batch::{Decided, Session, Stopped, Summary};
use crate::plan::Node;
use crate::record::now;
use crate::slurm::{Hands, Held, Need, Round, Settled, SlurmRun, Submitter, first_round, max_array_size};
use serde_json::json;
use std::time::{Duration, Instant};

/// How often `--wait` looks whether the run is settled.
const LOOK: Duration = Duration::from_millis(500);
/// How often it asks Slurm whether anybody still works on it.
const ASK: Duration = Duration::from_secs(20);

/// The scripts that a submission would send.
pub(super) fn scripts(scene: &Scene<'_>, cases: &[Decided]) -> Result<Vec<String>, Failure> {
    let submitter = submitter(scene, cases)?;
    let places = first_round(cases, &need(scene, cases), &submitter);
    let run = SlurmRun::new(&scene.state, 0);
    if places.is_empty() && !submitter.groups {
        return Ok(Vec::new());
    }
    let scripts = submitter.scripts(&run, 1, &places)?;
    Ok(scripts.iter().map(|script| script.text().to_owned()).collect())
}

/// Freezes the first round and sends it.
pub(super) fn submit(
    scene: &Scene<'_>,
    session: Session,
    cases: &[Decided],
    began: Instant,
) -> Result<Exit, Failure> {
    let submitter = submitter(scene, cases)?;
    let run = SlurmRun::new(&scene.state, session.run());
    let places = first_round(cases, &need(scene, cases), &submitter);
    if places.is_empty() && (!submitter.groups || scene.cohort.narrowed) {
        let mut summary = Summary::of_settled(cases);
        summary.seconds = began.elapsed().as_secs_f64();
        return Ok(conclude(scene.args, &summary, &json!([]), None));
    }
    run.keep_submitter(&submitter)?;
    run.begin_round(1, &places)?;
    let sent = submitter.submit(&run, 1);
    drop(session);
    match sent {
        Ok((round, said)) => {
            if !said.is_empty() {
                say(&said);
            }
            tell(scene, &run, &round, began);
        }
        Err(error) => {
            let text = error.to_string();
            let settled =
                Settled { summary: Summary::default(), groups: json!([]), error: Some(text), at: now() };
            run.settle(&settled)?;
            return Err(error.into());
        }
    }
    if scene.args.wait { wait(scene, &run, began) } else { Ok(Exit::Fine) }
}

/// Says what was sent.
fn tell(scene: &Scene<'_>, run: &SlurmRun, round: &Round, began: Instant) {
    let jobs: Vec<&str> = round.jobs().collect();
    if !scene.args.wait {
        match scene.args.format {
            Format::Json => print(&format!("{:#}", json!({ "run": run.run, "jobs": jobs }))),
            Format::Text => print(&jobs.join("\n")),
        }
    }
    let tasks: usize = round.arrays.iter().map(|array| array.tasks).sum();
    let out = scene.args.out.display();
    say(&format!(
        "submitted {} cases as {tasks} tasks of {} arrays in {:.1} s: jobs {}\n\
         note: `neuroloom status {out}` shows how they stand, `neuroloom cancel {out}` ends them",
        round.places.len(),
        round.arrays.len(),
        began.elapsed().as_secs_f64(),
        jobs.join(" ")
    ));
}

fn submitter(scene: &Scene<'_>, cases: &[Decided]) -> Result<Submitter, Failure> {
    let (args, mut site) = (scene.args, scene.site.slurm.clone());
    if let Some(gib) = args.means.memory {
        site.memory_gib = vec![gib];
    }
    site.cpus = args.means.threads.map_or(site.cpus, u32::from);
    site.throttle = args.jobs.map(usize::from).or(site.throttle);
    let program = site.program.clone().map_or_else(std::env::current_exe, Ok)?;
    Ok(Submitter {
        gres: gres(scene, cases),
        workflow: scene.graph.name.clone(),
        out: std::path::absolute(&args.out)?,
        folder: std::env::current_dir()?,
        program,
        groups: !scene.graph.cohort.is_empty() && !scene.cohort.narrowed,
        most_tasks: max_array_size(),
        site,
    })
}

/// What a case is expected to need.
fn need<'a>(scene: &'a Scene<'_>, cases: &[Decided]) -> impl Fn(&Decided) -> Need + 'a {
    let learned = learn(&scene.state, cases);
    move |case| {
        let Some(plan) = case.plan.as_deref() else { return Need { memory_mib: 0, seconds: None } };
        Need {
            memory_mib: learned.case_mib(&scene.graph, plan, case.bytes),
            seconds: learned.seconds(&scene.graph, plan, case.bytes),
        }
    }
}

/// The GPU that tasks ask for, if a stage that runs needs one, or can use one and the site has some.
fn gres(scene: &Scene<'_>, cases: &[Decided]) -> Option<String> {
    /// What a stage with the device `cuda` needs, where the site says nothing.
    const ONE: &str = "gpu:1";
    let asked = scene.args.means.device.as_deref().or(scene.site.run.device.as_deref()).unwrap_or("auto");
    let can = |node: &Node| {
        let plugin = scene.registry.plugin(&node.operator.plugin);
        let mut operators = plugin.into_iter().flat_map(|plugin| &plugin.description.operators);
        operators.any(|operator| operator.name == node.operator.name && operator.gpu)
    };
    let (mut must, mut may) = (false, false);
    for case in cases.iter().filter(|case| case.decision.runs()) {
        let Some(plan) = case.plan.as_deref() else { continue };
        let runs = scene.graph.nodes.iter().zip(&plan.nodes).filter(|(_, planned)| planned.runs());
        for (node, _) in runs.filter(|(node, _)| can(node)) {
            let device = node.means.device.as_deref().unwrap_or(asked);
            must |= device.starts_with("cuda");
            may |= device == "auto";
        }
    }
    let site = scene.site.slurm.gres.clone();
    if must { site.or_else(|| Some(ONE.to_owned())) } else { site.filter(|_| may) }
}

/// Stays until the run is over, and ends as a local run does.
fn wait(scene: &Scene<'_>, run: &SlurmRun, began: Instant) -> Result<Exit, Failure> {
    let out = scene.args.out.display();
    let mut asked = Instant::now();
    while !run.is_over() {
        if let Some(stopped) = scene.stop.stopped() {
            say(&format!("note: no longer waiting; the jobs go on, `neuroloom cancel {out}` ends them"));
            return Ok(if stopped == Stopped::CtrlC { Exit::CtrlC } else { Exit::Interrupted });
        }
        std::thread::sleep(LOOK);
        if asked.elapsed() < ASK {
            continue;
        }
        asked = Instant::now();
        let hands = Hands::of(&scene.state);
        let mut own = hands.cases.values().filter(|hand| hand.run == run.run).peekable();
        if own.peek().is_some() && own.all(|hand| hand.held == Held::Lost) {
            let why = hands.cases.values().next().map(|hand| hand.why.clone()).unwrap_or_default();
            return Err(Failure::new(format!(
                "nobody works on run {} any more: {why}\nhint: {} tells more; the same command goes on from here",
                run.run,
                run.logs().display()
            )));
        }
    }
    let Some(settled) = run.settled() else {
        return Err(Failure::new(format!(
            "run {} was cancelled\nhint: the same command goes on from here",
            run.run
        )));
    };
    if let Some(error) = settled.error {
        return Err(Failure::new(error));
    }
    let summary = Summary { seconds: began.elapsed().as_secs_f64(), ..settled.summary };
    Ok(conclude(scene.args, &summary, &settled.groups, None))
}
