//! The operators on volumes small enough to be read.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use neuroloom_volume_math::{ApplyMask, Logistic, SelectLabels, Subtract, Threshold};
use proptest::prelude::*;
use sdk::testing::{interface, run};
use sdk::{AnyVolume, Grid, Image, Inputs, Kind, Labels, Mask, Probability, Value};
use serde_json::json;

fn grid(len: usize) -> Grid {
    Grid::axis_aligned([len, 1, 1], [1.0; 3])
}

fn image(voxels: &[f32]) -> Image {
    Image::new(grid(voxels.len()), voxels.to_vec()).unwrap()
}

fn mask(voxels: &[u8]) -> Mask {
    Mask::new(grid(voxels.len()), voxels.to_vec()).unwrap()
}

fn labels(voxels: &[u32]) -> Labels {
    Labels::new(grid(voxels.len()), voxels.to_vec()).unwrap()
}

fn threshold(settings: serde_json::Value, voxels: &[f32]) -> Vec<u8> {
    let outputs = run::<Threshold>(settings, &Inputs::new().with("image", image(voxels))).unwrap();
    outputs.mask("mask").unwrap().voxels().to_vec()
}

fn select(chosen: &[u32], voxels: &[u32]) -> Vec<u8> {
    let inputs = Inputs::new().with("labels", labels(voxels));
    let outputs = run::<SelectLabels>(json!({ "labels": chosen }), &inputs).unwrap();
    outputs.mask("mask").unwrap().voxels().to_vec()
}

fn masked(settings: serde_json::Value, volume: impl Into<Value>) -> Result<AnyVolume, sdk::OperatorError> {
    let inputs = Inputs::new().with("image", volume).with("mask", mask(&[0, 1, 1]));
    run::<ApplyMask>(settings, &inputs)?.volume("image")
}

#[test]
fn a_mask_keeps_the_kind_of_every_volume_and_its_voxels_inside() {
    let Ok(AnyVolume::Image(out)) = masked(json!({ "outside": -1.5 }), image(&[1.0, 2.0, 3.0])) else {
        panic!()
    };
    assert_eq!(out.voxels(), [-1.5, 2.0, 3.0]);
    let Ok(AnyVolume::Labels(out)) = masked(json!({ "outside": 9 }), labels(&[1, 2, 3])) else { panic!() };
    assert_eq!(out.voxels(), [9, 2, 3]);
    let Ok(AnyVolume::Mask(out)) = masked(json!({}), mask(&[1, 1, 0])) else { panic!() };
    assert_eq!(out.voxels(), [0, 1, 0]);
    let probability = Probability::new(grid(3), vec![0.1, 0.2, 0.3]).unwrap();
    let Ok(AnyVolume::Probability(out)) = masked(json!({ "outside": 1 }), probability) else { panic!() };
    assert_eq!(out.voxels(), [1.0, 0.2, 0.3]);
}

#[test]
fn a_value_outside_that_the_kind_cannot_hold_is_refused_before_any_image_is_read() {
    let refusal = |outside: f64, volume: AnyVolume| {
        let inputs = Inputs::new().with("image", volume).with("mask", mask(&[1]));
        interface::<ApplyMask>(&json!({ "outside": outside }), &inputs).unwrap_err().message
    };
    assert_eq!(refusal(2.0, mask(&[1]).into_any()), "`outside` is 2, where mask takes 0 or 1");
    assert_eq!(
        refusal(0.5, labels(&[1]).into_any()),
        "`outside` is 0.5, where labels takes a whole number from 0"
    );
    assert_eq!(
        refusal(1e39, image(&[1.0]).into_any()),
        "`outside` is 1000000000000000000000000000000000000000, where image takes a finite number"
    );
}

trait IntoAny {
    fn into_any(self) -> AnyVolume;
}

impl IntoAny for Mask {
    fn into_any(self) -> AnyVolume {
        AnyVolume::Mask(self)
    }
}

impl IntoAny for Labels {
    fn into_any(self) -> AnyVolume {
        AnyVolume::Labels(self)
    }
}

impl IntoAny for Image {
    fn into_any(self) -> AnyVolume {
        AnyVolume::Image(self)
    }
}

#[test]
fn both_bounds_of_a_threshold_are_inside_and_nan_never_is() {
    let voxels = [0.0, 0.1, 0.5, 0.9, f32::NAN, f32::INFINITY];
    assert_eq!(threshold(json!({ "above": 0.1 }), &voxels), [0, 1, 1, 1, 0, 1]);
    assert_eq!(threshold(json!({ "below": 0.9 }), &voxels), [1, 1, 1, 1, 0, 0]);
    assert_eq!(threshold(json!({ "above": 0.1, "below": 0.9 }), &voxels), [0, 1, 1, 1, 0, 0]);
}

#[test]
fn a_probability_or_mask_can_be_thresholded_as_an_image() {
    let outputs =
        run::<Threshold>(json!({ "above": 1 }), &Inputs::new().with("image", mask(&[0, 1]))).unwrap();
    assert_eq!(outputs.mask("mask").unwrap().voxels(), [0, 1]);
}

#[test]
fn bounds_that_cannot_be_met_are_named() {
    let message = |settings| {
        run::<Threshold>(settings, &Inputs::new().with("image", image(&[1.0]))).unwrap_err().message
    };
    assert_eq!(message(json!({})), "neither `above` nor `below` is set");
    assert_eq!(message(json!({ "above": 2, "below": 1 })), "`above` is 2, greater than `below`, 1");
}

#[test]
fn chosen_labels_become_the_mask_and_missing_ones_a_warning() {
    assert_eq!(select(&[3, 1, 3], &[0, 1, 2, 3, 3, 0]), [0, 1, 0, 1, 1, 0]);
    let inputs = Inputs::new().with("labels", labels(&[0, 2]));
    let outputs = run::<SelectLabels>(json!({ "labels": [7, 2, 5] }), &inputs).unwrap();
    assert_eq!(outputs.facts("mask").warnings(), ["no voxel carries the labels [5, 7]"]);
    let error = run::<SelectLabels>(json!({}), &inputs).unwrap_err();
    assert_eq!(error.message, "`labels` names no label");
}

#[test]
fn a_difference_is_taken_voxel_by_voxel_and_keeps_the_facts_of_the_first() {
    let inputs = Inputs::new()
        .with("a", Value::from(image(&[5.0, 1.0])).fact("units", "T1"))
        .with("b", image(&[2.0, 1.5]));
    let outputs = run::<Subtract>(json!({}), &inputs).unwrap();
    assert_eq!(outputs.image("image").unwrap().voxels(), [3.0, -0.5]);
    assert_eq!(outputs.facts("image").text("units"), Some("T1"));
}

#[test]
fn volumes_on_different_grids_are_an_error() {
    let inputs = Inputs::new().with("a", image(&[1.0])).with("b", image(&[1.0, 2.0]));
    let error = run::<Subtract>(json!({}), &inputs).unwrap_err();
    assert!(error.message.starts_with("`b` on 2x1x1 voxels"), "{}", error.message);
    assert!(error.hint.unwrap().contains("resample"));
    let inputs = Inputs::new().with("image", image(&[1.0])).with("mask", mask(&[1, 1]));
    assert!(run::<ApplyMask>(json!({}), &inputs).unwrap_err().message.starts_with("`mask` on 2x1x1 voxels"));
}

#[test]
fn kinds_of_volume_are_declared_as_one_variable() {
    let inputs = Inputs::new().with("image", labels(&[1])).with("mask", mask(&[1]));
    let declared = interface::<ApplyMask>(&json!({}), &inputs).unwrap();
    assert_eq!(declared.inputs[0].kind, declared.outputs[0].kind);
    assert_eq!(run::<ApplyMask>(json!({}), &inputs).unwrap().value("image").unwrap().kind(), Kind::Labels);
}

proptest! {
    #[test]
    fn selecting_every_label_gives_all_that_is_not_background(voxels in proptest::collection::vec(0u32..6, 1..200)) {
        let all: Vec<u8> = voxels.iter().map(|&v| u8::from(v != 0)).collect();
        prop_assert_eq!(select(&[1, 2, 3, 4, 5], &voxels), all);
    }

    #[test]
    fn what_is_not_above_a_bound_is_below_it(voxels in proptest::collection::vec(0u16..50, 1..200), bound in 0u16..50) {
        let voxels: Vec<f32> = voxels.into_iter().map(f32::from).collect();
        let above = threshold(json!({ "above": f64::from(bound) }), &voxels);
        let below = threshold(json!({ "below": f64::from(bound) - 1.0 }), &voxels);
        prop_assert!(above.iter().zip(&below).all(|(a, b)| a + b == 1));
    }
}

#[test]
fn logistic_scores_are_one_half_at_the_centre_and_rise_with_intensity() {
    let scores = |settings| {
        let inputs = Inputs::new().with("image", image(&[2.5, 3.5, 1e30, -1e30, f32::NAN]));
        run::<Logistic>(settings, &inputs).map(|outputs| outputs.probability("probability").unwrap())
    };
    let found = scores(json!({ "centre": 2.5, "width": 1.0 })).unwrap();
    let e = 1f32.exp();
    // f32 keeps seven digits.
    assert!((found.voxels()[1] - e / (1.0 + e)).abs() < 1e-6, "{:?}", found.voxels());
    assert_eq!([0, 2, 3, 4].map(|n| found.voxels()[n]), [0.5, 1.0, 0.0, 0.0]);
    let error = scores(json!({ "width": 0.0 })).unwrap_err();
    assert!(error.message.starts_with("`centre` is 0 and `width` 0"), "{error}");
}
