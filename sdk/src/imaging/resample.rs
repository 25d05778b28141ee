//! Brings a volume onto another grid: nearest neighbour, linear, cubic B-spline, windowed sinc; labels by nearest
//! neighbour or Gaussian vote.
//!
//! Resampling pulls: each voxel of the target asks where it lies in the source. Places are voxel centres in RAS+ world
//! millimetres; `target_to_source` maps a target's world point to the source's (`fixed_to_moving` of a registration), and
//! `None` means that both lie in one frame.
//!
//! Where all centres of the target fall on centres of the source (the same grid, a crop, a flip, other axes first), every
//! interpolation copies: the result is exact, bit for bit.
//!
//! Border: a voxel reaches half a voxel to each side of its centre. A place within the outer half voxel takes the value at
//! the outermost centres (so a volume of one slice keeps its thickness); a place further out is 0.
//!
//! A voxel that is not finite spoils the places whose neighbours it is (the nearest, 8, 64 or 512 voxels around a place), which
//! become NaN or infinite, and no others. With [`Interpolation::Cubic`] all others are as if it were 0, since a spline knows no gaps.
//!
//! Nothing is smoothed first: onto a coarser grid, use [`super::smooth`] before. Results do not depend on the number of
//! threads.

mod lattice;
mod linear;
mod pull;
mod sinc;
mod spline;
#[cfg(test)]
mod tests;
mod vote;

use crate::buffer::{Buf, Element};
use crate::context::Context;
use crate::error::OperatorError;
use crate::geometry::{Affine, Grid};
use crate::volume::{Image, Labels, Mask, Probability, Volume, VolumeKind};
use pull::Pull;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How values between voxel centres are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The value of the nearest voxel centre; halves go up.
    Nearest,
    /// Trilinear from the eight neighbours: never beyond the range of the source.
    #[default]
    Linear,
    /// Prefiltered cubic B-spline from 64 neighbours: sharper than linear, and may overshoot at edges.
    Cubic,
    /// Sinc under a Lanczos window of radius 4, from 512 neighbours: sharpest, and rings at edges.
    Sinc,
}

/// How labels between voxel centres are found. Neither makes a label that was not there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LabelInterpolation {
    /// The label of the nearest voxel centre; halves go up.
    #[default]
    Nearest,
    /// Each label's membership (1 where it is, 0 elsewhere) under a Gaussian; the largest wins, of equals the smallest label.
    ///
    /// Sigmas in mm along the source's axes; `None` is half a voxel of the source or of the target, whichever is wider along
    /// that axis.
    Vote(Option<[f64; 3]>),
}

/// Why a volume could not be resampled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResampleError {
    /// The source's affine cannot be inverted.
    #[error("the source's affine is flat: {grid}\nhint: correct the file's header")]
    FlatGrid {
        /// The source.
        grid: Box<Grid>,
    },
    /// An entry of the map from the target to the source is NaN or infinite.
    #[error(
        "the map from target to source has an entry that is not finite: {rows:?}\nhint: check the transform"
    )]
    NotFinite {
        /// The map from target voxel to source voxel.
        rows: Box<[[f64; 4]; 3]>,
    },
    /// A width of the vote is zero, negative, NaN or infinite.
    #[error("labels voted with sigmas of {found:?} mm, where each is above 0\nhint: half a voxel suits most")]
    Sigma {
        /// The widths, mm.
        found: [f64; 3],
    },
    /// A width of the vote takes in more voxels than a vote may.
    #[error(
        "labels voted with sigmas of {found:?} mm take in {voxels} voxels at each place, above {}\n\
         hint: half a voxel suits most",
        vote::MOST_VOXELS
    )]
    Wide {
        /// The widths, mm.
        found: [f64; 3],
        /// Voxels within reach of a place.
        voxels: usize,
    },
}

/// An image on the grid `target`.
///
/// * `target_to_source`: world to world, mm; `None` is the identity.
///
/// If both grids match and there is no map, the voxels are shared, not copied.
///
/// # Errors
/// [`ResampleError`]; no memory; the stage was asked to stop.
pub fn image(
    source: &Image,
    target: &Grid,
    target_to_source: Option<&Affine>,
    interpolation: Interpolation,
    ctx: &Context,
) -> Result<Image, OperatorError> {
    if stays(source.grid(), target, target_to_source) {
        return Ok(source.with_grid(*target)?);
    }
    let voxels = scalars(source, target, target_to_source, interpolation, ctx, |value| value)?;
    Ok(Image::new(*target, voxels)?)
}

/// A probability on the grid `target`: as [`image`], then held within 0..=1 (cubic and sinc overshoot).
///
/// # Errors
/// As [`image`].
pub fn probability(
    source: &Probability,
    target: &Grid,
    target_to_source: Option<&Affine>,
    interpolation: Interpolation,
    ctx: &Context,
) -> Result<Probability, OperatorError> {
    if stays(source.grid(), target, target_to_source) {
        return Ok(source.with_grid(*target)?);
    }
    let clamp = |value: f32| value.clamp(0.0, 1.0);
    let voxels = scalars(source, target, target_to_source, interpolation, ctx, clamp)?;
    Ok(Probability::new(*target, voxels)?)
}

/// A mask on the grid `target`: 0 and 1 are interpolated, and at least 0.5 is inside.
///
/// With [`Interpolation::Linear`] the border runs smoothly between the slices; with `Nearest` each voxel keeps its shape.
///
/// # Errors
/// As [`image`].
pub fn mask(
    source: &Mask,
    target: &Grid,
    target_to_source: Option<&Affine>,
    interpolation: Interpolation,
    ctx: &Context,
) -> Result<Mask, OperatorError> {
    if stays(source.grid(), target, target_to_source) {
        return Ok(source.with_grid(*target)?);
    }
    let inside = |value: f32| u8::from(value >= MASK_THRESHOLD);
    let voxels = scalars(source, target, target_to_source, interpolation, ctx, inside)?;
    Ok(Mask::new(*target, voxels)?)
}

/// An interpolated mask of at least this is inside: half of the voxel.
const MASK_THRESHOLD: f32 = 0.5;

/// Labels on the grid `target`: no new label appears.
///
/// # Errors
/// As [`image`].
pub fn labels(
    source: &Labels,
    target: &Grid,
    target_to_source: Option<&Affine>,
    interpolation: LabelInterpolation,
    ctx: &Context,
) -> Result<Labels, OperatorError> {
    if stays(source.grid(), target, target_to_source) {
        return Ok(source.with_grid(*target)?);
    }
    let pull = Pull::new(source.grid(), target, target_to_source)?;
    let voxels = match interpolation {
        LabelInterpolation::Vote(sigma_mm) if !pull.is_whole() => vote::labels(source, &pull, sigma_mm, ctx)?,
        _ => pull.nearest(source.voxels(), ctx, |label| label)?,
    };
    Ok(Labels::new(*target, voxels)?)
}

/// Whether resampling would change nothing but rounding.
fn stays(source: &Grid, target: &Grid, target_to_source: Option<&Affine>) -> bool {
    let moved = target_to_source.map(|map| Grid::new(target.shape, map.after(&target.voxel_to_world)));
    source.matches(&moved.unwrap_or(*target))
}

/// Interpolates voxels that count as numbers, and turns each result into a voxel of the target.
fn scalars<K: VolumeKind, T: Element>(
    source: &Volume<K>,
    target: &Grid,
    target_to_source: Option<&Affine>,
    interpolation: Interpolation,
    ctx: &Context,
    finish: impl Fn(f32) -> T + Sync,
) -> Result<Buf<T>, OperatorError>
where
    K::Voxel: Into<f32>,
{
    let (shape, voxels) = (source.grid().shape, source.voxels());
    let pull = Pull::new(source.grid(), target, target_to_source)?;
    if pull.is_whole() || source.grid().is_empty() {
        return pull.nearest(voxels, ctx, |voxel| finish(voxel.into()));
    }
    match interpolation {
        Interpolation::Nearest => pull.nearest(voxels, ctx, |voxel| finish(voxel.into())),
        Interpolation::Linear => {
            let source = linear::Linear::new(shape, voxels);
            pull.run(ctx, |place| finish(source.value(place)))
        }
        Interpolation::Cubic => {
            let spline = spline::Spline::new(shape, voxels, ctx)?;
            pull.run(ctx, |place| finish(spline.value(place)))
        }
        Interpolation::Sinc => {
            let sinc = sinc::Sinc::new(shape, voxels, ctx)?;
            pull.run(ctx, |place| finish(sinc.value(place)))
        }
    }
}
