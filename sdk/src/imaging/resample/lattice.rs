//! Numbers on a grid that is continued beyond its edges, so that a kernel of several voxels needs no case for the border.

use crate::buffer::Buf;

/// Numbers on a grid, mirrored about the outermost centres and kept with that margin.
pub(super) struct Lattice {
    pub(super) numbers: Buf<f32>,
    /// Numbers in memory from one to the next along `i`, `j`, `k`; along `i` it is 1.
    pub(super) strides: [usize; 3],
}

impl Lattice {
    /// `sum w_z(c) w_y(b) w_x(a) number(low + (a, b, c))` over the `N` numbers along each axis that begin at `low`, counted
    /// with the margin.
    #[expect(clippy::inline_always, reason = "the compiler is to know the number of taps")]
    #[inline(always)]
    pub(super) fn sum<const N: usize>(&self, low: [usize; 3], weights: [[f32; N]; 3]) -> f32 {
        let [_, sy, sz] = self.strides;
        let base = low[0] + sy * low[1] + sz * low[2];
        let mut columns = [0.0f32; N];
        for (c, wz) in weights[2].into_iter().enumerate() {
            for (b, wy) in weights[1].into_iter().enumerate() {
                let weight = wz * wy;
                let row = &self.numbers[base + c * sz + b * sy..][..N];
                for (column, number) in columns.iter_mut().zip(row) {
                    *column += weight * number;
                }
            }
        }
        columns.into_iter().zip(weights[0]).map(|(column, weight)| column * weight).sum()
    }
}

/// For each place along an axis of `len` voxels with `before` and `after` more: which voxel is there.
pub(super) fn mirrored(len: usize, before: usize, after: usize) -> impl Fn(usize) -> usize {
    let period = (2 * (len - 1)).max(1);
    // A multiple of the period that makes what follows positive.
    let shift = before.div_ceil(period) * period - before;
    move |at| {
        debug_assert!(at < len + before + after);
        let folded = (at + shift) % period;
        folded.min(period - folded).min(len - 1)
    }
}
