//! What can be told of a head before its brain is found: intensity range, extent, where the brain's middle must be.
//!
//! World millimetres throughout. A long neck is left out by the head's own proportions: from its top down no farther than
//! a share of its breadth, so that the centre of gravity lies in the brain for a child as for an adult.
//!
//! Source: intensity range, centre of gravity and radius after S. M. Smith, Human Brain Mapping 17(3), 2002; the crop at
//! the neck is our own.

use crate::mesh::{Point, dot, minus};
use sdk::{Context, Grid, Image, OperatorError};

/// Most voxels that are looked at for statistics: enough for 0.1 % of a percentile.
const MOST_SAMPLES: usize = 400_000;
/// Share of the robust range above which a voxel belongs to the head and not to air (Smith 2002).
const AIR_SHARE: f32 = 0.1;
/// Percentiles that bound the robust intensity range (Smith 2002).
const ROBUST_PERCENT: [f64; 2] = [2.0, 98.0];
/// Thickness of the layers in which the head's top is looked for, mm.
const LAYER_MM: f64 = 4.0;
/// Area of head in a layer from which on it counts as the head's top and not as noise, mm2.
const TOP_AREA_MM2: f64 = 1500.0;
/// Depth under the head's top in which its breadth is measured, mm: above the ears of a child and an adult.
const BREADTH_DEPTH_MM: f64 = 90.0;
/// From the scalp's top to the lower end of the cerebellum, in head breadths.
const DEPTH_IN_BREADTHS: f64 = 0.95;
/// Bounds of that depth, mm, should the breadth be cut off or padded.
const DEPTH_RANGE_MM: [f64; 2] = [90.0, 200.0];

/// Why an image shows no head.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// A voxel is NaN or infinite.
    #[error(
        "voxel [{}, {}, {}] is {value}, {count} voxels are not finite; every voxel must be a finite number\n\
         hint: replace them by 0, or look for a division in the step before", index[0], index[1], index[2]
    )]
    NotFinite {
        /// The first such voxel.
        index: [usize; 3],
        /// What it holds.
        value: f32,
        /// How many there are.
        count: usize,
    },
    /// An axis has so few voxels that there is no inside.
    #[error(
        "a grid of {}x{}x{} voxels, at least {LEAST_VOXELS} are needed along each axis\n\
         hint: a brain can be found in a volume only, not in a slice", shape[0], shape[1], shape[2]
    )]
    TooFlat {
        /// Voxels along each axis.
        shape: [usize; 3],
    },
    /// The affine is flat or not finite.
    #[error(
        "an affine that cannot be inverted: {rows:?}\n\
         hint: repair the image's header (sform or qform)"
    )]
    FlatAffine {
        /// The affine's first three rows.
        rows: [[f64; 4]; 3],
    },
    /// The grid is far wider than a person.
    #[error(
        "a grid of {extent_mm:.0} mm, at most {WIDEST_MM:.0} mm can hold a head\n\
         hint: is the voxel size in the image's header in millimetres?"
    )]
    TooWide {
        /// Longest side, mm.
        extent_mm: f64,
    },
    /// All voxels have much the same value, so no edge can be found.
    #[error(
        "no brain found in an image whose 2nd and 98th percentile are {low} and {high}\n\
         hint: is this a whole head, before skull stripping?"
    )]
    NoContrast {
        /// 2nd percentile of intensity.
        low: f32,
        /// 98th percentile of intensity.
        high: f32,
    },
    /// What is not air is far smaller or larger than a head.
    #[error(
        "{volume_ml:.0} ml of the image are not air, a head has {:.0} to {:.0} ml in view\n\
         hint: is this a head, and is the voxel size in its header right (mm)?", HEAD_RANGE_ML[0], HEAD_RANGE_ML[1]
    )]
    NotAHead {
        /// Volume above a tenth of the robust range, ml.
        volume_ml: f64,
    },
}

/// Longest side of a grid that is looked at, mm: a whole person.
const WIDEST_MM: f64 = 2500.0;
/// Fewest voxels along an axis: an inside and a border on either side.
const LEAST_VOXELS: usize = 3;
/// Radius of the ball around the centre of gravity that is brain for certain, in head radii.
const CORE_RADII: f64 = 0.45;
/// How far above the median brain tissue reaches, in interquartile ranges deep in the brain: past grey and white matter
/// in all contrasts, short of CSF in T2 and of fat in T1.
const SPREADS: f32 = 2.5;
/// The least it reaches, as a share of the median above air, should the depth of the brain be of one tissue.
const LEAST_SPREAD: f32 = 0.25;
/// Largest spacing at which the fluid around the brain, 2 to 3 mm wide, has voxels of its own, mm.
const FINE_MM: f64 = 2.0;
/// Volume of a head in view, ml: from a cut newborn's to a giant's.
const HEAD_RANGE_ML: [f64; 2] = [200.0, 12_000.0];

/// Intensities and proportions of a head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// 2nd percentile: air.
    pub low: f32,
    /// A tenth of the way from air to the brightest: border between air and head.
    pub air: f32,
    /// 98th percentile: the brightest tissue.
    pub high: f32,
    /// Intensities of brain tissue: its lower quarter, and the border above which it is too bright for brain.
    pub tissue: [f32; 2],
    /// Centre of gravity, world mm.
    pub centre: Point,
    /// Radius of a ball of the head's volume above the neck, mm.
    pub radius_mm: f64,
    /// Whether slices are so thick that the fluid around the brain has no voxels of its own.
    pub thick: bool,
}

/// Voxels looked at: place and value.
struct Samples {
    places: Vec<Point>,
    values: Vec<f32>,
    /// Volume for which each stands, mm3.
    share_mm3: f64,
}

/// Looks at the head as a whole.
///
/// * `image`: any contrast; any grid of at least 3 voxels along each axis.
///
/// # Errors
/// [`HeadError`] for an image that shows no head; or when cancelled.
pub fn survey(image: &Image, ctx: &Context) -> Result<Head, OperatorError> {
    check_grid(image.grid())?;
    check_finite(image, ctx)?;
    ctx.check_cancelled()?;
    let mut samples = take_samples(image);
    // Twice: the neck that is left out also changes what is bright.
    for _ in 0..2 {
        let [_, air, _] = robust_range(&samples.values)?;
        samples = above_neck(samples, air);
    }
    let [low, air, high] = robust_range(&samples.values)?;
    let in_head = || samples.places.iter().zip(&samples.values).filter(move |(_, v)| **v > air);
    let volume_mm3 = in_head().count() as f64 * samples.share_mm3;
    let volume_ml = volume_mm3 / 1000.0;
    if !(HEAD_RANGE_ML[0]..=HEAD_RANGE_ML[1]).contains(&volume_ml) {
        return Err(HeadError::NotAHead { volume_ml }.into());
    }
    let mut weights = 0.0;
    let mut centre = [0.0; 3];
    for (place, value) in in_head() {
        let weight = f64::from(value.min(high) - low);
        weights += weight;
        (0..3).for_each(|axis| centre[axis] += weight * place[axis]);
    }
    let centre = centre.map(|sum| sum / weights);
    let radius_mm = (volume_mm3 * 0.75 / std::f64::consts::PI).cbrt();
    let thick = is_thick(image.grid());
    let tissue = tissue_range(&samples, centre, radius_mm, [low, air], thick);
    Ok(Head { low, air, high, tissue, centre, radius_mm, thick })
}

/// Whether a spacing is so large that the fluid around the brain, and the bone next to it, have no voxels of their own.
fn is_thick(grid: &Grid) -> bool {
    grid.spacing_mm().iter().any(|&mm| mm > FINE_MM)
}

/// Lower quarter of the intensities deep in the brain, and the border above which they are no tissue.
fn tissue_range(
    samples: &Samples,
    centre: Point,
    radius_mm: f64,
    [low, air]: [f32; 2],
    thick: bool,
) -> [f32; 2] {
    let reach_mm = CORE_RADII * radius_mm;
    let near = |place: &Point| {
        let away = minus(*place, centre);
        dot(away, away) < reach_mm * reach_mm
    };
    let mut core: Vec<f32> = (samples.places.iter().zip(&samples.values))
        .filter(|(place, value)| **value > air && near(place))
        .map(|(_, value)| *value)
        .collect();
    tissue_of(&mut core, low, thick).unwrap_or([air, f32::MAX])
}

/// Lower quarter of intensities that are brain for certain, and the border above which they are no tissue; `None` without
/// any. They are put out of order.
///
/// Fluid that is darker than tissue (T1, FLAIR) widens the lower half of the range and says nothing of its upper end. In
/// `thick` slices, where marrow runs into brain without dark bone between and the bright border alone tells them apart, the
/// lower half is taken to be half way to as narrow as the upper.
pub fn tissue_of(core: &mut [f32], low: f32, thick: bool) -> Option<[f32; 2]> {
    if core.is_empty() {
        return None;
    }
    let [quarter, half, rest] = [25.0, 50.0, 75.0].map(|percent| percentile(core, percent));
    let (above, below) = (rest - half, half - quarter);
    let below = if thick { below.min(f32::midpoint(above, below)) } else { below };
    let spread = (SPREADS * (above + below)).max(LEAST_SPREAD * (half - low));
    Some([quarter, half + spread])
}

fn check_grid(grid: &Grid) -> Result<(), HeadError> {
    let shape = grid.shape;
    if shape.iter().any(|&n| n < LEAST_VOXELS) {
        return Err(HeadError::TooFlat { shape });
    }
    if !grid.voxel_to_world.is_usable() {
        return Err(HeadError::FlatAffine { rows: grid.voxel_to_world.rows() });
    }
    let spacing = grid.spacing_mm();
    let extent_mm = (0..3).map(|axis| spacing[axis] * shape[axis] as f64).fold(0.0, f64::max);
    if extent_mm > WIDEST_MM { Err(HeadError::TooWide { extent_mm }) } else { Ok(()) }
}

fn check_finite(image: &Image, ctx: &Context) -> Result<(), HeadError> {
    let voxels = image.voxels();
    let piece = voxels.len().div_ceil(64).max(1);
    let counts = ctx.map(voxels.len().div_ceil(piece), |n| {
        let part = &voxels[n * piece..((n + 1) * piece).min(voxels.len())];
        part.iter().filter(|value| !value.is_finite()).count()
    });
    let count = counts.iter().sum();
    match voxels.iter().position(|value| count > 0 && !value.is_finite()) {
        Some(first) => {
            Err(HeadError::NotFinite { index: image.grid().index(first), value: voxels[first], count })
        }
        None => Ok(()),
    }
}

/// Every n-th voxel along each axis, so that samples are spread evenly in mm.
fn take_samples(image: &Image) -> Samples {
    let grid = image.grid();
    let spacing = grid.spacing_mm();
    let mut strides = [1usize; 3];
    while (0..3).map(|a| grid.shape[a].div_ceil(strides[a])).product::<usize>() > MOST_SAMPLES {
        let reach = |axis: usize| spacing[axis] * strides[axis] as f64;
        let finest = (0..3).min_by(|&a, &b| reach(a).total_cmp(&reach(b))).unwrap_or(0);
        strides[finest] += 1;
    }
    let (mut places, mut values) = (Vec::new(), Vec::new());
    for k in (0..grid.shape[2]).step_by(strides[2]) {
        for j in (0..grid.shape[1]).step_by(strides[1]) {
            for i in (0..grid.shape[0]).step_by(strides[0]) {
                places.push(grid.world([i, j, k]));
                values.push(image.at([i, j, k]));
            }
        }
    }
    let share_mm3 = grid.voxel_volume_mm3() * strides.iter().product::<usize>() as f64;
    Samples { places, values, share_mm3 }
}

/// Air, border of air and brightest tissue.
fn robust_range(values: &[f32]) -> Result<[f32; 3], HeadError> {
    let mut sorted = values.to_vec();
    let [low, high] = ROBUST_PERCENT.map(|percent| percentile(&mut sorted, percent));
    let air = low + AIR_SHARE * (high - low);
    if air > low && air < high { Ok([low, air, high]) } else { Err(HeadError::NoContrast { low, high }) }
}

/// The value below which `percent` of the values lie; they are put out of order.
///
/// `values` must not be empty.
pub fn percentile(values: &mut [f32], percent: f64) -> f32 {
    let rank = ((values.len() - 1) as f64 * percent / 100.0).round() as usize;
    *values.select_nth_unstable_by(rank, f32::total_cmp).1
}

/// Leaves out what lies farther below the head's top than a head is deep.
fn above_neck(samples: Samples, air: f32) -> Samples {
    let Some(top) = head_top(&samples, air) else { return samples };
    let mut across: Vec<f32> = (samples.places.iter().zip(&samples.values))
        .filter(|(place, value)| **value > air && place[2] <= top && place[2] > top - BREADTH_DEPTH_MM)
        .map(|(place, _)| place[0] as f32)
        .collect();
    if across.is_empty() {
        return samples;
    }
    let breadth = f64::from(percentile(&mut across, 99.5) - percentile(&mut across, 0.5));
    let depth = (DEPTH_IN_BREADTHS * breadth).clamp(DEPTH_RANGE_MM[0], DEPTH_RANGE_MM[1]);
    let keep = |place: &Point| place[2] > top - depth;
    let (places, values) = (samples.places.into_iter().zip(samples.values)).filter(|(p, _)| keep(p)).unzip();
    Samples { places, values, ..samples }
}

/// World z of the head's top, mm: the highest layer with the area of a head in it.
fn head_top(samples: &Samples, air: f32) -> Option<f64> {
    let z = || samples.places.iter().map(|place| place[2]);
    let lowest = z().fold(f64::INFINITY, f64::min);
    let highest = z().fold(f64::NEG_INFINITY, f64::max);
    let mut areas = vec![0.0; ((highest - lowest) / LAYER_MM) as usize + 1];
    for (place, _) in samples.places.iter().zip(&samples.values).filter(|(_, value)| **value > air) {
        areas[((place[2] - lowest) / LAYER_MM) as usize] += samples.share_mm3 / LAYER_MM;
    }
    let layer = areas.iter().rposition(|&area| area > TOP_AREA_MM2)?;
    Some(lowest + (layer as f64 + 1.0) * LAYER_MM)
}
