//! Trilinear interpolation.

use super::pull::Place;
use std::borrow::Cow;

/// Voxels between which lines are drawn.
pub(super) struct Linear<'a, V: Clone> {
    /// Rows of at least two voxels.
    voxels: Cow<'a, [V]>,
    /// Voxels in memory from one to the next along `j` and `k`.
    strides: [usize; 2],
    /// The same to the upper neighbour; 0 on an axis of one voxel.
    steps: [usize; 2],
}

impl<'a, V: Copy + Into<f32>> Linear<'a, V> {
    pub(super) fn new([nx, ny, nz]: [usize; 3], voxels: &'a [V]) -> Self {
        // Two neighbours are read at a time: a lone one stands beside itself.
        let lone = nx == 1;
        let voxels =
            if lone { voxels.iter().flat_map(|v| [*v, *v]).collect() } else { Cow::Borrowed(voxels) };
        let strides = [nx.max(2), nx.max(2) * ny];
        let steps = [if ny > 1 { strides[0] } else { 0 }, if nz > 1 { strides[1] } else { 0 }];
        Self { voxels, strides, steps }
    }

    /// The value at a place; exact at voxel centres.
    #[expect(clippy::inline_always, reason = "a call for each voxel costs as much as the sum")]
    #[inline(always)]
    pub(super) fn value(&self, Place { low, share: [fx, fy, fz] }: Place) -> f32 {
        let base = low[0] + self.strides[0] * low[1] + self.strides[1] * low[2];
        let pair = |offset: usize| -> [f32; 2] {
            let pair = &self.voxels[offset..][..2];
            [pair[0].into(), pair[1].into()]
        };
        let square = |offset: usize| {
            let ([a, b], [c, d]) = (pair(offset), pair(offset + self.steps[0]));
            [a, b, c, d]
        };
        let (lower, upper) = (square(base), square(base + self.steps[1]));
        let [a, b, c, d]: [f32; 4] = std::array::from_fn(|n| between(lower[n], upper[n], fz));
        between(between(a, c, fy), between(b, d, fy), fx)
    }
}

/// Exact at both ends.
#[inline]
fn between(low: f32, high: f32, share: f32) -> f32 {
    low * (1.0 - share) + high * share
}
