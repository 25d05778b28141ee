//! What `plan` says of made cohorts.

use super::text;
use crate::capability::Capability;
use crate::case::{Cohort, Filters};
use crate::catalogue::fake::Fake;
use crate::plan::Graph;
use crate::site::Site;
use crate::workflow::{Overrides, load};
use std::path::Path;
use std::time::Instant;
use tempfile::TempDir;

/// Files of a subject that has everything.
const WHOLE: [&str; 4] = ["acq-BRAVO_ce-gad_T1w", "acq-CUBE_T1w", "acq-CUBE_ce-gad_T1w", "FLAIR"];

fn paper() -> Graph {
    let path = Path::new("tests/data/brain-metastases.toml");
    load(path, &Overrides::default(), &Fake::new()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A data set of empty files: discovery must not read them. Five patterns, by the subject's number.
fn made(subjects: usize) -> TempDir {
    // In memory where there is such a place: 8,000 files take a disk longer than all else here.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let data = tempfile::tempdir_in(place).unwrap();
    std::fs::write(data.path().join("dataset_description.json"), "{}").unwrap();
    for number in 1..=subjects {
        let (label, folder) = subject(&data, number);
        let lacks: &[&str] = match number % 20 {
            3 => &["FLAIR"],
            7 => &["acq-CUBE_ce-gad_T1w"],
            11 => &["FLAIR", "acq-CUBE_ce-gad_T1w"],
            13 => &["acq-CUBE_T1w"],
            _ => &[],
        };
        for name in WHOLE.iter().filter(|name| !lacks.contains(name)) {
            std::fs::write(folder.join(format!("{label}_{name}.nii.gz")), "").unwrap();
        }
    }
    data
}

fn subject(data: &TempDir, number: usize) -> (String, std::path::PathBuf) {
    let label = format!("sub-{number:04}");
    let folder = data.path().join(&label).join("anat");
    std::fs::create_dir_all(&folder).unwrap();
    (label, folder)
}

fn find(data: &TempDir, graph: &Graph) -> Cohort {
    Cohort::find(data.path(), &graph.inputs, &Filters::default(), &Site::default()).unwrap()
}

fn told(data: &TempDir, each: bool) -> String {
    let graph = paper();
    let cohort = find(data, &graph);
    let capability = Capability::new(&graph, &Fake::new(), &cohort);
    let text = text(&graph, &cohort, &capability, each).replace(data.path().to_str().unwrap(), "DATA");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_table_tells_each_pattern_of_missing_sequences() {
    let data = made(40);
    let (label, folder) = subject(&data, 3);
    std::fs::write(folder.join(format!("{label}_T2FLAIR.nii.gz")), "").unwrap();
    let (label, folder) = subject(&data, 5);
    std::fs::write(folder.join(format!("{label}_acq-MPRAGE_T1w.nii.gz")), "").unwrap();
    insta::assert_snapshot!(told(&data, false));
}

#[test]
fn each_case_is_told_when_asked_for() {
    let data = made(13);
    let text = told(&data, true);
    let line = |label: &str| text.lines().rfind(|line| line.contains(label)).unwrap().to_owned();
    assert!(line("sub-0001").contains("yes"), "{text}");
    assert!(line("sub-0013").contains("no"), "{text}");
}

#[test]
fn programs_are_told_with_stable_keys() {
    let (data, graph) = (made(3), paper());
    let cohort = find(&data, &graph);
    let capability = Capability::new(&graph, &Fake::new(), &cohort);
    let json = capability.to_json(&graph, &cohort);
    let text = serde_json::to_string_pretty(&json).unwrap().replace(data.path().to_str().unwrap(), "DATA");
    insta::assert_snapshot!(text);
}

#[test]
fn an_optional_input_that_no_case_has_is_an_error_unless_the_cohort_is_narrowed_or_says_so() {
    let (data, graph) = (tempfile::tempdir().unwrap(), paper());
    for number in 1..=3 {
        let (label, folder) = subject(&data, number);
        for name in ["acq-BRAVO_ce-gad_T1w", "acq-CUBE_T1w", "acq-CUBE_ce-gad_T1w", "flair"] {
            std::fs::write(folder.join(format!("{label}_{name}.nii.gz")), "").unwrap();
        }
    }
    let check = |filters: &Filters| {
        let cohort = Cohort::find(data.path(), &graph.inputs, filters, &Site::default()).unwrap();
        Capability::new(&graph, &Fake::new(), &cohort).check_matched()
    };
    insta::assert_snapshot!(check(&Filters::default()).unwrap_err());
    assert!(check(&Filters { participants: vec!["0001".into()], ..Filters::default() }).is_ok());
    let filter = data.path().join("filter.json");
    std::fs::write(&filter, r#"{ "flair": null }"#).unwrap();
    assert!(check(&Filters { bids_filter: Some(filter), ..Filters::default() }).is_ok());
}

/// Users of other tools waited ten minutes for an index of a thousand subjects.
#[test]
fn two_thousand_subjects_are_planned_within_two_seconds() {
    /// In seconds; on an idle machine it takes a tenth.
    const LIMIT: f64 = 2.0;
    let (data, graph) = (made(2000), paper());
    let start = Instant::now();
    let cohort = find(&data, &graph);
    let capability = Capability::new(&graph, &Fake::new(), &cohort);
    let text = text(&graph, &cohort, &capability, false);
    let seconds = start.elapsed().as_secs_f64();
    assert!(text.contains(
        "1600 cases run whole, 100 without `t1_post`, 100 without `flair`, 100 without `t1_post` and `flair`, \
         100 cannot (no `t1_pre`)"
    ), "{text}");
    assert!(seconds < LIMIT, "{seconds} s");
}
