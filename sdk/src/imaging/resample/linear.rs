//! Trilinear interpolation.

/// Voxels between which lines are drawn.
pub(super) struct Linear<'a, V> {
    voxels: &'a [V],
    /// The last voxel along each axis from which a step up is possible; 0 on an axis of one voxel.
    highest: [usize; 3],
    /// Voxels in memory from one to the next along `j` and `k`.
    strides: [usize; 2],
    /// Voxels in memory to the upper neighbour along each axis; 0 on an axis of one voxel.
    steps: [usize; 3],
}

impl<'a, V: Copy + Into<f32>> Linear<'a, V> {
    pub(super) fn new(shape: [usize; 3], voxels: &'a [V]) -> Self {
        let [nx, ny, _] = shape;
        let strides = [1, nx, nx * ny];
        Self {
            voxels,
            highest: shape.map(|n| n.saturating_sub(2)),
            strides: [strides[1], strides[2]],
            steps: [0, 1, 2].map(|axis| if shape[axis] > 1 { strides[axis] } else { 0 }),
        }
    }

    /// The value at a place in voxels within the outermost centres.
    #[inline]
    pub(super) fn value(&self, place: [f64; 3]) -> f32 {
        let low = [0, 1, 2].map(|axis| (place[axis] as usize).min(self.highest[axis]));
        let [fx, fy, fz] = [0, 1, 2].map(|axis| (place[axis] - low[axis] as f64) as f32);
        let [dx, dy, dz] = self.steps;
        let at = |offset: usize| -> f32 { self.voxels[offset].into() };
        let along_x = |offset: usize| between(at(offset), at(offset + dx), fx);
        let along_y = |offset: usize| between(along_x(offset), along_x(offset + dy), fy);
        let base = low[0] + self.strides[0] * low[1] + self.strides[1] * low[2];
        between(along_y(base), along_y(base + dz), fz)
    }
}

/// Exact at both ends.
#[inline]
fn between(low: f32, high: f32, share: f32) -> f32 {
    low * (1.0 - share) + high * share
}
