//! `match_histogram` on images whose result is known.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use neuroloom_normalise::{MatchHistogram, matching};
use sdk::testing::{context_with, run};
use sdk::{Affine, Grid, Image, Inputs, Mask, OperatorError};
use serde_json::json;

/// Air and three tissues with noise, as of a head.
fn head(grid: Grid) -> Image {
    let voxels: Vec<f32> = (0..grid.len())
        .map(|n| {
            let noise = (n * 7919 % 97) as f32 / 4.0;
            if n % 5 < 2 { noise / 4.0 } else { [300.0, 420.0, 500.0][n % 3] + noise }
        })
        .collect();
    Image::new(grid, voxels).unwrap()
}

fn changed(image: &Image, change: impl Fn(f32) -> f32) -> Image {
    Image::new(*image.grid(), image.voxels().iter().map(|&v| change(v)).collect::<Vec<_>>()).unwrap()
}

fn grid() -> Grid {
    Grid::axis_aligned([20, 18, 9], [1.0, 1.0, 3.0])
}

fn matched(image: &Image, reference: &Image) -> Result<Vec<f32>, OperatorError> {
    let inputs = Inputs::new().with("image", image.clone()).with("reference", reference.clone());
    Ok(run::<MatchHistogram>(json!({}), &inputs)?.image("image")?.voxels().to_vec())
}

#[test]
fn an_image_matched_to_itself_stays_as_it_is() {
    let image = head(grid());
    assert_eq!(matched(&image, &image).unwrap(), image.voxels());
}

/// Another scanner's scale and offset are undone, also beyond the landmarks. 1e-3 of 500: rounding of f32 products.
#[test]
fn another_scale_is_undone_whatever_the_grid_of_the_reference() {
    let image = head(grid());
    let reference = changed(&image, |v| 2.5 * v + 40.0);
    let turned = Affine::rigid([0.3, 0.1, 0.0], [9.0, 0.0, 4.0], [0.0; 3]).after(&grid().voxel_to_world);
    let reference = reference.with_grid(Grid::new([18, 20, 9], turned)).unwrap();
    for (found, voxel) in matched(&image, &reference).unwrap().iter().zip(image.voxels()) {
        assert!((found - (2.5 * voxel + 40.0)).abs() < 1e-3, "{found} for {voxel}");
    }
}

#[test]
fn percentiles_inside_the_masks_agree_and_what_lies_outside_becomes_0() {
    let image = head(grid());
    // A contrast that is bent, not scaled.
    let reference = changed(&image, |v| v * v / 200.0);
    let inside: Vec<u8> = image.voxels().iter().map(|&v| u8::from(v > 100.0)).collect();
    let mask = Mask::new(grid(), inside.clone()).unwrap();
    let inputs = Inputs::new()
        .with("image", image)
        .with("mask", mask.clone())
        .with("reference", reference.clone())
        .with("reference_mask", mask);
    let out = run::<MatchHistogram>(json!({}), &inputs).unwrap().image("image").unwrap();
    let median = |voxels: &[f32]| {
        let mut set: Vec<f32> = (0..voxels.len()).filter(|&n| inside[n] == 1).map(|n| voxels[n]).collect();
        sdk::imaging::histogram::quantiles(&mut set, &[0.1, 0.5, 0.9])
    };
    for (found, expected) in median(out.voxels()).into_iter().zip(median(reference.voxels())) {
        // A landmark may lie between two voxels, which are up to 0.25 apart in the image and 5 times as far in the reference.
        assert!((found - expected).abs() < 1.5, "{found} for {expected}");
    }
    assert!((0..inside.len()).all(|n| inside[n] == 1 || out.voxels()[n] == 0.0));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (image, options) = (head(grid()), matching::Options::default());
    let reference = changed(&image, f32::sqrt);
    let with = |threads| {
        matching::match_to(&image, None, (&reference, None), &options, &context_with(threads)).unwrap()
    };
    assert_eq!(with(1).voxels(), with(2).voxels());
    assert_eq!(with(1).voxels(), with(7).voxels());
}

#[test]
fn broken_and_huge_voxels_and_single_slices_are_mapped() {
    let slice = Grid::axis_aligned([60, 54, 1], [1.0, 1.0, 5.0]);
    let clean = head(slice);
    let mut voxels = clean.voxels().to_vec();
    (voxels[3], voxels[4], voxels[5]) = (f32::NAN, f32::INFINITY, 1e30);
    let image = Image::new(slice, voxels).unwrap();
    let mask =
        Mask::new(slice, clean.voxels().iter().map(|&v| u8::from(v > 100.0)).collect::<Vec<_>>()).unwrap();
    let inputs = Inputs::new().with("image", image).with("mask", mask).with("reference", clean);
    let out = run::<MatchHistogram>(json!({}), &inputs).unwrap().image("image").unwrap();
    assert_eq!(out.voxels()[3..5], [0.0, 0.0]);
    assert!(out.voxels().iter().all(|v| v.is_finite()));
}

#[test]
fn images_without_a_scale_are_errors_that_say_which() {
    let image = head(grid());
    let error = matched(&changed(&image, |_| 7.0), &image).unwrap_err();
    assert_eq!(error.message, "the image's percentiles are all 7, so there is no scale to match");
    let error = matched(&image, &changed(&image, |_| 0.0)).unwrap_err();
    assert_eq!(error.message, "the reference's percentiles are all 0, so there is no scale to match");
    let error = matched(&changed(&image, |_| f32::NAN), &image).unwrap_err();
    assert!(error.message.starts_with("no finite voxel to count among 3240"), "{}", error.message);
    let inputs = Inputs::new().with("image", image.clone()).with("reference", image);
    let error = run::<MatchHistogram>(json!({ "percentiles": [50.0, 10.0] }), &inputs).unwrap_err();
    assert!(error.message.starts_with("`percentiles` are [50.0, 10.0]"), "{}", error.message);
}
