//! `apply_review`: what readers decided stands in the place of what the filter said, and nothing else changes.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use neuroloom_lesions::ApplyReview;
use sdk::testing::run;
use sdk::{Cell, Column, Grid, Inputs, Labels, Outputs, Table};
use serde_json::{Value, json};

/// Four candidates in a row: accepted, accepted, below the size limit, rejected.
const CLASSES: [&str; 4] = ["accepted", "accepted", "below_size", "rejected"];

fn labels(numbers: &[u32]) -> Labels {
    let voxels: Vec<u32> = (0..8).map(|n| if numbers.contains(&n) { n } else { 0 }).collect();
    Labels::new(Grid::axis_aligned([8, 1, 1], [1.0; 3]), voxels).unwrap()
}

fn candidates() -> Table {
    let names = ["id", "class", "rule", "value", "limit"];
    let mut table = Table::new(names.map(|name| Column::new(name, "", "")).to_vec());
    for (n, class) in CLASSES.iter().enumerate() {
        table.rows.push(vec![(n + 1).into(), (*class).into(), "min_edge_mm".into(), 1.5.into(), 2.0.into()]);
    }
    table
}

fn decision(candidate: usize, reader: Option<&str>, comment: &str, at: &str) -> Value {
    let model = CLASSES.get(candidate - 1).unwrap_or(&"accepted");
    json!({ "candidate": candidate, "model": model, "reader": reader, "comment": comment, "by": "AB", "at": at })
}

fn review(signed: &str, decisions: &[Value]) -> Value {
    json!({ "case": "sub-01", "reviewed": "0", "reader": "AB", "signed": signed, "decisions": decisions })
}

fn inputs(reviews: &[Value]) -> Inputs {
    Inputs::new()
        .with("labels", labels(&[1, 2]))
        .with("below_size", labels(&[3]))
        .with("rejected", labels(&[4]))
        .with("candidates", candidates())
        .with("reviews", json!(reviews).to_string())
}

fn applied(reviews: &[Value]) -> Outputs {
    run::<ApplyReview>(json!({}), &inputs(reviews)).unwrap()
}

fn numbers(outputs: &Outputs, port: &str) -> Vec<u32> {
    outputs.labels(port).unwrap().voxels().iter().copied().filter(|number| *number > 0).collect()
}

#[test]
fn a_verdict_moves_a_candidate_and_its_number_stays() {
    let outputs = applied(&[review(
        "2026-01-01T00:00:09Z",
        &[
            decision(2, Some("rejected"), "a vessel", "2026-01-01T00:00:01Z"),
            decision(3, Some("accepted"), "", "2026-01-01T00:00:02Z"),
            decision(1, Some("accepted"), "", "2026-01-01T00:00:03Z"),
        ],
    )]);
    assert_eq!(numbers(&outputs, "labels"), [1, 3]);
    assert!(numbers(&outputs, "below_size").is_empty());
    assert_eq!(numbers(&outputs, "rejected"), [2, 4]);
    let table = outputs.table("candidates").unwrap();
    let cell = |row, name| table.cell(row, name).unwrap().clone();
    let text = |row, name| cell(row, name).text().map(str::to_owned);
    assert_eq!(text(1, "class").as_deref(), Some("rejected"));
    assert_eq!(text(1, "rule").as_deref(), Some("reader"));
    assert_eq!((cell(1, "value"), cell(1, "limit")), (Cell::Absent, Cell::Absent));
    assert_eq!(text(1, "model_class").as_deref(), Some("accepted"));
    assert_eq!(text(1, "model_rule").as_deref(), Some("min_edge_mm"));
    assert_eq!(text(1, "decided_by").as_deref(), Some("AB"));
    assert_eq!(text(1, "decided_at").as_deref(), Some("2026-01-01T00:00:01Z"));
    assert_eq!(text(1, "comment").as_deref(), Some("a vessel"));
    assert_eq!(text(0, "rule").as_deref(), Some("min_edge_mm"), "what was confirmed keeps its rule");
    assert_eq!(cell(3, "decided_by"), Cell::Absent);
    let expected =
        json!([{ "reader": "AB", "signed": "2026-01-01T00:00:09Z", "decisions": 3, "changes": 2 }]);
    for port in ["labels", "below_size", "rejected", "candidates", "review"] {
        assert_eq!(outputs.facts(port).get("reviews"), Some(&expected), "{port}");
    }
}

#[test]
fn of_several_readers_the_latest_verdict_holds_and_a_comment_alone_changes_none() {
    let outputs = applied(&[
        review("2026-01-02T00:00:00Z", &[decision(4, Some("accepted"), "", "2026-01-02T00:00:00Z")]),
        review("2026-01-03T00:00:00Z", &[decision(4, None, "unsure", "2026-01-03T00:00:00Z")]),
        review("2026-01-04T00:00:00Z", &[decision(4, Some("rejected"), "", "2026-01-01T00:00:00Z")]),
    ]);
    assert_eq!(numbers(&outputs, "labels"), [1, 2, 4]);
    let table = outputs.table("candidates").unwrap();
    assert_eq!(table.cell(3, "comment").unwrap().text(), Some("unsure"));
    let record: Value = serde_json::from_slice(&outputs.document("review").unwrap().bytes).unwrap();
    assert_eq!(record["reviews"].as_array().unwrap().len(), 3, "every review is kept");
    let held = &record["decisions"];
    assert_eq!(held.as_array().unwrap().len(), 1);
    assert_eq!((&held[0]["at"], &held[0]["comment"]), (&json!("2026-01-02T00:00:00Z"), &json!("unsure")));
}

#[test]
fn a_review_without_decisions_changes_nothing() {
    let outputs = applied(&[review("2026-01-01T00:00:00Z", &[])]);
    let all = ["labels", "below_size", "rejected"].map(|port| numbers(&outputs, port));
    assert_eq!(all, [vec![1, 2], vec![3], vec![4]]);
}

#[test]
fn a_review_that_does_not_fit_is_refused() {
    let error = |inputs: &Inputs| run::<ApplyReview>(json!({}), inputs).unwrap_err().message;
    let at = "2026-01-01T00:00:00Z";
    let with = |decision: Value| inputs(&[review(at, &[decision])]);
    assert_eq!(
        error(&with(decision(7, Some("accepted"), "", at))),
        "a reader decided on candidate 7, and there are 4"
    );
    let mut changed = decision(1, Some("accepted"), "", at);
    changed["model"] = json!("rejected");
    assert_eq!(error(&with(changed)), "candidate 1 is `accepted`, and was `rejected` to the reader");
    assert!(error(&with(decision(1, Some("maybe"), "", at))).contains("`maybe`, not `accepted`"));
    let alone = Inputs::new()
        .with("labels", labels(&[1, 2]))
        .with("candidates", candidates())
        .with("reviews", json!([review(at, &[decision(4, Some("accepted"), "", at)])]).to_string());
    assert_eq!(error(&alone), "candidate 4 has no voxels");
    let broken =
        Inputs::new().with("labels", labels(&[1])).with("candidates", candidates()).with("reviews", "[");
    assert!(error(&broken).starts_with("the reviews cannot be read: "));
}
