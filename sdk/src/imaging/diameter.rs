//! Longest diameters of sets of voxels in 3-D, exact.
//!
//! The ends of a longest diameter are corners of the convex hull. Points are counted in half voxels, as integers, and those
//! that are no corner of the hull of their plane, for planes along each of the three voxel axes in turn, are dropped without
//! rounding; of the few that remain all pairs are compared in millimetres. The centres of a voxel's faces are its centre
//! moved by half a voxel, the same for every voxel, so that only voxels at corners of the centres' hull need be moved.
//!
//! * by faces: between the centres of voxel faces. One voxel has the length of its longest edge; balls of 4 to 30 mm at 1 mm
//!   read 0.6 to 0.9 mm long.
//! * by centres: between voxel centres. One voxel has length 0; the same balls read 0.1 to 0.4 mm short.

use crate::geometry::Grid;

/// The points that can be corners of their convex hull; the others are certainly none.
///
/// * `points`: in half voxels: `[2, 0, 1]` is half a voxel beyond the centre of voxel `[1, 0, 0]`.
pub fn corners(mut points: Vec<[i32; 3]>) -> Vec<[i32; 3]> {
    for axis in [2, 1, 0] {
        points = corners_of_planes(&points, axis);
    }
    points
}

/// The centres of the six faces of each voxel, in half voxels.
pub fn faces(centres: &[[i32; 3]]) -> Vec<[i32; 3]> {
    let moved = |centre: &[i32; 3], axis: usize, step: i32| {
        let mut face = *centre;
        face[axis] += step;
        face
    };
    centres
        .iter()
        .flat_map(|c| [0, 1, 2].map(|axis| [moved(c, axis, -1), moved(c, axis, 1)]))
        .flatten()
        .collect()
}

/// Largest distance of two points in mm; 0 for one point or none.
///
/// * `points`: in half voxels; the fewer the faster, see [`corners`].
pub fn longest_mm(points: &[[i32; 3]], grid: &Grid) -> f64 {
    let world: Vec<[f64; 3]> =
        points.iter().map(|p| grid.voxel_to_world.vector(p.map(|n| f64::from(n) / 2.0))).collect();
    let middle: [f64; 3] = std::array::from_fn(|axis| {
        let along = || world.iter().map(|p| p[axis]);
        f64::midpoint(along().fold(f64::INFINITY, f64::min), along().fold(f64::NEG_INFINITY, f64::max))
    });
    let mut far: Vec<(f64, [f64; 3])> = world.into_iter().map(|p| (distance(p, middle), p)).collect();
    far.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut longest = 0.0;
    for (n, &(from_middle, p)) in far.iter().enumerate() {
        if 2.0 * from_middle < longest {
            break;
        }
        for &(other, q) in &far[n + 1..] {
            // No two points are farther apart than by way of the middle.
            if from_middle + other < longest {
                break;
            }
            longest = distance(p, q).max(longest);
        }
    }
    longest
}

fn distance(p: [f64; 3], q: [f64; 3]) -> f64 {
    (0..3).map(|axis| (p[axis] - q[axis]).powi(2)).sum::<f64>().sqrt()
}

/// The corners of the convex hull of the points of each plane across `axis`.
fn corners_of_planes(points: &[[i32; 3]], axis: usize) -> Vec<[i32; 3]> {
    let (u, v) = ((axis + 1) % 3, (axis + 2) % 3);
    let low: [i32; 3] = std::array::from_fn(|a| points.iter().map(|p| p[a]).min().unwrap_or(0));
    // As one number each, plane first: much faster to sort than three.
    let part = |p: &[i32; 3], a: usize| u128::from((p[a] - low[a]).unsigned_abs());
    let mut keys: Vec<u128> =
        points.iter().map(|p| part(p, axis) << 64 | part(p, u) << 32 | part(p, v)).collect();
    keys.sort_unstable();
    let mut corners = Vec::new();
    let mut flat: Vec<[i32; 2]> = Vec::new();
    for plane in keys.chunk_by(|p, q| p >> 64 == q >> 64) {
        flat.clear();
        flat.extend(
            plane.iter().map(|&key| [low[u] + (key >> 32) as u32 as i32, low[v] + key as u32 as i32]),
        );
        for [a, b] in convex_corners(&flat) {
            let mut corner = [0; 3];
            (corner[axis], corner[u], corner[v]) = (low[axis] + (plane[0] >> 64) as i32, a, b);
            corners.push(corner);
        }
    }
    corners
}

/// The corners of the convex hull of points in a plane, by Andrew's monotone chain, in integers.
///
/// * `sorted`: in ascending order; doubles do no harm.
pub fn convex_corners(sorted: &[[i32; 2]]) -> Vec<[i32; 2]> {
    if sorted.len() < 3 {
        return sorted.to_vec();
    }
    let turns_left = |a: [i32; 2], b: [i32; 2], c: [i32; 2]| {
        let [abx, aby, acx, acy] = [b[0] - a[0], b[1] - a[1], c[0] - a[0], c[1] - a[1]].map(i64::from);
        abx * acy - aby * acx > 0
    };
    let mut corners: Vec<[i32; 2]> = Vec::new();
    let mut chain = |points: &mut dyn Iterator<Item = [i32; 2]>| {
        let start = corners.len();
        for point in points {
            while corners.len() >= start + 2
                && !turns_left(corners[corners.len() - 2], corners[corners.len() - 1], point)
            {
                corners.pop();
            }
            corners.push(point);
        }
        // The last point begins the way back.
        corners.pop();
    };
    chain(&mut sorted.iter().copied());
    chain(&mut sorted.iter().rev().copied());
    corners
}
