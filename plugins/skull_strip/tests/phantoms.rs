//! Heads made of shells, whose brain is known: contrast, slices, axis order, neck, cut views, noise, and what is no head.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use neuroloom_skull_strip::Bet;
use neuroloom_skull_strip::bet::{Options, find_brain, find_brain_from};
use sdk::testing::{ball, context, context_to_cancel, context_with, run};
use sdk::{Affine, Grid, Image, Inputs, Mask};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Intensities of white matter, grey matter, CSF, bone, scalp, neck muscle.
type Contrast = [f32; 6];
const PD: Contrast = [100.0, 120.0, 130.0, 15.0, 110.0, 90.0];
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
        let options = Options {
            fractional_threshold: Some(fraction),
            gradient_threshold: gradient,
            ..Options::default()
        };
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

/// `image` with each voxel changed by its place in the world, mm.
fn changed(image: &Image, change: impl Fn([f64; 3], f32) -> f32) -> Image {
    let grid = *image.grid();
    let voxel = |(n, v): (usize, &f32)| change(grid.world(grid.index(n)), *v);
    Image::new(grid, image.voxels().iter().enumerate().map(voxel).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_coil_that_is_brighter_on_one_side_by_40_percent_does_not_move_the_brain() {
    for contrast in [T1, FLAIR] {
        let (even, truth) = head(grid(CUBE, CUBE_MM, [0.0; 3], [0.0; 3]), contrast, 1.0, 0.04);
        let shaded = changed(&even, |p, v| v * (0.4 * (p[1] / 90.0).sin()).exp() as f32);
        let [even, shaded] = [&even, &shaded].map(|image| found(image, &truth));
        assert!(shaded >= 0.95 && (shaded - even).abs() < 0.005, "Dice {shaded:.4}, {even:.4} without");
    }
}

#[test]
fn a_bright_or_dark_lesion_at_the_rim_costs_no_more_than_its_own_volume() {
    let (healthy, truth) = head(grid(CUBE, CUBE_MM, [0.0; 3], [0.0; 3]), T1, 1.0, 0.04);
    for intensity in [30.0, 220.0] {
        // 14 mm radius, its middle 10 mm under the surface: 11 ml, 1 % of the brain.
        let centre = [BRAIN_MM[0] - 10.0, 0.0, 10.0];
        let in_lesion = |p: [f64; 3]| (0..3).map(|a| (p[a] - centre[a]).powi(2)).sum::<f64>() < 196.0;
        let image =
            changed(
                &healthy,
                |p, v| {
                    if in_lesion(p) && beyond_brain_mm(p, 1.0) <= 0.0 { intensity } else { v }
                },
            );
        let dice = found(&image, &truth);
        assert!(dice >= 0.95, "Dice {dice:.4} with a lesion of {intensity}");
    }
}

#[test]
fn slices_of_0_7_and_of_6_mm_and_proton_density_give_the_brain() {
    let grids = [
        grid([100, 112, 280], [2.0, 2.0, 0.7], [0.0; 3], [0.0; 3]),
        grid([200, 224, 33], [1.0, 1.0, 6.0], [0.0; 3], [0.0; 3]),
    ];
    for (grid, contrast) in grids.into_iter().flat_map(|grid| [(grid, T1), (grid, PD)]) {
        let (image, truth) = head(grid, contrast, 1.0, 0.04);
        let dice = found(&image, &truth);
        assert!(dice >= 0.94, "Dice {dice:.4} on {grid}");
    }
}

#[test]
fn a_head_in_a_corner_of_a_wide_field_of_air_is_found() {
    let wide = grid([150, 150, 130], [3.0; 3], [0.0; 3], [90.0, -80.0, 60.0]);
    let (image, truth) = head(wide, T1, 1.0, 0.04);
    let dice = found(&image, &truth);
    assert!(dice >= 0.94, "Dice {dice:.4}");
}

#[test]
fn a_sheared_and_a_slightly_skewed_grid_give_the_brain_in_its_world() {
    for shear in [1e-4, 0.1] {
        let plain = grid(CUBE, CUBE_MM, [0.0; 3], [0.0; 3]);
        let skew = Affine::from_rows([[1.0, shear, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        let skewed = Grid::new(plain.shape, skew.after(&plain.voxel_to_world));
        let (image, truth) = head(skewed, T1, 1.0, 0.04);
        let dice = found(&image, &truth);
        assert!(dice >= 0.95, "Dice {dice:.4} at a shear of {shear}");
    }
}

#[test]
fn the_unit_of_intensity_plays_no_part() {
    let (image, truth) = head(grid(CUBE, CUBE_MM, [0.0; 3], [0.0; 3]), T1, 1.0, 0.04);
    for scale in [1e-20, 1e20] {
        let dice = found(&changed(&image, |_, v| v * scale), &truth);
        assert!(dice >= 0.95, "Dice {dice:.4} at a scale of {scale}");
    }
}

#[test]
fn a_volume_of_512_x_512_x_400_voxels_is_taken() {
    let small = grid([64, 64, 50], [3.2, 3.6, 4.0], [0.0; 3], [0.0; 3]);
    let (image, _) = head(small, T1, 1.0, 0.0);
    let big = grid([512, 512, 400], [0.4, 0.45, 0.5], [0.0; 3], [0.0; 3]);
    let mut voxels = Vec::with_capacity(big.len());
    for k in 0..400 {
        for j in 0..512 {
            voxels.extend((0..512).map(|i| image.at([i / 8, j / 8, k / 8])));
        }
    }
    let brain = find_brain(&Image::new(big, voxels).unwrap(), &Options::default(), &context()).unwrap();
    let expected_ml = 4.0 / 3.0 * std::f64::consts::PI * BRAIN_MM.iter().product::<f64>() / 1000.0;
    let ratio = brain.quality.brain_volume_ml / expected_ml;
    // The blocks of 4 mm make the brain's rim uncertain by half a block on either side: 8 % of the volume each.
    assert!((0.84..1.08).contains(&ratio), "{ratio:.3} of the brain's volume");
}

/// A ball of 60 mm about a place.
fn ball_at(grid: Grid, centre: [f64; 3]) -> Mask {
    sdk::testing::ball_mask(grid, centre, 60.0)
}

#[test]
fn a_start_mask_that_is_off_by_a_centimetre_gives_the_same_brain() {
    let (image, truth) = head(grid(CUBE, CUBE_MM, [0.0; 3], [0.0; 3]), T1, 1.0, 0.04);
    let start = ball_at(*image.grid(), [0.0, 10.0, -5.0]);
    let brain = find_brain_from(&image, Some(&start), &Options::default(), &context()).unwrap();
    let (truth, free) = (dice(&brain.mask, &truth), found(&image, &truth));
    assert!((truth - free).abs() < 0.01 && truth > 0.95, "Dice {truth:.4} with the mask, {free:.4} without");
}

#[test]
fn a_start_mask_that_misses_the_head_is_refused() {
    let wide = grid([110, 150, 100], [3.0; 3], [0.0; 3], [0.0; 3]);
    let (image, _) = head(wide, T1, 1.0, 0.0);
    let nowhere = Mask::new(wide, vec![0; wide.len()]).unwrap();
    for (start, expected) in [
        (nowhere, "the start mask holds 0 ml"),
        (ball_at(wide, [0.0, 180.0, 0.0]), "no voxel in the core of the start mask is above"),
    ] {
        let inputs = Inputs::new().with("head", image.clone()).with("start_mask", start);
        let text = run::<Bet>(json!({}), &inputs).map(|_| ()).unwrap_err().to_string();
        assert!(text.contains(expected) && text.contains("\nhint: "), "{text}");
    }
}

#[test]
fn the_skull_ends_where_bone_ends_in_every_contrast() {
    for contrast in [T1, T2, FLAIR] {
        let (image, truth) = head(grid(CUBE, CUBE_MM, [0.0; 3], [0.0; 3]), contrast, 1.0, 0.0);
        let inputs = Inputs::new().with("head", image);
        let outputs = run::<Bet>(json!({ "skull": true }), &inputs).unwrap();
        let skull = outputs.labels("skull").unwrap();
        let within: Vec<u8> = skull.voxels().iter().map(|&label| u8::from(label > 0)).collect();
        let bone = |n: usize| beyond_brain_mm(truth.grid().world(truth.grid().index(n)), 1.0) < SHELLS_MM[1];
        let expected: Vec<u8> = (0..within.len()).map(|n| u8::from(bone(n))).collect();
        let of = |voxels| Mask::new(*truth.grid(), voxels).unwrap();
        let dice = dice(&of(within), &of(expected));
        // Half a voxel of 2 mm all round is 3 % of the volume.
        assert!(dice >= 0.95, "Dice {dice:.4}");
    }
}

#[test]
fn without_the_setting_there_is_no_skull() {
    let (image, _) = head(grid([52, 58, 50], [4.0; 3], [0.0; 3], [0.0; 3]), T1, 1.0, 0.0);
    let outputs = run::<Bet>(json!({}), &Inputs::new().with("head", image)).unwrap();
    assert!(outputs.value("skull").is_none());
}
