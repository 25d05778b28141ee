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
    let (mut inside, mut around) = (Mean::default(), Mean::default());
    for run in &lesion.runs {
        let start = grid.offset([run.begin, run.j, run.k]);
        let voxels = &image.voxels()[start..=start + run.last - run.begin];
        inside.add(voxels, |counts| counts.fill(1));
    }
    let [is, js, ks] = grown_box(lesion, grid, surround_mm);
    for (j, k) in ks.flat_map(|k| js.clone().map(move |j| (j, k))) {
        let row = grid.offset([0, j, k]);
        let row = row + is.start..row + is.end;
        around.add(&image.voxels()[row.clone()], |counts| {
            for (counts, &label) in counts.iter_mut().zip(&labels.voxels()[row.clone()]) {
                *counts = u8::from(label == 0);
            }
            if let Some(mask) = mask {
                for (counts, &brain) in counts.iter_mut().zip(&mask.voxels()[row.clone()]) {
                    *counts &= u8::from(brain != 0);
                }
            }
        });
    }
    let (inside, around) = (inside.get()?, around.get()?);
    (around > 0.0).then(|| inside / around)
}

/// Sums that run side by side, so that none waits for the one before: two registers of four f64.
const LANES: usize = 8;

/// A mean of finite voxels in the making: voxel `n` of each row goes into sum `n % LANES`, whatever the machine.
#[derive(Default)]
struct Mean {
    sums: [f64; LANES],
    voxels: [u32; LANES],
    /// Whether the voxels of the row at hand count.
    counts: Vec<u8>,
}

impl Mean {
    /// Adds the voxels of a row that count: `mark` writes 1 for these and 0 for the others.
    fn add(&mut self, row: &[f32], mark: impl FnOnce(&mut [u8])) {
        self.counts.resize(row.len(), 0);
        mark(&mut self.counts);
        let (rows, rest) = row.as_chunks::<LANES>();
        let (counts, rest_counts) = self.counts.as_chunks::<LANES>();
        // No branch: labels and masks change at random along a row.
        let value = |voxel: f32, counts: u8| {
            let counts = (counts != 0) & voxel.is_finite();
            (if counts { f64::from(voxel) } else { 0.0 }, u32::from(counts))
        };
        for (row, counts) in rows.iter().zip(counts) {
            for lane in 0..LANES {
                let (voxel, one) = value(row[lane], counts[lane]);
                self.sums[lane] += voxel;
                self.voxels[lane] += one;
            }
        }
        for (lane, (&voxel, &counts)) in rest.iter().zip(rest_counts).enumerate() {
            let (voxel, one) = value(voxel, counts);
            self.sums[lane] += voxel;
            self.voxels[lane] += one;
        }
    }

    fn get(&self) -> Option<f64> {
        let voxels: u32 = self.voxels.iter().sum();
        (voxels > 0).then(|| self.sums.iter().sum::<f64>() / f64::from(voxels))
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
