//! An image at several widths of detail, and points drawn from it.
//!
//! Slices of 3 to 6 mm under pixels of 0.5 to 1 mm are the normal case. So a level's width is a length in millimetres: each
//! axis is smoothed to that width unless its voxels are wider already, and then thinned to match.

use crate::rigid::{RigidError, Side};
use sdk::imaging::resample::{self, Interpolation};
use sdk::imaging::smooth;
use sdk::{Affine, Context, Grid, Image, Mask, OperatorError};

/// Sigma of the smoothing, as a share of a level's width: the usual half step of a pyramid, against aliasing.
const SIGMA_SHARE: f64 = 0.5;

/// An axis is never thinned to fewer voxels than this.
const FEWEST_VOXELS: usize = 4;

/// Intensities beyond these percentiles count as the percentile: a few bright vessels should not take up the histogram.
const RANGE_PERCENT: [f64; 2] = [0.5, 99.5];

/// So many voxels are sorted to find the percentiles.
const RANGE_VOXELS: usize = 100_000;

/// An image at one width of detail.
#[derive(Clone, Debug)]
pub struct Level {
    /// The smoothed and thinned image.
    pub image: Image,
    /// Intensity of the first and the last bin of its histogram.
    pub range: [f32; 2],
}

/// The levels of an image for these widths in mm, which grow.
///
/// # Errors
/// [`RigidError`] for an image that cannot be registered; no memory; the stage was asked to stop.
pub fn levels(
    image: &Image,
    widths_mm: &[f64],
    side: Side,
    ctx: &Context,
) -> Result<Vec<Level>, OperatorError> {
    let mut levels: Vec<Level> = Vec::with_capacity(widths_mm.len());
    let mut widths = image.grid().spacing_mm();
    for &width_mm in widths_mm {
        let finer = levels.last().map_or(image, |level| &level.image);
        let missing = widths.map(|had| (width_mm * width_mm - had * had).max(0.0).sqrt());
        let smooth = smooth::gaussian(finer, missing.map(|mm| SIGMA_SHARE * mm), ctx)?;
        let grid = thinned(smooth.grid(), width_mm);
        let image = resample::image(&smooth, &grid, None, Interpolation::Linear, ctx)?;
        let range = range(&image, side)?;
        levels.push(Level { image, range });
        widths = widths.map(|had| had.max(width_mm));
    }
    Ok(levels)
}

/// The grid with so many times wider voxels as fit into `width_mm`, about the same middle.
fn thinned(grid: &Grid, width_mm: f64) -> Grid {
    // A spacing that rounding put just above the width's share still fits.
    const SLACK: f64 = 1.001;
    let spacing = grid.spacing_mm();
    let step: [usize; 3] = std::array::from_fn(|axis| {
        let fits = (SLACK * width_mm / spacing[axis]) as usize;
        fits.min(grid.shape[axis] / FEWEST_VOXELS).max(1)
    });
    let shape: [usize; 3] = std::array::from_fn(|axis| grid.shape[axis] / step[axis]);
    let shift = std::array::from_fn(|axis| {
        ((grid.shape[axis] - 1) as f64 - ((shape[axis] - 1) * step[axis]) as f64) / 2.0
    });
    let to_finer = Affine::scale_shift(step.map(|n| n as f64), shift);
    Grid::new(shape, grid.voxel_to_world.after(&to_finer))
}

/// The intensities between which an image's histogram lies.
fn range(image: &Image, side: Side) -> Result<[f32; 2], RigidError> {
    let voxels = image.voxels();
    let stride = voxels.len().div_ceil(RANGE_VOXELS);
    let mut sorted: Vec<f32> = voxels.iter().step_by(stride).copied().collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let at = |percent: f64| sorted[((sorted.len() - 1) as f64 * percent / 100.0) as usize];
    let found = RANGE_PERCENT.map(at);
    // A small bright object on an empty background lies beyond the percentiles.
    let [low, high] = if found[0] < found[1] { found } else { [at(0.0), at(100.0)] };
    if low < high { Ok([low, high]) } else { Err(RigidError::Constant { side, value: low }) }
}

impl Level {
    /// The middle of mass of what is brighter than the background, in world mm.
    ///
    /// Weights are intensities above the mean, held at the top of the range.
    pub fn centre_of_mass(&self) -> [f64; 3] {
        let (grid, voxels) = (self.image.grid(), self.image.voxels());
        let mean = voxels.iter().map(|v| f64::from(*v)).sum::<f64>() / voxels.len() as f64;
        let (mut sum, mut mass) = ([0.0; 3], 0.0);
        for (offset, voxel) in voxels.iter().enumerate() {
            let weight = (f64::from(voxel.min(self.range[1])) - mean).max(0.0);
            let index = grid.index(offset);
            for axis in 0..3 {
                sum[axis] += weight * index[axis] as f64;
            }
            mass += weight;
        }
        if mass > 0.0 { grid.voxel_to_world.point(sum.map(|s| s / mass)) } else { grid.centre_world() }
    }
}

/// Points of the fixed image, one in each cell of a lattice, with their intensities.
#[derive(Clone, Debug)]
pub struct Samples {
    /// World place that `points` count from, mm.
    pub centre: [f64; 3],
    /// World place less `centre`, mm.
    pub points: Vec<[f32; 3]>,
    /// Intensity as a share of the level's range, 0..=1.
    pub values: Vec<f32>,
    /// Volume that each point stands for, mm3.
    pub cell_mm3: f64,
}

impl Samples {
    /// Draws about `count` points of a level, within `mask` if there is one.
    ///
    /// The place within a cell is random (from the cell's number alone): points on the voxel lattice would make the metric
    /// jump where the two lattices fall together.
    pub fn draw(level: &Level, mask: Option<&Mask>, centre: [f64; 3], count: usize) -> Self {
        let grid = level.image.grid();
        let spacing = grid.spacing_mm();
        let (low, high) = mask.and_then(|mask| mask_box(mask, grid)).unwrap_or_else(|| whole(grid));
        let extent: [f64; 3] = std::array::from_fn(|a| (high[a] - low[a]) * spacing[a]);
        let cell = (extent.iter().map(|mm| mm.max(1.0)).product::<f64>() / count as f64).cbrt();
        let cells = extent.map(|mm| (mm / cell).round().max(1.0) as usize);
        let number = cells.iter().product::<usize>();
        let world_to_mask = mask.and_then(|mask| Some((mask, mask.grid().world_to_voxel()?)));
        let mut samples = Self {
            centre,
            points: Vec::with_capacity(number),
            values: Vec::with_capacity(number),
            cell_mm3: extent.iter().product::<f64>() / number as f64,
        };
        for n in 0..number {
            let index = [n % cells[0], n / cells[0] % cells[1], n / (cells[0] * cells[1])];
            let place = std::array::from_fn(|axis| {
                let share = (index[axis] as f64 + random(3 * n + axis)) / cells[axis] as f64;
                low[axis] + share * (high[axis] - low[axis])
            });
            let world = grid.voxel_to_world.point(place);
            if world_to_mask.as_ref().is_none_or(|(mask, map)| is_inside(mask, map.point(world))) {
                samples.points.push(std::array::from_fn(|a| (world[a] - centre[a]) as f32));
                samples.values.push(level.share_at(place));
            }
        }
        samples
    }
}

impl Level {
    /// Intensity at a place in voxels within the outermost centres, as a share of the range.
    fn share_at(&self, place: [f64; 3]) -> f32 {
        let (grid, voxels) = (self.image.grid(), self.image.voxels());
        let mut sum = 0.0;
        for corner in 0..8usize {
            let mut weight = 1.0;
            let mut index = [0; 3];
            for axis in 0..3 {
                let low = (place[axis] as usize).min(grid.shape[axis].saturating_sub(2));
                let fraction = place[axis] - low as f64;
                let up = corner >> axis & 1;
                weight *= if up == 1 { fraction } else { 1.0 - fraction };
                index[axis] = (low + up).min(grid.shape[axis] - 1);
            }
            sum += weight * f64::from(voxels[grid.offset(index)]);
        }
        let [low, high] = self.range.map(f64::from);
        ((sum - low) / (high - low)).clamp(0.0, 1.0) as f32
    }
}

/// From the first to the last voxel centre.
fn whole(grid: &Grid) -> ([f64; 3], [f64; 3]) {
    ([0.0; 3], grid.shape.map(|n| n as f64 - 1.0))
}

/// The box of a mask in another grid's voxels, cut to that grid; `None` if nothing is left.
fn mask_box(mask: &Mask, grid: &Grid) -> Option<([f64; 3], [f64; 3])> {
    let to_grid = grid.world_to_voxel()?.after(&mask.grid().voxel_to_world);
    let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
    for (offset, _) in mask.voxels().iter().enumerate().filter(|(_, inside)| **inside != 0) {
        let place = to_grid.point(mask.grid().index(offset).map(|i| i as f64));
        for axis in 0..3 {
            low[axis] = low[axis].min(place[axis]);
            high[axis] = high[axis].max(place[axis]);
        }
    }
    let (first, last) = whole(grid);
    for axis in 0..3 {
        low[axis] = (low[axis] - 0.5).max(first[axis]);
        high[axis] = (high[axis] + 0.5).min(last[axis]);
    }
    (0..3).all(|axis| low[axis] < high[axis]).then_some((low, high))
}

fn is_inside(mask: &Mask, place: [f64; 3]) -> bool {
    let shape = mask.grid().shape;
    let within = (0..3).all(|a| place[a] > -0.5 && place[a] < shape[a] as f64 - 0.5);
    within && mask.at(place.map(|c| (c + 0.5) as usize)) != 0
}

/// A number in 0..1 that depends on `seed` alone.
///
/// # Source
/// `SplitMix64`: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
fn random(seed: usize) -> f64 {
    let mut z = (seed as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
