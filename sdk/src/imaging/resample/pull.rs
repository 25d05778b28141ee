//! Where each voxel of a target lies in its source.

use super::ResampleError;
use crate::buffer::{Buf, Element};
use crate::context::Context;
use crate::error::OperatorError;
use crate::geometry::{Affine, GRID_TOLERANCE, Grid};
use std::ops::Range;

/// A place within the outermost voxel centres of a source.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The voxel below it along each axis, never the last of several.
    pub(super) low: [usize; 3],
    /// How far it lies towards the next voxel, 0 to 1; 1 only at the last voxel.
    pub(super) share: [f32; 3],
}

/// A voxel in the fixed-point numbers in which places are counted along a row. A step is rounded to 2^-33 voxels: over
/// 32767 steps, the longest row of a NIfTI-1 file, that is 4e-6 voxels.
const VOXEL: i64 = 1 << 32;

/// Voxels of the target that are filled together, along each axis: what they draw on is about 100 KiB.
const TILE: [usize; 3] = [32, 16, 16];

/// Slabs into which a target is cut at least if it has so many slices: enough for many threads.
const LEAST_SLABS: usize = 16;

/// The share of a voxel that is its last bit.
const SHARE: f32 = 1.0 / (1 << 24) as f32;

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
            let [i, j, k] = [0, 1, 2].map(|axis| place.low[axis] + usize::from(place.share[axis] >= 0.5));
            finish(voxels[i + nx * (j + ny * k)])
        })
    }

    /// Fills the target slice by slice; `sample` gets places held within the outermost voxel centres.
    pub(super) fn run<T: Element>(
        &self,
        ctx: &Context,
        sample: impl Fn(Place) -> T + Sync,
    ) -> Result<Buf<T>, OperatorError> {
        ctx.check_cancelled()?;
        let [nx, ny, nz] = self.target;
        let mut out = ctx.alloc::<T>(nx * ny * nz)?;
        if self.source.contains(&0) || self.target.contains(&0) {
            return Ok(out.freeze());
        }
        let thick = (nz / LEAST_SLABS).clamp(1, TILE[2]);
        ctx.fill(&mut out, nx * ny * thick, |slab, voxels| {
            if !ctx.cancelled() {
                self.slab(slab * thick, voxels, &sample);
            }
        });
        ctx.check_cancelled()?;
        Ok(out.freeze())
    }

    /// Fills slices from `first` on, tile by tile: what a tile draws on stays in the cache, however the source is turned.
    fn slab<T>(&self, first: usize, voxels: &mut [T], sample: &impl Fn(Place) -> T) {
        let [nx, ny, _] = self.target;
        let spans: Vec<Range<usize>> =
            (0..voxels.len() / nx).map(|n| self.span(n % ny, first + n / ny)).collect();
        for j0 in (0..ny).step_by(TILE[1]) {
            for i0 in (0..nx).step_by(TILE[0]) {
                for k in 0..spans.len() / ny {
                    for j in j0..(j0 + TILE[1]).min(ny) {
                        let n = j + ny * k;
                        let span = spans[n].start.max(i0)..spans[n].end.min(i0 + TILE[0]);
                        if !span.is_empty() {
                            let out = &mut voxels[nx * n..][span.clone()];
                            self.piece([span.start, j, first + k], out, sample);
                        }
                    }
                }
            }
        }
    }

    /// Fills a piece of a row that begins at voxel `from`, all of it within half a voxel of the source.
    #[inline]
    fn piece<T>(&self, from: [usize; 3], out: &mut [T], sample: &impl Fn(Place) -> T) {
        let fixed = |value: f64| (value * VOXEL as f64).round() as i64;
        let step = self.map.vector([1.0, 0.0, 0.0]).map(fixed);
        let mut at = self.map.point(from.map(|n| n as f64)).map(fixed);
        let last = self.source.map(|n| (n as i64 - 1) * VOXEL);
        let end = [0, 1, 2].map(|axis| at[axis] + step[axis] * (out.len() as i64 - 1));
        // A straight piece whose ends lie between voxels does so everywhere: the same places without a look at the border.
        let inside = (0..3).all(|axis| [at[axis], end[axis]].iter().all(|at| (0..last[axis]).contains(at)));
        let highest = self.source.map(|n| (n as i64 - 2).max(0));
        for out in out {
            let mut place = Place {
                low: at.map(|at| (at >> 32) as usize),
                // Shifted down to the 24 bits that a float holds.
                share: at.map(|at| (at as u32 >> 8) as i32 as f32 * SHARE),
            };
            if !inside {
                for axis in 0..3 {
                    let within = at[axis].clamp(0, last[axis]);
                    let low = (within / VOXEL).min(highest[axis]);
                    place.low[axis] = low as usize;
                    place.share[axis] = ((within - low * VOXEL) >> 8) as i32 as f32 * SHARE;
                }
            }
            *out = sample(place);
            at = [0, 1, 2].map(|axis| at[axis] + step[axis]);
        }
    }

    /// The voxels `first..end` of a row that lie at most half a voxel outside the outermost centres.
    fn span(&self, j: usize, k: usize) -> Range<usize> {
        let start = self.map.point([0.0, j as f64, k as f64]);
        let step = self.map.vector([1.0, 0.0, 0.0]);
        let len = self.target[0];
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
        first..end
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
