//! `match_lesions` on balls that move, grow, shrink, split and merge.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use neuroloom_lesions::{MatchLesions, MeasureLesions};
use sdk::testing::{TestGroup, run};
use sdk::{Affine, CaseEntry, Facts, Grid, Inputs, Labels, Outputs, Table, Value};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// Centre (in the common frame) and radius in mm.
type Ball = ([f64; 3], f64);

const SHAPE: [usize; 3] = [64, 64, 40];

/// A session in which lesion `n + 1` is the `n`th set of balls; `to_session` leads from the common frame to its world.
fn session(lesions: &[&[Ball]], to_session: Affine, facts: &Facts) -> Inputs {
    let grid = Grid::axis_aligned(SHAPE, [1.0; 3]);
    on(grid, lesions, to_session, facts)
}

fn on(grid: Grid, lesions: &[&[Ball]], to_session: Affine, facts: &Facts) -> Inputs {
    let back = to_session.inverse().unwrap();
    let label = |n: usize| {
        let at = back.point(grid.world(grid.index(n)));
        let inside = |(centre, radius): &Ball| {
            (0..3).map(|a| (at[a] - centre[a]).powi(2)).sum::<f64>() <= radius * radius
        };
        lesions.iter().position(|balls| balls.iter().any(inside)).map_or(0, |n| n as u32 + 1)
    };
    let labels = Labels::new(grid, (0..grid.len()).map(label).collect::<Vec<_>>()).unwrap();
    let labels = Value::from(labels).facts(facts);
    let measured = run::<MeasureLesions>(json!({}), &Inputs::new().with("labels", labels.clone())).unwrap();
    Inputs::new()
        .with("labels", labels)
        .with("measures", measured.value("table").unwrap().clone())
        .with("common_to_session", to_session)
}

fn plain(lesions: &[&[Ball]]) -> Inputs {
    session(lesions, Affine::IDENTITY, &Facts::new())
}

fn sessions(visits: Vec<Inputs>) -> TestGroup {
    let label = |n: usize| format!("sub-01_ses-{n}");
    visits
        .into_iter()
        .enumerate()
        .fold(TestGroup::new(), |group, (n, inputs)| group.case(&label(n + 1), inputs))
}

fn follow(group: &TestGroup, settings: &Json) -> Outputs {
    group.run::<MatchLesions>(settings).unwrap()
}

fn cell(table: &Table, row: usize, name: &str) -> String {
    table.cell(row, name).unwrap().to_string()
}

/// `track event labels` of a session.
fn events(outputs: &Outputs, session: usize) -> Vec<String> {
    let table = outputs.table("lesions").unwrap();
    let label = format!("sub-01_ses-{session}");
    (0..table.rows.len())
        .filter(|&row| cell(&table, row, "case") == label)
        .map(|row| ["track", "event", "labels"].map(|name| cell(&table, row, name)).join(" "))
        .collect()
}

fn responses(outputs: &Outputs) -> Vec<String> {
    let table = outputs.table("sessions").unwrap();
    (0..table.rows.len()).map(|row| cell(&table, row, "response")).collect()
}

const A: Ball = ([16.0, 16.0, 14.0], 7.0);
const B: Ball = ([44.0, 40.0, 24.0], 6.0);
const SMALL: Ball = ([44.0, 14.0, 24.0], 1.5);

#[test]
fn a_moved_head_keeps_its_lesions() {
    let moved = Affine::rigid([0.1, -0.05, 0.15], [4.0, -3.0, 2.0], [32.0, 32.0, 20.0]);
    let visits = vec![plain(&[&[A], &[B], &[SMALL]]), session(&[&[B], &[SMALL], &[A]], moved, &Facts::new())];
    let outputs = follow(&sessions(visits), &json!({}));
    assert_eq!(events(&outputs, 1), ["1 baseline 1", "2 baseline 2", "3 baseline 3"]);
    assert_eq!(events(&outputs, 2), ["1 matched 3", "2 matched 1", "3 matched 2"]);
    assert_eq!(responses(&outputs), ["baseline", "SD"]);
}

#[test]
fn without_overlap_the_nearest_within_the_limit_is_the_same() {
    let at = |x: f64| ([x, 14.0, 24.0], 1.2);
    let visits = |apart: f64| vec![plain(&[&[at(40.0)]]), plain(&[&[at(40.0 + apart)]])];
    let outputs = follow(&sessions(visits(4.0)), &json!({}));
    assert_eq!(events(&outputs, 2), ["1 matched 1"]);
    let table = outputs.table("lesions").unwrap();
    assert!((table.cell(1, "distance_mm").unwrap().number().unwrap() - 4.0).abs() < 1e-9);
    let outputs = follow(&sessions(visits(6.0)), &json!({}));
    assert_eq!(events(&outputs, 2), ["1 gone n/a", "2 new 1"]);
}

#[test]
fn new_gone_and_back_are_told_apart() {
    let visits = vec![plain(&[&[A], &[B]]), plain(&[&[A]]), plain(&[&[A], &[B], &[SMALL]])];
    let outputs = follow(&sessions(visits), &json!({}));
    assert_eq!(events(&outputs, 2), ["1 matched 1", "2 gone n/a"]);
    assert_eq!(events(&outputs, 3), ["1 matched 1", "2 back 2", "3 new 3"]);
    // The small new lesion is below 5 mm; the sum is back at baseline, and its nadir was half of it.
    assert_eq!(responses(&outputs), ["baseline", "PR", "PD"]);
}

#[test]
fn a_lesion_that_splits_stays_one_and_its_diameters_are_added() {
    let (left, right) = (([12.0, 16.0, 14.0], 3.0), ([20.0, 16.0, 14.0], 3.0));
    let visits =
        vec![plain(&[&[A], &[B]]), plain(&[&[left], &[right], &[B]]), plain(&[&[left], &[right], &[B]])];
    let outputs = follow(&sessions(visits), &json!({}));
    assert_eq!(events(&outputs, 2), ["1 split 1 2", "2 matched 3"]);
    assert_eq!(events(&outputs, 3), ["1 matched 1 2", "2 matched 3"]);
    let table = outputs.table("lesions").unwrap();
    let axial = |row: usize| table.cell(row, "longest_axial_diameter_mm").unwrap().number().unwrap();
    assert!((axial(2) - 14.0).abs() < 1.0, "two of about 7 mm: {}", axial(2));
}

#[test]
fn lesions_that_merge_go_on_as_the_oldest() {
    let (left, right) = (([11.0, 16.0, 14.0], 5.0), ([22.0, 16.0, 14.0], 5.0));
    let visits = vec![plain(&[&[left], &[right], &[B]]), plain(&[&[left, right, A], &[B]])];
    let outputs = follow(&sessions(visits), &json!({}));
    assert_eq!(events(&outputs, 2), ["1 merged 1", "2 merged into 1 n/a", "3 matched 2"]);
    let table = outputs.table("sessions").unwrap();
    assert_eq!([cell(&table, 1, "merged"), cell(&table, 1, "lesions")], ["1", "2"]);
}

#[test]
fn a_failed_session_is_told_and_changes_nothing() {
    let group = TestGroup::new()
        .case("sub-01_ses-1", plain(&[&[A]]))
        .failed("sub-01_ses-2", "no brain found")
        .case("sub-01_ses-3", plain(&[&[A]]));
    let outputs = follow(&group, &json!({}));
    assert_eq!(events(&outputs, 3), ["1 matched 1"]);
    assert_eq!(responses(&outputs), ["baseline", "NE", "SD"]);
    let table = outputs.table("sessions").unwrap();
    assert_eq!([cell(&table, 1, "reason"), cell(&table, 1, "lesions")], ["no brain found", "n/a"]);
    let alone = follow(&sessions(vec![plain(&[])]), &json!({}));
    assert_eq!(responses(&alone), ["baseline"]);
}

#[test]
fn responses_follow_the_sum_of_target_diameters() {
    let ball = |radius: f64| -> Vec<Ball> {
        if radius > 0.0 { vec![([30.0, 30.0, 20.0], radius)] } else { Vec::new() }
    };
    let of = |radii: &[f64]| {
        let visits = radii.iter().map(|&radius| {
            let balls = ball(radius);
            if balls.is_empty() { plain(&[]) } else { plain(&[&balls]) }
        });
        responses(&follow(&sessions(visits.collect()), &json!({})))
    };
    assert_eq!(of(&[10.0, 9.0, 6.5, 0.0]), ["baseline", "SD", "PR", "CR"]);
    // From a nadir of about 13 mm: 4 mm more are 30 %, and no progression; 6 mm more are.
    assert_eq!(of(&[10.0, 6.5, 8.5, 9.5]), ["baseline", "PR", "SD", "PD"]);
    assert_eq!(of(&[3.0, 2.0]), ["baseline", "NE"], "no measurable lesion");
}

#[test]
fn dates_order_sessions_if_all_have_one() {
    let entry = |label: &str, date: Option<&str>| {
        let columns: BTreeMap<String, String> =
            date.map(|date| ("date".to_owned(), date.to_owned())).into_iter().collect();
        CaseEntry { columns, ..CaseEntry::of(label) }
    };
    let group = |dates: [Option<&str>; 2]| {
        TestGroup::new()
            .entry(entry("sub-01_ses-1", dates[0]), plain(&[&[A], &[B]]))
            .entry(entry("sub-01_ses-2", dates[1]), plain(&[&[A]]))
    };
    let first = |dates| cell(&follow(&group(dates), &json!({})).table("sessions").unwrap(), 0, "case");
    assert_eq!(first([Some("2024-05-01"), Some("2023-12-31")]), "sub-01_ses-2");
    assert_eq!(first([Some("2024-05-01"), None]), "sub-01_ses-1");
}

#[test]
fn a_response_is_withheld_outside_the_models_domain() {
    let model = |card: Json| {
        let mut facts = Facts::new();
        facts.set("model", json!({ "name": "demo", "card": card }));
        facts
    };
    let of = |card: Json| {
        let facts = model(card);
        let visits =
            vec![session(&[&[A]], Affine::IDENTITY, &facts), session(&[&[A]], Affine::IDENTITY, &facts)];
        let table = follow(&sessions(visits), &json!({})).table("sessions").unwrap();
        [cell(&table, 0, "response"), cell(&table, 1, "response"), cell(&table, 1, "reason")]
    };
    let treated = "a treated brain, outside the domain of `demo`";
    assert_eq!(of(json!({ "domain": "untreated metastases, 3 T" })), ["baseline", "withheld", treated]);
    assert_eq!(of(json!({ "treated_brains": "false" })), ["baseline", "withheld", treated]);
    assert_eq!(of(json!({ "domain": "untreated", "treated_brains": "true" }))[1], "SD");
    let thick = Grid::axis_aligned([64, 64, 7], [1.0, 1.0, 6.0]);
    let visit = || on(thick, &[&[A]], Affine::IDENTITY, &Facts::new());
    let table = follow(&sessions(vec![visit(), visit()]), &json!({})).table("sessions").unwrap();
    assert_eq!(cell(&table, 1, "response"), "withheld");
    assert_eq!(cell(&table, 1, "reason"), "axial slices are 6.0 mm apart, more than 5 mm");
}

#[test]
fn measures_of_other_labels_and_flat_transforms_are_errors() {
    let other = Inputs::new()
        .with("labels", plain(&[&[A]]).value("labels").unwrap().clone())
        .with("measures", plain(&[]).value("measures").unwrap().clone());
    let error = sessions(vec![other]).run::<MatchLesions>(&json!({})).unwrap_err();
    assert!(error.message.contains("label 1 has no row among the measures"), "{error}");
    let flat = Affine::scale_shift([1.0, 1.0, 0.0], [0.0; 3]);
    let inputs = Inputs::new()
        .with("labels", plain(&[&[A]]).value("labels").unwrap().clone())
        .with("measures", plain(&[&[A]]).value("measures").unwrap().clone())
        .with("common_to_session", flat);
    let error = sessions(vec![inputs]).run::<MatchLesions>(&json!({})).unwrap_err();
    assert!(error.message.contains("cannot be inverted") || error.message.contains("invert"), "{error}");
    let error = sessions(vec![plain(&[])]).run::<MatchLesions>(&json!({ "min_overlap": 2.0 })).unwrap_err();
    assert!(error.message.starts_with("`min_overlap` is 2"), "{error}");
}
