//! Normalised mutual information of two images under a map between their worlds, and its gradient.
//!
//! `NMI = (H(fixed) + H(moving)) / H(fixed, moving)`, from 1 (nothing in common) to 2 (one tells all of the other). Points of
//! the fixed image are looked up in the moving one (trilinear) and spread over a joint histogram by linear windows, which a
//! binomial filter then smooths. A point that nears the moving image's rim loses its weight over the outer half voxel, so
//! that value and gradient stay continuous as the overlap changes; the gradient is exact but for the kinks of the linear
//! windows.
//!
//! Sources: C. Studholme, D. Hill, D. Hawkes, "An overlap invariant entropy measure of 3D medical image alignment", Pattern
//! Recognition 32(1), 1999; smooth windows and gradient after P. Thévenaz and M. Unser, IEEE Trans. Image Processing 9(12),
//! 2000.

use crate::pyramid::{Level, Samples};
use nalgebra::{Matrix3, Vector3};
use sdk::{Affine, Context};

/// Points that one part of an evaluation takes. Fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 8192;

/// A metric's value at one map.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Normalised mutual information, 1..=2; 1 if nothing overlaps.
    pub nmi: f64,
    /// Shared volume as a share of the smaller of the two, 0..=1.
    pub overlap: f64,
}

/// How the metric changes with the map `x -> L (x - centre) + offset`.
#[derive(Clone, Copy, Debug)]
pub struct Slope {
    /// By the offset, per mm.
    pub force: Vector3<f64>,
    /// By the entries of `L`.
    pub moment: Matrix3<f64>,
}

/// Points of a fixed image against a moving image.
pub struct Metric<'a> {
    samples: &'a Samples,
    moving: &'a Level,
    world_to_voxel: Affine,
    bins: usize,
}

/// What became of one point.
struct Hit {
    /// Place along both axes of the histogram, in bins.
    bins: [f32; 2],
    weight: f32,
    /// Change of the weight with the place, per moving voxel.
    weight_slope: [f32; 3],
    /// Change of the moving bin with the place, per moving voxel.
    bin_slope: [f32; 3],
    sample: u32,
}

impl<'a> Metric<'a> {
    /// Compares `samples` with `moving` in a histogram of `bins` x `bins`. `None` if the moving affine is flat.
    pub fn new(samples: &'a Samples, moving: &'a Level, bins: usize) -> Option<Self> {
        let world_to_voxel = moving.image.grid().world_to_voxel()?;
        Some(Self { samples, moving, world_to_voxel, bins })
    }

    /// The metric under `fixed_to_moving`, on this thread.
    pub fn value(&self, fixed_to_moving: &Affine) -> Measure {
        let parts = (0..self.chunks()).map(|chunk| self.look_up(fixed_to_moving, chunk).0);
        self.measure(&mut self.gathered(parts)).0
    }

    /// The metric and its slope. With `ctx` on all its threads, else on this one; the results are the same.
    pub fn value_and_slope(&self, fixed_to_moving: &Affine, ctx: Option<&Context>) -> (Measure, Slope) {
        let look_up = |chunk| self.look_up(fixed_to_moving, chunk);
        let parts = match ctx {
            Some(ctx) => ctx.map(self.chunks(), look_up),
            None => (0..self.chunks()).map(look_up).collect(),
        };
        let (histograms, hits): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let mut histogram = self.gathered(histograms.into_iter());
        let (measure, table) = self.measure(&mut histogram);
        let sum = |chunk: usize| self.slope_of(&hits[chunk], &table);
        let sums = match ctx {
            Some(ctx) => ctx.map(self.chunks(), sum),
            None => (0..self.chunks()).map(sum).collect(),
        };
        let (mut force, mut moment) = (Vector3::zeros(), Matrix3::zeros());
        for (f, m) in sums {
            force += f;
            moment += m;
        }
        // From slopes per moving voxel to slopes per mm of the moving world.
        let to_world = self.world_to_voxel.linear().transpose();
        (measure, Slope { force: to_world * force, moment: to_world * moment })
    }

    fn chunks(&self) -> usize {
        self.samples.points.len().div_ceil(CHUNK)
    }

    fn gathered(&self, parts: impl Iterator<Item = Vec<f64>>) -> Vec<f64> {
        let mut sum = vec![0.0; self.bins * self.bins];
        for part in parts {
            for (total, count) in sum.iter_mut().zip(part) {
                *total += count;
            }
        }
        sum
    }

    /// Looks up one chunk of points: their joint histogram (moving bin fastest) and what became of each.
    fn look_up(&self, fixed_to_moving: &Affine, chunk: usize) -> (Vec<f64>, Vec<Hit>) {
        let to_voxel = self.world_to_voxel.after(fixed_to_moving);
        let linear = to_voxel.linear().cast::<f32>();
        let offset = Vector3::from(to_voxel.point(self.samples.centre)).cast::<f32>();
        let [low, high] = self.moving.range;
        let last = (self.bins - 1) as f32;
        let scale = last / (high - low);
        let mut histogram = vec![0.0; self.bins * self.bins];
        let first = chunk * CHUNK;
        let points = &self.samples.points[first..self.samples.points.len().min(first + CHUNK)];
        let mut hits = Vec::with_capacity(points.len());
        let (voxels, shape) = (self.moving.image.voxels(), self.moving.image.grid().shape);
        for (n, point) in (first..).zip(points) {
            let place = linear * Vector3::from(*point) + offset;
            let Some(seen) = Seen::at(voxels, shape, place.into()) else { continue };
            let bin = (seen.value - low) * scale;
            let bin_slope = if bin > 0.0 && bin < last { seen.slope.map(|s| s * scale) } else { [0.0; 3] };
            let bins = [self.samples.values[n] * last, bin.clamp(0.0, last)];
            let (weight, weight_slope) = (seen.weight, seen.weight_slope);
            let hit = Hit { bins, weight, weight_slope, bin_slope, sample: n as u32 };
            self.add(&mut histogram, &hit);
            hits.push(hit);
        }
        (histogram, hits)
    }

    /// Lower bins and fractions of a hit along both axes.
    fn taps(&self, hit: &Hit) -> (usize, [f32; 2]) {
        let top = self.bins - 2;
        let [f, m] = hit.bins.map(|bin| (bin as usize).min(top));
        (f * self.bins + m, [hit.bins[0] - f as f32, hit.bins[1] - m as f32])
    }

    fn add(&self, histogram: &mut [f64], hit: &Hit) {
        let (at, [f, m]) = self.taps(hit);
        let (low, high) = (hit.weight * (1.0 - f), hit.weight * f);
        histogram[at] += f64::from(low * (1.0 - m));
        histogram[at + 1] += f64::from(low * m);
        histogram[at + self.bins] += f64::from(high * (1.0 - m));
        histogram[at + self.bins + 1] += f64::from(high * m);
    }

    /// The measure of a histogram, and how it changes with each of its entries.
    fn measure(&self, histogram: &mut [f64]) -> (Measure, Vec<f64>) {
        smooth(histogram, self.bins);
        let entropies = Entropies::of(histogram, self.bins);
        let moving = self.moving.image.grid();
        let fixed_mm3 = self.samples.cell_mm3 * self.samples.points.len() as f64;
        let smaller_mm3 = fixed_mm3.min(moving.voxel_volume_mm3() * moving.len() as f64);
        let overlap = (entropies.total * self.samples.cell_mm3 / smaller_mm3).min(1.0);
        let mut table = entropies.slopes(histogram);
        // The smoothing is its own adjoint.
        smooth(&mut table, self.bins);
        (Measure { nmi: entropies.nmi(), overlap }, table)
    }

    /// Sums the slope over the hits of one chunk, per moving voxel.
    fn slope_of(&self, hits: &[Hit], table: &[f64]) -> (Vector3<f64>, Matrix3<f64>) {
        let (mut force, mut moment) = (Vector3::zeros(), Matrix3::zeros());
        for hit in hits {
            let (at, [f, m]) = self.taps(hit);
            let (f, m) = (f64::from(f), f64::from(m));
            let low = (1.0 - f) * table[at] + f * table[at + self.bins];
            let high = (1.0 - f) * table[at + 1] + f * table[at + self.bins + 1];
            let by_weight = (1.0 - m) * low + m * high;
            let by_bin = f64::from(hit.weight) * (high - low);
            let pull = Vector3::from(std::array::from_fn::<f64, 3, _>(|axis| {
                by_bin * f64::from(hit.bin_slope[axis]) + by_weight * f64::from(hit.weight_slope[axis])
            }));
            let point = Vector3::from(self.samples.points[hit.sample as usize]).cast::<f64>();
            force += pull;
            moment += pull * point.transpose();
        }
        (force, moment)
    }
}

/// Sums and entropies (nats) of a joint histogram and its margins.
struct Entropies {
    total: f64,
    fixed: Vec<f64>,
    moving: Vec<f64>,
    h_fixed: f64,
    h_moving: f64,
    h_joint: f64,
}

impl Entropies {
    fn of(histogram: &[f64], bins: usize) -> Self {
        let fixed: Vec<f64> = histogram.chunks_exact(bins).map(|row| row.iter().sum()).collect();
        let mut moving = vec![0.0; bins];
        for row in histogram.chunks_exact(bins) {
            for (sum, count) in moving.iter_mut().zip(row) {
                *sum += count;
            }
        }
        let total = fixed.iter().sum::<f64>();
        let [h_fixed, h_moving, h_joint] = [&fixed, &moving, histogram].map(|counts| entropy(counts, total));
        Self { total, fixed, moving, h_fixed, h_moving, h_joint }
    }

    fn nmi(&self) -> f64 {
        if self.h_joint > 0.0 { (self.h_fixed + self.h_moving) / self.h_joint } else { 1.0 }
    }

    /// d NMI / d histogram entry. The constant terms of the three entropies cancel: H(f) + H(m) - NMI H(f, m) = 0.
    fn slopes(&self, histogram: &[f64]) -> Vec<f64> {
        let bins = self.fixed.len();
        if self.h_joint <= 0.0 {
            return vec![0.0; bins * bins];
        }
        let log = |count: f64| if count > 0.0 { (count / self.total).ln() } else { 0.0 };
        let (fixed, moving): (Vec<f64>, Vec<f64>) =
            self.fixed.iter().zip(&self.moving).map(|(f, m)| (log(*f), log(*m))).unzip();
        let (nmi, scale) = (self.nmi(), -1.0 / (self.total * self.h_joint));
        let entry = |(n, count): (usize, &f64)| {
            if *count > 0.0 { scale * (fixed[n / bins] + moving[n % bins] - nmi * log(*count)) } else { 0.0 }
        };
        histogram.iter().enumerate().map(entry).collect()
    }
}

fn entropy(counts: &[f64], total: f64) -> f64 {
    if total <= 0.0 {
        return 0.0;
    }
    let sum: f64 = counts.iter().filter(|count| **count > 0.0).map(|count| count * count.ln()).sum();
    total.ln() - sum / total
}

/// Smooths a square table along both axes by 1/4, 1/2, 1/4; what would fall over the edge stays in the outer bin.
fn smooth(table: &mut [f64], bins: usize) {
    for row in table.chunks_exact_mut(bins) {
        let mut before = row[0];
        for n in 0..bins {
            let here = row[n];
            let after = row[(n + 1).min(bins - 1)];
            row[n] = 0.25 * (before + after) + 0.5 * here;
            before = here;
        }
    }
    let mut before = table[..bins].to_vec();
    for n in 0..bins {
        let after = (n + 1).min(bins - 1) * bins;
        for m in 0..bins {
            let here = table[n * bins + m];
            // The last row's neighbour is the row itself, which must still be as it was.
            let next = if n + 1 < bins { table[after + m] } else { here };
            table[n * bins + m] = 0.25 * (before[m] + next) + 0.5 * here;
            before[m] = here;
        }
    }
}

/// What the moving image shows at a place.
struct Seen {
    value: f32,
    /// Change of the value, per voxel.
    slope: [f32; 3],
    weight: f32,
    /// Change of the weight, per voxel.
    weight_slope: [f32; 3],
}

impl Seen {
    /// Trilinear look-up in at least two voxels along each axis; `None` more than half a voxel outside.
    #[inline]
    fn at(voxels: &[f32], shape: [usize; 3], place: [f32; 3]) -> Option<Self> {
        let [nx, ny, nz] = shape;
        let last = [nx, ny, nz].map(|n| (n - 1) as f32);
        let within = |a: usize| place[a] > -0.5 && place[a] < last[a] + 0.5;
        if !(within(0) && within(1) && within(2)) {
            return None;
        }
        let held: [f32; 3] = std::array::from_fn(|a| place[a].clamp(0.0, last[a]));
        let [i, j, k]: [usize; 3] = std::array::from_fn(|a| (held[a] as usize).min(last[a] as usize - 1));
        let [x, y, z] = [held[0] - i as f32, held[1] - j as f32, held[2] - k as f32];
        let plane = nx * ny;
        let base = i + nx * j + plane * k;
        let pair = |at: usize| {
            let v = &voxels[at..at + 2];
            (v[0] + x * (v[1] - v[0]), v[1] - v[0])
        };
        let (v00, d00) = pair(base);
        let (v10, d10) = pair(base + nx);
        let (v01, d01) = pair(base + plane);
        let (v11, d11) = pair(base + plane + nx);
        let (low, high) = (v00 + y * (v10 - v00), v01 + y * (v11 - v01));
        let (d_low, d_high) = (d00 + y * (d10 - d00), d01 + y * (d11 - d01));
        let mut slope = [d_low + z * (d_high - d_low), (v10 - v00) * (1.0 - z) + (v11 - v01) * z, high - low];
        let (mut weight, mut weight_slope) = (1.0, [0.0; 3]);
        if held != place {
            (weight, weight_slope) = rim(place, last);
            for axis in 0..3 {
                if held[axis] != place[axis] {
                    slope[axis] = 0.0;
                }
            }
        }
        Some(Self { value: low + z * (high - low), slope, weight, weight_slope })
    }
}

/// Weight in the outer half voxel, from 1 at the outermost centres to 0 half a voxel further, and its slope per voxel.
fn rim(place: [f32; 3], last: [f32; 3]) -> (f32, [f32; 3]) {
    let sides: [(f32, f32); 3] = std::array::from_fn(|a| {
        let (below, above) = (-place[a], place[a] - last[a]);
        match (below > 0.0, above > 0.0) {
            (true, _) => (1.0 - 2.0 * below, 2.0),
            (_, true) => (1.0 - 2.0 * above, -2.0),
            _ => (1.0, 0.0),
        }
    });
    let [x, y, z] = sides.map(|side| side.0);
    (x * y * z, [sides[0].1 * y * z, x * sides[1].1 * z, x * y * sides[2].1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pose::Pose;
    use nalgebra::{Rotation3, Vector6};
    use proptest::prelude::*;
    use sdk::testing::context_with;
    use sdk::{Grid, Image};

    const BINS: usize = 32;

    /// A level whose intensities run from 0 to 1.
    fn level(grid: Grid, value: impl Fn([f64; 3]) -> f64) -> Level {
        let voxels: Vec<f32> = (0..grid.len()).map(|n| value(grid.world(grid.index(n))) as f32).collect();
        Level { image: Image::new(grid, voxels).unwrap(), range: [0.0, 1.0] }
    }

    /// A smooth pattern between 0 and 1 without any symmetry.
    fn pattern(p: [f64; 3]) -> f64 {
        0.5 + 0.25 * (0.31 * p[0] + 0.1 * p[1]).sin()
            + 0.25 * (0.23 * p[1] - 0.17 * p[2]).cos() * (0.11 * p[2]).sin()
    }

    /// Every voxel of a level as a point.
    fn voxels_of(level: &Level) -> Samples {
        let grid = level.image.grid();
        let points = (0..grid.len()).map(|n| grid.world(grid.index(n)).map(|x| x as f32)).collect();
        let values = level.image.voxels().to_vec();
        Samples { centre: [0.0; 3], points, values, cell_mm3: grid.voxel_volume_mm3() }
    }

    proptest! {
        /// What two images share cannot depend on which is called fixed (1e-7: f32 weights).
        #[test]
        fn nmi_is_symmetric(pairs in proptest::collection::vec((0f32..1.0, 0f32..1.0), 64)) {
            let grid = Grid::axis_aligned([4; 3], [1.0; 3]);
            let of = |values: Vec<f32>| Level { image: Image::new(grid, values).unwrap(), range: [0.0, 1.0] };
            let (a, b): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let (a, b) = (of(a), of(b));
            let nmi = |fixed: &Level, moving: &Level| {
                Metric::new(&voxels_of(fixed), moving, BINS).unwrap().value(&Affine::IDENTITY).nmi
            };
            let (forth, back) = (nmi(&a, &b), nmi(&b, &a));
            prop_assert!((forth - back).abs() < 1e-7, "{forth} forth, {back} back");
            prop_assert!((1.0..=2.0).contains(&forth), "{forth}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// The slope is what the metric does over a step of 0.02 mm. 6 % of its length: the kinks of the linear windows,
        /// which 40 000 points average out, and f32 places.
        #[test]
        fn the_slope_agrees_with_finite_differences(
            by in proptest::array::uniform6(-6.0f64..6.0),
            angles in proptest::array::uniform3(-0.3f64..0.3),
        ) {
            const RADIUS_MM: f64 = 20.0;
            const STEP_MM: f64 = 0.02;
            let fixed = level(Grid::axis_aligned([24, 22, 20], [1.3, 1.5, 1.6]), pattern);
            let place = Affine::rigid([0.1, 0.0, -0.2], [3.0, -2.0, 1.0], [0.0; 3]);
            let moving_grid = Grid::axis_aligned([30, 20, 9], [1.1, 1.7, 4.0]);
            let moving_grid = Grid::new(moving_grid.shape, place.after(&moving_grid.voxel_to_world));
            let moving = level(moving_grid, |p| 1.0 - pattern(p).powi(2));
            let samples = Samples::draw(&fixed, None, [15.0, 16.0, 15.0], 40_000);
            let metric = Metric::new(&samples, &moving, BINS).unwrap();
            let centre = Vector3::from(samples.centre);
            let rotation = Rotation3::from_euler_angles(angles[0], angles[1], angles[2]).into_inner();
            let pose = Pose { rotation, centre, target: centre };
            let by = Vector6::from(by);
            let nmi = |by: &Vector6<f64>| metric.value(&pose.moved(by, RADIUS_MM).map()).nmi;
            let slope = metric.value_and_slope(&pose.moved(&by, RADIUS_MM).map(), None).1;
            let slope = pose.slope(&by, RADIUS_MM, &slope);
            let differences = Vector6::from_fn(|n, _| {
                let mut step = Vector6::zeros();
                step[n] = STEP_MM;
                (nmi(&(by + step)) - nmi(&(by - step))) / (2.0 * STEP_MM)
            });
            let error = (slope - differences).norm();
            prop_assert!(error < 0.06 * differences.norm() + 1e-5, "{slope} is not {differences}");
        }
    }

    #[test]
    fn an_image_tells_most_of_itself_where_it_lies() {
        let image = level(Grid::axis_aligned([20; 3], [2.0; 3]), pattern);
        let samples = voxels_of(&image);
        let metric = Metric::new(&samples, &image, BINS).unwrap();
        let nmi = |mm: f64| metric.value(&Affine::translation([mm, 0.0, 0.0])).nmi;
        assert!(nmi(0.0) > nmi(1.0) && nmi(1.0) > nmi(3.0), "{} {} {}", nmi(0.0), nmi(1.0), nmi(3.0));
        assert!((metric.value(&Affine::IDENTITY).overlap - 1.0).abs() < 1e-9);
    }

    #[test]
    fn far_away_nothing_overlaps() {
        let image = level(Grid::axis_aligned([8; 3], [2.0; 3]), pattern);
        let samples = voxels_of(&image);
        let far = Affine::translation([1000.0, 0.0, 0.0]);
        let measure = Metric::new(&samples, &image, BINS).unwrap().value(&far);
        assert_eq!((measure.nmi, measure.overlap), (1.0, 0.0));
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let image = level(Grid::axis_aligned([40, 30, 20], [1.0; 3]), pattern);
        let samples = voxels_of(&image);
        assert!(samples.points.len() > 2 * CHUNK, "more than one part");
        let metric = Metric::new(&samples, &image, BINS).unwrap();
        let map = Affine::rigid([0.1, 0.0, 0.05], [1.0, 2.0, 0.5], [0.0; 3]);
        let (alone, slope_alone) = metric.value_and_slope(&map, None);
        let (shared, slope_shared) = metric.value_and_slope(&map, Some(&context_with(3)));
        assert_eq!(alone.nmi.to_bits(), shared.nmi.to_bits());
        assert_eq!((slope_alone.force, slope_alone.moment), (slope_shared.force, slope_shared.moment));
    }
}
