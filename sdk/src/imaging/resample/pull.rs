//! Where each voxel of a target lies in its source.

use super::ResampleError;
use crate::buffer::{Buf, Element};
use crate::context::Context;
use crate::error::OperatorError;
use crate::geometry::{Affine, GRID_TOLERANCE, Grid};

/// Where each voxel of a target lies in a source, in the source's voxels.
pub(super) struct Pull {
    source: [usize; 3],
    target: [usize; 3],
    map: Affine,
    /// Whether every place is a voxel centre of the (continued) source.
    whole: bool,
}

impl Pull {
    pub(super) fn new(
        source: &Grid,
        target: &Grid,
        target_to_source: Option<&Affine>,
    ) -> Result<Self, ResampleError> {
        let world_to_voxel =
            source.world_to_voxel().ok_or_else(|| ResampleError::FlatGrid { grid: Box::new(*source) })?;
        let to_world =
            target_to_source.map_or(target.voxel_to_world, |map| map.after(&target.voxel_to_world));
        let map = world_to_voxel.after(&to_world);
        if map.matrix().iter().any(|entry| !entry.is_finite()) {
            return Err(ResampleError::NotFinite { rows: Box::new(map.rows()) });
        }
        let whole = whole(&map, target);
        Ok(Self {
            source: source.shape,
            target: target.shape,
            map: whole.unwrap_or(map),
            whole: whole.is_some(),
        })
    }

    /// Whether the target's centres fall on centres of the source, so that nothing is to be interpolated.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// How far the target's steps go along each axis of the source, in the source's voxels: the widest of the three.
    pub(super) fn widest_steps(&self) -> [f64; 3] {
        self.map.rows().map(|row| row[..3].iter().fold(0.0, |widest: f64, step| widest.max(step.abs())))
    }

    /// Fills the target from the nearest voxels; halves go up.
    pub(super) fn nearest<V: Copy + Sync, T: Element>(
        &self,
        voxels: &[V],
        ctx: &Context,
        finish: impl Fn(V) -> T + Sync,
    ) -> Result<Buf<T>, OperatorError> {
        let [nx, ny, _] = self.source;
        self.run(ctx, |place| {
            let [i, j, k] = place.map(|c| (c + 0.5) as usize);
            finish(voxels[i + nx * (j + ny * k)])
        })
    }

    /// Fills the target slice by slice; `sample` gets places within the outermost voxel centres.
    pub(super) fn run<T: Element>(
        &self,
        ctx: &Context,
        sample: impl Fn([f64; 3]) -> T + Sync,
    ) -> Result<Buf<T>, OperatorError> {
        ctx.check_cancelled()?;
        let [nx, ny, nz] = self.target;
        let mut out = ctx.alloc::<T>(nx * ny * nz)?;
        if self.source.contains(&0) || self.target.contains(&0) {
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
        let (first, end) = self.span(start, step, row.len());
        for (i, out) in row[first..end].iter_mut().enumerate() {
            let at = (first + i) as f64;
            // `max` and `min` in this order make of NaN, which cannot be, a place within all the same.
            *out = sample([0, 1, 2].map(|axis| (start[axis] + at * step[axis]).max(0.0).min(last[axis])));
        }
    }

    /// The voxels `first..end` of a row that lie at most half a voxel outside the outermost centres.
    fn span(&self, start: [f64; 3], step: [f64; 3], len: usize) -> (usize, usize) {
        let within = |i: usize| {
            (0..3).all(|axis| {
                let place = start[axis] + i as f64 * step[axis];
                place >= -0.5 && place <= self.source[axis] as f64 - 0.5
            })
        };
        let (mut low, mut high) = (0.0f64, len as f64);
        for axis in 0..3 {
            let reached =
                [-0.5, self.source[axis] as f64 - 0.5].map(|edge| (edge - start[axis]) / step[axis]);
            // Along an axis without steps both are infinite or, at the edge itself, NaN, which `max` and `min` pass over.
            low = low.max(reached[0].min(reached[1]));
            high = high.min(reached[0].max(reached[1]) + 1.0);
        }
        // Rounding moves an end by less than a voxel: the places themselves decide.
        let first = (low.max(1.0) as usize - 1).min(len);
        let end = (high.max(0.0) as usize + 1).clamp(first, len);
        let first = (first..end).find(|&i| within(i)).unwrap_or(end);
        let end = (first..end).rev().find(|&i| within(i)).map_or(first, |last| last + 1);
        (first, end)
    }
}

/// The map with all entries rounded to whole numbers, if that moves no voxel of the target by more than
/// [`GRID_TOLERANCE`] voxels.
fn whole(map: &Affine, target: &Grid) -> Option<Affine> {
    let rounded = Affine::from_rows(map.rows().map(|row| row.map(f64::round)));
    let apart = |corner: usize| {
        let index = [0, 1, 2].map(|axis| {
            if corner >> axis & 1 == 1 { target.shape[axis].saturating_sub(1) as f64 } else { 0.0 }
        });
        let (a, b) = (map.point(index), rounded.point(index));
        (0..3).map(|axis| (a[axis] - b[axis]).abs()).fold(0.0, f64::max)
    };
    (0..8).all(|corner| apart(corner) <= GRID_TOLERANCE).then_some(rounded)
}
