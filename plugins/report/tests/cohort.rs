//! A page for five hundred cases: small, escaped, failures first, the same each time.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use neuroloom_report::cohort::CohortReport;
use sdk::testing::TestGroup;
use sdk::{CaseEntry, Document, Inputs, Outputs};
use serde_json::{Value, json};

/// Noise in base64 compresses as little as a picture: as long as a tile of 256 dots.
const PICTURE_BYTES: usize = 40_000;
/// What a page for 500 cases may have.
const LARGEST_PAGE: usize = 5_000_000;
/// Every this many cases one fails.
const FAILS: usize = 50;

fn document(value: &Value) -> Document {
    Document::new("application/json", value.to_string())
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
    let picture = "A".repeat(PICTURE_BYTES);
    let tile = json!({"brain_ml": brain_ml, "median_intensity": 400.0 + (n % 11) as f64, "note": null,
        "picture": {"width": 256, "height": 256, "base": format!("data:image/png;base64,{picture}"), "overlay": null,
            "caption": "", "description": "Brain"}});
    Inputs::new().with("report", document(&report)).with("tile", document(&tile))
}

fn cohort(count: usize) -> TestGroup {
    (0..count).fold(TestGroup::new(), |group, n| {
        let label = format!("sub-{n:03}_ses-1");
        if n % FAILS == FAILS - 1 {
            return group
                .failed(&label, "stage `brain` failed: no <b>brain</b> found\nhint: look at the image");
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
    assert!(page.find("no &lt;b&gt;brain&lt;&#x2f;b&gt; found") < page.find("<table"), "failures come first");
    assert!(
        page.contains("look at the image")
            && page.contains("RESEARCH USE ONLY")
            && page.contains("UNTRAINED MODEL")
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
