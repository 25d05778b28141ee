//! A cohort on a Slurm that cancels, requeues and preempts tasks and loses nodes: nothing is lost, doubled or half written, and
//! `status` is right at every look. That each of the four came about is counted from Slurm's own list of ended jobs.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::cohort::{
    Random, SmallCohort, assert_same_tree, claims, delivered_cases, ends, labels, state_names,
};
use neuroloom_tests::scene::tree;
use neuroloom_tests::slurm::Cluster;
use neuroloom_tests::{built, finish};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time from one look to the next.
const BREATH: Duration = Duration::from_millis(150);
/// How long a disturbance may take to come about before it is tried again on another task: Slurm preempts within a second.
const TRY: Duration = Duration::from_secs(2);
/// How long it may take until all is quiet again.
const PATIENCE: Duration = Duration::from_secs(900);
/// Seconds of each of the two long stages of a case.
const STAGE_S: &str = "0.2";
/// Cases of a task.
const CASES_PER_TASK: usize = 4;
/// Cases that take more than a second: a task with so many left lives until Slurm preempts it.
const CASES_OF_A_SECOND: usize = 3;
/// The run's folder in the state.
const RUN: &str = "runs/0001";

/// A way to disturb a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cancel,
    Requeue,
    Preempt,
    NodeDown,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Cancel, Self::Requeue, Self::Preempt, Self::NodeDown];

    /// What Slurm's list of ended jobs calls a start that ended so: what was requeued is pending again.
    const fn word(self) -> &'static str {
        match self {
            Self::Cancel => "CANCELLED",
            Self::Requeue => "PENDING",
            Self::Preempt => "PREEMPTED",
            Self::NodeDown => "NODE_FAIL",
        }
    }
}

/// A cluster of two nodes that preempts at once: a time of grace would pass before anybody told the program.
fn cluster() -> Option<Cluster> {
    let cluster = Cluster::start(&[("SLURM_DEV_NODES", "2")])?;
    let set = cluster.slurm("scontrol", &["update", "PartitionName=preempt", "GraceTime=0"]);
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    Some(cluster)
}

/// A job that has the right to a whole node.
fn take_node(cluster: &Cluster, node: &str) {
    let job = ["-p", "main", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 0.2"];
    cluster.slurm("sbatch", &job);
}

/// What was put back waits for two minutes otherwise.
fn hurry(cluster: &Cluster) {
    for task in cluster.queue().iter().filter(|task| task.reason == "BeginTime") {
        cluster.slurm("scontrol", &["update", &format!("JobId={}", task.job), "StartTime=now"]);
    }
}

/// A run that is disturbed.
struct Drill {
    cluster: Cluster,
    out: PathBuf,
    cases: usize,
    random: Random,
    /// What was done to it.
    done: Vec<String>,
    /// Jobs that were sent to preempt it.
    sent: usize,
    begun: Instant,
}

impl Drill {
    fn told(&self) -> String {
        format!("{}\n{:?}\n{}", self.done.join("\n"), self.cluster.queue(), self.cluster.logs(&self.out))
    }

    /// Disturbs until Slurm says that it has come about.
    fn provoke(&mut self, kind: Kind) {
        let befell = |drill: &Self| {
            drill.cluster.ended_tasks().iter().filter(|(_, state)| state == kind.word()).count()
        };
        let (before, mut tried) = (befell(self), None::<Instant>);
        while befell(self) == before {
            assert!(!self.look(), "all was done before it came to {kind:?}\n{}", self.told());
            if tried.is_none_or(|since| since.elapsed() > TRY) && self.disturb(kind) {
                tried = Some(Instant::now());
            }
            std::thread::sleep(BREATH);
        }
    }

    /// Disturbs a task that runs, if one does.
    fn disturb(&mut self, kind: Kind) -> bool {
        let (tasks, delivered) = (self.tasks_of_cases(), delivered_cases(&self.out));
        let left = |job: &String| {
            tasks.iter().filter(|(case, task)| *task == job && !delivered.contains(*case)).count()
        };
        let mut running = self.cluster.queue();
        running.retain(|task| {
            let lasts = kind != Kind::Preempt || left(&task.job) >= CASES_OF_A_SECOND;
            task.job.contains('_') && task.state == "RUNNING" && lasts
        });
        let Some(task) = running.get(self.random.below(running.len().max(1) as u64) as usize) else {
            return false;
        };
        self.done.push(format!("{kind:?} {} on {}", task.job, task.node));
        match kind {
            Kind::Cancel => drop(self.cluster.slurm("scancel", &[&task.job])),
            Kind::Requeue => drop(self.cluster.slurm("scontrol", &["requeue", &task.job])),
            Kind::Preempt => {
                take_node(&self.cluster, &task.node);
                self.sent += 1;
            }
            Kind::NodeDown => {
                let node = format!("NodeName={}", task.node);
                self.cluster.slurm("scontrol", &["update", &node, "State=DOWN", "Reason=drill"]);
                self.cluster.slurm("scontrol", &["update", &node, "State=RESUME"]);
            }
        }
        true
    }

    /// Which task each case is part of, by the rounds as they were sent.
    fn tasks_of_cases(&self) -> BTreeMap<String, String> {
        let home = self.out.join(".neuroloom").join(RUN);
        let read = |name: String| std::fs::read_to_string(home.join(name)).ok();
        let mut tasks = BTreeMap::new();
        for round in 1.. {
            let Some(places) = read(format!("round-{round:02}.jsonl")) else { break };
            for line in places.lines() {
                let place: Json = serde_json::from_str(line).unwrap();
                let Some(job) =
                    read(format!("round-{round:02}.array-{:02}.json", place["array"].as_u64().unwrap()))
                else {
                    continue;
                };
                let job: Json = serde_json::from_str(&job).unwrap();
                let task = format!("{}_{}", job["job"].as_str().unwrap(), place["task"]);
                tasks.insert(place["case"].as_str().unwrap().to_owned(), task);
            }
        }
        tasks
    }

    /// The tasks that wait, each with how often it began.
    fn waiting(&self) -> BTreeSet<(String, usize)> {
        let homes = state_names(&self.out, &format!("{RUN}/tasks"));
        let starts = |job: &str| homes.iter().filter(|home| home.split('.').next() == Some(job)).count();
        let waits = self.cluster.queue().into_iter().filter(|task| task.state == "PENDING");
        waits.map(|task| (task.job.clone(), starts(&task.job))).collect()
    }

    /// Whether all is done. What `status` says of each case must have been so between the looks at records and queue before and
    /// after it: done, or on its way, and no case runs whose task waited all the time.
    fn look(&self) -> bool {
        assert!(self.begun.elapsed() < PATIENCE, "{}", self.told());
        let tasks = self.tasks_of_cases();
        let (waited, before) = (self.waiting(), delivered_cases(&self.out));
        let status = self.cluster.status(&self.out);
        let (after, waits) = (delivered_cases(&self.out), self.waiting());
        let waited_all_along: BTreeSet<&String> = waited.intersection(&waits).map(|(task, _)| task).collect();
        let cases = status["cases"].as_array().unwrap();
        assert_eq!(cases.len(), self.cases, "{status:#}");
        for case in cases {
            let label = case["case"].as_str().unwrap();
            let right = match case["state"].as_str().unwrap() {
                "done" => after.contains(label),
                "pending" => !before.contains(label),
                "running" => {
                    !before.contains(label)
                        && !tasks.get(label).is_some_and(|task| waited_all_along.contains(task))
                }
                _ => false,
            };
            assert!(right, "{case:#}\n{waits:?}\n{}", self.told());
        }
        hurry(&self.cluster);
        before.len() == self.cases
    }

    fn await_end(&self) {
        let settled = self.out.join(".neuroloom").join(RUN).join("settled.json");
        while !self.look() || !settled.is_file() {
            std::thread::sleep(BREATH);
        }
    }

    /// Nothing is left half done, nothing was made twice, and no job was submitted without need.
    fn check(&self, each: usize) {
        let out = &self.out;
        assert_eq!(
            state_names(out, "replaced"),
            Vec::<String>::new(),
            "a result that was there was made again"
        );
        assert_eq!(labels(out).len(), self.cases);
        for label in labels(out) {
            let all = ends(out, &label);
            let known = |end: &Json| end["ending"] == "ok" || end["ending"] == "interrupted";
            assert_eq!(all.iter().filter(|end| end["ending"] == "ok").count(), 1, "{label}: {all:?}");
            assert!(all.iter().all(known), "{label}: {all:?}");
            assert_delivered_by_the_last_start(out, &label);
        }
        let jobs = state_names(out, RUN).into_iter().filter(|name| {
            name.starts_with("round-") && Path::new(name).extension().is_some_and(|end| end == "json")
        });
        assert_eq!(self.cluster.sbatch_calls(), jobs.count() + self.sent, "each call of sbatch is on record");
        let homes = state_names(out, &format!("{RUN}/tasks"));
        let ended = self.cluster.ended_tasks();
        for kind in Kind::ALL {
            let befallen: Vec<&String> =
                ended.iter().filter(|(_, state)| state == kind.word()).map(|(task, _)| task).collect();
            assert!(befallen.len() >= each, "{kind:?}: {befallen:?}\n{}", self.told());
            let began_again = |task: &String| {
                homes.iter().any(|home| home.starts_with(&format!("{task}.")) && !home.ends_with(".0"))
            };
            if kind != Kind::Cancel {
                assert!(befallen.iter().all(|task| began_again(task)), "{kind:?}: {befallen:?} of {homes:?}");
            }
        }
    }
}

/// The attempt that delivered is the last, and Slurm started it after all others.
fn assert_delivered_by_the_last_start(out: &Path, label: &str) {
    let token = |claim: &Json| {
        let text = claim["token"].as_str().unwrap();
        let (job, restart) = text.strip_prefix("slurm:").unwrap().split_once('_').unwrap();
        let restart = restart.split_once('.').unwrap().1;
        (job.parse::<u64>().unwrap(), restart.parse::<u64>().unwrap())
    };
    let claims = claims(out, label);
    let tokens: Vec<(u64, u64)> = claims.values().map(token).collect();
    assert_eq!(tokens.iter().max(), tokens.last(), "{label}: {tokens:?}");
    let (number, _) = claims.last_key_value().unwrap();
    let end = out.join(".neuroloom/cases").join(label).join(format!("{number}.end.json"));
    let end: Json = serde_json::from_str(&std::fs::read_to_string(end).unwrap()).unwrap();
    assert_eq!(end["ending"], "ok", "{label}: {end}");
}

/// What a drill consisted of, for those who run the test with `--nocapture`.
#[expect(clippy::print_stderr, reason = "a measurement is there to be read")]
fn told(line: &str) {
    eprintln!("{line}");
}

/// Disturbs a run `each` times in each way, in an order that the seed decides.
fn drill(name: &str, cases: usize, each: usize, seed: u64) {
    let Some(cluster) = cluster() else { return };
    let cohort = SmallCohort::new(name, cases);
    cohort.set_workflow(&cohort.workflow().replace("seconds = 0.1", &format!("seconds = {STAGE_S}")));
    let (expected, _) = cohort.undisturbed();
    let out = cohort.path("out");
    let site = format!(
        "partition = \"preempt\"\ncpus = 1\nmemory_gib = [0.25, 0.5]\nretries = 30\ngroup = {{ memory_gib = 0.2 }}\n\
         cases_per_task = {CASES_PER_TASK}\nthrottle = 2"
    );
    let sent = finish(&mut cluster.batch(&cohort, &out, &site));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let (random, done, begun) = (Random::new(seed), Vec::new(), Instant::now());
    let mut drill = Drill { cluster, out: out.clone(), cases, random, done, sent: 0, begun };
    let mut plan = Kind::ALL.repeat(each);
    while !plan.is_empty() {
        let next = drill.random.below(plan.len() as u64) as usize;
        drill.provoke(plan.swap_remove(next));
    }
    let left = cases - delivered_cases(&out).len();
    told(&format!("{left} of {cases} cases were left after the last of {} disturbances", 4 * each));
    drill.await_end();
    drill.check(each);
    told(&format!(
        "{:.0} s, {} calls of sbatch; {}",
        drill.begun.elapsed().as_secs_f64(),
        drill.cluster.sbatch_calls(),
        drill.done.join(", ")
    ));
    assert_same_tree(&tree(&out), &expected);
    let again = finish(&mut drill.cluster.batch(&cohort, &out, &site));
    assert!(again.stderr.contains(&format!("nothing to do: {cases} up to date")), "{}", again.stderr);
}

#[test]
fn sixty_cases_of_which_each_kind_of_disturbance_befell_some_are_what_an_undisturbed_run_makes() {
    drill("slurm-chaos", 60, 4, 1);
}

#[test]
#[ignore = "soak: 200 cases, disturbed 40 times"]
fn two_hundred_cases_disturbed_forty_times_are_what_an_undisturbed_run_makes() {
    drill("slurm-soak", 200, 10, 2);
}

/// A script that stands for the program, notes with what each task ended, and leaves signals to it.
fn noting_program(cluster: &Cluster, codes: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let place = cluster.path("noting");
    let text = format!(
        "#!/bin/sh\ntrap '' TERM\n{} \"$@\"\ncode=$?\n[ \"$2\" = task ] && echo $code >>{}\nexit $code\n",
        built().join("neuroloom").display(),
        codes.display()
    );
    std::fs::write(&place, text).unwrap();
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
    place
}

#[test]
fn a_task_that_gives_way_to_another_job_ends_with_75_waits_and_goes_on_from_the_cache() {
    let Some(cluster) = cluster() else { return };
    let cohort = SmallCohort::new("slurm-preempt", 1);
    // The first stage is done when the second, which is long, is pushed away.
    let long = cohort.workflow().replacen(
        "seconds = 0.1, heed = true }\n[stages.page]",
        "seconds = 3.0, heed = true }\n[stages.page]",
        1,
    );
    cohort.set_workflow(&long);
    let (expected, _) = cohort.undisturbed();
    let (out, codes) = (cohort.path("out"), cluster.path("codes"));
    let program = noting_program(&cluster, &codes);
    let site = format!(
        "partition = \"preempt\"\ncpus = 1\nmemory_gib = [0.25]\ngroup = {{ memory_gib = 0.2 }}\nprogram = \"{}\"",
        program.display()
    );
    let sent = finish(&mut cluster.batch(&cohort, &out, &site));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let begun = Instant::now();
    let wait = |what: &str, holds: &dyn Fn() -> bool| {
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}\n{}", cluster.logs(&out));
            std::thread::sleep(BREATH);
        }
    };
    let state = || cluster.status(&out)["cases"][0].clone();
    wait("the long stage runs", &|| state()["stages"] == serde_json::json!(["last"]));
    let task = cluster.queue().into_iter().find(|task| task.job.contains('_')).unwrap();
    take_node(&cluster, &task.node);
    wait("the task gave way", &|| cluster.ended_tasks() == [(task.job.clone(), "PREEMPTED".to_owned())]);
    wait("it has ended", &|| std::fs::read_to_string(&codes).is_ok_and(|text| text == "75\n"));
    assert_eq!(state()["state"], "pending", "{:#}", state());
    hurry(&cluster);
    wait("it goes on", &|| {
        hurry(&cluster);
        out.join(".neuroloom").join(RUN).join("settled.json").is_file()
    });
    assert_eq!(std::fs::read_to_string(&codes).unwrap(), "75\n0\n");
    let attempts = ends(&out, "sub-01");
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert_eq!(attempts[0]["ending"], "interrupted", "{attempts:?}");
    let cached = |stage: &str| {
        let stages = attempts[1]["stages"].as_array().unwrap();
        stages.iter().find(|entry| entry["stage"] == stage).unwrap()["cached"] == true
    };
    assert!(cached("first") && !cached("last"), "{attempts:#?}");
    assert_delivered_by_the_last_start(&out, "sub-01");
    assert_same_tree(&tree(&out), &expected);
}
