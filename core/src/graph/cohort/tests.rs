//! Tests of `[cohort]`: what is refused, what is merged, what is kept for it.

use crate::catalogue::fake::Fake;
use crate::graph::cost::cost_row;
use crate::graph::tests::{check, check_with, names, told};
use crate::plan::{Graph, Source};
use crate::render;
use crate::workflow::Overrides;
use sdk::Scope;
use std::collections::BTreeSet;

/// The paper's workflow with a table over the cohort and one for each subject.
const COHORT: &str = r#"
extends = "paper.toml"
[cohort.stages.summary]
operator = "summarise"
inputs = { table = "filter.table", image = "flair" }
settings.verbose = true
[cohort.stages.course]
operator = "follow"
inputs.lesions = "filter.labels"
threads = 2
[cohort.outputs]
lesions = { from = "summary.table", bids = "desc-lesions_table" }
course = { from = "course.table" }
"#;

fn cohort() -> Graph {
    check(COHORT).unwrap_or_else(|faults| panic!("{faults}"))
}

fn kept(graph: &Graph) -> Vec<String> {
    graph.kept().iter().map(|source| graph.name_of(source)).collect()
}

#[test]
fn stages_of_the_cohort_stand_apart_from_those_of_cases() {
    let graph = cohort();
    assert_eq!(graph.notes, Vec::<String>::new());
    let plain = check("extends = \"paper.toml\"\n").unwrap();
    assert_eq!(names(&graph), names(&plain));
    let groups: Vec<_> = graph.cohort.iter().map(|group| (group.node.stage.as_str(), group.scope)).collect();
    assert_eq!(groups, [("summary", Scope::Cohort), ("course", Scope::Subject)]);
    assert_eq!(graph.cohort[0].node.settings, serde_json::json!({ "verbose": true }));
    assert_eq!(graph.cohort[1].node.means.threads, Some(2));
    let parts: Vec<_> = graph.cohort_outputs.iter().map(|output| output.parts[0].node).collect();
    assert_eq!(parts, [0, 1]);
    assert_eq!(kept(&graph), ["flair", "filter.labels", "filter.table"]);
}

#[test]
fn only_single_documents_of_the_cohort_go_to_the_root() {
    let with = |output: &str| {
        let text = COHORT.replace("course = { from = \"course.table\" }", output);
        check(&text)
            .map(|graph| graph.cohort_outputs.iter().any(|output| output.root))
            .map_err(|faults| faults.to_string().lines().next().unwrap_or_default().to_owned())
    };
    assert_eq!(
        with("course = { from = \"course.table\", root = true }").unwrap_err(),
        "error: cohort output `course` is no single document of the cohort, and so cannot go to the root"
    );
    assert_eq!(with("course = { from = \"course.table\" }"), Ok(false));
}

#[test]
fn a_case_brings_to_a_cohort_what_it_has() {
    let graph = cohort();
    let all: BTreeSet<String> = graph.inputs.iter().map(|input| input.name.clone()).collect();
    let whole = graph.plan(&Fake::new(), &all).unwrap();
    assert_eq!(whole.kept().len(), 3);
    assert!(whole.groups.iter().all(|group| group.lacks.is_none()));
    let present = all.iter().filter(|name| *name != "flair").cloned().collect();
    let without = graph.plan(&Fake::new(), &present).unwrap();
    assert!(!without.kept().contains(&Source::Input("flair".to_owned())));
    assert!(without.groups.iter().all(|group| group.lacks.is_none()), "{:?}", without.groups);
}

#[test]
fn what_only_the_cohort_reads_is_not_left_out() {
    let text = "extends = \"paper.toml\"\n[outputs]\nlesions.remove = true\nreport.remove = true\nprobability.remove = true\n\
                registered.remove = true\n[stages]\npage.remove = true\n[cohort.stages.s]\noperator = \"summarise\"\n\
                inputs.table = \"filter.table\"\n[cohort.outputs]\nt = { from = \"s.table\" }\n";
    let graph = check(text).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(names(&graph).contains(&"filter".to_owned()), "{:?}", names(&graph));
    assert_eq!((graph.cohort.len(), kept(&graph)), (1, vec!["filter.table".to_owned()]));
}

#[test]
fn a_stage_of_the_cohort_that_nothing_publishes_is_left_out_with_what_it_alone_reads() {
    let graph = check(&COHORT.replace("course = { from", "unused = { remove = true, from")).unwrap();
    assert_eq!(graph.notes, ["stage `course` is left out: nothing reads it"]);
    assert_eq!(graph.cohort.len(), 1);
}

#[test]
fn a_part_that_is_lost_is_told_with_its_reason() {
    let text = "extends = \"paper.toml\"\n[stages.own]\noperator = \"filter_lesions\"\nonly_with = [\"flair\"]\n\
                inputs.probability = \"segment.probability\"\n[cohort.stages.s]\noperator = \"summarise\"\n\
                inputs.table = \"own.table\"\n[cohort.outputs]\nt = { from = \"s.table\" }\n";
    let graph = check(text).unwrap_or_else(|faults| panic!("{faults}"));
    let row = cost_row(&graph, &Fake::new(), &BTreeSet::from(["flair".to_owned()]));
    let told: Vec<_> = row.lost.iter().map(|loss| format!("{}: {}", loss.name, loss.reason)).collect();
    assert!(
        told.contains(&"its part in `s`: input `flair` is absent, so `own` is skipped".to_owned()),
        "{told:?}"
    );
}

#[test]
fn a_site_file_use_and_set_reach_stages_of_the_cohort() {
    let overrides = Overrides {
        operators: Vec::new(),
        settings: vec![
            "summary.settings.fractional_threshold=0.25".to_owned(),
            "course.device=cpu".to_owned(),
        ],
    };
    let graph = check_with(COHORT, &overrides).unwrap_or_else(|faults| panic!("{faults}"));
    let settings = serde_json::json!({ "verbose": true, "fractional_threshold": 0.25 });
    assert_eq!(graph.cohort[0].node.settings, settings);
    assert_eq!(graph.cohort[1].node.means.device.as_deref(), Some("cpu"));
    let overrides = Overrides { settings: vec!["sumary.settings.x=1".to_owned()], ..Overrides::default() };
    let faults = check_with(COHORT, &overrides).unwrap_err().to_string();
    assert!(faults.contains("did you mean `summary`?"), "{faults}");
}

#[test]
fn another_operator_drops_the_settings_of_a_stage_of_the_cohort() {
    let overrides = Overrides { operators: vec!["summary=cohort_report".to_owned()], settings: Vec::new() };
    let text = "cohort_report` has no input `table`";
    let faults = check_with(COHORT, &overrides).unwrap_err().to_string();
    assert!(
        !faults.contains("verbose") && !faults.contains(text),
        "roles differ, so wires go, too: {faults}"
    );
    assert!(faults.contains("operator `cohort_report` has no output `table`"), "{faults}");
}

#[test]
fn all_faults_of_a_cohort_are_told_in_one_go() {
    insta::assert_snapshot!(told(
        r#"
extends = "paper.toml"
outputs.mean = { from = "summary.table" }
[cohort]
colour = "red"
[cohort.stages.summary]
operator = "summarise"
inputs.table = "filter.labels"
inputs.image = "flair"
inputs.labels = "filter.labels"
each.image = "aligned.registered"
retries = 3
memry = "1 GiB"
settings.verbos = true
[cohort.stages.second]
operator = "summarise"
inputs.table = "summary.table"
[cohort.stages.third]
operator = "summarize"
[cohort.stages.fourth]
operator = "bet"
inputs.head = "t1_pre"
[cohort.stages.brain]
operator = "summarise"
inputs.table = "filter.table"
[stages.all]
operator = "cohort_report"
[cohort.outputs]
one = { from = "summary.html" }
two = { from = "filter.table" }
three = { from = "sumary.table", dataset = "x" }
"#
    ));
}

#[test]
fn a_picture_shows_the_cohort_after_its_cases() {
    let text = render::mermaid(&cohort());
    let lines: Vec<_> =
        text.lines().filter(|line| line.contains("summary") || line.contains("course")).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
