//! What is written is valid BIDS, by the validator that the BIDS maintainers publish.

use neuroloom_tests::cohort::SmallCohort;
use neuroloom_tests::scene::{ALL, main_workflow, patient, scratch, with_candidates};
use neuroloom_tests::{finish, neuroloom, root, skipped};
use std::path::{Path, PathBuf};
use std::process::Command;

const VALIDATOR: &str = "bids-validator-deno";

/// The validator: from the tools that `make` fetched, or from the search path.
fn validator() -> Option<Command> {
    let named = std::env::var_os("NEUROLOOM_TOOLS").map(PathBuf::from);
    let fetched = [named, Some(root().join("third_party/tools/bin"))].into_iter().flatten();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folder = fetched.chain(std::env::split_paths(&paths)).find(|folder| folder.join(VALIDATOR).is_file());
    let Some(folder) = folder else {
        skipped("bids-validator-deno is not here; `make tools` fetches it");
        return None;
    };
    let mut command = Command::new(folder.join(VALIDATOR));
    // `pip install --target` leaves its packages beside `bin`.
    if folder
        .parent()
        .is_some_and(|tools| tools.join("bids_validator_deno").is_dir() || tools.ends_with("tools"))
    {
        command.env("PYTHONPATH", folder.parent().unwrap_or(Path::new("")));
    }
    Some(command)
}

/// What the validator calls an error: `CODE at PLACE`.
fn errors(command: &mut Command, dataset: &Path) -> Vec<String> {
    let run = finish(command.arg(dataset).args(["--format", "json", "--ignoreWarnings"]));
    let report: serde_json::Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    let issues = report["issues"]["issues"].as_array().expect("the validator lists issues");
    let text = |issue: &serde_json::Value| {
        let word = |key: &str| issue[key].as_str().unwrap_or_default().to_owned();
        (word("severity") == "error")
            .then(|| format!("{} {} at {}", word("code"), word("subCode"), word("location")))
    };
    issues.iter().filter_map(text).collect()
}

#[test]
fn raw_data_and_derivatives_are_valid_bids() {
    let Some(mut command) = validator() else { return };
    let out = scratch().join("derivatives");
    let run = finish(&mut main_workflow(&ALL, &out));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(errors(&mut command, patient()), Vec::<String>::new());
    let mut command = validator().expect("found above");
    assert_eq!(errors(&mut command, &out), Vec::<String>::new());
    let mut command = validator().expect("found above");
    assert_eq!(errors(&mut command, &patient().join("derivatives/truth")), Vec::<String>::new());
}

#[test]
fn a_reviewed_data_set_is_valid_bids_and_leaves_the_one_around_it_valid() {
    let Some(mut command) = validator() else { return };
    let out = scratch().join("reviewed");
    let run = finish(with_candidates(&mut main_workflow(&ALL, &out)));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let page = std::fs::read_to_string(out.join("sub-demo/sub-demo_report.html")).expect("the page is there");
    let digest = page.split("\"reviewed\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let review = serde_json::json!({
        "format": "neuroloom-review", "version": 1, "case": "sub-demo", "reviewed": digest, "reader": "AB",
        "signed": "2026-05-01T08:00:00Z", "decisions": [],
    });
    let file = scratch().join("review.json");
    std::fs::write(&file, review.to_string()).expect("the scratch folder is writable");
    let run = finish(neuroloom().arg("review").arg(&out).arg(&file).arg("--no-cache"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(errors(&mut command, &out.join("derivatives/reviewed")), Vec::<String>::new());
    let mut command = validator().expect("found above");
    assert_eq!(errors(&mut command, &out), Vec::<String>::new());
}

#[test]
fn the_visits_of_a_cohort_with_its_page_and_who_took_part_are_valid_bids() {
    let Some(mut command) = validator() else { return };
    let cohort = SmallCohort::of_visits("visits", 2);
    let out = cohort.data().join("derivatives/neuroloom");
    for level in ["participant", "group"] {
        let run = finish(&mut cohort.bids_app(&out, level));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    assert!(out.join("cohort-report.html").is_file() && out.join("participants.json").is_file());
    assert_eq!(errors(&mut command, &out), Vec::<String>::new());
    let mut command = validator().expect("found above");
    assert_eq!(errors(&mut command, &cohort.data()), Vec::<String>::new());
}

/// A validator that finds no fault anywhere would prove nothing.
#[test]
fn the_validator_sees_a_broken_data_set() {
    let Some(mut command) = validator() else { return };
    let broken = scratch().join("broken/sub-01/anat");
    std::fs::create_dir_all(&broken).unwrap();
    std::fs::write(broken.join("sub-01_desc-x_T1w.nii.gz"), "no image").unwrap();
    assert!(!errors(&mut command, &scratch().join("broken")).is_empty());
}
