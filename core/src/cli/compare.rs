//! `neuroloom compare`.

use super::{Exit, Failure, Format, print, table};
use crate::compare::{self, Comparison, FileKind, Pair, RunFacts, Selection};
use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Differences that are listed one by one.
const ROWS_SHOWN: usize = 40;

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The output folder of one run
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The output folder of another
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Only these cases
    #[arg(long, value_name = "LABEL", num_args = 1..)]
    case: Vec<String>,
    /// Only these outputs: a part of their files' names, as in `desc-lesions_dseg` or `lesions`
    #[arg(long, value_name = "NAME", num_args = 1..)]
    output: Vec<String>,
    /// Exit with 1 if results differ by more than rounding
    #[arg(long)]
    exit_code: bool,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn compare(args: &CompareArgs) -> Result<Exit, Failure> {
    let selection = Selection { cases: args.case.clone(), outputs: args.output.clone() };
    let comparison = compare::compare(&args.a, &args.b, &selection)?;
    match args.format {
        Format::Json => print(&format!("{:#}", serde_json::to_value(&comparison)?)),
        Format::Text => print(&text(&comparison)),
    }
    let differ = args.exit_code && !is_same(&comparison);
    Ok(if differ { Exit::SomeFailed } else { Exit::Fine })
}

/// Whether all results are the same but for rounding; documents tell of the run itself and do not count.
fn is_same(comparison: &Comparison) -> bool {
    let counts = &comparison.counts;
    counts.differ + counts.only.a + counts.only.b + counts.unreadable == 0
}

fn text(comparison: &Comparison) -> String {
    let mut text = format!("{}\n\n", compare::headline(comparison));
    let Pair { a, b } = &comparison.runs;
    let _ = writeln!(text, "A  {}\nB  {}", run(a), run(b));
    if !comparison.runs_differ.is_empty() {
        let _ = writeln!(text, "\nwhat differs between the runs");
        for sentence in &comparison.runs_differ {
            let _ = writeln!(text, "  {sentence}");
        }
    }
    let _ = writeln!(text, "\n{}", outputs(comparison));
    let rows = differences(comparison);
    if rows.is_empty() {
        return text;
    }
    let mut shown = table::plain(&["case", "output", "difference, worst first"]);
    for row in rows.iter().take(ROWS_SHOWN) {
        shown.add_row(row);
    }
    let _ = writeln!(text, "\n{shown}");
    if let more @ 1.. = rows.len().saturating_sub(ROWS_SHOWN) {
        let _ = writeln!(text, "… and {more} more: narrow down with --case or --output, or --format json");
    }
    text
}

fn run(facts: &RunFacts) -> String {
    let workflow = facts.workflow.as_deref().unwrap_or("unknown workflow");
    let engine = facts.engine.as_ref().map(|version| format!(", neuroloom {version}")).unwrap_or_default();
    let failed = if facts.failed == 0 { String::new() } else { format!(", {} failed", facts.failed) };
    let cases = compare::many(facts.published, "case");
    format!("{}: {workflow}{engine}; {cases}{failed}", facts.folder.display())
}

/// Every output over all cases.
fn outputs(comparison: &Comparison) -> String {
    let mut rows = table::plain(&["output", "kind", "same", "other", "over all cases"]);
    for output in &comparison.outputs {
        let same = output.identical + output.close;
        let [same, other] = [same, output.cases - same].map(|count| count.to_string());
        rows.add_row([&output.output, output.kind.name(), &same, &other, &compare::figures(output)]);
    }
    rows.to_string()
}

/// Case, output and difference of all that is not identical; documents after all results.
fn differences(comparison: &Comparison) -> Vec<[String; 3]> {
    let rows = comparison.cases.iter().flat_map(|case| {
        let words = compare::in_words(case).into_iter();
        words.map(|(row, kind, words)| (kind == Some(FileKind::Document), [case.case.clone(), row, words]))
    });
    let (documents, results): (Vec<_>, Vec<_>) = rows.partition(|(is_document, _)| *is_document);
    results.into_iter().chain(documents).map(|(_, row)| row).collect()
}
