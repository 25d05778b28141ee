//! A page for five hundred cases: small, escaped, failures first, the same each time.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use neuroloom_report::cohort::CohortReport;
use neuroloom_report::cohort::tile::CaseTile;
use sdk::testing::{TestGroup, ball, ball_mask, run};
use sdk::{CaseEntry, Document, Grid, Image, Inputs, Outputs};
use serde_json::{Value, json};
use std::sync::OnceLock;

/// What a page for 500 cases may have.
const LARGEST_PAGE: usize = 5_000_000;
/// Every this many cases one fails.
const FAILS: usize = 50;

fn document(value: &Value) -> Document {
    Document::new("application/json", value.to_string())
}

/// A tile of a ball with a grain that compresses as little as a brain's.
fn tile() -> &'static Value {
    static TILE: OnceLock<Value> = OnceLock::new();
    TILE.get_or_init(|| {
        let grid = Grid::axis_aligned([200, 200, 8], [1.0, 1.0, 5.0]);
        let grain = |n: usize| ((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as f32 / 255.0;
        let smooth = ball(grid, grid.centre_world(), 80.0, 100.0);
        let voxels: Vec<f32> =
            smooth.voxels().iter().enumerate().map(|(n, v)| v * (0.7 + 0.6 * grain(n))).collect();
        let inputs = Inputs::new()
            .with("image", Image::new(grid, voxels).unwrap())
            .with("mask", ball_mask(grid, grid.centre_world(), 80.0));
        let outputs = run::<CaseTile>(json!({}), &inputs).unwrap();
        serde_json::from_slice(&outputs.document("tile").unwrap().bytes).unwrap()
    })
}

fn inputs(n: usize, brain_ml: f64, warning: &str) -> Inputs {
    let lesions = [0, 1, 2, 3, 5, 8, 12, 30][n % 8];
    let report = json!({
        "summary": {"accepted": lesions, "below_size": 2, "rejected": 7, "total_ml": f64::from(lesions) * 0.4,
            "largest_ml": 0.9, "target_sum_mm": 20.5},
        "warnings": [warning],
        "banners": [{"level": "danger", "title": "UNTRAINED MODEL", "text": "nothing about the patient"}],
        "inputs": [{"name": "bravo", "present": true}, {"name": "flair", "present": !n.is_multiple_of(3)}],
        "quality": [{"name": "flair", "table": {"columns": [{"name": "image"}, {"name": "metric_after"}],
            "rows": [{"cells": [{"value": "flair"}, {"value": 1.1 + (n % 7) as f64 * 0.01}]}]}}],
    });
    let mut tile = tile().clone();
    tile["brain_ml"] = json!(brain_ml);
    tile["median_intensity"] = json!(400.0 + (n % 11) as f64);
    Inputs::new().with("report", document(&report)).with("tile", document(&tile))
}

fn cohort(count: usize) -> TestGroup {
    (0..count).fold(TestGroup::new(), |group, n| {
        let label = format!("sub-{n:03}_ses-1");
        if n % FAILS == FAILS - 1 {
            let entry = CaseEntry {
                failure: Some(format!("stage `brain` failed: no <b>brain</b> found in {label}_T1w.nii")),
                hint: Some("look at the `image`".to_owned()),
                left: vec![format!("sub-{n:03}/ses-1/{label}_report.html")],
                ..CaseEntry::of(&label)
            };
            return group.entry(entry, Inputs::new());
        }
        let brain_ml = if n == 7 { 300.0 } else { 1200.0 + (n % 13) as f64 };
        group.case(&label, inputs(n, brain_ml, "seen"))
    })
}

fn text(outputs: &Outputs, port: &str) -> String {
    String::from_utf8(outputs.document(port).unwrap().bytes.to_vec()).unwrap()
}

#[test]
fn five_hundred_cases_make_a_small_page_with_failures_first() {
    let outputs = cohort(500).run::<CohortReport>(&json!({})).unwrap();
    let page = text(&outputs, "html");
    assert!(page.len() < LARGEST_PAGE, "{} bytes", page.len());
    // To be looked at, and measured by the bench `first_paint`.
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/cohort-500.html"), &page).unwrap();
    let cause = "no &lt;b&gt;brain&lt;&#x2f;b&gt; found in CASE_T1w.nii";
    assert!(page.find(cause) < page.find("<table"), "failures come first");
    assert_eq!(page.matches(cause).count(), 1, "a cause is told once");
    for words in ["look at the <code>image</code>", "RESEARCH USE ONLY", "UNTRAINED MODEL"] {
        assert!(page.contains(words), "no {words}");
    }
    assert!(
        page.contains("href=\"sub-049&#x2f;ses-1&#x2f;sub-049_ses-1_report.html\""),
        "a failed case's page"
    );
    assert!(page.contains("(490 of 500 cases)"), "a banner says how many cases have it");
    let json: Value = serde_json::from_str(&text(&outputs, "json")).unwrap();
    assert_eq!((&json["failed"], json["cases"].as_array().unwrap().len()), (&json!(10), 500));
    let apart: Vec<&Value> =
        json["cases"].as_array().unwrap().iter().filter(|case| case["outliers"] != json!([])).collect();
    assert_eq!(apart.len(), 1, "{apart:?}");
    assert_eq!(
        (&apart[0]["case"], &apart[0]["outliers"][0]["name"]),
        (&json!("sub-007_ses-1"), &json!("Brain volume"))
    );
    assert_eq!(outputs.table("table").unwrap().rows.len(), 500);
    let again = cohort(500).run::<CohortReport>(&json!({})).unwrap();
    assert_eq!(page, text(&again, "html"), "the same cases give the same page");
}

#[test]
fn hostile_words_are_escaped_and_columns_of_the_table_stay_out() {
    let mut entry = CaseEntry::of("sub-<script>alert(1)</script>");
    entry.columns.insert("PatientName".to_owned(), "Quux^Zaphod".to_owned());
    let group = TestGroup::new()
        .entry(entry, inputs(1, 1200.0, "</td><script>alert(2)</script>"))
        .failed("sub-2\"><img src=x>", "<script>alert(3)</script>");
    let outputs = group.run::<CohortReport>(&json!({})).unwrap();
    let page = text(&outputs, "html");
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x>"));
    for text in [page, text(&outputs, "json")] {
        assert!(!text.contains("PatientName") && !text.contains("Zaphod"));
    }
}

#[test]
fn a_cohort_of_failures_alone_still_has_a_page() {
    let outputs = TestGroup::new().failed("sub-1", "no T1").run::<CohortReport>(&json!({})).unwrap();
    let page = text(&outputs, "html");
    assert!(page.contains("no T1") && !page.contains("id=\"examples\""));
}
