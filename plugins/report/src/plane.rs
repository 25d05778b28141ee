//! Slices of a grid as a radiologist expects them.
//!
//! A slice runs along the two voxel axes closest to its anatomical plane, so an oblique grid is drawn as acquired. Radiological
//! convention: the patient's right is on the left of axial and coronal pictures, the front on the left of sagittal ones; front
//! or top is up. Lengths are millimetres, so that 5.5 mm slices keep their proportion.

use sdk::Grid;

/// The three anatomical planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Across the body: left to right, back to front.
    Axial,
    /// From ear to ear: left to right, bottom to top.
    Coronal,
    /// From nose to neck: back to front, bottom to top.
    Sagittal,
}

impl View {
    /// All three, in the order of the page.
    pub const ALL: [Self; 3] = [Self::Axial, Self::Coronal, Self::Sagittal];

    /// As written below pictures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Axial => "axial",
            Self::Coronal => "coronal",
            Self::Sagittal => "sagittal",
        }
    }

    /// World directions (0 x, 1 y, 2 z): through the slice, across the picture, down the picture.
    const fn directions(self) -> [usize; 3] {
        match self {
            Self::Axial => [2, 0, 1],
            Self::Coronal => [1, 0, 2],
            Self::Sagittal => [0, 1, 2],
        }
    }

    /// Letters at the picture's left and right edge.
    pub const fn sides(self) -> [char; 2] {
        match self {
            Self::Axial | Self::Coronal => ['R', 'L'],
            Self::Sagittal => ['A', 'P'],
        }
    }
}

/// A voxel axis that runs across or down a picture.
#[derive(Clone, Copy, Debug)]
struct Edge {
    axis: usize,
    /// Whether the voxel index falls along the picture.
    backwards: bool,
    voxels: usize,
    spacing_mm: f64,
}

impl Edge {
    /// Pictures run to the left, back and bottom: against the RAS+ world.
    fn of(grid: &Grid, world: usize) -> Self {
        let axes = grid.closest_axes();
        let axis = (0..3).find(|&a| axes[a].0 == world).unwrap_or(world);
        Self { axis, backwards: !axes[axis].1, voxels: grid.shape[axis], spacing_mm: grid.spacing_mm()[axis] }
    }

    /// Place of a voxel index along the picture, in mm from its edge; voxel centres lie half a spacing in.
    fn place_mm(&self, index: f64) -> f64 {
        let along = if self.backwards { self.voxels as f64 - 1.0 - index } else { index };
        (along + 0.5) * self.spacing_mm
    }

    /// The voxel index at a place; the inverse of [`Edge::place_mm`].
    fn index(&self, place_mm: f64) -> f64 {
        let along = place_mm / self.spacing_mm - 0.5;
        if self.backwards { self.voxels as f64 - 1.0 - along } else { along }
    }
}

/// How slices of a grid are laid out in one view.
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    /// The view.
    pub view: View,
    /// Voxel axis through the slices.
    pub through: usize,
    /// Number of slices.
    pub slices: usize,
    across: Edge,
    down: Edge,
}

impl Plane {
    /// The planes of a grid in one view.
    pub fn of(grid: &Grid, view: View) -> Self {
        let [through, across, down] = view.directions().map(|world| Edge::of(grid, world));
        Self { view, through: through.axis, slices: through.voxels, across, down }
    }

    /// Width and height of a whole slice in mm.
    pub fn size_mm(&self) -> [f64; 2] {
        [self.across, self.down].map(|edge| edge.voxels as f64 * edge.spacing_mm)
    }

    /// Where a voxel lies in the picture of its slice, in mm from its left upper corner.
    pub fn place_mm(&self, index: [f64; 3]) -> [f64; 2] {
        [self.across, self.down].map(|edge| edge.place_mm(index[edge.axis]))
    }

    /// The part of a slice from `low` to `high` (mm from the left upper corner), drawn at `mm_per_dot`.
    pub fn window(&self, slice: usize, low: [f64; 2], high: [f64; 2], mm_per_dot: f64) -> Window {
        let dots = [0, 1].map(|e| ((high[e] - low[e]) / mm_per_dot).ceil().clamp(1.0, MAX_DOTS) as usize);
        Window { plane: *self, slice: slice.min(self.slices.saturating_sub(1)), low, dots, mm_per_dot }
    }
}

/// No picture is wider or higher: a damaged header must not make a huge page.
const MAX_DOTS: f64 = 1024.0;

/// A rectangle of one slice, cut into the dots of a picture.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How its slice is laid out.
    pub plane: Plane,
    /// Index of the slice along the axis through it.
    pub slice: usize,
    /// Left upper corner in mm.
    pub low: [f64; 2],
    /// Width and height in dots.
    pub dots: [usize; 2],
    /// Side of a dot in mm.
    pub mm_per_dot: f64,
}

impl Window {
    /// Number of dots.
    pub const fn len(&self) -> usize {
        self.dots[0] * self.dots[1]
    }

    /// Whether it has no dot.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The voxel index (with fraction) at the centre of dot `n`, row by row.
    pub fn index(&self, n: usize) -> [f64; 3] {
        let dot = [n % self.dots[0], n / self.dots[0]];
        let place = [0, 1].map(|e| self.low[e] + (dot[e] as f64 + 0.5) * self.mm_per_dot);
        let mut index = [0.0; 3];
        index[self.plane.through] = self.slice as f64;
        index[self.plane.across.axis] = self.plane.across.index(place[0]);
        index[self.plane.down.axis] = self.plane.down.index(place[1]);
        index
    }

    /// The dot (with fraction) that shows a voxel index.
    pub fn dot(&self, index: [f64; 3]) -> [f64; 2] {
        let place = self.plane.place_mm(index);
        [0, 1].map(|e| (place[e] - self.low[e]) / self.mm_per_dot - 0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Affine;

    /// The world place shown at a dot of the whole axial slice 1.
    fn world_at(grid: &Grid, view: View, corner: [f64; 2]) -> [f64; 3] {
        let plane = Plane::of(grid, view);
        let window = plane.window(1, [0.0; 2], plane.size_mm(), 1.0);
        let dot = [0, 1].map(|e| (corner[e] * (window.dots[e] - 1) as f64) as usize);
        grid.voxel_to_world.point(window.index(dot[1] * window.dots[0] + dot[0]))
    }

    #[test]
    fn the_patients_right_and_front_are_at_the_left_upper_corner_whatever_the_storage() {
        let stored = [
            Grid::axis_aligned([8, 10, 6], [2.0, 1.5, 5.0]),
            Grid::new([8, 10, 6], Affine::scale_shift([-2.0, -1.5, 5.0], [14.0, 13.5, 0.0])),
            Grid::new(
                [10, 6, 8], // a sagittal acquisition: P, I, L
                Affine::from_rows([[0.0, 0.0, -2.0, 14.0], [-1.5, 0.0, 0.0, 13.5], [0.0, -5.0, 0.0, 25.0]]),
            ),
        ];
        for grid in stored {
            let upper_left = world_at(&grid, View::Axial, [0.0, 0.0]);
            let lower_right = world_at(&grid, View::Axial, [1.0, 1.0]);
            assert!(upper_left[0] > lower_right[0], "right is on the left in {grid}");
            assert!(upper_left[1] > lower_right[1], "the front is up in {grid}");
            let (top, bottom) =
                (world_at(&grid, View::Sagittal, [0.0, 0.0]), world_at(&grid, View::Sagittal, [1.0, 1.0]));
            assert!(top[1] > bottom[1] && top[2] > bottom[2], "front left and top up in {grid}");
        }
    }

    #[test]
    fn thick_slices_keep_their_proportion() {
        let grid = Grid::axis_aligned([200, 200, 20], [1.0, 1.0, 5.5]);
        assert_eq!(Plane::of(&grid, View::Coronal).size_mm(), [200.0, 110.0]);
    }

    #[test]
    fn dot_and_index_undo_each_other() {
        let grid = Grid::new([8, 10, 6], Affine::scale_shift([-2.0, 1.5, 5.0], [3.0, 4.0, 5.0]));
        let window = Plane::of(&grid, View::Coronal).window(4, [1.0, 2.0], [12.0, 20.0], 0.7);
        for n in [0, 5, window.len() - 1] {
            let dot = window.dot(window.index(n));
            let wanted = [(n % window.dots[0]) as f64, (n / window.dots[0]) as f64];
            assert!((0..2).all(|e| (dot[e] - wanted[e]).abs() < 1e-9), "{dot:?} is not {wanted:?}");
        }
    }
}
