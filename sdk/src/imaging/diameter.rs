//! Longest diameters of sets of voxels in 3-D, exact.
//!
//! * by centres: largest distance between voxel centres. One voxel has length 0; balls of 4 to 30 mm at 1 mm read 0.1 to
//!   0.4 mm short.
//! * by faces: largest distance between the centres of voxel faces. One voxel has the length of its longest edge; the same
//!   balls read 0.6 to 0.9 mm long.
//!
//! The ends of a longest diameter lie in voxels at corners of the convex hull. Voxels that are no corner of the hull of their
//! plane, for planes along each of the three axes in turn, are dropped without rounding, in integers; of the few that remain
//! all pairs are compared in millimetres.
//!
//! Two face centres differ by what their voxels differ, plus half an edge for each end, along any axis: all such sums lie in the
//! octahedron whose corners are whole edges. A length is convex, hence largest at a corner, so that of two voxels that are
//! `d` apart the faces are up to `max |d ± e|` apart, over the three edges `e`.

use crate::geometry::Grid;

/// Longest diameters of a set of voxels, mm; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Longest {
    /// Between centres of voxel faces.
    pub by_faces_mm: f64,
    /// Between voxel centres.
    pub by_centres_mm: f64,
}

/// Bits of an index along an axis when three of them make one number to sort by.
const AXIS_BITS: u32 = 21;

/// Longest diameters of a set of voxels.
///
/// * `ends`: voxel indices, among them the first and the last voxel of each row (no other can be an end); quickest in memory
///   order.
pub fn longest(ends: Vec<[i32; 3]>, grid: &Grid) -> Longest {
    let edges: [[f64; 3]; 3] = std::array::from_fn(|axis| {
        grid.voxel_to_world.vector(std::array::from_fn(|a| f64::from(u8::from(a == axis))))
    });
    let longest_edge = edges.iter().map(|&edge| length_squared(edge)).fold(0.0, f64::max).sqrt();
    let far = far_first(&corners(ends), grid);
    // Squared; nothing is longer than its voxels are apart and one edge more.
    let (mut centres, mut faces) = (0.0f64, 0.0f64);
    let mut worthwhile = 0.0;
    for (n, &(from_middle, p)) in far.iter().enumerate() {
        if 2.0 * from_middle < worthwhile {
            break;
        }
        for &(other, q) in &far[n..] {
            // No two points are farther apart than by way of the middle.
            if from_middle + other < worthwhile {
                break;
            }
            let apart: [f64; 3] = std::array::from_fn(|axis| p[axis] - q[axis]);
            let squared = length_squared(apart);
            if squared < worthwhile * worthwhile {
                continue;
            }
            centres = centres.max(squared);
            for edge in edges {
                let along: f64 = (0..3).map(|axis| apart[axis] * edge[axis]).sum();
                faces = faces.max(squared + 2.0 * along.abs() + length_squared(edge));
            }
            worthwhile = centres.sqrt().min((faces.sqrt() - longest_edge).max(0.0));
        }
    }
    Longest { by_faces_mm: faces.sqrt(), by_centres_mm: centres.sqrt() }
}

fn length_squared(p: [f64; 3]) -> f64 {
    p.iter().map(|x| x * x).sum()
}

/// Voxel centres in mm with their distance from the middle of them all, farthest first.
fn far_first(voxels: &[[i32; 3]], grid: &Grid) -> Vec<(f64, [f64; 3])> {
    let world = || voxels.iter().map(|p| grid.voxel_to_world.vector(p.map(f64::from)));
    let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
    for p in world() {
        for axis in 0..3 {
            (low[axis], high[axis]) = (low[axis].min(p[axis]), high[axis].max(p[axis]));
        }
    }
    let middle: [f64; 3] = std::array::from_fn(|axis| f64::midpoint(low[axis], high[axis]));
    let from_middle = |p: [f64; 3]| length_squared(std::array::from_fn(|axis| p[axis] - middle[axis])).sqrt();
    let mut far: Vec<(f64, [f64; 3])> = world().map(|p| (from_middle(p), p)).collect();
    far.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    far
}

/// The voxels that can be corners of their convex hull; the others are certainly none.
fn corners(mut voxels: Vec<[i32; 3]>) -> Vec<[i32; 3]> {
    let mut low = [i32::MAX; 3];
    let mut high = [i32::MIN; 3];
    for voxel in &voxels {
        for axis in 0..3 {
            (low[axis], high[axis]) = (low[axis].min(voxel[axis]), high[axis].max(voxel[axis]));
        }
    }
    // A row of two million voxels: all pairs are compared then.
    if (0..3).any(|axis| i64::from(high[axis]) - i64::from(low[axis]) >= 1 << AXIS_BITS) {
        return voxels;
    }
    let mut keys: Vec<u64> = Vec::with_capacity(voxels.len());
    let (mut flat, mut hull) = (Vec::new(), Vec::new());
    // Voxels in memory order are sorted for the first of these.
    for axis in [2, 1, 0] {
        let (u, v) = ((axis + 2) % 3, (axis + 1) % 3);
        let part = |voxel: &[i32; 3], a: usize| u64::from((voxel[a] - low[a]).unsigned_abs());
        keys.clear();
        keys.extend(voxels.iter().map(|voxel| {
            part(voxel, axis) << (2 * AXIS_BITS) | part(voxel, u) << AXIS_BITS | part(voxel, v)
        }));
        if !keys.is_sorted() {
            keys.sort_unstable();
        }
        voxels.clear();
        for plane in keys.chunk_by(|p, q| p >> (2 * AXIS_BITS) == q >> (2 * AXIS_BITS)) {
            let index = |key: u64, low: i32| low + (key & ((1 << AXIS_BITS) - 1)) as i32;
            flat.clear();
            flat.extend(plane.iter().map(|&key| [index(key >> AXIS_BITS, low[u]), index(key, low[v])]));
            convex_corners(&flat, &mut hull);
            for &[a, b] in &hull {
                let mut corner = [0; 3];
                (corner[axis], corner[u], corner[v]) = (index(plane[0] >> (2 * AXIS_BITS), low[axis]), a, b);
                voxels.push(corner);
            }
        }
    }
    voxels
}

/// The corners of the convex hull of points in a plane, by Andrew's monotone chain, in integers.
///
/// * `sorted`: in ascending order; doubles do no harm. * `corners`: written anew.
pub fn convex_corners(sorted: &[[i32; 2]], corners: &mut Vec<[i32; 2]>) {
    corners.clear();
    if sorted.len() < 3 {
        corners.extend_from_slice(sorted);
        return;
    }
    let turns_left = |a: [i32; 2], b: [i32; 2], c: [i32; 2]| {
        let [abx, aby, acx, acy] = [b[0] - a[0], b[1] - a[1], c[0] - a[0], c[1] - a[1]].map(i64::from);
        abx * acy - aby * acx > 0
    };
    let add = |corners: &mut Vec<[i32; 2]>, start: usize, point: [i32; 2]| {
        while corners.len() >= start + 2
            && !turns_left(corners[corners.len() - 2], corners[corners.len() - 1], point)
        {
            corners.pop();
        }
        corners.push(point);
    };
    for &point in sorted {
        add(corners, 0, point);
    }
    // The last point begins the way back, and the first ends it.
    let start = corners.len() - 1;
    for &point in sorted.iter().rev().skip(1) {
        add(corners, start, point);
    }
    corners.pop();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Affine;
    use proptest::prelude::*;

    /// The definition, pair by pair: half an edge to either side along each axis.
    fn of_all_pairs(voxels: &[[i32; 3]], grid: &Grid) -> Longest {
        let centres: Vec<[f64; 3]> = voxels.iter().map(|v| v.map(f64::from)).collect();
        let moved = |p: &[f64; 3], axis: usize, step: f64| {
            let mut face = *p;
            face[axis] += step;
            face
        };
        let faces: Vec<[f64; 3]> = centres
            .iter()
            .flat_map(|p| (0..3).flat_map(move |axis| [moved(p, axis, -0.5), moved(p, axis, 0.5)]))
            .collect();
        let longest = |points: &[[f64; 3]]| {
            let apart = |p: &[f64; 3], q: &[f64; 3]| {
                let d = grid.voxel_to_world.vector(std::array::from_fn(|a| p[a] - q[a]));
                length_squared(d).sqrt()
            };
            points.iter().flat_map(|p| points.iter().map(move |q| apart(p, q))).fold(0.0, f64::max)
        };
        Longest { by_faces_mm: longest(&faces), by_centres_mm: longest(&centres) }
    }

    proptest! {
        #[test]
        fn diameters_are_those_of_all_pairs(
            voxels in proptest::collection::vec([0i32..9, 0i32..7, 0i32..5], 1..60),
            spacing in [0.4f64..4.0, 0.4f64..4.0, 0.4f64..4.0],
            angles in [-3.0f64..3.0, -3.0f64..3.0, -3.0f64..3.0],
        ) {
            let scale = Affine::scale_shift(spacing, [0.0; 3]);
            let grid = Grid::new([9, 7, 5], Affine::rigid(angles, [0.0; 3], [0.0; 3]).after(&scale));
            let (found, expected) = (longest(voxels.clone(), &grid), of_all_pairs(&voxels, &grid));
            // Some 50 mm in f64.
            prop_assert!((found.by_faces_mm - expected.by_faces_mm).abs() < 1e-12, "{found:?} {expected:?}");
            prop_assert!((found.by_centres_mm - expected.by_centres_mm).abs() < 1e-12, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn no_voxel_has_no_length_and_a_very_long_row_has_its_own() {
        let grid = Grid::axis_aligned([3_000_000, 1, 1], [1.0; 3]);
        assert_eq!(longest(Vec::new(), &grid), Longest::default());
        let found = longest(vec![[0; 3], [2_999_999, 0, 0]], &grid);
        assert_eq!(found, Longest { by_faces_mm: 3e6, by_centres_mm: 2_999_999.0 });
    }
}
