//! Histogram matching: the percentiles of an image are brought onto those of a reference image.
//!
//! Landmarks are percentiles of the intensities that count. Between two landmarks the map is linear, beyond the outermost ones it
//! goes on as between the last two, so that what is brighter than 99 % of the brain (an enhancing lesion) keeps its contrast.
//! The map never falls. An image matched to itself stays as it is.
//!
//! What counts: the finite voxels inside the mask. Without a mask: the finite voxels above the mean of all of them, which
//! parts a head from the air around it. Inside the mask (without one: everywhere) all finite voxels are mapped; others become 0.
//!
//! Source: L. Nyúl, J. Udupa, X. Zhang, "New variants of a method of MRI scale standardization", IEEE Trans. Med. Imaging
//! 19(2), 2000, with its landmarks L4 (the deciles between two outer percentiles); L. Nyúl, J. Udupa, Magn. Reson. Med. 42(6), 1999
//! (the foreground by the mean).

use crate::region::Region;
use sdk::imaging::histogram::quantiles;
use sdk::{Context, Image, JsonSchema, Mask, OperatorError};
use serde::{Deserialize, Serialize};

/// Settings of `match_histogram`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Percentiles that are brought onto those of the reference: 2 to 100 numbers of 0 to 100, rising.
    pub percentiles: Vec<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { percentiles: vec![1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0] }
    }
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`MatchError::Percentiles`].
    pub fn check(&self) -> Result<(), MatchError> {
        let list = &self.percentiles;
        let rising = list.windows(2).all(|pair| pair[0] < pair[1]);
        let inside = list.iter().all(|share| (0.0..=100.0).contains(share));
        if rising && inside && (2..=100).contains(&list.len()) {
            Ok(())
        } else {
            Err(MatchError::Percentiles { found: list.clone() })
        }
    }
}

/// Why an image could not be matched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatchError {
    /// The percentiles are no landmarks.
    #[error(
        "`percentiles` are {found:?}, where 2 to 100 rising numbers of 0 to 100 are needed\nhint: 1, 10, 20, … 90, 99"
    )]
    Percentiles {
        /// What was set.
        found: Vec<f64>,
    },
    /// All landmarks of an image are one intensity.
    #[error(
        "the {which}'s percentiles are all {value}, so there is no scale to match\n\
         hint: is it constant where it counts? a mask of the brain leaves the air out"
    )]
    NoSpread {
        /// `image` or `reference`.
        which: &'static str,
        /// The intensity.
        value: f64,
    },
}

/// The image on the reference's scale; see the module's head.
///
/// * `onto`: the reference and where it counts, on any grid.
///
/// # Errors
/// [`MatchError`]; [`crate::region::RegionError`]; no memory; the stage was asked to stop.
pub fn match_to(
    image: &Image,
    mask: Option<&Mask>,
    onto: (&Image, Option<&Mask>),
    options: &Options,
    ctx: &Context,
) -> Result<Image, OperatorError> {
    options.check()?;
    let from = landmarks("image", image, mask, options, ctx)?;
    let to = landmarks("reference", onto.0, onto.1, options, ctx)?;
    let map = Map::between(&from, &to);
    let region = Region::new(image, mask)?;
    let [nx, ny, _] = image.grid().shape;
    let mut out = ctx.alloc::<f32>(image.grid().len())?;
    ctx.fill(&mut out, nx * ny, |k, out| {
        for (out, voxel) in out.iter_mut().zip(region.iter(k * nx * ny..(k + 1) * nx * ny)) {
            *out = voxel.map_or(0.0, |value| map.at(value));
        }
    });
    ctx.check_cancelled()?;
    Ok(Image::new(*image.grid(), out.freeze())?)
}

/// Percentiles of the voxels that count, two different ones at least.
fn landmarks(
    which: &'static str,
    image: &Image,
    mask: Option<&Mask>,
    options: &Options,
    ctx: &Context,
) -> Result<Vec<f64>, OperatorError> {
    let region = Region::new(image, mask)?;
    let [nx, ny, nz] = image.grid().shape;
    let slice = |k: usize| region.iter(k * nx * ny..(k + 1) * nx * ny).flatten();
    let above = if mask.is_some() {
        f64::NEG_INFINITY
    } else {
        let sums = ctx.map(nz, |k| slice(k).fold((0.0, 0usize), |(sum, n), v| (sum + f64::from(v), n + 1)));
        let (sum, count) = sums.into_iter().fold((0.0, 0), |(sum, n), part| (sum + part.0, n + part.1));
        sum / count as f64
    };
    let parts = ctx.map(nz, |k| slice(k).filter(|&v| f64::from(v) > above).collect::<Vec<f32>>());
    ctx.check_cancelled()?;
    let mut voxels = parts.concat();
    if voxels.is_empty() {
        return Err(MatchError::NoSpread { which, value: above }.into());
    }
    let shares: Vec<f64> = options.percentiles.iter().map(|percent| percent / 100.0).collect();
    let found = quantiles(&mut voxels, &shares);
    if found[0] < found[found.len() - 1] {
        Ok(found)
    } else {
        Err(MatchError::NoSpread { which, value: found[0] }.into())
    }
}

/// A map that is linear between landmarks and does not fall.
struct Map {
    /// Intensity, what it becomes, and how much more for each unit; rising.
    knots: Vec<[f64; 3]>,
}

impl Map {
    /// * `from`, `to`: as many; both do not fall, and `from` holds two different numbers.
    fn between(from: &[f64], to: &[f64]) -> Self {
        let mut knots: Vec<[f64; 3]> = Vec::with_capacity(from.len());
        for (&x, &y) in from.iter().zip(to) {
            // Of landmarks on one intensity (a value that many voxels have) the first counts.
            if knots.last().is_none_or(|last| x > last[0]) {
                if let Some([last_x, last_y, slope]) = knots.last_mut() {
                    *slope = (y - *last_y) / (x - *last_x);
                }
                knots.push([x, y, 0.0]);
            }
        }
        // The last landmark ends its segment and begins none.
        knots.pop();
        Self { knots }
    }

    fn at(&self, value: f32) -> f32 {
        let value = f64::from(value);
        let knot = self.knots.partition_point(|knot| knot[0] <= value).saturating_sub(1);
        let [x, y, slope] = self.knots[knot];
        (y + (value - x) * slope).clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_map_does_not_fall_and_meets_its_landmarks(
            mut from in proptest::collection::vec(-1e3f64..1e3, 11),
            mut to in proptest::collection::vec(-1e3f64..1e3, 11),
            mut values in proptest::collection::vec(-2e3f32..2e3, 50),
        ) {
            from.sort_by(f64::total_cmp);
            to.sort_by(f64::total_cmp);
            prop_assume!(from[0] < from[10]);
            let map = Map::between(&from, &to);
            values.sort_by(f32::total_cmp);
            let mapped: Vec<f32> = values.iter().map(|&v| map.at(v)).collect();
            prop_assert!(mapped.is_sorted(), "{mapped:?}");
            // Landmarks as f32 lie up to 6e-5 beside their places.
            prop_assert!((f64::from(map.at(from[0] as f32)) - to[0]).abs() < 1e-3 * (1.0 + map.knots[0][2]));
        }

        #[test]
        fn a_map_onto_itself_changes_nothing(mut from in proptest::collection::vec(-1e3f32..1e3, 11), value in -2e3f32..2e3) {
            from.sort_by(f32::total_cmp);
            prop_assume!(from[0] < from[10]);
            let from: Vec<f64> = from.into_iter().map(f64::from).collect();
            prop_assert_eq!(Map::between(&from, &from).at(value), value);
        }
    }
}
