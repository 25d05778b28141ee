//! A run can be killed or stopped at any time: the next one completes, and no half case is ever seen.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::scene::{ALL, main_workflow, model, names, patient, scratch, sequence};
use neuroloom_tests::{finish, neuroloom};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A run of the main workflow that has ended its first stages and is at work on the next.
fn in_the_middle(out: &Path) -> Child {
    let mut command = main_workflow(&ALL, out);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = said.find(|line| line.as_ref().is_ok_and(|line| line.contains("sub-demo reference")));
    assert!(begun.is_some(), "the run ended before it could be stopped");
    // What it says from now on must still have somewhere to go.
    std::thread::spawn(move || said.for_each(drop));
    child
}

/// Sends a signal to the run and waits for its end.
fn stop(mut child: Child, signal: &str) -> ExitStatus {
    let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status().unwrap();
    assert!(kill.success());
    child.wait().unwrap()
}

fn no_case_is_there(out: &Path) {
    assert!(!out.join("sub-demo").exists());
}

#[test]
fn after_kill_9_the_same_command_completes() {
    let out = scratch().join("killed");
    let child = in_the_middle(&out);
    assert_eq!(stop(child, "KILL").code(), None);
    no_case_is_there(&out);
    let again = finish(&mut main_workflow(&ALL, &out));
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(names(&out.join(".neuroloom")), Vec::<String>::new());
}

#[test]
fn sigterm_ends_with_75_and_ctrl_c_with_130_and_neither_leaves_half_a_case() {
    for (signal, code) in [("TERM", 75), ("INT", 130)] {
        let out = scratch().join(signal);
        assert_eq!(stop(in_the_middle(&out), signal).code(), Some(code), "{signal}");
        no_case_is_there(&out);
        assert!(names(&out.join(".neuroloom")).is_empty(), "{:?}", names(&out));
    }
}

/// The number of a process that has ended.
fn dead_process() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

/// What a run leaves that was killed while it wrote, and between its two renames.
#[test]
fn the_next_run_finishes_what_dead_ones_left() {
    model();
    let out = scratch().join("leftovers");
    let tmp = out.join(".neuroloom/tmp");
    let process = dead_process();
    for (name, file) in [("sub-half", "part"), ("sub-ready", "ready")] {
        let folder = tmp.join(format!("{name}.{process}.{file}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("result.txt"), name).unwrap();
    }
    let own = tmp.join(format!("sub-busy.{}.part", std::process::id()));
    std::fs::create_dir_all(&own).unwrap();
    let mut command = neuroloom();
    command.args(["run", "workflows/brain-extraction.toml", "--input"]);
    command.arg(format!("head={}", sequence("t1_pre").display()));
    let run = finish(command.arg("--out").arg(&out));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(std::fs::read_to_string(out.join("sub-ready/result.txt")).unwrap(), "sub-ready");
    assert!(!out.join("sub-half").exists());
    let left: Vec<_> = std::fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [own], "only what a living process works on stays");
    assert!(patient().is_dir());
}
