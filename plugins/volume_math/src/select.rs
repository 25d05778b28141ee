//! The voxels that carry one of some labels.

use sdk::{Context, JsonSchema, Labels, Mask, OperatorError};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};

/// Settings of `select_labels`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// The labels to keep, at least one: `[1, 3]`. 0 is the background.
    #[schemars(length(min = 1))]
    pub labels: Vec<u32>,
}

/// Why labels cannot be selected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// No label named.
    #[error("`labels` names no label\nhint: `labels = [1, 3]` keeps the voxels labelled 1 or 3")]
    NoLabel,
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`SelectError::NoLabel`].
    pub fn check(&self) -> Result<(), SelectError> {
        if self.labels.is_empty() { Err(SelectError::NoLabel) } else { Ok(()) }
    }
}

/// 1 where a voxel carries one of the labels, and the labels that no voxel carries, ascending.
///
/// # Errors
/// [`SelectError`]; no memory.
pub fn select(labels: &Labels, options: &Options, ctx: &Context) -> Result<(Mask, Vec<u32>), OperatorError> {
    options.check()?;
    let mut wanted = options.labels.clone();
    wanted.sort_unstable();
    wanted.dedup();
    let seen: Vec<AtomicBool> = wanted.iter().map(|_| AtomicBool::new(false)).collect();
    let [nx, ny, _] = labels.grid().shape;
    let plane = nx * ny;
    let mut out = ctx.alloc::<u8>(labels.grid().len())?;
    ctx.fill(&mut out, plane, |k, slice| {
        // Neighbours mostly carry the same label: look it up once.
        let mut last = (None, 0);
        for (out, &label) in slice.iter_mut().zip(&labels.voxels()[k * plane..]) {
            if last.0 != Some(label) {
                let place = wanted.binary_search(&label);
                if let Ok(place) = place {
                    seen[place].store(true, Ordering::Relaxed);
                }
                last = (Some(label), u8::from(place.is_ok()));
            }
            *out = last.1;
        }
    });
    let missing = wanted.into_iter().zip(seen).filter(|(_, seen)| !seen.load(Ordering::Relaxed));
    Ok((Mask::new(*labels.grid(), out.freeze())?, missing.map(|(label, _)| label).collect()))
}
