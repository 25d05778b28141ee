//! A lesion against what lies around it.

use super::gather::{Lesion, Lesions, Run, touch};
use sdk::{Grid, Image, Mask};
use std::ops::Range;

/// Mean intensity of the lesion over the mean intensity of its surround, both of finite voxels; `None` where there is no
/// surround or its mean is not positive.
pub(super) fn contrast_ratio(
    lesion: &Lesion,
    lesions: &Lesions,
    image: &Image,
    mask: Option<&Mask>,
    surround_mm: f64,
) -> Option<f64> {
    let grid = image.grid();
    let (mut inside, mut around) = (Mean::default(), Mean::default());
    let [is, js, ks] = grown_box(lesion, grid, surround_mm);
    for (j, k) in ks.flat_map(|k| js.clone().map(move |j| (j, k))) {
        if j == js.start {
            let pieces =
                || js.clone().map(|j| grid.offset([is.start, j, k])).map(|start| start..start + is.len());
            touch(image.voxels(), pieces());
            mask.inspect(|mask| touch(mask.voxels(), pieces()));
        }
        let start = grid.offset([0, j, k]);
        let row = &image.voxels()[start..start + grid.shape[0]];
        let brain = mask.map(|mask| &mask.voxels()[start..start + grid.shape[0]]);
        let mut gap = |from: usize, to: usize| match brain {
            _ if from >= to => {}
            Some(brain) => around.add_where(&row[from..to], &brain[from..to]),
            None => around.add(&row[from..to]),
        };
        // The surround is what lies between the runs of all lesions.
        let mut from = is.start;
        for labelled in lesions.row(j, k) {
            let Run { begin, last, .. } = labelled.run;
            if labelled.id == lesion.id {
                inside.add(&row[begin..=last]);
            }
            gap(from, begin.min(is.end));
            from = from.max(last + 1);
        }
        gap(from, is.end);
    }
    let (inside, around) = (inside.get()?, around.get()?);
    (around > 0.0).then(|| inside / around)
}

/// Sums that run side by side, so that none waits for the one before: a register of four f64.
const LANES: usize = 4;

/// A mean of finite voxels in the making: voxel `n` of each piece of a row goes into sum `n % LANES`, whatever the machine.
#[derive(Default)]
struct Mean {
    sums: [f64; LANES],
    voxels: [u32; LANES],
}

impl Mean {
    /// Adds voxels.
    fn add(&mut self, voxels: &[f32]) {
        for (n, &voxel) in voxels.iter().enumerate() {
            self.put(n % LANES, voxel, true);
        }
    }

    /// Adds the voxels inside a mask.
    fn add_where(&mut self, voxels: &[f32], mask: &[u8]) {
        for (n, (&voxel, &inside)) in voxels.iter().zip(mask).enumerate() {
            self.put(n % LANES, voxel, inside != 0);
        }
    }

    /// No branch: masks change at random along a row.
    fn put(&mut self, lane: usize, voxel: f32, counts: bool) {
        let counts = counts & voxel.is_finite();
        self.sums[lane] += if counts { f64::from(voxel) } else { 0.0 };
        self.voxels[lane] += u32::from(counts);
    }

    fn get(&self) -> Option<f64> {
        let voxels: u32 = self.voxels.iter().sum();
        (voxels > 0).then(|| self.sums.iter().sum::<f64>() / f64::from(voxels))
    }
}

/// The lesion's box of voxels, grown by `surround_mm` on each side, within the grid.
fn grown_box(lesion: &Lesion, grid: &Grid, surround_mm: f64) -> [Range<usize>; 3] {
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
