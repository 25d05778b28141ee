//! A cohort from outside: run, stopped, killed, run again, looked at, asked why.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::scene::{names, scratch, sequence, tree};
use neuroloom_tests::{Finished, finish, neuroloom};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A folder of one test, with a table of phantoms.
struct Scene {
    folder: PathBuf,
}

impl Scene {
    fn new(name: &str, seeds: &[&str]) -> Self {
        let folder = scratch().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let scene = Self { folder };
        scene.table(seeds);
        scene
    }

    fn table(&self, seeds: &[&str]) {
        let rows: Vec<String> =
            seeds.iter().enumerate().map(|(index, seed)| format!("sub-0{}\t{seed}\n", index + 1)).collect();
        std::fs::write(self.folder.join("cases.tsv"), format!("case\tseed\n{}", rows.concat())).unwrap();
    }

    fn out(&self) -> PathBuf {
        self.folder.join("out")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = neuroloom();
        command.args(["batch", "workflows/phantom.toml"]).arg(self.folder.join("cases.tsv")).arg(self.out());
        command.args(["--no-cache", "--set", "phantom.settings.grids=\"small\""]).args(arguments);
        command
    }

    fn batch(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments))
    }

    fn ask(&self, command: &str, arguments: &[&str]) -> Value {
        let answer =
            finish(neuroloom().arg(command).arg(self.out()).args(arguments).args(["--format", "json"]));
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        serde_json::from_str(&answer.stdout).unwrap()
    }

    /// A run that works on its first case.
    fn at_work(&self) -> std::process::Child {
        let mut child =
            self.command(&["--jobs", "1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let since = Instant::now();
        while !self.out().join(".neuroloom/cases/sub-01/0001.claim.json").exists() {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
            assert!(since.elapsed() < Duration::from_secs(60), "no case was claimed");
            std::thread::yield_now();
        }
        child
    }

    fn nothing_is_left(&self) {
        assert_eq!(names(&self.out().join(".neuroloom/tmp")), Vec::<String>::new());
    }
}

fn signal(child: &std::process::Child, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

fn succeeded(run: &Finished, last: &str) {
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains(last), "{}", run.stderr);
}

#[test]
fn again_runs_only_what_is_missing_or_changed_and_says_why() {
    let scene = Scene::new("again", &["1", "2", "3"]);
    let dry = scene.batch(&["--dry-run"]);
    succeeded(&dry, "3 of 3 cases would run; nothing was written");
    assert!(!scene.out().exists());
    succeeded(&scene.batch(&[]), "finished: 3 done");
    let first = tree(&scene.out());
    succeeded(&scene.batch(&["--threads", "1"]), "nothing to do: 3 up to date");
    assert_eq!(tree(&scene.out()), first);

    std::fs::remove_dir_all(scene.out().join("derivatives/truth/sub-03")).unwrap();
    scene.table(&["1", "7", "3"]);
    let run = scene.batch(&[]);
    succeeded(&run, "finished: 2 done, 1 up to date");
    assert!(run.stderr.contains("(sub-02): input `seed` is 7, was 2"), "{}", run.stderr);
    assert!(run.stderr.contains("(sub-03): its files are gone or were changed: derivatives/truth/sub-03"));
    let now = tree(&scene.out());
    let of = |label: &str, tree: &std::collections::BTreeMap<String, Vec<u8>>| {
        tree.iter()
            .filter(|(name, _)| name.contains(label))
            .map(|(n, b)| (n.clone(), b.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("sub-03", &now), of("sub-03", &first));
    assert_ne!(of("sub-02", &now), of("sub-02", &first));
    let old = tree(&scene.out().join(".neuroloom/replaced/sub-02.0001"));
    assert_eq!(of("sub-02", &old), of("sub-02", &first), "the old result is kept as it was");

    let told = finish(neuroloom().arg("status").arg(scene.out()).arg("--stages")).stdout;
    let row = told.lines().find(|line| line.trim_start().starts_with("phantom ")).unwrap_or(&told);
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..3], ["phantom", "5", "0"], "all attempts count, none of them cached: {told}");
    let stage = &scene.ask("status", &[])["stages"][0];
    let seconds = |name: &str| stage[name].as_f64().unwrap();
    let [median, most, longest] = ["median_seconds", "p95_seconds", "max_seconds"].map(seconds);
    assert!(0.0 < median && median <= most && most <= longest, "{stage}");
    assert!(longest < seconds("total_seconds"), "{stage}");

    let why = scene.ask("why", &["sub-02"]);
    assert_eq!(why["state"], "done");
    assert_eq!(why["attempts"][0]["why"], "input `seed` is 7, was 2");
    assert!(
        why["changes"].as_array().unwrap().iter().any(|said| said == "input `seed` is 7, was 2"),
        "{why}"
    );
    let set = scene.batch(&["--set", "phantom.settings.lesions=2", "--dry-run"]);
    assert!(set.stdout.contains("setting `lesions`: 2"), "{}", set.stdout);
    scene.nothing_is_left();
}

#[test]
fn a_run_that_was_stopped_or_killed_goes_on_and_leaves_what_an_undisturbed_one_does() {
    let scene = Scene::new("stopped", &["1", "2", "3"]);
    let mut child = scene.at_work();
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let status = scene.ask("status", &[]);
    assert_eq!(status["counts"]["interrupted"], 1, "{status}");
    assert_eq!(status["counts"]["never"], 2, "{status}");
    scene.nothing_is_left();

    let mut child =
        scene.command(&["--jobs", "1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !scene.out().join(".neuroloom/cases/sub-02/0001.claim.json").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let status = scene.ask("status", &[]);
    assert_eq!((&status["counts"]["done"], &status["counts"]["lost"]), (&1.into(), &1.into()), "{status}");
    let why = scene.ask("why", &["sub-02"]);
    assert!(why["cause"].as_str().unwrap().starts_with("its process was killed"), "{why}");

    let run = scene.batch(&["--retry"]);
    succeeded(&run, "finished: 1 done, 1 up to date, 1 left out");
    succeeded(&scene.batch(&[]), "finished: 1 done, 2 up to date");
    scene.nothing_is_left();
    let undisturbed = Scene::new("undisturbed", &["1", "2", "3"]);
    succeeded(&undisturbed.batch(&["--jobs", "2"]), "finished: 3 done");
    assert_eq!(tree(&scene.out()), tree(&undisturbed.out()));
}

#[test]
fn two_runs_into_one_folder_respect_each_other() {
    let scene = Scene::new("two", &["1", "2", "3", "4"]);
    let mut runs: Vec<_> = (0..2)
        .map(|_| {
            let mut command = scene.command(&["--jobs", "1"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for run in &mut runs {
        assert_eq!(run.wait().unwrap().code(), Some(0));
    }
    succeeded(&scene.batch(&[]), "nothing to do: 4 up to date");
    let attempts = |label: &str| names(&scene.out().join(".neuroloom/cases").join(label)).len();
    for label in ["sub-01", "sub-02", "sub-03", "sub-04"] {
        assert_eq!(attempts(label), 2, "{label} was run once: a claim and an end");
    }
    let participants = std::fs::read_to_string(scene.out().join("participants.tsv")).unwrap();
    assert_eq!(participants, "participant_id\nsub-01\nsub-02\nsub-03\nsub-04\n");
}

#[test]
fn a_case_that_fails_or_cannot_run_stops_no_other_and_is_named() {
    let folder = scratch().join("failing");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("garbage.nii.gz"), "no image").unwrap();
    let head = sequence("t1_pre");
    let rows = format!("case\thead\nsub-01\tgarbage.nii.gz\nsub-02\tn/a\nsub-03\t{}\n", head.display());
    std::fs::write(folder.join("cases.tsv"), rows).unwrap();
    let out = folder.join("out");
    let brain = |arguments: &[&str]| {
        let mut command = neuroloom();
        command.args(["batch", "workflows/brain-extraction.toml"]).arg(folder.join("cases.tsv")).arg(&out);
        finish(command.arg("--no-cache").args(arguments))
    };
    let run = brain(&["--format", "json"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("error: case `sub-01` failed"), "{}", run.stderr);
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(answer["outcome"], "some_failed", "{answer}");
    for count in ["done", "failed", "cannot"] {
        assert_eq!(answer["summary"][count], 1, "{count}: {answer}");
    }
    let again = brain(&[]);
    assert!(
        again.stderr.contains("(sub-01): failed before: input `head` could not be read"),
        "{}",
        again.stderr
    );
    assert!(
        again.stderr.contains("finished with failures: 1 failed, 1 up to date, 1 cannot run"),
        "{}",
        again.stderr
    );
    let status = finish(neuroloom().arg("status").arg(&out).args(["--format", "json"]));
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let states: Vec<_> = status["cases"].as_array().unwrap().iter().map(|case| &case["state"]).collect();
    assert_eq!(states, ["failed", "cannot", "done"], "what needs somebody comes first");
    let why = finish(neuroloom().arg("why").arg(&out).arg("sub-01"));
    assert!(why.stdout.contains("cause: an input that is missing or cannot be read"), "{}", why.stdout);
}

#[test]
fn a_case_that_cannot_run_is_a_failure_only_if_that_is_asked_for() {
    let folder = scratch().join("strict");
    std::fs::create_dir_all(&folder).unwrap();
    let rows = format!("case\thead\nsub-01\t{}\nsub-02\tn/a\n", sequence("t1_pre").display());
    std::fs::write(folder.join("cases.tsv"), rows).unwrap();
    for (arguments, code) in [([].as_slice(), 0), (&["--strict"], 1)] {
        let mut command = neuroloom();
        command.args(["batch", "workflows/brain-extraction.toml"]).arg(folder.join("cases.tsv"));
        let run = finish(command.arg(folder.join("out")).arg("--no-cache").args(arguments));
        assert_eq!(run.code, Some(code), "{}", run.stderr);
    }
}

#[test]
fn a_folder_that_no_run_has_seen_is_said_to_be_one() {
    let nowhere = scratch().join("nowhere");
    let status = finish(neuroloom().arg("status").arg(&nowhere));
    assert_eq!(status.code, Some(2));
    assert!(status.stderr.contains("holds no state of any run"), "{}", status.stderr);
    let why = finish(neuroloom().arg("why").arg(&nowhere).arg("sub-01"));
    assert_eq!(why.code, Some(2));
    assert!(why.stderr.contains("nobody tried a case `sub-01`"), "{}", why.stderr);
}
