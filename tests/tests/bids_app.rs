//! `neuroloom bids-app` from outside: its two levels, several processes at once, and what it refuses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::cohort::{SmallCohort, assert_same_tree};
use neuroloom_tests::scene::{names, scratch, tree};
use neuroloom_tests::{Finished, built, finish, neuroloom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A participant's rows in the table that the page of the cohort comes with.
fn rows(out: &Path, subject: &str) -> Vec<String> {
    let text = std::fs::read_to_string(out.join("group/summary/group_desc-cases_cohort.tsv")).unwrap();
    text.lines().filter(|line| line.contains(subject)).map(str::to_owned).collect()
}

fn succeeded(run: &Finished, last: &str) {
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains(last), "{last}: {}", run.stderr);
}

/// A command that must do nothing: exit 2, one error that says this, and nothing written.
fn refused(mut command: Command, out: &Path, said: &[&str]) {
    let run = finish(&mut command);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{command:?}: {}", run.stderr);
    assert_eq!(run.stderr.matches("error: ").count(), 1, "{command:?}: {}", run.stderr);
    for said in said {
        assert!(run.stderr.contains(said), "`{said}`: {}", run.stderr);
    }
    assert!(!out.exists(), "{command:?}: nothing is written");
}

#[test]
fn participants_at_once_and_then_the_group_make_what_a_batch_makes() {
    let cohort = SmallCohort::of_visits("levels", 3);
    let out = cohort.path("out");
    let labels =
        [["--participant-label", "01"], ["--participant_label", "sub-02"], ["--participant-label", "03"]];
    let mut running: Vec<_> = labels
        .iter()
        .map(|labels| {
            let mut command = cohort.bids_app(&out, "participant");
            command.args(labels).args(["--nprocs", "1", "--mem_mb", "500"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for process in &mut running {
        assert_eq!(process.wait().unwrap().code(), Some(0));
    }
    assert!(!out.join("group").exists(), "participants make nothing that is over all of them");
    let group = finish(&mut cohort.bids_app(&out, "group"));
    succeeded(&group, "finished: stages over the cohort: 1 done (");
    let again = finish(cohort.bids_app(&out, "participant").arg("--session_label").arg("ses-2"));
    succeeded(&again, "nothing to do: 3 up to date");
    succeeded(
        &finish(&mut cohort.bids_app(&out, "group")),
        "nothing to do: stages over the cohort: 1 up to date (",
    );

    let batch = cohort.path("batch");
    succeeded(&finish(&mut cohort.batch(&batch)), "finished: 6 done");
    assert_same_tree(&tree(&out), &tree(&batch));
    let participants = std::fs::read_to_string(out.join("participants.tsv")).unwrap();
    assert_eq!(participants, std::fs::read_to_string(cohort.data().join("participants.tsv")).unwrap());
    assert!(
        names(&cohort.path("work")).iter().any(|name| name.starts_with("cache/")),
        "results are kept there"
    );
}

#[test]
fn who_has_not_run_is_on_the_page_with_the_reason_and_runs_later() {
    let cohort = SmallCohort::of_visits("late", 2);
    let out = cohort.path("out");
    refused(
        cohort.bids_app(&out, "group"),
        &out,
        &["none of the 4 cases", "sub-01_ses-1: it has not run", "participant`"],
    );

    succeeded(
        &finish(cohort.bids_app(&out, "participant").args(["--participant-label", "02"])),
        "finished: 2 done",
    );
    let group = finish(&mut cohort.bids_app(&out, "group"));
    succeeded(&group, "stages over the cohort of 4 cases; 2 have no result");
    assert!(
        rows(&out, "sub-01").iter().all(|row| row.contains("it has not run")),
        "{:?}",
        rows(&out, "sub-01")
    );
    assert!(
        rows(&out, "sub-02").iter().all(|row| !row.contains("has not run")),
        "{:?}",
        rows(&out, "sub-02")
    );
    assert!(!out.join("sub-01").exists(), "`group` runs no participant");

    succeeded(&finish(&mut cohort.bids_app(&out, "participant")), "finished: 2 done, 2 up to date");
    cohort.write_image("sub-02_ses-1", 101.0);
    let group = finish(&mut cohort.bids_app(&out, "group"));
    succeeded(&group, "finished: stages over the cohort: 1 done");
    assert!(group.stderr.contains("sub-02_ses-1: input `image` has other content"), "{}", group.stderr);
    assert!(
        rows(&out, "sub-01").iter().all(|row| !row.contains("has not run")),
        "{:?}",
        rows(&out, "sub-01")
    );
}

#[test]
fn a_table_that_changes_is_followed_though_nothing_runs() {
    let cohort = SmallCohort::of_visits("table", 2);
    let out = cohort.path("out");
    let table = |rows: &str| std::fs::write(cohort.data().join("participants.tsv"), rows).unwrap();
    let copied = || std::fs::read_to_string(out.join("participants.tsv")).unwrap();
    succeeded(&finish(cohort.bids_app(&out, "participant").args(["--participant-label", "01"])), "2 done");
    assert_eq!(copied(), "participant_id\tage\tsex\nsub-01\t41\tM\n", "only who is there");

    let site = cohort.path("site.toml");
    std::fs::write(&site, "[batch]\ncopy_participants = false\n").unwrap();
    table("participant_id\tage\thand\nsub-01\t42\tleft\nsub-02\t43\tright\n");
    let kept =
        finish(cohort.bids_app(&out, "participant").args(["--participant-label", "01", "--site"]).arg(&site));
    succeeded(&kept, "nothing to do: 2 up to date");
    assert_eq!(copied(), "participant_id\tage\tsex\nsub-01\t41\tM\n", "the site wants no copy");

    succeeded(&finish(&mut cohort.bids_app(&out, "group")), "finished");
    assert_eq!(copied(), "participant_id\tage\thand\nsub-01\t42\tleft\n");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_written() {
    let cohort = SmallCohort::of_visits("refused", 1);
    let (out, data) = (cohort.path("out"), cohort.data());
    let with = |level: &str, arguments: &[&str]| {
        let mut command = cohort.bids_app(&out, level);
        command.args(arguments);
        command
    };
    refused(with("participants", &[]), &out, &["invalid value 'participants'", "participant, group"]);
    refused(with("participant", &["--participant-label", "1"]), &out, &["has no subject `sub-1`", "sub-01"]);
    refused(with("group", &["--participant-label", "01"]), &out, &["`group` is over all participants"]);
    refused(with("participant", &["--mem", "16"]), &out, &["`16M` or `16G`"]);
    let plain = |arguments: &[&str]| {
        let mut command = neuroloom();
        command.arg("bids-app").arg(&data).arg(&out).arg("participant").args(arguments);
        command
    };
    refused(plain(&["--workflow", "no.toml"]), &out, &["no.toml: no such workflow file"]);
    let inside = |folder: &Path| folder.join("work").display().to_string();
    refused(plain(&["-w", &inside(&out)]), &out, &["lies in OUT"]);
    refused(plain(&["-w", &inside(&data)]), &out, &["lies in BIDS_DIR"]);

    for (place, said) in
        [(data.clone(), "is itself the data set"), (data.join("out"), "is a folder in the data set")]
    {
        let before = tree(&data);
        let absent = data.join("out");
        refused(cohort.bids_app(&place, "participant"), &absent, &[said, "derivatives/neuroloom"]);
        assert_same_tree(&tree(&data), &before);
    }
    refused(
        cohort.bids_app(Path::new("/proc/neuroloom"), "participant"),
        &out,
        &["cannot write /proc/neuroloom"],
    );

    std::fs::write(data.join("dataset_description.json"), "{ \"Name\": \"noise\" }").unwrap();
    refused(with("participant", &[]), &out, &["no sound BIDS data set", "no text `BIDSVersion`"]);
    let derived = data.join("derivatives/neuroloom");
    succeeded(
        &finish(cohort.bids_app(&derived, "participant").arg("--skip_bids_validation")),
        "finished: 2 done",
    );

    std::fs::remove_dir_all(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    refused(with("participant", &[]), &out, &["no sound BIDS data set", "cannot be read"]);
    std::fs::write(data.join("cases.tsv"), "case\timage\nsub-01\tx.nii\n").unwrap();
    refused(with("participant", &["--skip-bids-validation"]), &out, &["is no BIDS data set", "(table)"]);
}

/// The program in a folder of its own, with or without what is installed beside it.
fn installed(folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    let program = folder.join("bin/neuroloom");
    std::fs::hard_link(built().join("neuroloom"), &program)
        .or_else(|_| std::fs::copy(built().join("neuroloom"), &program).map(drop))
        .unwrap();
    program
}

#[test]
fn the_shipped_workflow_is_found_where_it_was_installed() {
    let cohort = SmallCohort::of_visits("installed", 1);
    let (prefix, out) = (scratch().join("installed-tree/opt"), cohort.path("out"));
    let program = installed(&prefix);
    let command = || {
        let mut command = Command::new(&program);
        command.arg("bids-app").arg(cohort.data()).arg(&out).arg("participant");
        command.arg("--plugin-dir").arg(built()).arg("--no-cache");
        command
    };
    refused(command(), &out, &["the shipped workflow brain-metastases.toml is not there", "--workflow FILE"]);
    let shipped = prefix.join("share/neuroloom");
    std::fs::create_dir_all(&shipped).unwrap();
    std::os::unix::fs::symlink(neuroloom_tests::root().join("workflows"), shipped.join("workflows")).unwrap();
    // These images are none of those that it asks for.
    refused(command(), &out, &["no case has the optional input `bravo`"]);
}
