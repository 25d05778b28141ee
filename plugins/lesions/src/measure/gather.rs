//! The voxels of each label, as runs along `i`.

use sdk::{Context, Labels, Probability};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Range;

/// Voxels of background that are skipped in one step.
const SKIP: usize = 32;

/// Touching voxels along `i`, from `begin` to `last`, itself inside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) begin: usize,
    pub(super) last: usize,
    pub(super) j: usize,
    pub(super) k: usize,
}

/// All voxels of one label.
#[derive(Debug)]
pub(super) struct Lesion {
    pub(super) id: u32,
    /// In memory order.
    pub(super) runs: Vec<Run>,
}

/// A run and its label.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labelled {
    pub(super) id: u32,
    pub(super) run: Run,
}

/// The lesions of a label volume.
#[derive(Debug)]
pub(super) struct Lesions {
    /// By id.
    pub(super) all: Vec<Lesion>,
    /// Their runs in memory order.
    runs: Vec<Labelled>,
    /// Where the runs of each row begin, and where the last row's end.
    rows: Vec<u32>,
    /// Rows of a plane.
    ny: usize,
}

impl Lesions {
    /// The runs of a row, along `i`.
    pub(super) fn row(&self, j: usize, k: usize) -> &[Labelled] {
        let row = j + self.ny * k;
        &self.runs[self.rows[row] as usize..self.rows[row + 1] as usize]
    }
}

/// Voxels of an axial slice along one of its axes: all indices `low..=high` at index `across` of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Index of the slice.
    pub slice: usize,
    /// Index along the slice's second axis.
    pub across: usize,
    /// Lowest index along the slice's first axis.
    pub low: usize,
    /// Highest index along the slice's first axis.
    pub high: usize,
}

/// The lesions of a label volume; 0 is background.
pub(super) fn gather(labels: &Labels, ctx: &Context) -> Lesions {
    let [nx, ny, nz] = labels.grid().shape;
    let planes = ctx.map(nz, |k| {
        let mut found = Vec::new();
        let ends = (0..ny).map(|j| {
            let start = labels.grid().offset([0, j, k]);
            push_runs(&labels.voxels()[start..start + nx], [j, k], &mut found);
            found.len() as u32
        });
        let ends: Vec<u32> = ends.collect();
        (found, ends)
    });
    let (mut runs, mut rows) = (Vec::new(), vec![0]);
    let mut lesions: BTreeMap<u32, Vec<Run>> = BTreeMap::new();
    for (found, ends) in planes {
        rows.extend(ends.into_iter().map(|end| runs.len() as u32 + end));
        for labelled in &found {
            lesions.entry(labelled.id).or_default().push(labelled.run);
        }
        runs.extend(found);
    }
    let all = lesions.into_iter().map(|(id, runs)| Lesion { id, runs }).collect();
    Lesions { all, runs, rows, ny }
}

fn push_runs(row: &[u32], [j, k]: [usize; 2], found: &mut Vec<Labelled>) {
    let mut i = 0;
    while i < row.len() {
        let ahead = &row[i..(i + SKIP).min(row.len())];
        if ahead.iter().fold(0, |any, label| any | label) == 0 {
            i += ahead.len();
            continue;
        }
        let id = row[i];
        let begin = i;
        while i < row.len() && row[i] == id {
            i += 1;
        }
        if id != 0 {
            found.push(Labelled { id, run: Run { begin, last: i - 1, j, k } });
        }
    }
}

impl Lesion {
    pub(super) fn voxels(&self) -> usize {
        self.runs.iter().map(|run| run.last - run.begin + 1).sum()
    }

    /// Mean voxel index; sums of integers, so exact but for the division.
    pub(super) fn centroid(&self) -> [f64; 3] {
        let mut sum = [0u64; 3];
        for run in &self.runs {
            let len = run.last - run.begin + 1;
            let parts = [(run.begin + run.last) * len / 2, run.j * len, run.k * len];
            for (sum, part) in sum.iter_mut().zip(parts) {
                *sum += part as u64;
            }
        }
        let voxels = self.voxels() as f64;
        sum.map(|sum| sum as f64 / voxels)
    }

    /// Mean and largest score; one that is not finite counts as 0.
    pub(super) fn mean_and_max(&self, probability: &Probability) -> (f64, f32) {
        let (mut sum, mut max) = (0.0, 0f32);
        let places = |run: &Run| {
            let start = probability.grid().offset([run.begin, run.j, run.k]);
            start..start + run.last - run.begin + 1
        };
        touch(probability.voxels(), self.runs.iter().map(places));
        for run in &self.runs {
            for &score in &probability.voxels()[places(run)] {
                let score = if score.is_finite() { score } else { 0.0 };
                sum += f64::from(score);
                max = max.max(score);
            }
        }
        (sum / self.voxels() as f64, max)
    }

    /// The first and last voxel of each row: no other can be an end of a longest diameter.
    fn rows(&self) -> Vec<Run> {
        let mut rows: Vec<Run> = Vec::new();
        for run in &self.runs {
            match rows.last_mut() {
                Some(row) if (row.j, row.k) == (run.j, run.k) => row.last = run.last,
                _ => rows.push(*run),
            }
        }
        rows
    }

    /// The first and the last voxel of each row.
    pub(super) fn ends(&self) -> Vec<[i32; 3]> {
        let ends = |row: &Run| [row.begin, row.last].map(|i| [i, row.j, row.k].map(|n| n as i32));
        self.rows().iter().flat_map(ends).collect()
    }

    /// The lesion's axial slices, row by row; `axis` is the voxel axis along which slices are counted.
    pub(super) fn segments(&self, axis: usize) -> Vec<Segment> {
        let mut segments: Vec<Segment> = if axis == 0 {
            let voxels = self.runs.iter().flat_map(|run| (run.begin..=run.last).map(move |i| (i, run)));
            voxels.map(|(slice, run)| Segment { slice, across: run.k, low: run.j, high: run.j }).collect()
        } else {
            let segment = |run: &Run| {
                let (slice, across) = if axis == 1 { (run.j, run.k) } else { (run.k, run.j) };
                Segment { slice, across, low: run.begin, high: run.last }
            };
            self.runs.iter().map(segment).collect()
        };
        segments.sort_unstable();
        let mut rows: Vec<Segment> = Vec::new();
        for segment in segments {
            match rows.last_mut() {
                Some(row) if (row.slice, row.across) == (segment.slice, segment.across) => {
                    row.high = row.high.max(segment.high);
                }
                _ => rows.push(segment),
            }
        }
        rows
    }
}

/// Bytes that come from memory at a time.
const CACHE_LINE: usize = 64;

/// Reads a voxel of each cache line of pieces of rows, so that the lines come side by side; whoever goes voxel by voxel waits
/// for each in turn.
pub(super) fn touch<T: Copy>(voxels: &[T], pieces: impl Iterator<Item = Range<usize>>) {
    for piece in pieces {
        for voxel in voxels[piece].chunks(CACHE_LINE / size_of::<T>()) {
            black_box((voxel[0], voxel[voxel.len() - 1]));
        }
    }
}
