//! A cohort on a Slurm that cancels, requeues and preempts tasks and loses nodes: nothing is lost, doubled or half written, and
//! `status` is right at every look.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::cohort::{Random, SmallCohort, assert_same_tree, delivered, ends, labels, state_names};
use neuroloom_tests::finish;
use neuroloom_tests::scene::tree;
use neuroloom_tests::slurm::Cluster;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time from one disturbance to the next.
const BREATH: Duration = Duration::from_millis(400);
/// How long it may take until all is quiet again.
const PATIENCE: Duration = Duration::from_secs(900);

/// A run that is disturbed.
struct Drill {
    cluster: Cluster,
    out: PathBuf,
    cases: usize,
    random: Random,
    /// What was done to it.
    done: Vec<String>,
}

impl Drill {
    /// Tasks of arrays in a state.
    fn tasks(&self, state: &str) -> Vec<String> {
        let queue = self.cluster.queue().into_iter();
        queue.filter(|(job, of, _)| job.contains('_') && of == state).map(|(job, ..)| job).collect()
    }

    fn one_of(&mut self, tasks: &[String]) -> Option<String> {
        let index = self.random.below(tasks.len().max(1) as u64) as usize;
        tasks.get(index).cloned()
    }

    fn disturb(&mut self) {
        let kind = self.random.below(10);
        let running = self.tasks("RUNNING");
        match kind {
            0..=2 => {
                if let Some(task) = self.one_of(&running) {
                    self.call("scancel", &[&task]);
                }
            }
            3 => {
                let waiting = self.tasks("PENDING");
                if let Some(task) = self.one_of(&waiting) {
                    self.call("scancel", &[&task]);
                }
            }
            4..=7 => {
                if let Some(task) = self.one_of(&running) {
                    self.call("scontrol", &["requeue", &task]);
                }
            }
            8 => self.call(
                "sbatch",
                &["-p", "main", "-w", "n1", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1"],
            ),
            _ => {
                self.call("scontrol", &["update", "NodeName=n2", "State=DOWN", "Reason=drill"]);
                std::thread::sleep(BREATH);
                self.call("scontrol", &["update", "NodeName=n2", "State=RESUME"]);
            }
        }
    }

    fn call(&mut self, program: &str, arguments: &[&str]) {
        // What has just ended cannot be disturbed any more: that is no fault.
        let _ = self.cluster.slurm(program, arguments);
        self.done.push(format!("{program} {}", arguments.join(" ")));
    }

    /// What was put back waits for two minutes otherwise.
    fn hurry(&self) {
        for (job, _, reason) in self.cluster.queue() {
            if reason == "BeginTime" {
                self.cluster.slurm("scontrol", &["update", &format!("JobId={job}"), "StartTime=now"]);
            }
        }
    }

    /// Whether all is done. What `status` says lies between what the records said before and after.
    fn look(&self) -> bool {
        let before = delivered(&self.out);
        let status = self.cluster.status(&self.out);
        let after = delivered(&self.out);
        let counts = status["counts"].as_object().unwrap();
        let count = |state: &str| counts.get(state).and_then(Json::as_u64).unwrap_or(0) as usize;
        let done = count("done");
        let told = || format!("{counts:?}, {before} to {after} done\n{status:#}\n{}", self.done.join("\n"));
        assert!((before..=after).contains(&done), "{}", told());
        assert_eq!(done + count("pending") + count("running"), self.cases, "{}", told());
        done == self.cases
    }
}

fn drill(name: &str, cases: usize, disturbances: usize, seed: u64) {
    let Some(cluster) = Cluster::start(&[("SLURM_DEV_NODES", "2")]) else { return };
    let cohort = SmallCohort::new(name, cases);
    let (expected, _) = cohort.undisturbed();
    let out = cohort.path("out");
    let site = "partition = \"preempt\"\ncpus = 1\nmemory_gib = [0.25, 0.5]\nretries = 30\ngroup = { memory_gib = 0.2 }";
    let sent = finish(&mut cluster.batch(&cohort, &out, site));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let mut drill = Drill { cluster, out: out.clone(), cases, random: Random::new(seed), done: Vec::new() };
    let begun = Instant::now();
    let own = |drill: &Drill| drill.done.iter().filter(|call| call.starts_with("sbatch")).count();
    let mut left = disturbances;
    while !drill.look() {
        assert!(begun.elapsed() < PATIENCE, "{:?}\n{}", drill.cluster.queue(), drill.cluster.logs(&out));
        if left > 0 {
            drill.disturb();
            left -= 1;
        }
        drill.hurry();
        std::thread::sleep(BREATH);
    }
    let settled = out.join(".neuroloom/runs/0001/settled.json");
    while !settled.is_file() {
        assert!(begun.elapsed() < PATIENCE, "{:?}\n{}", drill.cluster.queue(), drill.cluster.logs(&out));
        drill.hurry();
        std::thread::sleep(BREATH);
    }
    check(&drill, &out, own(&drill));
    assert_same_tree(&tree(&out), &expected);
    let again = finish(&mut drill.cluster.batch(&cohort, &out, site));
    assert!(again.stderr.contains(&format!("nothing to do: {cases} up to date")), "{}", again.stderr);
}

/// Nothing is left half done, nothing was made twice, and no job was submitted without need.
fn check(drill: &Drill, out: &Path, own: usize) {
    assert_eq!(state_names(out, "replaced"), Vec::<String>::new(), "a result that was there was made again");
    assert_eq!(labels(out).len(), drill.cases);
    for label in labels(out) {
        let all = ends(out, &label);
        assert_eq!(all.iter().filter(|end| end["ending"] == "ok").count(), 1, "{label}: {all:?}");
        assert!(
            all.iter().all(|end| end["ending"] == "ok" || end["ending"] == "interrupted"),
            "{label}: {all:?}"
        );
    }
    let jobs = state_names(out, "runs/0001").into_iter();
    let jobs = jobs
        .filter(|name| {
            name.starts_with("round-") && Path::new(name).extension().is_some_and(|end| end == "json")
        })
        .count();
    assert_eq!(drill.cluster.sbatch_calls(), jobs + own, "each call of sbatch is on record");
}

#[test]
fn sixty_cases_under_ten_disturbances_are_what_an_undisturbed_run_makes() {
    drill("slurm-chaos", 60, 10, 1);
}

#[test]
#[ignore = "soak: 60 cases, disturbed 60 times"]
fn sixty_cases_under_sixty_disturbances_are_what_an_undisturbed_run_makes() {
    drill("slurm-soak", 60, 60, 2);
}
