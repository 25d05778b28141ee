//! An image at several widths of detail, and points drawn from it.
//!
//! Slices of 3 to 6 mm under pixels of 0.5 to 1 mm are the normal case. So a level's width is a length in millimetres: each
//! axis is smoothed to that width unless its voxels are wider already, and then thinned to match.

use crate::align::{AlignError, Side};
use crate::lookup::{BLOCK, Lane, Shown};
use crate::thin::thin;
use sdk::imaging::resample::{self, Interpolation};
use sdk::{Context, Grid, Image, Mask, OperatorError};

/// Sigma of the smoothing, as a share of a level's width: the usual half step of a pyramid, against aliasing.
const SIGMA_SHARE: f64 = 0.5;

/// Below this many voxels a Gaussian's neighbours weigh less than 4e-6: the axis stays as it is.
const SMALLEST_SIGMA_VOXELS: f64 = 0.2;

/// An axis is never thinned to fewer voxels than this.
const FEWEST_VOXELS: usize = 4;

/// Intensities beyond these percentiles count as the percentile: a few bright vessels should not take up the histogram.
const RANGE_PERCENT: [f64; 2] = [0.5, 99.5];

/// Values further beyond the percentiles than this multiple of their distance are no intensities: the brightest vessels and
/// fat lie within 3.
const WILD: f32 = 10.0;

/// Voxels that one part of a copy takes.
const TAMED_AT_ONCE: usize = 1 << 18;

/// So many voxels are sorted to find the percentiles.
const RANGE_VOXELS: usize = 100_000;

/// An image at one width of detail.
#[derive(Clone, Debug)]
pub struct Level {
    /// The smoothed and thinned image.
    pub image: Image,
    /// Intensity of the first and the last bin of its histogram.
    pub range: [f32; 2],
    /// How much each voxel counts, 0..=1; everything does without it.
    pub mask: Option<Image>,
    /// Volume that counts, mm3.
    pub volume_mm3: f64,
}

impl Level {
    /// A level whose histogram lies within `range`; `mask` has the image's grid.
    pub fn new(image: Image, range: [f32; 2], mask: Option<Image>) -> Self {
        let voxels = mask.as_ref().map_or(image.grid().len() as f64, |mask| {
            mask.voxels().iter().map(|share| f64::from(*share)).sum()
        });
        let volume_mm3 = voxels * image.grid().voxel_volume_mm3();
        Self { image, range, mask, volume_mm3 }
    }
}

/// The levels of an image for these widths in mm, which grow.
///
/// * `mask`: where to look, on any grid in the image's world.
///
/// # Errors
/// [`AlignError`] for an image that cannot be registered; no memory; the stage was asked to stop.
pub fn levels(
    image: &Image,
    mask: Option<&Mask>,
    widths_mm: &[f64],
    side: Side,
    ctx: &Context,
) -> Result<Vec<Level>, OperatorError> {
    let image = &tamed(image, side, ctx)?;
    let mask =
        mask.map(|mask| resample::mask(mask, image.grid(), None, Interpolation::Nearest, ctx)).transpose()?;
    let mut levels: Vec<Level> = Vec::with_capacity(widths_mm.len());
    let mut widths = image.grid().spacing_mm();
    for &width_mm in widths_mm {
        let finer = levels.last().map_or(image, |level| &level.image);
        let (spacing, step) = (finer.grid().spacing_mm(), steps(finer.grid(), width_mm));
        let missing = widths.map(|had| (width_mm * width_mm - had * had).max(0.0).sqrt());
        let sigma: [f64; 3] = std::array::from_fn(|axis| {
            let sigma = SIGMA_SHARE * missing[axis] / spacing[axis];
            if sigma < SMALLEST_SIGMA_VOXELS { 0.0 } else { sigma }
        });
        let mask = match (levels.last().map(|level| &level.mask), &mask) {
            (Some(Some(finer)), _) => Some(thin(finer.grid(), finer.voxels(), sigma, step, ctx)?),
            (None, Some(mask)) => Some(thin(mask.grid(), mask.voxels(), sigma, step, ctx)?),
            _ => None,
        };
        let stays = sigma == [0.0; 3] && step == [1; 3];
        let image = if stays { finer.clone() } else { thin(finer.grid(), finer.voxels(), sigma, step, ctx)? };
        let range = range(&image, side)?;
        levels.push(Level::new(image, range, mask));
        widths = widths.map(|had| had.max(width_mm));
    }
    Ok(levels)
}

/// The image with values far beyond all others held back: a voxel that stands for a missing one (-32768, 1e30) would fill
/// its whole neighbourhood when smoothed. Without such voxels the image is shared, not copied.
fn tamed(image: &Image, side: Side, ctx: &Context) -> Result<Image, OperatorError> {
    let [low, high] = range(image, side)?;
    let reach = WILD * (high - low);
    let (low, high) = (low - reach, high + reach);
    if image.voxels().iter().all(|value| (low..=high).contains(value)) {
        return Ok(image.clone());
    }
    let mut voxels = ctx.alloc::<f32>(image.voxels().len())?;
    ctx.fill(&mut voxels, TAMED_AT_ONCE, |part, out| {
        for (out, value) in out.iter_mut().zip(&image.voxels()[part * TAMED_AT_ONCE..]) {
            *out = value.clamp(low, high);
        }
    });
    Ok(Image::new(*image.grid(), voxels.freeze())?)
}

/// Along each axis, of how many voxels to keep one so that the spacing is at most `width_mm`.
fn steps(grid: &Grid, width_mm: f64) -> [usize; 3] {
    // A spacing that rounding put just above the width's share still fits.
    const SLACK: f64 = 1.001;
    let spacing = grid.spacing_mm();
    std::array::from_fn(|axis| {
        let fits = (SLACK * width_mm / spacing[axis]) as usize;
        fits.min(grid.shape[axis] / FEWEST_VOXELS).max(1)
    })
}

/// The intensities between which an image's histogram lies.
fn range(image: &Image, side: Side) -> Result<[f32; 2], AlignError> {
    let voxels = image.voxels();
    // A stride that shares no factor with the rows and slices visits all of their columns.
    let [nx, ny, _] = image.grid().shape;
    let mut stride = voxels.len().div_ceil(RANGE_VOXELS);
    while stride > 1 && (gcd(stride, nx) > 1 || gcd(stride, ny) > 1) {
        stride += 1;
    }
    let mut sorted: Vec<f32> = voxels.iter().step_by(stride).copied().collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let at = |percent: f64| sorted[((sorted.len() - 1) as f64 * percent / 100.0) as usize];
    let found = RANGE_PERCENT.map(at);
    // A small bright object on an empty background lies beyond the percentiles.
    let [low, high] = if found[0] < found[1] { found } else { [at(0.0), at(100.0)] };
    if low >= high {
        return Err(AlignError::Constant { side, value: low });
    }
    if (high - low).is_finite() { Ok([low, high]) } else { Err(AlignError::TooLarge { side, low, high }) }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
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
    /// World places less `centre`, mm: all x, all y, all z.
    pub points: [Vec<f32>; 3],
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
    pub fn draw(level: &Level, mask: Option<&Mask>, centre: [f64; 3], count: usize, ctx: &Context) -> Self {
        let grid = level.image.grid();
        let spacing = grid.spacing_mm();
        let (low, high) = mask.and_then(|mask| mask_box(mask, grid)).unwrap_or_else(|| whole(grid));
        let extent: [f64; 3] = std::array::from_fn(|a| (high[a] - low[a]) * spacing[a]);
        let cell = (extent.iter().map(|mm| mm.max(1.0)).product::<f64>() / count as f64).cbrt();
        let cells = extent.map(|mm| (mm / cell).round().max(1.0) as usize);
        let number = cells.iter().product::<usize>();
        let world_to_mask = mask.and_then(|mask| Some((mask, mask.grid().world_to_voxel()?)));
        let place = |n: usize| {
            let index = [n % cells[0], n / cells[0] % cells[1], n / (cells[0] * cells[1])];
            std::array::from_fn(|axis| {
                let share = (index[axis] as f64 + random(3 * n + axis)) / cells[axis] as f64;
                low[axis] + share * (high[axis] - low[axis])
            })
        };
        // Layers of the lattice are drawn on their own, and joined in order.
        let layer = cells[0] * cells[1];
        let layers = ctx.map(cells[2], |k| {
            let mut samples =
                Self { centre, points: [vec![], vec![], vec![]], values: vec![], cell_mm3: 0.0 };
            let mut places = Vec::with_capacity(layer);
            for place in (k * layer..(k + 1) * layer).map(place) {
                let world = grid.voxel_to_world.point(place);
                if world_to_mask.as_ref().is_none_or(|(mask, map)| is_inside(mask, map.point(world))) {
                    places.push(place);
                    samples
                        .points
                        .iter_mut()
                        .enumerate()
                        .for_each(|(a, x)| x.push((world[a] - centre[a]) as f32));
                }
            }
            samples.values = places.chunks(BLOCK).flat_map(|places| level.shares_at(places)).collect();
            samples
        });
        let joined = |of: fn(&Self) -> &Vec<f32>| layers.iter().flat_map(of).copied().collect();
        Self {
            centre,
            points: [joined(|s| &s.points[0]), joined(|s| &s.points[1]), joined(|s| &s.points[2])],
            values: joined(|s| &s.values),
            cell_mm3: extent.iter().product::<f64>() / number as f64,
        }
    }
}

impl Level {
    /// Intensities at up to [`BLOCK`] places in voxels within the outermost centres, as shares of the range.
    fn shares_at(&self, places: &[[f64; 3]]) -> Vec<f32> {
        let mut along: [Lane; 3] = [[0.0; BLOCK]; 3];
        for (n, place) in places.iter().enumerate() {
            for axis in 0..3 {
                along[axis][n] = place[axis] as f32;
            }
        }
        let [low, high] = self.range;
        let mut shown = Shown::default();
        shown.look_up(&self.image, None, &along);
        shown.value[..places.len()]
            .iter()
            .map(|value| ((value - low) / (high - low)).clamp(0.0, 1.0))
            .collect()
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
