//! The voxels that a bias field is fitted to, and one step of the fit.
//!
//! Voxels lie on a regular grid, so the weights of a control point are products of one factor for each axis, and the sums of
//! the scattered-data approximation are taken axis by axis: along `i` over the voxels of a row, along `j` over the rows of
//! a slab, along `k` over the slabs. Slabs are one sampled plane each, and are added in their order.

use super::lattice::{Basis, Lattice, blend, spread};
use super::sharpen::{Bins, Expected};
use sdk::Context;

/// Which voxels along each axis are looked at: `start, start + step, …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampling {
    pub(super) start: [usize; 3],
    pub(super) step: [usize; 3],
    pub(super) count: [usize; 3],
}

impl Sampling {
    /// As many as fit, in the middle of the volume.
    pub(super) fn every(step: [usize; 3], shape: [usize; 3]) -> Self {
        let step: [usize; 3] = std::array::from_fn(|axis| step[axis].clamp(1, shape[axis]));
        let count: [usize; 3] = std::array::from_fn(|axis| shape[axis] / step[axis]);
        // Half a voxel is left over where an even number is; the upper one of the two in the middle is taken.
        let start = std::array::from_fn(|axis| (shape[axis] - (count[axis] - 1) * step[axis]) / 2);
        Self { start, step, count }
    }

    /// Places in memory, in order.
    pub(super) fn offsets(self, shape: [usize; 3]) -> impl Iterator<Item = usize> {
        let [ni, nj, nk] = self.count;
        let at = move |axis: usize, n: usize| self.start[axis] + n * self.step[axis];
        (0..ni * nj * nk)
            .map(move |n| at(0, n % ni) + shape[0] * (at(1, n / ni % nj) + shape[1] * at(2, n / (ni * nj))))
    }

    fn places(&self, axis: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.count[axis]).map(move |n| self.start[axis] + n * self.step[axis])
    }
}

/// The samples of one plane across `k`.
struct Slab {
    /// Log intensities, row by row.
    log: Vec<f32>,
    /// The same less the field.
    uncorrected: Vec<f32>,
    /// Sample index along `i` of each.
    i: Vec<u32>,
    /// First sample of each row, and the number of samples.
    rows: Vec<usize>,
    /// Sums on the plane's control points, `[ci, cj]`.
    sums: Vec<f64>,
}

impl Slab {
    /// Sums `value(intensity less field)` on the plane's control points, by these weights.
    fn gather(&mut self, points: [usize; 3], weights: &[Basis; 3], value: impl Fn(f32) -> f64) {
        let [nx, ny, _] = points;
        let [bx, by, _] = weights;
        self.sums.clear();
        self.sums.resize(nx * ny, 0.0);
        let mut row = vec![0.0; nx];
        for j in 0..by.first.len() {
            row.fill(0.0);
            for at in self.rows[j]..self.rows[j + 1] {
                let i = self.i[at] as usize;
                let value = value(self.uncorrected[at]);
                for (point, weight) in row[bx.first[i]..][..4].iter_mut().zip(&bx.weights[i]) {
                    *point += weight * value;
                }
            }
            if self.rows[j] < self.rows[j + 1] {
                spread(&row, by.first[j], by.weights[j], &mut self.sums);
            }
        }
    }
}

/// Bases along the three axes for one number of spans, and the weights of the sums.
struct Level {
    /// Control points along each axis.
    points: [usize; 3],
    bases: [Basis; 3],
    /// Third powers of the basis over the sum of its squares: weights of the values.
    values: [Basis; 3],
    /// Sum of the products' squares at each control point.
    squares: Vec<f64>,
}

impl Level {
    fn new(sampling: Sampling, spans: [usize; 3]) -> Self {
        let bases: [Basis; 3] = std::array::from_fn(|axis| Basis::along(sampling.count[axis], spans[axis]));
        let values = bases.each_ref().map(|basis| {
            basis.map(|w| {
                let squares: f64 = w.iter().map(|w| w * w).sum();
                w.map(|w| w * w * w / squares)
            })
        });
        Self { points: spans.map(|n| n + 3), bases, values, squares: Vec::new() }
    }
}

/// Adds up lists of `len` numbers in their order.
fn sum<'a>(parts: impl Iterator<Item = &'a [f64]>, len: usize) -> Vec<f64> {
    let mut sums = vec![0.0; len];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    sums
}

/// All samples.
pub(super) struct Samples {
    sampling: Sampling,
    slabs: Vec<Slab>,
    level: Level,
}

impl Samples {
    /// The samples where `log` gives a log intensity; * `shape`: of the whole volume; * `log(offset)`: by place in memory.
    pub(super) fn new(
        shape: [usize; 3],
        sampling: Sampling,
        spans: [usize; 3],
        ctx: &Context,
        log: impl Fn(usize) -> Option<f32> + Sync,
    ) -> Self {
        let places: [Vec<usize>; 3] = std::array::from_fn(|axis| sampling.places(axis).collect());
        let slabs = ctx.map(sampling.count[2], |k| {
            let mut slab =
                Slab { log: vec![], uncorrected: vec![], i: vec![], rows: vec![0], sums: Vec::new() };
            for j in &places[1] {
                for (n, i) in places[0].iter().enumerate() {
                    if let Some(value) = log(i + shape[0] * (j + shape[1] * places[2][k])) {
                        slab.log.push(value);
                        slab.i.push(n as u32);
                    }
                }
                slab.rows.push(slab.log.len());
            }
            slab.uncorrected.clone_from(&slab.log);
            slab
        });
        let level = Level::new(sampling, spans);
        let mut samples = Self { sampling, slabs, level };
        samples.weigh(ctx);
        samples
    }

    /// Number of samples.
    pub(super) fn len(&self) -> usize {
        self.slabs.iter().map(|slab| slab.log.len()).sum()
    }

    /// From now on fits are to lattices of so many spans.
    pub(super) fn refine(&mut self, spans: [usize; 3], ctx: &Context) {
        self.level = Level::new(self.sampling, spans);
        self.weigh(ctx);
    }

    /// Lowest and highest log intensity less the field.
    pub(super) fn range(&self, ctx: &Context) -> [f64; 2] {
        let ranges = ctx.map(self.slabs.len(), |k| {
            let start = [f32::INFINITY, f32::NEG_INFINITY];
            self.slabs[k].uncorrected.iter().fold(start, |[low, high], &v| [low.min(v), high.max(v)])
        });
        let start = [f64::INFINITY, f64::NEG_INFINITY];
        ranges.into_iter().fold(start, |[low, high], [l, h]| [low.min(l.into()), high.max(h.into())])
    }

    /// Histogram of the log intensities less the field.
    pub(super) fn histogram(&self, bins: Bins, ctx: &Context) -> Vec<f64> {
        let parts = ctx.map(self.slabs.len(), |k| {
            let mut counts = vec![0.0; bins.count];
            bins.add(&self.slabs[k].uncorrected, &mut counts);
            counts
        });
        sum(parts.iter().map(Vec::as_slice), bins.count)
    }

    /// The control points of the smooth field nearest to what the intensities are above the expected ones.
    pub(super) fn fit(&mut self, expected: &Expected, ctx: &Context) -> Vec<f64> {
        let Level { values, .. } = &self.level;
        let points = self.level.points;
        ctx.fill(&mut self.slabs, 1, |_, slabs| {
            for slab in slabs {
                slab.gather(points, values, |value| f64::from(value) - expected.at(value));
            }
        });
        let mut sums = self.gather_planes(values);
        for (sum, &squares) in sums.iter_mut().zip(&self.level.squares) {
            // A control point that no sample reaches is 0.
            *sum = if squares > 0.0 { *sum / squares } else { 0.0 };
        }
        sums
    }

    /// Takes a field off the log intensities. Returns how much the field has changed: standard deviation over mean of the
    /// ratio of the old field to the new one.
    pub(super) fn subtract(&mut self, field: &Lattice, ctx: &Context) -> f64 {
        let [bx, by, bz] = &self.level.bases;
        let [nx, ny, _] = field.shape();
        ctx.fill(&mut self.slabs, 1, |k, slabs| {
            let (mut plane, mut row) = (vec![0.0; nx * ny], vec![0.0; nx]);
            field.plane(bz.first[k], bz.weights[k], &mut plane);
            for slab in slabs {
                let (mut total, mut squares) = (0.0, 0.0);
                for j in 0..by.first.len() {
                    blend(&plane, by.first[j], by.weights[j], &mut row);
                    for at in slab.rows[j]..slab.rows[j + 1] {
                        let i = slab.i[at] as usize;
                        let points = &row[bx.first[i]..][..4];
                        let [a, b, c, d] = bx.weights[i];
                        let field = a * points[0] + b * points[1] + c * points[2] + d * points[3];
                        let new = (f64::from(slab.log[at]) - field) as f32;
                        let ratio = f64::from((new - slab.uncorrected[at]).exp()) - 1.0;
                        slab.uncorrected[at] = new;
                        total += ratio;
                        squares += ratio * ratio;
                    }
                }
                slab.sums.clear();
                slab.sums.extend([total, squares]);
            }
        });
        let parts = sum(self.slabs.iter().map(|slab| slab.sums.as_slice()), 2);
        let count = self.len() as f64;
        let variance = (parts[1] - parts[0] * parts[0] / count) / (count - 1.0).max(1.0);
        variance.max(0.0).sqrt() / (1.0 + parts[0] / count)
    }

    /// Sums up the squared weights at each control point.
    fn weigh(&mut self, ctx: &Context) {
        let squared = self.level.bases.each_ref().map(|basis| basis.map(|w| w.map(|w| w * w)));
        let points = self.level.points;
        ctx.fill(&mut self.slabs, 1, |_, slabs| {
            for slab in slabs {
                slab.gather(points, &squared, |_| 1.0);
            }
        });
        self.level.squares = self.gather_planes(&squared);
    }

    /// Along `k`, from the planes' sums to the lattice's.
    fn gather_planes(&self, weights: &[Basis; 3]) -> Vec<f64> {
        let [nx, ny, nz] = self.level.points;
        let mut sums = vec![0.0; nx * ny * nz];
        for (k, slab) in self.slabs.iter().enumerate() {
            spread(&slab.sums, weights[2].first[k], weights[2].weights[k], &mut sums);
        }
        sums
    }
}
