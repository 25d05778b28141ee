//! Where voxels lie: affine maps and grids.
//!
//! World space is RAS+ in millimetres: x to the right, y to the front, z up. A voxel index `[i, j, k]` names a voxel's
//! *centre*; `i` runs fastest in memory. Formats that count from the left and back (LPS: DICOM, ITK) convert at the border.

use nalgebra::{Matrix3, Matrix4, Vector3, Vector4};
use serde::{Deserialize, Serialize};

/// A 4 x 4 map between two spaces: `voxel_to_world`, `fixed_to_moving`, …
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(Matrix4<f64>);

impl Affine {
    /// The map that changes nothing.
    pub const IDENTITY: Self = Self(Matrix4::new(
        1.0, 0.0, 0.0, 0.0, //
        0.0, 1.0, 0.0, 0.0, //
        0.0, 0.0, 1.0, 0.0, //
        0.0, 0.0, 0.0, 1.0,
    ));

    /// From its first three rows; the fourth is `0 0 0 1`.
    pub fn from_rows(rows: [[f64; 4]; 3]) -> Self {
        let mut matrix = Matrix4::identity();
        for (r, row) in rows.iter().enumerate() {
            for (c, value) in row.iter().enumerate() {
                matrix[(r, c)] = *value;
            }
        }
        Self(matrix)
    }

    /// From a linear part and a translation.
    pub fn from_parts(linear: &Matrix3<f64>, translation: [f64; 3]) -> Self {
        let t = translation;
        let row = |r: usize| [linear[(r, 0)], linear[(r, 1)], linear[(r, 2)], t[r]];
        Self::from_rows([row(0), row(1), row(2)])
    }

    /// Scales the axes, then shifts: `x -> scale * x + shift`.
    pub fn scale_shift(scale: [f64; 3], shift: [f64; 3]) -> Self {
        Self::from_parts(&Matrix3::from_diagonal(&Vector3::from(scale)), shift)
    }

    /// Shifts by `shift`.
    pub fn translation(shift: [f64; 3]) -> Self {
        Self::scale_shift([1.0; 3], shift)
    }

    /// Rotates about `centre` by `angles_rad` about x, then y, then z, and then shifts by `shift`.
    pub fn rigid(angles_rad: [f64; 3], shift: [f64; 3], centre: [f64; 3]) -> Self {
        let [ax, ay, az] = angles_rad;
        let rx = Matrix3::new(1.0, 0.0, 0.0, 0.0, ax.cos(), -ax.sin(), 0.0, ax.sin(), ax.cos());
        let ry = Matrix3::new(ay.cos(), 0.0, ay.sin(), 0.0, 1.0, 0.0, -ay.sin(), 0.0, ay.cos());
        let rz = Matrix3::new(az.cos(), -az.sin(), 0.0, az.sin(), az.cos(), 0.0, 0.0, 0.0, 1.0);
        let rotation = rz * ry * rx;
        let centre = Vector3::from(centre);
        let offset = Vector3::from(shift) + centre - rotation * centre;
        Self::from_parts(&rotation, offset.into())
    }

    /// Its first three rows.
    pub fn rows(&self) -> [[f64; 4]; 3] {
        let m = &self.0;
        [0, 1, 2].map(|r| [m[(r, 0)], m[(r, 1)], m[(r, 2)], m[(r, 3)]])
    }

    /// As a 4 x 4 matrix.
    pub fn matrix(&self) -> &Matrix4<f64> {
        &self.0
    }

    /// The 3 x 3 linear part.
    pub fn linear(&self) -> Matrix3<f64> {
        self.0.fixed_view::<3, 3>(0, 0).into_owned()
    }

    /// The translation.
    pub fn offset(&self) -> [f64; 3] {
        [self.0[(0, 3)], self.0[(1, 3)], self.0[(2, 3)]]
    }

    /// The map back; `None` if the map is flat.
    pub fn inverse(&self) -> Option<Self> {
        self.0.try_inverse().filter(|inverse| inverse.iter().all(|value| value.is_finite())).map(Self)
    }

    /// First `first`, then this map.
    #[must_use]
    pub fn after(&self, first: &Self) -> Self {
        Self(self.0 * first.0)
    }

    /// Maps a point.
    pub fn point(&self, p: [f64; 3]) -> [f64; 3] {
        let q = self.0 * Vector4::new(p[0], p[1], p[2], 1.0);
        [q.x, q.y, q.z]
    }

    /// Maps a direction: the translation plays no part.
    pub fn vector(&self, v: [f64; 3]) -> [f64; 3] {
        let q = self.0 * Vector4::new(v[0], v[1], v[2], 0.0);
        [q.x, q.y, q.z]
    }

    /// Determinant of the linear part: volume of a voxel in mm3, negative where the axes mirror.
    pub fn determinant(&self) -> f64 {
        self.linear().determinant()
    }

    /// Whether all entries are finite and the map can be inverted.
    pub fn is_usable(&self) -> bool {
        self.0.iter().all(|value| value.is_finite()) && self.inverse().is_some()
    }
}

impl Serialize for Affine {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Affine {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_rows(<[[f64; 4]; 3]>::deserialize(deserializer)?))
    }
}

/// Where the samples of a volume lie: how many along each axis, and their places in the world.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Voxels along `i`, `j`, `k`.
    pub shape: [usize; 3],
    /// From voxel index (of a voxel's centre) to RAS+ millimetres.
    pub voxel_to_world: Affine,
}

/// How far two grids may differ, as a share of the smallest spacing: the corners of one grid written by two programs agree
/// to rounding of the header's f32, far below 1 %.
pub const GRID_TOLERANCE: f64 = 0.01;

impl Grid {
    /// A grid of these voxels at this place.
    pub const fn new(shape: [usize; 3], voxel_to_world: Affine) -> Self {
        Self { shape, voxel_to_world }
    }

    /// A grid along the world's axes, first voxel at the origin.
    pub fn axis_aligned(shape: [usize; 3], spacing_mm: [f64; 3]) -> Self {
        Self::new(shape, Affine::scale_shift(spacing_mm, [0.0; 3]))
    }

    /// Number of voxels.
    pub const fn len(&self) -> usize {
        self.shape[0] * self.shape[1] * self.shape[2]
    }

    /// Whether there is no voxel at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Place of voxel `[i, j, k]` in memory.
    pub const fn offset(&self, index: [usize; 3]) -> usize {
        index[0] + self.shape[0] * (index[1] + self.shape[1] * index[2])
    }

    /// Voxel index of a place in memory.
    pub const fn index(&self, offset: usize) -> [usize; 3] {
        let [nx, ny, _] = self.shape;
        [offset % nx, offset / nx % ny, offset / (nx * ny)]
    }

    /// Distance of neighbouring voxel centres along each axis, in mm.
    pub fn spacing_mm(&self) -> [f64; 3] {
        let linear = self.voxel_to_world.linear();
        [0, 1, 2].map(|axis| linear.column(axis).norm())
    }

    /// Volume of a voxel in mm3.
    pub fn voxel_volume_mm3(&self) -> f64 {
        self.voxel_to_world.determinant().abs()
    }

    /// World place of a voxel's centre.
    pub fn world(&self, index: [usize; 3]) -> [f64; 3] {
        self.voxel_to_world.point(index.map(|i| i as f64))
    }

    /// World place of the grid's middle.
    pub fn centre_world(&self) -> [f64; 3] {
        self.voxel_to_world.point(self.shape.map(|n| (n as f64 - 1.0) / 2.0))
    }

    /// The map from world to voxel index; `None` if the affine is flat.
    pub fn world_to_voxel(&self) -> Option<Affine> {
        self.voxel_to_world.inverse()
    }

    /// The eight corner voxels' indices.
    pub fn corners(&self) -> [[f64; 3]; 8] {
        std::array::from_fn(|corner| {
            std::array::from_fn(|axis| {
                let last = self.shape[axis].saturating_sub(1) as f64;
                if corner >> axis & 1 == 1 { last } else { 0.0 }
            })
        })
    }

    /// Largest distance in mm between the same corner of two grids; infinite if their shapes differ.
    pub fn corner_distance_mm(&self, other: &Self) -> f64 {
        if self.shape != other.shape {
            return f64::INFINITY;
        }
        let place = |grid: &Self, corner| Vector3::from(grid.voxel_to_world.point(corner));
        let apart = self.corners().map(|corner| (place(self, corner) - place(other, corner)).norm());
        apart.into_iter().fold(0.0, f64::max)
    }

    /// Whether two volumes on these grids can be compared voxel by voxel ([`GRID_TOLERANCE`]).
    pub fn matches(&self, other: &Self) -> bool {
        let smallest = self.spacing_mm().into_iter().fold(f64::INFINITY, f64::min);
        self.corner_distance_mm(other) <= GRID_TOLERANCE * smallest
    }

    /// The world direction (0 x, 1 y, 2 z) each voxel axis runs along most, and whether it runs backwards.
    ///
    /// Each world direction is taken once, largest cosine first, so that a 45 degree oblique grid still gets three axes.
    pub fn closest_axes(&self) -> [(usize, bool); 3] {
        let linear = self.voxel_to_world.linear();
        let spacing = self.spacing_mm();
        let cosine = |world: usize, axis: usize| linear[(world, axis)] / spacing[axis].max(f64::MIN_POSITIVE);
        let mut pairs: Vec<(usize, usize)> = (0..9).map(|n| (n / 3, n % 3)).collect();
        pairs.sort_by(|a, b| cosine(b.0, b.1).abs().total_cmp(&cosine(a.0, a.1).abs()));
        let mut axes = [None; 3];
        let mut taken = [false; 3];
        for (world, axis) in pairs {
            if axes[axis].is_none() && !taken[world] {
                axes[axis] = Some((world, cosine(world, axis) < 0.0));
                taken[world] = true;
            }
        }
        axes.map(|axis| axis.expect("three axes share three directions"))
    }

    /// Three letters such as `RAS` or `LPS`: where `i`, `j`, `k` run *to*.
    pub fn orientation(&self) -> String {
        let letter = |(world, backwards): (usize, bool)| match (world, backwards) {
            (0, false) => 'R',
            (0, true) => 'L',
            (1, false) => 'A',
            (1, true) => 'P',
            (_, false) => 'S',
            (_, true) => 'I',
        };
        self.closest_axes().map(letter).iter().collect()
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [nx, ny, nz] = self.shape;
        let [x, y, z] = self.spacing_mm();
        write!(f, "{nx}x{ny}x{nz} voxels of {x:.3}x{y:.3}x{z:.3} mm, {}", self.orientation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A map and its inverse cancel.
        #[test]
        fn inverse_undoes_a_rigid_map(
            angles in proptest::array::uniform3(-3.0f64..3.0),
            shift in proptest::array::uniform3(-100.0f64..100.0),
            p in proptest::array::uniform3(-100.0f64..100.0),
        ) {
            let map = Affine::rigid(angles, shift, [10.0, -20.0, 5.0]);
            let back = map.inverse().unwrap().point(map.point(p));
            for axis in 0..3 {
                prop_assert!((back[axis] - p[axis]).abs() < 1e-9, "{back:?} is not {p:?}");
            }
        }
    }

    #[test]
    fn index_and_offset_agree() {
        let grid = Grid::axis_aligned([3, 4, 5], [1.0; 3]);
        for offset in 0..grid.len() {
            assert_eq!(grid.offset(grid.index(offset)), offset);
        }
    }

    #[test]
    fn orientation_names_where_the_axes_run_to() {
        assert_eq!(Grid::axis_aligned([2; 3], [1.0; 3]).orientation(), "RAS");
        let sagittal = Affine::from_rows([
            [0.0, 0.0, -0.6, 90.0], //
            [-1.0, 0.0, 0.0, 90.0],
            [0.0, -1.0, 0.0, 90.0],
        ]);
        assert_eq!(Grid::new([2; 3], sagittal).orientation(), "PIL");
    }

    #[test]
    fn a_hundredth_of_a_voxel_is_the_border_between_same_and_other() {
        let grid = Grid::axis_aligned([10; 3], [2.0, 1.0, 3.0]);
        let moved =
            |mm: f64| Grid::new(grid.shape, Affine::translation([mm, 0.0, 0.0]).after(&grid.voxel_to_world));
        assert!(grid.matches(&moved(0.0099)));
        assert!(!grid.matches(&moved(0.0101)));
        assert!(!grid.matches(&Grid::axis_aligned([10, 10, 11], [2.0, 1.0, 3.0])));
    }
}
