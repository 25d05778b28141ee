//! The slope of an image, in intensity per millimetre along the world's axes.
//!
//! Central differences of neighbouring voxels, one-sided at the edges, 0 along an axis of one voxel; then from the voxel's
//! axes to the world's, so that spacing, obliqueness and mirrored axes are accounted for. Nothing is smoothed first: see
//! [`super::smooth`]. Results do not depend on the number of threads.

use crate::buffer::BufMut;
use crate::context::Context;
use crate::error::OperatorError;
use crate::geometry::Grid;
use crate::volume::Image;
use nalgebra::Matrix3;

/// Why an image has no slope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GradientError {
    /// The affine cannot be inverted.
    #[error("the slope of an image on a flat grid: {grid}\nhint: correct the file's header")]
    FlatGrid {
        /// The image's grid.
        grid: Box<Grid>,
    },
}

/// Slopes along x, y and z (RAS+), intensity per mm, each on the image's grid.
///
/// # Errors
/// [`GradientError`]; no memory; the stage was asked to stop.
pub fn world(image: &Image, ctx: &Context) -> Result<[Image; 3], OperatorError> {
    let grid = *image.grid();
    let to_world = voxel_slopes_to_world(&grid)?;
    let component = |axis: usize| -> Result<Image, OperatorError> {
        let mut out = ctx.alloc::<f32>(grid.len())?;
        fill(&mut out, image, ctx, |slope| {
            (0..3).map(|from| to_world[(axis, from)] * slope[from]).sum::<f64>() as f32
        });
        ctx.check_cancelled()?;
        Ok(Image::new(grid, out.freeze())?)
    };
    Ok([component(0)?, component(1)?, component(2)?])
}

/// How steep the image is at each voxel: the length of its slope, intensity per mm.
///
/// # Errors
/// As [`world`].
pub fn magnitude(image: &Image, ctx: &Context) -> Result<Image, OperatorError> {
    let grid = *image.grid();
    let to_world = voxel_slopes_to_world(&grid)?;
    let mut out = ctx.alloc::<f32>(grid.len())?;
    fill(&mut out, image, ctx, |slope| (to_world * nalgebra::Vector3::from(slope)).norm() as f32);
    ctx.check_cancelled()?;
    Ok(Image::new(grid, out.freeze())?)
}

/// From slopes per voxel to slopes per mm: the transposed inverse of the affine's linear part.
///
/// # Errors
/// [`GradientError::FlatGrid`].
pub(super) fn voxel_slopes_to_world(grid: &Grid) -> Result<Matrix3<f64>, GradientError> {
    let back = grid.world_to_voxel().ok_or_else(|| GradientError::FlatGrid { grid: Box::new(*grid) })?;
    Ok(back.linear().transpose())
}

/// Fills `out` with what `finish` makes of each voxel's slopes per voxel.
fn fill(out: &mut BufMut<f32>, image: &Image, ctx: &Context, finish: impl Fn([f64; 3]) -> f32 + Sync) {
    let ([nx, ny, nz], voxels) = (image.grid().shape, image.voxels());
    ctx.fill(out, nx * ny, |k, slice| {
        if ctx.cancelled() {
            return;
        }
        let z = neighbours(k, nz);
        for (j, row) in slice.chunks_exact_mut(nx).enumerate() {
            let y = neighbours(j, ny);
            let line = |j: usize, k: usize| &voxels[nx * (j + ny * k)..][..nx];
            let (here, down, up, below, above) =
                (line(j, k), line(y.low, k), line(y.high, k), line(j, z.low), line(j, z.high));
            for (i, value) in row.iter_mut().enumerate() {
                let x = neighbours(i, nx);
                *value = finish([
                    x.slope(here[x.low], here[x.high]),
                    y.slope(down[i], up[i]),
                    z.slope(below[i], above[i]),
                ]);
            }
        }
    });
}

/// The voxels on both sides of one, or itself at an edge, and one over their distance.
pub(super) struct Neighbours {
    pub(super) low: usize,
    pub(super) high: usize,
    per_voxel: f64,
}

impl Neighbours {
    fn slope(&self, low: f32, high: f32) -> f64 {
        (f64::from(high) - f64::from(low)) * self.per_voxel
    }
}

#[inline]
pub(super) fn neighbours(at: usize, len: usize) -> Neighbours {
    let (low, high) = (at.saturating_sub(1), (at + 1).min(len - 1));
    Neighbours { low, high, per_voxel: 1.0 / (high - low).max(1) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Affine;
    use crate::testing::{ball, context, context_with};

    /// Oblique, mirrored, with three different spacings.
    fn oblique(shape: [usize; 3]) -> Grid {
        let turn = Affine::rigid([0.2, -0.1, 0.3], [4.0, -7.0, 2.0], [0.0; 3]);
        Grid::new(shape, turn.after(&Affine::scale_shift([-1.0, 1.5, 4.0], [10.0, -12.0, -14.0])))
    }

    /// 1e-4 of slopes near 1: f32 rounding of values up to 100, over 1 mm.
    #[test]
    fn a_ramp_has_its_slope_everywhere_on_any_grid() {
        let grid = oblique([9, 7, 5]);
        let slope = [0.7, -1.3, 0.4];
        let value = |n| {
            let p = grid.world(grid.index(n));
            (slope[0] * p[0] + slope[1] * p[1] + slope[2] * p[2]) as f32
        };
        let image = Image::new(grid, (0..grid.len()).map(value).collect::<Vec<_>>()).unwrap();
        let found = world(&image, &context()).unwrap();
        for axis in 0..3 {
            let apart = |v: &f32| (f64::from(*v) - slope[axis]).abs();
            assert!(found[axis].voxels().iter().all(|v| apart(v) < 1e-4), "axis {axis}");
        }
        let steep = slope.iter().map(|s| s * s).sum::<f64>().sqrt();
        let length = magnitude(&image, &context()).unwrap();
        assert!(length.voxels().iter().all(|v| (f64::from(*v) - steep).abs() < 1e-4));
    }

    #[test]
    fn a_single_slice_has_no_slope_across_it() {
        let image = ball(Grid::axis_aligned([9, 9, 1], [1.0, 1.0, 5.0]), [4.0, 4.0, 0.0], 3.0, 10.0);
        let [x, _, z] = world(&image, &context()).unwrap();
        assert!(z.voxels().iter().all(|v| *v == 0.0) && x.voxels().iter().any(|v| *v != 0.0));
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let image = ball(oblique([23, 20, 12]), [0.0; 3], 6.0, 100.0);
        let one = magnitude(&image, &context_with(1)).unwrap();
        for threads in [2, 7] {
            assert_eq!(magnitude(&image, &context_with(threads)).unwrap().voxels(), one.voxels());
        }
    }

    #[test]
    fn a_flat_grid_is_a_clear_error_and_an_empty_one_has_no_slopes() {
        let flat = Grid::axis_aligned([2, 2, 2], [1.0, 1.0, 0.0]);
        let error = world(&Image::new(flat, vec![0.0; 8]).unwrap(), &context()).unwrap_err();
        assert!(error.message.contains("flat grid"), "{error}");
        let empty = Image::new(Grid::axis_aligned([0, 3, 3], [1.0; 3]), vec![]).unwrap();
        assert!(magnitude(&empty, &context()).unwrap().voxels().is_empty());
    }
}
