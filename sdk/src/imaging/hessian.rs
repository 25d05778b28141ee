//! How an image curves: the eigenvalues of its matrix of second derivatives, at a scale in millimetres.
//!
//! A bright tube has two large negative eigenvalues and one near 0; a bright ball has three; a sheet has one. The image is
//! smoothed by a Gaussian of `sigma_mm` along the voxel's axes first ([`super::smooth`]), differences are central, and the
//! matrix is turned to the world's axes, so that anisotropic and oblique voxels are accounted for. Along an axis of one voxel
//! nothing curves. Values are multiplied by `sigma_mm` squared (Lindeberg's normalisation), so that scales can be compared:
//! they have the unit of the image.
//!
//! Source: A. F. Frangi et al., "Multiscale vessel enhancement filtering", MICCAI 1998, section 2; O. K. Smith, "Eigenvalues
//! of a symmetric 3 x 3 matrix", Communications of the ACM 4(4), 1961.

use super::gradient::{neighbours, voxel_slopes_to_world};
use super::smooth;
use crate::context::Context;
use crate::error::OperatorError;
use crate::volume::{Image, Mask};
use nalgebra::Matrix3;

/// The eigenvalues at each voxel of `mask`, in the order of memory, times `sigma_mm` squared; each three from the smallest
/// to the largest magnitude.
///
/// * `mask`: on the image's grid.
/// * `sigma_mm`: the scale, above 0; of an axis whose voxels are wider than it, the voxels set the scale.
///
/// # Errors
/// [`smooth::SmoothError`]; [`super::gradient::GradientError`]; a mask of another length; no memory; the stage was asked to
/// stop.
pub fn eigenvalues(
    image: &Image,
    mask: &Mask,
    sigma_mm: f64,
    ctx: &Context,
) -> Result<Vec<[f32; 3]>, OperatorError> {
    let grid = *image.grid();
    let inside = mask.with_grid(grid)?;
    let to_world = voxel_slopes_to_world(&grid)?;
    let smoothed = smooth::gaussian(image, [sigma_mm; 3], ctx)?;
    let [nx, ny, nz] = grid.shape;
    let slices = ctx.map(nz, |k| {
        if ctx.cancelled() {
            return Vec::new();
        }
        let slice = &inside.voxels()[k * nx * ny..][..nx * ny];
        let voxels = (0..nx * ny).filter(|&n| slice[n] != 0);
        let curvature = |n: usize| {
            let second = second_differences(smoothed.voxels(), grid.shape, [n % nx, n / nx, k]);
            let world = to_world * second * to_world.transpose() * (sigma_mm * sigma_mm);
            by_magnitude(&world)
        };
        voxels.map(curvature).collect()
    });
    ctx.check_cancelled()?;
    Ok(slices.concat())
}

/// Second differences per voxel, edges continued by the outermost voxels.
fn second_differences(voxels: &[f32], shape: [usize; 3], at: [usize; 3]) -> Matrix3<f64> {
    let [nx, ny, _] = shape;
    let strides = [1, nx, nx * ny];
    let here = at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2];
    let beside = [0, 1, 2].map(|axis| neighbours(at[axis], shape[axis]));
    let down = [0, 1, 2].map(|axis| (at[axis] - beside[axis].low) * strides[axis]);
    let up = [0, 1, 2].map(|axis| (beside[axis].high - at[axis]) * strides[axis]);
    let value = |offset: usize| f64::from(voxels[offset]);
    let mut second = Matrix3::zeros();
    for a in 0..3 {
        second[(a, a)] = value(here + up[a]) - 2.0 * value(here) + value(here - down[a]);
        for b in 0..a {
            // At an edge the distance is one voxel, not two.
            let steps = |axis: usize| (beside[axis].high - beside[axis].low).max(1) as f64;
            let corners =
                value(here + up[a] + up[b]) - value(here + up[a] - down[b]) - value(here - down[a] + up[b])
                    + value(here - down[a] - down[b]);
            second[(a, b)] = corners / (steps(a) * steps(b));
            second[(b, a)] = second[(a, b)];
        }
    }
    second
}

/// The three eigenvalues of a symmetric matrix, smallest magnitude first.
fn by_magnitude(m: &Matrix3<f64>) -> [f32; 3] {
    let mean = m.trace() / 3.0;
    let rest = m - Matrix3::identity() * mean;
    let spread = (rest.norm_squared() / 6.0).sqrt();
    let mut found = [mean; 3];
    if spread > 0.0 {
        // Rounding may leave the cosine just outside -1..=1.
        let third = ((rest / spread).determinant() / 2.0).clamp(-1.0, 1.0).acos() / 3.0;
        let turn = std::f64::consts::TAU / 3.0;
        found = [0.0, turn, 2.0 * turn].map(|angle| mean + 2.0 * spread * (third + angle).cos());
    }
    found.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    found.map(|value| value as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Affine, Grid};
    use crate::testing::{context, context_with};

    /// Voxel [15, 13, 10] lies at the origin.
    fn oblique() -> Grid {
        let turn = Affine::rigid([0.2, -0.1, 0.3], [0.0; 3], [0.0; 3]);
        Grid::new([31, 27, 21], turn.after(&Affine::scale_shift([-1.0, 1.2, 1.5], [15.0, -15.6, -15.0])))
    }

    fn of_world(value: impl Fn([f64; 3]) -> f64) -> Image {
        let grid = oblique();
        let voxel = |n| value(grid.world(grid.index(n))) as f32;
        Image::new(grid, (0..grid.len()).map(voxel).collect::<Vec<_>>()).unwrap()
    }

    fn middle() -> Mask {
        let grid = oblique();
        let mut voxels = vec![0; grid.len()];
        voxels[grid.offset([15, 13, 10])] = 1;
        Mask::new(grid, voxels).unwrap()
    }

    /// Gaussian smoothing leaves the second derivatives of a quadric as they are; 1 % for f32 differences of values near 100.
    #[test]
    fn a_quadric_has_its_curvatures_on_any_grid() {
        let image = of_world(|p| 0.5 * (-0.3 * p[0] * p[0] + 0.2 * p[1] * p[1]) + 0.1 * p[1] * p[2]);
        let found = eigenvalues(&image, &middle(), 2.0, &context()).unwrap();
        let (mean, root) = (0.1, (0.1f64 * 0.1 + 0.1 * 0.1).sqrt());
        let mut expected = [-0.3, mean + root, mean - root].map(|value| value * 4.0);
        expected.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        for (found, expected) in found[0].iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 0.012, "{found} is not {expected}");
        }
    }

    /// A tube of Gaussian profile s, seen at the same scale, curves by s^2 s^2 / (s^2 + s^2)^2 = 1/4 of its height across
    /// it and not at all along it; 5 % for the sampling of 2 mm by voxels of up to 1.5 mm.
    #[test]
    fn a_bright_tube_curves_down_twice_and_stays_level_along_itself() {
        let image = of_world(|p| 100.0 * (-(p[0] * p[0] + p[1] * p[1]) / 8.0).exp());
        let found = eigenvalues(&image, &middle(), 2.0, &context()).unwrap()[0];
        assert!(found[0].abs() < 1.0 && found[1] < -10.0 && found[2] < -10.0, "{found:?}");
    }

    #[test]
    fn the_number_of_threads_changes_nothing_and_only_the_mask_is_looked_at() {
        let image = of_world(|p| (0.3 * p[0]).sin() + (0.2 * p[1] * p[2]).cos());
        let grid = oblique();
        let mask =
            Mask::new(grid, (0..grid.len()).map(|n| u8::from(n % 3 == 0)).collect::<Vec<_>>()).unwrap();
        let one = eigenvalues(&image, &mask, 1.5, &context_with(1)).unwrap();
        assert_eq!(one.len(), mask.count());
        for threads in [2, 7] {
            assert_eq!(eigenvalues(&image, &mask, 1.5, &context_with(threads)).unwrap(), one);
        }
    }

    #[test]
    fn a_constant_slice_does_not_curve_and_a_negative_scale_is_an_error() {
        let grid = Grid::axis_aligned([5, 5, 1], [1.0, 1.0, 5.0]);
        let (image, mask) = (Image::new(grid, vec![7.0; 25]).unwrap(), Mask::new(grid, vec![1; 25]).unwrap());
        let found = eigenvalues(&image, &mask, 1.0, &context()).unwrap();
        assert!(found.iter().flatten().all(|value| value.abs() < 1e-4), "{found:?}");
        assert!(eigenvalues(&image, &mask, -1.0, &context()).is_err());
    }
}
