//! A run can be killed or stopped at any time: the next one completes, and no half case is ever seen.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::finish;
use neuroloom_tests::scene::{ALL, main_workflow, names, scratch};
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
    assert_eq!(names(&out.join(".neuroloom/tmp")), Vec::<String>::new());
}

#[test]
fn sigterm_ends_with_75_and_ctrl_c_with_130_and_neither_leaves_half_a_case() {
    for (signal, code) in [("TERM", 75), ("INT", 130)] {
        let out = scratch().join(signal);
        assert_eq!(stop(in_the_middle(&out), signal).code(), Some(code), "{signal}");
        no_case_is_there(&out);
        assert!(names(&out.join(".neuroloom/tmp")).is_empty(), "{:?}", names(&out.join(".neuroloom/tmp")));
    }
}
