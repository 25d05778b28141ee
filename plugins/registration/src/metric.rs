//! Normalised mutual information of two images under a map between their worlds, and its gradient.
//!
//! Points of the fixed image are looked up in the moving one (trilinear) and spread over a joint histogram by linear windows,
//! which a binomial filter then smooths. The symmetric measure also looks points of the moving image up in the fixed one, under
//! the inverse map, and adds both histograms: exchanging the images and inverting the map changes nothing. A point that nears
//! the rim of the image it is looked up in, or the border of its mask, loses its weight smoothly, so that value and gradient
//! stay continuous as the overlap changes; the gradient is exact but for the kinks of the linear windows.
//!
//! Sources: C. Studholme, D. Hill, D. Hawkes, "An overlap invariant entropy measure of 3D medical image alignment", Pattern
//! Recognition 32(1), 1999; smooth windows and gradient after P. Thévenaz and M. Unser, IEEE Trans. Image Processing 9(12),
//! 2000.

use crate::histogram::{Entropies, smooth, transposed};
use crate::lookup::{BLOCK, Lane, Shown};
use crate::pyramid::{Level, Samples};
use nalgebra::{Matrix3, Vector3};
use sdk::{Affine, Context};
use std::sync::Mutex;

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

/// How the metric changes with the map `x -> L (x - centre) + offset`, where `centre` is that of the fixed points.
#[derive(Clone, Copy, Debug)]
pub struct Slope {
    /// By the offset, per mm.
    pub force: Vector3<f64>,
    /// By the entries of `L`.
    pub moment: Matrix3<f64>,
}

/// Points of one image, looked up in the other.
struct Direction<'a> {
    samples: &'a Samples,
    seen: &'a Level,
    world_to_voxel: Affine,
}

/// The images of a pair against each other.
pub struct Metric<'a> {
    /// Points of the fixed image in the moving one.
    forth: Direction<'a>,
    /// Points of the moving image in the fixed one, if the measure is symmetric.
    back: Option<Direction<'a>>,
    bins: usize,
    /// Memory of chunks that are done with, for the next ones.
    spare: Mutex<Vec<Hits>>,
}

/// What became of one chunk of points.
#[derive(Default)]
struct Hits {
    /// Joint histogram, seen bin fastest.
    histogram: Vec<f64>,
    /// Place along both axes of the histogram, in bins: the points' own, and what was seen.
    bins: [Vec<f32>; 2],
    weight: Vec<f32>,
    /// Change of the seen bin with the place, per voxel of the seen image.
    bin_slope: [Vec<f32>; 3],
    /// Points whose weight changes with their place, and by how much per voxel of the seen image.
    edge: Vec<(usize, [f32; 3])>,
}

impl<'a> Metric<'a> {
    /// Compares `samples` of the fixed image with `moving` in a histogram of `bins` x `bins`. `None` if an affine is flat.
    pub fn new(samples: &'a Samples, moving: &'a Level, bins: usize) -> Option<Self> {
        Some(Self { forth: Direction::new(samples, moving)?, back: None, bins, spare: Mutex::default() })
    }

    /// The symmetric measure: also compares `samples` of the moving image with `fixed`. `None` if an affine is flat.
    pub fn and_back(self, samples: &'a Samples, fixed: &'a Level) -> Option<Self> {
        Some(Self { back: Some(Direction::new(samples, fixed)?), ..self })
    }

    /// The metric under `fixed_to_moving`, on this thread; nothing overlaps under a flat map.
    pub fn value(&self, fixed_to_moving: &Affine) -> Measure {
        let Some(maps) = self.maps(fixed_to_moving) else { return Measure { nmi: 1.0, overlap: 0.0 } };
        let counted = |(direction, map): (&Direction<'_>, &Affine)| {
            let mut histogram = vec![0.0; self.bins * self.bins];
            for chunk in 0..direction.chunks() {
                direction.look_up(map, chunk, self.bins, |block| block.count(&mut histogram, self.bins));
            }
            histogram
        };
        let histograms: Vec<_> = self.directions().zip(&maps).map(counted).collect();
        self.measure(fixed_to_moving, histograms).0
    }

    /// The metric and its slope. With `ctx` on all its threads, else on this one; the results are the same.
    pub fn value_and_slope(&self, fixed_to_moving: &Affine, ctx: Option<&Context>) -> (Measure, Slope) {
        let none = Slope { force: Vector3::zeros(), moment: Matrix3::zeros() };
        let Some(maps) = self.maps(fixed_to_moving) else {
            return (Measure { nmi: 1.0, overlap: 0.0 }, none);
        };
        let parts: Vec<(usize, usize)> = self
            .directions()
            .enumerate()
            .flat_map(|(way, direction)| (0..direction.chunks()).map(move |chunk| (way, chunk)))
            .collect();
        let looked = on_threads(ctx, parts.len(), |n| {
            let (way, chunk) = parts[n];
            let mut hits = self.spare.lock().expect("nothing panics with it").pop().unwrap_or_default();
            self.direction(way).hits(&maps[way], chunk, self.bins, &mut hits);
            hits
        });
        let mut histograms: Vec<_> = maps.iter().map(|_| vec![0.0; self.bins * self.bins]).collect();
        for ((way, _), hits) in parts.iter().zip(&looked) {
            histograms[*way].iter_mut().zip(&hits.histogram).for_each(|(sum, count)| *sum += count);
        }
        let (measure, tables) = self.measure(fixed_to_moving, histograms);
        let sums = on_threads(ctx, parts.len(), |n| {
            let (way, chunk) = parts[n];
            self.direction(way).slope_of(&looked[n], chunk, &tables[way], self.bins)
        });
        self.spare.lock().expect("nothing panics with it").extend(looked);
        let mut slope = none;
        for (way, inverse) in maps.iter().enumerate() {
            let own = parts.iter().zip(&sums).filter(|((of, _), _)| *of == way).map(|(_, sum)| sum);
            let sum = self.direction(way).in_world(own);
            let sum = if way == 0 { sum } else { self.through_inverse(&sum, fixed_to_moving, inverse) };
            slope.force += sum.force;
            slope.moment += sum.moment;
        }
        (measure, slope)
    }

    fn directions(&self) -> impl Iterator<Item = &Direction<'a>> {
        std::iter::once(&self.forth).chain(&self.back)
    }

    fn direction(&self, way: usize) -> &Direction<'a> {
        self.back.as_ref().filter(|_| way == 1).unwrap_or(&self.forth)
    }

    /// The map forth and, if it is asked for, back.
    fn maps(&self, fixed_to_moving: &Affine) -> Option<Vec<Affine>> {
        let mut maps = vec![*fixed_to_moving];
        if self.back.is_some() {
            maps.push(fixed_to_moving.inverse()?);
        }
        Some(maps)
    }

    /// The measure of the directions' histograms, and how it changes with each of their entries.
    fn measure(&self, map: &Affine, histograms: Vec<Vec<f64>>) -> (Measure, Vec<Vec<f64>>) {
        let bins = self.bins;
        let share = if self.back.is_some() { 0.5 } else { 1.0 };
        // Histograms count mm3: both directions estimate the same shared volume.
        let mut joint = vec![0.0; bins * bins];
        let mut overlap = 0.0;
        for (way, histogram) in histograms.into_iter().enumerate() {
            let direction = self.direction(way);
            overlap += share * direction.overlap(histogram.iter().sum(), map.determinant().abs(), way == 1);
            let own = if way == 0 { histogram } else { transposed(&histogram, bins) };
            let weight = share * direction.samples.cell_mm3;
            joint.iter_mut().zip(own).for_each(|(sum, count)| *sum += weight * count);
        }
        smooth(&mut joint, bins);
        let entropies = Entropies::of(&joint, bins);
        let mut table = entropies.slopes(&joint);
        // The smoothing is its own adjoint.
        smooth(&mut table, bins);
        let of_way = |(way, direction): (usize, &Direction<'_>)| {
            let mut own = if way == 0 { table.clone() } else { transposed(&table, bins) };
            let weight = share * direction.samples.cell_mm3;
            for entry in &mut own {
                *entry *= weight;
            }
            own
        };
        let tables = self.directions().enumerate().map(of_way).collect();
        (Measure { nmi: entropies.nmi(), overlap }, tables)
    }

    /// A slope by the inverse map, turned into one by the map itself: `d(T^-1) = -L^-1 dT T^-1`.
    fn through_inverse(&self, slope: &Slope, map: &Affine, inverse: &Affine) -> Slope {
        let Some(back) = &self.back else { return *slope };
        let linear = inverse.linear();
        let target = Vector3::from(map.point(self.forth.samples.centre));
        let from = Vector3::from(back.samples.centre) - target;
        let moment = slope.moment + slope.force * from.transpose();
        Slope {
            force: -(linear.transpose() * slope.force),
            moment: -(linear.transpose() * moment * linear.transpose()),
        }
    }
}

/// `part(n)` for all `n`, in order; on all threads of `ctx`, or on this one.
fn on_threads<R: Send>(ctx: Option<&Context>, count: usize, part: impl Fn(usize) -> R + Sync) -> Vec<R> {
    match ctx {
        Some(ctx) => ctx.map(count, part),
        None => (0..count).map(part).collect(),
    }
}

/// Lower bin of a pair of places in bins, and how far each is above its own.
#[inline]
fn taps(places: [f32; 2], bins: usize) -> (usize, [f32; 2]) {
    let [own, seen] = places.map(|place| (place as usize).min(bins - 2));
    (own * bins + seen, [places[0] - own as f32, places[1] - seen as f32])
}

/// What became of a block of points.
struct Block {
    /// Which ones; lanes beyond them mean nothing.
    points: std::ops::Range<usize>,
    bins: [Lane; 2],
    bin_slope: [Lane; 3],
    shown: Shown,
}

impl Default for Block {
    fn default() -> Self {
        let zero = [0.0; BLOCK];
        Self { points: 0..0, bins: [zero; 2], bin_slope: [zero; 3], shown: Shown::default() }
    }
}

impl Block {
    /// Adds the points to a histogram.
    fn count(&self, histogram: &mut [f64], bins: usize) {
        for n in 0..self.points.len() {
            let weight = self.shown.weight[n];
            if weight == 0.0 {
                continue;
            }
            let (at, [own, seen]) = taps([self.bins[0][n], self.bins[1][n]], bins);
            let (low, high) = (weight * (1.0 - own), weight * own);
            histogram[at] += f64::from(low * (1.0 - seen));
            histogram[at + 1] += f64::from(low * seen);
            histogram[at + bins] += f64::from(high * (1.0 - seen));
            histogram[at + bins + 1] += f64::from(high * seen);
        }
    }
}

impl Hits {
    /// Forgets all, and gets ready for a histogram of `bins` x `bins`.
    fn clear(&mut self, bins: usize) {
        self.histogram.clear();
        self.histogram.resize(bins * bins, 0.0);
        self.bins.iter_mut().chain(&mut self.bin_slope).for_each(Vec::clear);
        self.weight.clear();
        self.edge.clear();
    }

    /// Takes a block of a chunk up.
    fn push(&mut self, block: &Block) {
        let len = block.points.len();
        let before = self.weight.len();
        let kept =
            self.bins.iter_mut().zip(&block.bins).chain(self.bin_slope.iter_mut().zip(&block.bin_slope));
        kept.for_each(|(all, lane)| all.extend_from_slice(&lane[..len]));
        self.weight.extend_from_slice(&block.shown.weight[..len]);
        if block.shown.is_edge {
            let slopes =
                (0..len).map(|n| (before + n, block.shown.weight_slope.each_ref().map(|along| along[n])));
            self.edge.extend(slopes.filter(|(_, slope)| *slope != [0.0; 3]));
        }
    }
}

impl<'a> Direction<'a> {
    fn new(samples: &'a Samples, seen: &'a Level) -> Option<Self> {
        Some(Self { samples, seen, world_to_voxel: seen.image.grid().world_to_voxel()? })
    }

    fn chunks(&self) -> usize {
        self.samples.values.len().div_ceil(CHUNK)
    }

    /// What `weight` points share, as a share of the smaller image; `determinant` is the fixed-to-moving map's.
    fn overlap(&self, weight: f64, determinant: f64, inverse: bool) -> f64 {
        let own_mm3 = self.samples.cell_mm3 * self.samples.values.len() as f64;
        let growth = if inverse { 1.0 / determinant } else { determinant };
        let smaller_mm3 = own_mm3.min(self.seen.volume_mm3 / growth);
        (weight * self.samples.cell_mm3 / smaller_mm3).min(1.0)
    }

    /// Looks up one chunk of points and hands on what became of them, block by block.
    fn look_up(&self, map: &Affine, chunk: usize, bins: usize, mut each: impl FnMut(&Block)) {
        let to_voxel = self.world_to_voxel.after(map);
        let linear = to_voxel.linear().cast::<f32>();
        let offset = Vector3::from(to_voxel.point(self.samples.centre)).cast::<f32>();
        let [low, high] = self.seen.range;
        let last = (bins - 1) as f32;
        let scale = last / (high - low);
        let end = self.samples.values.len().min((chunk + 1) * CHUNK);
        let mut places = [[0.0; BLOCK]; 3];
        let mut block = Block::default();
        for first in (chunk * CHUNK..end).step_by(BLOCK) {
            block.points = first..end.min(first + BLOCK);
            let of = |axis: usize| &self.samples.points[axis][block.points.clone()];
            let (x, y, z) = (of(0), of(1), of(2));
            for (axis, place) in places.iter_mut().enumerate() {
                let [by_x, by_y, by_z] = [0, 1, 2].map(|n| linear[(axis, n)]);
                for (place, ((x, y), z)) in place.iter_mut().zip(x.iter().zip(y).zip(z)) {
                    *place = by_x * x + by_y * y + by_z * z + offset[axis];
                }
            }
            block.shown.look_up(&self.seen.image, self.seen.mask.as_ref(), &places);
            let values = &self.samples.values[block.points.clone()];
            block.bins[0].iter_mut().zip(values).for_each(|(bin, share)| *bin = share * last);
            for n in 0..BLOCK {
                let bin = (block.shown.value[n] - low) * scale;
                // Beyond the histogram's range nothing changes.
                let scale = if bin > 0.0 && bin < last { scale } else { 0.0 };
                block.bins[1][n] = bin.max(0.0).min(last);
                for axis in 0..3 {
                    block.bin_slope[axis][n] = block.shown.slope[axis][n] * scale;
                }
            }
            each(&block);
        }
    }

    /// Looks up one chunk and keeps what became of it.
    fn hits(&self, map: &Affine, chunk: usize, bins: usize, hits: &mut Hits) {
        hits.clear(bins);
        self.look_up(map, chunk, bins, |block| {
            block.count(&mut hits.histogram, bins);
            hits.push(block);
        });
    }

    /// Sums the slope over the hits of one chunk, per voxel of the seen image.
    fn slope_of(&self, hits: &Hits, chunk: usize, table: &[f64], bins: usize) -> Slope {
        let (mut force, mut moment) = (Vector3::zeros(), Matrix3::zeros());
        let [x, y, z] = [0, 1, 2].map(|axis| &self.samples.points[axis][chunk * CHUNK..]);
        let mut pull_at = |n: usize, pull: Vector3<f64>| {
            let point = Vector3::new(x[n], y[n], z[n]).cast::<f64>();
            force += pull;
            moment += pull * point.transpose();
        };
        // By the seen bin, then by the weight: each a blend of the table's four entries.
        let entries = |n: usize| {
            let (at, [own, seen]) = taps([hits.bins[0][n], hits.bins[1][n]], bins);
            let own = f64::from(own);
            let low = (1.0 - own) * table[at] + own * table[at + bins];
            let high = (1.0 - own) * table[at + 1] + own * table[at + bins + 1];
            (low, high, f64::from(seen))
        };
        for n in 0..hits.weight.len() {
            let (low, high, _) = entries(n);
            let by_bin = f64::from(hits.weight[n]) * (high - low);
            pull_at(n, Vector3::from_fn(|axis, _| by_bin * f64::from(hits.bin_slope[axis][n])));
        }
        for (n, weight_slope) in &hits.edge {
            let (low, high, seen) = entries(*n);
            let by_weight = (1.0 - seen) * low + seen * high;
            pull_at(*n, Vector3::from(weight_slope.map(|slope| by_weight * f64::from(slope))));
        }
        Slope { force, moment }
    }

    /// The sum of slopes per voxel of the seen image, as one per mm of its world.
    fn in_world<'b>(&self, parts: impl Iterator<Item = &'b Slope>) -> Slope {
        let (mut force, mut moment) = (Vector3::zeros(), Matrix3::zeros());
        for part in parts {
            force += part.force;
            moment += part.moment;
        }
        let to_world = self.world_to_voxel.linear().transpose();
        Slope { force: to_world * force, moment: to_world * moment }
    }
}

#[cfg(test)]
mod tests;
