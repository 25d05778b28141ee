//! Heads made of shells, whose brain is known: contrast, slices, axis order, neck, cut views, noise, and what is no head.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use neuroloom_skull_strip::Bet;
use neuroloom_skull_strip::bet::{Options, find_brain};
use sdk::testing::{ball, context, context_to_cancel, context_with, run};
use sdk::{Affine, Grid, Image, Inputs, Mask};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Intensities of white matter, grey matter, CSF, bone, scalp, neck muscle.
type Contrast = [f32; 6];
const T1: Contrast = [110.0, 85.0, 35.0, 8.0, 240.0, 80.0];
const T2: Contrast = [70.0, 85.0, 190.0, 6.0, 150.0, 60.0];
const FLAIR: Contrast = [75.0, 90.0, 20.0, 6.0, 60.0, 50.0];

/// Half axes of the brain, mm: 1325 ml.
const BRAIN_MM: [f64; 3] = [62.0, 82.0, 62.0];
/// Outer ends of grey matter (from white matter's), CSF, bone and scalp, as mm beyond the brain: thickness of an adult's.
const SHELLS_MM: [f64; 3] = [2.5, 9.0, 15.0];
const GREY_MM: f64 = 4.0;
const NECK_RADIUS_MM: f64 = 55.0;

/// Signed distance from the brain's surface, mm, to first order; negative inside.
fn beyond_brain_mm(p: [f64; 3], scale: f64) -> f64 {
    let q: Vec<f64> = (0..3).map(|axis| p[axis] / (scale * BRAIN_MM[axis])).collect();
    let level = q.iter().map(|x| x * x).sum::<f64>().sqrt();
    let slope = (0..3).map(|axis| (q[axis] / (scale * BRAIN_MM[axis])).powi(2)).sum::<f64>().sqrt();
    if slope > 0.0 { (level - 1.0) * level / slope } else { -scale * BRAIN_MM[0] }
}

/// A number in -1..=1 that depends on the voxel alone.
fn noise(offset: usize) -> f32 {
    let mut x = (offset as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

/// A head about the world's origin on `grid`, and its brain. `noise_share`: largest noise, as a share of white matter.
fn head(grid: Grid, contrast: Contrast, scale: f64, noise_share: f32) -> (Image, Mask) {
    let [white, grey, csf, bone, scalp, muscle] = contrast;
    let mut voxels = Vec::with_capacity(grid.len());
    let mut brain = Vec::with_capacity(grid.len());
    for offset in 0..grid.len() {
        let p = grid.world(grid.index(offset));
        let beyond = beyond_brain_mm(p, scale);
        let in_neck = p[2] < 0.0 && p[0].hypot(p[1]) < scale * NECK_RADIUS_MM;
        let value = match beyond {
            b if b < -GREY_MM * scale => white,
            b if b < 0.0 => grey,
            b if b < SHELLS_MM[0] * scale => csf,
            b if b < SHELLS_MM[1] * scale => bone,
            b if b < SHELLS_MM[2] * scale => scalp,
            _ if in_neck => muscle,
            _ => 2.0,
        };
        voxels.push(value + noise_share * white * noise(offset));
        brain.push(u8::from(beyond <= 0.0));
    }
    (Image::new(grid, voxels).unwrap(), Mask::new(grid, brain).unwrap())
}

/// A grid whose middle lies at the world's origin plus `shift_mm`, turned by `angles_rad`.
fn grid(shape: [usize; 3], spacing_mm: [f64; 3], angles_rad: [f64; 3], shift_mm: [f64; 3]) -> Grid {
    let centred = Affine::scale_shift(
        spacing_mm,
        [0, 1, 2].map(|axis| -spacing_mm[axis] * (shape[axis] as f64 - 1.0) / 2.0),
    );
    Grid::new(shape, Affine::rigid(angles_rad, shift_mm, [0.0; 3]).after(&centred))
}

fn dice(a: &Mask, b: &Mask) -> f64 {
    let both = a.voxels().iter().zip(b.voxels()).filter(|(x, y)| **x != 0 && **y != 0).count();
    2.0 * both as f64 / (a.count() + b.count()) as f64
}

/// Dice of the found and the true brain at the default settings.
fn found(image: &Image, truth: &Mask) -> f64 {
    let brain = find_brain(image, &Options::default(), &context()).unwrap();
    dice(&brain.mask, truth)
}

const CUBE: [usize; 3] = [104, 116, 100];
const CUBE_MM: [f64; 3] = [2.0; 3];

#[test]
fn the_brain_of_a_t1_t2_and_flair_head_is_found_on_thin_thick_and_oblique_slices() {
    let tilt = [0.25, -0.15, 0.3];
    let grids = [
        ("isotropic", grid(CUBE, CUBE_MM, [0.0; 3], [0.0; 3])),
        ("1x1x5 mm", grid([200, 224, 40], [1.0, 1.0, 5.0], [0.0; 3], [0.0; 3])),
        ("oblique 1x1x5 mm", grid([200, 224, 44], [1.0, 1.0, 5.0], tilt, [0.0; 3])),
        ("sagittal 5x1x1 mm", grid([40, 224, 200], [5.0, 1.0, 1.0], [0.0; 3], [0.0; 3])),
    ];
    for (slices, grid) in grids {
        for (name, contrast) in [("T1", T1), ("T2", T2), ("FLAIR", FLAIR)] {
            let (image, truth) = head(grid, contrast, 1.0, 0.04);
            let dice = found(&image, &truth);
            // Half a voxel of a 5 mm slice all round is 4 % of the brain.
            assert!(dice >= 0.95, "Dice {dice:.4} on {slices} {name}");
        }
    }
}

#[test]
fn every_axis_order_and_direction_gives_the_same_brain() {
    let plain = grid([52, 58, 50], [4.0; 3], [0.0; 3], [0.0; 3]);
    let (image, _) = head(plain, T1, 1.0, 0.0);
    let options = Options { fractional_threshold: Some(0.5), ..Options::default() };
    let expected = find_brain(&image, &options, &context()).unwrap().mask;
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for flips in 0..8 {
            let (stored, from) = reordered(&plain, order, flips);
            let voxels: Vec<f32> = from.iter().map(|&offset| image.voxels()[offset]).collect();
            let truth: Vec<u8> = from.iter().map(|&offset| expected.voxels()[offset]).collect();
            let brain = find_brain(&Image::new(stored, voxels).unwrap(), &options, &context()).unwrap();
            let dice = dice(&brain.mask, &Mask::new(stored, truth).unwrap());
            // Statistics look at every voxel of so small a grid, so only the rounding of sums differs.
            assert!(dice > 0.999, "Dice {dice:.5} for axes {order:?}, flips {flips:03b}");
        }
    }
}

/// The same places with axes in another order and direction, and where each voxel comes from.
fn reordered(plain: &Grid, order: [usize; 3], flips: usize) -> (Grid, Vec<usize>) {
    let shape = order.map(|axis| plain.shape[axis]);
    let mut rows = [[0.0; 4]; 3];
    for (axis, &old) in order.iter().enumerate() {
        let flipped = flips >> axis & 1 == 1;
        rows[old][axis] = if flipped { -1.0 } else { 1.0 };
        rows[old][3] = if flipped { shape[axis] as f64 - 1.0 } else { 0.0 };
    }
    let to_plain = Affine::from_rows(rows);
    let stored = Grid::new(shape, plain.voxel_to_world.after(&to_plain));
    let from = (0..stored.len()).map(|offset| {
        let place = to_plain.point(stored.index(offset).map(|i| i as f64));
        plain.offset(place.map(|x| x.round() as usize))
    });
    (stored, from.collect())
}

#[test]
fn a_long_neck_and_air_above_the_head_do_not_move_the_brain() {
    // 160 mm below the brain's middle more than usual, and 60 mm of air above.
    let long = grid([104, 116, 180], CUBE_MM, [0.0; 3], [0.0, 0.0, -50.0]);
    let (image, truth) = head(long, T1, 1.0, 0.04);
    let dice = found(&image, &truth);
    assert!(dice >= 0.95, "Dice {dice:.4}");
}

#[test]
fn a_childs_and_a_giants_head_are_found_without_a_setting() {
    for scale in [0.7, 1.3] {
        let grid = grid(CUBE, [2.0 * scale; 3], [0.0; 3], [0.0; 3]);
        let (image, truth) = head(grid, T1, scale, 0.04);
        let dice = found(&image, &truth);
        assert!(dice >= 0.94, "Dice {dice:.4} at scale {scale}");
    }
}

#[test]
fn a_view_that_cuts_the_vertex_gives_the_rest_of_the_brain_and_says_so() {
    let cut = grid([104, 116, 64], CUBE_MM, [0.0; 3], [0.0, 0.0, -24.0]);
    let (image, truth) = head(cut, T1, 1.0, 0.04);
    let outputs = run::<Bet>(json!({}), &Inputs::new().with("head", image)).unwrap();
    let dice = dice(&outputs.mask("mask").unwrap(), &truth);
    assert!(dice >= 0.93, "Dice {dice:.4}");
    let quality = outputs.table("quality").unwrap();
    assert_eq!(quality.cell(0, "touches_edge").unwrap().to_string(), "true");
    assert!(outputs.facts("mask").warnings()[0].contains("edge of the field of view"));
}

/// Darkens every other layer of 3 mm in the brain's outer part to three quarters.
fn layered(image: &Image, brain: &Mask) -> Image {
    let dark = |offset: usize| {
        let beyond = beyond_brain_mm(image.grid().world(image.grid().index(offset)), 1.0);
        brain.voxels()[offset] == 1 && beyond > -20.0 && (beyond / 3.0).rem_euclid(2.0) < 1.0
    };
    let voxel = |(offset, v): (usize, &f32)| if dark(offset) { 0.75 * v } else { *v };
    Image::new(*image.grid(), image.voxels().iter().enumerate().map(voxel).collect::<Vec<_>>()).unwrap()
}

#[test]
fn the_threshold_is_lowered_by_itself_where_dark_layers_make_the_surface_collapse() {
    let even: Contrast = [85.0, 85.0, 35.0, 8.0, 240.0, 80.0];
    let (plain, truth) = head(grid(CUBE, CUBE_MM, [0.0; 3], [0.0; 3]), even, 1.0, 0.04);
    let image = layered(&plain, &truth);
    let fixed = Options { fractional_threshold: Some(0.5), ..Options::default() };
    let collapsed = dice(&find_brain(&image, &fixed, &context()).unwrap().mask, &truth);
    let brain = find_brain(&image, &Options::default(), &context()).unwrap();
    let chosen = dice(&brain.mask, &truth);
    assert!(collapsed < 0.8, "Dice {collapsed:.3} at 0.5: no longer a test of the choice");
    assert!(chosen > 0.9, "Dice {chosen:.3} at {}", brain.quality.threshold);
    assert!(brain.quality.threshold < 0.5 && brain.quality.automatic);
}

#[test]
fn a_larger_threshold_gives_a_smaller_brain_and_a_gradient_moves_it_down() {
    let (image, _) = head(grid(CUBE, CUBE_MM, [0.0; 3], [0.0; 3]), T1, 1.0, 0.04);
    let volume = |fraction: f64, gradient: f64| {
        let options = Options { fractional_threshold: Some(fraction), gradient_threshold: gradient };
        find_brain(&image, &options, &context()).unwrap().mask
    };
    let counts = [0.3, 0.5, 0.7].map(|fraction| volume(fraction, 0.0).count());
    assert!(counts[0] > counts[1] && counts[1] > counts[2], "{counts:?}");
    let below = |mask: &Mask| {
        let low = mask
            .voxels()
            .iter()
            .enumerate()
            .filter(|(n, v)| **v == 1 && mask.grid().world(mask.grid().index(*n))[2] < 0.0);
        low.count() as f64 / mask.count() as f64
    };
    let shares = [0.0, 0.3].map(|gradient| below(&volume(0.5, gradient)));
    assert!(shares[1] > shares[0] + 0.005, "{shares:?}");
}

#[test]
fn the_mask_is_the_same_for_one_two_and_seven_threads() {
    let (image, _) = head(grid(CUBE, CUBE_MM, [0.1, 0.2, 0.3], [0.0; 3]), T1, 1.0, 0.04);
    let with = |threads| find_brain(&image, &Options::default(), &context_with(threads)).unwrap();
    let one = with(1);
    for threads in [2, 7] {
        let other = with(threads);
        assert_eq!(one.quality, other.quality);
        assert!(one.mask.voxels() == other.mask.voxels(), "{threads} threads differ");
    }
}

/// The message and hint with which the operator refuses an image.
fn refusal(image: Image) -> String {
    run::<Bet>(json!({}), &Inputs::new().with("head", image)).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn an_image_without_a_head_ends_in_an_error_that_says_what_to_do() {
    let cube = grid([40; 3], [5.0; 3], [0.0; 3], [0.0; 3]);
    let image = |value: &dyn Fn(usize) -> f32| {
        Image::new(cube, (0..cube.len()).map(value).collect::<Vec<_>>()).unwrap()
    };
    let cases = [
        ("all zero", image(&|_| 0.0), "2nd and 98th percentile are 0 and 0"),
        ("constant", image(&|_| 7.5), "2nd and 98th percentile are 7.5 and 7.5"),
        (
            "NaN",
            image(&|n| if n == 41 { f32::NAN } else { 1.0 }),
            "voxel [1, 1, 0] is NaN, 1 voxels are not finite",
        ),
        ("infinite", image(&|n| if n > 100 { f32::INFINITY } else { 1.0 }), "voxel [21, 2, 0] is inf"),
        ("noise", image(&|n| 100.0 + 50.0 * noise(n)), "no brain found"),
        ("a pea", ball(cube, [0.0; 3], 20.0, 100.0), "no brain found"),
        ("huge numbers", image(&|n| if n % 2 == 0 { f32::MAX } else { f32::MIN }), "no brain found"),
    ];
    for (name, image, expected) in cases {
        let text = refusal(image);
        assert!(text.contains(expected) && text.contains("\nhint: "), "{name}: {text}");
    }
}

#[test]
fn a_grid_that_holds_no_head_ends_in_an_error_that_says_what_to_do() {
    let on =
        |grid: Grid| Image::new(grid, (0..grid.len()).map(|n| (n % 97) as f32).collect::<Vec<_>>()).unwrap();
    let flat = Affine::scale_shift([1.0, 1.0, 0.0], [0.0; 3]);
    let cases = [
        (on(Grid::axis_aligned([64, 64, 1], [3.0; 3])), "a grid of 64x64x1 voxels, at least 3"),
        (on(Grid::axis_aligned([1, 1, 1], [3.0; 3])), "a grid of 1x1x1 voxels"),
        (on(Grid::axis_aligned([30; 3], [0.1; 3])), "ml of the image are not air"),
        (on(Grid::axis_aligned([30; 3], [1e6; 3])), "at most 2500 mm can hold a head"),
        (on(Grid::new([30; 3], flat)), "an affine that cannot be inverted"),
    ];
    for (image, expected) in cases {
        let text = refusal(image);
        assert!(text.contains(expected) && text.contains("\nhint: "), "{text}");
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name_value_and_limit() {
    let inputs =
        Inputs::new().with("head", ball(grid([8; 3], [1.0; 3], [0.0; 3], [0.0; 3]), [0.0; 3], 3.0, 1.0));
    for (settings, expected) in [
        (
            json!({ "fractional_threshold": 1.5 }),
            "setting `fractional_threshold` is 1.5, it must lie in 0..=1",
        ),
        (json!({ "gradient_threshold": -2.0 }), "setting `gradient_threshold` is -2, it must lie in -1..=1"),
        (json!({ "threshold": 0.5 }), "unknown field `threshold`"),
    ] {
        let text = run::<Bet>(settings, &inputs).map(|_| ()).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_head_that_is_already_stripped_keeps_its_brain_and_is_told_of() {
    let (image, truth) = head(grid(CUBE, CUBE_MM, [0.0; 3], [0.0; 3]), T1, 1.0, 0.04);
    let brain = image.voxels().iter().zip(truth.voxels()).map(|(v, inside)| v * f32::from(*inside));
    let stripped = Image::new(*image.grid(), brain.collect::<Vec<_>>()).unwrap();
    let outputs = run::<Bet>(json!({}), &Inputs::new().with("head", stripped)).unwrap();
    let dice = dice(&outputs.mask("mask").unwrap(), &truth);
    assert!(dice >= 0.95, "Dice {dice:.4}");
    assert!(outputs.facts("mask").warnings()[0].contains("% of the head"), "{:?}", outputs.facts("mask"));
}

#[test]
fn a_cancelled_run_stops() {
    let (image, _) = head(grid(CUBE, CUBE_MM, [0.0; 3], [0.0; 3]), T1, 1.0, 0.04);
    let ctx = context_to_cancel(Arc::new(AtomicBool::new(true)));
    let error = find_brain(&image, &Options::default(), &ctx).map(|_| ()).unwrap_err();
    assert_eq!(error.cause, sdk::OperatorError::cancelled().cause);
}
