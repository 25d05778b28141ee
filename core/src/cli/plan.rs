//! `neuroloom plan`.

use super::cohort::CohortArgs;
use super::{Common, Exit, Failure, Format, WorkflowArgs, load, open_site, print, say, table};
use crate::capability::{Capability, Pattern, Verdict, near_groups, running};
use crate::case::{Cohort, CohortCase};
use crate::plan::Graph;
use clap::Args;
use std::fmt::Write as _;

/// As many near misses, problems and labels as a page can bear; `--cases` and JSON have all.
const MOST_SHOWN: usize = 10;
/// As many labels as serve to find a case of a pattern.
const EXAMPLES: usize = 3;
/// Where the column of stand-ins goes, if there are any.
const STAND_INS: usize = 4;

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    workflow: WorkflowArgs,
    #[command(flatten)]
    cohort: CohortArgs,
    /// Tell of every case, not only of every pattern
    #[arg(long)]
    cases: bool,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn plan(common: &Common, args: &PlanArgs) -> Result<Exit, Failure> {
    let (site, registry) = open_site(common)?;
    let graph = load(&args.workflow, &registry)?;
    let cohort = args.cohort.find(&graph, &site)?;
    let capability = Capability::new(&graph, &registry, &cohort);
    for note in &cohort.notes {
        say(&format!("note: {note}"));
    }
    match args.format {
        Format::Json => print(&format!("{:#}", capability.to_json(&graph, &cohort))),
        Format::Text => print(&text(&graph, &cohort, &capability, args.cases)),
    }
    capability.check_matched()?;
    if capability.runnable() == 0 {
        return Err(Failure::new("no case of this cohort can run"));
    }
    Ok(Exit::Fine)
}

fn text(graph: &Graph, cohort: &Cohort, capability: &Capability, each: bool) -> String {
    let subjects = cohort.by_subject().len();
    let (cases, root) = (cohort.cases.len(), cohort.root.display());
    let mut text = format!(
        "{root}: {}, {} of {}\n{}\n\n",
        cohort.kind,
        plural(cases, "case"),
        plural(subjects, "subject"),
        capability.summary()
    );
    if !capability.patterns.is_empty() {
        let _ = writeln!(text, "{}\n", overview(graph, cohort, capability));
    }
    for pattern in capability.patterns.iter().filter(|pattern| !pattern.is_whole()) {
        let cost = pattern.cost.to_string();
        let (head, rest) = cost.split_once('\n').unwrap_or((&cost, ""));
        let _ = writeln!(text, "{head}: {}\n{rest}", plural(pattern.cases.len(), "case"));
    }
    text.push_str(&near_misses(graph, cohort, if each { usize::MAX } else { MOST_SHOWN }));
    let troubled: Vec<&CohortCase> = cohort.cases.iter().filter(|case| !case.problems.is_empty()).collect();
    let shown = if each { troubled.len() } else { MOST_SHOWN };
    for case in troubled.iter().take(shown) {
        for problem in &case.problems {
            let _ = writeln!(text, "problem: case `{}`: {problem}", case.label);
        }
    }
    if troubled.len() > shown {
        let _ = writeln!(text, "… and {} more cases with problems: `--cases`", troubled.len() - shown);
    }
    if each {
        let _ = writeln!(text, "\n{}", each_case(cohort, capability));
    }
    text
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// A row a pattern.
fn overview(graph: &Graph, cohort: &Cohort, capability: &Capability) -> String {
    let stand_ins = capability.patterns.iter().any(|pattern| !pattern.cost.stand_ins.is_empty());
    let mut head = vec!["cases", "absent", "stages", "skipped", "outputs lost", "such as"];
    if stand_ins {
        head.insert(STAND_INS, "stand-ins");
    }
    let mut rows = table::plain(&head);
    for pattern in &capability.patterns {
        let runs = running(graph, pattern).len();
        let stages = if pattern.plan.is_ok() {
            format!("{runs} of {}", graph.nodes.len())
        } else {
            "cannot run".to_owned()
        };
        let names = |losses: &[crate::graph::cost::Loss]| comma(losses.iter().map(|loss| loss.name.as_str()));
        let cost = &pattern.cost;
        let mut row = vec![
            pattern.cases.len().to_string(),
            comma(cost.absent.iter().map(String::as_str)),
            stages,
            names(&cost.skipped),
            names(&cost.lost),
            examples(cohort, pattern),
        ];
        if stand_ins {
            row.insert(STAND_INS, comma(cost.stand_ins.iter().map(String::as_str)));
        }
        rows.add_row(row);
    }
    rows.to_string()
}

fn comma<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "–".to_owned() } else { names.join(", ") }
}

fn examples(cohort: &Cohort, pattern: &Pattern) -> String {
    let labels = pattern.cases.iter().take(EXAMPLES).map(|index| cohort.cases[*index].label.to_string());
    let labels: Vec<String> = labels.collect();
    let more = if pattern.cases.len() > EXAMPLES { " …" } else { "" };
    format!("{}{more}", labels.join(" "))
}

/// For each input that some cases lack, the files that came close, counted.
fn near_misses(graph: &Graph, cohort: &Cohort, most: usize) -> String {
    let mut text = String::new();
    for input in &graph.inputs {
        let groups = near_groups(&cohort.cases, &input.name);
        if groups.is_empty() {
            continue;
        }
        let sought = cohort.sought.get(&input.name).map(|sought| format!(" ({sought})")).unwrap_or_default();
        let _ = writeln!(text, "near misses for `{}`{sought}", input.name);
        for group in groups.iter().take(most) {
            let _ = writeln!(text, "  {group}");
        }
        if groups.len() > most {
            let _ = writeln!(text, "  … and {} other ways: `--cases`", groups.len() - most);
        }
        text.push('\n');
    }
    text
}

/// A row a case.
fn each_case(cohort: &Cohort, capability: &Capability) -> String {
    let mut rows = table::plain(&["case", "can run", "absent", "why"]);
    for (index, case) in cohort.cases.iter().enumerate() {
        let pattern = capability.pattern_of[index].map(|number| &capability.patterns[number]);
        let absent = pattern.map_or("–".to_owned(), |p| comma(p.cost.absent.iter().map(String::as_str)));
        let (can, why) = match capability.verdict(cohort, index) {
            Verdict::Runs(_) => ("yes", String::new()),
            Verdict::Impossible(reasons) => {
                ("no", reasons.iter().map(|reason| reason.reason.clone()).collect::<Vec<_>>().join("; "))
            }
            Verdict::Problems(problems) => {
                ("no", problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; "))
            }
        };
        rows.add_row([case.label.to_string(), can.to_owned(), absent, why]);
    }
    rows.to_string()
}

#[cfg(test)]
mod tests;
