//! A reader answers on the page of a case, in a browser without a network, and the answer comes back as labels, measures and a
//! page; what the model made stays as it is.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use neuroloom_tests::browser::Browser;
use neuroloom_tests::scene::{ALL, MAIN, names, scratch, sequence, tree, with_candidates};
use neuroloom_tests::{Finished, finish, neuroloom};
use sdk::Kind;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a reader may type, and nobody may run.
const HOSTILE: &str = "\"quoted\" </script><script>alert(1)</script> ../../etc Ångström 🧠";

/// The main workflow on the phantom, coarse; what it computes is kept for the tests that come after.
fn run_case(name: &str) -> PathBuf {
    let out = scratch().join(name);
    let mut command = neuroloom();
    command.args(["run", MAIN, "--set", "reference.settings.matrix=32", "--out"]).arg(&out);
    for input in ALL {
        command.arg("--input").arg(format!("{input}={}", sequence(input).display()));
    }
    fine(&finish(with_candidates(&mut command)));
    out
}

fn fine(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

fn review(out: &Path, files: &[&Path]) -> Command {
    let mut command = neuroloom();
    command.arg("review").arg(out).args(files);
    command
}

fn form(out: &Path) -> (Value, String) {
    let bytes = std::fs::read(out.join("sub-demo/sub-demo_desc-form_review.json")).unwrap();
    let page = std::fs::read_to_string(out.join("sub-demo/sub-demo_report.html")).unwrap();
    let head = page.split("id=\"review-head\">").nth(1).unwrap().split("</script>").next().unwrap();
    let head: Value = serde_json::from_str(head).unwrap();
    (serde_json::from_slice(&bytes).unwrap(), head["reviewed"].as_str().unwrap().to_owned())
}

/// The first candidate of a class.
fn first(form: &Value, class: &str) -> u64 {
    let all = form["candidates"].as_array().unwrap();
    let found = all.iter().find(|candidate| candidate["model"] == class);
    found.unwrap_or_else(|| panic!("no {class} candidate in {form}"))["candidate"].as_u64().unwrap()
}

/// A review of the case as the page saves it.
fn written(out: &Path, reader: &str, signed: &str, verdict: (&str, &str)) -> Value {
    let (form, digest) = form(out);
    let (model, given) = verdict;
    json!({
        "format": "neuroloom-review", "version": 1, "case": "sub-demo", "reviewed": digest, "reader": reader,
        "signed": signed, "decisions": [{ "candidate": first(&form, model), "model": model, "reader": given,
                                          "comment": "", "by": reader, "at": signed }],
    })
}

fn save(name: &str, review: &Value) -> PathBuf {
    let path = scratch().join(name);
    std::fs::write(&path, review.to_string()).unwrap();
    path
}

fn reviewed(out: &Path) -> PathBuf {
    out.join("derivatives/reviewed/sub-demo")
}

/// The numbers in a label volume of the reviewed case.
fn labels(out: &Path, entities: &str) -> BTreeSet<u64> {
    let path = reviewed(out).join(format!("anat/sub-demo_space-orig_desc-{entities}_dseg.nii.gz"));
    let volume = sdk::nifti::read(path, Kind::Labels).unwrap().volume;
    let sdk::AnyVolume::Labels(labels) = volume else { panic!("labels were asked for") };
    labels.voxels().iter().filter(|number| **number > 0).map(|number| u64::from(*number)).collect()
}

/// The files of the model, without those of readers.
fn model_files(out: &Path) -> Vec<(String, Vec<u8>)> {
    tree(out).into_iter().filter(|(name, _)| !name.starts_with("derivatives/")).collect()
}

/// Decides with buttons and keys: rejects the first accepted candidate with a comment, accepts the first rejected one.
fn decide(browser: &mut Browser, accepted: u64, rejected: u64) {
    let row = format!("document.querySelector('tr[data-lesion=\"{accepted}\"]')");
    browser.value(&format!("{row}.querySelector('.verdict-button[data-verdict=rejected]').click()"));
    browser.value(&format!(
        "(() => {{ const box = {row}.querySelector('.comment textarea'); box.value = {};
            box.dispatchEvent(new Event('change')); }})()",
        json!(HOSTILE)
    ));
    browser.value(&format!("Viewer.jump({rejected})"));
    browser.settle();
    browser.press("y");
    browser.press("y");
    let taken_back = browser.value(&format!("Review.decisions().has({rejected})"));
    assert_eq!(taken_back, false, "the same key once more takes it back");
    browser.press("x");
    browser.press("y");
    let bar = browser.value("({...document.getElementById('review').dataset})");
    assert_eq!(bar, json!({ "decided": "2", "changed": "2", "saved": "false" }));
    let state = browser.value("document.getElementById('review-state').textContent");
    assert!(state.as_str().unwrap().contains("not saved to a file yet"), "{state}");
}

#[test]
fn what_a_reader_decides_on_the_page_comes_back_as_a_result() {
    let out = run_case("driven");
    let (form, digest) = form(&out);
    let (accepted, rejected) = (first(&form, "accepted"), first(&form, "rejected"));
    let before = model_files(&out);
    let Some(mut browser) = Browser::start("reader") else { return };
    let page = out.join("sub-demo/sub-demo_report.html");
    browser.look(1280, "light");
    browser.open(&page);
    decide(&mut browser, accepted, rejected);
    browser.open(&page);
    assert_eq!(browser.value("document.getElementById('review').dataset.decided"), "2", "a reload keeps it");
    browser.value("document.getElementById('review-save').click()");
    let said = browser.value("document.getElementById('review-said').textContent");
    assert_eq!(said, "Sign with your initials first.");
    browser.press("Å");
    browser.press("B");
    browser.save(scratch(), "document.getElementById('review-save').click()");
    let file = scratch().join("sub-demo_review.json");
    let saved: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&saved["reviewed"], &saved["reader"]), (&json!(digest), &json!("ÅB")));
    assert_eq!(saved["decisions"].as_array().unwrap().len(), 2);
    assert_eq!(browser.value("document.getElementById('review').dataset.saved"), "true");

    let made = finish(&mut review(&out, &[&file]));
    fine(&made);
    assert_eq!(model_files(&out), before, "what the model made is as it was");
    the_result_holds(&out, &saved, accepted, rejected);
    the_page_goes_on(&mut browser, &out, accepted);
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    assert!(browser.requests.is_empty(), "{:?}", browser.requests);
}

/// Labels, sidecar, tables: what was decided is in all of them.
fn the_result_holds(out: &Path, saved: &Value, accepted: u64, rejected: u64) {
    let (now, rejects) = (labels(out, "reviewed"), labels(out, "reviewedrejected"));
    assert!(now.contains(&rejected) && !now.contains(&accepted), "{now:?}");
    assert!(rejects.contains(&accepted) && !rejects.contains(&rejected), "{rejects:?}");
    let sidecar = reviewed(out).join("anat/sub-demo_space-orig_desc-reviewed_dseg.json");
    let sidecar: Value = serde_json::from_slice(&std::fs::read(sidecar).unwrap()).unwrap();
    let told = json!([{ "reader": "ÅB", "signed": saved["signed"], "decisions": 2, "changes": 2 }]);
    assert_eq!(sidecar["Reviews"], told);
    let table = reviewed(out).join("anat/sub-demo_desc-reviewedcandidates_lesions.tsv");
    assert!(std::fs::read_to_string(table).unwrap().contains(HOSTILE));
    let measures = reviewed(out).join("anat/sub-demo_desc-reviewed_lesions.tsv");
    assert_eq!(std::fs::read_to_string(measures).unwrap().lines().count(), 1 + now.len());
}

/// The page after review shows who decided what, and its reader can go on.
fn the_page_goes_on(browser: &mut Browser, out: &Path, accepted: u64) {
    let page = reviewed(out).join("sub-demo_desc-reviewed_report.html");
    assert!(
        !std::fs::read_to_string(&page).unwrap().contains("</script><script>alert"),
        "the comment is text"
    );
    browser.open(&page);
    let shown = browser.value("document.querySelector('.reviewed').innerText");
    assert!(shown.as_str().unwrap().starts_with("Reviewed by ÅB on "), "{shown}");
    assert_eq!(
        browser.value("document.getElementById('review').dataset.decided"),
        "2",
        "it goes on from there"
    );
    let comment = format!("document.querySelector('tr[data-lesion=\"{accepted}\"] .comment textarea').value");
    assert_eq!(browser.value(&comment), HOSTILE);
    assert_eq!(browser.value("document.getElementById('review').dataset.saved"), "true");
}

#[test]
fn an_earlier_review_can_be_loaded_and_one_of_something_else_cannot() {
    let out = run_case("loaded");
    let Some(mut browser) = Browser::start("loader") else { return };
    browser.look(400, "dark");
    browser.open(&out.join("sub-demo/sub-demo_report.html"));
    let good = written(&out, "CD", "2026-05-01T08:00:00Z", ("accepted", "rejected"));
    let with = |key: &str, value: Value| {
        let mut other = good.clone();
        other[key] = value;
        other
    };
    for (other, words) in [
        (with("case", json!("sub-02")), "is of sub-02, not of sub-demo"),
        (with("reviewed", json!("0")), "another result of this case"),
        (with("version", json!(2)), "version 2"),
        (with("decisions", json!([{ "candidate": 1_000_000 }])), "damaged"),
        (json!([1]), "no review"),
    ] {
        let said = browser.value(&format!(
            "(Review.load({}), document.getElementById('review-said').textContent)",
            json!(other.to_string())
        ));
        assert!(said.as_str().unwrap().contains(words), "{said}");
        assert_eq!(browser.value("Review.decisions().size"), 0);
    }
    browser.choose_file("review-file", &save("earlier.json", &good));
    browser.value(
        "new Promise((done) => { const wait = () => Review.decisions().size ? done(1) : setTimeout(wait, 10); wait(); })",
    );
    let said = browser.value("document.querySelector('tr.decided .said').textContent");
    assert_eq!(said, "rejected, CD");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn the_same_review_changes_nothing_and_a_second_reader_is_kept_beside_the_first() {
    let out = run_case("readers");
    let first_reader =
        save("first.json", &written(&out, "AB", "2026-05-01T08:00:00Z", ("accepted", "rejected")));
    fine(&finish(&mut review(&out, &[&first_reader])));
    let before = tree(&out);
    let again = finish(&mut review(&out, &[&first_reader]));
    fine(&again);
    assert!(again.stderr.contains("is reviewed so already"), "{}", again.stderr);
    assert_eq!(tree(&out), before);
    let second = save("second.json", &written(&out, "CD", "2026-05-02T08:00:00Z", ("accepted", "accepted")));
    fine(&finish(&mut review(&out, &[&second])));
    let record = std::fs::read(reviewed(&out).join("sub-demo_desc-all_review.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let readers: Vec<&str> = record["reviews"]
        .as_array()
        .unwrap()
        .iter()
        .map(|review| review["reader"].as_str().unwrap())
        .collect();
    assert_eq!(readers, ["AB", "CD"]);
    assert_eq!(record["decisions"].as_array().unwrap().len(), 1, "one verdict holds: {record}");
    let (form, _) = form(&out);
    assert!(labels(&out, "reviewed").contains(&first(&form, "accepted")), "the later verdict holds");
    let page = reviewed(&out).join("sub-demo_desc-reviewed_report.html");
    assert_eq!(std::fs::read_to_string(page).unwrap().matches("Reviewed by <strong>").count(), 2);
    let replay = finish(neuroloom().arg("replay").arg(out.join("derivatives/reviewed")).arg("sub-demo"));
    fine(&replay);
    assert!(replay.stdout.starts_with("identical"), "{}", replay.stdout);
}

#[test]
fn a_review_that_cannot_be_used_says_why_and_nothing_is_run() {
    let out = run_case("refused");
    let good = written(&out, "AB", "2026-05-01T08:00:00Z", ("accepted", "rejected"));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut other = good.clone();
        change(&mut other);
        other
    };
    let reviews: [(&str, Value, &str); 7] = [
        ("case", with(&|r| r["case"] = json!("sub-dem")), "case `sub-dem` has no result"),
        ("evil", with(&|r| r["case"] = json!("../../etc")), "is not of the form `sub-LABEL`"),
        ("stale", with(&|r| r["reviewed"] = json!("0".repeat(64))), "was remade since this review"),
        ("number", with(&|r| r["decisions"][0]["candidate"] = json!(1_000_000)), "candidate 1000000"),
        ("newer", with(&|r| r["version"] = json!(7)), "a review of version 7, and this program knows 1"),
        ("verdict", with(&|r| r["decisions"][0]["reader"] = json!("maybe")), "`maybe`"),
        ("other", json!({ "name": "x" }), "its `format` is not `neuroloom-review`"),
    ];
    let before = tree(&out);
    let refused = |command: &mut Command, words: &str| {
        let finished = finish(command);
        let said = &finished.stderr;
        assert_eq!(finished.code, Some(2), "{words}: {said}");
        assert!(said.contains(words) && said.contains("hint: "), "{words}: {said}");
    };
    for (name, json, words) in &reviews {
        refused(&mut review(&out, &[&save(&format!("{name}.json"), json)]), words);
    }
    let torn = scratch().join("torn.json");
    std::fs::write(&torn, &good.to_string()[..200]).unwrap();
    refused(&mut review(&out, &[&torn]), "was it saved whole?");
    refused(&mut review(&out, &[Path::new("nowhere.json")]), "nowhere.json: ");
    refused(&mut review(&scratch().join("no-out"), &[&save("good.json", &good)]), "holds no records");
    assert_eq!(tree(&out), before, "nothing was written");
    assert!(!out.join("derivatives").exists());
}

#[test]
fn a_review_of_a_case_that_failed_is_refused() {
    let out = scratch().join("failed");
    let torn = scratch().join("sub-demo_T1w.nii.gz");
    std::fs::write(&torn, "no image").unwrap();
    let mut command = neuroloom();
    command.args(["run", MAIN, "--no-cache", "--out"]).arg(&out);
    command.arg("--input").arg(format!("t1_pre={}", torn.display()));
    command.arg("--input").arg(format!("bravo={}", sequence("bravo").display()));
    let run = finish(&mut command);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let before = tree(&out);
    assert!(before.contains_key("sub-demo/sub-demo_report.html"), "it left a page: {:?}", before.keys());
    let asked = json!({
        "format": "neuroloom-review", "version": 1, "case": "sub-demo", "reviewed": "0".repeat(64), "reader": "AB",
        "signed": "2026-05-01T08:00:00Z", "decisions": [],
    });
    let answer = finish(&mut review(&out, &[&save("of-failed.json", &asked)]));
    assert_eq!(answer.code, Some(2), "{}", answer.stderr);
    for words in ["case `sub-demo` has no result", "failed", "hint: "] {
        assert!(answer.stderr.contains(words), "no `{words}` in {}", answer.stderr);
    }
    assert_eq!(tree(&out), before);
}

#[test]
fn without_a_store_a_review_is_made_all_the_same() {
    let out = run_case("unstored");
    let file = save("unstored.json", &written(&out, "AB", "2026-05-01T08:00:00Z", ("accepted", "rejected")));
    fine(&finish(review(&out, &[&file]).arg("--no-cache")));
    let (form, _) = form(&out);
    assert!(!labels(&out, "reviewed").contains(&first(&form, "accepted")), "the reader's verdict holds");
}

#[test]
fn after_kill_9_the_same_review_completes() {
    let out = run_case("killed");
    let file = save("killed.json", &written(&out, "AB", "2026-05-01T08:00:00Z", ("accepted", "rejected")));
    let mut command = review(&out, &[&file]);
    let mut child = command.arg("--no-cache").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = said.find(|line| line.as_ref().is_ok_and(|line| line.contains("sub-demo reference")));
    assert!(begun.is_some(), "it ended before it could be killed");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!reviewed(&out).exists());
    fine(&finish(&mut review(&out, &[&file])));
    assert!(reviewed(&out).join("sub-demo_desc-reviewed_report.html").is_file());
    assert_eq!(names(&out.join("derivatives/reviewed/.neuroloom/tmp")), Vec::<String>::new());
}

#[test]
fn a_reviewed_case_can_be_trained_with() {
    let out = run_case("trained");
    let file = save("trained.json", &written(&out, "AB", "2026-05-01T08:00:00Z", ("accepted", "rejected")));
    let table = scratch().join("cases.tsv");
    for _ in 0..2 {
        fine(&finish(review(&out, &[&file]).arg("--training-table").arg(&table)));
    }
    let text = std::fs::read_to_string(&table).unwrap();
    assert_eq!(text.lines().count(), 2, "no row twice: {text}");
    assert!(text.contains("sub-demo_space-orig_desc-reviewed_dseg.nii.gz"), "{text}");
    let plan =
        finish(neuroloom().args(["plan", "workflows/train.toml"]).arg(&table).args(["--format", "json"]));
    fine(&plan);
    assert!(plan.stdout.contains("sub-demo"), "{}", plan.stdout);
}

#[test]
fn a_faulty_review_part_is_told_by_check() {
    let path = scratch().join("faulty.toml");
    let base = neuroloom_tests::root().join(MAIN);
    let faults = [
        ("form = \"nothing\"", "`form` of `[review]` is `nothing`, which is no output"),
        ("truth = \"nothing\"", "`truth` of `[review]` is `nothing`, which is no output"),
        ("fom = \"x\"", "`[review]` has no key `fom`"),
        ("inputs.other = { type = \"text\" }", "`[review]` has 2 inputs, not one"),
        ("stages.reviewed.operator = \"aply_review\"", "aply_review"),
    ];
    for (line, words) in faults {
        let text = format!("extends = \"{}\"\n[review]\n{line}\n", base.display());
        std::fs::write(&path, text).unwrap();
        let checked = finish(neuroloom().arg("check").arg(&path));
        assert_eq!(checked.code, Some(2), "{line}: {}", checked.stdout);
        assert!(checked.stderr.contains(words), "{line}: {}", checked.stderr);
    }
}
