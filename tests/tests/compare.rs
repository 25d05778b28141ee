//! `neuroloom compare` on two runs of one patient.

use neuroloom_tests::scene::{scratch, sequence};
use neuroloom_tests::{Finished, finish, neuroloom};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The brain of a small head, found with this threshold.
fn run(name: &str, threshold: &str, more: &[&str]) -> PathBuf {
    let out = scratch().join(name);
    let mut command = neuroloom();
    command.args(["run", "workflows/brain-extraction.toml", "--input"]);
    command.arg(format!("head={}", sequence("t1_pre").display())).arg("--out").arg(&out);
    command.args(["--set", &format!("brain.settings.fractional_threshold={threshold}")]).args(more);
    let run = finish(&mut command);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    out
}

/// Two runs with one setting changed.
fn two_runs() -> &'static [PathBuf; 2] {
    static RUNS: OnceLock<[PathBuf; 2]> = OnceLock::new();
    RUNS.get_or_init(|| [run("wide", "0.4", &[]), run("narrow", "0.6", &[])])
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
fn a_higher_threshold_makes_a_smaller_mask() {
    let [a, b] = two_runs();
    let answer = json(a, b, &[]);
    assert_eq!((&answer["counts"]["compared"], &answer["counts"]["differ"]), (&1.into(), &1.into()));
    let case = &answer["cases"][0];
    assert_eq!((case["case"].as_str(), case["verdict"].as_str()), (Some("sub-demo"), Some("differs")));
    let mask = &case["files"][0];
    assert_eq!(
        (mask["kind"].as_str(), mask["name"].as_str()),
        (Some("mask"), Some("space-orig_desc-brain_mask"))
    );
    let volume = |side: &str| mask["measures"]["volume_ml"][side].as_f64().unwrap();
    assert!(volume("b") < volume("a"), "{mask}");
    let dice = mask["measures"]["dice"].as_f64().unwrap();
    assert!((0.5..1.0).contains(&dice), "{dice}");
    let told = answer["runs_differ"].to_string();
    assert!(told.contains("workflow: brain-extraction 1.0.0"), "{told}");
}

#[test]
fn people_read_what_matters_first() {
    let [a, b] = two_runs();
    let run = compare(a, b, &["--output", "mask"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let first = run.stdout.lines().next().unwrap();
    assert_eq!(first, "the case is not identical; mask differs in 1");
    assert!(run.stdout.contains("Dice 0."), "{}", run.stdout);
    assert!(!run.stdout.contains("desc-brain_T1w"), "only what was asked for: {}", run.stdout);
    assert_eq!(compare(a, b, &["--exit-code"]).code, Some(1), "as for `diff`, when asked for");
}

#[test]
fn a_run_again_is_identical() {
    let [a, _] = two_runs();
    let again = run("again", "0.4", &["--threads", "1"]);
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
        (compare(a, b, &["--output", "masks"]), "output `masks` is in neither folder"),
    ];
    for (run, words) in refusals {
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{words}");
        assert!(run.stderr.contains(words) && run.stderr.contains("hint: "), "{}", run.stderr);
    }
}
