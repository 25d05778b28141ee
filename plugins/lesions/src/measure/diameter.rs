//! Longest axial diameters, exact; those in 3-D are in `sdk::imaging::diameter`, by the same means.
//!
//! They lie between the centres of a voxel's four edges in the slice; the perpendicular is the lesion's extent (between two
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
