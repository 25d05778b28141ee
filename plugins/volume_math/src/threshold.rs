//! The voxels of an image between two bounds.

use sdk::{Context, Image, JsonSchema, Mask, OperatorError};
use serde::{Deserialize, Serialize};

/// Settings of `threshold`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Lowest value inside, itself inside; without it there is no lower bound.
    pub above: Option<f64>,
    /// Highest value inside, itself inside; without it there is no upper bound.
    pub below: Option<f64>,
}

/// Why bounds cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThresholdError {
    /// No bound at all.
    #[error("neither `above` nor `below` is set\nhint: `above = 0.5` marks all voxels of 0.5 and more")]
    NoBound,
    /// A bound that is NaN.
    #[error("`{name}` is not a number\nhint: leave it out for no bound")]
    NotANumber {
        /// The setting.
        name: &'static str,
    },
    /// Nothing can lie between.
    #[error(
        "`above` is {above}, greater than `below`, {below}\nhint: voxels from `above` up to `below` are marked"
    )]
    Crossed {
        /// Lower bound.
        above: f64,
        /// Upper bound.
        below: f64,
    },
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`ThresholdError`] if not.
    pub fn check(&self) -> Result<(), ThresholdError> {
        for (name, bound) in [("above", self.above), ("below", self.below)] {
            if bound.is_some_and(f64::is_nan) {
                return Err(ThresholdError::NotANumber { name });
            }
        }
        match (self.above, self.below) {
            (None, None) => Err(ThresholdError::NoBound),
            (Some(above), Some(below)) if above > below => Err(ThresholdError::Crossed { above, below }),
            _ => Ok(()),
        }
    }
}

/// 1 where `above <= value <= below`, compared as f32; NaN is never inside.
///
/// # Errors
/// [`ThresholdError`]; no memory.
pub fn threshold(image: &Image, options: &Options, ctx: &Context) -> Result<Mask, OperatorError> {
    options.check()?;
    let low = options.above.map_or(f32::NEG_INFINITY, |bound| bound as f32);
    let high = options.below.map_or(f32::INFINITY, |bound| bound as f32);
    let [nx, ny, _] = image.grid().shape;
    let plane = nx * ny;
    let mut out = ctx.alloc::<u8>(image.grid().len())?;
    ctx.fill(&mut out, plane, |k, slice| {
        for (out, &voxel) in slice.iter_mut().zip(&image.voxels()[k * plane..]) {
            *out = u8::from(low <= voxel && voxel <= high);
        }
    });
    Ok(Mask::new(*image.grid(), out.freeze())?)
}
