//! What is told of a run: a crate that the tools of its authors accept, and a paragraph in which every number is right.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::cohort::{SmallCohort, ends, labels};
use neuroloom_tests::scene::{ALL, MAIN, main_workflow, scratch};
use neuroloom_tests::{finish, neuroloom, root, skipped};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python with `roc-validator` and `runcrate`: named by `NEUROLOOM_PYTHON`, or made by `scripts/crate_tools.sh` and used again.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("NEUROLOOM_PYTHON").map(PathBuf::from);
    let made = root().join("target/crate-venv/bin/python");
    let has = |python: &PathBuf| {
        let looked = Command::new(python).args(["-c", "import rocrate_validator, runcrate"]).output();
        looked.is_ok_and(|looked| looked.status.success())
    };
    let found = named.into_iter().chain([made.clone()]).find(has);
    if found.is_some() {
        return found;
    }
    let making = finish(Command::new("sh").arg(root().join("scripts/crate_tools.sh")));
    if making.code == Some(0) && has(&made) {
        return Some(made);
    }
    skipped(&format!(
        "no Python with roc-validator and runcrate can be made: {}{}",
        making.stdout, making.stderr
    ));
    None
}

/// A cohort of which one case fails, run.
fn ran(name: &str) -> (SmallCohort, PathBuf) {
    let cohort = SmallCohort::new(name, 3);
    std::fs::write(cohort.image("sub-02"), "no image").unwrap();
    let out = cohort.path("out");
    let run = finish(&mut cohort.batch(&out));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    (cohort, out)
}

#[test]
fn the_crate_is_valid_and_tells_no_path() {
    let (cohort, out) = ran("crate");
    let place = cohort.path("crate");
    let made = finish(neuroloom().arg("provenance").arg(&out).arg("--crate").arg(&place));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let text = std::fs::read_to_string(place.join("ro-crate-metadata.json")).unwrap();
    let folder = cohort.path("");
    assert!(!text.contains(folder.to_str().unwrap().trim_end_matches('/')), "a path is told");
    let graph: Json = serde_json::from_str(&text).unwrap();
    let entities = graph["@graph"].as_array().unwrap();
    let status = |id: &str| {
        let entity = entities.iter().find(|entity| entity["@id"] == id).unwrap();
        entity["actionStatus"]["@id"].as_str().unwrap().to_owned()
    };
    assert!(status("#sub-01").ends_with("CompletedActionStatus"));
    assert!(status("#sub-02").ends_with("FailedActionStatus"));
    let ids: BTreeSet<&str> = entities.iter().filter_map(|entity| entity["@id"].as_str()).collect();
    assert_eq!(ids.len(), entities.len(), "each entity is told once");
    let mask = "sub-01/anat/sub-01_desc-bright_mask.nii.gz";
    assert!(ids.contains(mask) && place.join(mask).is_file(), "{ids:?}");
    validate(&place, "sub-01");
}

fn validate(place: &Path, label: &str) {
    let Some(python) = python() else { return };
    let judged = finish(Command::new(python).arg(root().join("scripts/validate_crate.py")).arg(place));
    assert_eq!(judged.code, Some(0), "{}{}", judged.stdout, judged.stderr);
    assert!(judged.stdout.contains(&format!("action: #{label}\n")), "{}", judged.stdout);
}

#[test]
fn every_number_of_the_paragraph_is_counted_from_the_records() {
    let (_cohort, out) = ran("methods");
    let ask = |format: &str| {
        let answer = finish(neuroloom().arg("methods").arg(&out).args(["--format", format]));
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        answer.stdout
    };
    let told: Json = serde_json::from_str(&ask("json")).unwrap();
    let labels = labels(&out);
    let last: Vec<Json> = labels.iter().map(|label| ends(&out, label).pop().unwrap()).collect();
    let count = |is: &dyn Fn(&Json) -> bool| last.iter().filter(|end| is(end)).count();
    let numbers = &told["numbers"][0];
    assert_eq!(numbers["cases"], labels.len());
    assert_eq!(numbers["done"], count(&|end| end["ending"] == "ok"));
    assert_eq!(numbers["failed"], count(&|end| end["ending"] == "failed"));
    for (stage, ran) in numbers["stages"].as_object().unwrap() {
        let ran_in = |end: &Json| {
            end["stages"]
                .as_array()
                .unwrap()
                .iter()
                .any(|entry| entry["stage"] == stage.as_str() && entry["state"] == "ran")
        };
        assert_eq!(ran, count(&ran_in), "{stage}");
    }
    let paragraph = told["paragraph"].as_str().unwrap();
    assert!(
        paragraph.contains("Of 3 cases of 3 subjects, 2 were processed to the end and 1 failed (sub-02)."),
        "{paragraph}"
    );
    assert!(paragraph.contains("bright (operator threshold, above 50.0, in 2 of 3 cases)"), "{paragraph}");
    assert!(ask("text").contains(paragraph) && ask("bibtex").starts_with("@misc{neuroloom1,"));
    let nothing = finish(neuroloom().args(["methods", "docs"]));
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.stderr.contains("docs holds no records of runs"), "{}", nothing.stderr);
}

/// What a command says in JSON.
fn said(arguments: &[&str]) -> Json {
    let answer = finish(neuroloom().args(arguments).args(["--format", "json"]));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    serde_json::from_str(&answer.stdout).unwrap()
}

/// Takes a fact out of a paragraph in which it stands once.
fn take(text: &mut String, fact: &str) {
    assert_eq!(text.matches(fact).count(), 1, "`{fact}` in {text}");
    *text = text.replacen(fact, "", 1);
}

/// Takes out what is said of the stages, in the order in which they ran, each cited as its plugin says, and of the plugins.
fn take_stages_and_plugins(text: &mut String, end: &Json, references: &[&str]) {
    let plugins = said(&["plugins", "list"]);
    let plugins = plugins["plugins"].as_array().unwrap();
    let mut at = 0;
    let mut stages = BTreeSet::new();
    let mut used = BTreeSet::new();
    for entry in end["stages"].as_array().unwrap().iter().filter(|entry| entry["state"] == "ran") {
        let (stage, operator) = (entry["stage"].as_str().unwrap(), entry["operator"].as_str().unwrap());
        if !stages.insert(stage.to_owned()) {
            continue;
        }
        let has = |plugin: &&Json| {
            plugin["operators"].as_array().unwrap().iter().any(|known| known["name"] == operator)
        };
        let plugin = plugins.iter().find(has).unwrap();
        used.insert((plugin["name"].as_str().unwrap(), plugin["version"].as_str().unwrap()));
        let settings = match stage {
            "reference" => ", matrix 32, slices axial",
            "segment" => ", models [\"phantom-demo.safetensors\"]",
            _ => "",
        };
        let described =
            plugin["operators"].as_array().unwrap().iter().find(|known| known["name"] == operator);
        let citation = described.unwrap()["citation"].as_str().unwrap_or_default().trim_end_matches('.');
        let cited = references.iter().position(|reference| *reference == citation);
        assert_eq!(cited.is_none(), citation.is_empty(), "{stage}: {citation}");
        let cited = cited.map(|index| format!(" [{}]", index + 1)).unwrap_or_default();
        let fact = format!("{stage} (operator {operator}{settings}){cited}");
        let place = text.find(&fact).unwrap_or_else(|| panic!("`{fact}` in {text}"));
        assert!(place >= at, "{stage} is told before its turn");
        at = place;
        take(text, &fact);
    }
    for (name, version) in used {
        take(text, &format!("{name} {version}"));
    }
}

/// The main workflow on the phantom, as in the demo. Each fact comes from elsewhere: versions from the plugins, settings from the
/// workflow's file and the command line, stages and counts from the record; no number is left over.
#[test]
fn no_number_of_the_demos_paragraph_is_without_its_source() {
    let out = scratch().join("demo");
    let run = finish(&mut main_workflow(&ALL, &out));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let out_name = out.to_str().unwrap();
    let told = said(&["methods", out_name]);
    let mut text = told["paragraph"].as_str().unwrap().to_owned();
    let references: Vec<&str> =
        told["references"].as_array().unwrap().iter().filter_map(Json::as_str).collect();

    take(&mut text, &format!("processed with Neuroloom {} [1]", env!("CARGO_PKG_VERSION")));
    assert!(references[0].contains(&format!("version {}.", env!("CARGO_PKG_VERSION"))), "{}", references[0]);
    let workflow = std::fs::read_to_string(root().join(MAIN)).unwrap();
    let version = workflow.lines().find_map(|line| line.strip_prefix("version = ")).unwrap().replace('"', "");
    let description = std::fs::read_to_string(out.join("dataset_description.json")).unwrap();
    let digest = description.split_once(&format!("brain-metastases {version} (")).unwrap().1;
    take(&mut text, &format!("workflow brain-metastases version {version} (digest {})", &digest[..16]));
    take(&mut text, "Of 1 case of 1 subject, 1 was processed to the end and none failed.");

    take_stages_and_plugins(&mut text, &ends(&out, "sub-demo").pop().unwrap(), &references);
    assert!(!text.contains(|letter: char| letter.is_ascii_digit()), "{text}");
    let cited: BTreeSet<&&str> = references.iter().collect();
    assert_eq!(cited.len(), references.len(), "each work is cited once: {references:?}");

    let place = scratch().join("demo-crate");
    let made = finish(neuroloom().arg("provenance").arg(&out).arg("--crate").arg(&place));
    assert_eq!((made.code, made.stderr.contains("warning")), (Some(0), false), "{}", made.stderr);
    validate(&place, "sub-demo");
}
