//! Intensities as scores.

use sdk::{Context, Image, JsonSchema, OperatorError, Probability};
use serde::{Deserialize, Serialize};

/// Settings of `logistic`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// The intensity whose score is one half, in the unit of the image.
    pub centre: f64,
    /// How far from there a score is 0.73, in the unit of the image; negative where dark is what is looked for, never 0.
    pub width: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { centre: 0.0, width: 1.0 }
    }
}

/// Why there are no scores.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogisticError {
    /// A setting that is no number, or a width of 0.
    #[error(
        "`centre` is {centre} and `width` {width}, where finite numbers and no width of 0 are expected\nhint: `threshold` makes a mask of a sharp limit"
    )]
    Setting {
        /// The centre.
        centre: f64,
        /// The width.
        width: f64,
    },
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`LogisticError::Setting`].
    pub fn check(&self) -> Result<(), LogisticError> {
        let Self { centre, width } = *self;
        let fits = centre.is_finite() && width.is_finite() && width != 0.0;
        if fits { Ok(()) } else { Err(LogisticError::Setting { centre, width }) }
    }
}

/// `1 / (1 + exp(-(value - centre) / width))` at each voxel, in 0 to 1; 0 where the value is NaN.
///
/// # Errors
/// No memory.
pub fn logistic(image: &Image, options: &Options, ctx: &Context) -> Result<Probability, OperatorError> {
    let [nx, ny, _] = image.grid().shape;
    let mut out = ctx.alloc::<f32>(image.grid().len())?;
    ctx.fill(&mut out, nx * ny, |k, slice| {
        for (score, &value) in slice.iter_mut().zip(&image.voxels()[k * nx * ny..]) {
            let z = (f64::from(value) - options.centre) / options.width;
            *score = if z.is_nan() { 0.0 } else { (1.0 / (1.0 + (-z).exp())) as f32 };
        }
    });
    Ok(Probability::new(*image.grid(), out.freeze())?)
}
