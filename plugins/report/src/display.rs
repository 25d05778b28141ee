//! The grid that the page's viewer works on: the shown part of the reference, its axes turned as pictures run, coarser where
//! the page would become too large.
//!
//! Axis 0 runs to the patient's left, axis 1 to the back, axis 2 down, so a slice along any two of them is a picture in
//! radiological convention without turning. A voxel here covers a block of whole voxels of the reference.

use crate::scene::Scene;
use sdk::serde::Serialize;
use sdk::{Affine, Grid};

/// One axis of the viewer's grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    /// Voxel axis of the reference.
    along: usize,
    /// Whether the reference's index falls.
    backwards: bool,
    /// First and last index of the reference.
    bounds: [usize; 2],
    /// Voxels of the reference in one of the viewer's.
    factor: usize,
}

impl Axis {
    const fn count(&self) -> usize {
        (self.bounds[1] - self.bounds[0] + 1).div_ceil(self.factor)
    }

    /// Place of voxel 0 on the reference, and the way to the next.
    fn first_and_step(&self) -> [f64; 2] {
        let (half, step) = ((self.factor as f64 - 1.0) / 2.0, self.factor as f64);
        if self.backwards {
            [self.bounds[1] as f64 - half, -step]
        } else {
            [self.bounds[0] as f64 + half, step]
        }
    }

    /// The indices of the reference that voxel `n` covers.
    fn block(&self, n: usize) -> std::ops::RangeInclusive<usize> {
        let [low, high] = self.bounds;
        let skipped = n * self.factor;
        if self.backwards {
            let last = high - skipped;
            (last + 1).saturating_sub(self.factor).max(low)..=last
        } else {
            let first = low + skipped;
            first..=(first + self.factor - 1).min(high)
        }
    }
}

/// The viewer's grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Display {
    axes: [Axis; 3],
    /// Stride of the viewer's axes in the memory of the reference.
    strides: [usize; 3],
}

/// A grid as the viewer's script reads it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct DisplayGrid {
    /// Voxels along each axis.
    pub shape: [usize; 3],
    /// Distance of voxels in mm.
    pub spacing_mm: [f64; 3],
    /// Rows of the affine from voxel to world.
    pub voxel_to_world: [[f64; 4]; 3],
    /// For each axis: the reference's voxel axis, its index at voxel 0, and the way to the next.
    pub reference: [(usize, f64, f64); 3],
}

/// Spacings within this ratio are alike.
const ALIKE: f64 = 1.2;

impl Display {
    /// The shown part of the reference at full resolution.
    pub fn of(scene: &Scene<'_>) -> Self {
        let grid = scene.grid();
        let closest = grid.closest_axes();
        let axes = [0, 1, 2].map(|world| {
            let axis = (0..3).find(|&a| closest[a].0 == world).unwrap_or(world);
            // Pictures run against the RAS+ world.
            let backwards = grid.voxel_to_world.linear()[(world, axis)] >= 0.0;
            Axis { along: axis, backwards, bounds: scene.bounds(axis), factor: 1 }
        });
        let stride = |axis: usize| grid.shape[..axis].iter().product();
        Self { axes, strides: axes.map(|a| stride(a.along)) }
    }

    /// The next coarser grid: one more voxel of the reference along its finest axes; along the slices' own before the others,
    /// so that axial slices stay sharp.
    #[must_use]
    pub fn coarser(mut self, reference: &Grid) -> Self {
        let spacing = self.spacing_mm(reference);
        let finest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
        let fine = spacing.map(|spacing| spacing <= finest * ALIKE);
        for (n, axis) in self.axes.iter_mut().enumerate() {
            if fine[n] && (n == 2 || !fine[2]) {
                axis.factor += 1;
            }
        }
        self
    }

    /// Voxels along each axis.
    pub fn shape(&self) -> [usize; 3] {
        [0, 1, 2].map(|a| self.axes[a].count())
    }

    /// Number of voxels.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether there is no voxel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether each voxel is one of the reference.
    pub fn is_full(&self) -> bool {
        self.axes.iter().all(|axis| axis.factor == 1)
    }

    fn spacing_mm(&self, reference: &Grid) -> [f64; 3] {
        self.axes.map(|axis| axis.factor as f64 * reference.spacing_mm()[axis.along])
    }

    /// The offsets in the reference's memory that a voxel covers, split by axis: for each axis the steps of its block.
    pub(crate) fn steps(&self, axis: usize) -> Vec<Vec<usize>> {
        let own = &self.axes[axis];
        (0..own.count()).map(|n| own.block(n).map(|i| i * self.strides[axis]).collect()).collect()
    }

    /// The index on the reference at the centre of a voxel.
    pub fn centre(&self, index: [usize; 3]) -> [f64; 3] {
        let mut centre = [0.0; 3];
        for (axis, n) in self.axes.iter().zip(index) {
            let [first, step] = axis.first_and_step();
            centre[axis.along] = first + step * n as f64;
        }
        centre
    }

    /// What the viewer must know of it.
    pub fn describe(&self, reference: &Grid) -> DisplayGrid {
        let mut rows = [[0.0; 4]; 3];
        for (n, axis) in self.axes.iter().enumerate() {
            let [first, step] = axis.first_and_step();
            rows[axis.along][n] = step;
            rows[axis.along][3] = first;
        }
        DisplayGrid {
            shape: self.shape(),
            spacing_mm: self.spacing_mm(reference),
            voxel_to_world: reference.voxel_to_world.after(&Affine::from_rows(rows)).rows(),
            reference: self.axes.map(|axis| {
                let [first, step] = axis.first_and_step();
                (axis.along, first, step)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use sdk::testing::{ball, ball_mask};

    /// A grid stored back to front, with thick slices, and a brain in its middle.
    fn display(factor_steps: usize) -> (Grid, Display) {
        let grid = Grid::new([40, 44, 12], Affine::scale_shift([-1.0, -1.0, 4.0], [20.0, 22.0, -24.0]));
        let (image, mask) = (ball(grid, [0.0; 3], 15.0, 1.0), ball_mask(grid, [0.0; 3], 14.0));
        let scene = Scene::new(Some(&image), Some(&mask), &Options::default()).unwrap();
        let full = Display::of(&scene);
        (grid, (0..factor_steps).fold(full, |display, _| display.coarser(&grid)))
    }

    #[test]
    fn axes_run_to_the_left_the_back_and_down() {
        let (grid, display) = display(0);
        let described = display.describe(&grid);
        let world = Affine::from_rows(described.voxel_to_world);
        let (first, next) = (world.point([0.0; 3]), world.point([1.0; 3]));
        for axis in 0..3 {
            assert!(next[axis] < first[axis], "axis {axis}: {first:?} then {next:?}");
        }
        assert_eq!(described.spacing_mm, [1.0, 1.0, 4.0]);
        let centre = grid.voxel_to_world.point(display.centre([3, 4, 1]));
        let told = world.point([3.0, 4.0, 1.0]);
        assert!((0..3).all(|a| (centre[a] - told[a]).abs() < 1e-9), "{centre:?} is not {told:?}");
    }

    #[test]
    fn a_coarser_grid_joins_voxels_in_the_plane_before_thick_slices() {
        let (grid, full) = display(0);
        let (_, coarse) = display(1);
        assert!(full.is_full() && !coarse.is_full());
        assert_eq!(coarse.describe(&grid).spacing_mm, [2.0, 2.0, 4.0]);
        assert_eq!(coarse.shape()[0], full.shape()[0].div_ceil(2));
        let covered: usize = coarse.steps(0).iter().map(Vec::len).sum();
        assert_eq!(covered, full.shape()[0], "each voxel of the reference is in one block");
        let (_, third) = display(4);
        assert_eq!(third.describe(&grid).spacing_mm, [4.0, 4.0, 8.0], "1, 2, 3, 4 mm, then the slices");
    }
}
