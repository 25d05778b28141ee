//! `neuroloom why`.

use super::{Exit, Failure, Format, print, table};
use crate::batch::Why;
use crate::case::CaseLabel;
use crate::record::{Ending, StageEntry, StateFolder};
use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// The output folder of `batch` or `run`
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// The case, as `sub-017` or `sub-017_ses-02`; or a stage over the cohort, as `volumes` or `volumes/sub-017`
    #[arg(value_name = "CASE")]
    case: String,
    /// Only this stage
    #[arg(value_name = "STAGE")]
    stage: Option<String>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn why(args: &WhyArgs) -> Result<Exit, Failure> {
    let of_cohort = StateFolder::of(&args.out).groups().join(&args.case).is_dir();
    let label = if of_cohort { args.case.clone() } else { CaseLabel::parse(&args.case)?.to_string() };
    let why = Why::of(&args.out, &label, args.stage.as_deref())?;
    match args.format {
        Format::Json => print(&serde_json::to_string_pretty(&why)?),
        Format::Text => print(&text(&why, args.stage.is_some())),
    }
    Ok(Exit::Fine)
}

fn text(why: &Why, one_stage: bool) -> String {
    let mut text = format!("case {}: {}\n", why.case, why.state.name());
    if let Some(cause) = &why.cause {
        let _ = writeln!(text, "cause: {cause}");
    }
    if let Some(hint) = &why.hint {
        let _ = writeln!(text, "hint: {hint}");
    }
    text.push_str("\nattempts, latest first\n");
    for attempt in &why.attempts {
        let ending = match attempt.ending {
            Some(Ending::Ok) => "ok",
            Some(Ending::Failed) => "failed",
            Some(Ending::Interrupted) => "interrupted",
            Some(Ending::Changed) => "changed",
            None => "no end",
        };
        let seconds = attempt.seconds.map(|seconds| format!(" after {seconds:.1} s")).unwrap_or_default();
        let (number, run, since, why) = (attempt.attempt, attempt.run, &attempt.since, &attempt.why);
        let _ = writeln!(text, "  {number}  run {run}, {since}: {ending}{seconds}; it ran because: {why}");
    }
    if !why.changes.is_empty() {
        text.push_str("\nwhat differs from the attempt before\n");
        for change in &why.changes {
            let _ = writeln!(text, "  {change}");
        }
    }
    if !why.stages.is_empty() {
        let _ = write!(text, "\ninputs: {}\n\n{}", why.present.join(", "), stages(&why.stages));
        text.push('\n');
    }
    if one_stage {
        why.stages.iter().for_each(|stage| text.push_str(&parts(stage)));
    }
    if !why.log.is_empty() {
        text.push_str("\nlog\n");
        for line in &why.log {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

fn stages(stages: &[StageEntry]) -> String {
    let mut rows = table::plain(&["stage", "state", "seconds", "peak MiB", "key", "why"]);
    for stage in stages {
        let took = if stage.cached { "cached".to_owned() } else { format!("{:.2}", stage.seconds) };
        let peak = stage.peak_mib.map(|mib| format!("{}{mib}", if stage.alone { "" } else { "<= " }));
        rows.add_row([
            stage.place(),
            stage.state.name().to_owned(),
            if stage.state == crate::runner::StageState::Ran { took } else { "–".to_owned() },
            peak.unwrap_or_else(|| "–".to_owned()),
            stage.key.map(|key| key.short()).unwrap_or_default(),
            stage.reason.clone().unwrap_or_default().lines().next().unwrap_or_default().to_owned(),
        ]);
    }
    rows.to_string()
}

/// What a stage's key is made of, and what it delivered.
fn parts(stage: &StageEntry) -> String {
    let mut text = format!("\n{} ran {}\n", stage.place(), stage.operator);
    if let Some(parts) = &stage.parts {
        let _ = writeln!(text, "  plugin build {}", parts.build.short());
        if !parts.identity.is_empty() {
            let _ = writeln!(text, "  depends on {}", parts.identity);
        }
        let _ = writeln!(text, "  settings {}", parts.settings);
        for (name, digest) in &parts.files {
            let _ = writeln!(text, "  file {name} {}", digest.short());
        }
        for (name, digest) in &parts.inputs {
            let digest = digest.map_or_else(|| "absent".to_owned(), |digest| digest.short());
            let _ = writeln!(text, "  input {name} {digest}");
        }
    }
    for (name, digest) in &stage.outputs {
        let _ = writeln!(text, "  output {name} {}", digest.short());
    }
    text
}
