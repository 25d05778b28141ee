//! Tests of what group stages see of cases, of their keys, and of the folder they resume from.

use super::*;
use crate::catalogue::fake::Fake;
use crate::graph::tests::check;
use crate::store::entry;
use sdk::abi::Cases as _;
use sdk::{Grid, Image, Inputs, Table, Value, border};
use std::sync::atomic::AtomicBool;

/// A table for each case, and an image of those that have one.
const WORKFLOW: &str = r#"
extends = "paper.toml"
[cohort.stages.summary]
operator = "summarise"
inputs = { table = "filter.table", image = "flair" }
[cohort.outputs]
t = { from = "summary.table" }
"#;

/// Files with what was kept of cases.
struct Kept {
    folder: tempfile::TempDir,
    graph: Graph,
}

impl Kept {
    fn new() -> Self {
        let graph = check(WORKFLOW).unwrap_or_else(|faults| panic!("{faults}"));
        Self { folder: tempfile::tempdir().unwrap(), graph }
    }

    /// A case whose image, if it has one, is all `brightness`.
    fn case(&self, label: &str, brightness: Option<f32>) -> GroupCase {
        let table = Value::from(Table::new(Vec::new()));
        let grid = Grid::axis_aligned([2; 3], [1.0; 3]);
        let image = brightness.map(|b| Value::from(Image::new(grid, vec![b; 8]).unwrap()));
        let path = self.folder.path().join(format!("{label}.values"));
        let mut values = vec![("filter.table", "", &table)];
        values.extend(image.iter().map(|image| ("flair", "", image)));
        entry::write(&path, &values).unwrap();
        let inputs = self.graph.inputs.iter().map(|input| input.name.clone());
        let present = inputs.filter(|name| name != "flair" || brightness.is_some()).collect();
        GroupCase { entry: CaseEntry::of(label), values: Some(path), present }
    }

    fn brings(&self, case: &GroupCase) -> Brings {
        brings::Plans::new(&self.graph, &Fake::new()).brings(0, case)
    }

    fn served(&self, cases: &[GroupCase]) -> brings::Served {
        let cases = cases.iter().map(|case| self.brings(case)).collect();
        let interface = self.graph.cohort[0].interface.clone();
        brings::Served { cases, interface, cancel: Arc::default() }
    }

    fn key(&self, case: &GroupCase) -> BTreeMap<String, Option<Digest>> {
        let mut inputs = BTreeMap::new();
        self.brings(case).add_to_key(&mut inputs);
        inputs
    }
}

fn failed(label: &str, reason: &str) -> GroupCase {
    let entry = CaseEntry { failure: Some(reason.to_owned()), ..CaseEntry::of(label) };
    GroupCase { entry, ..GroupCase::default() }
}

fn inputs(served: &brings::Served, index: usize) -> Result<Inputs, OperatorError> {
    let answer = served.values(index, "".into()).into_result();
    border::inputs_from_abi(&answer.map_err(|error| border::error_from_json(error.as_str()))?)
}

fn entry_of(served: &brings::Served, index: usize) -> CaseEntry {
    serde_json::from_str(served.describe(index).as_str()).unwrap()
}

#[test]
fn values_come_from_the_case_s_file_again_and_again_and_failed_cases_have_none() {
    let kept = Kept::new();
    let cases =
        [kept.case("sub-01", Some(7.0)), failed("sub-02", "no brain found"), kept.case("sub-03", None)];
    let served = kept.served(&cases);
    for index in [0, 2, 0, 1, 0] {
        let inputs = inputs(&served, index).unwrap();
        assert_eq!(inputs.optional_table("table").unwrap().is_some(), index != 1);
        let image = inputs.optional_image("image").unwrap();
        assert_eq!(image.map(|image| image.voxels()[3]), (index == 0).then_some(7.0));
    }
    assert_eq!(entry_of(&served, 1).failure.as_deref(), Some("no brain found"));
    assert_eq!(entry_of(&served, 2).failure, None);
    let error = inputs(&served, 3).unwrap_err();
    assert_eq!(error.message, "case 3 was asked for, of 3");
    served.cancel.store(true, Ordering::Relaxed);
    assert_eq!(inputs(&served, 0).unwrap_err().cause, Cause::Cancelled);
}

#[test]
fn a_case_whose_kept_values_are_gone_or_damaged_counts_as_failed() {
    let kept = Kept::new();
    let failure = |case: &GroupCase| kept.brings(case).entry.failure.unwrap();
    let case = kept.case("sub-01", None);
    assert_eq!(failure(&GroupCase { values: None, ..case.clone() }), "nothing was kept of it: run it again");
    let with_flair = kept.graph.inputs.iter().map(|input| input.name.clone()).collect();
    let other = GroupCase { present: with_flair, ..case.clone() };
    assert_eq!(failure(&other), "`flair` was not kept of it: run it again");
    let without_bravo = case.present.iter().filter(|name| *name != "bravo").cloned().collect();
    let impossible = GroupCase { present: without_bravo, ..case.clone() };
    assert!(failure(&impossible).starts_with("input `bravo` is absent and required"));
    let path = case.values.as_ref().unwrap();
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, "not an entry").unwrap();
    assert!(failure(&case).contains("sub-01.values"), "{}", failure(&case));
}

#[test]
fn a_key_changes_with_content_failures_and_columns_and_not_with_places() {
    let kept = Kept::new();
    let case = kept.case("sub-01", Some(1.0));
    let before = kept.key(&case);
    let moved = Kept::new();
    assert_eq!(moved.key(&moved.case("sub-01", Some(1.0))), before);
    assert_ne!(moved.key(&moved.case("sub-01", Some(2.0))), before);
    assert_ne!(moved.key(&moved.case("sub-01", None)), before);
    let mut labelled = case.clone();
    labelled.entry.columns.insert("split".to_owned(), "test".to_owned());
    assert_ne!(kept.key(&labelled), before);
    let reasons = ["no brain found", "too dark"].map(|reason| kept.key(&failed("sub-01", reason)));
    assert_ne!(reasons[0], reasons[1]);
    assert_ne!(reasons[0], before);
    let with = |change: fn(&mut CaseEntry)| {
        let mut case = failed("sub-01", "no brain found");
        change(&mut case.entry);
        kept.key(&case)
    };
    assert_ne!(with(|entry| entry.hint = Some("look at it".to_owned())), reasons[0], "the way out is told");
    assert_ne!(
        with(|entry| entry.left = vec!["sub-01/page.html".to_owned()]),
        reasons[0],
        "and what is left"
    );
}

#[test]
fn a_subject_s_sessions_are_in_time_order() {
    let case = |label: &str, date: Option<&str>| {
        let mut entry = CaseEntry::of(label);
        entry.columns.extend(date.map(|date| ("date".to_owned(), date.to_owned())));
        GroupCase { entry, ..GroupCase::default() }
    };
    let cases = [
        case("sub-01_ses-a", Some("2021-05-01")),
        case("sub-01_ses-b", Some("2020-01-31")),
        case("sub-02_ses-10", None),
        case("sub-02_ses-2", None),
        case("sub-03", None),
    ];
    let subjects = units(Scope::Subject, &cases);
    let told: Vec<String> = subjects
        .into_iter()
        .flat_map(|(subject, cases)| {
            cases.into_iter().map(move |case| format!("{}: {}", subject.clone().unwrap(), case.entry.label))
        })
        .collect();
    assert_eq!(
        told,
        [
            "sub-01: sub-01_ses-b",
            "sub-01: sub-01_ses-a",
            "sub-02: sub-02_ses-2",
            "sub-02: sub-02_ses-10",
            "sub-03: sub-03"
        ]
    );
    assert_eq!(units(Scope::Cohort, &cases).len(), 1);
}

#[test]
fn a_folder_to_resume_from_stays_for_its_key_alone() {
    let state = tempfile::tempdir().unwrap();
    let of_stage = state.path().join(StateFolder::NAME).join("resume/summary");
    let (one, other) = (of_stage.join("one"), of_stage.join("other"));
    assert!(!prepare(&one).unwrap(), "it is empty at first");
    std::fs::write(one.join("half"), "done").unwrap();
    assert!(prepare(&one).unwrap());
    assert!(!prepare(&other).unwrap());
    assert!(!one.exists());
    forget(&other).unwrap();
    let left: Vec<_> = std::fs::read_dir(state.path().join(StateFolder::NAME)).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    forget(&other).unwrap();
}

#[test]
fn a_stage_that_takes_too_long_is_asked_and_then_given_up() {
    use std::time::Duration;
    let limit = Some(Duration::from_millis(20));
    let cancel = crate::host::Cancel { stage: Arc::default(), run: Arc::new(AtomicBool::new(false)) };
    let (tell, told) = crossbeam::channel::bounded(1);
    let error = work::wait(&told, limit, Duration::from_millis(20), &cancel).unwrap_err();
    assert!(error.message.ends_with("did not stop when asked to, and was given up"), "{error}");
    tell.send(Err(OperatorError::cancelled())).unwrap();
    let error = work::wait(&told, limit, Duration::from_secs(60), &cancel).unwrap_err();
    assert_eq!(error.message, "it took longer than its limit of 0.02 s");
    let stopped = crate::host::Cancel { stage: Arc::default(), run: Arc::new(AtomicBool::new(true)) };
    let (_tell, told) = crossbeam::channel::bounded(1);
    let error = work::wait(&told, None, Duration::from_millis(20), &stopped).unwrap_err();
    assert_eq!(error.cause, Cause::Cancelled);
}
