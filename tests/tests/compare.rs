//! `neuroloom compare` on two runs of one patient.

use neuroloom_tests::scene::{main_workflow, scratch};
use neuroloom_tests::{Finished, finish, neuroloom};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Two runs with one setting changed: the lowest score of a lesion's voxels.
fn two_runs() -> &'static [PathBuf; 2] {
    static RUNS: OnceLock<[PathBuf; 2]> = OnceLock::new();
    RUNS.get_or_init(|| {
        ["0.5", "0.45"].map(|threshold| {
            let out = scratch().join(format!("threshold_{threshold}"));
            let set = format!("filter.settings.threshold={threshold}");
            let run = finish(main_workflow(&["bravo", "t1_pre"], &out).args(["--set", &set]));
            assert_eq!(run.code, Some(0), "{}", run.stderr);
            out
        })
    })
}

fn compare(a: &Path, b: &Path, more: &[&str]) -> Finished {
    finish(neuroloom().arg("compare").arg(a).arg(b).args(more))
}

fn json(a: &Path, b: &Path, more: &[&str]) -> Value {
    let run = compare(a, b, &[more, &["--format", "json"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("JSON on stdout")
}

#[test]
fn a_lower_threshold_changes_lesions_and_tables_and_nothing_before_them() {
    let [a, b] = two_runs();
    let answer = json(a, b, &[]);
    assert_eq!((&answer["counts"]["compared"], &answer["counts"]["differ"]), (&1.into(), &1.into()));
    let case = &answer["cases"][0];
    assert_eq!((case["case"].as_str(), case["verdict"].as_str()), (Some("sub-demo"), Some("differs")));
    let verdict = |name: &str| {
        let files = case["files"].as_array().unwrap();
        let file = files.iter().find(|file| file["name"] == name);
        file.unwrap_or_else(|| panic!("no {name} in {case}"))["verdict"].as_str().unwrap().to_owned()
    };
    for same in [
        "space-orig_label-lesion_probseg",
        "space-orig_desc-brain_mask",
        "from-bravo_to-t1pre_mode-image_xfm",
    ] {
        assert_eq!(verdict(same), "identical", "{same}");
    }
    for other in ["space-orig_desc-lesions_dseg", "desc-measured_lesions", "report"] {
        assert_eq!(verdict(other), "differs", "{other}");
    }
    let lesions = &case["files"][0];
    assert_eq!(lesions["kind"], "labels", "lesions come first");
    let volume = |side: &str| lesions["measures"]["volume_ml"][side].as_f64().unwrap();
    assert!(volume("b") > volume("a"), "a lower threshold takes more voxels");
    assert!((0.1..1.0).contains(&lesions["measures"]["dice"].as_f64().unwrap()));
    let told = answer["runs_differ"].to_string();
    assert!(told.contains("hreshold") && told.contains("0.45"), "{told}");
}

#[test]
fn people_read_what_matters_first() {
    let [a, b] = two_runs();
    let run = compare(a, b, &["--output", "lesions", "mask"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let first = run.stdout.lines().next().unwrap();
    assert!(first.starts_with("the case is not identical; "), "{first}");
    assert!(first.contains("differs in 1"), "{first}");
    assert!(run.stdout.contains("Dice 0."), "{}", run.stdout);
    assert!(!run.stdout.contains("probseg"), "only what was asked for: {}", run.stdout);
    assert_eq!(compare(a, b, &["--exit-code"]).code, Some(1), "as for `diff`, when asked for");
}

#[test]
fn a_run_again_is_identical() {
    let [a, _] = two_runs();
    let again = scratch().join("again");
    let set = "filter.settings.threshold=0.5";
    let run = finish(main_workflow(&["bravo", "t1_pre"], &again).args(["--set", set, "--threads", "1"]));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let run = compare(a, &again, &["--exit-code"]);
    assert_eq!(run.code, Some(0), "{}\n{}", run.stdout, run.stderr);
    assert!(run.stdout.starts_with("the case is identical\n"), "{}", run.stdout);
}

#[test]
fn what_cannot_be_compared_is_refused_with_a_way_out() {
    let [a, b] = two_runs();
    let refusals = [
        (compare(a, a, &[]), "are the same folder"),
        (compare(a, &a.join("sub-demo"), &[]), "is no output folder"),
        (compare(a, &a.join("nowhere"), &[]), "is no folder"),
        (compare(a, b, &["--case", "sub-dem"]), "did you mean `sub-demo`?"),
        (compare(a, b, &["--output", "lesion"]), "output `lesion` is in neither folder"),
    ];
    for (run, words) in refusals {
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{words}");
        assert!(run.stderr.contains(words) && run.stderr.contains("hint: "), "{}", run.stderr);
    }
}
