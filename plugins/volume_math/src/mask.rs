//! A volume inside a mask, and one value outside.

use crate::OtherGrid;
use sdk::buffer::Element;
use sdk::{AnyVolume, Context, JsonSchema, Kind, Mask, OperatorError, Volume, VolumeKind};
use serde::{Deserialize, Serialize};

/// Settings of `apply_mask`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// What is written outside the mask: a finite number for an image, 0 to 1 for a probability, 0 or 1 for a mask, a whole
    /// number from 0 for labels.
    pub outside: f64,
}

impl Options {
    /// Whether `outside` can be a voxel of such a volume.
    ///
    /// # Errors
    /// [`MaskError::Outside`] if not.
    pub fn check(&self, kind: Kind) -> Result<(), MaskError> {
        let outside = self.outside;
        let (fits, expected) = match kind {
            Kind::Mask => (outside == 0.0 || outside == 1.0, "0 or 1"),
            Kind::Probability => ((0.0..=1.0).contains(&outside), "0 to 1"),
            Kind::Labels => (
                outside.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&outside),
                "a whole number from 0",
            ),
            _ => (outside.abs() <= f64::from(f32::MAX), "a finite number"),
        };
        if fits { Ok(()) } else { Err(MaskError::Outside { found: outside, kind, expected }) }
    }
}

/// Why a mask could not be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// A value that the volume cannot hold.
    #[error("`outside` is {found}, where {kind} takes {expected}\nhint: 0 suits every kind")]
    Outside {
        /// The value.
        found: f64,
        /// Kind of the volume.
        kind: Kind,
        /// What would do.
        expected: &'static str,
    },
}

/// The volume where the mask is not 0, and `outside` elsewhere. Voxels inside are taken over bit by bit, NaN included.
///
/// # Errors
/// [`MaskError`]; [`OtherGrid`]; no memory.
pub fn apply(
    volume: &AnyVolume,
    mask: &Mask,
    options: &Options,
    ctx: &Context,
) -> Result<AnyVolume, OperatorError> {
    options.check(volume.kind())?;
    OtherGrid::check("mask", mask.grid(), volume.grid())?;
    let outside = options.outside;
    Ok(match volume {
        AnyVolume::Image(v) => AnyVolume::Image(keep(v, mask, outside as f32, ctx)?),
        AnyVolume::Mask(v) => AnyVolume::Mask(keep(v, mask, outside as u8, ctx)?),
        AnyVolume::Labels(v) => AnyVolume::Labels(keep(v, mask, outside as u32, ctx)?),
        AnyVolume::Probability(v) => AnyVolume::Probability(keep(v, mask, outside as f32, ctx)?),
    })
}

fn keep<K: VolumeKind>(
    volume: &Volume<K>,
    mask: &Mask,
    outside: K::Voxel,
    ctx: &Context,
) -> Result<Volume<K>, OperatorError>
where
    K::Voxel: Element,
{
    let [nx, ny, _] = volume.grid().shape;
    let plane = nx * ny;
    let mut out = ctx.alloc::<K::Voxel>(volume.grid().len())?;
    ctx.fill(&mut out, plane, |k, slice| {
        let voxels = volume.voxels()[k * plane..].iter().zip(&mask.voxels()[k * plane..]);
        for (out, (&voxel, &inside)) in slice.iter_mut().zip(voxels) {
            *out = if inside == 0 { outside } else { voxel };
        }
    });
    Ok(Volume::new(*volume.grid(), out.freeze())?)
}
