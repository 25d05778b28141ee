//! Gaussian smoothing, with widths in millimetres.
//!
//! Separable: one pass along each axis with the sampled Gaussian, cut at [`REACH`] sigmas. At the edges the weights that
//! remain are scaled to sum 1, so that a constant image stays constant. Results do not depend on the number of threads.

use crate::buffer::Buf;
use crate::context::Context;
use crate::error::OperatorError;
use crate::volume::Image;

/// Where the kernel is cut, in sigmas: 6e-5 of its mass lies beyond.
pub const REACH: f64 = 4.0;

/// Below this many voxels a Gaussian's neighbours weigh less than 4e-6: the axis stays as it is.
const SMALLEST_SIGMA_VOXELS: f64 = 0.2;

/// Why an image could not be smoothed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SmoothError {
    /// A width is negative, NaN or infinite.
    #[error("a sigma of {found} mm along axis {axis}, outside 0 and up\nhint: 0 leaves an axis as it is")]
    Sigma {
        /// The width, mm.
        found: f64,
        /// Voxel axis, 0 to 2.
        axis: usize,
    },
}

/// An image smoothed by a Gaussian of `sigma_mm` along its voxel axes `i`, `j`, `k`.
///
/// A width of 0 (or less than 0.2 voxels) leaves its axis; if all do, the voxels are shared, not copied. For a full width
/// at half maximum divide by 2.355.
///
/// # Errors
/// [`SmoothError`]; no memory; the stage was asked to stop.
pub fn gaussian(image: &Image, sigma_mm: [f64; 3], ctx: &Context) -> Result<Image, OperatorError> {
    if let Some(axis) = (0..3).find(|&axis| !(sigma_mm[axis] >= 0.0 && sigma_mm[axis].is_finite())) {
        return Err(SmoothError::Sigma { found: sigma_mm[axis], axis }.into());
    }
    let grid = *image.grid();
    let spacing_mm = grid.spacing_mm();
    let mut voxels = image.buffer().clone();
    for axis in 0..3 {
        let sigma_voxels = sigma_mm[axis] / spacing_mm[axis];
        if sigma_voxels >= SMALLEST_SIGMA_VOXELS && grid.shape[axis] > 1 {
            voxels = along(&voxels, grid.shape, axis, &kernel(sigma_voxels, grid.shape[axis]), ctx)?;
        }
    }
    Ok(Image::new(grid, voxels)?)
}

/// One half of the kernel, from its centre outwards; not normalised, and no longer than an axis of `len` voxels needs.
fn kernel(sigma_voxels: f64, len: usize) -> Vec<f32> {
    let reach = ((REACH * sigma_voxels).ceil() as usize).min(len - 1);
    (0..=reach).map(|n| (-0.5 * (n as f64 / sigma_voxels).powi(2)).exp() as f32).collect()
}

fn along(
    voxels: &[f32],
    shape: [usize; 3],
    axis: usize,
    kernel: &[f32],
    ctx: &Context,
) -> Result<Buf<f32>, OperatorError> {
    let [nx, ny, nz] = shape;
    let plane = nx * ny;
    let scales = scales(shape[axis], kernel);
    let mut out = ctx.alloc::<f32>(plane * nz)?;
    ctx.fill(&mut out, plane, |k, slice| {
        if ctx.cancelled() {
            return;
        }
        let rows = &voxels[k * plane..][..plane];
        match axis {
            0 => {
                for (out, line) in slice.chunks_exact_mut(nx).zip(rows.chunks_exact(nx)) {
                    smooth_line(out, line, kernel, &scales);
                }
            }
            1 => {
                for (j, out) in slice.chunks_exact_mut(nx).enumerate() {
                    smooth_rows(out, j, rows, kernel, scales[j]);
                }
            }
            _ => smooth_rows(slice, k, voxels, kernel, scales[k]),
        }
    });
    ctx.check_cancelled()?;
    Ok(out.freeze())
}

/// For each voxel of a line, one over the sum of the weights that the kernel finds there.
fn scales(len: usize, kernel: &[f32]) -> Vec<f32> {
    let weight = |at: usize| {
        let (low, high) = reach(at, len, kernel.len());
        (low..high).map(|n| kernel[n.abs_diff(at)]).sum::<f32>()
    };
    (0..len).map(|at| 1.0 / weight(at)).collect()
}

/// The kernel along one line: one sweep for each of its weights.
fn smooth_line(out: &mut [f32], line: &[f32], kernel: &[f32], scales: &[f32]) {
    for (value, voxel) in out.iter_mut().zip(line) {
        *value = kernel[0] * voxel;
    }
    for (n, weight) in kernel.iter().enumerate().skip(1) {
        for (value, voxel) in out.iter_mut().zip(&line[n..]) {
            *value += weight * voxel;
        }
        for (value, voxel) in out[n..].iter_mut().zip(line) {
            *value += weight * voxel;
        }
    }
    for (value, scale) in out.iter_mut().zip(scales) {
        *value *= scale;
    }
}

/// The kernel across whole rows (or slices): row `at` of the result from its neighbours in `rows`.
fn smooth_rows(out: &mut [f32], at: usize, rows: &[f32], kernel: &[f32], scale: f32) {
    let width = out.len();
    let (low, high) = reach(at, rows.len() / width, kernel.len());
    for n in low..high {
        let weight = kernel[n.abs_diff(at)] * scale;
        for (value, voxel) in out.iter_mut().zip(&rows[n * width..][..width]) {
            *value += weight * voxel;
        }
    }
}

/// The voxels `low..high` of a line of `len` that the kernel reaches from `at`.
fn reach(at: usize, len: usize, kernel_len: usize) -> (usize, usize) {
    (at.saturating_sub(kernel_len - 1), (at + kernel_len).min(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Grid;
    use crate::testing::{ball, context, context_with};

    /// The impulse becomes the Gaussian density times the voxel's volume: 1e-3 of the peak for the cut at 4 sigmas and for
    /// sampling at sigma 1.5 voxels.
    #[test]
    fn an_impulse_becomes_a_gaussian_in_millimetres() {
        let grid = Grid::axis_aligned([29, 21, 15], [1.0, 2.0, 3.0]);
        let mut voxels = vec![0.0; grid.len()];
        voxels[grid.offset([14, 10, 7])] = 1.0;
        let sigma = [3.0, 3.0, 4.5];
        let out = gaussian(&Image::new(grid, voxels).unwrap(), sigma, &context()).unwrap();
        let density = |index: [usize; 3]| {
            let from = grid.world([14, 10, 7]);
            let at = grid.world(index);
            let one = |a: usize| {
                (-0.5 * ((at[a] - from[a]) / sigma[a]).powi(2)).exp()
                    / (sigma[a] * std::f64::consts::TAU.sqrt())
            };
            one(0) * one(1) * one(2) * grid.voxel_volume_mm3()
        };
        let peak = density([14, 10, 7]);
        for index in [[14, 10, 7], [17, 10, 7], [14, 11, 7], [14, 10, 8], [11, 12, 6]] {
            let (found, expected) = (f64::from(out.at(index)), density(index));
            assert!((found - expected).abs() < 1e-3 * peak, "{index:?}: {found} is not {expected}");
        }
    }

    /// 1e-5 relative: f32 rounding of a few dozen products.
    #[test]
    fn a_constant_image_stays_constant_up_to_its_edges() {
        let grid = Grid::axis_aligned([9, 1, 4], [1.0, 1.0, 5.0]);
        let out = gaussian(&Image::new(grid, vec![40.0; 36]).unwrap(), [6.0; 3], &context()).unwrap();
        assert!(out.voxels().iter().all(|v| (v - 40.0).abs() < 4e-4), "{:?}", out.voxels());
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let image = ball(Grid::axis_aligned([33, 20, 12], [0.7, 0.9, 3.0]), [10.0, 9.0, 18.0], 6.0, 100.0);
        let one = gaussian(&image, [2.0; 3], &context_with(1)).unwrap();
        let four = gaussian(&image, [2.0; 3], &context_with(4)).unwrap();
        assert_eq!(one.voxels(), four.voxels());
    }

    #[test]
    fn no_width_shares_the_voxels_and_a_negative_one_is_an_error() {
        let image = ball(Grid::axis_aligned([6; 3], [1.0; 3]), [3.0; 3], 2.0, 1.0);
        let same = gaussian(&image, [0.0; 3], &context()).unwrap();
        assert_eq!(same.voxels().as_ptr(), image.voxels().as_ptr());
        let error = gaussian(&image, [0.0, -1.0, 0.0], &context()).unwrap_err();
        assert!(error.message.contains("-1 mm along axis 1"), "{error}");
    }
}
