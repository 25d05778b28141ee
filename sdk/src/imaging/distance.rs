//! Exact Euclidean distance transform in millimetres.
//!
//! The squared distance to the nearest voxel of a set is found axis by axis: along `k` by counting, along `i` and `j` as the
//! lower envelope of one parabola for each voxel of a line. Distances are between voxel centres, with each axis at its own
//! spacing; the axes are taken as perpendicular (on a sheared grid a distance is off by about the cosine between the axes). Envelopes
//! are found in f64, and squares are kept as f32: a distance is right to 1e-7 of itself.
//!
//! Every line is worked on by itself, so results do not depend on the number of threads.
//!
//! Source: P. Felzenszwalb, D. Huttenlocher, "Distance transforms of sampled functions", Theory of Computing 8, 2012; which
//! parabolas stay is decided without a division as in C. Maurer, R. Qi, V. Raghavan, IEEE Trans. Pattern Anal. Mach. Intell.
//! 25(2), 2003.

use crate::buffer::Buf;
use crate::context::Context;
use crate::error::OperatorError;
use crate::geometry::Grid;
use crate::volume::{Image, Mask};

/// Lines along `j` that are worked on together: 16 numbers of f32 are a cache line.
const TILE: usize = 16;

/// Why there are no distances.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistanceError {
    /// There is nothing to measure to.
    #[error(
        "a mask of {voxels} voxels has none that is {value}, so no distance to one\nhint: has the brain been found?"
    )]
    NoVoxel {
        /// Voxels of the mask.
        voxels: usize,
        /// 1: the mask is empty. 0: it is full.
        value: u8,
    },
}

/// Distance in mm from each voxel to the nearest one inside the mask; 0 inside.
///
/// # Errors
/// [`DistanceError`] for an empty mask; no memory; the stage was asked to stop.
pub fn outside_mm(mask: &Mask, ctx: &Context) -> Result<Image, OperatorError> {
    distance_to(mask, 1, ctx)
}

/// Distance in mm from each voxel to the nearest one outside the mask; 0 outside. The border of the volume is no outside.
///
/// # Errors
/// [`DistanceError`] for a full mask; no memory; the stage was asked to stop.
pub fn inside_mm(mask: &Mask, ctx: &Context) -> Result<Image, OperatorError> {
    distance_to(mask, 0, ctx)
}

/// [`outside_mm`] less [`inside_mm`]: above 0 outside the mask, below 0 inside, never 0. The surface lies between.
///
/// # Errors
/// [`DistanceError`] for an empty or full mask; no memory; the stage was asked to stop.
pub fn signed_mm(mask: &Mask, ctx: &Context) -> Result<Image, OperatorError> {
    let (outside, inside) = (outside_mm(mask, ctx)?, inside_mm(mask, ctx)?);
    let [nx, ny, _] = mask.grid().shape;
    let mut out = ctx.alloc::<f32>(mask.grid().len())?;
    ctx.fill(&mut out, nx * ny, |k, slice| {
        let start = k * nx * ny;
        for ((out, a), b) in slice.iter_mut().zip(&outside.voxels()[start..]).zip(&inside.voxels()[start..]) {
            *out = a - b;
        }
    });
    Ok(Image::new(*mask.grid(), out.freeze())?)
}

fn distance_to(mask: &Mask, value: u8, ctx: &Context) -> Result<Image, OperatorError> {
    let voxels = mask.voxels();
    if !voxels.iter().any(|&v| u8::from(v != 0) == value) {
        return Err(DistanceError::NoVoxel { voxels: voxels.len(), value }.into());
    }
    let squares = squared_mm2(mask.grid(), ctx, |offset, row| {
        for (inside, &voxel) in row.iter_mut().zip(&voxels[offset..]) {
            *inside = u8::from(u8::from(voxel != 0) == value);
        }
    })?;
    let [nx, ny, _] = mask.grid().shape;
    let mut out = ctx.alloc::<f32>(squares.len())?;
    ctx.fill(&mut out, nx * ny, |k, slice| {
        for (out, square) in slice.iter_mut().zip(&squares[k * nx * ny..]) {
            *out = square.sqrt();
        }
    });
    Ok(Image::new(*mask.grid(), out.freeze())?)
}

/// Squared distance in mm^2 from each voxel to the nearest one of a set; infinite if the set is empty.
///
/// * `fill(offset, row)`: writes 1 (in the set) or 0 for each voxel of the row that starts at `offset` in memory; `row` is
///   `[nx]`. Called once for each row.
///
/// # Errors
/// No memory; the stage was asked to stop.
pub fn squared_mm2(
    grid: &Grid,
    ctx: &Context,
    fill: impl Fn(usize, &mut [u8]) + Sync,
) -> Result<Buf<f32>, OperatorError> {
    let [nx, ny, nz] = grid.shape;
    let spacing_mm = grid.spacing_mm();
    // `[j, k, i]`, so that a thread writes all of a plane across `k` and `i`, and then reads it in planes across `i` and `j`.
    let mut within = ctx.alloc::<f32>(grid.len())?;
    ctx.fill(&mut within, nx * nz, |j, plane| {
        if !ctx.cancelled() {
            count_along_k(plane, nx, spacing_mm[2], |k, row| fill(nx * (j + ny * k), row));
            let mut envelope = Envelope::new(nx, spacing_mm[0]);
            for row in plane.chunks_exact_mut(nx) {
                envelope.lower(row);
            }
        }
    });
    ctx.check_cancelled()?;
    let mut out = ctx.alloc::<f32>(grid.len())?;
    ctx.fill(&mut out, nx * ny, |k, plane| {
        if !ctx.cancelled() {
            lower_along_j(plane, nx, spacing_mm[1], |j| &within[nx * (k + nz * j)..][..nx]);
        }
    });
    ctx.check_cancelled()?;
    Ok(out.freeze())
}

/// Squared distance in mm^2 along `k` alone; * `plane`: `[k, i]`.
fn count_along_k(plane: &mut [f32], nx: usize, spacing_mm: f64, fill: impl Fn(usize, &mut [u8])) {
    let mut set = vec![0u8; nx];
    let mut steps = vec![f32::INFINITY; nx];
    for (k, row) in plane.chunks_exact_mut(nx).enumerate() {
        fill(k, &mut set);
        for ((out, steps), &inside) in row.iter_mut().zip(&mut steps).zip(&set) {
            *steps = if inside == 1 { 0.0 } else { *steps + 1.0 };
            *out = *steps;
        }
    }
    steps.fill(f32::INFINITY);
    for row in plane.chunks_exact_mut(nx).rev() {
        for (out, steps) in row.iter_mut().zip(&mut steps) {
            // Steps from above and from below: the row's own 0 begins anew.
            *steps = if *out == 0.0 { 0.0 } else { *steps + 1.0 };
            let mm = f64::from(out.min(*steps)) * spacing_mm;
            *out = (mm * mm) as f32;
        }
    }
}

/// Lower envelopes along `j`; * `plane`: `[j, i]`, what comes out; * `row(j)`: `[i]`, what goes in.
fn lower_along_j<'a>(plane: &mut [f32], nx: usize, spacing_mm: f64, row: impl Fn(usize) -> &'a [f32]) {
    let ny = plane.len() / nx;
    let mut envelope = Envelope::new(ny, spacing_mm);
    let mut lines = vec![0f32; TILE * ny];
    for start in (0..nx).step_by(TILE) {
        let width = TILE.min(nx - start);
        for j in 0..ny {
            for (n, &value) in row(j)[start..start + width].iter().enumerate() {
                lines[n * ny + j] = value;
            }
        }
        for line in lines.chunks_exact_mut(ny).take(width) {
            envelope.lower(line);
        }
        for j in 0..ny {
            for (n, out) in plane[j * nx + start..][..width].iter_mut().enumerate() {
                *out = lines[n * ny + j];
            }
        }
    }
}

/// The parabolas `height + (x - at)^2` of one line that are lowest somewhere.
struct Envelope {
    spacing_mm: f64,
    /// Place in mm and height in mm^2 of each parabola that stays, in order of place.
    parabolas: Vec<[f64; 2]>,
}

impl Envelope {
    fn new(len: usize, spacing_mm: f64) -> Self {
        Self { spacing_mm, parabolas: Vec::with_capacity(len) }
    }

    /// Puts the lower envelope of a line's parabolas in the place of their heights, both in mm^2.
    fn lower(&mut self, line: &mut [f32]) {
        self.parabolas.clear();
        for (n, &height) in line.iter().enumerate() {
            if height.is_finite() {
                let new = [n as f64 * self.spacing_mm, f64::from(height)];
                while let [.., before, last] = self.parabolas[..]
                    && hidden(before, last, new)
                {
                    self.parabolas.pop();
                }
                self.parabolas.push(new);
            }
        }
        let Some((&first, rest)) = self.parabolas.split_first() else { return };
        let mut lowest = first;
        let mut rest = rest.iter();
        for (n, out) in line.iter_mut().enumerate() {
            let x = n as f64 * self.spacing_mm;
            let mut value = at(lowest, x);
            while let Some(&next) = rest.as_slice().first() {
                let ahead = at(next, x);
                if ahead > value {
                    break;
                }
                (lowest, value) = (next, ahead);
                rest.next();
            }
            *out = value as f32;
        }
    }
}

fn at([place, height]: [f64; 2], x: f64) -> f64 {
    height + (x - place) * (x - place)
}

/// Whether `b` is nowhere below both `a`, which lies before it, and `c`, which lies behind it.
fn hidden(a: [f64; 2], b: [f64; 2], c: [f64; 2]) -> bool {
    let (before, after) = (b[0] - a[0], c[0] - b[0]);
    let all = before + after;
    all * b[1] - after * a[1] - before * c[1] >= before * after * all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Affine;
    use crate::testing::{ball_mask, context, context_to_cancel, context_with};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    /// Every voxel against every voxel of the set.
    fn by_force(grid: &Grid, set: &[u8]) -> Vec<f64> {
        let spacing = grid.spacing_mm();
        let inside: Vec<[usize; 3]> =
            (0..set.len()).filter(|&n| set[n] == 1).map(|n| grid.index(n)).collect();
        let apart = |a: [usize; 3], b: [usize; 3]| {
            (0..3).map(|axis| (a[axis].abs_diff(b[axis]) as f64 * spacing[axis]).powi(2)).sum::<f64>()
        };
        (0..set.len())
            .map(|n| inside.iter().map(|&at| apart(at, grid.index(n))).fold(f64::INFINITY, f64::min))
            .collect()
    }

    fn check(grid: &Grid, set: &[u8]) {
        let found = squared_mm2(grid, &context(), |offset, row| {
            row.copy_from_slice(&set[offset..offset + row.len()]);
        });
        for (n, (found, expected)) in found.unwrap().iter().zip(by_force(grid, set)).enumerate() {
            // Three roundings to f32 of 6e-8 each.
            let close =
                (f64::from(*found) - expected).abs() <= 2e-7 * expected || f64::from(*found) == expected;
            assert!(close, "{found} mm2 for {expected} at {:?} of {grid}", grid.index(n));
        }
    }

    proptest! {
        #[test]
        fn every_distance_is_the_shortest_of_all(
            shape in proptest::array::uniform3(1usize..9),
            spacing in proptest::array::uniform3(0.3f64..6.0),
            share in 0usize..20,
            seed in any::<u32>(),
        ) {
            let grid = Grid::axis_aligned(shape, spacing);
            let mut state = seed | 1;
            let set: Vec<u8> = (0..grid.len()).map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                u8::from((state >> 8) as usize % 20 < share)
            }).collect();
            check(&grid, &set);
        }
    }

    /// Rows of one voxel, single slices and lines, and rows that fill no tile.
    #[test]
    fn thin_and_long_grids_are_measured_as_well() {
        for shape in [[1, 1, 1], [40, 1, 1], [1, 40, 1], [1, 1, 40], [17, 33, 1], [33, 1, 17], [1, 33, 17]] {
            let grid = Grid::axis_aligned(shape, [0.7, 1.1, 5.5]);
            let set: Vec<u8> = (0..grid.len()).map(|n| u8::from(n % 13 == 0)).collect();
            check(&grid, &set);
        }
    }

    #[test]
    fn an_oblique_and_left_handed_grid_has_the_distances_of_its_spacing() {
        let turned = Affine::rigid([0.3, -0.2, 1.0], [5.0, 6.0, 7.0], [0.0; 3]);
        let voxels = Affine::scale_shift([-0.9, 1.2, 4.0], [0.0; 3]);
        let grid = Grid::new([12, 9, 5], turned.after(&voxels));
        check(&grid, ball_mask(grid, grid.centre_world(), 4.5).voxels());
    }

    #[test]
    fn the_sign_tells_the_side_and_the_axis_of_the_spacing_counts() {
        let grid = Grid::axis_aligned([4, 1, 3], [1.0, 1.0, 5.5]);
        let mask = Mask::new(grid, vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let signed = signed_mm(&mask, &context()).unwrap();
        assert_eq!(signed.voxels()[..4], [-2.0, -1.0, 1.0, 2.0]);
        assert_eq!((signed.at([1, 0, 1]), signed.at([0, 0, 2])), (5.5, 11.0));
        assert_eq!(inside_mm(&mask, &context()).unwrap().voxels()[..3], [2.0, 1.0, 0.0]);
        assert_eq!(outside_mm(&mask, &context()).unwrap().voxels()[..3], [0.0, 0.0, 1.0]);
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let grid = Grid::axis_aligned([37, 21, 11], [0.7, 0.9, 3.0]);
        let mask = ball_mask(grid, [10.0, 9.0, 18.0], 8.0);
        let with = |threads| signed_mm(&mask, &context_with(threads)).unwrap();
        assert_eq!(with(1).voxels(), with(2).voxels());
        assert_eq!(with(1).voxels(), with(7).voxels());
    }

    #[test]
    fn a_mask_without_the_other_side_is_an_error_and_so_is_a_stop() {
        let grid = Grid::axis_aligned([3; 3], [1.0; 3]);
        let all = |value: u8| Mask::new(grid, vec![value; 27]).unwrap();
        let error = outside_mm(&all(0), &context()).unwrap_err();
        assert_eq!(error.message, "a mask of 27 voxels has none that is 1, so no distance to one");
        let error = signed_mm(&all(1), &context()).unwrap_err();
        assert_eq!(error.message, "a mask of 27 voxels has none that is 0, so no distance to one");
        let ctx = context_to_cancel(Arc::new(AtomicBool::new(true)));
        assert!(outside_mm(&all(1), &ctx).is_err());
    }
}
