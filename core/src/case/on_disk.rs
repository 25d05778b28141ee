//! Cohorts on disk, as users have them.

use super::cohort::tests::spec;
use super::{Cohort, CohortCase, CohortError, Filters};
use crate::plan::{InputSpec, OnError, Pick};
use crate::site::Site;
use sdk::Kind;
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;

/// A folder with these files, all empty; a name that ends in `/` is a folder.
pub(super) fn tree(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        if file.ends_with('/') {
            std::fs::create_dir_all(path).unwrap();
        } else {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
    }
    folder
}

/// The inputs of the paper's workflow.
pub(super) fn paper() -> Vec<InputSpec> {
    vec![
        spec("bravo", Kind::Image, &json!({ "suffix": "T1w", "acq": "BRAVO", "ce": true })),
        spec("t1_pre", Kind::Image, &json!({ "suffix": "T1w", "ce": false })),
        spec("flair", Kind::Image, &json!({ "suffix": "FLAIR" })),
    ]
}

pub(super) fn find(root: &Path, inputs: &[InputSpec]) -> Result<Cohort, CohortError> {
    Cohort::find(root, inputs, &Filters::default(), &Site::default())
}

pub(super) fn labels(cohort: &Cohort) -> Vec<String> {
    cohort.cases.iter().map(|case| case.label.to_string()).collect()
}

pub(super) fn files(case: &CohortCase) -> Vec<(&str, &str)> {
    let name = |path: &'_ Path| path.to_str().unwrap().rsplit('/').next().map(str::len).unwrap();
    case.inputs
        .iter()
        .map(|(input, given)| {
            let path = given.file().unwrap();
            let text = path.to_str().unwrap();
            (input.as_str(), &text[text.len() - name(path)..])
        })
        .collect()
}

/// An error's text without the folder.
pub(super) fn told(error: &CohortError, folder: &TempDir) -> String {
    error.to_string().replace(folder.path().to_str().unwrap(), "DATA")
}

const VISITS: [&str; 9] = [
    "dataset_description.json",
    "derivatives/other/sub-09/anat/sub-09_T1w.nii.gz",
    "sub-02/anat/sub-02_T1w.nii.gz",
    "sub-02/anat/sub-02_T1w.json",
    "sub-02/anat/.sub-02_FLAIR.nii.gz",
    "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
    "sub-01/ses-1/anat/sub-01_ses-1_acq-BRAVO_ce-gad_T1w.nii.gz",
    "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
    "sub-01/ses-2/func/sub-01_ses-2_task-rest_bold.nii.gz",
];

#[test]
fn a_bids_data_set_gives_a_case_for_each_session() {
    let data = tree(&VISITS);
    let cohort = find(data.path(), &paper()).unwrap();
    assert_eq!(labels(&cohort), ["sub-01_ses-1", "sub-01_ses-2", "sub-02"]);
    assert_eq!(
        files(&cohort.cases[0]),
        [("bravo", "sub-01_ses-1_acq-BRAVO_ce-gad_T1w.nii.gz"), ("t1_pre", "sub-01_ses-1_T1w.nii.gz")]
    );
    assert!(cohort.cases.iter().all(|case| case.problems.is_empty()), "{cohort:?}");
}

#[test]
fn only_the_subjects_and_sessions_that_are_asked_for_are_looked_at() {
    let data = tree(&VISITS);
    // Whoever looks at this one will complain about it.
    std::fs::create_dir(data.path().join("sub-0!")).unwrap();
    let some = |participants: &[&str], sessions: &[&str]| {
        let own = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
        let filters =
            Filters { participants: own(participants), sessions: own(sessions), ..Filters::default() };
        Cohort::find(data.path(), &paper(), &filters, &Site::default())
    };
    let cohort = some(&["sub-01"], &["2"]).unwrap();
    assert_eq!(labels(&cohort), ["sub-01_ses-2"]);
    assert!(cohort.narrowed && cohort.notes.is_empty(), "{:?}", cohort.notes);
    assert_eq!(labels(&some(&["02", "01"], &[]).unwrap()), ["sub-01_ses-1", "sub-01_ses-2", "sub-02"]);
    let error = some(&["01", "sub-022"], &[]).unwrap_err();
    insta::assert_snapshot!(told(&error, &data), @"
    DATA has no subject `sub-022`
    hint: did you mean `sub-02`?
    ");
    let error = some(&[], &["7"]).unwrap_err();
    insta::assert_snapshot!(told(&error, &data), @"
    DATA: no case asked for has the session `ses-7`
    hint: there is `ses-1` and `ses-2`
    ");
}

#[test]
fn several_files_for_one_input_stop_that_case_with_the_candidates() {
    let data = tree(&[
        "sub-01/anat/sub-01_acq-A_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-B_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
    ]);
    let cohort = find(data.path(), &paper()).unwrap();
    insta::assert_snapshot!(cohort.cases[0].problems[0], @r#"
    input `t1_pre`: 2 files match; they differ in `acq`
      anat/sub-01_acq-A_T1w.nii.gz
      anat/sub-01_acq-B_T1w.nii.gz
    hint: narrow its `bids` rule in the workflow (`bids.acq`), or give `--bids-filter FILE`
    "#);
    assert!(cohort.cases[1].problems.is_empty());
}

#[test]
fn pick_chooses_among_runs_by_their_number_and_among_nothing_else() {
    let data = tree(&[
        "sub-01/anat/sub-01_run-10_T1w.nii.gz",
        "sub-01/anat/sub-01_run-2_T1w.nii.gz",
        "sub-02/anat/sub-02_acq-A_T1w.nii.gz",
        "sub-02/anat/sub-02_run-2_T1w.nii.gz",
    ]);
    let mut inputs = paper();
    let hint = find(data.path(), &inputs).unwrap().cases[0].problems[0].hint.clone().unwrap();
    assert!(
        hint.starts_with("take one of the runs with `pick = \"first\"` or `pick = \"last\"`, or narrow"),
        "{hint}"
    );
    for (pick, file) in [(Pick::First, "sub-01_run-2_T1w.nii.gz"), (Pick::Last, "sub-01_run-10_T1w.nii.gz")] {
        inputs[1].pick = pick;
        let cohort = find(data.path(), &inputs).unwrap();
        assert_eq!(files(&cohort.cases[0]), [("t1_pre", file)]);
        let problem = cohort.cases[1].problems[0].to_string();
        assert!(
            problem.contains("differ in `acq` and `run`, and `pick` chooses among runs only"),
            "{problem}"
        );
    }
}

#[test]
fn a_filter_file_replaces_single_entities_and_declares_absence() {
    let data =
        tree(&["sub-01/anat/sub-01_acq-A_T1w.nii.gz", "sub-01/anat/sub-01_acq-B_T1w.nii.gz", "filter.json"]);
    let path = data.path().join("filter.json");
    let filters = Filters { bids_filter: Some(path.clone()), ..Filters::default() };
    let find = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Cohort::find(data.path(), &paper(), &filters, &Site::default())
    };
    let cohort = find(r#"{ "t1_pre": { "acquisition": "B" }, "flair": null }"#).unwrap();
    assert_eq!(files(&cohort.cases[0]), [("t1_pre", "sub-01_acq-B_T1w.nii.gz")]);
    assert!(cohort.declared_absent.contains("flair") && !cohort.sought.contains_key("flair"));
    insta::assert_snapshot!(told(&find(r#"{ "t1_prä": {} }"#).unwrap_err(), &data), @"
    --bids-filter DATA/filter.json: the workflow has no input `t1_prä`
    hint: did you mean `t1_pre`?
    ");
}

#[test]
fn files_that_came_close_are_named_with_what_differs() {
    let data = tree(&[
        "sub-01/anat/sub-01_ce-gd_T1w.nii.gz",
        "sub-01/anat/T1W.nii.gz",
        "sub-01/sub-01_T2FLAIR.nii.gz",
    ]);
    let cohort = find(data.path(), &paper()).unwrap();
    let case = &cohort.cases[0];
    assert!(case.inputs.is_empty());
    let told = |input: &str| case.near_misses[input][0].to_string();
    assert_eq!(told("bravo"), "sub-01_ce-gd_T1w.nii.gz: has no acq-BRAVO");
    assert_eq!(told("t1_pre"), "sub-01_ce-gd_T1w.nii.gz: has ce-gd, but must have no ce-");
    assert_eq!(told("flair"), "sub-01_T2FLAIR.nii.gz: its suffix is T2FLAIR, not FLAIR, lies beside `anat/`");
    assert!(case.near_misses["t1_pre"][1].to_string().starts_with("T1W.nii.gz: its suffix is T1W, not T1w"));
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_a_problem_unless_the_input_may_be_unreadable() {
    let data = tree(&["sub-01/anat/"]);
    let link = data.path().join("sub-01/anat/sub-01_T1w.nii.gz");
    std::os::unix::fs::symlink("../../.git/annex/objects/x", link).unwrap();
    let mut inputs = paper();
    let case = find(data.path(), &inputs).unwrap().cases.remove(0);
    assert!(case.problems[0].to_string().contains("is a symbolic link that leads nowhere\nhint: fetch"));
    inputs[1].on_error = OnError::Absent;
    let case = find(data.path(), &inputs).unwrap().cases.remove(0);
    assert!(case.problems.is_empty() && case.inputs.is_empty());
    assert_eq!(case.near_misses["t1_pre"][0].differs, ["is a symbolic link that leads nowhere"]);
}

#[test]
fn a_subject_without_images_and_a_folder_without_a_layout_are_told_clearly() {
    let data = tree(&["sub-01/anat/sub-01_T1w.nii.gz", "sub-02/func/x_bold.nii", "sub-a_b/anat/x.nii"]);
    let cohort = find(data.path(), &paper()).unwrap();
    assert_eq!(labels(&cohort), ["sub-01", "sub-02"]);
    let problem = cohort.cases[1].problems[0].to_string();
    assert!(problem.contains("no file to choose from") && problem.contains("holds func"), "{problem}");
    assert_eq!(cohort.notes, ["folder `sub-a_b` is left out: labels have letters and digits only"]);

    let odd = tree(&["b.txt", "a/"]);
    insta::assert_snapshot!(told(&find(odd.path(), &paper()).unwrap_err(), &odd), @r#"
    DATA: this is no cohort that Neuroloom knows: it holds `a` and `b.txt`
    hint: name a BIDS data set (folders `sub-01`), a table `cases.tsv` with a column `participant_id` and a column for each input, or describe the folders in the site file: `[layouts.ours]` with `files = "{subject}/{input}.nii.gz"`
    "#);
    let nowhere = odd.path().join("aa");
    insta::assert_snapshot!(told(&find(&nowhere, &paper()).unwrap_err(), &odd), @"
    DATA/aa: no such folder or table
    hint: did you mean `a`?
    ");
}

#[test]
fn a_workflow_that_reads_no_files_needs_none() {
    let data = tree(&["sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/"]);
    let cohort = find(data.path(), &[spec("seed", Kind::Number, &json!({}))]).unwrap();
    assert!(
        cohort.cases.len() == 2 && cohort.cases.iter().all(|case| case.problems.is_empty()),
        "{cohort:?}"
    );
}

#[test]
fn an_input_without_a_rule_says_where_to_write_one() {
    let data = tree(&["sub-01/anat/sub-01_T1w.nii.gz"]);
    let error = find(data.path(), &[spec("head", Kind::Image, &json!({}))]).unwrap_err();
    insta::assert_snapshot!(told(&error, &data), @r#"
    nothing says which files are the input `head`
    hint: say it in the workflow, `[inputs] head = { type = …, bids = { suffix = "T1w" } }`, in a `--bids-filter` file, `{"head": {"suffix": "T1w"}}`, or name a table with a column `head`
    "#);
}

#[test]
fn sessions_have_their_dates_and_subjects_what_the_table_of_participants_says() {
    let data = tree(&VISITS);
    let write = |name: &str, text: &str| std::fs::write(data.path().join(name), text).unwrap();
    write("sub-01/sub-01_sessions.tsv", "session_id\tacq_time\nses-1\t2021-02-03\nses-2\t2020-01-01\n");
    write("participants.tsv", "participant_id\tage\tsite\nsub-01\t61\tn/a\nsub-02\tn/a\tb\n");
    let mut inputs = paper();
    inputs.push(spec("age", Kind::Number, &json!({})));
    let cohort = find(data.path(), &inputs).unwrap();
    let order: Vec<String> = cohort.by_subject()["01"].iter().map(|case| case.label.to_string()).collect();
    assert_eq!(order, ["sub-01_ses-2", "sub-01_ses-1"]);
    assert_eq!(cohort.cases[0].inputs["age"], super::Given::Number(61.0));
    assert_eq!(cohort.cases[2].columns["site"], "b");
    assert!(!cohort.cases[2].inputs.contains_key("age"));
}

/// Sites without a `ce-` entity know contrast from the sidecar.
#[test]
fn sidecars_tell_files_apart_and_nearer_ones_win() {
    let data = tree(&[
        "sub-01/anat/sub-01_run-1_T1w.nii.gz",
        "sub-01/anat/sub-01_run-2_T1w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz",
        "sub-03/anat/sub-03_T1w.nii.gz",
    ]);
    let write = |name: &str, text: &str| std::fs::write(data.path().join(name), text).unwrap();
    write("T1w.json", r#"{ "ContrastBolusIngredient": "none", "MagneticFieldStrength": 3.0 }"#);
    write("sub-01/anat/sub-01_T1w.json", r#"{ "ContrastBolusIngredient": "GADOLINIUM" }"#);
    write("sub-01/anat/sub-01_run-1_T1w.json", r#"{ "ContrastBolusIngredient": "n/a" }"#);
    write("sub-02/sub-02_T1w.json", r#"{ "ContrastBolusIngredient": ["x", "GADOLINIUM"] }"#);
    let rule =
        json!({ "suffix": "T1w", "ContrastBolusIngredient": "GADOLINIUM", "MagneticFieldStrength": 3 });
    let inputs = [spec("t1gd", Kind::Image, &rule)];
    let cohort = find(data.path(), &inputs).unwrap();
    assert_eq!(cohort.sought["t1gd"], "ContrastBolusIngredient GADOLINIUM, MagneticFieldStrength 3, T1w");
    assert_eq!(files(&cohort.cases[0]), [("t1gd", "sub-01_run-2_T1w.nii.gz")]);
    assert_eq!(files(&cohort.cases[1]), [("t1gd", "sub-02_ses-a_T1w.nii.gz")]);
    assert_eq!(
        cohort.cases[2].near_misses["t1gd"][0].to_string(),
        "sub-03_T1w.nii.gz: its sidecar says ContrastBolusIngredient \"none\", not GADOLINIUM"
    );
    let any = [spec("t1gd", Kind::Image, &json!({ "suffix": "T1w", "ContrastBolusIngredient": false }))];
    assert_eq!(files(&find(data.path(), &any).unwrap().cases[0]), [("t1gd", "sub-01_run-1_T1w.nii.gz")]);
    write("sub-03/anat/sub-03_T1w.json", "{");
    let problem = find(data.path(), &inputs).unwrap().cases[2].problems[0].to_string();
    assert!(problem.contains("sub-03_T1w.json: EOF while parsing"), "{problem}");
}

fn table(text: &str) -> (TempDir, Result<Cohort, CohortError>) {
    let data = tree(&["t1/a.nii.gz", "t1/b.nii.gz", "flair/a.nii.gz"]);
    std::fs::write(data.path().join("cases.tsv"), text).unwrap();
    let mut inputs = paper();
    inputs.push(spec("seed", Kind::Number, &json!({})));
    let cohort = find(data.path(), &inputs);
    (data, cohort)
}

#[test]
fn a_table_names_files_values_and_labels() {
    let text = "participant_id\tsession\tt1_pre\tflair\tseed\tsplit\n\
                sub-01\t1\tt1/a.nii.gz\tflair/a.nii.gz\t7\tdev\n\
                02\tn/a\tt1/b.nii.gz\tn/a\t\ttest\n";
    let (_data, cohort) = table(text);
    let cohort = cohort.unwrap();
    assert_eq!(labels(&cohort), ["sub-01_ses-1", "sub-02"]);
    assert_eq!(cohort.cases[0].inputs["seed"], super::Given::Number(7.0));
    assert_eq!(files(&cohort.cases[1]), [("t1_pre", "b.nii.gz")]);
    assert_eq!(cohort.cases[1].columns["split"], "test");
}

#[test]
fn a_file_that_is_named_but_missing_is_no_absence() {
    let (data, cohort) = table("case\tt1_pre\tseed\nsub-01\tt1/aa.nii.gz\tseven\n");
    let problems = cohort.unwrap().cases.remove(0).problems;
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let text = text.join("\n").replace(data.path().to_str().unwrap(), "DATA");
    insta::assert_snapshot!(text, @"
    input `seed`: line 2: `seven` is no number
    hint: write it as in `1` or `0.5`
    input `t1_pre`: line 2: `DATA/t1/aa.nii.gz` (image): there is no such file
    hint: did you mean `DATA/t1/a.nii.gz`?
    ");
}

#[test]
fn a_table_that_cannot_be_used_says_where_and_why() {
    let texts = [
        "case,t1_pre\n1,a\n",
        "t1_pre\tpartcipant_id\nx\t1\n",
        "case\tt1_pre\n1\n",
        "case\tt1_pre\tt1_pre\n1\ta\tb\n",
        "case\tt1_pre\n../x\tn/a\n",
        "case\tt1_pre\n",
        "",
    ];
    let told: Vec<String> = texts
        .iter()
        .map(|text| {
            let (data, cohort) = table(text);
            told(&cohort.unwrap_err(), &data)
        })
        .collect();
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn two_rows_of_one_case_stop_that_case_alone() {
    let (data, cohort) =
        table("case\tt1_pre\tsplit\n1\tt1/a.nii.gz\tdev\n2\tt1/b.nii.gz\t\n1\tt1/b.nii.gz\ttest\n");
    let cohort = cohort.unwrap();
    assert_eq!(labels(&cohort), ["sub-1", "sub-2"]);
    assert!(cohort.cases[0].inputs.is_empty() && cohort.cases[1].problems.is_empty());
    let text = cohort.cases[0].problems[0].to_string().replace(data.path().to_str().unwrap(), "DATA");
    insta::assert_snapshot!(text, @"
    DATA/cases.tsv: line 2 and line 4 are of this one case
    hint: a case has one row; tell visits apart in a column `session`
    ");
}

#[test]
fn a_csv_is_refused_with_the_way_out() {
    let data = tree(&["cases.csv"]);
    let error = find(&data.path().join("cases.csv"), &paper()).unwrap_err();
    insta::assert_snapshot!(told(&error, &data), @"
    DATA/cases.csv: this is no table that Neuroloom reads
    hint: commas stand in paths and numbers, too: save it as `cases.tsv`, with tabs between the columns
    ");
}
