//! Where lesions lie on the grid that pictures are drawn on.

use sdk::{Affine, Grid, Labels};
use std::collections::BTreeMap;

/// Place and extent of one label.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Its label.
    pub label: u32,
    /// Voxels on its own grid.
    pub voxels: usize,
    /// Voxels times the volume of a voxel.
    pub volume_mm3: f64,
    /// Mean voxel index on the reference grid.
    pub centre: [f64; 3],
    /// Smallest and largest voxel index on the reference grid.
    pub bounds: [[f64; 2]; 3],
    /// Voxels on each slice of the reference grid, along `through`.
    pub slices: BTreeMap<usize, usize>,
}

impl Shape {
    /// The slice with most voxels; the first of several.
    pub fn largest_slice(&self) -> usize {
        let mut largest = (0, 0);
        for (&slice, &count) in &self.slices {
            if count > largest.1 {
                largest = (slice, count);
            }
        }
        largest.0
    }
}

/// All labels of a volume, by label.
///
/// * `through`: axis of the reference grid that its axial slices run along.
///
/// An affine that cannot be inverted gives no shapes.
pub fn shapes(labels: &Labels, reference: &Grid, through: usize) -> Vec<Shape> {
    let own = labels.grid();
    let to_reference = if own.matches(reference) {
        Some(Affine::IDENTITY)
    } else {
        reference.world_to_voxel().map(|back| back.after(&own.voxel_to_world))
    };
    let Some(to_reference) = to_reference else { return Vec::new() };
    let mut found: BTreeMap<u32, Shape> = BTreeMap::new();
    for (offset, &label) in labels.voxels().iter().enumerate().filter(|(_, label)| **label != 0) {
        let index = to_reference.point(own.index(offset).map(|i| i as f64));
        let shape = found.entry(label).or_insert_with(|| Shape {
            label,
            voxels: 0,
            volume_mm3: 0.0,
            centre: [0.0; 3],
            bounds: [[f64::INFINITY, f64::NEG_INFINITY]; 3],
            slices: BTreeMap::new(),
        });
        shape.voxels += 1;
        for (axis, i) in index.into_iter().enumerate() {
            shape.centre[axis] += i;
            shape.bounds[axis] = [shape.bounds[axis][0].min(i), shape.bounds[axis][1].max(i)];
        }
        *shape.slices.entry(index[through].round().max(0.0) as usize).or_insert(0) += 1;
    }
    let mut shapes: Vec<Shape> = found.into_values().collect();
    for shape in &mut shapes {
        shape.centre = shape.centre.map(|sum| sum / shape.voxels as f64);
        shape.volume_mm3 = shape.voxels as f64 * own.voxel_volume_mm3();
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_on_a_finer_grid_is_placed_on_the_reference() {
        let reference = Grid::axis_aligned([10; 3], [2.0; 3]);
        let fine = Grid::axis_aligned([20; 3], [1.0; 3]);
        let mut voxels = vec![0; fine.len()];
        for i in 8..=12 {
            voxels[fine.offset([i, 10, 6])] = 3;
        }
        voxels[fine.offset([10, 10, 8])] = 3;
        let shapes = shapes(&Labels::new(fine, voxels).unwrap(), &reference, 2);
        assert_eq!(shapes.len(), 1);
        assert_eq!((shapes[0].label, shapes[0].voxels, shapes[0].volume_mm3), (3, 6, 6.0));
        assert!((shapes[0].centre[0] - 5.0).abs() < 1e-9, "{:?}", shapes[0].centre);
        assert_eq!(shapes[0].bounds[0], [4.0, 6.0]);
        assert_eq!(shapes[0].largest_slice(), 3);
    }
}
