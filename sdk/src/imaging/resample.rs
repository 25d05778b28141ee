//! Brings a volume onto another grid: nearest neighbour, linear, or cubic B-spline.
//!
//! Resampling pulls: each voxel of the target asks where it lies in the source. Places are voxel centres in RAS+ world
//! millimetres; `target_to_source` maps a target's world point to the source's (`fixed_to_moving` of a registration), and
//! `None` means that both lie in one frame.
//!
//! Border: a voxel reaches half a voxel to each side of its centre. A place within the outer half voxel takes the value at
//! the outermost centres (so a volume of one slice keeps its thickness); a place further out is 0.
//!
//! Nothing is smoothed first: onto a coarser grid, use [`super::smooth`] before. Results do not depend on the number of
//! threads.

mod spline;

use crate::buffer::{Buf, Element};
use crate::context::Context;
use crate::error::OperatorError;
use crate::geometry::{Affine, Grid};
use crate::volume::{Image, Labels, Mask, Probability, Volume, VolumeKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How values between voxel centres are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The value of the nearest voxel centre; halves go up.
    Nearest,
    /// Trilinear from the eight neighbours: never beyond the range of the source.
    #[default]
    Linear,
    /// Prefiltered cubic B-spline from 64 neighbours: sharper than linear, and may overshoot at edges.
    Cubic,
}

/// Why a volume could not be resampled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResampleError {
    /// The source's affine cannot be inverted.
    #[error("the source's affine is flat: {grid}\nhint: correct the file's header")]
    FlatGrid {
        /// The source.
        grid: Box<Grid>,
    },
    /// An entry of the map from the target to the source is NaN or infinite.
    #[error(
        "the map from target to source has an entry that is not finite: {rows:?}\nhint: check the transform"
    )]
    NotFinite {
        /// The map from target voxel to source voxel.
        rows: Box<[[f64; 4]; 3]>,
    },
}

/// An image on the grid `target`.
///
/// * `target_to_source`: world to world, mm; `None` is the identity.
///
/// If both grids match and there is no map, the voxels are shared, not copied.
///
/// # Errors
/// [`ResampleError`]; no memory; the stage was asked to stop.
pub fn image(
    source: &Image,
    target: &Grid,
    target_to_source: Option<&Affine>,
    interpolation: Interpolation,
    ctx: &Context,
) -> Result<Image, OperatorError> {
    if stays(source.grid(), target, target_to_source) {
        return Ok(source.with_grid(*target)?);
    }
    let voxels = scalars(source, target, target_to_source, interpolation, ctx, |value| value)?;
    Ok(Image::new(*target, voxels)?)
}

/// A probability on the grid `target`: as [`image`], then held within 0..=1 (cubic overshoots).
///
/// # Errors
/// As [`image`].
pub fn probability(
    source: &Probability,
    target: &Grid,
    target_to_source: Option<&Affine>,
    interpolation: Interpolation,
    ctx: &Context,
) -> Result<Probability, OperatorError> {
    if stays(source.grid(), target, target_to_source) {
        return Ok(source.with_grid(*target)?);
    }
    let clamp = |value: f32| value.clamp(0.0, 1.0);
    let voxels = scalars(source, target, target_to_source, interpolation, ctx, clamp)?;
    Ok(Probability::new(*target, voxels)?)
}

/// A mask on the grid `target`: 0 and 1 are interpolated, and at least 0.5 is inside.
///
/// With [`Interpolation::Linear`] the border runs smoothly between the slices; with `Nearest` each voxel keeps its shape.
///
/// # Errors
/// As [`image`].
pub fn mask(
    source: &Mask,
    target: &Grid,
    target_to_source: Option<&Affine>,
    interpolation: Interpolation,
    ctx: &Context,
) -> Result<Mask, OperatorError> {
    if stays(source.grid(), target, target_to_source) {
        return Ok(source.with_grid(*target)?);
    }
    let inside = |value: f32| u8::from(value >= MASK_THRESHOLD);
    let voxels = scalars(source, target, target_to_source, interpolation, ctx, inside)?;
    Ok(Mask::new(*target, voxels)?)
}

/// An interpolated mask of at least this is inside: half of the voxel.
const MASK_THRESHOLD: f32 = 0.5;

/// Labels on the grid `target`, by nearest neighbour: no new label appears.
///
/// # Errors
/// As [`image`].
pub fn labels(
    source: &Labels,
    target: &Grid,
    target_to_source: Option<&Affine>,
    ctx: &Context,
) -> Result<Labels, OperatorError> {
    if stays(source.grid(), target, target_to_source) {
        return Ok(source.with_grid(*target)?);
    }
    let (grid, voxels) = (source.grid(), source.voxels());
    let pull = Pull::new(grid, target, target_to_source)?;
    let voxels = pull.run(ctx, |place| voxels[grid.offset(nearest(place))])?;
    Ok(Labels::new(*target, voxels)?)
}

/// Whether resampling would change nothing but rounding.
fn stays(source: &Grid, target: &Grid, target_to_source: Option<&Affine>) -> bool {
    let moved = target_to_source.map(|map| Grid::new(target.shape, map.after(&target.voxel_to_world)));
    source.matches(&moved.unwrap_or(*target))
}

/// Interpolates voxels that count as numbers, and turns each result into a voxel of the target.
fn scalars<K: VolumeKind, T: Element>(
    source: &Volume<K>,
    target: &Grid,
    target_to_source: Option<&Affine>,
    interpolation: Interpolation,
    ctx: &Context,
    finish: impl Fn(f32) -> T + Sync,
) -> Result<Buf<T>, OperatorError>
where
    K::Voxel: Into<f32>,
{
    let (grid, voxels) = (source.grid(), source.voxels());
    let pull = Pull::new(grid, target, target_to_source)?;
    match interpolation {
        Interpolation::Nearest => pull.run(ctx, |place| finish(voxels[grid.offset(nearest(place))].into())),
        Interpolation::Linear => pull.run(ctx, |place| finish(linear(voxels, grid.shape, place))),
        Interpolation::Cubic => {
            let coefficients = spline::coefficients(grid.shape, voxels, ctx)?;
            pull.run(ctx, |place| finish(spline::value(&coefficients, grid.shape, place)))
        }
    }
}

/// The nearest voxel to a place in voxels within the volume.
fn nearest(place: [f64; 3]) -> [usize; 3] {
    place.map(|c| (c + 0.5) as usize)
}

/// Trilinear value at a place in voxels within the volume.
#[inline]
fn linear<V: Copy + Into<f32>>(voxels: &[V], shape: [usize; 3], place: [f64; 3]) -> f32 {
    let [nx, ny, _] = shape;
    let low = place.map(|c| c as usize);
    let [fx, fy, fz] = [0, 1, 2].map(|axis| (place[axis] - low[axis] as f64) as f32);
    let step = |axis: usize, stride: usize| if low[axis] + 1 < shape[axis] { stride } else { 0 };
    let [dx, dy, dz] = [step(0, 1), step(1, nx), step(2, nx * ny)];
    let at = |offset: usize| -> f32 { voxels[offset].into() };
    let along_x = |offset: usize| {
        let (a, b) = (at(offset), at(offset + dx));
        a + fx * (b - a)
    };
    let along_y = |offset: usize| {
        let (a, b) = (along_x(offset), along_x(offset + dy));
        a + fy * (b - a)
    };
    let base = low[0] + nx * (low[1] + ny * low[2]);
    let (a, b) = (along_y(base), along_y(base + dz));
    a + fz * (b - a)
}

/// Where each voxel of a target lies in a source, in the source's voxels.
struct Pull {
    source: [usize; 3],
    target: [usize; 3],
    map: Affine,
}

impl Pull {
    fn new(source: &Grid, target: &Grid, target_to_source: Option<&Affine>) -> Result<Self, ResampleError> {
        let world_to_voxel =
            source.world_to_voxel().ok_or_else(|| ResampleError::FlatGrid { grid: Box::new(*source) })?;
        let to_world =
            target_to_source.map_or(target.voxel_to_world, |map| map.after(&target.voxel_to_world));
        let map = world_to_voxel.after(&to_world);
        if map.matrix().iter().any(|entry| !entry.is_finite()) {
            return Err(ResampleError::NotFinite { rows: Box::new(map.rows()) });
        }
        Ok(Self { source: source.shape, target: target.shape, map })
    }

    /// Fills the target slice by slice; `sample` gets places within the outermost voxel centres.
    fn run<T: Element>(
        &self,
        ctx: &Context,
        sample: impl Fn([f64; 3]) -> T + Sync,
    ) -> Result<Buf<T>, OperatorError> {
        ctx.check_cancelled()?;
        let [nx, ny, nz] = self.target;
        let mut out = ctx.alloc::<T>(nx * ny * nz)?;
        if self.source.contains(&0) {
            return Ok(out.freeze());
        }
        ctx.fill(&mut out, nx * ny, |k, slice| {
            if ctx.cancelled() {
                return;
            }
            for (j, row) in slice.chunks_exact_mut(nx).enumerate() {
                self.row(j, k, row, &sample);
            }
        });
        ctx.check_cancelled()?;
        Ok(out.freeze())
    }

    #[inline]
    fn row<T>(&self, j: usize, k: usize, row: &mut [T], sample: &impl Fn([f64; 3]) -> T) {
        let start = self.map.point([0.0, j as f64, k as f64]);
        let step = self.map.vector([1.0, 0.0, 0.0]);
        let last = self.source.map(|n| n as f64 - 1.0);
        for (i, out) in row.iter_mut().enumerate() {
            let place = [0, 1, 2].map(|axis| start[axis] + i as f64 * step[axis]);
            let within = |axis: usize| place[axis] >= -0.5 && place[axis] <= last[axis] + 0.5;
            if within(0) && within(1) && within(2) {
                *out = sample([0, 1, 2].map(|axis| place[axis].clamp(0.0, last[axis])));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ball, ball_mask, context, context_with};
    use proptest::prelude::*;

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
        for interpolation in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
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
        for interpolation in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
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
        for interpolation in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
            let one = image(&source, &target, None, interpolation, &context_with(1)).unwrap();
            let four = image(&source, &target, None, interpolation, &context_with(4)).unwrap();
            assert_eq!(one.voxels(), four.voxels());
        }
    }

    /// A ball of 8 mm keeps its volume within 3 % on a grid of twice the spacing: linear masks do not shrink.
    #[test]
    fn a_mask_keeps_its_volume() {
        let fine = Grid::axis_aligned([40; 3], [0.5; 3]);
        let source = ball_mask(fine, [10.0; 3], 8.0);
        let coarse = Grid::axis_aligned([20; 3], [1.0; 3]);
        for interpolation in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
            let out = mask(&source, &coarse, None, interpolation, &context()).unwrap();
            let ratio = out.count() as f64 / (source.count() as f64 / 8.0);
            assert!((ratio - 1.0).abs() < 0.03, "{interpolation:?}: {ratio}");
        }
    }

    #[test]
    fn labels_never_mix() {
        let source = Labels::new(Grid::axis_aligned([2, 1, 1], [1.0; 3]), vec![3, 900]).unwrap();
        let fine = Grid::new([6, 1, 1], Affine::scale_shift([0.3, 1.0, 1.0], [-0.25, 0.0, 0.0]));
        let out = labels(&source, &fine, None, &context()).unwrap();
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
}
