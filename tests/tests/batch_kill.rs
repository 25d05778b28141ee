//! A cohort's run can be killed at any moment, again and again: what comes of it in the end is what an undisturbed run makes.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::cohort::{
    Random, SmallCohort, assert_ended, assert_same_tree, delivered, ends, labels, state_names,
};
use neuroloom_tests::finish;
use neuroloom_tests::scene::tree;
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a moment is looked for.
const LOOK: Duration = Duration::from_micros(200);

/// Starts a run as leader of a process group of its own.
fn start(command: &mut Command, log: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    command.stdout(Stdio::null()).stderr(log).process_group(0).spawn().unwrap()
}

/// Sends a signal to a run, or to all its process group.
fn signal(name: &str, child: &Child, group: bool) {
    let target = if group { format!("-{}", child.id()) } else { child.id().to_string() };
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {target}")]).status().unwrap();
    assert!(sent.success());
}

/// Waits until something holds, the time is over, or the run has ended.
fn wait_until(child: &mut Child, limit: Duration, holds: &dyn Fn() -> bool) -> bool {
    let end = Instant::now() + limit;
    while Instant::now() < end && child.try_wait().unwrap().is_none() {
        if holds() {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    false
}

/// Kills the run at a random moment before `span`, every other time while a result is being published; whether it still ran.
fn kill_sometime(child: &mut Child, out: &Path, span: Duration, random: &mut Random) -> bool {
    let moment = span.mul_f64(random.below(1000) as f64 / 1000.0);
    if random.below(2) == 0 {
        wait_until(child, moment, &|| false);
    } else {
        let publishing = || state_names(out, "tmp").iter().any(|name| !name.contains(".small"));
        wait_until(child, span, &publishing);
        // A result is written and put into its place within milliseconds.
        std::thread::sleep(Duration::from_micros(random.below(8000)));
    }
    if child.try_wait().unwrap().is_some() {
        return false;
    }
    signal("KILL", child, true);
    child.wait().unwrap();
    true
}

/// Nothing is left of what was in flight, and nothing was made twice.
fn check_records(out: &Path, cases: usize) {
    assert_eq!(state_names(out, "tmp"), Vec::<String>::new());
    assert_eq!(state_names(out, "replaced"), Vec::<String>::new(), "a result that was there was made again");
    assert_eq!(labels(out).len(), cases);
    for label in labels(out) {
        let all = ends(out, &label);
        let ok: Vec<String> = all
            .iter()
            .filter(|end| end["ending"] == "ok")
            .map(|end| end["fingerprint"].to_string())
            .collect();
        let distinct: BTreeSet<&String> = ok.iter().collect();
        assert!(!ok.is_empty() && ok.len() == distinct.len(), "{label}: {ok:?}");
        assert!(all.iter().all(|end| end["ending"] == "ok"), "{label} failed: {all:?}");
    }
}

/// Kills runs over a cohort so many times. If all is done before, another output folder is begun, with a cache that has all.
fn drill(name: &str, cases: usize, kills: usize, seed: u64) {
    let cohort = SmallCohort::new(name, cases);
    let (expected, seconds) = cohort.undisturbed();
    let span = Duration::from_secs_f64(1.6 * seconds / kills as f64);
    let mut random = Random::new(seed);
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills {
        rounds += 1;
        let out = cohort.path(&format!("out-{rounds}"));
        let log = cohort.path("log");
        loop {
            let mut child = start(&mut cohort.batch(&out), &log);
            let hit = killed < kills && kill_sometime(&mut child, &out, span, &mut random);
            if !hit {
                let said = || std::fs::read_to_string(&log).unwrap_or_default();
                assert_eq!(child.wait().unwrap().code(), Some(0), "{}", said());
                assert!(!said().contains("error: "), "{}", said());
                break;
            }
            killed += 1;
        }
        check_records(&out, cases);
        assert_same_tree(&tree(&out), &expected);
        let again = finish(&mut cohort.batch(&out));
        assert_ended(&again, 0, 0);
        assert!(again.stderr.contains(&format!("nothing to do: {cases} up to date")), "{}", again.stderr);
    }
}

#[test]
fn a_cohort_killed_four_times_is_what_an_undisturbed_run_makes() {
    drill("killed", 12, 4, 1);
}

#[test]
#[ignore = "soak: 60 cases, killed 25 times"]
fn a_cohort_killed_at_25_random_moments_is_what_an_undisturbed_run_makes() {
    drill("soak", 60, 25, 2);
}

#[test]
fn sigterm_ends_a_batch_with_75_and_ctrl_c_with_130_and_the_next_run_completes() {
    let cohort = SmallCohort::new("stopped", 6);
    let (expected, _) = cohort.undisturbed();
    for (name, code) in [("TERM", 75), ("INT", 130)] {
        let out = cohort.path(name);
        let log = cohort.path(&format!("{name}.log"));
        // Nothing is found in a cache, so that there is something to stop.
        let batch = || cohort.batch_with(&out, &format!("cache-{name}"));
        let mut child = start(&mut batch(), &log);
        assert!(
            wait_until(&mut child, Duration::from_secs(60), &|| delivered(&out) > 0),
            "it ended too early"
        );
        signal(name, &child, false);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}");
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.contains("the same command goes on from here"), "{name}: {said}");
        assert_eq!(state_names(&out, "tmp"), Vec::<String>::new(), "{name}");
        let done = delivered(&out);
        assert!((1..6).contains(&done), "{name}: {done}");
        let rest = finish(&mut batch());
        assert_ended(&rest, 0, 0);
        assert!(
            rest.stderr.contains(&format!("{} of 6 cases run, {done} up to date", 6 - done)),
            "{}",
            rest.stderr
        );
        assert_same_tree(&tree(&out), &expected);
    }
}
