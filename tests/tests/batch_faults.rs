//! What goes wrong around a cohort's run: disks, files, clocks, the cache. Each is told once and clearly, nothing is half
//! written, and the same command goes on once the fault is gone.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::cohort::{SmallCohort, assert_ended, assert_same_tree, delivered, ends, state_names};
use neuroloom_tests::scene::tree;
use neuroloom_tests::{Finished, finish, skipped};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes, even where others work.
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_until(what: &str, holds: &dyn Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts a run; [`ended`] waits for it.
fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> Finished {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Finished { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Writes a command as a shell reads it.
fn quoted(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// A folder that is a file system of its own while a script runs in it: `$OUT`. What the script copies to `$KEPT` lasts.
struct Disk {
    kept: PathBuf,
    out: PathBuf,
}

impl Disk {
    fn new(cohort: &SmallCohort) -> Self {
        let disk = Self { kept: cohort.path("kept"), out: cohort.path("disk") };
        std::fs::create_dir_all(&disk.kept).unwrap();
        std::fs::create_dir_all(&disk.out).unwrap();
        disk
    }

    /// Runs a script in a name space of its own, in which `$OUT` is a disk of so many KiB. `$RUN NAME` runs the batch and keeps
    /// what it says, its exit code and the folder. None where the system does not let us.
    fn run(&self, kib: u64, batch: &Command, script: &str) -> Option<()> {
        let (out, kept) = (self.out.display(), self.kept.display());
        let text = format!(
            "set -e\nOUT='{out}' KEPT='{kept}'\nmount -t tmpfs -o size={kib}k tmpfs \"$OUT\" || exit 77\n\
             run() {{ set +e; {} 2> \"$KEPT/$1.err\"; echo $? > \"$KEPT/$1.code\"; cp -a \"$OUT\" \"$KEPT/$1\"; set -e; }}\n\
             {script}",
            quoted(batch)
        );
        let user = finish(Command::new("id").arg("-u")).stdout.trim() == "0";
        let mut unshare = Command::new("unshare");
        unshare.arg(if user { "-m" } else { "-rm" }).args(["sh", "-c", &text]);
        unshare.current_dir(neuroloom_tests::root()).env("NO_COLOR", "1");
        let ran = unshare.output().ok()?;
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        if ran.status.code() == Some(77) || said.contains("unshare failed") {
            skipped(&format!("no file system may be mounted here: {said}"));
            return None;
        }
        assert!(ran.status.success(), "{said}");
        Some(())
    }

    /// What the run of that name said, and how it ended.
    fn ended(&self, name: &str) -> Finished {
        let read = |kind: &str| std::fs::read_to_string(self.kept.join(format!("{name}.{kind}"))).unwrap();
        Finished { code: read("code").trim().parse().ok(), stdout: String::new(), stderr: read("err") }
    }
}

/// All files of cases that are there are as they should be, and a case that is there is there as a whole.
fn assert_no_half_case(found: &Path, expected: &BTreeMap<String, Vec<u8>>) {
    let found = tree(found);
    for (name, bytes) in found.iter().filter(|(name, _)| name.starts_with("sub-")) {
        let whole = expected.get(name).unwrap_or_else(|| panic!("{name} is no result"));
        assert!(whole == bytes, "{name} has other content");
        let case = &name[..name.find(['/', '.']).unwrap()];
        let of_case = |tree: &BTreeMap<String, Vec<u8>>| {
            tree.keys().filter(|name| name.starts_with(case)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(of_case(&found), of_case(expected));
    }
}

#[test]
fn a_full_disk_stops_the_run_and_more_room_lets_it_go_on() {
    let cohort = SmallCohort::new("full", 8);
    let (expected, _) = cohort.undisturbed();
    let disk = Disk::new(&cohort);
    // Files take whole pages; room for about half of the cases.
    let kib: u64 = expected.values().map(|bytes| bytes.len().div_ceil(4096) as u64 * 4).sum();
    let script = "run full\nmount -o remount,size=100m \"$OUT\"\nrun again";
    if disk.run(kib / 2, &cohort.batch(&disk.out), script).is_none() {
        return;
    }
    let full = disk.ended("full");
    assert_ended(&full, 1, 1);
    assert!(full.stderr.contains("No space left on device"), "{}", full.stderr);
    assert!(full.stderr.contains("make room and give the same command again"), "{}", full.stderr);
    assert_no_half_case(&disk.kept.join("full"), &expected);
    let done = delivered(&disk.kept.join("full"));
    assert!(done < 8, "{done} cases fit");
    let again = disk.ended("again");
    assert_ended(&again, 0, 0);
    assert_eq!(state_names(&disk.kept.join("again"), "tmp"), Vec::<String>::new());
    assert_same_tree(&tree(&disk.kept.join("again")), &expected);
}

#[test]
fn a_read_only_output_folder_is_said_before_anything_runs() {
    let cohort = SmallCohort::new("read_only", 2);
    let (expected, _) = cohort.undisturbed();
    let disk = Disk::new(&cohort);
    let script = "mount -o remount,ro \"$OUT\"\nrun fresh\nmount -o remount,rw \"$OUT\"\nrun first\n\
                  mount -o remount,ro \"$OUT\"\nrun later\nmount -o remount,rw \"$OUT\"\nrun last";
    if disk.run(102_400, &cohort.batch(&disk.out), script).is_none() {
        return;
    }
    for name in ["fresh", "later"] {
        let refused = disk.ended(name);
        assert_ended(&refused, 2, 1);
        assert!(refused.stderr.contains("Read-only file system"), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    }
    assert_ended(&disk.ended("first"), 0, 0);
    assert_ended(&disk.ended("last"), 0, 0);
    assert_same_tree(&tree(&disk.kept.join("last")), &expected);
}

#[test]
fn a_file_that_the_table_names_and_that_is_not_there_costs_its_case_alone() {
    let cohort = SmallCohort::new("vanished_before", 3);
    let (expected, _) = cohort.undisturbed();
    let mut table = "participant_id\timage\n".to_owned();
    for label in ["sub-01", "sub-02", "sub-03"] {
        let _ = writeln!(table, "{label}\t{label}/anat/{label}_T1w.nii");
    }
    std::fs::write(cohort.data().join("cases.tsv"), table).unwrap();
    let aside = cohort.path("aside.nii");
    std::fs::rename(cohort.image("sub-02"), &aside).unwrap();
    let out = cohort.path("out");
    let run = finish(&mut cohort.batch(&out));
    assert_ended(&run, 0, 0);
    assert!(run.stderr.contains("cannot: 1 (sub-02)"), "{}", run.stderr);
    assert!(run.stderr.contains("sub-02_T1w.nii"), "it is named: {}", run.stderr);
    assert_eq!(finish(cohort.batch(&out).arg("--strict")).code, Some(1));
    assert_no_half_case(&out, &expected);
    assert_eq!(delivered(&out), 2);
    std::fs::rename(&aside, cohort.image("sub-02")).unwrap();
    assert_ended(&finish(&mut cohort.batch(&out)), 0, 0);
    assert_same_tree(&tree(&out), &expected);
}

#[test]
fn a_file_that_vanishes_during_the_run_fails_its_case_alone() {
    let cohort = SmallCohort::new("vanished_during", 4);
    let (expected, _) = cohort.undisturbed();
    let out = cohort.path("out");
    let mut command = cohort.batch(&out);
    command.args(["--set", "first.threads=2"]);
    let child = start(&mut command);
    wait_until("a case begins", &|| out.join(".neuroloom/cases/sub-01/0001.claim.json").exists());
    let aside = cohort.path("aside.nii");
    std::fs::rename(cohort.image("sub-04"), &aside).unwrap();
    let run = ended(child);
    assert_ended(&run, 1, 1);
    assert!(run.stderr.contains("error: case `sub-04` failed"), "{}", run.stderr);
    assert!(run.stderr.contains("sub-04_T1w.nii"), "{}", run.stderr);
    assert_eq!(ends(&out, "sub-04")[0]["ending"], "failed");
    assert_eq!(delivered(&out), 3);
    std::fs::rename(&aside, cohort.image("sub-04")).unwrap();
    let again = finish(&mut command);
    assert_ended(&again, 0, 0);
    assert!(again.stderr.contains("1 of 4 cases run, 3 up to date"), "{}", again.stderr);
    assert_same_tree(&tree(&out), &expected);
}

#[test]
fn a_file_that_changes_during_the_run_keeps_its_case_from_being_published() {
    let cohort = SmallCohort::new("changed", 1);
    let out = cohort.path("out");
    let mut command = cohort.batch(&out);
    command.args(["--set", "last.settings.seconds=2.0"]);
    let child = start(&mut command);
    let begun = || {
        let log = std::fs::read_to_string(out.join(".neuroloom/runs/0001/log.jsonl")).unwrap_or_default();
        log.contains("\"inside\"")
    };
    wait_until("the second stage ends", &begun);
    cohort.write_image("sub-01", 77.0);
    let run = ended(child);
    assert_ended(&run, 1, 1);
    assert!(run.stderr.contains("error: case `sub-01` was not published"), "{}", run.stderr);
    assert!(run.stderr.contains("input `image` was changed while the case ran"), "{}", run.stderr);
    assert_eq!(ends(&out, "sub-01")[0]["ending"], "changed");
    assert!(!out.join("sub-01").exists());
    assert_eq!(state_names(&out, "tmp"), Vec::<String>::new());
    let again = finish(&mut command);
    assert_ended(&again, 0, 0);
    let fresh = cohort.path("fresh");
    assert_ended(
        &finish(cohort.batch_with(&fresh, "other").args(["--set", "last.settings.seconds=2.0"])),
        0,
        0,
    );
    assert_same_tree(&tree(&out), &tree(&fresh));
}

/// The library that gives a process another clock, where it is installed.
fn other_clock() -> Option<PathBuf> {
    let folders =
        ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib64/faketime"];
    let found =
        folders.iter().map(|folder| Path::new(folder).join("libfaketimeMT.so.1")).find(|path| path.is_file());
    if found.is_none() {
        skipped("libfaketime is not installed");
    }
    found
}

#[test]
fn a_clock_that_jumps_back_changes_nothing() {
    let Some(library) = other_clock() else { return };
    let cohort = SmallCohort::new("clock", 6);
    let (expected, _) = cohort.undisturbed();
    let out = cohort.path("out");
    let clock = cohort.path("clock.rc");
    let batch = |now: &str| {
        std::fs::write(&clock, now).unwrap();
        let mut command = cohort.batch(&out);
        command
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
        command
    };
    let child = start(&mut batch("+0"));
    wait_until("two cases have delivered", &|| delivered(&out) >= 2);
    std::fs::write(&clock, "-40d").unwrap();
    assert_ended(&ended(child), 0, 0);
    let until: Vec<String> =
        (1..=6).map(|n| ends(&out, &format!("sub-0{n}"))[0]["until"].to_string()).collect();
    assert!(
        until.iter().max().unwrap()[..8] != until.iter().min().unwrap()[..8],
        "the clock did not jump: {until:?}"
    );
    assert_same_tree(&tree(&out), &expected);
    // A later run, still further back, takes the latest attempt for the latest.
    for now in ["-400d", "+400d"] {
        let idle = finish(&mut batch(now));
        assert_ended(&idle, 0, 0);
        assert!(idle.stderr.contains("nothing to do: 6 up to date"), "{now}: {}", idle.stderr);
    }
    cohort.write_image("sub-01", 55.0);
    let one = finish(&mut batch("-800d"));
    assert_ended(&one, 0, 0);
    assert!(one.stderr.contains("1 of 6 cases run, 5 up to date"), "{}", one.stderr);
    assert!(one.stderr.contains("(sub-01): input `image` has other content"), "{}", one.stderr);
    assert!(finish(&mut batch("+0")).stderr.contains("6 up to date"));
    assert_eq!(ends(&out, "sub-01").len(), 2);
}

/// All files of the cache that hold images.
fn entries(cache: &Path) -> Vec<PathBuf> {
    let mut open = vec![cache.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() { open.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.retain(|path| std::fs::metadata(path).unwrap().len() > 40_000);
    files
}

#[test]
fn a_flipped_bit_in_the_cache_is_told_and_the_result_is_the_same() {
    let cohort = SmallCohort::new("flipped", 1);
    let out = cohort.path("out");
    assert_ended(&finish(&mut cohort.batch(&out)), 0, 0);
    let damaged = entries(&cohort.path("cache"));
    assert!(!damaged.is_empty(), "the slow stages' images are kept");
    for path in &damaged {
        let mut bytes = std::fs::read(path).unwrap();
        let last = bytes.len() - 100;
        bytes[last] ^= 1;
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let change = ["--set", "bright.settings.above=40.0"];
    let run = finish(cohort.batch(&out).args(change));
    assert_ended(&run, 0, 0);
    assert!(run.stderr.contains("a stored result cannot be used, so its stage runs again"), "{}", run.stderr);
    let fresh = cohort.path("fresh");
    assert_ended(&finish(cohort.batch_with(&fresh, "other").args(change)), 0, 0);
    assert_same_tree(&tree(&out), &tree(&fresh));
    let settled = finish(cohort.batch(&out).args(change));
    assert!(settled.stderr.contains("nothing to do: 1 up to date"), "{}", settled.stderr);
}
