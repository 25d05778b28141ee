//! Longest diameters of sets of voxels, exact.
//!
//! The ends of a longest diameter are corners of the convex hull. Points are counted in half voxels, as integers, and those
//! that are no corner of the hull of their plane, for planes along each of the three voxel axes in turn, are dropped without
//! rounding; of the few that remain all pairs are compared in millimetres. The centres of a voxel's faces are its centre
//! moved by half a voxel, the same for every voxel, so that only voxels at corners of the centres' hull need be moved.
//!
//! * 3-D, by faces: between the centres of voxel faces. One voxel has the length of its longest edge; balls of 4 to 30 mm at
//!   1 mm read 0.6 to 0.9 mm long.
//! * 3-D, by centres: between voxel centres. One voxel has length 0; the same balls read 0.1 to 0.4 mm short.
//! * axial: between the centres of a voxel's four edges in the slice; the perpendicular is the lesion's extent (between two
//!   parallel lines along the diameter) in that slice. Of equal diameters the one with the longer perpendicular is taken, and
//!   then the first slice.
//!
//! Axial slices are those along the voxel axis that runs closest to the world's z, on an oblique grid too: distances are then
//! taken within the tilted slice, as on a workstation that shows the image as it was acquired.

use super::gather::Segment;
use sdk::Grid;

/// Lengths this close, relative, are equal: rounding of f64 sums is 1e-15.
const TIE: f64 = 1e-9;

/// A lesion in its axial slices.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Axial {
    /// Longest diameter in any slice, mm.
    pub longest_mm: f64,
    /// Extent perpendicular to it in that slice, mm.
    pub perpendicular_mm: f64,
    /// Index of that slice.
    pub slice: usize,
    /// Number of slices that hold a voxel of the lesion.
    pub slices: usize,
}

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

/// The corners of the convex hull of sorted points (Andrew's monotone chain, in integers).
fn convex_corners(sorted: &[[i32; 2]]) -> Vec<[i32; 2]> {
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

/// Longest diameter in an axial slice, and what belongs to it.
///
/// * `segments`: the lesion's slices row by row, sorted; * `axis`: the voxel axis along which slices are counted.
pub fn axial(segments: &[Segment], axis: usize, grid: &Grid) -> Axial {
    let flatten = flat_map(axis, grid);
    let mut best = Axial::default();
    let mut slices = 0;
    for slice in segments.chunk_by(|a, b| a.slice == b.slice) {
        slices += 1;
        // Rows are sorted, and so are their ends.
        let centres: Vec<[i32; 2]> = slice.iter().flat_map(ends).collect();
        let mut points: Vec<[i32; 2]> = convex_corners(&centres).into_iter().flat_map(edges).collect();
        points.sort_unstable();
        let corners: Vec<[f64; 2]> = convex_corners(&points).into_iter().map(&flatten).collect();
        let (longest_mm, perpendicular_mm) = longest_and_perpendicular(&corners);
        if is_longer((longest_mm, perpendicular_mm), (best.longest_mm, best.perpendicular_mm)) {
            best = Axial { longest_mm, perpendicular_mm, slice: slice[0].slice, slices: 0 };
        }
    }
    Axial { slices, ..best }
}

/// The first two voxel axes of a slice across `axis`, in the order of [`Segment`].
const fn slice_axes(axis: usize) -> [usize; 2] {
    match axis {
        0 => [1, 2],
        1 => [0, 2],
        _ => [0, 1],
    }
}

/// From half voxels in a slice to millimetres in its plane.
fn flat_map(axis: usize, grid: &Grid) -> impl Fn([i32; 2]) -> [f64; 2] + use<> {
    let [u, v] = slice_axes(axis).map(|along| {
        let mut step = [0.0; 3];
        step[along] = 0.5;
        grid.voxel_to_world.vector(step)
    });
    let dot = |p: [f64; 3], q: [f64; 3]| (0..3).map(|n| p[n] * q[n]).sum::<f64>();
    // x runs along u; a sheared v has a part along x, too.
    let length_u = dot(u, u).sqrt();
    let shear = dot(u, v) / length_u;
    let height = (dot(v, v) - shear * shear).max(0.0).sqrt();
    move |[a, b]| [f64::from(a) * length_u + f64::from(b) * shear, f64::from(b) * height]
}

/// Centres of the first and last voxel of a row in half voxels: `[across, along]`.
fn ends(row: &Segment) -> [[i32; 2]; 2] {
    [row.low, row.high].map(|along| [2 * row.across as i32, 2 * along as i32])
}

/// Centres of a voxel's four edges in the slice, in half voxels: `[along, across]`.
fn edges([across, along]: [i32; 2]) -> [[i32; 2]; 4] {
    [[along - 1, across], [along + 1, across], [along, across - 1], [along, across + 1]]
}

/// Longest distance of two corners, and the extent of all perpendicular to it.
fn longest_and_perpendicular(corners: &[[f64; 2]]) -> (f64, f64) {
    let mut best = (0.0, 0.0);
    for (n, p) in corners.iter().enumerate() {
        for q in &corners[n + 1..] {
            let [dx, dy] = [q[0] - p[0], q[1] - p[1]];
            let length = (dx * dx + dy * dy).sqrt();
            if length < best.0 * (1.0 - TIE) {
                continue;
            }
            let offsets = corners.iter().map(|c| (dx * (c[1] - p[1]) - dy * (c[0] - p[0])) / length);
            let (low, high) =
                offsets.fold((0.0f64, 0.0f64), |(low, high), offset| (low.min(offset), high.max(offset)));
            if is_longer((length, high - low), best) {
                best = (length, high - low);
            }
        }
    }
    best
}

/// Whether a diameter is longer than another, or as long with a longer perpendicular.
fn is_longer(this: (f64, f64), other: (f64, f64)) -> bool {
    let tie = (this.0 - other.0).abs() <= TIE * this.0.max(other.0);
    if tie { this.1 > other.1 * (1.0 + TIE) } else { this.0 > other.0 }
}
