//! Operators over subjects and cohorts, from plugins that are loaded from their files.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use neuroloom_core::group::{self, GroupCase, GroupResult, GroupRun, GroupState};
use neuroloom_core::plan::Graph;
use neuroloom_core::publish::{Policy, Publisher};
use neuroloom_core::record::{Attempts, Ending};
use neuroloom_core::registry::Registry;
use neuroloom_core::runner::RunOptions;
use neuroloom_core::store::{Memo, NodeKeys, entry};
use neuroloom_core::workflow::{self, Overrides};
use neuroloom_tests::hostile;
use sdk::{CaseEntry, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A cohort of numbers, without any file.
const NUMBERS: &str = r#"
name = "numbers"
[inputs]
number = { type = "number" }
[cohort.stages.census]
operator = "census"
inputs.number = "number"
[cohort.stages.visits]
operator = "visits"
inputs.number = "number"
[cohort.outputs]
table = { from = "census.table", bids = "desc-numbers_table" }
visits = { from = "visits.list" }
"#;

/// A workflow, its plugins, an output folder, and values kept of cases.
struct Bench {
    folder: tempfile::TempDir,
    registry: Arc<Registry>,
    graph: Graph,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut registry = Registry::default();
        registry.add(&hostile()).unwrap();
        let path = folder.path().join("numbers.toml");
        std::fs::write(&path, NUMBERS).unwrap();
        let graph = workflow::load(&path, &Overrides::default(), &registry);
        let graph = graph.unwrap_or_else(|faults| panic!("{faults}"));
        Self { folder, registry: Arc::new(registry), graph }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn case(&self, label: &str, number: f64) -> GroupCase {
        let path = self.folder.path().join(format!("{label}.{number}.values"));
        if !path.exists() {
            entry::write(&path, &[("number", "", &Value::from(number))]).unwrap();
        }
        GroupCase {
            entry: CaseEntry::of(label),
            values: Some(path),
            present: BTreeSet::from(["number".to_owned()]),
        }
    }

    fn run(&self, cases: &[GroupCase]) -> Vec<GroupResult> {
        let options = RunOptions { cores: 2, ..RunOptions::default() };
        let keys = NodeKeys::new(&self.graph, &self.registry, &Memo::in_memory(), &options.site).unwrap();
        let policy = Policy { keep_replaced: 1, copy_participants: true };
        let (publisher, _) = Publisher::open(&self.out(), &mut std::iter::empty(), policy).unwrap();
        let run = GroupRun {
            part: None,
            graph: &self.graph,
            registry: &self.registry,
            options: &options,
            keys: &keys,
            publisher: &publisher,
            run: 1,
        };
        group::run(&run, cases)
    }

    fn attempts(&self, stage: &str, subject: Option<&str>) -> Attempts {
        Attempts::read(&self.out().join(".neuroloom").join(group::records(stage, subject)))
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.out().join(path)).unwrap()
    }
}

fn failed(label: &str, reason: &str) -> GroupCase {
    let entry = CaseEntry { failure: Some(reason.to_owned()), ..CaseEntry::of(label) };
    GroupCase { entry, ..GroupCase::default() }
}

fn states(results: &[GroupResult]) -> Vec<(String, GroupState)> {
    let name = |result: &GroupResult| {
        [Some(result.stage.as_str()), result.subject.as_deref()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    };
    results.iter().map(|result| (name(result), result.state)).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_group_operator_of_a_loaded_library_sees_all_cases_and_why_some_failed() {
    let bench = Bench::new();
    let cases = [bench.case("sub-a", 1.5), failed("sub-b", "no brain found"), bench.case("sub-c", -2.0)];
    let results = bench.run(&cases);
    let census = results.iter().find(|result| result.stage == "census").unwrap();
    assert_eq!((census.state, census.reason.as_str()), (GroupState::Done, "missing"));
    let table = bench.text("group/census/group_desc-numbers_table.tsv");
    assert_eq!(table, "case\tnumber\tfailure\nsub-a\t1.5\tn/a\nsub-b\tn/a\tno brain found\nsub-c\t-2\tn/a\n");
    assert!(bench.text(".bidsignore").lines().any(|line| line == "/group"));
    assert!(bench.out().join("dataset_description.json").is_file());
    assert_eq!(names(&bench.out().join(".neuroloom/tmp")), Vec::<String>::new());
    assert!(!bench.out().join(".neuroloom/resume").exists());
}

#[test]
fn a_group_stage_runs_again_only_when_something_changed_and_says_what() {
    let bench = Bench::new();
    let cases = [bench.case("sub-a", 1.5), failed("sub-b", "no brain found")];
    bench.run(&cases);
    let census = |cases: &[GroupCase]| bench.run(cases).into_iter().find(|r| r.stage == "census").unwrap();
    assert_eq!(census(&cases).state, GroupState::UpToDate);
    assert_eq!(bench.attempts("census", None).list.len(), 1);
    let changed = census(&[bench.case("sub-a", 1.75), failed("sub-b", "no brain found")]);
    assert_eq!(changed.reason, "input `sub-a: number` has other content");
    let changed = census(&[bench.case("sub-a", 1.75), failed("sub-b", "too dark")]);
    assert_eq!(changed.reason, "input `sub-b: failure` has other content");
    std::fs::remove_file(bench.out().join("group/census/group_desc-numbers_table.tsv")).unwrap();
    let gone = census(&[bench.case("sub-a", 1.75), failed("sub-b", "too dark")]);
    assert!(
        gone.reason.ends_with("group_desc-numbers_table.tsv of attempt 3 is not there any more"),
        "{gone:?}"
    );
    assert!(bench.text("group/census/group_desc-numbers_table.tsv").contains("too dark"));
}

#[test]
fn a_panic_for_one_subject_is_an_error_of_its_stage_and_the_others_go_on() {
    let bench = Bench::new();
    let cases =
        [bench.case("sub-bad", 1.0), bench.case("sub-ok_ses-10", 2.0), bench.case("sub-ok_ses-9", 3.0)];
    let results = bench.run(&cases);
    let expected = [
        ("census".to_owned(), GroupState::Done),
        ("visits sub-bad".to_owned(), GroupState::Failed),
        ("visits sub-ok".to_owned(), GroupState::Done),
    ];
    assert_eq!(states(&results), expected);
    assert_eq!(bench.text("group/visits/sub-ok/sub-ok_visits.txt"), "9 10");
    let attempts = bench.attempts("visits", Some("sub-bad"));
    let (_, end) = attempts.ends().next().unwrap();
    assert_eq!(end.ending, Ending::Failed);
    assert!(end.reason.as_ref().unwrap().contains("a subject I do not like"), "{end:?}");
    assert!(end.stages[0].location.as_ref().unwrap().contains("hostile.rs"), "{end:?}");
    assert_eq!(states(&bench.run(&cases))[1].1, GroupState::Failed, "it is tried again");
}

#[test]
fn without_any_case_that_has_values_nothing_runs_and_nothing_is_written() {
    let bench = Bench::new();
    let results = bench.run(&[failed("sub-a", "no brain found")]);
    assert!(results.iter().all(|result| result.state == GroupState::Nothing), "{results:?}");
    assert!(!bench.out().join("group").exists());
}
