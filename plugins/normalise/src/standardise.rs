//! Z-score: intensities shifted and scaled to centre 0 and spread 1.
//!
//! Centre and spread are taken over the finite voxels inside the mask (without a mask: all finite ones): mean and standard
//! deviation, or median and 1.4826 times the median absolute deviation. All other voxels become 0.
//!
//! Source: P. Rousseeuw, C. Croux, J. Am. Stat. Assoc. 88, 1993 (the robust pair).

use crate::region::Region;
use sdk::imaging::histogram::quantiles;
use sdk::{Context, Image, JsonSchema, Mask, OperatorError};
use serde::{Deserialize, Serialize};

/// Standard deviation of a normal distribution by its median absolute deviation: 1 / quantile(3/4).
const MAD_TO_SD: f64 = 1.482_602_218_505_602;

/// Settings of `z_score`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Median and 1.4826 times the median absolute deviation instead of mean and standard deviation: lesions and vessels then
    /// weigh no more than other voxels.
    pub robust: bool,
}

/// Why an image has no z-score.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandardiseError {
    /// The intensities do not differ.
    #[error(
        "a spread of {spread} around {centre} over {voxels} voxels, so nothing to scale by\n\
         hint: is the image constant inside the mask? without `robust` fewer differences suffice"
    )]
    NoSpread {
        /// Spread found, in units of intensity.
        spread: f64,
        /// Centre found, in units of intensity.
        centre: f64,
        /// Voxels looked at.
        voxels: usize,
    },
}

/// What became 0, and what became 1 away from it, in units of intensity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Mean or median.
    pub centre: f64,
    /// Standard deviation (of the voxels, divided by their number), or 1.4826 times the median absolute deviation.
    pub spread: f64,
}

/// The image as z-scores, and the scale that was found; see the module's head.
///
/// # Errors
/// [`StandardiseError::NoSpread`]; [`crate::region::RegionError`]; no memory; the stage was asked to stop.
pub fn z_score(
    image: &Image,
    mask: Option<&Mask>,
    options: &Options,
    ctx: &Context,
) -> Result<(Image, Scale), OperatorError> {
    let region = Region::new(image, mask)?;
    let [nx, ny, nz] = image.grid().shape;
    let slice = |k: usize| region.iter(k * nx * ny..(k + 1) * nx * ny);
    let (scale, voxels) =
        if options.robust { robust_scale(nz, slice, ctx) } else { plain_scale(nz, slice, ctx) };
    ctx.check_cancelled()?;
    let Scale { centre, spread } = scale;
    if spread <= f64::EPSILON * centre.abs() {
        return Err(StandardiseError::NoSpread { spread, centre, voxels }.into());
    }
    let mut out = ctx.alloc::<f32>(image.grid().len())?;
    ctx.fill(&mut out, nx * ny, |k, out| {
        for (out, voxel) in out.iter_mut().zip(slice(k)) {
            *out = voxel.map_or(0.0, |v| ((f64::from(v) - centre) / spread) as f32);
        }
    });
    Ok((Image::new(*image.grid(), out.freeze())?, scale))
}

/// Mean and standard deviation; sums by slice, added in order.
fn plain_scale<I: Iterator<Item = Option<f32>>>(
    slices: usize,
    slice: impl Fn(usize) -> I + Sync,
    ctx: &Context,
) -> (Scale, usize) {
    let sum = |of: &(dyn Fn(f64) -> f64 + Sync)| {
        let parts = ctx.map(slices, |k| {
            slice(k).flatten().fold((0.0, 0usize), |(sum, n), v| (sum + of(f64::from(v)), n + 1))
        });
        parts.into_iter().fold((0.0, 0), |(sum, n), part| (sum + part.0, n + part.1))
    };
    let (total, voxels) = sum(&|v| v);
    let centre = total / voxels as f64;
    let (squares, _) = sum(&|v| (v - centre).powi(2));
    (Scale { centre, spread: (squares / voxels as f64).sqrt() }, voxels)
}

/// Median and scaled median absolute deviation.
fn robust_scale<I: Iterator<Item = Option<f32>>>(
    slices: usize,
    slice: impl Fn(usize) -> I + Sync,
    ctx: &Context,
) -> (Scale, usize) {
    let parts = ctx.map(slices, |k| slice(k).flatten().collect::<Vec<f32>>());
    let mut voxels = parts.concat();
    let centre = quantiles(&mut voxels, &[0.5])[0];
    for voxel in &mut voxels {
        *voxel = (f64::from(*voxel) - centre).abs() as f32;
    }
    (Scale { centre, spread: MAD_TO_SD * quantiles(&mut voxels, &[0.5])[0] }, voxels.len())
}
