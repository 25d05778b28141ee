//! What the program says about itself, its plugins and its workflows.

use neuroloom_tests::scene::{MAIN, phantom, scratch};
use neuroloom_tests::{Finished, finish, neuroloom};

fn ask(arguments: &[&str]) -> Finished {
    finish(neuroloom().args(arguments))
}

/// Compares an answer's stdout with the one on record.
fn answers(name: &str, arguments: &[&str]) {
    let answer = ask(arguments);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    let filters = vec![
        (r"(?m)^file .*/lib(\w+)\..*$", "file      lib$1"),
        (r"digest    [0-9a-f]{64}", "digest    DIGEST"),
        (r"rustc=[0-9.]+", "rustc=VERSION"),
        (r" +\n", "\n"),
    ];
    insta::with_settings!({ filters => filters }, { insta::assert_snapshot!(name, answer.stdout) });
}

#[test]
fn each_question_has_its_answer() {
    answers("help", &["--help"]);
    answers("run_help", &["run", "--help"]);
    answers("plugins_list", &["plugins", "list"]);
    answers("plugins_inspect", &["plugins", "inspect", "register"]);
    answers("check", &["check", MAIN]);
    answers("graph", &["graph", "workflows/brain-extraction.toml", "--format", "mermaid"]);
    answers("schema", &["schema", "bet"]);
}

#[test]
fn an_input_that_nothing_can_replace_makes_the_answer_no() {
    let answer = ask(&["check", MAIN, "--without", "t1_pre"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(2), ""));
    insta::assert_snapshot!(answer.stdout);
}

#[test]
fn every_kind_of_drawing_and_script_can_be_had() {
    for format in ["mermaid", "dot", "svg"] {
        assert!(ask(&["graph", MAIN, "--format", format]).stdout.contains("brain_on_reference"), "{format}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(ask(&["completions", shell]).stdout.contains("neuroloom"), "{shell}");
    }
}

#[test]
fn answers_for_programs_are_json() {
    for arguments in [["plugins", "list"].as_slice(), &["plugins", "inspect", "bet"], &["check", MAIN]] {
        let answer = finish(neuroloom().args(arguments).args(["--format", "json"]));
        let content: serde_json::Value = serde_json::from_str(&answer.stdout).expect("one JSON text");
        assert!(content.is_object(), "{arguments:?}");
    }
}

#[test]
fn the_doctor_finds_all_plugins_and_no_problem() {
    let answer = ask(&["doctor"]);
    assert_eq!(answer.code, Some(0), "{}", answer.stdout);
    for plugin in ["registration", "skull_strip", "segment", "lesions", "report"] {
        assert!(answer.stdout.contains(&format!("plugin {plugin}: ")), "{plugin}");
    }
    let missing = ask(&["doctor", "--plugin-dir", "nowhere"]);
    assert_eq!(missing.code, Some(1), "{}", missing.stdout);
}

#[test]
fn an_operator_is_timed_by_the_program_of_its_plugin() {
    let small = ["--slices", "3", "--side", "16", "--width", "0.0625", "--repeats", "3", "--device", "cpu"];
    let timed = finish(neuroloom().args(["bench", "segment"]).args(small));
    assert_eq!(timed.code, Some(0), "{}", timed.stderr);
    let figures: serde_json::Value = serde_json::from_str(&timed.stdout).expect("one JSON text");
    assert_eq!((figures["slices"].as_u64(), figures["all_s"].as_array().map(Vec::len)), (Some(3), Some(3)));
    assert!(figures["median_s"].as_f64().is_some_and(|seconds| seconds > 0.0), "{figures}");
    assert_eq!(ask(&["bench", "segment", "--slices", "none"]).code, Some(2));
    assert_eq!(ask(&["bench"]).stdout, "segment\n");
    let unknown = ask(&["bench", "bet"]);
    let told = "error: no plugin folder holds a program `bench_bet`\nhint: `segment` can be timed here\n";
    assert_eq!((unknown.code, unknown.stderr.as_str()), (Some(2), told));
}

#[test]
fn a_log_for_programs_is_one_json_object_a_line() {
    let out = scratch().join("logged");
    let run = finish(phantom(&out).args(["--log-format", "json"]));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let mut events = Vec::new();
    for line in run.stderr.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        events.extend(entry["event"].as_str().map(str::to_owned));
    }
    assert_eq!(events, ["case_started", "stage_started", "stage_ended", "case_ended"]);
}
