//! The normalisers on images whose result is known: recorded from scikit-image, or by construction.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use neuroloom_normalise::{HistogramEqualise, ZScore, equalise};
use sdk::testing::{context_with, run};
use sdk::{Grid, Image, Inputs, Mask, Operator, OperatorError};
use serde_json::json;

#[derive(serde::Deserialize)]
struct Golden {
    shape: [usize; 3],
    image: Vec<Option<f32>>,
    mask: Vec<u8>,
    masked: Vec<f64>,
    full: Vec<f64>,
}

impl Golden {
    fn read() -> Self {
        serde_json::from_str(include_str!("golden/equalise.json")).unwrap()
    }

    fn image(&self) -> Image {
        image(self.shape, self.image.iter().map(|v| v.unwrap_or(f32::NAN)).collect())
    }

    fn mask(&self) -> Mask {
        mask(self.shape, self.mask.clone())
    }
}

fn grid(shape: [usize; 3]) -> Grid {
    Grid::axis_aligned(shape, [1.0; 3])
}

fn image(shape: [usize; 3], voxels: Vec<f32>) -> Image {
    Image::new(grid(shape), voxels).unwrap()
}

fn mask(shape: [usize; 3], voxels: Vec<u8>) -> Mask {
    Mask::new(grid(shape), voxels).unwrap()
}

fn normalised<T: Operator>(
    settings: serde_json::Value,
    image: Image,
    mask: Option<Mask>,
) -> Result<Vec<f32>, OperatorError> {
    let inputs = Inputs::new().with("image", image);
    let inputs = match mask {
        Some(mask) => inputs.with("mask", mask),
        None => inputs,
    };
    Ok(run::<T>(settings, &inputs)?.image("image")?.voxels().to_vec())
}

#[test]
fn equalisation_agrees_with_scikit_image() {
    let golden = Golden::read();
    for (mode, expected) in [("masked", &golden.masked), ("full", &golden.full)] {
        let settings = json!({ "mode": mode });
        let found = normalised::<HistogramEqualise>(settings, golden.image(), Some(golden.mask())).unwrap();
        let apart = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        // Shares of 0..=1: f32 rounding is 6e-8, one voxel in the wrong bin would be 2e-3.
        assert!(apart < 1e-6, "{apart} in {mode}");
    }
}

#[test]
fn without_a_mask_all_finite_voxels_count() {
    let golden = Golden::read();
    let finite: Vec<u8> = golden.image.iter().map(|v| u8::from(v.is_some())).collect();
    let all = normalised::<HistogramEqualise>(json!({}), golden.image(), None).unwrap();
    let masked =
        normalised::<HistogramEqualise>(json!({}), golden.image(), Some(mask(golden.shape, finite))).unwrap();
    assert_eq!(all, masked);
}

#[test]
fn a_constant_slice_and_a_slice_without_brain_become_0() {
    let voxels = vec![5.0, 5.0, 5.0, 5.0, 1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0];
    let brain = vec![1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0];
    let out =
        normalised::<HistogramEqualise>(json!({}), image([2, 2, 3], voxels), Some(mask([2, 2, 3], brain)))
            .unwrap();
    assert_eq!(out[..8], [0.0; 8]);
    // Two voxels, two outer bins: half of the set is at or below the lower one.
    assert_eq!(out[8..], [0.5, 1.0, 0.0, 0.0]);
}

#[test]
fn equalisation_does_not_depend_on_the_number_of_threads() {
    let golden = Golden::read();
    let with = |threads| {
        let options = equalise::Options::default();
        equalise::equalise(&golden.image(), Some(&golden.mask()), &options, &context_with(threads)).unwrap()
    };
    assert_eq!(with(1).voxels(), with(4).voxels());
}

#[test]
fn facts_travel_on() {
    let value = sdk::Value::from(image([2, 1, 1], vec![1.0, 2.0])).fact("units", "T1");
    let inputs = Inputs::new().with("image", value);
    assert_eq!(run::<ZScore>(json!({}), &inputs).unwrap().facts("image").text("units"), Some("T1"));
    assert_eq!(
        run::<HistogramEqualise>(json!({}), &inputs).unwrap().facts("image").text("units"),
        Some("T1")
    );
}

#[test]
fn a_z_score_has_mean_0_and_standard_deviation_1_inside_the_mask_and_0_outside() {
    let golden = Golden::read();
    let out = normalised::<ZScore>(json!({}), golden.image(), Some(golden.mask())).unwrap();
    let counts = |n: usize| golden.mask[n] == 1 && golden.image[n].is_some();
    let inside: Vec<f64> = (0..out.len()).filter(|&n| counts(n)).map(|n| f64::from(out[n])).collect();
    let mean = inside.iter().sum::<f64>() / inside.len() as f64;
    let variance = inside.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / inside.len() as f64;
    // About 2000 f32 of size 1: rounding of each is 6e-8 at most.
    assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6, "mean {mean}, variance {variance}");
    assert!((0..out.len()).filter(|&n| !counts(n)).all(|n| out[n] == 0.0));
}

#[test]
fn the_robust_z_score_is_blind_to_one_bright_vessel() {
    let mut voxels: Vec<f32> = (0..101).map(|n| n as f32).collect();
    let settings = json!({ "robust": true });
    let plain = normalised::<ZScore>(settings.clone(), image([101, 1, 1], voxels.clone()), None).unwrap();
    voxels[100] = 1e6;
    let bright = normalised::<ZScore>(settings, image([101, 1, 1], voxels), None).unwrap();
    assert_eq!(plain[..100], bright[..100]);
    // 0 to 100: median 50, and the median distance from it is 25.
    assert_eq!((plain[50], plain[75]), (0.0, (1.0 / 1.482_602_2) as f32));
}

/// Broken and huge voxels, single slices, slices of one row, sheared and mirrored grids: finite numbers on the same grid.
#[test]
fn odd_images_are_normalised_as_well() {
    let sheared =
        sdk::Affine::from_rows([[-1.0, 0.01, 0.0, 9.0], [0.0, 1.0, 0.2, 0.0], [0.0, 0.0, 5.0, 0.0]]);
    let shapes = [[12, 9, 1], [108, 1, 1], [1, 9, 12], [4, 9, 3]];
    for grid in shapes.into_iter().flat_map(|shape| [grid(shape), Grid::new(shape, sheared)]) {
        let mut voxels: Vec<f32> = (0..108).map(|n| (n * 37 % 101) as f32).collect();
        (voxels[7], voxels[50], voxels[107]) = (f32::NAN, f32::MAX, f32::MIN);
        let odd = || Image::new(grid, voxels.clone()).unwrap();
        for robust in [false, true] {
            let out = normalised::<ZScore>(json!({ "robust": robust }), odd(), None).unwrap();
            assert!(out.iter().all(|v| v.is_finite()) && out[7] == 0.0, "{grid}");
        }
        let out = normalised::<HistogramEqualise>(json!({}), odd(), None).unwrap();
        assert!(out.iter().all(|v| (0.0..=1.0).contains(v)) && out[7] == 0.0, "{grid}");
    }
    assert_eq!(
        normalised::<HistogramEqualise>(json!({}), image([2, 2, 1], vec![0.0; 4]), None).unwrap(),
        [0.0; 4]
    );
}

#[test]
fn memory_that_was_used_before_is_overwritten() {
    let golden = Golden::read();
    let (options, ctx) = (equalise::Options::default(), context_with(2));
    for mask in [None, Some(golden.mask())] {
        let expected = equalise::equalise(&golden.image(), mask.as_ref(), &options, &ctx).unwrap();
        let mut out = vec![7.0; golden.image.len()];
        equalise::equalise_into(&golden.image(), mask.as_ref(), &options, &mut out, &ctx).unwrap();
        assert_eq!(out, expected.voxels());
    }
}

#[test]
fn bad_input_is_named() {
    let message = |result: Result<Vec<f32>, OperatorError>| result.unwrap_err().message;
    let constant = || image([2, 2, 1], vec![7.0; 4]);
    assert_eq!(
        message(normalised::<ZScore>(json!({}), constant(), None)),
        "a spread of 0 around 7 over 4 voxels, so nothing to scale by"
    );
    let nothing = || mask([2, 2, 1], vec![0; 4]);
    let empty = "no finite voxel to count among 4, 0 of them inside the mask";
    assert_eq!(message(normalised::<ZScore>(json!({}), constant(), Some(nothing()))), empty);
    assert_eq!(message(normalised::<HistogramEqualise>(json!({}), constant(), Some(nothing()))), empty);
    let nan = normalised::<HistogramEqualise>(json!({}), image([2, 2, 1], vec![f32::NAN; 4]), None);
    assert_eq!(message(nan), "no finite voxel to count among 4, 4 of them inside the mask");
    let other = normalised::<ZScore>(json!({}), constant(), Some(mask([1, 2, 2], vec![1; 4])));
    assert!(message(other).starts_with("a mask on 1x2x2 voxels"));
    let bins = normalised::<HistogramEqualise>(json!({ "bins": 1 }), constant(), None);
    assert_eq!(message(bins), "`bins` is 1, outside 2 to 65536");
}

/// A hundred million voxels, 0.4 GB each for the image and the result: each slice as it would be by itself.
#[test]
fn a_volume_of_512_x_512_x_400_voxels_is_equalised() {
    let plane = |k: usize| (0..512 * 512).map(move |n| ((n * 7919 + k * 31) % 1009) as f32);
    let voxels: Vec<f32> = (0..400).flat_map(plane).collect();
    let options = equalise::Options::default();
    let out = equalise::equalise(&image([512, 512, 400], voxels), None, &options, &context_with(2)).unwrap();
    for k in [0, 399] {
        let alone = image([512, 512, 1], plane(k).collect());
        let alone = equalise::equalise(&alone, None, &options, &context_with(1)).unwrap();
        assert_eq!(&out.voxels()[512 * 512 * k..][..512 * 512], alone.voxels());
    }
}
