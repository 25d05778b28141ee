//! A lesion against what lies around it.

use super::gather::{Lesion, Run};
use sdk::{Grid, Image, Labels, Mask};

/// Mean intensity of the lesion over the mean intensity of its surround, both of finite voxels; `None` where there is no
/// surround or its mean is not positive.
pub(super) fn contrast_ratio(
    lesion: &Lesion,
    labels: &Labels,
    image: &Image,
    mask: Option<&Mask>,
    surround_mm: f64,
) -> Option<f64> {
    let grid = image.grid();
    let mut inside = Mean::default();
    for run in &lesion.runs {
        let start = grid.offset([run.begin, run.j, run.k]);
        inside.add(image.voxels()[start..=start + run.last - run.begin].iter().map(|&voxel| (voxel, true)));
    }
    let mut around = Mean::default();
    let [is, js, ks] = grown_box(lesion, grid, surround_mm);
    for (j, k) in ks.flat_map(|k| js.clone().map(move |j| (j, k))) {
        let row = grid.offset([0, j, k]);
        let row = row + is.start..row + is.end;
        let voxels = image.voxels()[row.clone()].iter().zip(&labels.voxels()[row.clone()]);
        if let Some(mask) = mask {
            let voxels = voxels.zip(&mask.voxels()[row]);
            around.add(voxels.map(|((&voxel, &label), &brain)| (voxel, label == 0 && brain != 0)));
        } else {
            around.add(voxels.map(|(&voxel, &label)| (voxel, label == 0)));
        }
    }
    let (inside, around) = (inside.get()?, around.get()?);
    (around > 0.0).then(|| inside / around)
}

/// A mean of finite voxels in the making.
#[derive(Default)]
struct Mean {
    sum: f64,
    voxels: u32,
}

impl Mean {
    /// Adds the voxels of a row that count.
    fn add(&mut self, row: impl Iterator<Item = (f32, bool)>) {
        let (mut sum, mut voxels) = (0.0, 0);
        for (voxel, counts) in row {
            // No branch: labels and masks change at random along a row.
            let counts = counts & voxel.is_finite();
            sum += f64::from(if counts { voxel } else { 0.0 });
            voxels += u32::from(counts);
        }
        self.sum += sum;
        self.voxels += voxels;
    }

    fn get(&self) -> Option<f64> {
        (self.voxels > 0).then(|| self.sum / f64::from(self.voxels))
    }
}

/// The lesion's box of voxels, grown by `surround_mm` on each side, within the grid.
fn grown_box(lesion: &Lesion, grid: &Grid, surround_mm: f64) -> [std::ops::Range<usize>; 3] {
    let spacing_mm = grid.spacing_mm();
    let span = |axis: usize, low: fn(&Run) -> usize, high: fn(&Run) -> usize| {
        let low = lesion.runs.iter().map(low).min().unwrap_or(0);
        let high = lesion.runs.iter().map(high).max().unwrap_or(0);
        let more = (surround_mm / spacing_mm[axis]).round() as usize;
        low.saturating_sub(more)..(high + more + 1).min(grid.shape[axis])
    };
    [span(0, |r| r.begin, |r| r.last), span(1, |r| r.j, |r| r.j), span(2, |r| r.k, |r| r.k)]
}

/// Whether a voxel of the lesion lies outside the mask or shares a face with a voxel outside it; beyond the grid is outside.
pub(super) fn touches_edge(lesion: &Lesion, mask: &Mask) -> bool {
    let [nx, ny, nz] = mask.grid().shape;
    let outside = |row: [usize; 2], begin: usize, last: usize| {
        let start = mask.grid().offset([0, row[0], row[1]]);
        mask.voxels()[start + begin..=start + last].contains(&0)
    };
    lesion.runs.iter().any(|&Run { begin, last, j, k }| {
        let at_border = begin == 0 || last + 1 == nx || j == 0 || j + 1 == ny || k == 0 || k + 1 == nz;
        at_border
            || outside([j, k], begin - 1, last + 1)
            || [[j - 1, k], [j + 1, k], [j, k - 1], [j, k + 1]]
                .into_iter()
                .any(|row| outside(row, begin, last))
    })
}
