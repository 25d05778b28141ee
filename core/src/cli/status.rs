//! `neuroloom status`.

use super::{Exit, Failure, Format, print, say, table};
use crate::batch::{CaseStatus, RunStatus, Status};
use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The output folder of `batch` or `run`
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// List the cases that are done, too
    #[arg(long)]
    all: bool,
    /// Tell what each stage took: seconds, and memory where it was measured
    #[arg(long, conflicts_with = "all")]
    stages: bool,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn status(args: &StatusArgs) -> Result<Exit, Failure> {
    let status = Status::of(&args.out)?;
    for odd in &status.odd {
        say(&format!("warning: {}: {}", odd.path.display(), odd.reason));
    }
    if let Some(trouble) = &status.trouble {
        say(&format!("warning: what waits is told from records alone: {trouble}"));
    }
    match args.format {
        Format::Json => print(&serde_json::to_string_pretty(&status)?),
        Format::Text if args.stages => print(&format!("{}{}", head(&status), stages(&status))),
        Format::Text => print(&format!("{}{}", head(&status), cases(&status, args.all))),
    }
    Ok(Exit::Fine)
}

/// Cases by state, and the runs.
fn head(status: &Status) -> String {
    let counts: Vec<String> = status.counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let mut text = format!("{} cases: {}\n", status.cases.len(), counts.join(", "));
    for run in &status.runs {
        let _ = writeln!(text, "{}", run_line(run));
    }
    text
}

/// What each stage took.
fn stages(status: &Status) -> String {
    let titles =
        ["stage", "runs", "cached", "median s", "95 % s", "max s", "total s", "median MiB", "max MiB"];
    let mut rows = table::plain(&titles);
    for stage in &status.stages {
        let seconds = [stage.median_seconds, stage.p95_seconds, stage.max_seconds, stage.total_seconds];
        let mib = |mib: Option<u64>, at_most: bool| {
            mib.map_or_else(|| "–".to_owned(), |mib| format!("{}{mib}", if at_most { "<= " } else { "" }))
        };
        let mut row = vec![stage.stage.clone(), stage.runs.to_string(), stage.cached.to_string()];
        row.extend(
            seconds.map(|seconds| if stage.runs > 0 { format!("{seconds:.2}") } else { "–".to_owned() }),
        );
        row.extend([mib(stage.median_peak_mib, false), mib(stage.max_peak_mib, !stage.alone)]);
        rows.add_row(row);
    }
    format!("\n{rows}")
}

/// The cases that are not done, or all of them.
fn cases(status: &Status, all: bool) -> String {
    let mut text = String::new();
    let shown = |case: &&CaseStatus| all || case.state != "done";
    let mut rows = table::plain(&["case or cohort stage", "state", "attempt", "since", "stage", "why"]);
    for case in status.cases.iter().chain(&status.groups).filter(shown) {
        let reason = case.reason.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
        let mut reason = shortened(reason);
        if case.result && case.state != "done" {
            reason.push_str(" (an earlier result is in place)");
        }
        rows.add_row([
            case.case.as_str(),
            case.state.as_str(),
            &if case.attempt == 0 { "–".to_owned() } else { case.attempt.to_string() },
            case.since.as_deref().unwrap_or("–"),
            &case.stages.join(", "),
            &reason,
        ]);
    }
    if status.cases.iter().chain(&status.groups).any(|case| shown(&case)) {
        let _ = write!(text, "\n{rows}");
    }
    text
}

/// A reason that fits a table; `why` has the whole.
fn shortened(reason: &str) -> String {
    /// Characters of a reason.
    const MOST: usize = 100;
    if reason.chars().count() <= MOST {
        return reason.to_owned();
    }
    format!("{}…", reason.chars().take(MOST).collect::<String>())
}

/// `run 7: batch of lesions, 2026-…, alive on node3 (process 4242), 1200 MiB, 5000 MiB left, heard at …`.
fn run_line(run: &RunStatus) -> String {
    let mut line = format!("run {}", run.run);
    if let Some(submission) = &run.submission {
        let _ = write!(line, ": {} of {}, {}", submission.command, submission.name, submission.since);
        let process = &submission.process;
        if !run.jobs.is_empty() {
            let _ = write!(line, ", with Slurm as {}", run.jobs.join(" "));
        } else if run.alive {
            let _ = write!(line, ", alive on {} (process {})", process.host, process.pid);
        } else {
            line.push_str(", ended");
        }
    }
    if let Some(beat) = run.heartbeat.as_ref().filter(|_| run.alive) {
        if let (Some(held), Some(left)) = (beat.resident_mib, beat.available_mib) {
            let _ = write!(line, ", holds {held} MiB, {left} MiB left");
        }
        let _ = write!(line, ", heard {}", beat.at);
    }
    line
}
