//! Heads made of formulas, so that the truth is known: `register` must find it.

#![expect(clippy::unwrap_used, reason = "helpers of tests outside `#[test]` functions")]

use neuroloom_registration::Register;
use sdk::geometry::{Affine, Grid};
use sdk::testing::{ball_mask, run};
use sdk::{Image, Inputs, Mask, OperatorError, Outputs};
use serde_json::json;

/// One contrast: intensities of background, scalp, skull, brain tissue, ventricles, and what the lobes' pattern adds.
struct Contrast([f64; 6]);

const T1: Contrast = Contrast([0.0, 220.0, 30.0, 120.0, 40.0, 30.0]);
const FLAIR: Contrast = Contrast([0.0, 150.0, 20.0, 100.0, 10.0, -25.0]);

/// How far inside an ellipsoid a place is: 1 well inside, 0 outside, smooth over about 2 mm.
fn inside(p: [f64; 3], centre: [f64; 3], radii: [f64; 3]) -> f64 {
    let r = (0..3).map(|a| ((p[a] - centre[a]) / radii[a]).powi(2)).sum::<f64>().sqrt();
    let smallest = radii.into_iter().fold(f64::INFINITY, f64::min);
    ((1.0 - r) * smallest / 2.0 + 0.5).clamp(0.0, 1.0)
}

/// A head about the world's origin.
fn head(p: [f64; 3], contrast: &Contrast) -> f64 {
    let [air, scalp, skull, tissue, ventricle, lobes] = contrast.0;
    let mix = |outside: f64, within: f64, share: f64| outside + share * (within - outside);
    let neck = inside(p, [0.0, -20.0, -95.0], [55.0, 60.0, 60.0]);
    let mut value = mix(air, scalp, neck.max(inside(p, [0.0; 3], [78.0, 98.0, 85.0])));
    value = mix(value, skull, inside(p, [0.0, 0.0, 2.0], [72.0, 92.0, 78.0]));
    let pattern = (0.13 * p[0] + 0.4).sin() * (0.11 * p[1]).cos() + (0.17 * p[2] + 0.05 * p[0]).sin();
    value = mix(value, tissue + lobes * pattern, inside(p, [0.0, 0.0, 3.0], [66.0, 84.0, 70.0]));
    value = mix(value, ventricle, inside(p, [-14.0, 2.0, 8.0], [8.0, 32.0, 12.0]));
    mix(value, ventricle, inside(p, [14.0, -3.0, 8.0], [9.0, 30.0, 14.0]))
}

/// The head as a scanner sees it when `fixed_to_moving` moved it.
fn scan(grid: Grid, contrast: &Contrast, fixed_to_moving: &Affine) -> Image {
    let back = fixed_to_moving.inverse().unwrap();
    let voxel = |n: usize| head(back.point(grid.world(grid.index(n))), contrast) as f32;
    Image::new(grid, (0..grid.len()).map(voxel).collect::<Vec<f32>>()).unwrap()
}

/// A grid whose middle is at `middle`, turned.
fn grid(shape: [usize; 3], spacing_mm: [f64; 3], middle: [f64; 3], angles_rad: [f64; 3]) -> Grid {
    let half = [0, 1, 2].map(|a| -0.5 * (shape[a] as f64 - 1.0) * spacing_mm[a]);
    let turn = Affine::rigid(angles_rad, middle, [0.0; 3]);
    Grid::new(shape, turn.after(&Affine::scale_shift(spacing_mm, half)))
}

fn fixed_grid() -> Grid {
    grid([120, 150, 60], [1.8, 1.6, 3.0], [0.0, -2.0, -5.0], [0.05, 0.0, 0.02])
}

fn register(fixed: &Image, moving: &Image, mask: Option<&Mask>) -> Result<Outputs, OperatorError> {
    let mut inputs = Inputs::new().with("fixed", fixed.clone()).with("moving", moving.clone());
    if let Some(mask) = mask {
        inputs = inputs.with("fixed_mask", mask.clone());
    }
    run::<Register>(json!({}), &inputs)
}

/// Mean distance in mm of what was found from the truth, over the corners of a brain.
fn error_mm(outputs: &Outputs, truth: &Affine) -> f64 {
    let found = outputs.transform("fixed_to_moving").unwrap();
    let found = *found.as_affine().unwrap();
    let corners = (0..8).map(|n| {
        [65.0, 80.0, 65.0].map(f64::from).into_iter().enumerate().map(
            move |(a, r)| {
                if n >> a & 1 == 1 { r } else { -r }
            },
        )
    });
    let apart = corners.map(|corner| {
        let corner: Vec<f64> = corner.collect();
        let at = [corner[0], corner[1], corner[2]];
        let (p, q) = (found.point(at), truth.point(at));
        (0..3).map(|a| (p[a] - q[a]).powi(2)).sum::<f64>().sqrt()
    });
    apart.sum::<f64>() / 8.0
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
    let nothing = Mask::new(fixed_grid(), vec![0; fixed_grid().len()]).unwrap();
    let error = register(&fixed, &moving, Some(&nothing)).unwrap_err();
    assert!(error.message.contains("the fixed mask leaves 0 of"), "{error}");
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

/// Each message names the image, what was found, and a way out.
#[test]
fn bad_input_is_a_clear_error() {
    let good = scan(grid([40, 40, 20], [4.0, 4.0, 8.0], [0.0; 3], [0.0; 3]), &T1, &Affine::IDENTITY);
    let with = |value: f32| {
        let mut voxels = good.voxels().to_vec();
        voxels[5] = value;
        Image::new(*good.grid(), voxels).unwrap()
    };
    let constant = Image::new(*good.grid(), vec![3.0; good.grid().len()]).unwrap();
    let slice = Image::new(Grid::axis_aligned([40, 40, 1], [4.0; 3]), vec![1.0; 1600]).unwrap();
    let flat = good.with_grid(Grid::axis_aligned(good.grid().shape, [1.0, 1.0, 0.0])).unwrap();
    for (fixed, moving, message) in [
        (&constant, &good, "the fixed image has the one value 3 everywhere"),
        (&good, &constant, "the moving image has the one value 3 everywhere"),
        (&good, &with(f32::NAN), "the moving image is not finite at voxel [5, 0, 0]"),
        (&with(f32::INFINITY), &good, "the fixed image is not finite at voxel [5, 0, 0]"),
        (&good, &slice, "the moving image has 1 voxels along axis 2, fewer than 4"),
        (&good, &flat, "the affine of the moving image is flat"),
    ] {
        let error = register(fixed, moving, None).unwrap_err();
        assert_eq!(error.message, message);
        assert!(error.hint.is_some(), "{error}");
    }
}
