use super::*;
use crate::record::tests_support::{self, blank_end};
use crate::record::{Claimed, StageEntry};
use serde_json::json;

/// An output folder with a case that has one claim.
fn scene(process: &Process) -> (tempfile::TempDir, StateFolder) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::of(folder.path());
    state.make().unwrap();
    std::fs::create_dir_all(state.run(1)).unwrap();
    claim(&state, process);
    (folder, state)
}

fn claim(state: &StateFolder, process: &Process) {
    let claim = tests_support::claim("sub-01", process);
    let claimed = Attempts::of_case(state, "sub-01").claim_next(state, &claim).unwrap();
    assert!(matches!(claimed, Claimed::Mine(_)));
}

fn dead() -> Process {
    Process { started: 1, ..Process::this().clone() }
}

fn beat(state: &StateFolder, available_mib: u64) {
    let beat = Heartbeat::of_this_process(7, Some(900), Some(available_mib));
    beat.write(state, &state.run(1)).unwrap();
    let line = json!({ "event": "stage_started", "case": "sub-01", "stage": "segment", "level": "INFO" });
    std::fs::write(state.run(1).join(crate::batch::LOG_FILE), format!("{line}\n")).unwrap();
}

#[test]
fn a_process_that_vanished_with_little_memory_left_was_probably_out_of_memory() {
    let (folder, state) = scene(&dead());
    beat(&state, 40);
    let why = Why::of(folder.path(), "sub-01", None).unwrap();
    assert_eq!(why.state, State::Lost);
    let cause = why.cause.unwrap();
    assert_eq!(
        cause,
        "probably out of memory: 40 MiB were left shortly before its process vanished while it ran segment"
    );
    beat(&state, 9000);
    let why = Why::of(folder.path(), "sub-01", None).unwrap();
    assert_eq!(why.cause.as_deref(), Some("its process was killed while it ran segment"));
}

#[test]
fn a_machine_that_was_restarted_is_told_from_a_process_that_was_killed() {
    let (folder, state) = scene(&Process { boot: "another start".to_owned(), ..Process::this().clone() });
    beat(&state, 9000);
    let why = Why::of(folder.path(), "sub-01", None).unwrap();
    assert_eq!(why.cause.as_deref(), Some("the machine went down while it ran segment"));
}

fn stage(state: &str, location: Option<&str>) -> StageEntry {
    serde_json::from_value(json!({
        "stage": "brain", "operator": "bet", "state": state, "seconds": 1.0, "location": location,
    }))
    .unwrap()
}

#[test]
fn each_kind_of_failure_is_named() {
    let cause = |reason: &str, location| {
        let end = End {
            reason: Some(reason.to_owned()),
            stages: vec![stage("failed", location)],
            ..blank_end("sub-01")
        };
        failed(&end).0
    };
    assert_eq!(
        cause("cannot write x: No space left on device (os error 28)", None),
        "the disk is full: cannot write x: No space left on device (os error 28)"
    );
    assert_eq!(
        cause("stage `brain`: index out of range", Some("src/bet.rs:7")),
        "a panic in the plugin: stage `brain`: index out of range"
    );
    for (reason, kind) in [
        ("stage `brain`: still running after its timeout of 5 s", "a timeout"),
        ("input `head` could not be read: no such file", "an input that is missing or cannot be read"),
        ("stage `brain`: no memory for 9 elements of type 1", "out of memory"),
        ("stage `brain`: no brain found", "the stage itself"),
    ] {
        assert_eq!(cause(reason, None), format!("{kind}: {reason}"));
    }
}

#[test]
fn what_differs_from_the_attempt_before_is_said_once() {
    let parts = |threshold: f64, build: &str| {
        json!({
            "operator": "skull_strip:bet", "build": blake3::hash(build.as_bytes()).to_hex().to_string(),
            "case": "sub-01", "settings": { "threshold": threshold }, "inputs": {},
        })
    };
    let end = |parts: serde_json::Value, seed: &str| {
        let stage = |name: &str| json!({ "stage": name, "operator": "bet", "state": "ran", "seconds": 1.0, "parts": parts });
        let mut end = serde_json::to_value(blank_end("sub-01")).unwrap();
        end["stages"] = json!([stage("brain"), stage("again")]);
        end["inputs"] = json!([{ "name": "seed", "value": seed }]);
        serde_json::from_value::<End>(end).unwrap()
    };
    let (before, now) = (end(parts(0.4, "old"), "1"), end(parts(0.5, "new"), "2"));
    assert_eq!(
        changes(&now, &before),
        [
            "input `seed` is 2, was 1",
            "plugin `skull_strip` was rebuilt",
            "stage `brain`: setting `threshold`: 0.5, was 0.4",
            "stage `again`: setting `threshold`: 0.5, was 0.4",
        ]
    );
    assert!(changes(&now, &now).is_empty());
}

#[test]
fn a_case_or_stage_that_is_not_there_is_asked_for_in_vain_and_the_near_one_is_named() {
    let (folder, state) = scene(Process::this());
    let end = End { stages: vec![stage("ran", None)], ..blank_end("sub-01") };
    Attempts::write_end(&state, &state.case("sub-01"), 1, &end).unwrap();
    let near = Why::of(folder.path(), "sub-02", None).unwrap_err().to_string();
    assert_eq!(near, "nobody tried a case `sub-02`\nhint: did you mean `sub-01`?");
    let none = Why::of(folder.path(), "sub-01", Some("brian")).unwrap_err().to_string();
    assert_eq!(none, "case `sub-01` has no stage `brian`\nhint: it has brain");
    assert_eq!(Why::of(folder.path(), "sub-01", Some("brain")).unwrap().stages.len(), 1);
}
