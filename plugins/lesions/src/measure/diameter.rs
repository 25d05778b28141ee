//! Longest axial diameters, exact; those in 3-D are in `sdk::imaging::diameter`, by the same means.
//!
//! They lie between the centres of a voxel's four edges in the slice: two voxels `d` apart reach `max |d ± e|` over the slice's
//! two edges `e`, and no other ends of the two are as far apart (as in 3-D, over the corners of a rhombus); the perpendicular is the lesion's extent (between two
//! parallel lines along the diameter) in that slice. Of equal diameters the one with the longer perpendicular is taken, and
//! then the first slice.
//!
//! Axial slices are those along the voxel axis that runs closest to the world's z, on an oblique grid too: distances are then
//! taken within the tilted slice, as on a workstation that shows the image as it was acquired.

use super::gather::Segment;
use sdk::Grid;
use sdk::imaging::diameter::convex_corners;

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

/// Longest diameter in an axial slice, and what belongs to it.
///
/// * `segments`: the lesion's slices row by row, sorted; * `axis`: the voxel axis along which slices are counted.
pub fn axial(segments: &[Segment], axis: usize, grid: &Grid) -> Axial {
    let edges = slice_edges(axis, grid);
    let mut best = Axial::default();
    let (mut slices, mut ends, mut hull, mut corners) = (0, Vec::new(), Vec::new(), Vec::new());
    for slice in segments.chunk_by(|a, b| a.slice == b.slice) {
        slices += 1;
        // Rows are sorted, and so are their ends.
        ends.clear();
        ends.extend(
            slice.iter().flat_map(|row| [row.low, row.high].map(|along| [row.across as i32, along as i32])),
        );
        convex_corners(&ends, &mut hull);
        corners.clear();
        corners.extend(hull.iter().map(|&[across, along]| {
            let [u, v] = [f64::from(along), f64::from(across)];
            [u * edges[0][0] + v * edges[1][0], u * edges[0][1] + v * edges[1][1]]
        }));
        let (longest_mm, perpendicular_mm) =
            longest_and_perpendicular(&corners, edges, (best.longest_mm, best.perpendicular_mm));
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

/// The two edges of a voxel in a slice, in mm in its plane: the first along x, the second with a part along x where voxels are
/// sheared.
fn slice_edges(axis: usize, grid: &Grid) -> [[f64; 2]; 2] {
    let [u, v] = slice_axes(axis).map(|along| {
        let mut step = [0.0; 3];
        step[along] = 1.0;
        grid.voxel_to_world.vector(step)
    });
    let dot = |p: [f64; 3], q: [f64; 3]| (0..3).map(|n| p[n] * q[n]).sum::<f64>();
    let length_u = dot(u, u).sqrt();
    let shear = dot(u, v) / length_u;
    let height = (dot(v, v) - shear * shear).max(0.0).sqrt();
    [[length_u, 0.0], [shear, height]]
}

/// Longest distance of edge centres, and the extent perpendicular to it; `best`, what is to be beaten, where nothing is longer.
///
/// * `corners`: centres of the voxels at corners of the hull, mm.
fn longest_and_perpendicular(corners: &[[f64; 2]], edges: [[f64; 2]; 2], mut best: (f64, f64)) -> (f64, f64) {
    let longest_edge = edges.iter().map(|[x, y]| x.hypot(*y)).fold(0.0, f64::max);
    for (n, p) in corners.iter().enumerate() {
        for q in &corners[n..] {
            let apart = [q[0] - p[0], q[1] - p[1]];
            let least = (best.0 * (1.0 - TIE) - longest_edge).max(0.0);
            if apart[0] * apart[0] + apart[1] * apart[1] < least * least {
                continue;
            }
            for [x, y] in edges.into_iter().flat_map(|[x, y]| [[x, y], [-x, -y]]) {
                let [dx, dy] = [apart[0] + x, apart[1] + y];
                let length = (dx * dx + dy * dy).sqrt();
                if length < best.0 * (1.0 - TIE) {
                    continue;
                }
                let found = (length, extent(corners, edges, [-dy / length, dx / length]));
                if is_longer(found, best) {
                    best = found;
                }
            }
        }
    }
    best
}

/// Extent of all edge centres along a direction, mm: that of the voxels' centres, and half an edge at either end.
fn extent(corners: &[[f64; 2]], edges: [[f64; 2]; 2], [x, y]: [f64; 2]) -> f64 {
    let along = |[a, b]: &[f64; 2]| a * x + b * y;
    let (low, high) = corners
        .iter()
        .map(along)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(at), high.max(at)));
    high - low + edges.iter().map(|edge| along(edge).abs()).fold(0.0, f64::max)
}

/// Whether a diameter is longer than another, or as long with a longer perpendicular.
fn is_longer(this: (f64, f64), other: (f64, f64)) -> bool {
    let tie = (this.0 - other.0).abs() <= TIE * this.0.max(other.0);
    if tie { this.1 > other.1 * (1.0 + TIE) } else { this.0 > other.0 }
}
