//! `filter_lesions` on phantoms whose candidates are known by construction.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use neuroloom_lesions::FilterLesions;
use sdk::testing::{ball_mask, run};
use sdk::{AnyVolume, Cell, Grid, Inputs, Labels, Mask, OperatorError, Outputs, Probability, Table, Value};
use serde_json::json;

fn grid(shape: [usize; 3]) -> Grid {
    Grid::axis_aligned(shape, [1.0; 3])
}

fn scores(shape: [usize; 3], score: impl Fn([usize; 3]) -> f32) -> Value {
    let grid = grid(shape);
    let voxels: Vec<f32> = (0..grid.len()).map(|offset| score(grid.index(offset))).collect();
    Probability::new(grid, voxels).unwrap().into()
}

/// Voxels along `i` with these scores, no wider: components are runs.
fn line(scores_along: &[f32]) -> Value {
    scores([scores_along.len(), 1, 1], |[i, _, _]| scores_along[i])
}

/// Without rules of shape: candidates that are runs are as elongated as can be.
fn filter(mut settings: serde_json::Value, probability: Value) -> Result<Outputs, OperatorError> {
    settings["rules"] = json!([]);
    run::<FilterLesions>(settings, &Inputs::new().with("probability", probability))
}

fn labels(outputs: &Outputs, port: &str) -> Labels {
    outputs.labels(port).unwrap()
}

fn table(outputs: &Outputs) -> Table {
    outputs.table("candidates").unwrap()
}

fn column(table: &Table, name: &str) -> Vec<Cell> {
    (0..table.rows.len()).map(|row| table.cell(row, name).unwrap().clone()).collect()
}

fn numbers(table: &Table, name: &str) -> Vec<f64> {
    column(table, name).iter().map(|cell| cell.number().unwrap()).collect()
}

#[test]
fn a_candidate_of_exactly_the_limit_is_accepted_and_one_voxel_less_is_below_size() {
    // Runs of 9, 10 and 11 voxels of 1 mm^3.
    let mut along = vec![0.0f32; 40];
    along[1..10].fill(0.9);
    along[12..22].fill(0.8);
    along[25..36].fill(0.7);
    let outputs = filter(json!({}), line(&along)).unwrap();
    let table = table(&outputs);
    assert_eq!(numbers(&table, "voxels"), [11.0, 10.0, 9.0]);
    assert_eq!(column(&table, "class"), ["accepted", "accepted", "below_size"].map(Cell::from));
    assert_eq!(numbers(&table, "id"), [1.0, 2.0, 3.0]);
    assert_eq!([1, 12, 25].map(|i| labels(&outputs, "labels").voxels()[i]), [0, 2, 1]);
    assert_eq!([1, 12, 25].map(|i| labels(&outputs, "below_size").voxels()[i]), [3, 0, 0]);
}

#[test]
fn rounding_of_a_voxels_volume_does_not_push_a_candidate_below_the_limit() {
    // 1000 voxels of 0.1 x 0.1 x 1 mm are 10 mm^3, but for the last bit.
    let grid = Grid::axis_aligned([1000, 1, 1], [0.1, 0.1, 1.0]);
    let probability = Probability::new(grid, vec![1.0; 1000]).unwrap();
    let outputs = filter(json!({}), probability.into()).unwrap();
    assert_eq!(column(&table(&outputs), "class"), [Cell::from("accepted")]);
}

#[test]
fn a_score_equal_to_the_threshold_as_f32_is_inside() {
    let settings = json!({ "threshold": 0.93, "min_volume_mm3": 0 });
    let below = f32::from_bits(0.93f32.to_bits() - 1);
    let outputs = filter(settings, line(&[0.93, 0.0, below])).unwrap();
    assert_eq!(labels(&outputs, "labels").voxels(), [1, 0, 0]);
}

#[test]
fn the_threshold_comes_from_the_setting_then_the_model_then_one_half() {
    let probability = || line(&[0.3, 0.0, 0.6, 0.0, 0.9]);
    let found = |settings, probability| {
        let outputs = filter(settings, probability).unwrap();
        let facts = outputs.facts("labels");
        let source = facts.text("threshold_source").unwrap().to_owned();
        (table(&outputs).rows.len(), facts.number("threshold").unwrap(), source)
    };
    let setting = json!({ "threshold": 0.2 });
    assert_eq!(found(setting, probability().fact("threshold", 0.8)), (3, 0.2, "setting".to_owned()));
    assert_eq!(found(json!({}), probability().fact("threshold", 0.8)), (1, 0.8, "model".to_owned()));
    assert_eq!(found(json!({}), probability()), (2, 0.5, "default".to_owned()));
}

#[test]
fn facts_of_the_score_map_travel_on() {
    let model = json!({ "name": "demo", "digest": "ab" });
    let outputs = filter(json!({}), line(&[0.0]).fact("model", model.clone())).unwrap();
    for port in ["labels", "below_size", "candidates"] {
        assert_eq!(outputs.facts(port).get("model"), Some(&model), "{port}");
    }
}

#[test]
fn scores_that_are_not_finite_count_as_0_and_are_told() {
    let along = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.9];
    let outputs = filter(json!({ "min_volume_mm3": 0 }), line(&along)).unwrap();
    assert_eq!(labels(&outputs, "labels").voxels(), [0, 0, 0, 1]);
    assert_eq!(outputs.facts("labels").warnings(), ["3 scores are not finite and count as 0"]);
}

#[test]
fn nothing_outside_the_mask_is_a_candidate() {
    let shape = [12, 12, 12];
    let mask = ball_mask(grid(shape), [6.0; 3], 4.0);
    let inputs = Inputs::new().with("probability", scores(shape, |_| 0.9)).with("mask", mask.clone());
    let outputs = run::<FilterLesions>(json!({}), &inputs).unwrap();
    let found: Vec<u8> = labels(&outputs, "labels").voxels().iter().map(|&v| u8::from(v == 1)).collect();
    assert_eq!(found, mask.voxels());
    let centroid = ["centroid_x", "centroid_y", "centroid_z"].map(|name| numbers(&table(&outputs), name)[0]);
    // The ball is symmetric about its centre: exact but for the division.
    assert!(centroid.iter().all(|x| (x - 6.0).abs() < 1e-12), "{centroid:?}");
}

#[test]
fn connectivity_decides_whether_a_corner_joins() {
    let corner = |index: [usize; 3]| if index == [0; 3] || index == [1; 3] { 0.9 } else { 0.0 };
    for (connectivity, expected) in [(6, 2), (18, 2), (26, 1)] {
        let outputs = filter(json!({ "connectivity": connectivity }), scores([2, 2, 2], corner)).unwrap();
        assert_eq!(table(&outputs).rows.len(), expected, "{connectivity}");
    }
}

#[test]
fn max_and_mean_score_are_those_of_the_candidates_voxels() {
    let outputs = filter(json!({}), line(&[0.5, 0.75, 1.0, 0.25])).unwrap();
    assert_eq!(numbers(&table(&outputs), "max_score"), [1.0]);
    assert_eq!(numbers(&table(&outputs), "mean_score"), [0.75]);
}

#[test]
fn a_map_without_candidates_gives_empty_labels_and_no_rows() {
    let outputs = filter(json!({}), scores([3, 3, 3], |_| 0.1)).unwrap();
    assert!(table(&outputs).rows.is_empty() && !table(&outputs).columns.is_empty());
    assert!(labels(&outputs, "labels").voxels().iter().all(|&v| v == 0));
}

#[test]
fn the_labels_lie_on_the_grid_of_the_scores() {
    let outputs = filter(json!({}), scores([3, 4, 5], |_| 0.9)).unwrap();
    let Some(AnyVolume::Labels(labels)) = outputs.value("labels").unwrap().volume() else { panic!() };
    assert_eq!(*labels.grid(), grid([3, 4, 5]));
}

#[test]
fn bad_settings_and_bad_input_are_named() {
    let message = |settings, probability| filter(settings, probability).unwrap_err();
    let ok = || line(&[0.9]);
    assert_eq!(
        message(json!({ "threshold": 1.5 }), ok()).message,
        "`threshold` (from: setting) is 1.5, outside 0 to 1"
    );
    assert_eq!(
        message(json!({}), ok().fact("threshold", -1.0)).message,
        "`threshold` (from: model) is -1, outside 0 to 1"
    );
    assert_eq!(
        message(json!({ "min_volume_mm3": -3 }), ok()).message,
        "`min_volume_mm3` is -3, below 0 or not finite"
    );
    assert_eq!(
        message(json!({ "connectivity": 8 }), ok()).message,
        "connectivity 8 where 6, 18 or 26 is expected"
    );
    let percent = message(json!({}), line(&[90.0, 0.1, 0.0]));
    assert_eq!(percent.message, "1 of 3 scores lie outside 0 to 1");
    assert!(percent.hint.unwrap().contains("percent"));
}

#[test]
fn an_empty_mask_and_a_mask_of_another_grid_are_errors() {
    let with_mask = |mask: Mask| {
        let inputs = Inputs::new().with("probability", line(&[0.9, 0.9])).with("mask", mask);
        run::<FilterLesions>(json!({}), &inputs).unwrap_err().message
    };
    assert_eq!(
        with_mask(Mask::new(grid([2, 1, 1]), vec![0, 0]).unwrap()),
        "a mask without a single voxel of 2"
    );
    let other = with_mask(Mask::new(grid([1, 1, 1]), vec![1]).unwrap());
    assert!(other.starts_with("`mask` on 1x1x1 voxels"), "{other}");
}
