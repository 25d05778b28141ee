//! What can be done with a cohort, told by the built program before it reads an image.

use neuroloom_tests::scene::MAIN;
use neuroloom_tests::{Finished, finish, neuroloom};
use std::path::Path;

const WHOLE: [&str; 4] = ["acq-BRAVO_ce-gad_T1w", "acq-CUBE_T1w", "acq-CUBE_ce-gad_T1w", "FLAIR"];

/// Lays down empty files for a subject.
fn subject(data: &Path, label: &str, names: &[&str]) {
    let folder = data.join(label).join("anat");
    std::fs::create_dir_all(&folder).expect("the folder is made");
    for name in names {
        std::fs::write(folder.join(format!("{label}_{name}.nii.gz")), "").expect("the file is made");
    }
}

fn plan(cohort: &Path, more: &[&str]) -> Finished {
    finish(neuroloom().args(["plan", MAIN]).arg(cohort).args(more))
}

#[test]
fn the_exit_code_says_whether_any_case_can_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    subject(data, "sub-01", &WHOLE);
    subject(data, "sub-02", &WHOLE[..3]);
    subject(data, "sub-03", &WHOLE[..1]);
    let all = plan(data, &[]);
    assert_eq!((all.code, all.stderr.as_str()), (Some(0), ""));
    assert!(
        all.stdout.contains("1 case runs whole, 1 without `flair`, 1 cannot (no `t1_pre`)"),
        "{}",
        all.stdout
    );

    let none = plan(data, &["--participant-label", "03"]);
    assert_eq!((none.code, none.stderr.as_str()), (Some(2), "error: no case of this cohort can run\n"));

    let json = plan(data, &["--format", "json", "--participant-label", "01", "sub-02"]);
    let content: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (json.code, &content["runnable"], &content["cohort"]["narrowed"]),
        (Some(0), &2.into(), &true.into())
    );

    std::fs::remove_file(data.join("sub-01/anat/sub-01_FLAIR.nii.gz")).unwrap();
    let slip = plan(data, &[]);
    assert_eq!(slip.code, Some(2));
    assert!(slip.stderr.starts_with("error: no case has the optional input `flair`"), "{}", slip.stderr);
}

#[test]
fn a_cohort_that_cannot_be_read_leaves_stdout_empty() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("cases.csv", "case,bravo\n"), ("cases.tsv", "bravo\nx\n"), ("cases.json", "{")] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let answer = plan(&path, &[]);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{name}");
        assert!(
            answer.stderr.starts_with("error: ") && answer.stderr.contains("\nhint: "),
            "{}",
            answer.stderr
        );
    }
}
