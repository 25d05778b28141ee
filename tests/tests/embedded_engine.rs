//! The example that embeds the engine runs, and what it prints is right.

use neuroloom_tests::{built, finish};
use std::process::Command;

#[test]
fn a_program_runs_a_workflow_in_itself_on_a_volume_in_memory() {
    let mut program = Command::new(built().join("embed_engine"));
    let finished = finish(program.arg(built()));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("bright Ran"), "{}", finished.stdout);
    // A ball of 40 mm holds 268.08 ml; voxels of 8 mm3 tell it to 0.2 %.
    assert!(finished.stdout.contains("mask: 268.4 ml on 64x64x64 voxels"), "{}", finished.stdout);
}

#[test]
fn without_plugins_it_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut program = Command::new(built().join("embed_engine"));
    let finished = finish(program.arg(folder.path()));
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stdout.contains("threshold"), "{}", finished.stdout);
}
