//! A subject's own shape: how points of the BRAVO world lie in the atlas.
//!
//! The head turns, grows and shrinks by an affine map, then bends by a smooth displacement: white noise on a lattice of 8 mm,
//! smoothed by a Gaussian of 16 mm. Both are drawn from the seed.

use crate::anatomy::CENTRE_MM;
use crate::random::Stream;
use nalgebra::{Matrix3, Vector3};
use sdk::Affine;

/// Largest turn about each axis, degrees.
const TURN_DEG: f64 = 7.0;

/// Largest change of size along each axis, as a share.
const GROWTH: f64 = 0.07;

/// Standard deviation of the displacement along each axis: least and most, mm. With 16 mm of smoothing its slope then has a
/// standard deviation of at most 0.16, so that the map does not fold.
const WARP_MM: [f64; 2] = [1.5, 3.5];

/// Distance of lattice nodes, mm.
const SPACING_MM: f64 = 8.0;

/// Width of the smoothing in nodes: 16 mm.
const SIGMA_NODES: f64 = 2.0;

/// Nodes along each axis: reaches 144 mm from the head's middle.
const NODES: usize = 37;

/// Nodes from the lowest corner of a cell to its highest, both included.
const CELL: usize = NODES * NODES + NODES + 2;

/// One subject's shape.
#[derive(Debug)]
pub struct Subject {
    affine: Affine,
    inverse: Affine,
    warp: Vec<[f32; 3]>,
}

impl Subject {
    /// Draws the shape of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut stream = Stream::new(seed, "subject", 0);
        let angles = stream.triple(TURN_DEG.to_radians());
        let size = stream.triple(GROWTH).map(|change| 1.0 + change);
        let turn = Affine::rigid(angles, [0.0; 3], [0.0; 3]);
        let linear = turn.linear() * Matrix3::from_diagonal(&Vector3::from(size));
        let centre = Affine::translation(CENTRE_MM);
        let back = Affine::translation(CENTRE_MM.map(|c| -c));
        let affine = centre.after(&Affine::from_parts(&linear, [0.0; 3])).after(&back);
        let inverse = affine.inverse().expect("growth is far from -1");
        let deviation = stream.within(WARP_MM[0], WARP_MM[1]);
        Self { affine, inverse, warp: draw_warp(&mut stream, deviation) }
    }

    /// Its affine part, from the BRAVO world to the atlas.
    pub fn affine(&self) -> &Affine {
        &self.affine
    }

    /// Where a point of the BRAVO world lies in the atlas, mm.
    pub fn to_atlas(&self, p: [f64; 3]) -> [f64; 3] {
        let q = self.affine.point(p);
        let d = self.displacement(p);
        std::array::from_fn(|axis| q[axis] + d[axis])
    }

    /// Where a point of the atlas lies in the BRAVO world, mm, to 0.001 mm.
    pub fn from_atlas(&self, q: [f64; 3]) -> [f64; 3] {
        /// The displacement's slope is well below 1, so each round shrinks the error several times.
        const MOST_ROUNDS: usize = 50;
        const CLOSE_MM: f64 = 1e-4;
        let mut p = self.inverse.point(q);
        for _ in 0..MOST_ROUNDS {
            let d = self.displacement(p);
            let next = self.inverse.point(std::array::from_fn(|axis| q[axis] - d[axis]));
            let step = (0..3).map(|axis| (next[axis] - p[axis]).abs()).fold(0.0, f64::max);
            p = next;
            if step < CLOSE_MM {
                break;
            }
        }
        p
    }

    /// Trilinear between nodes; beyond the lattice as at its edge.
    fn displacement(&self, p: [f64; 3]) -> [f64; 3] {
        let mut base = [0usize; 3];
        let mut part = [0f64; 3];
        for axis in 0..3 {
            let place = (p[axis] - CENTRE_MM[axis]) / SPACING_MM + (NODES - 1) as f64 / 2.0;
            let place = place.clamp(0.0, (NODES - 1) as f64);
            base[axis] = (place as usize).min(NODES - 2);
            part[axis] = place - base[axis] as f64;
        }
        let first = base[0] + NODES * (base[1] + NODES * base[2]);
        // One look at the bounds for all eight corners.
        let cell = self.warp[first..].first_chunk::<CELL>().expect("a cell lies within the lattice");
        let sides = part.map(|part| [1.0 - part, part]);
        let mut sum = [0f64; 3];
        for (z, weight_z) in sides[2].into_iter().enumerate() {
            for (y, weight_y) in sides[1].into_iter().enumerate() {
                for (x, weight_x) in sides[0].into_iter().enumerate() {
                    let weight = weight_x * weight_y * weight_z;
                    let node = cell[x + NODES * (y + NODES * z)];
                    (0..3).for_each(|axis| sum[axis] += weight * f64::from(node[axis]));
                }
            }
        }
        sum
    }
}

/// Smooth noise with this standard deviation (mm) along each axis.
fn draw_warp(stream: &mut Stream, deviation: f64) -> Vec<[f32; 3]> {
    let mut nodes: Vec<[f64; 3]> =
        (0..NODES.pow(3)).map(|_| std::array::from_fn(|_| stream.normal())).collect();
    for stride in [1, NODES, NODES * NODES] {
        nodes = smooth_along(&nodes, stride);
    }
    let count = nodes.len() as f64;
    let scale: [f64; 3] = std::array::from_fn(|axis| {
        deviation / (nodes.iter().map(|node| node[axis].powi(2)).sum::<f64>() / count).sqrt()
    });
    nodes.iter().map(|node| std::array::from_fn(|axis| (node[axis] * scale[axis]) as f32)).collect()
}

/// Gaussian smoothing along the axis whose nodes are `stride` apart; the edge node stands for what lies beyond.
fn smooth_along(nodes: &[[f64; 3]], stride: usize) -> Vec<[f64; 3]> {
    let reach = (3.0 * SIGMA_NODES) as i64;
    let weight = |step: i64| (-0.5 * (step as f64 / SIGMA_NODES).powi(2)).exp();
    let smoothed = |offset: usize| {
        let place = (offset / stride % NODES) as i64;
        let mut sum = [0f64; 3];
        for step in -reach..=reach {
            let other = (place + step).clamp(0, NODES as i64 - 1);
            let node = nodes[(offset as i64 + (other - place) * stride as i64) as usize];
            for (sum, node) in sum.iter_mut().zip(node) {
                *sum += weight(step) * node;
            }
        }
        sum
    };
    (0..nodes.len()).map(smoothed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        /// There and back again to 0.001 mm, for any seed: so the map does not fold within the head.
        #[test]
        fn from_atlas_undoes_to_atlas(
            seed in 0u64..1_000_000,
            p in (-80.0f64..80.0, -100.0f64..80.0, -60.0f64..85.0),
        ) {
            let subject = Subject::draw(seed);
            let p = [p.0, p.1, p.2];
            let back = subject.from_atlas(subject.to_atlas(p));
            for axis in 0..3 {
                prop_assert!((back[axis] - p[axis]).abs() < 1e-3, "{back:?} is not {p:?}");
            }
        }
    }

    /// 7 degrees and 7 % move a point 70 mm from the middle by at most 22 mm; the warp adds a few.
    #[test]
    fn subjects_differ_but_stay_heads() {
        let far = |seed| Subject::draw(seed).to_atlas([70.0, -18.0, 10.0]);
        assert_ne!(far(1), far(2));
        for seed in 0..10 {
            let q = far(seed);
            let moved = (0..3).map(|a| (q[a] - [70.0, -18.0, 10.0][a]).powi(2)).sum::<f64>().sqrt();
            assert!(moved < 35.0, "seed {seed} moves by {moved} mm");
        }
    }
}
