//! The operator as the engine runs it: through the border, its outputs held against its ports.

use otsu_brain::OtsuBrain;
use sdk::testing::{ball_mask, context, context_with};
use sdk::{Cause, Grid, Image, Inputs, Mask, OperatorError};
use serde_json::json;

/// Middle of the test head, mm.
const CENTRE_MM: [f64; 3] = [79.0, 79.0, 78.0];
/// Radius of its brain, mm: the volume of a brain of 1150 ml.
const BRAIN_MM: f64 = 65.0;

fn grid() -> Grid {
    Grid::axis_aligned([80, 80, 53], [2.0, 2.0, 3.0])
}

/// A brain with a dark ventricle, dark bone around it, a bright scalp, and a bridge (an optic nerve) to that scalp.
fn head() -> Image {
    let grid = grid();
    let distance = |p: [f64; 3]| (0..3).map(|a| (p[a] - CENTRE_MM[a]).powi(2)).sum::<f64>().sqrt();
    let tissue = |offset: usize| {
        let p = grid.world(grid.index(offset));
        let off_axis = (p[0] - CENTRE_MM[0]).hypot(p[2] - CENTRE_MM[2]);
        match distance(p) {
            r if r <= 10.0 => 20.0,
            r if r <= BRAIN_MM => 100.0,
            r if r <= 71.0 => {
                if off_axis < 3.5 {
                    90.0
                } else {
                    10.0
                }
            }
            r if r <= 76.0 => 120.0,
            _ => 0.0,
        }
    };
    let voxels: Vec<f32> = (0..grid.len()).map(tissue).collect();
    Image::new(grid, voxels).expect("one number for each voxel")
}

fn strip(head: Image, settings: serde_json::Value) -> Result<Mask, OperatorError> {
    sdk::testing::run::<OtsuBrain>(settings, &Inputs::new().with("head", head))?.mask("mask")
}

fn dice(a: &Mask, b: &Mask) -> f64 {
    let both = a.voxels().iter().zip(b.voxels()).filter(|(a, b)| **a == 1 && **b == 1).count();
    2.0 * both as f64 / (a.count() + b.count()) as f64
}

#[test]
fn the_brain_is_found_with_its_ventricle_and_without_the_scalp() {
    let mask = strip(head(), json!({})).unwrap();
    let truth = ball_mask(grid(), CENTRE_MM, BRAIN_MM);
    // The opening may cost half a voxel (1.2 mm) around a brain of 65 mm: 5 % of its volume, 0.026 of the overlap.
    assert!(dice(&mask, &truth) > 0.97, "Dice {}", dice(&mask, &truth));
    assert_eq!(mask.at([40, 40, 26]), 1, "the ventricle is inside");
    assert_eq!(mask.at([2, 40, 26]), 0, "the scalp is outside");
}

/// Shows that the opening is what parts brain and scalp.
#[test]
fn without_an_opening_the_bridge_brings_the_scalp_in() {
    let mask = strip(head(), json!({ "opening_mm": 0.0, "closing_mm": 0.0 })).unwrap();
    assert_eq!(mask.at([2, 40, 26]), 1);
}

#[test]
fn neither_scale_nor_thread_count_changes_the_mask() {
    let options = otsu_brain::brain::Options::default();
    let found = |image: &Image, threads| {
        otsu_brain::brain::find(image, &options, &context_with(threads)).unwrap().mask.voxels().to_vec()
    };
    let image = head();
    let scaled: Vec<f32> = image.voxels().iter().map(|value| value * 4.0 + 64.0).collect();
    let scaled = Image::new(*image.grid(), scaled).unwrap();
    assert_eq!(found(&image, 1), found(&image, 3));
    assert_eq!(found(&image, 1), found(&scaled, 1));
}

#[test]
fn facts_of_the_head_travel_with_the_mask_and_an_odd_volume_is_said() {
    let value = sdk::Value::from(head()).fact("sources", json!(["t1.nii.gz"]));
    let inputs = Inputs::new().with("head", value);
    let outputs = sdk::testing::run::<OtsuBrain>(json!({ "closing_mm": 0 }), &inputs).unwrap();
    assert_eq!(outputs.facts("mask").get("sources"), Some(&json!(["t1.nii.gz"])));
    assert_eq!(outputs.facts("mask").warnings(), Vec::<&str>::new());

    let small = Grid::axis_aligned([80, 80, 53], [1.0, 1.0, 1.5]);
    let inputs = Inputs::new().with("head", head().with_grid(small).unwrap());
    let outputs =
        sdk::testing::run::<OtsuBrain>(json!({ "opening_mm": 2, "closing_mm": 0 }), &inputs).unwrap();
    let facts = outputs.facts("mask");
    assert!(facts.warnings()[0].contains("outside 600 to 2200"), "{:?}", facts.warnings());
}

#[test]
fn bad_images_and_settings_end_in_one_clear_error() {
    let flat = Image::new(grid(), vec![7.0; grid().len()]).unwrap();
    let error = strip(flat, json!({})).unwrap_err();
    assert_eq!(error.message, "all voxels are 7, so nothing can be told apart");
    assert_eq!(error.hint.as_deref(), Some("is this a head?"));

    let mut voxels = head().voxels().to_vec();
    voxels[81] = f32::NAN;
    let error = strip(Image::new(grid(), voxels).unwrap(), json!({})).unwrap_err();
    assert!(error.message.starts_with("voxel [1, 1, 0] is NaN"), "{error}");

    let error =
        strip(Image::new(Grid::axis_aligned([1, 1, 2], [1.0; 3]), vec![0.0, 1.0]).unwrap(), json!({}));
    assert!(error.unwrap_err().hint.unwrap().contains("opening_mm"));

    let error = strip(head(), json!({ "opening_mm": 21 })).unwrap_err();
    assert_eq!(error.cause, Cause::Refused);
    assert_eq!(error.message, "`opening_mm` is 21, outside 0 to 20 (mm)");

    let error = strip(head(), json!({ "openning_mm": 2 })).unwrap_err();
    assert!(error.message.contains("unknown field `openning_mm`"), "{error}");
}

#[test]
fn the_threshold_lies_between_two_classes() {
    let image = Image::new(Grid::axis_aligned([4, 1, 1], [1.0; 3]), vec![1.0, 2.0, 9.0, 10.0]).unwrap();
    let threshold = otsu_brain::brain::otsu_threshold(&image, &context()).unwrap();
    // The middle of the gap from 2 to 9, to one of 1024 bins.
    assert!((threshold - 5.5).abs() < 0.02, "{threshold}");
}

#[test]
fn a_request_to_stop_is_heeded() {
    let cancel = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let ctx = sdk::testing::context_to_cancel(cancel);
    let error = otsu_brain::brain::find(&head(), &otsu_brain::brain::Options::default(), &ctx).unwrap_err();
    assert_eq!(error.cause, Cause::Cancelled);
}
