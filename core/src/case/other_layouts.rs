//! Cohorts on disk that are no BIDS data sets.

use super::cohort::tests::spec;
use super::on_disk::{files, find, labels, paper, told, tree};
use super::{Cohort, CohortError, CohortKind, Filters, Given};
use crate::site::Site;
use sdk::Kind;
use serde_json::json;
use std::path::Path;

fn with_site(root: &Path, site: &str) -> Result<Cohort, CohortError> {
    let site: Site = toml::from_str(site).unwrap();
    Cohort::find(root, &paper(), &Filters::default(), &site)
}

#[test]
fn a_manifest_gives_cases_with_the_list_they_stand_in() {
    let data = tree(&["a/truth.nii.gz", "a/score.nii.gz", "b/truth.nii.gz"]);
    let path = data.path().join("manifest.json");
    let inputs = [spec("truth", Kind::Mask, &json!({})), spec("prob", Kind::Probability, &json!({}))];
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write(
        r#"{ "dev": [{ "id": "a", "truth": "a/truth.nii.gz", "prob": "a/score.nii.gz" }],
             "test": [{ "id": "b", "truth": "b/truth.nii.gz", "prob": null, "age": 61 }],
             "options": { "connectivity": 26 } }"#,
    );
    let cohort = find(&path, &inputs).unwrap();
    assert_eq!((cohort.kind, labels(&cohort)), (CohortKind::Manifest, vec!["sub-a".into(), "sub-b".into()]));
    assert_eq!(files(&cohort.cases[0]), [("prob", "score.nii.gz"), ("truth", "truth.nii.gz")]);
    assert_eq!(cohort.cases[0].columns["split"], "dev");
    assert_eq!(cohort.cases[1].columns["age"], "61");
    assert_eq!(files(&cohort.cases[1]), [("truth", "truth.nii.gz")]);
    assert_eq!(
        cohort.notes,
        [format!("`options` of {} is a label: the workflow has no such input", path.display())]
    );
    assert_eq!(cohort.cases[0].columns["options"], r#"{"connectivity":26}"#);

    let mut errors = Vec::new();
    for text in ["{", "3", r#"{ "dev": [{ "truth": "x" }] }"#, r#"[{ "id": "a", "truth": ["x"] }]"#] {
        write(text);
        errors.push(told(&find(&path, &inputs).unwrap_err(), &data));
    }
    insta::assert_snapshot!(errors.join("\n\n"));
}

#[test]
fn what_stands_beside_a_manifest_s_lists_is_said_of_every_case() {
    let data = tree(&["a.nii.gz"]);
    let path = data.path().join("manifest.json");
    std::fs::write(
        &path,
        r#"{ "dev": [{ "id": "case_01", "truth": "a.nii.gz" }], "test": [{ "id": "02", "truth": "a.nii.gz", "reader": "B" }],
             "options": { "criterion": "youden" }, "reader": "A", "nothing": null }"#,
    )
    .unwrap();
    let inputs = [spec("truth", Kind::Mask, &json!({})), spec("options", Kind::Text, &json!({}))];
    let cohort = find(&path, &inputs).unwrap();
    assert_eq!(labels(&cohort), ["sub-02", "sub-case01"]);
    let options = Given::Text(r#"{"criterion":"youden"}"#.to_owned());
    assert!(cohort.cases.iter().all(|case| case.inputs["options"] == options));
    assert_eq!([&cohort.cases[0].columns["reader"], &cohort.cases[1].columns["reader"]], ["B", "A"]);
    assert_eq!(cohort.cases[1].columns["id"], "case_01");
    let labels = ["`nothing`", "`reader`"]
        .map(|name| format!("{name} of {} is a label: the workflow has no such input", path.display()));
    assert_eq!(cohort.notes, labels);
}

const BRATS: [&str; 5] = [
    "BraTS-MET-00001-000/BraTS-MET-00001-000-t1c.nii.gz",
    "BraTS-MET-00001-000/BraTS-MET-00001-000-t1n.nii.gz",
    "BraTS-MET-00001-000/BraTS-MET-00001-000-t2f.nii.gz",
    "BraTS-MET-00001-001/BraTS-MET-00001-001-t1n.nii.gz",
    "BraTS-MET-00001-001/BraTS-MET-00001-001-t1c.nii",
];

#[test]
fn brats_files_that_do_not_say_what_they_are_must_be_named_in_the_site_file() {
    let data = tree(&BRATS);
    let error = with_site(data.path(), "").unwrap_err();
    insta::assert_snapshot!(told(&error, &data));

    let cohort = with_site(data.path(), "[layouts.brats-mets]\ninputs.bravo = \"t1c\"").unwrap();
    assert_eq!(
        (cohort.kind, labels(&cohort).join(" ")),
        (CohortKind::BratsMets, "sub-00001_ses-000 sub-00001_ses-001".into())
    );
    assert_eq!(
        files(&cohort.cases[0]),
        [
            ("bravo", "BraTS-MET-00001-000-t1c.nii.gz"),
            ("flair", "BraTS-MET-00001-000-t2f.nii.gz"),
            ("t1_pre", "BraTS-MET-00001-000-t1n.nii.gz")
        ]
    );
    assert_eq!(
        cohort.cases[1].near_misses["bravo"][0].to_string(),
        "BraTS-MET-00001-001-t1c.nii: is not called `BraTS-MET-00001-001-t1c.nii.gz`"
    );
}

#[test]
fn slices_need_what_they_do_not_say_and_it_is_recorded_as_assumed() {
    let data = tree(&[
        "Mets_001/0/0.png",
        "Mets_001/0/1.png",
        "Mets_001/1/0.png",
        "Mets_001/3/0.png",
        "Mets_002/1/0.png",
    ]);
    let error = with_site(data.path(), "").unwrap_err();
    insta::assert_snapshot!(told(&error, &data));

    let site = "[layouts.brain-met-share]\nspacing_mm = [0.94, 0.94, 1.0]\norientation = \"LPS\"";
    let cohort = with_site(data.path(), site).unwrap();
    assert_eq!(
        (cohort.kind, labels(&cohort).join(" ")),
        (CohortKind::BrainMetShare, "sub-001 sub-002".into())
    );
    let Given::Slices(slices) = &cohort.cases[0].inputs["bravo"] else { panic!("no slices") };
    assert_eq!(slices.folder, data.path().join("Mets_001/0"));
    assert_eq!(
        cohort.cases[0].assumed["bravo"],
        json!({ "spacing_mm": [0.94, 0.94, 1.0], "orientation": "LPS" })
    );
    assert_eq!(cohort.cases[1].inputs.keys().collect::<Vec<_>>(), ["t1_pre"]);
}

#[test]
fn a_site_describes_its_folders_by_a_pattern() {
    let data = tree(&[
        "patient_7/day1/t1gd.nii.gz",
        "patient_7/day1/t1.nii.gz",
        "patient_7/day2/t1.nii.gz",
        "patient_7/day2/flare.nii.gz",
        "other/readme.txt",
    ]);
    let site = "[layouts.ours]\nfiles = \"patient_{subject}/{session}/{input}.nii.gz\"\n\
                inputs = { bravo = \"t1gd\", t1_pre = \"t1\" }";
    let cohort = with_site(data.path(), site).unwrap();
    assert_eq!(labels(&cohort), ["sub-7_ses-day1", "sub-7_ses-day2"]);
    assert_eq!(files(&cohort.cases[0]), [("bravo", "t1gd.nii.gz"), ("t1_pre", "t1.nii.gz")]);
    assert_eq!(
        cohort.cases[1].near_misses["flair"][0].to_string(),
        "flare.nii.gz: is not called `flair.nii.gz`"
    );
    let none = format!(
        "{}\ninputs.flair = false",
        site.replace(
            "inputs = { bravo = \"t1gd\", t1_pre = \"t1\" }",
            "inputs.bravo = \"t1gd\"\ninputs.t1_pre = \"t1\""
        )
    );
    assert!(with_site(data.path(), &none).unwrap().declared_absent.contains("flair"));
}

#[test]
fn a_layout_that_cannot_be_used_says_why() {
    let data = tree(&["1/a.nii.gz", "1/bravo.nii.gz"]);
    let sites = [
        "[layouts.brats-met]",
        "[layouts.ours]\nfiles = \"{subject}/a.nii.gz\"",
        "[layouts.a]\nfiles = \"{subject}/{input}.nii.gz\"\n[layouts.b]\nfiles = \"{subject}/{input}.nii*\"",
    ];
    let told: Vec<String> =
        sites.iter().map(|site| told(&with_site(data.path(), site).unwrap_err(), &data)).collect();
    insta::assert_snapshot!(told.join("\n\n"));
    assert!(toml::from_str::<Site>("[layouts.a]\ninputs.x = true").is_err());
    assert!(toml::from_str::<Site>("[layouts.a]\norientation = \"XYZ\"").is_err());
}
