//! Heads made of formulas, so that the truth is known: `register` must find it.

#![expect(clippy::unwrap_used, reason = "helpers of tests outside `#[test]` functions")]

#[path = "common/heads.rs"]
mod heads;

use heads::{FLAIR, T1, error_mm, fixed_grid, grid, scan};
use neuroloom_registration::Register;
use sdk::geometry::Affine;
use sdk::testing::{ball_mask, run};
use sdk::{Image, Inputs, Mask, OperatorError, Outputs};
use serde_json::json;

fn register(fixed: &Image, moving: &Image, mask: Option<&Mask>) -> Result<Outputs, OperatorError> {
    let mut inputs = Inputs::new().with("fixed", fixed.clone()).with("moving", moving.clone());
    if let Some(mask) = mask {
        inputs = inputs.with("fixed_mask", mask.clone());
    }
    run::<Register>(json!({}), &inputs)
}

/// 0.1 mm: a thirtieth of a slice.
#[test]
fn a_known_move_between_two_contrasts_is_found() {
    let truth = Affine::rigid([0.2, -0.15, 0.25], [12.0, -9.0, 14.0], [0.0; 3]);
    let fixed = scan(fixed_grid(), &T1, &Affine::IDENTITY);
    let moving_grid = grid([128, 128, 56], [1.7, 1.7, 3.3], [5.0, -5.0, 0.0], [-0.1, 0.05, 0.0]);
    let moving = scan(moving_grid, &FLAIR, &truth);
    let outputs = register(&fixed, &moving, None).unwrap();
    let error = error_mm(&outputs, &truth);
    assert!(error < 0.1, "{error} mm");
    let table = outputs.table("quality").unwrap();
    let number = |name: &str| table.cell(0, name).unwrap().number().unwrap();
    assert!(number("metric_after") > number("metric_before"));
    assert!(
        outputs.facts("registered").warnings().is_empty(),
        "{:?}",
        outputs.facts("registered").warnings()
    );
    // The table's angles and shift build the map again: `Affine::rigid` about the middle of the fixed grid.
    let angles = ["rotation_x_deg", "rotation_y_deg", "rotation_z_deg"].map(|name| number(name).to_radians());
    let shift = ["shift_x_mm", "shift_y_mm", "shift_z_mm"].map(number);
    let again = Affine::rigid(angles, shift, fixed.grid().centre_world());
    assert!(error_mm(&outputs, &again) < 1e-6);
}

/// 0.3 mm: slices of 5.5 mm, a third of the head outside the moving image, and no voxel of air (background is 0).
#[test]
fn a_short_stack_of_thick_slices_is_found() {
    let truth = Affine::rigid([-0.1, 0.2, -0.1], [8.0, 15.0, -6.0], [0.0; 3]);
    let fixed = scan(fixed_grid(), &T1, &Affine::IDENTITY);
    let moving_grid = grid([110, 110, 18], [2.0, 2.0, 5.5], [8.0, 15.0, 10.0], [0.1, 0.0, 0.2]);
    let outputs = register(&fixed, &scan(moving_grid, &FLAIR, &truth), None).unwrap();
    let error = error_mm(&outputs, &truth);
    assert!(error < 0.3, "{error} mm");
}

/// 45 degrees and 60 mm: far beyond what a table does.
#[test]
fn a_large_move_is_found() {
    let truth = Affine::rigid([0.0, 0.0, 0.75], [50.0, -30.0, 20.0], [0.0; 3]);
    let fixed = scan(fixed_grid(), &T1, &Affine::IDENTITY);
    let moving_grid = grid([128, 128, 60], [2.0, 2.0, 3.5], [50.0, -30.0, 20.0], [0.0; 3]);
    let outputs = register(&fixed, &scan(moving_grid, &FLAIR, &truth), None).unwrap();
    let error = error_mm(&outputs, &truth);
    assert!(error < 0.1, "{error} mm");
}

/// 0.01 mm: nothing to find, and nothing may drift.
#[test]
fn identical_images_stay_where_they_are() {
    let fixed = scan(fixed_grid(), &T1, &Affine::IDENTITY);
    let outputs = register(&fixed, &fixed, None).unwrap();
    let error = error_mm(&outputs, &Affine::IDENTITY);
    assert!(error < 0.01, "{error} mm");
}

/// Within the mask the brain counts alone; 0.3 mm, as the outline of the head does not help.
#[test]
fn a_mask_keeps_the_rest_out() {
    let truth = Affine::rigid([0.05, 0.1, -0.1], [4.0, -5.0, 6.0], [0.0; 3]);
    let fixed = scan(fixed_grid(), &T1, &Affine::IDENTITY);
    let mask = ball_mask(fixed_grid(), [0.0, 0.0, 5.0], 60.0);
    let moving_grid = grid([128, 128, 60], [1.7, 1.7, 3.3], [5.0, -5.0, 0.0], [0.0; 3]);
    let moving = scan(moving_grid, &FLAIR, &truth);
    let error = error_mm(&register(&fixed, &moving, Some(&mask)).unwrap(), &truth);
    assert!(error < 0.3, "{error} mm");
}

#[test]
fn images_of_different_things_are_warned_of() {
    let fixed = scan(fixed_grid(), &T1, &Affine::IDENTITY);
    let small = grid([40, 40, 40], [2.0; 3], [0.0; 3], [0.0; 3]);
    let noise: Vec<f32> = (0..small.len()).map(|n| (n * 7919 % 1009) as f32).collect();
    let outputs = register(&fixed, &Image::new(small, noise).unwrap(), None).unwrap();
    let facts = outputs.facts("registered");
    assert!(
        facts.warnings().iter().any(|text| text.contains("hardly any information")),
        "{:?}",
        facts.warnings()
    );
}
