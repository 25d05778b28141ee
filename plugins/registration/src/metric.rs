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
use crate::lookup::Seen;
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
}

/// What became of one point.
struct Hit {
    /// Place along both axes of the histogram, in bins: the point's own, and what was seen.
    bins: [f32; 2],
    weight: f32,
    /// Change of the weight with the place, per voxel of the seen image.
    weight_slope: [f32; 3],
    /// Change of the seen bin with the place, per voxel of the seen image.
    bin_slope: [f32; 3],
    sample: u32,
}

impl<'a> Metric<'a> {
    /// Compares `samples` of the fixed image with `moving` in a histogram of `bins` x `bins`. `None` if an affine is flat.
    pub fn new(samples: &'a Samples, moving: &'a Level, bins: usize) -> Option<Self> {
        Some(Self { forth: Direction::new(samples, moving)?, back: None, bins })
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
                direction.look_up(map, chunk, self.bins, |hit| add(&mut histogram, self.bins, &hit));
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
            self.direction(way).hits(&maps[way], chunk, self.bins)
        });
        let mut histograms: Vec<_> = maps.iter().map(|_| vec![0.0; self.bins * self.bins]).collect();
        for ((way, _), (part, _)) in parts.iter().zip(&looked) {
            histograms[*way].iter_mut().zip(part).for_each(|(sum, count)| *sum += count);
        }
        let (measure, tables) = self.measure(fixed_to_moving, histograms);
        let sums = on_threads(ctx, parts.len(), |n| {
            let way = parts[n].0;
            self.direction(way).slope_of(&looked[n].1, &tables[way], self.bins)
        });
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

/// Lower bins and fractions of a hit along both axes.
#[inline]
fn taps(hit: &Hit, bins: usize) -> (usize, [f32; 2]) {
    let top = bins - 2;
    let [own, seen] = hit.bins.map(|bin| (bin as usize).min(top));
    (own * bins + seen, [hit.bins[0] - own as f32, hit.bins[1] - seen as f32])
}

#[inline]
fn add(histogram: &mut [f64], bins: usize, hit: &Hit) {
    let (at, [own, seen]) = taps(hit, bins);
    let (low, high) = (hit.weight * (1.0 - own), hit.weight * own);
    histogram[at] += f64::from(low * (1.0 - seen));
    histogram[at + 1] += f64::from(low * seen);
    histogram[at + bins] += f64::from(high * (1.0 - seen));
    histogram[at + bins + 1] += f64::from(high * seen);
}

impl<'a> Direction<'a> {
    fn new(samples: &'a Samples, seen: &'a Level) -> Option<Self> {
        Some(Self { samples, seen, world_to_voxel: seen.image.grid().world_to_voxel()? })
    }

    fn chunks(&self) -> usize {
        self.samples.points.len().div_ceil(CHUNK)
    }

    /// What `weight` points share, as a share of the smaller image; `determinant` is the fixed-to-moving map's.
    fn overlap(&self, weight: f64, determinant: f64, inverse: bool) -> f64 {
        let own_mm3 = self.samples.cell_mm3 * self.samples.points.len() as f64;
        let growth = if inverse { 1.0 / determinant } else { determinant };
        let smaller_mm3 = own_mm3.min(self.seen.volume_mm3 / growth);
        (weight * self.samples.cell_mm3 / smaller_mm3).min(1.0)
    }

    /// Looks up one chunk of points and hands on what became of each that hits.
    #[inline]
    fn look_up(&self, map: &Affine, chunk: usize, bins: usize, mut each: impl FnMut(Hit)) {
        let to_voxel = self.world_to_voxel.after(map);
        let linear = to_voxel.linear().cast::<f32>();
        let offset = Vector3::from(to_voxel.point(self.samples.centre)).cast::<f32>();
        let [low, high] = self.seen.range;
        let last = (bins - 1) as f32;
        let scale = last / (high - low);
        let first = chunk * CHUNK;
        let points = &self.samples.points[first..self.samples.points.len().min(first + CHUNK)];
        let (voxels, shape) = (self.seen.image.voxels(), self.seen.image.grid().shape);
        let mask = self.seen.mask.as_ref().map(sdk::Image::voxels);
        for (n, point) in (first..).zip(points) {
            let place: [f32; 3] = (linear * Vector3::from(*point) + offset).into();
            let Some(mut seen) = Seen::at(voxels, shape, place) else { continue };
            if let Some(mask) = mask {
                let Some(inside) = seen.within(mask, shape, place) else { continue };
                seen = inside;
            }
            let bin = (seen.value - low) * scale;
            let bin_slope = if bin > 0.0 && bin < last { seen.slope.map(|s| s * scale) } else { [0.0; 3] };
            let bins = [self.samples.values[n] * last, bin.clamp(0.0, last)];
            let (weight, weight_slope) = (seen.weight, seen.weight_slope);
            each(Hit { bins, weight, weight_slope, bin_slope, sample: n as u32 });
        }
    }

    /// The joint histogram of one chunk (seen bin fastest) and what became of its points.
    fn hits(&self, map: &Affine, chunk: usize, bins: usize) -> (Vec<f64>, Vec<Hit>) {
        let mut histogram = vec![0.0; bins * bins];
        let mut hits = Vec::with_capacity(CHUNK.min(self.samples.points.len() - chunk * CHUNK));
        self.look_up(map, chunk, bins, |hit| {
            add(&mut histogram, bins, &hit);
            hits.push(hit);
        });
        (histogram, hits)
    }

    /// Sums the slope over the hits of one chunk, per voxel of the seen image.
    fn slope_of(&self, hits: &[Hit], table: &[f64], bins: usize) -> Slope {
        let (mut force, mut moment) = (Vector3::zeros(), Matrix3::zeros());
        for hit in hits {
            let (at, [own, seen]) = taps(hit, bins);
            let (own, seen) = (f64::from(own), f64::from(seen));
            let low = (1.0 - own) * table[at] + own * table[at + bins];
            let high = (1.0 - own) * table[at + 1] + own * table[at + bins + 1];
            let by_weight = (1.0 - seen) * low + seen * high;
            let by_bin = f64::from(hit.weight) * (high - low);
            let pull = Vector3::from(std::array::from_fn::<f64, 3, _>(|axis| {
                by_bin * f64::from(hit.bin_slope[axis]) + by_weight * f64::from(hit.weight_slope[axis])
            }));
            let point = Vector3::from(self.samples.points[hit.sample as usize]).cast::<f64>();
            force += pull;
            moment += pull * point.transpose();
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
