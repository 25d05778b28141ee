//! Heads of other sizes and shapes: 7 and 12 degrees of freedom, and the way back.

#![expect(clippy::unwrap_used, reason = "helpers of tests outside `#[test]` functions")]

#[path = "common/heads.rs"]
mod heads;

use heads::{FLAIR, T1, error_mm, fixed_grid, grid, scan};
use neuroloom_registration::Register;
use neuroloom_registration::align::{self, Masks, Options};
use neuroloom_registration::pose::Freedom;
use sdk::geometry::Affine;
use sdk::testing::{ball_mask, context_with, run};
use sdk::{Image, Inputs, Outputs};
use serde_json::{Value, json};

fn register(fixed: &Image, moving: &Image, settings: Value) -> Outputs {
    let inputs = Inputs::new().with("fixed", fixed.clone()).with("moving", moving.clone());
    run::<Register>(settings, &inputs).unwrap()
}

fn fixed() -> Image {
    scan(fixed_grid(), &T1, &Affine::IDENTITY)
}

/// Turned, shifted, and `factor` times as large.
fn sized(factor: f64) -> Affine {
    let turn = Affine::rigid([0.1, -0.15, 0.2], [6.0, -9.0, 8.0], [0.0; 3]);
    turn.after(&Affine::scale_shift([factor; 3], [0.0; 3]))
}

/// A box that holds the head of [`sized`].
fn scanned(truth: &Affine, factor: f64) -> Image {
    let spacing = [1.7, 1.7, 3.3].map(|mm| mm * factor);
    scan(grid([128, 128, 56], spacing, [6.0, -12.0, 4.0], [-0.1, 0.05, 0.0]), &FLAIR, truth)
}

/// A child's head and a large one's. 0.2 mm: a fifteenth of a slice.
#[test]
fn heads_of_other_sizes_are_found() {
    for factor in [0.7, 1.3] {
        let truth = sized(factor);
        for freedom in [7, 12] {
            let found =
                register(&fixed(), &scanned(&truth, factor), json!({ "degrees_of_freedom": freedom }));
            let error = error_mm(&found, &truth);
            assert!(error < 0.2, "{factor} with {freedom}: {error} mm");
            let table = found.table("quality").unwrap();
            for name in ["scale_x", "scale_y", "scale_z"] {
                let scale = table.cell(0, name).unwrap().number().unwrap();
                assert!((scale - factor).abs() < 0.005, "{name} is {scale}, not {factor}");
            }
            let facts = found.facts("registered");
            assert!(facts.warnings().is_empty(), "{:?}", facts.warnings());
        }
    }
}

/// Factors and shears of their own along the axes, as the table tells them (0.005: 0.4 mm at 75 mm). 0.2 mm over the brain.
#[test]
fn an_affine_map_is_found_and_told() {
    let (scale, shear) = ([1.1, 0.92, 1.04], [0.05, -0.03, 0.04]);
    let stretch = Affine::from_rows([
        [scale[0], scale[0] * shear[0], scale[0] * shear[1], 0.0],
        [0.0, scale[1], scale[1] * shear[2], 0.0],
        [0.0, 0.0, scale[2], 0.0],
    ]);
    let truth = Affine::rigid([0.05, -0.1, 0.08], [6.0, -9.0, 8.0], [0.0; 3]).after(&stretch);
    let found = register(&fixed(), &scanned(&truth, 1.1), json!({ "degrees_of_freedom": 12 }));
    let error = error_mm(&found, &truth);
    assert!(error < 0.2, "{error} mm");
    let table = found.table("quality").unwrap();
    let names = ["scale_x", "scale_y", "scale_z", "shear_xy", "shear_xz", "shear_yz"];
    for (name, expected) in names.into_iter().zip(scale.into_iter().chain(shear)) {
        let told = table.cell(0, name).unwrap().number().unwrap();
        assert!((told - expected).abs() < 0.005, "{name} is {told}, not {expected}");
    }
}

/// Nobody's head is 1.65 times as long for its breadth as another's.
#[test]
fn a_shape_beyond_the_limits_is_warned_of() {
    let truth = Affine::scale_shift([0.8, 1.32, 1.0], [0.0; 3]);
    let found = register(&fixed(), &scanned(&truth, 1.3), json!({ "degrees_of_freedom": 12 }));
    let facts = found.facts("registered");
    assert!(facts.warnings().iter().any(|text| text.contains("at its limit")), "{:?}", facts.warnings());
}

/// There and back again is where it began: 0.1 mm is a thirtieth of a slice.
#[test]
fn there_and_back_is_the_identity() {
    let truth = Affine::rigid([0.2, -0.15, 0.25], [12.0, -9.0, 14.0], [0.0; 3]);
    for freedom in [6, 7, 12] {
        let (a, b) = (fixed(), scanned(&truth, 1.0));
        let settings = json!({ "degrees_of_freedom": freedom });
        let (forth, back) = (register(&a, &b, settings.clone()), register(&b, &a, settings));
        let there = *forth.transform("fixed_to_moving").unwrap().as_affine().unwrap();
        let error = error_mm(&back, &there.inverse().unwrap());
        assert!(error < 0.1, "{freedom}: {error} mm");
    }
}

/// A bright object beside the moving head is kept out by a mask of the moving image, symmetric or not (0.3 mm).
#[test]
fn a_mask_of_the_moving_image_keeps_the_rest_out() {
    let truth = Affine::rigid([0.05, 0.1, -0.1], [4.0, -5.0, 6.0], [0.0; 3]);
    let moving = scanned(&truth, 1.0);
    let lump = ball_mask(*moving.grid(), truth.point([60.0, 60.0, 40.0]), 45.0);
    let voxels: Vec<f32> = moving
        .voxels()
        .iter()
        .zip(lump.voxels())
        .map(|(voxel, lump)| if *lump == 1 { 400.0 } else { *voxel })
        .collect();
    let moving = Image::new(*moving.grid(), voxels).unwrap();
    let mask = ball_mask(*moving.grid(), truth.point([-25.0, -25.0, 0.0]), 60.0);
    for symmetric in [true, false] {
        let inputs = Inputs::new()
            .with("fixed", fixed())
            .with("moving", moving.clone())
            .with("moving_mask", mask.clone());
        let found = run::<Register>(json!({ "symmetric": symmetric }), &inputs).unwrap();
        let error = error_mm(&found, &truth);
        assert!(error < 0.3, "symmetric {symmetric}: {error} mm");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (a, b) = (fixed(), scanned(&sized(1.1), 1.1));
    let options = Options { freedom: Freedom::Affine, symmetric: true };
    let find = |threads| {
        let found = align::align(&a, &b, Masks::default(), &options, &context_with(threads)).unwrap();
        (found.fixed_to_moving.map().rows(), found.after.nmi.to_bits(), found.steps)
    };
    let one = find(1);
    assert_eq!((find(2), find(7)), (one, one));
}
