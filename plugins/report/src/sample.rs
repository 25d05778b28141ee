//! Reads volumes at the dots of a picture, whatever their own grid, through the world of the reference.

use crate::plane::Window;
use sdk::{Affine, Grid, Volume, VolumeKind};

/// A volume seen from another grid of its frame.
#[derive(Clone, Debug)]
pub struct Sampler<'a, T> {
    voxels: &'a [T],
    grid: Grid,
    /// From the voxel index on the reference to that of this volume.
    from_reference: Affine,
}

impl<'a, T: Copy> Sampler<'a, T> {
    /// Looks at `volume` from `reference`; `None` if its affine cannot be inverted or it has no voxel.
    pub fn new<K: VolumeKind<Voxel = T>>(volume: &'a Volume<K>, reference: &Grid) -> Option<Self> {
        let grid = *volume.grid();
        if grid.is_empty() {
            return None;
        }
        let from_reference = if grid.matches(reference) {
            Affine::IDENTITY
        } else {
            grid.world_to_voxel()?.after(&reference.voxel_to_world)
        };
        Some(Self { voxels: volume.voxels(), grid, from_reference })
    }

    /// The voxel nearest to a place on the reference; `None` outside.
    pub fn nearest(&self, index: [f64; 3]) -> Option<T> {
        let own = self.from_reference.point(index);
        let mut nearest = [0; 3];
        for axis in 0..3 {
            let rounded = own[axis].round();
            if !(0.0..self.grid.shape[axis] as f64).contains(&rounded) {
                return None;
            }
            nearest[axis] = rounded as usize;
        }
        Some(self.voxels[self.grid.offset(nearest)])
    }

    /// The nearest voxels at all dots of a picture; `outside` beyond the volume.
    pub fn nearest_in(&self, window: &Window, outside: T) -> Vec<T> {
        (0..window.len()).map(|n| self.nearest(window.index(n)).unwrap_or(outside)).collect()
    }
}

impl Sampler<'_, f32> {
    /// Trilinear interpolation at a place on the reference; the rim of half a voxel takes the border's value, 0 beyond.
    pub fn linear(&self, index: [f64; 3]) -> f32 {
        let own = self.from_reference.point(index);
        let mut low = [0; 3];
        let mut high = [0; 3];
        let mut share = [0.0; 3];
        for axis in 0..3 {
            let last = self.grid.shape[axis] as f64 - 1.0;
            if !(-0.5..=last + 0.5).contains(&own[axis]) {
                return 0.0;
            }
            let place = own[axis].clamp(0.0, last);
            low[axis] = place.floor() as usize;
            high[axis] = (low[axis] + 1).min(last as usize);
            share[axis] = place - place.floor();
        }
        let mut sum = 0.0;
        for corner in 0..8usize {
            let mut weight = 1.0;
            let mut at = low;
            for axis in 0..3 {
                let upper = corner >> axis & 1 == 1;
                weight *= if upper { share[axis] } else { 1.0 - share[axis] };
                if upper {
                    at[axis] = high[axis];
                }
            }
            if weight > 0.0 {
                sum += weight * f64::from(self.voxels[self.grid.offset(at)]);
            }
        }
        sum as f32
    }

    /// Interpolated values at all dots of a picture.
    pub fn linear_in(&self, window: &Window) -> Vec<f32> {
        (0..window.len()).map(|n| self.linear(window.index(n))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::{Image, Labels};

    #[test]
    fn a_volume_on_another_grid_is_read_at_the_same_world_place() {
        let reference = Grid::axis_aligned([8; 3], [1.0; 3]);
        let fine = Grid::new([4; 3], Affine::scale_shift([2.0, 2.0, 2.0], [1.0, 0.0, 0.0]));
        let ramp: Vec<f32> = (0..fine.len()).map(|n| fine.world(fine.index(n))[0] as f32).collect();
        let image = Image::new(fine, ramp).unwrap();
        let sampler = Sampler::new(&image, &reference).unwrap();
        assert!((sampler.linear([4.0, 3.0, 3.0]) - 4.0).abs() < 1e-6, "a ramp is interpolated exactly");
        assert_eq!(sampler.linear([20.0, 3.0, 3.0]), 0.0, "nothing lies beyond the volume");
    }

    #[test]
    fn labels_are_never_mixed() {
        let grid = Grid::axis_aligned([4, 1, 1], [1.0; 3]);
        let labels = Labels::new(grid, vec![0, 7, 9, 0]).unwrap();
        let sampler = Sampler::new(&labels, &grid).unwrap();
        assert_eq!(sampler.nearest([1.4, 0.0, 0.0]), Some(7));
        assert_eq!(sampler.nearest([1.6, 0.0, 0.0]), Some(9));
        assert_eq!(sampler.nearest([4.0, 0.0, 0.0]), None);
    }
}
