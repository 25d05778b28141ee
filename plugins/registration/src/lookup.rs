//! What an image shows at a place between its voxels: value, slope, and how much the place counts.

/// What an image shows at a place.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Trilinear value.
    pub value: f32,
    /// Change of the value, per voxel.
    pub slope: [f32; 3],
    /// How much the place counts, 0..=1: less than 1 in the outer half voxel and at a mask's border.
    pub weight: f32,
    /// Change of the weight, per voxel.
    pub weight_slope: [f32; 3],
}

impl Seen {
    /// Trilinear look-up in at least two voxels along each axis; `None` more than half a voxel outside.
    #[inline]
    pub fn at(voxels: &[f32], shape: [usize; 3], place: [f32; 3]) -> Option<Self> {
        let [nx, ny, nz] = shape;
        let last = [nx, ny, nz].map(|n| (n - 1) as f32);
        let within = |a: usize| place[a] > -0.5 && place[a] < last[a] + 0.5;
        if !(within(0) && within(1) && within(2)) {
            return None;
        }
        let held: [f32; 3] = std::array::from_fn(|a| place[a].clamp(0.0, last[a]));
        let [i, j, k]: [usize; 3] = std::array::from_fn(|a| (held[a] as usize).min(last[a] as usize - 1));
        let [x, y, z] = [held[0] - i as f32, held[1] - j as f32, held[2] - k as f32];
        let plane = nx * ny;
        let base = i + nx * j + plane * k;
        let pair = |at: usize| {
            let v = &voxels[at..at + 2];
            (v[0] + x * (v[1] - v[0]), v[1] - v[0])
        };
        let (v00, d00) = pair(base);
        let (v10, d10) = pair(base + nx);
        let (v01, d01) = pair(base + plane);
        let (v11, d11) = pair(base + plane + nx);
        let (low, high) = (v00 + y * (v10 - v00), v01 + y * (v11 - v01));
        let (d_low, d_high) = (d00 + y * (d10 - d00), d01 + y * (d11 - d01));
        let mut slope = [d_low + z * (d_high - d_low), (v10 - v00) * (1.0 - z) + (v11 - v01) * z, high - low];
        let (mut weight, mut weight_slope) = (1.0, [0.0; 3]);
        if held != place {
            (weight, weight_slope) = rim(place, last);
            for axis in 0..3 {
                if held[axis] != place[axis] {
                    slope[axis] = 0.0;
                }
            }
        }
        Some(Self { value: low + z * (high - low), slope, weight, weight_slope })
    }

    /// The same, counted only as far as a mask (0..=1, on the same voxels) says; `None` outside the mask.
    pub fn within(self, mask: &[f32], shape: [usize; 3], place: [f32; 3]) -> Option<Self> {
        let inside = Self::at(mask, shape, place)?;
        let weight_slope = std::array::from_fn(|axis| {
            self.weight_slope[axis] * inside.value + self.weight * inside.slope[axis]
        });
        (inside.value > 0.0).then_some(Self { weight: self.weight * inside.value, weight_slope, ..self })
    }
}

/// Weight in the outer half voxel, from 1 at the outermost centres to 0 half a voxel further, and its slope per voxel.
fn rim(place: [f32; 3], last: [f32; 3]) -> (f32, [f32; 3]) {
    let sides: [(f32, f32); 3] = std::array::from_fn(|a| {
        let (below, above) = (-place[a], place[a] - last[a]);
        match (below > 0.0, above > 0.0) {
            (true, _) => (1.0 - 2.0 * below, 2.0),
            (_, true) => (1.0 - 2.0 * above, -2.0),
            _ => (1.0, 0.0),
        }
    });
    let [x, y, z] = sides.map(|side| side.0);
    (x * y * z, [sides[0].1 * y * z, x * sides[1].1 * z, x * y * sides[2].1])
}
