//! Patches of a volume that overlap, and the weighted mean of what a network says of them.
//!
//! Along each axis patches lie evenly spaced, at most `patch * (1 - overlap)` apart, the first and the last flush with the
//! volume. A volume shorter than a patch lies in the patch's middle, with zeros around. What overlaps is averaged with the
//! weight of a Gaussian around the patch's centre, since a network sees least at a patch's rim.
//!
//! Source: Isensee et al., "nnU-Net", Nature Methods 18:203-211, 2021, with sigma = patch / 8 as there.

/// Standard deviation of the weight, as a share of the patch's side.
const SIGMA_SHARE: f64 = 1.0 / 8.0;

/// First voxels of the patches along one axis; negative where the volume is shorter than a patch.
///
/// * `size`: voxels of the volume, `patch`: of a patch, each at least 1. `overlap`: 0..1.
pub fn starts(size: usize, patch: usize, overlap: f64) -> Vec<isize> {
    if size <= patch {
        return vec![-((patch - size) as isize / 2)];
    }
    let step = (patch as f64 * (1.0 - overlap)).max(1.0);
    let free = (size - patch) as f64;
    let steps = (free / step).ceil();
    (0..=steps as usize).map(|n| (n as f64 * free / steps).round() as isize).collect()
}

/// Weights along one axis: `exp(-(n - centre)^2 / (2 sigma^2))`; 1 for a side of one voxel.
pub fn weights(patch: usize) -> Vec<f32> {
    let (centre, sigma) = ((patch as f64 - 1.0) / 2.0, patch as f64 * SIGMA_SHARE);
    (0..patch).map(|n| (-((n as f64 - centre) / sigma).powi(2) / 2.0).exp() as f32).collect()
}

/// Which voxels of a volume a patch holds, and how: `[i, j, k]` throughout.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Voxels of the volume.
    pub shape: [usize; 3],
    /// Voxels of a patch.
    pub patch: [usize; 3],
    /// Steps from voxel to voxel in the patch's memory.
    pub strides: [usize; 3],
    /// Axes along which the patch holds the volume mirrored.
    pub mirrored: [bool; 3],
}

impl Frame {
    /// For each voxel of the patch at `start` that lies in the volume: its place in the volume and in the patch, and its index.
    pub fn each(&self, start: [isize; 3], mut visit: impl FnMut(usize, usize, [usize; 3])) {
        let inside = |axis: usize, n: usize| {
            let at = start[axis] + n as isize;
            usize::try_from(at).ok().filter(|&at| at < self.shape[axis])
        };
        let place = |axis: usize, n: usize| {
            self.strides[axis] * if self.mirrored[axis] { self.patch[axis] - 1 - n } else { n }
        };
        for k in 0..self.patch[2] {
            let Some(z) = inside(2, k) else { continue };
            for j in 0..self.patch[1] {
                let Some(y) = inside(1, j) else { continue };
                let row = self.shape[0] * (y + self.shape[1] * z);
                let own = place(1, j) + place(2, k);
                for i in 0..self.patch[0] {
                    if let Some(x) = inside(0, i) {
                        visit(row + x, own + place(0, i), [i, j, k]);
                    }
                }
            }
        }
    }
}

/// Weighted sums over patches.
#[derive(Debug)]
pub struct Blend {
    /// Of each class, `[class, k, j, i]`.
    sums: Vec<f32>,
    /// Of the weights.
    totals: Vec<f32>,
    axes: [Vec<f32>; 3],
}

impl Blend {
    /// Nothing yet.
    pub fn new(shape: [usize; 3], patch: [usize; 3], classes: usize) -> Self {
        let len: usize = shape.iter().product();
        Self { sums: vec![0.0; len * classes], totals: vec![0.0; len], axes: patch.map(weights) }
    }

    /// Adds what was said of a patch: `[class, …]` in the patch's memory order.
    pub fn add(&mut self, frame: &Frame, start: [isize; 3], said: &[f32]) {
        let (len, patch_len) = (self.totals.len(), frame.patch.iter().product::<usize>());
        frame.each(start, |voxel, own, [i, j, k]| {
            let weight = self.axes[0][i] * self.axes[1][j] * self.axes[2][k];
            self.totals[voxel] += weight;
            for (class, said) in said.chunks_exact(patch_len).enumerate() {
                self.sums[class * len + voxel] += weight * said[own];
            }
        });
    }

    /// The weighted means, `[class, k, j, i]`.
    pub fn means(mut self) -> Vec<f32> {
        for sums in self.sums.chunks_exact_mut(self.totals.len()) {
            for (sum, total) in sums.iter_mut().zip(&self.totals) {
                // Every voxel lies in a patch, so that its total is above 0.
                *sum /= total;
            }
        }
        self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(shape: [usize; 3], patch: [usize; 3], mirrored: [bool; 3]) -> Frame {
        Frame { shape, patch, strides: [1, patch[0], patch[0] * patch[1]], mirrored }
    }

    #[test]
    fn patches_cover_the_volume_evenly_from_end_to_end() {
        assert_eq!(starts(16, 16, 0.5), [0]);
        assert_eq!(starts(24, 16, 0.5), [0, 8]);
        assert_eq!(starts(30, 16, 0.5), [0, 7, 14]);
        assert_eq!(starts(20, 8, 0.0), [0, 6, 12]);
        assert_eq!(starts(3, 1, 0.5), [0, 1, 2]);
        assert_eq!(starts(5, 8, 0.5), [-1]);
        for (size, patch, overlap) in [(100, 32, 0.5), (33, 32, 0.9), (257, 64, 0.25)] {
            let starts = starts(size, patch, overlap);
            assert_eq!((starts[0], *starts.last().unwrap()), (0, (size - patch) as isize));
            for pair in starts.windows(2) {
                assert!((pair[1] - pair[0]) as f64 <= patch as f64 * (1.0 - overlap) + 1.0);
            }
        }
    }

    /// A network that says what it sees: the blend is the volume itself, whatever the overlap, the rim and the mirror.
    #[test]
    fn blending_what_was_cut_out_gives_the_volume_back() {
        let shape = [11, 6, 5];
        let volume: Vec<f32> = (0..330).map(|v| (v * 7 % 31) as f32).collect();
        for (patch, mirrored) in
            [([4, 4, 3], [false; 3]), ([8, 8, 8], [true, false, true]), ([5, 6, 1], [true; 3])]
        {
            let frame = frame(shape, patch, mirrored);
            let mut blend = Blend::new(shape, patch, 1);
            for z in starts(5, patch[2], 0.5) {
                for y in starts(6, patch[1], 0.5) {
                    for x in starts(11, patch[0], 0.5) {
                        let mut cut = vec![0.0; patch.iter().product()];
                        frame.each([x, y, z], |voxel, own, _| cut[own] = volume[voxel]);
                        blend.add(&frame, [x, y, z], &cut);
                    }
                }
            }
            for (found, expected) in blend.means().iter().zip(&volume) {
                assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
            }
        }
    }

    #[test]
    fn the_centre_of_a_patch_weighs_most_and_both_sides_alike() {
        let weights = weights(16);
        assert!((weights[7] - weights[8]).abs() < f32::EPSILON && weights[7] > 0.96 && weights[0] < 1e-3);
        assert_eq!(super::weights(1), [1.0]);
    }
}
