//! The page of a cohort in a browser without a network: failures first, a table that sorts and filters, links that lead somewhere,
//! an evaluation beside, no complaint in either colour scheme.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use neuroloom_tests::browser::{Browser, axe};
use neuroloom_tests::scene::scratch;
use neuroloom_tests::{Finished, finish, neuroloom, root};
use sdk::nifti::{self, WriteOptions};
use sdk::testing::{ball, ball_mask};
use sdk::{AnyVolume, Grid, Labels, Probability};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The stages of the main workflow that make pages, on what it would have found.
const WORKFLOW: &str = r#"
name = "made"
version = "1.0.0"
[inputs]
image = { type = "image", grid = "case" }
mask = { type = "mask", grid = "case" }
lesions = { type = "labels", grid = "case" }
flair = { type = "image", grid = "case", required = false }
[stages.stripped]
operator = "apply_mask"
inputs = { image = "flair", mask = "mask" }
[stages.measure]
operator = "measure_lesions"
inputs = { labels = "lesions", image = "image", mask = "mask" }
[stages.page]
operator = "case_report"
always = true
inputs = { reference = "image", mask = "mask", lesions = "lesions", table = "measure.table", outcome = "case.outcome", plan = "case.plan", provenance = "case.provenance" }
settings = { viewer_mb = 0.0, mosaic_slices = 1 }
[stages.tile]
operator = "case_tile"
inputs = { image = "image", mask = "mask", lesions = "lesions" }
[outputs]
report = { from = "page.html", bids = "report" }
measures = { from = "measure.table", bids = "desc-measured_lesions" }
flair = { from = "stripped.image", bids = "desc-brain_FLAIR" }
[cohort.stages.summary]
operator = "cohort_report"
always = true
inputs = { report = "page.json", tile = "tile.tile" }
[cohort.outputs]
cohort_report = { from = "summary.html", root = true }
cohort_data = { from = "summary.json", bids = "desc-data_cohort" }
"#;

/// Lesions of each case that runs.
const LESIONS: [u32; 9] = [0, 2, 3, 5, 8, 12, 1, 4, 10];
/// Cases whose image is no image.
const TORN: [usize; 2] = [9, 11];
/// A case whose mask lies on another grid.
const OTHER_GRID: usize = 10;
/// All cases.
const CASES: usize = 12;

fn write(path: &Path, volume: &AnyVolume) {
    nifti::write(path, volume, &WriteOptions::default()).unwrap();
}

fn grid(edge: usize) -> Grid {
    Grid::axis_aligned([edge; 3], [6.0; 3])
}

/// So many lesions of one voxel each, apart from each other.
fn lesions(grid: Grid, count: u32) -> Labels {
    let mut voxels = vec![0; grid.len()];
    for n in 0..count {
        let at = [10 + 3 * (n as usize % 4), 10 + 3 * (n as usize / 4), 14];
        voxels[grid.offset(at)] = n + 1;
    }
    Labels::new(grid, voxels).unwrap()
}

/// A table of cases with their files.
fn table(folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let mut table = "participant_id\timage\tmask\tlesions\tflair\n".to_owned();
    for n in 0..CASES {
        let file = |name: &str| folder.join(format!("sub-{n:02}_{name}.nii.gz"));
        let grid = grid(32);
        // One brain is far too small; the others differ a little, as brains do.
        let radius = if n == 4 { 30.0 } else { 70.0 + n as f64 };
        write(&file("image"), &AnyVolume::Image(ball(grid, grid.centre_world(), radius, 100.0 + n as f32)));
        write(&file("mask"), &AnyVolume::Mask(ball_mask(grid, grid.centre_world(), radius)));
        write(&file("lesions"), &AnyVolume::Labels(lesions(grid, *LESIONS.get(n).unwrap_or(&1))));
        if TORN.contains(&n) {
            std::fs::write(file("image"), "no image").unwrap();
        }
        if n == OTHER_GRID {
            let other = self::grid(30);
            write(&file("mask"), &AnyVolume::Mask(ball_mask(other, other.centre_world(), 60.0)));
        }
        let [image, mask, lesions] =
            ["image", "mask", "lesions"].map(|name| file(name).display().to_string());
        let flair = if n % 2 == 0 { &image } else { "n/a" };
        writeln!(table, "sub-{n:02}\t{image}\t{mask}\t{lesions}\t{flair}").unwrap();
    }
    let path = folder.join("cases.tsv");
    std::fs::write(&path, table).unwrap();
    path
}

fn batch(workflow: &Path, cases: &Path, out: &Path, more: &[&str]) -> Finished {
    let mut command = neuroloom();
    command.arg("batch").arg(workflow).arg(cases).arg(out);
    finish(command.args(["--jobs", "2", "--no-cache"]).args(more))
}

/// The workflow, the table and the output folder of the cohort, made once.
fn made() -> &'static (PathBuf, PathBuf, PathBuf) {
    static MADE: OnceLock<(PathBuf, PathBuf, PathBuf)> = OnceLock::new();
    MADE.get_or_init(|| {
        let (cases, out, workflow) =
            (table(&scratch().join("cases")), scratch().join("out"), scratch().join("made.toml"));
        std::fs::write(&workflow, WORKFLOW).unwrap();
        let run = batch(&workflow, &cases, &out, &[]);
        assert_eq!(run.code, Some(1), "some cases fail: {}", run.stderr);
        (workflow, cases, out)
    })
}

fn page() -> PathBuf {
    made().2.join("cohort-report.html")
}

/// The texts that an expression on the page gives.
fn texts(browser: &mut Browser, expression: &str) -> Vec<String> {
    serde_json::from_value(browser.value(expression)).unwrap()
}

/// The cells of a column of the rows that are shown, top down.
fn column(browser: &mut Browser, n: usize) -> Vec<String> {
    let cells = format!(
        "[...document.querySelectorAll('#cases tbody tr:not([hidden])')].map((row) => row.cells[{n}].textContent.trim())"
    );
    texts(browser, &cells)
}

fn set(browser: &mut Browser, id: &str, value: &str) {
    browser.value(&format!(
        "(() => {{ const box = document.getElementById('{id}'); box.value = {}; box.dispatchEvent(new Event('input')); }})()",
        json!(value)
    ));
}

#[test]
fn failures_come_first_with_cause_hint_and_a_page_where_there_is_one() {
    let Some(mut browser) = Browser::start("failures") else { return };
    browser.open(&page());
    let causes = texts(
        &mut browser,
        "[...document.querySelectorAll('.failures > li')].map((cause) => cause.innerText)",
    );
    assert_eq!(causes.len(), 2, "torn files are one cause: {causes:?}");
    for words in ["2 cases", "CASE_image.nii.gz", "hint:", "sub-09", "sub-11"] {
        assert!(causes[0].contains(words), "no `{words}` in {}", causes[0]);
    }
    assert!(causes[1].contains("sub-10"), "{}", causes[1]);
    let above = "document.getElementById('failures').getBoundingClientRect().top < document.getElementById('all').getBoundingClientRect().top";
    assert_eq!(browser.value(above), true);
    let links = texts(
        &mut browser,
        "[...document.querySelectorAll('a[href]')].map((link) => link.getAttribute('href'))",
    );
    assert!(
        links.len() >= 2 * CASES - TORN.len(),
        "each case is linked in the table, a failed one twice: {links:?}"
    );
    for link in &links {
        assert!(made().2.join(link).is_file(), "{link} leads nowhere");
    }
    assert_eq!(column(&mut browser, 0)[..3], ["sub-09", "sub-10", "sub-11"], "and in the table, too");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    assert!(browser.requests.is_empty(), "{:?}", browser.requests);
}

#[test]
fn the_table_sorts_by_every_kind_of_column_and_filters() {
    let Some(mut browser) = Browser::start("table") else { return };
    browser.open(&page());
    let mut sort = |title: &str| {
        let found = browser.value(&format!(
            "[...document.querySelectorAll('#cases thead th')].findIndex((th) => th.textContent.startsWith('{title}'))"
        ));
        let n = found.as_u64().unwrap() as usize;
        browser.value(&format!("document.querySelectorAll('#cases thead th button')[{n}].click()"));
        column(&mut browser, n)
    };
    let none = vec!["–"; CASES - LESIONS.len()];
    let mut order = LESIONS;
    order.sort_unstable();
    let up: Vec<String> =
        order.map(|n| n.to_string()).into_iter().chain(none.iter().map(|n| (*n).to_owned())).collect();
    assert_eq!(sort("Lesions"), up, "numbers as numbers, and what has none at the end");
    order.reverse();
    assert_eq!(sort("Lesions")[..LESIONS.len()], order.map(|n| n.to_string()));
    assert_eq!(sort("Case")[..2], ["sub-00", "sub-01"]);
    assert_eq!(sort("Case")[..2], ["sub-11", "sub-10"]);
    assert_eq!(sort("Missing")[0], "flair");
    let quality = sort("Quality");
    assert_eq!(quality[..3], ["failed"; 3]);
    assert!(quality[3].contains("Brain volume"), "{quality:?}");

    set(&mut browser, "words", "sub-0 flair");
    assert_eq!(column(&mut browser, 0).len(), 4, "all words must be there");
    set(&mut browser, "words", "");
    set(&mut browser, "kind", "more than 10");
    assert_eq!(column(&mut browser, 0), ["sub-05"]);
    let told = browser.value("document.getElementById('shown').textContent");
    assert_eq!(told, "1 of 12 cases shown");
    set(&mut browser, "kind", "lies apart");
    assert_eq!(column(&mut browser, 0), ["sub-04"]);
    let shown =
        browser.value("document.querySelectorAll('section[aria-labelledby=quality] .tiles figure').length");
    assert_eq!(shown, 1, "with its picture");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn the_page_has_no_serious_accessibility_fault_and_fits_a_narrow_window() {
    let (Some(axe), Some(mut browser)) = (axe(), Browser::start("axe")) else { return };
    let judged = judged();
    for page in [&page(), &judged] {
        browser.open(page);
        browser.is_accessible(&axe);
        assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    }
}

/// The page of the cohort beside an evaluation of it: two cases choose the threshold, the others are judged.
fn judged() -> PathBuf {
    static JUDGED: OnceLock<PathBuf> = OnceLock::new();
    let judge = || {
        let (workflow, cases, _) = made();
        let folder = cases.parent().unwrap();
        let case = |n: usize| {
            let (id, grid) = (format!("{n:02}"), grid(32));
            // Each second lesion is seen well; beside it there is a false positive.
            let truth = lesions(grid, LESIONS[n]);
            let seen = |label: &u32| if label % 2 == 1 { 0.9 } else { 0.05 * (label % 7) as f32 };
            let mut scores: Vec<f32> = truth.voxels().iter().map(seen).collect();
            scores[grid.offset([16, 16, 18])] = 0.8;
            let scores = AnyVolume::Probability(Probability::new(grid, scores).unwrap());
            write(&folder.join(format!("sub-{id}_prob.nii.gz")), &scores);
            let file = |name: &str| format!("sub-{id}_{name}.nii.gz");
            json!({ "id": id, "truth": file("lesions"), "prob": file("prob"), "mask": file("mask") })
        };
        let all: Vec<Value> = (1..LESIONS.len()).map(case).collect();
        let manifest = json!({ "dev": all[..2], "test": all[2..], "options": { "size_max_mm": 30 } });
        let path = folder.join("manifest.json");
        std::fs::write(&path, manifest.to_string()).unwrap();
        let evaluation = scratch().join("evaluation");
        let run = batch(
            &root().join("workflows/evaluate.toml"),
            &path,
            &evaluation,
            &["--set", "summary.settings.bootstrap=50"],
        );
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let set = format!(
            "summary.settings.evaluation={:?}",
            evaluation.join("evaluation.json").display().to_string()
        );
        let judged = scratch().join("judged");
        let run = batch(workflow, cases, &judged, &["--set", &set]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        judged.join("cohort-report.html")
    };
    JUDGED.get_or_init(judge).clone()
}

#[test]
fn an_evaluation_stands_beside_with_curves_figures_and_columns() {
    let Some(mut browser) = Browser::start("beside") else { return };
    browser.open(&judged());
    let told = browser.value("document.querySelector('[aria-labelledby=evaluation]').innerText");
    let told = told.as_str().unwrap();
    for words in [
        "6 of 6 test cases were scored",
        "which 2 development cases chose",
        "AUC",
        "Sensitivity for lesions",
        "FROC",
    ] {
        assert!(told.contains(words), "no `{words}` in {told}");
    }
    let lines = browser.value("document.querySelectorAll('.curves path.curve').length");
    assert!(lines.as_u64() > Some(8), "curves are drawn: {lines}");
    let titles =
        texts(&mut browser, "[...document.querySelectorAll('#cases thead th')].map((th) => th.textContent)");
    let dice = titles.iter().position(|title| title == "Dice").unwrap();
    let column = column(&mut browser, dice);
    assert_eq!(column.iter().filter(|cell| *cell != "–").count(), 6, "{column:?}");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn the_guide_s_workflow_with_an_evaluation_is_accepted() {
    let guide = std::fs::read_to_string(root().join("docs/reports.md")).unwrap();
    let block = guide.split("\n```toml\n").skip(1).find(|block| block.contains("evaluation = ")).unwrap();
    let text = block.split("\n```").next().unwrap();
    let folder = scratch().join("guide");
    std::fs::create_dir_all(&folder).unwrap();
    let base = root().join("workflows/brain-metastases.toml").display().to_string();
    let workflow = folder.join("with-truth.toml");
    std::fs::write(&workflow, text.replace("\"brain-metastases.toml\"", &format!("{base:?}"))).unwrap();
    let check = || finish(neuroloom().arg("check").arg(&workflow));
    let refused = check();
    assert_eq!(refused.code, Some(2), "{}", refused.stdout);
    assert!(refused.stderr.contains("evaluation.json"), "{}", refused.stderr);
    std::fs::write(folder.join("evaluation.json"), "{}").unwrap();
    let accepted = check();
    assert_eq!(accepted.code, Some(0), "{}", accepted.stderr);
}

#[test]
fn a_cohort_in_which_every_case_failed_has_a_page() {
    let folder = scratch().join("torn");
    let cases = table(&folder.join("cases"));
    let text = std::fs::read_to_string(&cases).unwrap();
    let torn = text.lines().enumerate().filter(|(n, _)| *n == 0 || TORN.contains(&(n - 1)));
    std::fs::write(&cases, torn.map(|(_, line)| line).collect::<Vec<_>>().join("\n")).unwrap();
    let run = batch(&made().0, &cases, &folder.join("out"), &[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let page = std::fs::read_to_string(folder.join("out/cohort-report.html")).unwrap();
    assert!(page.contains("2 cases") && page.contains("CASE_image.nii.gz"));
    assert!(!page.contains("id=\"examples\""));
}
