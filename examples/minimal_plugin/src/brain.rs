//! A brain mask by threshold and morphology.
//!
//! Otsu's threshold parts bright tissue from air, bone and fluid. An erosion by a ball cuts the thin bridges (eyes, vessels,
//! meninges) that join the brain to the scalp; the largest component that is left is the brain's core. It is grown back by
//! the same ball, sulci are closed, and what is enclosed (ventricles) is filled.
//!
//! Lengths are in mm, whatever the voxels' spacing.
//!
//! Source: N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. Syst. Man Cybern. 9(1), 1979.

use crate::distance;
use sdk::imaging::components::{Components, Connectivity};
use sdk::{Context, Image, JsonSchema, Mask, OperatorError};
use serde::{Deserialize, Serialize};

/// Settings of `otsu_brain`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Radius in mm of the ball that cuts bridges between brain and scalp; 0 cuts nothing.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub opening_mm: f64,
    /// Radius in mm of the ball that closes sulci; 0 closes nothing.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub closing_mm: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { opening_mm: 5.0, closing_mm: 5.0 }
    }
}

/// Largest radius of a ball, mm: a sixth of a brain's width.
const LARGEST_RADIUS_MM: f64 = 20.0;

/// Bins of the histogram.
const BINS: usize = 1024;

/// Voxels that a thread takes at a time; no result depends on it.
const CHUNK: usize = 1 << 16;

/// Below and above these volumes a mask is hardly a whole human brain, ml.
const PLAUSIBLE_ML: std::ops::RangeInclusive<f64> = 600.0..=2200.0;

/// Why no brain could be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrainError {
    /// A setting outside its range.
    #[error("`{name}` is {found}, outside 0 to {LARGEST_RADIUS_MM} (mm)\nhint: 4 to 6 suits adults")]
    Radius {
        /// The setting.
        name: &'static str,
        /// Its value, mm.
        found: f64,
    },
    /// An image without voxels.
    #[error("an image without any voxel\nhint: is the file whole?")]
    Empty,
    /// A voxel that is no number.
    #[error("voxel {index:?} is {found}, where a finite number is expected\nhint: repair the image first")]
    NotFinite {
        /// Voxel index.
        index: [usize; 3],
        /// What is there.
        found: f32,
    },
    /// All voxels have one value.
    #[error("all voxels are {value}, so nothing can be told apart\nhint: is this a head?")]
    Constant {
        /// The value.
        value: f32,
    },
    /// The erosion left nothing.
    #[error("nothing above {threshold} is thicker than {thickness_mm} mm\nhint: lower `opening_mm`")]
    NothingLeft {
        /// Otsu's threshold.
        threshold: f32,
        /// Twice the opening's radius.
        thickness_mm: f64,
    },
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`BrainError::Radius`] if not.
    pub fn check(&self) -> Result<(), BrainError> {
        for (name, found) in [("opening_mm", self.opening_mm), ("closing_mm", self.closing_mm)] {
            if !(0.0..=LARGEST_RADIUS_MM).contains(&found) {
                return Err(BrainError::Radius { name, found });
            }
        }
        Ok(())
    }
}

/// A brain and how it was found.
#[derive(Debug)]
pub struct Found {
    /// 1 inside, on the head's grid.
    pub mask: Mask,
    /// Otsu's threshold, in the image's unit.
    pub threshold: f32,
    /// Volume of the mask, ml.
    pub volume_ml: f64,
}

impl Found {
    /// What a person should look at.
    pub fn warning(&self) -> Option<String> {
        let (low, high) = (PLAUSIBLE_ML.start(), PLAUSIBLE_ML.end());
        let implausible = !PLAUSIBLE_ML.contains(&self.volume_ml);
        implausible.then(|| {
            format!("the brain mask holds {:.0} ml, outside {low} to {high}: look at it", self.volume_ml)
        })
    }
}

/// The brain in a head image.
///
/// * `head`: `[nx, ny, nz]`, any intensity unit, finite; tissue brighter than bone and fluid.
///
/// # Errors
/// [`BrainError`]; no memory; the stage was asked to stop.
pub fn find(head: &Image, options: &Options, ctx: &Context) -> Result<Found, OperatorError> {
    let grid = head.grid();
    let voxels = head.voxels();
    let threshold = otsu_threshold(head, ctx)?;
    let opening = (options.opening_mm as f32).powi(2);
    let closing = (options.closing_mm as f32).powi(2);
    let grown = ((options.opening_mm + options.closing_mm) as f32).powi(2);

    ctx.progress(0.1, "erode");
    let to_dark = distance::squared_mm2(grid, |n| voxels[n] <= threshold, ctx)?;
    let core = largest(grid.shape, |n| to_dark[n] > opening, ctx)
        .ok_or(BrainError::NothingLeft { threshold, thickness_mm: 2.0 * options.opening_mm })?;
    drop(to_dark);
    ctx.progress(0.4, "dilate");
    let to_core = distance::squared_mm2(grid, |n| core[n] == 1, ctx)?;
    ctx.progress(0.7, "close");
    let to_outside = distance::squared_mm2(grid, |n| to_core[n] > grown, ctx)?;
    let mut mask = ctx.alloc::<u8>(grid.len())?;
    ctx.fill(&mut mask, CHUNK, |chunk, out| {
        for (n, out) in out.iter_mut().enumerate() {
            let n = chunk * CHUNK + n;
            *out = u8::from(to_core[n] <= opening || to_outside[n] > closing);
        }
    });
    fill_holes(grid.shape, &mut mask, ctx);
    let mask = Mask::new(*grid, mask.freeze())?;
    let volume_ml = mask.count() as f64 * grid.voxel_volume_mm3() / 1000.0;
    Ok(Found { mask, threshold, volume_ml })
}

/// The intensity that parts an image's voxels into two classes whose means lie farthest apart, after Otsu.
///
/// # Errors
/// [`BrainError::Empty`], [`BrainError::NotFinite`], [`BrainError::Constant`].
pub fn otsu_threshold(image: &Image, ctx: &Context) -> Result<f32, BrainError> {
    let voxels = image.voxels();
    if voxels.is_empty() {
        return Err(BrainError::Empty);
    }
    if let Some(offset) = voxels.iter().position(|value| !value.is_finite()) {
        return Err(BrainError::NotFinite { index: image.grid().index(offset), found: voxels[offset] });
    }
    let low = voxels.iter().copied().fold(f32::INFINITY, f32::min);
    let high = voxels.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if low == high {
        return Err(BrainError::Constant { value: low });
    }
    let width = (f64::from(high) - f64::from(low)) / BINS as f64;
    let chunks: Vec<&[f32]> = voxels.chunks(CHUNK).collect();
    let parts = ctx.map(chunks.len(), |chunk| {
        let mut counts = vec![0_u64; BINS];
        for &value in chunks[chunk] {
            counts[(((f64::from(value) - f64::from(low)) / width) as usize).min(BINS - 1)] += 1;
        }
        counts
    });
    let mut counts = vec![0_u64; BINS];
    for part in parts {
        counts.iter_mut().zip(part).for_each(|(sum, count)| *sum += count);
    }
    Ok((f64::from(low) + width * (best_split(&counts) + 1) as f64) as f32)
}

/// The last bin of the dark class: where the variance between both classes is greatest, the middle one of equal bins.
fn best_split(counts: &[u64]) -> usize {
    let total: u64 = counts.iter().sum();
    let total_sum: f64 = counts.iter().enumerate().map(|(bin, &count)| bin as f64 * count as f64).sum();
    let (mut below, mut below_sum) = (0_u64, 0.0);
    let (mut first, mut last, mut greatest) = (0, 0, 0.0);
    for (bin, &count) in counts.iter().enumerate().take(counts.len() - 1) {
        below += count;
        below_sum += bin as f64 * count as f64;
        let above = total - below;
        if below == 0 || above == 0 {
            continue;
        }
        let gap = below_sum / below as f64 - (total_sum - below_sum) / above as f64;
        let between = below as f64 * above as f64 * gap * gap;
        if between > greatest {
            (first, last, greatest) = (bin, bin, between);
        } else if between == greatest {
            last = bin;
        }
    }
    first.midpoint(last)
}

/// The largest component (faces touch) of the voxels that `inside` marks, as 0 and 1; the first of equals.
fn largest(shape: [usize; 3], inside: impl Fn(usize) -> bool + Sync, ctx: &Context) -> Option<Vec<u8>> {
    let components = Components::find(shape, Connectivity::Faces6, ctx, |offset, row| {
        for (n, out) in row.iter_mut().enumerate() {
            *out = u8::from(inside(offset + n));
        }
    });
    let sizes = components.statistics().iter().map(|one| one.voxels);
    let (label, _) = (1_u32..).zip(sizes).reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    let mut mask = vec![0; shape.iter().product()];
    for run in components.runs().filter(|run| run.label == label) {
        mask[run.voxels].fill(1);
    }
    Some(mask)
}

/// Fills what is enclosed: background that no path over faces joins to the image's border.
fn fill_holes(shape: [usize; 3], mask: &mut [u8], ctx: &Context) {
    let outside = Components::find(shape, Connectivity::Faces6, ctx, |offset, row| {
        for (n, out) in row.iter_mut().enumerate() {
            *out = 1 - mask[offset + n];
        }
    });
    for run in outside.runs() {
        let part = &outside.statistics()[run.label as usize - 1];
        let enclosed = (0..3).all(|axis| part.lowest[axis] > 0 && part.highest[axis] + 1 < shape[axis]);
        if enclosed {
            mask[run.voxels].fill(1);
        }
    }
}
