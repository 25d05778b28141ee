//! Exact distances in millimetres, for erosion and dilation by a ball.
//!
//! Distances are between voxel centres, along the grid's own axes, whose spacing may differ; a sheared grid is taken for a
//! rectangular one.
//!
//! Source: P. F. Felzenszwalb, D. P. Huttenlocher, "Distance transforms of sampled functions", Theory of Computing 8, 2012.

use sdk::{BufMut, Context, Grid, OperatorError};

/// Squared distance in mm2 from each voxel to the nearest one that `is_seed` holds for; infinite if there is none.
///
/// # Errors
/// No memory; the stage was asked to stop.
pub fn squared_mm2(
    grid: &Grid,
    is_seed: impl Fn(usize) -> bool + Sync,
    ctx: &Context,
) -> Result<BufMut<f32>, OperatorError> {
    let [nx, ny, nz] = grid.shape;
    let spacing_mm = grid.spacing_mm();
    let mut squared = ctx.alloc::<f32>(grid.len())?;
    ctx.fill(&mut squared, nx * ny, |k, plane| {
        for (n, out) in plane.iter_mut().enumerate() {
            *out = if is_seed(k * nx * ny + n) { 0.0 } else { f32::INFINITY };
        }
        let mut line = Line::default();
        for j in 0..ny {
            line.transform(plane, j * nx, 1, nx, spacing_mm[0]);
        }
        for i in 0..nx {
            line.transform(plane, i, nx, ny, spacing_mm[1]);
        }
    });
    ctx.check_cancelled()?;
    // Along k the lines cross all planes: gather them for one j at a time, `[k][i]`, and put them back in order.
    let sheets = ctx.map(ny, |j| {
        let row = |k: usize| (k * ny + j) * nx;
        let mut sheet: Vec<f32> =
            (0..nz).flat_map(|k| squared[row(k)..row(k) + nx].iter().copied()).collect();
        let mut line = Line::default();
        for i in 0..nx {
            line.transform(&mut sheet, i, nx, nz, spacing_mm[2]);
        }
        sheet
    });
    ctx.fill(&mut squared, nx * ny, |k, plane| {
        for (row, sheet) in plane.chunks_mut(nx).zip(&sheets) {
            row.copy_from_slice(&sheet[k * nx..(k + 1) * nx]);
        }
    });
    ctx.check_cancelled()?;
    Ok(squared)
}

/// A parabola of the lower envelope.
struct Parabola {
    /// Where it stands, mm.
    at: f64,
    /// Its lowest value, mm2.
    height: f64,
    /// From where on it is the lowest of all, mm.
    from: f64,
}

/// The distance transform of one line; keeps its memory from line to line.
#[derive(Default)]
struct Line {
    envelope: Vec<Parabola>,
}

impl Line {
    /// Replaces `values[first + n * step]`, for all `n < count`, by the least `values[m] + (distance from n to m)^2`.
    fn transform(&mut self, values: &mut [f32], first: usize, step: usize, count: usize, spacing_mm: f64) {
        self.envelope.clear();
        for n in 0..count {
            let height = f64::from(values[first + n * step]);
            if height.is_finite() {
                self.add(n as f64 * spacing_mm, height);
            }
        }
        let mut lowest = 0;
        for n in 0..count {
            let at = n as f64 * spacing_mm;
            while self.envelope.get(lowest + 1).is_some_and(|next| next.from < at) {
                lowest += 1;
            }
            let Some(parabola) = self.envelope.get(lowest) else { return };
            values[first + n * step] = (parabola.height + (at - parabola.at).powi(2)) as f32;
        }
    }

    fn add(&mut self, at: f64, height: f64) {
        while let Some(last) = self.envelope.last() {
            let from = ((height + at * at) - (last.height + last.at * last.at)) / (2.0 * (at - last.at));
            if from > last.from {
                self.envelope.push(Parabola { at, height, from });
                return;
            }
            self.envelope.pop();
        }
        self.envelope.push(Parabola { at, height, from: f64::NEG_INFINITY });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest seed, found by looking at every one.
    #[test]
    fn distances_are_those_to_the_nearest_seed() {
        let grid = Grid::axis_aligned([7, 6, 5], [0.9, 1.3, 2.5]);
        let seeds = [3, 77, 140, 205];
        let found = squared_mm2(&grid, |n| seeds.contains(&n), &sdk::testing::context()).unwrap();
        for n in 0..grid.len() {
            let here = grid.world(grid.index(n));
            let squared = |seed: usize| {
                let there = grid.world(grid.index(seed));
                (0..3).map(|axis| (here[axis] - there[axis]).powi(2)).sum::<f64>()
            };
            let expected = seeds.into_iter().map(squared).fold(f64::INFINITY, f64::min);
            // f32 keeps seven digits of at most 200 mm2.
            assert!((f64::from(found[n]) - expected).abs() < 1e-4, "{n}: {} for {expected}", found[n]);
        }
    }

    #[test]
    fn without_a_seed_every_distance_is_infinite() {
        let grid = Grid::axis_aligned([3, 1, 2], [1.0; 3]);
        let found = squared_mm2(&grid, |_| false, &sdk::testing::context()).unwrap();
        assert!(found.iter().all(|value| value.is_infinite()));
    }
}
