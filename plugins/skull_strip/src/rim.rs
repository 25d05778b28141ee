//! Settles the rim voxel by voxel where the voxels are fine enough to tell brain from the fluid around it.
//!
//! A surface with edges of 4 mm runs over the mouths of the folds, so that its outermost voxels hold fluid, dura and bone.
//! Those that are darker than brain are peeled off from outside, no deeper than fluid lies over a normal brain. In thicker
//! slices a dark voxel at the rim may well be brain and bone by halves and says nothing: there the surface stands.

use crate::surface::WHOLE;
use sdk::{Context, Grid, OperatorError};

/// Depth to which voxels are peeled off, mm: the width of that fluid.
const DEPTH_MM: f64 = 2.0;
/// Likeness below which a voxel is not brain: past the middle between fluid and grey matter in T1 (0.3 and 0.85 of white
/// matter), well below any grey matter.
const LEAST_LIKENESS: f32 = 0.7;

/// Takes dark voxels off the rim of `mask`, layer by layer; all 0 and 1, `i` fastest.
///
/// * `grid`: of spacings that are not thick ([`Head::thick`](crate::head::Head::thick)).
/// * `likeness`: of the image's voxels, 255 for brain.
/// * `dark`: whether a voxel is darker than brain, and not brighter.
///
/// # Errors
/// When the run is cancelled.
pub fn peel(
    mask: &mut [u8],
    grid: &Grid,
    likeness: &[u8],
    dark: impl Fn(usize) -> bool,
    ctx: &Context,
) -> Result<(), OperatorError> {
    let least = (WHOLE * LEAST_LIKENESS) as u8;
    let finest = grid.spacing_mm().into_iter().fold(DEPTH_MM, f64::min);
    let mut candidates: Vec<usize> =
        (0..mask.len()).filter(|&n| mask[n] == 1 && at_border(mask, grid, n)).collect();
    for _ in 0..(DEPTH_MM / finest).round() as usize {
        ctx.check_cancelled()?;
        candidates.retain(|&n| mask[n] == 1 && likeness[n] < least && dark(n));
        for &n in &candidates {
            mask[n] = 0;
        }
        candidates = candidates.iter().flat_map(|&n| neighbours(grid, n)).flatten().collect();
        candidates.sort_unstable();
        candidates.dedup();
    }
    Ok(())
}

/// The six voxels that share a face with voxel `n`; `None` outside the grid.
fn neighbours(grid: &Grid, n: usize) -> [Option<usize>; 6] {
    let index = grid.index(n);
    let mut stride = 1;
    let mut found = [None; 6];
    for axis in 0..3 {
        found[2 * axis] = (index[axis] > 0).then(|| n - stride);
        found[2 * axis + 1] = (index[axis] + 1 < grid.shape[axis]).then(|| n + stride);
        stride *= grid.shape[axis];
    }
    found
}

/// Whether a neighbour of voxel `n` within the grid is not in the mask. What lies beyond the view is no rim.
fn at_border(mask: &[u8], grid: &Grid, n: usize) -> bool {
    neighbours(grid, n).into_iter().flatten().any(|m| mask[m] == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::testing::context;

    /// A cube of 10 voxels in a grid of 14, its outer layer of likeness 0.2 and dark or bright.
    fn peeled(dark: bool) -> usize {
        let grid = Grid::axis_aligned([14; 3], [1.0; 3]);
        let depth = |n: usize| grid.index(n).into_iter().map(|i| i.min(13 - i)).min().unwrap_or(0);
        let mut mask: Vec<u8> = (0..grid.len()).map(|n| u8::from(depth(n) >= 2)).collect();
        let likeness: Vec<u8> = (0..grid.len()).map(|n| if depth(n) >= 3 { 255 } else { 50 }).collect();
        peel(&mut mask, &grid, &likeness, |_| dark, &context()).unwrap();
        mask.iter().map(|&v| usize::from(v)).sum()
    }

    #[test]
    fn a_dark_rim_goes_and_a_bright_one_stays() {
        assert_eq!([peeled(true), peeled(false)], [512, 1000]);
    }
}
