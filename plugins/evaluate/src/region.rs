//! Boxes of a grid around sets of runs: components are found and distances taken in them, not in the whole volume.

use crate::evidence::{Run, range};
use sdk::Context;
use sdk::imaging::components::{Components, Connectivity};

/// A box of voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Voxels of the whole grid along each axis.
    pub whole: [usize; 3],
    /// First voxel inside.
    pub low: [usize; 3],
    /// Voxels inside along each axis.
    pub shape: [usize; 3],
}

impl Region {
    /// The smallest box around all voxels of some runs; none if there are none.
    pub fn around<'a>(whole: [usize; 3], runs: impl IntoIterator<Item = &'a Run>) -> Option<Self> {
        let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
        for run in runs {
            let [i, j, k] = index(whole, run[0] as usize);
            let last = i + run[1] as usize - 1;
            low = [low[0].min(i), low[1].min(j), low[2].min(k)];
            high = [high[0].max(last), high[1].max(j), high[2].max(k)];
        }
        (low[0] != usize::MAX).then(|| Self { whole, low, shape: [0, 1, 2].map(|a| high[a] - low[a] + 1) })
    }

    /// The box with `voxels` more on each side, as far as the grid goes.
    #[must_use]
    pub fn grown(self, voxels: usize) -> Self {
        let low = self.low.map(|n| n.saturating_sub(voxels));
        let high: [usize; 3] =
            std::array::from_fn(|a| (self.low[a] + self.shape[a] + voxels).min(self.whole[a]));
        Self { low, shape: [0, 1, 2].map(|a| high[a] - low[a]), ..self }
    }

    /// Number of voxels inside.
    pub const fn len(&self) -> usize {
        self.shape[0] * self.shape[1] * self.shape[2]
    }

    /// Whether no voxel is inside.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Place in the box of a place in the grid, which lies inside.
    pub const fn inside(&self, place: usize) -> usize {
        let [i, j, k] = index(self.whole, place);
        i - self.low[0] + self.shape[0] * (j - self.low[1] + self.shape[1] * (k - self.low[2]))
    }

    /// Place in the grid of a place in the box.
    pub const fn outside(&self, place: usize) -> usize {
        let [i, j, k] = index(self.shape, place);
        i + self.low[0] + self.whole[0] * (j + self.low[1] + self.whole[1] * (k + self.low[2]))
    }

    /// A volume of the box with 1 at the runs and 0 elsewhere; all runs lie inside.
    pub fn paint<'a>(&self, runs: impl IntoIterator<Item = &'a Run>) -> Vec<u8> {
        let mut volume = vec![0; self.len()];
        for run in runs {
            let start = self.inside(run[0] as usize);
            volume[start..start + run[1] as usize].fill(1);
        }
        volume
    }

    /// The components of a volume of the box: the voxels of each, and their runs in the grid.
    pub fn components(
        &self,
        volume: &[u8],
        connectivity: Connectivity,
        ctx: &Context,
    ) -> (Vec<u64>, Vec<Run>) {
        let found = Components::find(self.shape, connectivity, ctx, |offset, row| {
            row.copy_from_slice(&volume[offset..offset + row.len()]);
        });
        let voxels = found.statistics().iter().map(|statistics| statistics.voxels as u64).collect();
        let run = |run: sdk::imaging::components::Run| {
            [self.outside(run.voxels.start) as u32, run.voxels.len() as u32, run.label]
        };
        (voxels, found.runs().map(run).collect())
    }
}

/// Voxel index of a place in memory.
pub const fn index([nx, ny, _]: [usize; 3], place: usize) -> [usize; 3] {
    [place % nx, place / nx % ny, place / (nx * ny)]
}

/// The voxels of the 18-neighbourhoods of runs, in a box that is one voxel larger on each side where the grid goes on.
pub fn dilate(region: &Region, runs: &[Run]) -> Vec<u8> {
    let [nx, ny, nz] = region.shape;
    let mut volume = vec![0u8; region.len()];
    for run in runs {
        let [i, j, k] = index(region.shape, region.inside(range(run).start));
        let last = i + run[1] as usize;
        for (dj, dk) in (-1..=1).flat_map(|dj| (-1..=1).map(move |dk| (dj, dk))) {
            let (Some(j), Some(k)) = (j.checked_add_signed(dj), k.checked_add_signed(dk)) else { continue };
            if j >= ny || k >= nz {
                continue;
            }
            // Two of the three indices of an 18-neighbour may differ by one.
            let reach = usize::from(dj == 0 || dk == 0);
            let row = nx * (j + ny * k);
            volume[row + i.saturating_sub(reach)..row + (last + reach).min(nx)].fill(1);
        }
    }
    volume
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_a_box_and_in_its_grid_belong_together() {
        let whole = [7, 6, 5];
        let runs = [[1 + 7 * (2 + 6), 3, 1], [2 + 7 * (3 + 6 * 3), 1, 1]];
        let region = Region::around(whole, &runs).unwrap();
        assert_eq!((region.low, region.shape), ([1, 2, 1], [3, 2, 3]));
        for place in 0..region.len() {
            assert_eq!(region.inside(region.outside(place)), place);
        }
        let grown = region.grown(2);
        assert_eq!((grown.low, grown.shape), ([0, 0, 0], [6, 6, 5]));
        assert!(Region::around(whole, &[]).is_none());
    }

    #[test]
    fn a_dilated_voxel_has_its_18_neighbours_and_no_corner() {
        let region = Region { whole: [3; 3], low: [0; 3], shape: [3; 3] };
        let volume = dilate(&region, &[[13, 1, 1]]);
        assert_eq!(volume.iter().map(|&v| u32::from(v)).sum::<u32>(), 19);
        assert!([0, 2, 6, 8, 18, 20, 24, 26].iter().all(|&corner| volume[corner] == 0));
    }
}
