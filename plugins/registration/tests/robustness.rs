//! Odd input: the right map, or one error that says what is wrong and what to do.

#![expect(clippy::unwrap_used, reason = "helpers of tests outside `#[test]` functions")]

#[path = "common/heads.rs"]
mod heads;

use heads::{FLAIR, T1, error_mm, fixed_grid, grid, scan};
use neuroloom_registration::Register;
use sdk::geometry::{Affine, Grid};
use sdk::testing::run;
use sdk::{Image, Inputs, Mask, OperatorError, Outputs};
use serde_json::json;

fn register(fixed: &Image, moving: &Image) -> Result<Outputs, OperatorError> {
    run::<Register>(json!({}), &Inputs::new().with("fixed", fixed.clone()).with("moving", moving.clone()))
}

fn fixed() -> Image {
    scan(fixed_grid(), &T1, &Affine::IDENTITY)
}

fn truth() -> Affine {
    Affine::rigid([0.2, -0.15, 0.25], [12.0, -9.0, 14.0], [0.0; 3])
}

fn moving_grid() -> Grid {
    grid([128, 128, 56], [1.7, 1.7, 3.3], [5.0, -5.0, 0.0], [-0.1, 0.05, 0.0])
}

/// The moving head, each voxel changed by its place in memory and value.
fn moving(change: impl Fn(usize, f32) -> f32) -> Image {
    let image = scan(moving_grid(), &FLAIR, &truth());
    let voxels: Vec<f32> = image.voxels().iter().enumerate().map(|(n, v)| change(n, *v)).collect();
    Image::new(*image.grid(), voxels).unwrap()
}

/// 0.1 mm: a thirtieth of a slice.
fn assert_found(what: &str, moving: &Image, truth: &Affine) {
    let error = error_mm(&register(&fixed(), moving).unwrap(), truth);
    assert!(error < 0.1, "{what}: {error} mm");
}

#[test]
fn grids_that_are_sheared_or_left_handed_are_taken_as_they_are() {
    let to_world = moving_grid().voxel_to_world;
    let shear = Affine::from_rows([[1.0, 0.02, 0.0, 0.0], [0.0, 1.0, 0.05, 0.0], [0.01, 0.0, 1.0, 0.0]]);
    let flip = Affine::scale_shift([-1.0, 1.0, 1.0], [127.0, 0.0, 0.0]);
    for (what, place) in [("sheared", shear.after(&to_world)), ("left-handed", to_world.after(&flip))] {
        let grid = Grid::new(moving_grid().shape, place);
        assert_found(what, &scan(grid, &FLAIR, &truth()), &truth());
    }
}

/// As headers of two scanners may have it: the boxes do not even touch.
#[test]
fn images_without_overlap_at_the_start_are_found() {
    let far = Affine::translation([400.0, -300.0, 500.0]).after(&truth());
    let image = moving(|_, v| v);
    let place = Affine::translation([400.0, -300.0, 500.0]).after(&image.grid().voxel_to_world);
    assert_found("far", &image.with_grid(Grid::new(image.grid().shape, place)).unwrap(), &far);
}

/// Intensities have no unit; values that stand for missing ones are few and far off.
#[test]
fn neither_huge_intensities_nor_a_few_wild_voxels_matter() {
    assert_found("large", &moving(|_, v| v * 1e34), &truth());
    assert_found("small", &moving(|_, v| v * 1e-30 - 2e-29), &truth());
    let wild = |n: usize, v: f32| if n.is_multiple_of(40_013) { 1e30 } else { v };
    assert_found("a few wild", &moving(wild), &truth());
    let stamped = |n: usize, v: f32| if n.is_multiple_of(40_013) { -32768.0 } else { v };
    assert_found("a few stamped", &moving(stamped), &truth());
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
    let all = |value: f32| Image::new(*good.grid(), vec![value; good.grid().len()]).unwrap();
    let opposite: Vec<f32> = (0..good.grid().len()).map(|n| if n % 2 == 0 { 3e38 } else { -3e38 }).collect();
    let opposite = Image::new(*good.grid(), opposite).unwrap();
    let slices = |shape: [usize; 3]| {
        let voxels: Vec<f32> = (0..shape.iter().product()).map(|n| (n % 97) as f32).collect();
        Image::new(Grid::axis_aligned(shape, [4.0, 4.0, 5.0]), voxels).unwrap()
    };
    let flat = good.with_grid(Grid::axis_aligned(good.grid().shape, [1.0, 1.0, 0.0])).unwrap();
    for (fixed, moving, message) in [
        (&all(3.0), &good, "the fixed image has the one value 3 everywhere"),
        (&good, &all(3.0), "the moving image has the one value 3 everywhere"),
        (&good, &all(0.0), "the moving image has the one value 0 everywhere"),
        (&good, &with(f32::NAN), "the moving image is not finite at voxel [5, 0, 0]"),
        (&with(f32::INFINITY), &good, "the fixed image is not finite at voxel [5, 0, 0]"),
        (&good, &opposite, "the moving image has values from -3e38 to 3e38, too far apart to count in"),
        (&good, &slices([40, 40, 1]), "the moving image has 1 voxels along axis 2, fewer than 4"),
        (&slices([40, 1, 40]), &good, "the fixed image has 1 voxels along axis 1, fewer than 4"),
        (&good, &flat, "the affine of the moving image is flat"),
    ] {
        let error = register(fixed, moving).unwrap_err();
        assert_eq!(error.message, message);
        assert!(error.hint.is_some(), "{error}");
    }
}

#[test]
fn masks_of_nothing_are_named() {
    let (fixed, moving) = (fixed(), moving(|_, v| v));
    let nothing = |grid: Grid| Mask::new(grid, vec![0; grid.len()]).unwrap();
    for (port, mask, message) in [
        ("fixed_mask", nothing(*fixed.grid()), "the fixed mask leaves 0 of"),
        ("moving_mask", nothing(*moving.grid()), "the moving mask leaves 0 of"),
    ] {
        let inputs = Inputs::new().with("fixed", fixed.clone()).with("moving", moving.clone());
        let error = run::<Register>(json!({}), &inputs.with(port, mask)).unwrap_err();
        assert!(error.message.contains(message), "{error}");
    }
}

/// A hundred million voxels.
#[test]
#[ignore = "takes 2 GB and half a minute to make the images; run with `--ignored` after a change of the method"]
fn a_large_volume_takes_seconds_and_little_memory() {
    let large = grid([512, 512, 400], [0.45, 0.45, 0.45], [0.0, -2.0, -5.0], [0.05, 0.0, 0.02]);
    let fixed = scan(large, &T1, &Affine::IDENTITY);
    let started = std::time::Instant::now();
    let error = error_mm(&register(&fixed, &moving(|_, v| v)).unwrap(), &truth());
    let seconds = started.elapsed().as_secs_f64();
    assert!(error < 0.1 && seconds < 60.0, "{error} mm, {seconds} s");
}
