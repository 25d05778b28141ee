//! Smooths an image and keeps every n-th voxel, in one go.
//!
//! Only what is kept is computed, and slice by slice: beside the result nothing of the image's size is held, which matters
//! for volumes of a hundred million voxels. The kernel is the sampled Gaussian, cut at [`REACH`] sigmas and scaled to sum 1 over
//! the voxels that it finds, so that a constant image stays constant up to its edges.

use sdk::imaging::smooth::REACH;
use sdk::{Affine, Context, Grid, Image, OperatorError};

/// Slices of the result that are made at a time: fixed, and so many that the slices read twice are few.
const BLOCK: usize = 8;

/// Which voxels of a line make one voxel of the result, and with which weights.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

impl Taps {
    /// Those of all `count` voxels of the result, `step` apart about the middle of a line of `len`.
    fn of_line(len: usize, count: usize, step: usize, sigma: f64) -> Vec<Self> {
        let shift = ((len - 1) as f64 - ((count - 1) * step) as f64) / 2.0;
        let at = |n: usize| {
            let place = shift + (n * step) as f64;
            let reach = (REACH * sigma).max(0.5);
            let first = (place - reach).ceil().max(0.0) as usize;
            let last = ((place + reach).floor() as usize).min(len - 1);
            let weight = |j: usize| {
                if sigma > 0.0 { (-0.5 * ((j as f64 - place) / sigma).powi(2)).exp() } else { 1.0 }
            };
            let sum: f64 = (first..=last).map(weight).sum();
            Self { first, weights: (first..=last).map(|j| (weight(j) / sum) as f32).collect() }
        };
        (0..count).map(at).collect()
    }
}

/// The grid of every `step`-th voxel, about the same middle.
pub fn thinned_grid(grid: &Grid, step: [usize; 3]) -> Grid {
    let shape: [usize; 3] = std::array::from_fn(|axis| (grid.shape[axis] / step[axis]).max(1));
    let shift = std::array::from_fn(|axis| {
        ((grid.shape[axis] - 1) as f64 - ((shape[axis] - 1) * step[axis]) as f64) / 2.0
    });
    let to_finer = Affine::scale_shift(step.map(|n| n as f64), shift);
    Grid::new(shape, grid.voxel_to_world.after(&to_finer))
}

/// A volume smoothed by a Gaussian of `sigma` voxels along each axis, on [`thinned_grid`].
///
/// * `voxels`: of `grid`.
/// * `step`: 1 and up. Without smoothing (a sigma of 0), a step of an even number takes the mean of the two nearest voxels.
///
/// # Errors
/// No memory; the stage was asked to stop.
pub fn thin<T: Copy + Into<f32> + Sync>(
    grid: &Grid,
    voxels: &[T],
    sigma: [f64; 3],
    step: [usize; 3],
    ctx: &Context,
) -> Result<Image, OperatorError> {
    let (from, grid) = (grid.shape, thinned_grid(grid, step));
    let [x, y, z]: [Vec<Taps>; 3] =
        std::array::from_fn(|axis| Taps::of_line(from[axis], grid.shape[axis], step[axis], sigma[axis]));
    let plane = grid.shape[0] * grid.shape[1];
    let mut out = ctx.alloc::<f32>(grid.len())?;
    ctx.fill(&mut out, plane * BLOCK, |block, slab| {
        if ctx.cancelled() {
            return;
        }
        let z = &z[block * BLOCK..][..slab.len() / plane];
        let (first, last) = (z[0].first, z[z.len() - 1].first + z[z.len() - 1].weights.len());
        let mut thinned = vec![0.0; plane];
        let mut line = vec![0.0; from[0]];
        for slice in first..last {
            let rows = &voxels[slice * from[0] * from[1]..][..from[0] * from[1]];
            thin_plane(&mut thinned, rows, &mut line, &x, &y);
            for (out, taps) in slab.chunks_exact_mut(plane).zip(z) {
                let weight = slice.checked_sub(taps.first).and_then(|n| taps.weights.get(n));
                if let Some(weight) = weight {
                    out.iter_mut().zip(&thinned).for_each(|(sum, value)| *sum += weight * value);
                }
            }
        }
    });
    ctx.check_cancelled()?;
    Ok(Image::new(grid, out.freeze())?)
}

/// One slice: rows first, as whole lines, then along what is left of them.
fn thin_plane<V: Copy + Into<f32>>(out: &mut [f32], voxels: &[V], line: &mut [f32], x: &[Taps], y: &[Taps]) {
    for (out, taps) in out.chunks_exact_mut(x.len()).zip(y) {
        line.fill(0.0);
        for (weight, row) in
            taps.weights.iter().zip(voxels[taps.first * line.len()..].chunks_exact(line.len()))
        {
            for (sum, voxel) in line.iter_mut().zip(row) {
                *sum += weight * (*voxel).into();
            }
        }
        for (out, taps) in out.iter_mut().zip(x) {
            let found = taps.weights.iter().zip(&line[taps.first..]);
            *out = found.fold(0.0, |sum, (weight, value)| sum + weight * value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::imaging::smooth;
    use sdk::testing::{ball, ball_mask, context, context_with};

    fn oblique() -> Grid {
        let turn = Affine::rigid([0.2, -0.1, 0.3], [4.0, -7.0, 2.0], [0.0; 3]);
        Grid::new([33, 26, 21], turn.after(&Affine::scale_shift([1.0, 1.5, 2.0], [-16.0, -19.0, -20.0])))
    }

    /// An odd step takes voxels where they are: as if all were smoothed first (0.02 of 100: the kernel ends a voxel earlier).
    #[test]
    fn only_what_is_kept_is_computed_and_it_is_the_same() {
        let image = ball(oblique(), [0.0; 3], 9.0, 100.0);
        let spacing = image.grid().spacing_mm();
        let sigma = [1.2, 0.9, 0.7];
        let all =
            smooth::gaussian(&image, std::array::from_fn(|a| sigma[a] * spacing[a]), &context()).unwrap();
        let found = thin(image.grid(), image.voxels(), sigma, [3, 1, 1], &context()).unwrap();
        let [nx, ny, nz] = found.grid().shape;
        assert_eq!([nx, ny, nz], [11, 26, 21]);
        for offset in 0..found.grid().len() {
            let [i, j, k] = found.grid().index(offset);
            let (here, there) = (found.voxels()[offset], all.at([3 * i + 1, j, k]));
            assert!((here - there).abs() < 0.02, "{here} is not {there} at {i} {j} {k}");
        }
        assert!(found.grid().matches(&thinned_grid(image.grid(), [3, 1, 1])));
    }

    /// The middle stays, and so does a constant (1e-5 of 7: f32).
    #[test]
    fn the_middle_and_a_constant_stay() {
        let grid = oblique();
        let image = Image::new(grid, vec![7.0; grid.len()]).unwrap();
        let found = thin(image.grid(), image.voxels(), [1.5, 1.0, 2.0], [2, 4, 3], &context()).unwrap();
        assert!(found.voxels().iter().all(|value| (value - 7.0).abs() < 1e-5));
        let (here, there) = (found.grid().centre_world(), grid.centre_world());
        assert!((0..3).all(|axis| (here[axis] - there[axis]).abs() < 1e-9), "{here:?} {there:?}");
    }

    #[test]
    fn nothing_to_do_changes_no_bit_and_masks_become_numbers() {
        let image = ball(oblique(), [0.0; 3], 9.0, 100.0);
        assert_eq!(
            thin(image.grid(), image.voxels(), [0.0; 3], [1; 3], &context()).unwrap().voxels(),
            image.voxels()
        );
        let mask = ball_mask(oblique(), [0.0; 3], 9.0);
        let found = thin(mask.grid(), mask.voxels(), [0.0; 3], [1; 3], &context()).unwrap();
        assert!(found.voxels().iter().zip(mask.voxels()).all(|(a, b)| *a == f32::from(*b)));
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let image = ball(oblique(), [0.0; 3], 9.0, 100.0);
        let with = |threads| {
            thin(image.grid(), image.voxels(), [1.0; 3], [1, 2, 1], &context_with(threads)).unwrap()
        };
        assert_eq!(with(1).voxels(), with(7).voxels());
    }
}
