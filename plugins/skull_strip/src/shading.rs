//! What a first outline of the brain tells of the image: the coil's shading across it, and what tissue is.
//!
//! Receiver coils make one end of a head brighter than the other. A border between tissue and fat that is one number for the
//! whole head then cuts into cortex at the bright end and lets marrow in at the dark one. Shading multiplies, so its
//! logarithm is fitted; by a linear function of place, which takes no part in how cortex and white matter differ, as one of
//! a higher degree does. Voxels far from the fit (fluid, vessels, lesions) count for nothing.

use crate::head::{Head, percentile, tissue_of};
use crate::mesh::{Point, dot, minus, plus};
use sdk::{Affine, Grid, Image};

/// Most voxels of the brain that are looked at: a slope of 1 % per radius stands out from their spread a hundredfold.
const MOST_SAMPLES: usize = 60_000;
/// Fits, each without the voxels that lay far from the one before; they come to rest in three or four.
const FITS: usize = 5;
/// Largest distance from a fit at which a voxel counts in the next, in medians of all distances: 1.7 standard deviations.
const FAR: f64 = 2.5;
/// Largest slope, as change of the logarithm per head radius: a factor of e from the middle to the rim is no coil's.
const STEEPEST: f64 = 1.0;
/// Share of the brain's radius in which intensities tell what tissue is: short of what the first outline may have wrong.
const CORE_SHARE: f64 = 0.75;
/// How far above the bright border fluid lies where it is bright, as a share of that border: where likeness ends.
const FLUID_ABOVE: f32 = 1.15;
/// Share of the core that must lie there for fluid to be bright: the ventricles alone are 2 % of an adult's brain and lie in
/// the core; vessels and lesions that enhance are less.
const FLUID_SHARE: f64 = 0.02;
/// Percentile of the core that stands for fluid where it is bright.
const FLUID_PERCENT: f64 = 99.0;
/// Part of the way to bright fluid at which tissue ends: cortex that shares its voxel with a little fluid is tissue, while
/// eyes and cisterns still stop the surface.
const FLUID_IN_TISSUE: f32 = 0.25;

/// By how much the intensities of each voxel are to be multiplied, so that tissue is as bright everywhere.
///
/// The exponential of a linear function is a product of one factor for each index.
#[derive(Clone, Debug)]
pub struct Shading {
    /// The intensity of air, to which shading adds nothing.
    low: f32,
    /// For each axis of the grid, one factor a voxel.
    factors: [Vec<f32>; 3],
}

impl Shading {
    /// None at all.
    pub fn none(grid: &Grid) -> Self {
        Self { low: 0.0, factors: grid.shape.map(|n| vec![1.0; n]) }
    }

    /// `slope`: change of the logarithm per mm along each world axis; no change at `centre`, world mm.
    fn linear(grid: &Grid, low: f32, slope: Point, centre: Point) -> Self {
        let affine = &grid.voxel_to_world;
        let at_origin = dot(slope, minus(affine.offset(), centre));
        let factors = [0, 1, 2].map(|axis| {
            let mut step = [0.0; 3];
            step[axis] = 1.0;
            let along = dot(slope, affine.vector(step));
            let start = if axis == 0 { at_origin } else { 0.0 };
            (0..grid.shape[axis]).map(|n| (-(start + along * n as f64)).exp() as f32).collect()
        });
        Self { low, factors }
    }

    /// An intensity without the shading at its voxel.
    pub fn even(&self, value: f32, [i, j, k]: [usize; 3]) -> f32 {
        self.low + (value - self.low) * self.factors[0][i] * self.factors[1][j] * self.factors[2][k]
    }

    /// What [`even`](Self::even) multiplies by, for each `i` of a row.
    pub fn along_row(&self) -> &[f32] {
        &self.factors[0]
    }

    /// What [`even`](Self::even) multiplies by for row `j` of slice `k`.
    pub fn of_row(&self, j: usize, k: usize) -> f32 {
        self.factors[1][j] * self.factors[2][k]
    }
}

/// A voxel of the brain: place, world mm; intensity; index.
struct Sample {
    place: Point,
    value: f32,
    index: [usize; 3],
}

/// Shading and tissue ([`Head::tissue`]) of a head whose brain is roughly known; `None` where too little of it is above air.
///
/// * `inside`: 1 in the brain, on the grid of `image`.
pub fn measure(image: &Image, inside: &[u8], head: &Head) -> Option<(Shading, [f32; 2])> {
    let grid = image.grid();
    let count: usize = inside.iter().map(|v| usize::from(*v)).sum();
    let samples: Vec<Sample> = (inside.iter().enumerate())
        .filter(|(_, v)| **v == 1)
        .step_by((count / MOST_SAMPLES).max(1))
        .filter(|(offset, _)| image.voxels()[*offset] > head.air)
        .map(|(offset, _)| {
            let index = grid.index(offset);
            Sample { place: grid.world(index), value: image.voxels()[offset], index }
        })
        .collect();
    let sum = samples.iter().fold([0.0; 3], |sum, sample| plus(sum, 1.0, sample.place));
    let centre = sum.map(|x| x / samples.len().max(1) as f64);
    let slope = slope(&samples, centre, head)?;
    let shading = Shading::linear(grid, head.low, slope, centre);
    let brain_mm3 = count as f64 * grid.voxel_volume_mm3();
    let reach_mm = CORE_SHARE * (brain_mm3 * 0.75 / std::f64::consts::PI).cbrt();
    let near = |sample: &&Sample| {
        let away = minus(sample.place, centre);
        dot(away, away) < reach_mm * reach_mm
    };
    let mut core: Vec<f32> = samples.iter().filter(near).map(|s| shading.even(s.value, s.index)).collect();
    let [dark, bright] = tissue_of(&mut core, head.low, head.thick)?;
    Some((shading, [dark, with_fluid(&mut core, bright)]))
}

/// The bright border of tissue, raised where fluid is brighter than tissue.
fn with_fluid(core: &mut [f32], bright: f32) -> f32 {
    let fluid = core.iter().filter(|value| **value > FLUID_ABOVE * bright).count();
    if (fluid as f64) < FLUID_SHARE * core.len() as f64 {
        return bright;
    }
    bright + FLUID_IN_TISSUE * (percentile(core, FLUID_PERCENT) - bright)
}

/// Change of the logarithm of intensity above air per mm along each world axis, by trimmed least squares; `None` where the
/// samples lie in a plane or are too few.
fn slope(samples: &[Sample], centre: Point, head: &Head) -> Option<Point> {
    let points: Vec<(Point, f64)> = samples
        .iter()
        .map(|s| (minus(s.place, centre), f64::from(s.value - head.low).ln()))
        .filter(|(_, log)| log.is_finite())
        .collect();
    let mut slope = [0.0; 3];
    let mut level = median(points.iter().map(|(_, log)| *log))?;
    let mut most = f64::INFINITY;
    for _ in 0..FITS {
        let near = |(place, log): &&(Point, f64)| (log - level - dot(slope, *place)).abs() <= most;
        (level, slope) = plane(points.iter().filter(near))?;
        most = FAR * median(points.iter().map(|(place, log)| (log - level - dot(slope, *place)).abs()))?;
    }
    let per_radius = head.radius_mm * dot(slope, slope).sqrt();
    Some(if per_radius > STEEPEST { slope.map(|x| x * STEEPEST / per_radius) } else { slope })
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    let half = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(half, f64::total_cmp).1)
}

/// Level at the origin and slope of the least-squares plane through `points`.
fn plane<'a>(points: impl Iterator<Item = &'a (Point, f64)> + Clone) -> Option<(f64, Point)> {
    let (mut count, mut place, mut log) = (0.0, [0.0; 3], 0.0);
    for (p, l) in points.clone() {
        count += 1.0;
        place = plus(place, 1.0, *p);
        log += l;
    }
    let (place, log) = (place.map(|x| x / count), log / count);
    // Spread of the places, and how the logarithm goes with them.
    let mut rows = [[0.0; 4]; 3];
    let mut with = [0.0; 3];
    for (p, l) in points {
        let away = minus(*p, place);
        for row in 0..3 {
            (0..3).for_each(|column| rows[row][column] += away[row] * away[column] / count);
            with[row] += away[row] * (l - log) / count;
        }
    }
    let spread = Affine::from_rows(rows);
    let slope = if spread.is_usable() { spread.inverse()?.vector(with) } else { return None };
    Some((log - dot(slope, place), slope))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        low: 0.0,
        air: 10.0,
        high: 200.0,
        tissue: [80.0, 140.0],
        centre: [0.0; 3],
        radius_mm: 90.0,
        thick: false,
    };

    /// Tissue of 90 to 110 on an oblique grid, shaded along its own axes; one voxel in `every` is `other`.
    fn shaded(every: usize, other: f32) -> (Image, Vec<u8>, [f32; 3]) {
        let turned = Affine::rigid([0.2, -0.1, 0.3], [-40.0; 3], [0.0; 3]);
        let grid = Grid::new([30; 3], turned.after(&Affine::scale_shift([3.0; 3], [0.0; 3])));
        let steps = [0.01f32, -0.02, 0.005];
        let value = |n: usize| {
            let shade = (0..3).map(|axis| steps[axis] * grid.index(n)[axis] as f32).sum::<f32>().exp();
            let tissue = if n.is_multiple_of(every) { other } else { 90.0 + (n * 7919 % 21) as f32 };
            tissue * shade
        };
        let voxels: Vec<f32> = (0..grid.len()).map(value).collect();
        (Image::new(grid, voxels).expect("one number a voxel"), vec![1; grid.len()], steps)
    }

    #[test]
    fn a_linear_shading_is_taken_out_whatever_else_is_in_the_brain() {
        let (image, inside, steps) = shaded(11, 400.0);
        let (shading, _) = measure(&image, &inside, &HEAD).expect("a brain");
        for (axis, step) in steps.into_iter().enumerate() {
            let found = shading.factors[axis][0].ln() - shading.factors[axis][1].ln();
            assert!((found - step).abs() < 2e-4, "axis {axis}: {found} for {step}");
        }
    }

    #[test]
    fn bright_fluid_raises_the_border_of_tissue_and_a_few_vessels_do_not() {
        let border = |every| {
            let (image, inside, _) = shaded(every, 400.0);
            measure(&image, &inside, &HEAD).expect("a brain").1[1]
        };
        let [fluid, vessels, none] = [11, 101, usize::MAX].map(border);
        assert!((vessels / none - 1.0).abs() < 0.02, "{vessels}, without {none}");
        assert!(fluid > 1.3 * none, "{fluid}, without {none}");
    }

    #[test]
    fn without_tissue_there_is_nothing_to_measure() {
        let (image, inside, _) = shaded(11, 0.0);
        assert!(measure(&image, &vec![0; inside.len()], &HEAD).is_none());
    }
}
