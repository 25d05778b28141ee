//! A cohort on a Slurm of the test's own: submitted, awaited, cancelled, short of memory.

#![cfg(unix)]

use neuroloom_tests::cohort::{SmallCohort, assert_same_tree, ends, labels};
use neuroloom_tests::scene::{MAIN, patient, tree};
use neuroloom_tests::slurm::Cluster;
use neuroloom_tests::{Finished, built, finish, neuroloom};
use serde_json::Value as Json;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A task of one processor and little memory.
const SMALL: &str = "cpus = 1\nmemory_gib = [0.5]\ngroup = { memory_gib = 0.25 }";

/// Adds a stage over the cohort, which the job after the array runs: it reads a number that a table has of each case.
fn count_in_the_end(cohort: &SmallCohort, cases: usize) {
    let census = "[cohort.stages.census]\noperator = \"census\"\ninputs.number = \"number\"\n\
                  [cohort.outputs]\ntable = { from = \"census.table\", bids = \"desc-census_table\" }\n";
    let number = "[inputs]\nnumber = { type = \"number\" }";
    cohort.set_workflow(&format!("{}{census}", cohort.workflow().replacen("[inputs]", number, 1)));
    let row = |case: usize| format!("sub-{case:02}\tsub-{case:02}/anat/sub-{case:02}_T1w.nii\t{case}\n");
    let rows: String = (1..=cases).map(row).collect();
    std::fs::write(cohort.data().join("cases.tsv"), format!("participant_id\timage\tnumber\n{rows}"))
        .expect("the table is written");
}

fn wait_until(what: &str, holds: &mut dyn FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn succeeded(cluster: &Cluster, out: &Path, run: &Finished, last: &str) {
    assert_eq!(run.code, Some(0), "{}\n{}", run.stderr, cluster.logs(out));
    assert!(run.stderr.contains(last), "{}", run.stderr);
}

fn assert_once_each(out: &Path, cases: usize) {
    assert_eq!(labels(out).len(), cases);
    for label in labels(out) {
        let ok = ends(out, &label).iter().filter(|end| end["ending"] == "ok").count();
        assert_eq!(ok, 1, "{label} was completed once");
    }
}

#[test]
fn a_cohort_on_slurm_is_what_a_local_run_makes_with_one_array_and_one_job_after_it() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let cohort = SmallCohort::new("slurm-plain", 6);
    count_in_the_end(&cohort, 6);
    let (expected, _) = cohort.undisturbed();
    assert!(expected.keys().any(|name| name.ends_with("desc-census_table.tsv")), "{:?}", expected.keys());
    let out = cohort.path("out");
    let site = format!("{SMALL}\ncases_per_task = 2\nthrottle = 2");
    let run = finish(cluster.batch(&cohort, &out, &site).arg("--wait"));
    succeeded(&cluster, &out, &run, "finished: 6 done");
    assert!(run.stderr.contains("submitted 6 cases as 3 tasks of 1 arrays"), "{}", run.stderr);
    assert_eq!(cluster.sbatch_calls(), 2);
    assert_same_tree(&tree(&out), &expected);
    assert_once_each(&out, 6);
    let settled = std::fs::read_to_string(out.join(".neuroloom/runs/0001/settled.json")).unwrap();
    let settled: Json = serde_json::from_str(&settled).unwrap();
    assert_eq!(settled["groups"][0]["stage"], "census", "{settled:#}");
    let status = cluster.status(&out);
    assert_eq!(status["counts"], serde_json::json!({ "done": 6 }), "{status}");
    let again = finish(cluster.batch(&cohort, &out, &site).arg("--wait"));
    succeeded(&cluster, &out, &again, "nothing to do: 6 up to date");
    assert_eq!(
        cluster.sbatch_calls(),
        3,
        "no array; one job looks whether the stage over the cohort is up to date"
    );
    let claim = std::fs::read_to_string(out.join(".neuroloom/cases/sub-01/0001.claim.json")).unwrap();
    let claim: Json = serde_json::from_str(&claim).unwrap();
    assert!(claim["token"].as_str().unwrap().starts_with("slurm:"), "{claim}");
    let methods = finish(neuroloom().arg("methods").arg(&out)).stdout;
    assert!(
        methods.contains("Of 6 cases of 6 subjects, 6 were processed to the end and none failed."),
        "{methods}"
    );
}

#[test]
fn an_array_longer_than_the_cluster_allows_is_cut_and_one_job_follows_all_parts() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    cluster.stand_in("scontrol", "echo 'MaxArraySize = 2'");
    let cohort = SmallCohort::new("slurm-cut", 5);
    let out = cohort.path("out");
    let run = finish(cluster.batch(&cohort, &out, SMALL).arg("--wait"));
    succeeded(&cluster, &out, &run, "submitted 5 cases as 5 tasks of 3 arrays");
    assert!(run.stderr.contains("finished: 5 done"), "{}", run.stderr);
    assert_eq!(cluster.sbatch_calls(), 4, "three parts, and a job after them");
    assert_once_each(&out, 5);
}

#[test]
fn what_slurm_has_in_hand_is_not_submitted_twice_and_can_be_cancelled() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let cohort = SmallCohort::new("slurm-cancel", 500);
    let out = cohort.path("out");
    let began = Instant::now();
    let run = finish(&mut cluster.batch(&cohort, &out, SMALL));
    let seconds = began.elapsed().as_secs_f64();
    told(&format!("submission of 500 cases: {seconds:.2} s"));
    succeeded(&cluster, &out, &run, "submitted 500 cases as 500 tasks of 1 arrays");
    assert_eq!(cluster.sbatch_calls(), 2, "an array, and a job after it");
    let status = cluster.status(&out);
    let count = |status: &Json, state: &str| status["counts"][state].as_u64().unwrap_or(0);
    let held = count(&status, "pending") + count(&status, "running") + count(&status, "done");
    assert_eq!(held, 500, "{}", status["counts"]);

    let second = finish(&mut cluster.batch(&cohort, &out, SMALL));
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert!(second.stderr.contains(" 0 of 500 cases run"), "{}", second.stderr);
    assert_eq!(cluster.sbatch_calls(), 2, "nothing was submitted twice");
    let mut command = cluster.talk(neuroloom());
    let cancelled = finish(command.arg("cancel").arg(&out));
    assert_eq!(cancelled.code, Some(0), "{}", cancelled.stderr);
    wait_until("the queue is empty", &mut || cluster.queue().is_empty());
    let status = cluster.status(&out);
    assert_eq!(count(&status, "pending") + count(&status, "running"), 0, "{}", status["counts"]);
    // Wall time on a machine that does other things, too.
    assert!(seconds < 20.0, "submission took {seconds:.1} s");
}

#[test]
fn a_case_that_wants_more_memory_gets_it_and_one_that_always_fails_stops_no_other() {
    let Some(cluster) = Cluster::start(&[("SLURM_DEV_CGROUP", "1")]) else { return };
    let cohort = SmallCohort::new("slurm-memory", 4);
    let hungry = "operator = \"hungry\"\ninputs.image = \"image\"\nsettings = { mib = 600, above = 150.0 }";
    let text = cohort.workflow();
    let first = text.find("operator = \"sleeper\"").unwrap();
    let end = first + text[first..].find("[stages.bright]").unwrap();
    cohort.set_workflow(&format!("{}{hungry}\n{}", &text[..first], &text[end..]));
    cohort.write_image("sub-02", 200.0);
    std::fs::write(cohort.image("sub-03"), "no image").unwrap();
    let out = cohort.path("out");
    let site = "cpus = 1\nmemory_gib = [0.4, 1]\ngroup = { memory_gib = 0.25 }";
    let run = finish(cluster.batch(&cohort, &out, site).arg("--wait"));
    assert_eq!(run.code, Some(1), "{}\n{}", run.stderr, cluster.logs(&out));
    assert!(run.stderr.contains("finished with failures: 3 done, 1 failed"), "{}", run.stderr);
    assert_eq!(cluster.sbatch_calls(), 4, "two rounds");
    let attempts = ends(&out, "sub-02");
    assert_eq!(attempts[0]["ending"], "interrupted", "{attempts:?}");
    assert_eq!(attempts[0]["reason"], "ran out of memory with 0.4 GiB, goes on with 1 GiB");
    assert_eq!(attempts[1]["ending"], "ok", "{attempts:?}");
    for label in ["sub-01", "sub-04"] {
        assert_eq!(ends(&out, label).len(), 1, "{label} was left alone");
    }
    let failed = ends(&out, "sub-03");
    assert_eq!(failed.len(), 1, "a failure is no reason to try again: {failed:?}");
    assert!(failed[0]["reason"].as_str().unwrap().contains("input `image` could not be read"), "{failed:?}");

    // What was seen once is asked for from the start.
    cohort.write_image("sub-01", 250.0);
    let dry = finish(cluster.batch(&cohort, &out, site).arg("--dry-run"));
    succeeded(&cluster, &out, &dry, "2 of 4 cases would run");
    assert!(dry.stdout.contains("#SBATCH --mem=1024M\n"), "{}", dry.stdout);

    cohort.write_image("sub-04", 300.0);
    let site = "cpus = 1\nmemory_gib = [0.4]\ngroup = { memory_gib = 0.25 }";
    let run = finish(cluster.batch(&cohort, &out, site).arg("--wait"));
    assert_eq!(run.code, Some(1), "{}\n{}", run.stderr, cluster.logs(&out));
    let last = ends(&out, "sub-04").pop().unwrap();
    assert_eq!(last["reason"], "out of memory: 0.4 GiB, the largest class, were too little", "{last}");
}

#[test]
fn a_task_that_is_warned_of_its_limit_goes_on_in_the_next_class_of_time() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let cohort = SmallCohort::new("slurm-time", 1);
    cohort.set_workflow(&cohort.workflow().replacen("seconds = 0.1", "seconds = 4.0", 1));
    let out = cohort.path("out");
    let site = format!("{SMALL}\nminutes = [10, 20]");
    let sent = finish(&mut cluster.batch(&cohort, &out, &site));
    succeeded(&cluster, &out, &sent, "submitted 1 cases");
    wait_until("the case runs", &mut || cluster.status(&out)["counts"]["running"] == 1);
    let task = cluster.queue().into_iter().find(|task| task.job.contains('_')).unwrap().job;
    assert_eq!(cluster.slurm("scancel", &["--batch", "--signal=USR1", &task]).code, Some(0));
    wait_until("the case is done", &mut || cluster.status(&out)["counts"]["done"] == 1);
    let attempts = ends(&out, "sub-01");
    assert_eq!(attempts[0]["ending"], "interrupted", "{attempts:?}");
    let places = std::fs::read_to_string(out.join(".neuroloom/runs/0001/round-02.jsonl")).unwrap();
    assert!(places.contains("ran out of time after 10 min, goes on with 20 min"), "{places}");
}

#[test]
fn a_refusal_is_shown_as_slurm_says_it_and_leaves_nothing_behind() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let cohort = SmallCohort::new("slurm-refused", 1);
    let out = cohort.path("out");
    let run = finish(&mut cluster.batch(&cohort, &out, "partition = \"nowhere\""));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("sbatch: error: invalid partition specified: nowhere"), "{}", run.stderr);
    assert!(cluster.queue().is_empty());
    let status = cluster.status(&out);
    assert_eq!(status["counts"]["never"], 1, "{status}");
    let dry = finish(cluster.batch(&cohort, &out, SMALL).arg("--dry-run"));
    succeeded(&cluster, &out, &dry, "1 of 1 cases would run; nothing was written");
    assert!(dry.stdout.contains("#SBATCH --array=0-0\n"), "{}", dry.stdout);
    assert!(dry.stdout.contains(" slurm follow "), "{}", dry.stdout);
}

#[test]
fn a_node_without_room_for_scratch_is_named_in_the_cases_reason() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let cohort = SmallCohort::new("slurm-scratch", 1);
    let out = cohort.path("out");
    let header = format!("header = [\"export SLURM_TMPDIR={}\"]", cluster.path("nowhere").display());
    let site = format!("{SMALL}\nretries = 0\n{header}");
    let mut command = cluster.batch(&cohort, &out, &site);
    let file = cluster.path("neuroloom.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("scratch_gib = 0.1", "scratch_gib = 1e6");
    std::fs::write(&file, text).unwrap();
    let run = finish(command.arg("--wait"));
    assert_eq!(run.code, Some(1), "{}\n{}", run.stderr, cluster.logs(&out));
    let end = ends(&out, "sub-01").pop().unwrap();
    let reason = end["reason"].as_str().unwrap();
    assert!(reason.contains("no scratch with 1000000 GiB on this node: "), "{reason}");
    assert!(reason.contains(&format!("{} is no folder", cluster.path("nowhere").display())), "{reason}");
}

/// Seconds of a task from the start of its program to its end, beyond those that its case's stages took: by a program in the place of
/// `neuroloom` that asks for the time before and after.
fn overheads(cluster: &Cluster, out: &Path, times: &Path) -> Vec<f64> {
    let text =
        std::fs::read_to_string(times).unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs(out)));
    let tasks = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (task, began) = (words.next()?.parse::<usize>().ok()?, words.next()?.parse::<f64>().ok()?);
        Some((task, words.next()?.parse::<f64>().ok()? - began))
    });
    let mut overheads: Vec<f64> = tasks
        .map(|(task, wall)| {
            let label = format!("sub-{:02}", task + 1);
            let end = ends(out, &label).pop().unwrap_or_default();
            let stages = end["stages"].as_array().cloned().unwrap_or_default();
            wall - stages.iter().filter_map(|stage| stage["seconds"].as_f64()).sum::<f64>()
        })
        .collect();
    overheads.sort_by(f64::total_cmp);
    overheads
}

/// A script that stands for the program and notes when each task began and ended.
fn timed_program(place: &Path, times: &Path) {
    let program = built().join("neuroloom");
    let text = format!(
        "#!/bin/sh\nbegan=$(date +%s.%N)\n{} \"$@\"\ncode=$?\n\
         [ \"$2\" = task ] && echo \"$SLURM_ARRAY_TASK_ID $began $(date +%s.%N)\" >>{}\nexit $code\n",
        program.display(),
        times.display()
    );
    std::fs::write(place, text).expect("the script is written");
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755)).expect("it may run");
}

#[test]
fn a_task_costs_little_beyond_the_work_of_its_case() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let cohort = SmallCohort::new("slurm-overhead", 12);
    let out = cohort.path("out");
    let (times, program) = (cluster.path("times"), cluster.path("timed"));
    timed_program(&program, &times);
    let site = format!("{SMALL}\nprogram = \"{}\"\nthrottle = 1", program.display());
    let run = finish(cluster.batch(&cohort, &out, &site).arg("--wait"));
    succeeded(&cluster, &out, &run, "finished: 12 done");
    let overheads = overheads(&cluster, &out, &times);
    assert_eq!(overheads.len(), 12);
    let median = overheads[6];
    told(&format!("a task beyond its case's stages: median {:.0} ms of {overheads:.3?} s", 1000.0 * median));
    // Wall time on a machine that does other things, too; docs/slurm.md has the figure of a quiet one.
    assert!(median < 1.0, "{overheads:?}");
}

/// Measurements, for those who run the test with `--nocapture`.
#[expect(clippy::print_stderr, reason = "a measurement is there to be read")]
fn told(line: &str) {
    eprintln!("{line}");
}

#[test]
fn a_stage_that_can_use_a_gpu_asks_for_the_sites_and_others_ask_for_none() {
    let Some(cluster) = Cluster::start(&[("SLURM_DEV_FAKE_GPUS", "2")]) else { return };
    let cohort = SmallCohort::new("slurm-gpu", 4);
    let out = cohort.path("out");
    let gres = format!("{SMALL}\ngres = \"gpu:1\"");
    let small = finish(cluster.batch(&cohort, &out, &gres).arg("--dry-run"));
    succeeded(&cluster, &out, &small, "4 of 4 cases would run");
    assert!(!small.stdout.contains("--gres"), "{}", small.stdout);
    let mut command = cluster.talk(neuroloom());
    command.args(["batch", MAIN, "--dry-run", "--site"]).arg(cluster.path("neuroloom.toml"));
    let main = finish(command.arg(patient()).arg(&out));
    succeeded(&cluster, &out, &main, "1 of 1 cases would run");
    assert_eq!(main.stdout.matches("#SBATCH --gres=gpu:1\n").count(), 1, "the array alone: {}", main.stdout);

    // What Slurm gives a task is what the task sees.
    let seen = cluster.path("seen");
    let header =
        format!("header = ['echo \"$SLURM_ARRAY_TASK_ID on $CUDA_VISIBLE_DEVICES\" >>{}']", seen.display());
    let run = finish(
        cluster.batch(&cohort, &out, &format!("{SMALL}\nextra = [\"--gres=gpu:1\"]\n{header}")).arg("--wait"),
    );
    succeeded(&cluster, &out, &run, "finished: 4 done");
    let seen = std::fs::read_to_string(&seen).unwrap();
    let on_one = |line: &&str| line.ends_with(" on 0") || line.ends_with(" on 1");
    assert_eq!(seen.lines().filter(|line| !line.starts_with(' ')).filter(on_one).count(), 4, "{seen}");
}

/// `schedule` over a cohort's data, with Slurm.
fn schedule(cluster: &Cluster, cohort: &SmallCohort, arguments: &[&str]) -> Command {
    let file = cohort.path("schedule.toml");
    let cache = cluster.path("cache");
    let text = format!(
        "[[jobs]]\nname = \"arrivals\"\nworkflow = \"small.toml\"\ninput = \"data\"\noutput = \"out\"\nexecutor = \"slurm\"\n\
         watch = {{ stable_s = 1, every_s = 1 }}\noptions = [\"--cache\", \"{}\"]\n",
        cache.display()
    );
    std::fs::write(&file, text).expect("the schedule is written");
    let site = cluster.path("neuroloom.toml");
    std::fs::write(&site, format!("[slurm]\nscratch_gib = 0.1\n{SMALL}\n"))
        .expect("the site file is written");
    let mut command = cluster.talk(neuroloom());
    command
        .arg("schedule")
        .arg(&file)
        .args(arguments)
        .arg("--plugin-dir")
        .arg(cohort.plugins())
        .arg("--site")
        .arg(site);
    command
}

fn done(cluster: &Cluster, out: &Path) -> u64 {
    if out.is_dir() { cluster.status(out)["counts"]["done"].as_u64().unwrap_or(0) } else { 0 }
}

#[test]
fn a_schedule_gives_new_cases_to_slurm_and_waits_for_those_that_slurm_has_in_hand() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let cohort = SmallCohort::new("slurm-schedule", 2);
    cohort.set_workflow(&cohort.workflow().replacen("seconds = 0.1", "seconds = 3.0", 1));
    let out = cohort.path("out");
    let once = finish(&mut schedule(&cluster, &cohort, &["--once"]));
    assert_eq!(once.code, Some(0), "{}\n{}", once.stderr, cluster.logs(&out));
    assert_eq!(done(&cluster, &out), 2, "a start is over when its jobs are: {}", once.stderr);
    assert_eq!(cluster.sbatch_calls(), 2);

    // A scheduler that is killed while Slurm has the new case in hand: the next one waits, and sends nothing twice.
    cohort.write_image("sub-03", 100.0);
    let mut killed: Child = schedule(&cluster, &cohort, &[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    wait_until("the new case is with Slurm", &mut || cluster.sbatch_calls() == 4);
    killed.kill().and_then(|()| killed.wait()).expect("it ends");
    let once = finish(&mut schedule(&cluster, &cohort, &["--once"]));
    assert_eq!(once.code, Some(0), "{}\n{}", once.stderr, cluster.logs(&out));
    assert_eq!(cluster.sbatch_calls(), 4, "{}", once.stderr);
    assert_once_each(&out, 3);
    assert_eq!(labels(&out).len(), 3);
    let history = finish(&mut schedule(&cluster, &cohort, &["--history", "--format", "json"])).stdout;
    let history: Json = serde_json::from_str(&history).unwrap();
    let first = &history["history"][0]["end"];
    assert_eq!(first["summary"]["summary"]["done"], 2, "{history:#}");
}

#[test]
#[ignore = "soak: Slurm looks at limits of time once a minute"]
fn a_task_that_does_not_heed_its_warning_is_ended_at_its_limit_and_goes_on_in_the_next_class() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let cohort = SmallCohort::new("slurm-timeout", 1);
    let text = cohort.workflow().replacen("seconds = 0.1, heed = true", "seconds = 150.0, heed = false", 1);
    cohort.set_workflow(&text);
    let out = cohort.path("out");
    let site = format!("{SMALL}\nminutes = [1, 10]\nwarn_seconds = 5");
    let run = finish(cluster.batch(&cohort, &out, &site).arg("--wait"));
    succeeded(&cluster, &out, &run, "finished: 1 done");
    let attempts = ends(&out, "sub-01");
    assert_eq!(attempts[0]["ending"], "interrupted", "{attempts:?}");
    let places = std::fs::read_to_string(out.join(".neuroloom/runs/0001/round-02.jsonl")).unwrap();
    assert!(places.contains("ran out of time after 1 min, goes on with 10 min"), "{places}");
}
