//! What resampling promises.

use super::*;
use crate::testing::{ball, ball_mask, context, context_with};
use proptest::prelude::*;

const EACH: [Interpolation; 4] =
    [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic, Interpolation::Sinc];

/// An oblique grid with three different spacings.
fn oblique(shape: [usize; 3]) -> Grid {
    let turn = Affine::rigid([0.2, -0.1, 0.3], [4.0, -7.0, 2.0], [0.0; 3]);
    Grid::new(shape, turn.after(&Affine::scale_shift([1.0, 1.5, 4.0], [-10.0, -12.0, -14.0])))
}

fn of_world(grid: Grid, value: impl Fn([f64; 3]) -> f64) -> Image {
    let voxels: Vec<f32> = (0..grid.len()).map(|n| value(grid.world(grid.index(n))) as f32).collect();
    Image::new(grid, voxels).unwrap()
}

/// Whether a world point lies within the outermost voxel centres of a grid.
fn well_inside(grid: &Grid, point: [f64; 3]) -> bool {
    let place = grid.world_to_voxel().unwrap().point(point);
    (0..3).all(|axis| place[axis] > 0.0 && place[axis] < grid.shape[axis] as f64 - 1.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// A linear function is what linear interpolation knows without error; 1e-4 is f32 rounding of values near 100.
    #[test]
    fn a_ramp_is_reproduced_by_linear_interpolation(
        slope in proptest::array::uniform3(-2.0f64..2.0),
        angles in proptest::array::uniform3(-0.3f64..0.3),
        shift in proptest::array::uniform3(-3.0f64..3.0),
    ) {
        let ramp = |p: [f64; 3]| slope[0] * p[0] + slope[1] * p[1] + slope[2] * p[2] + 20.0;
        let source = of_world(oblique([20, 16, 8]), ramp);
        let target = Grid::axis_aligned([9, 10, 11], [1.3, 0.9, 1.7]);
        let map = Affine::rigid(angles, shift, [0.0; 3]);
        let out = image(&source, &target, Some(&map), Interpolation::Linear, &context_with(1)).unwrap();
        for offset in 0..target.len() {
            let there = map.point(target.world(target.index(offset)));
            if well_inside(source.grid(), there) {
                let (found, expected) = (f64::from(out.voxels()[offset]), ramp(there));
                prop_assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
            }
        }
    }
}

/// Cubic splines know cubics; the mirrored border bends them there, so only the middle is asked. 2e-3 of values up
/// to 10 is what the border still sends eight voxels inside (pole -0.27 to the eighth power is 3e-5), and f32.
#[test]
fn a_parabola_is_reproduced_by_cubic_interpolation_away_from_the_border() {
    let parabola = |p: [f64; 3]| 0.02 * p[0] * p[0] - 0.01 * p[1] * p[2];
    let source = of_world(Grid::axis_aligned([40, 40, 40], [1.0; 3]), parabola);
    let middle = Grid::new([12; 3], Affine::scale_shift([1.1, 0.9, 1.0], [13.37, 14.21, 13.9]));
    let out = image(&source, &middle, None, Interpolation::Cubic, &context()).unwrap();
    for offset in 0..middle.len() {
        let expected = parabola(middle.world(middle.index(offset)));
        let found = f64::from(out.voxels()[offset]);
        assert!((found - expected).abs() < 2e-3, "{found} is not {expected}");
    }
}

/// At the voxel centres every interpolation returns the voxels: an interpolating spline does, too (1e-4 of 1: f32).
#[test]
fn all_interpolations_agree_at_voxel_centres() {
    let source = ball(oblique([18, 14, 7]), [0.0, 0.0, 0.0], 8.0, 1.0);
    let smaller = Grid::new([17, 14, 7], source.grid().voxel_to_world);
    for interpolation in EACH {
        let out = image(&source, &smaller, None, interpolation, &context()).unwrap();
        for offset in 0..smaller.len() {
            let (found, expected) = (out.voxels()[offset], source.at(smaller.index(offset)));
            assert!((found - expected).abs() < 1e-4, "{interpolation:?}: {found} is not {expected}");
        }
    }
}

/// 1e-5 of 7: f32 rounding of the spline's weights.
#[test]
fn the_outer_half_voxel_keeps_the_value_and_what_lies_beyond_is_0() {
    let slice = Image::new(Grid::axis_aligned([4, 4, 1], [1.0, 1.0, 5.0]), vec![7.0; 16]).unwrap();
    let column = Grid::new([1, 1, 5], Affine::scale_shift([1.0, 1.0, 2.4], [1.5, 1.5, -4.8]));
    for interpolation in EACH {
        let out = image(&slice, &column, None, interpolation, &context()).unwrap();
        for (found, expected) in out.voxels().iter().zip([0.0f32, 7.0, 7.0, 7.0, 0.0]) {
            assert!((found - expected).abs() < 1e-5, "{interpolation:?}: {found} is not {expected}");
        }
    }
}

#[test]
fn a_matching_grid_shares_the_voxels() {
    let source = ball(oblique([8, 8, 8]), [0.0; 3], 5.0, 1.0);
    let out = image(&source, source.grid(), None, Interpolation::Cubic, &context()).unwrap();
    assert_eq!(out.voxels().as_ptr(), source.voxels().as_ptr());
    let map = Affine::translation([0.5, 0.0, 0.0]);
    let out = image(&source, source.grid(), Some(&map), Interpolation::Linear, &context()).unwrap();
    assert_ne!(out.voxels().as_ptr(), source.voxels().as_ptr());
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let source = ball(oblique([31, 29, 11]), [0.0; 3], 9.0, 100.0);
    let target = Grid::axis_aligned([23, 31, 17], [1.1, 0.8, 1.3]);
    for interpolation in EACH {
        let one = image(&source, &target, None, interpolation, &context_with(1)).unwrap();
        for threads in [2, 7] {
            let more = image(&source, &target, None, interpolation, &context_with(threads)).unwrap();
            assert_eq!(one.voxels(), more.voxels());
        }
    }
}

/// A ball of 8 mm keeps its volume within 3 % on a grid of twice the spacing: linear masks do not shrink.
#[test]
fn a_mask_keeps_its_volume() {
    let fine = Grid::axis_aligned([40; 3], [0.5; 3]);
    let source = ball_mask(fine, [10.0; 3], 8.0);
    let coarse = Grid::axis_aligned([20; 3], [1.0; 3]);
    for interpolation in EACH {
        let out = mask(&source, &coarse, None, interpolation, &context()).unwrap();
        let ratio = out.count() as f64 / (source.count() as f64 / 8.0);
        assert!((ratio - 1.0).abs() < 0.03, "{interpolation:?}: {ratio}");
    }
}

#[test]
fn labels_never_mix() {
    let source = Labels::new(Grid::axis_aligned([2, 1, 1], [1.0; 3]), vec![3, 900]).unwrap();
    let fine = Grid::new([6, 1, 1], Affine::scale_shift([0.3, 1.0, 1.0], [-0.25, 0.0, 0.0]));
    let out = labels(&source, &fine, None, LabelInterpolation::Nearest, &context()).unwrap();
    assert_eq!(out.voxels(), [3, 3, 3, 900, 900, 900]);
}

#[test]
fn a_cubic_probability_stays_within_0_and_1() {
    let edge: Vec<f32> = (0..20).map(|i| f32::from(u8::from(i >= 10))).collect();
    let source = Probability::new(Grid::axis_aligned([20, 1, 1], [1.0; 3]), edge).unwrap();
    let fine = Grid::axis_aligned([76, 1, 1], [0.25, 1.0, 1.0]);
    let plain = image(&source.to_image(), &fine, None, Interpolation::Cubic, &context()).unwrap();
    assert!(plain.voxels().iter().any(|v| *v > 1.01), "the spline overshoots an edge");
    let out = probability(&source, &fine, None, Interpolation::Cubic, &context()).unwrap();
    assert!(out.voxels().iter().all(|v| (0.0..=1.0).contains(v)));
}

#[test]
fn a_flat_grid_is_a_clear_error() {
    let flat = Grid::axis_aligned([2, 2, 2], [1.0, 1.0, 0.0]);
    let source = Image::new(flat, vec![0.0; 8]).unwrap();
    let target = Grid::axis_aligned([2; 3], [1.0; 3]);
    let error = image(&source, &target, None, Interpolation::Linear, &context()).unwrap_err();
    assert!(error.message.contains("flat"), "{error}");
}

/// Every voxel that a whole-voxel map reaches is the source's, bit for bit, odd numbers included.
#[test]
fn crops_flips_and_swapped_axes_are_exact_for_every_interpolation() {
    let grid = oblique([9, 8, 7]);
    let mut voxels: Vec<f32> = (0..grid.len()).map(|n| (n as f32 * 0.731).sin() * 1e6).collect();
    (voxels[3], voxels[77], voxels[200]) = (f32::NAN, f32::INFINITY, f32::MIN_POSITIVE);
    let source = Image::new(grid, voxels).unwrap();
    // Voxel [i, j, k] of the target is voxel [7 - j, i + 1, k - 2] of the source.
    let step = [[0.0, -1.0, 0.0, 7.0], [1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, -2.0]];
    let target = Grid::new([6, 8, 9], grid.voxel_to_world.after(&Affine::from_rows(step)));
    for interpolation in EACH {
        let out = image(&source, &target, None, interpolation, &context()).unwrap();
        for offset in 0..target.len() {
            let [i, j, k] = target.index(offset);
            let expected = if k < 2 { 0.0 } else { source.at([7 - j, i + 1, k - 2]) };
            assert_eq!(out.voxels()[offset].to_bits(), expected.to_bits(), "{interpolation:?} {offset}");
        }
    }
}

/// 1e-3 of 50: the Lanczos window of radius 4 passes waves of 8 voxels to a part in a thousand.
#[test]
fn a_slow_wave_is_reproduced_by_sinc_interpolation() {
    let wave = |p: [f64; 3]| 50.0 * (std::f64::consts::TAU * p[0] / 16.0).sin();
    let source = of_world(Grid::axis_aligned([40, 20, 20], [1.0; 3]), wave);
    let middle = Grid::new([12, 4, 4], Affine::scale_shift([1.1, 0.9, 1.0], [13.37, 7.21, 7.9]));
    let out = image(&source, &middle, None, Interpolation::Sinc, &context()).unwrap();
    for offset in 0..middle.len() {
        let (found, expected) = (f64::from(out.voxels()[offset]), wave(middle.world(middle.index(offset))));
        assert!((found - expected).abs() < 0.25, "{found} is not {expected}");
    }
}

/// Two labels share an edge; a lone voxel of a third is outvoted at twice the voxel's width and kept at a tenth.
#[test]
fn a_vote_goes_to_the_largest_membership() {
    let grid = Grid::axis_aligned([12, 12, 12], [1.0, 1.0, 2.0]);
    let label = |n: usize| match grid.index(n) {
        [3, 6, 6] => 9,
        [i, ..] if i < 6 => 4,
        _ => 70_000,
    };
    let source = Labels::new(grid, (0..grid.len()).map(label).collect::<Vec<_>>()).unwrap();
    let target = Grid::new([12, 12, 12], Affine::scale_shift([1.0, 1.0, 2.0], [0.3, 0.2, 0.4]));
    let vote = |sigma_mm: f64| {
        let how = LabelInterpolation::Vote(Some([sigma_mm; 3]));
        let one = labels(&source, &target, None, how, &context_with(1)).unwrap();
        for threads in [2, 7] {
            let more = labels(&source, &target, None, how, &context_with(threads)).unwrap();
            assert_eq!(one.voxels(), more.voxels());
        }
        one
    };
    let (wide, narrow) = (vote(2.0), vote(0.1));
    assert!(!wide.voxels().contains(&9) && narrow.voxels().contains(&9));
    assert_eq!((wide.at([5, 3, 3]), wide.at([6, 3, 3])), (4, 70_000));
    let nearest = labels(&source, &target, None, LabelInterpolation::Nearest, &context()).unwrap();
    assert_eq!(narrow.voxels(), nearest.voxels());
}

#[test]
fn a_vote_without_width_or_of_the_whole_head_is_a_clear_error() {
    let grid = Grid::axis_aligned([64; 3], [1.0; 3]);
    let source = Labels::new(grid, vec![1; grid.len()]).unwrap();
    let target = Grid::new([8; 3], Affine::translation([0.5; 3]));
    let refusal = |sigma_mm: [f64; 3]| {
        let how = LabelInterpolation::Vote(Some(sigma_mm));
        labels(&source, &target, None, how, &context()).unwrap_err().message
    };
    assert!(refusal([1.0, 0.0, 1.0]).contains("each is above 0"));
    assert!(refusal([1.0, f64::NAN, 1.0]).contains("each is above 0"));
    assert!(refusal([40.0; 3]).contains("262144 voxels"));
}

/// Half a voxel of a coarse target covers the fine source: what fills most of the target's voxel wins.
#[test]
fn onto_a_coarser_grid_the_default_vote_is_as_wide_as_the_target() {
    let fine = Grid::axis_aligned([32; 3], [0.5; 3]);
    let dotted = |n: usize| u32::from(fine.index(n).iter().all(|i| i % 4 == 1)) * 6 + 1;
    let source = Labels::new(fine, (0..fine.len()).map(dotted).collect::<Vec<_>>()).unwrap();
    let coarse = Grid::new([7; 3], Affine::scale_shift([2.0; 3], [0.55; 3]));
    let nearest = labels(&source, &coarse, None, LabelInterpolation::Nearest, &context()).unwrap();
    let vote = labels(&source, &coarse, None, LabelInterpolation::Vote(None), &context()).unwrap();
    assert!(nearest.voxels().iter().all(|label| *label == 7), "the nearest voxels are the dots");
    assert!(vote.voxels().iter().all(|label| *label == 1));
}

/// Each place asks for the voxels around it, a place in the outer half voxel for those of the edge; mirrored beyond that.
#[test]
fn a_voxel_that_is_not_finite_spoils_the_places_that_draw_on_it_and_no_others() {
    let grid = Grid::axis_aligned([15, 14, 16], [1.0; 3]);
    let broken = [6, 7, 8];
    let shifted = Grid::new(grid.shape, Affine::translation([0.3; 3]));
    let wave = |n: usize| 50.0 + 20.0 * (n as f32 * 0.37).sin();
    let with = |value: f32| {
        let voxel = |n: usize| if grid.index(n) == broken { value } else { wave(n) };
        Image::new(grid, (0..grid.len()).map(voxel).collect::<Vec<_>>()).unwrap()
    };
    // Voxels before the place and from it on.
    for (interpolation, before, after) in [
        (Interpolation::Nearest, 0, 0),
        (Interpolation::Linear, 0, 1),
        (Interpolation::Cubic, 1, 2),
        (Interpolation::Sinc, 3, 4),
    ] {
        let resampled = |value: f32| image(&with(value), &shifted, None, interpolation, &context()).unwrap();
        let whole = resampled(0.0);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let out = resampled(value);
            for offset in 0..grid.len() {
                let index = grid.index(offset);
                let drawn = |axis: usize| {
                    let last = grid.shape[axis] - 1;
                    let low = if after == 0 { index[axis] } else { index[axis].min(last - 1) };
                    (low.saturating_sub(before)..=(low + after).min(last)).contains(&broken[axis])
                };
                let (found, expected) = (out.voxels()[offset], whole.voxels()[offset]);
                if (0..3).all(drawn) {
                    assert!(!found.is_finite(), "{interpolation:?} {value} at {index:?}: {found}");
                } else {
                    assert_eq!(found, expected, "{interpolation:?} {value} at {index:?}");
                }
            }
        }
    }
}

/// Constant, zero and huge values on a sheared and left-handed grid: what goes in comes out, and nothing overflows.
#[test]
fn odd_values_on_odd_grids_keep_their_size() {
    let odd = Affine::from_rows([[-1.0, 0.03, 0.0, 9.0], [0.0, 1.2, 0.1, -4.0], [0.02, 0.0, 3.0, 1.0]]);
    let grid = Grid::new([12, 10, 8], odd);
    let inner = Grid::new([6, 5, 4], odd.after(&Affine::scale_shift([1.1, 1.1, 1.1], [2.3, 2.4, 1.7])));
    for value in [0.0f32, 7.25, -3e36, 1e-36] {
        let source = Image::new(grid, vec![value; grid.len()]).unwrap();
        for interpolation in EACH {
            let out = image(&source, &inner, None, interpolation, &context()).unwrap();
            // 1e-5 of the value: f32 rounding of up to 512 weights.
            let near = |found: &f32| (found - value).abs() <= value.abs() * 1e-5;
            assert!(out.voxels().iter().all(near), "{interpolation:?} of {value}");
        }
    }
}

/// A hundred million voxels, 0.4 GB: a ramp brought there, and the middle of it back.
#[test]
fn a_volume_of_512_x_512_x_400_voxels_is_resampled() {
    let ramp = |p: [f64; 3]| 0.5 * p[0] - 0.25 * p[1] + p[2] + 300.0;
    let small = of_world(Grid::axis_aligned([40, 40, 32], [6.4; 3]), ramp);
    let large = Grid::axis_aligned([512, 512, 400], [0.5; 3]);
    let there = image(&small, &large, None, Interpolation::Linear, &context()).unwrap();
    let middle = Grid::new([9, 8, 7], Affine::scale_shift([3.3; 3], [100.0, 90.0, 80.0]));
    for interpolation in [Interpolation::Nearest, Interpolation::Linear] {
        let back = image(&there, &middle, None, interpolation, &context()).unwrap();
        for offset in 0..middle.len() {
            let (found, expected) =
                (f64::from(back.voxels()[offset]), ramp(middle.world(middle.index(offset))));
            // The nearest voxel is up to a quarter of a millimetre away along each axis; else f32 rounding.
            let slack = if interpolation == Interpolation::Nearest { 0.44 } else { 1e-3 };
            assert!((found - expected).abs() <= slack, "{interpolation:?}: {found} is not {expected}");
        }
    }
}
