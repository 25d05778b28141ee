//! Histogram equalisation, slice by slice along the third voxel axis.
//!
//! Of each slice a set of voxels is taken, `bins` equally wide bins from its smallest to its largest intensity are counted (the
//! last one closed on the right), and each intensity becomes the share of the set below it: the cumulative counts, taken at the
//! bins' centres, linear in between and level beyond. A slice whose set is empty or of one intensity becomes 0.
//!
//! Places and shares in f64, the last product and sum in f32. Agrees with scikit-image's `equalize_hist` on the same set within 1e-6.
//!
//! Source: R. Gonzalez, R. Woods, "Digital Image Processing", section 3.3; bins and interpolation as scikit-image 0.26.

use crate::region::Region;
use sdk::{Context, Image, JsonSchema, Mask, OperatorError};
use serde::{Deserialize, Serialize};

/// More bins than a 16-bit image has intensities tell nothing more.
const MAX_BINS: u32 = 65_536;

/// 1.5 * 2^52: added to a small number, it leaves the nearest integer in the lowest bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// Voxels that are worked on together: their indices and shares stay in the first-level cache.
const BLOCK: usize = 128;

/// Which voxels of a slice are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "sdk::schemars")]
pub enum Mode {
    /// The finite voxels inside the mask (without a mask: all finite ones); the others become 0.
    #[default]
    Masked,
    /// The whole slice, with 0 outside the mask and for what is not finite, as in the paper: the background takes part.
    Full,
}

/// Settings of `histogram_equalise`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Which voxels are counted: `masked` or `full`.
    pub mode: Mode,
    /// Bins of the histogram, 2 to 65536.
    #[schemars(range(min = 2, max = 65536))]
    pub bins: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { mode: Mode::Masked, bins: 256 }
    }
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`EqualiseError::Bins`].
    pub fn check(&self) -> Result<(), EqualiseError> {
        let found = self.bins;
        if (2..=MAX_BINS).contains(&found) { Ok(()) } else { Err(EqualiseError::Bins { found }) }
    }
}

/// Why an image could not be equalised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EqualiseError {
    /// Too few bins or too many.
    #[error("`bins` is {found}, outside 2 to {MAX_BINS}\nhint: the paper's method has 256")]
    Bins {
        /// Bins asked for.
        found: u32,
    },
}

/// The image with the histogram of each slice equalised, 0..=1; see the module's head.
///
/// # Errors
/// [`crate::region::RegionError`]; no memory; the stage was asked to stop.
pub fn equalise(
    image: &Image,
    mask: Option<&Mask>,
    options: &Options,
    ctx: &Context,
) -> Result<Image, OperatorError> {
    let mut out = ctx.alloc::<f32>(image.grid().len())?;
    equalise_into(image, mask, options, &mut out, ctx)?;
    Ok(Image::new(*image.grid(), out.freeze())?)
}

/// [`equalise`] into memory that is there: * `out`: `[voxels]`, overwritten.
///
/// # Errors
/// [`crate::region::RegionError`]; the stage was asked to stop.
///
/// # Panics
/// If `out` has another length than the image.
pub fn equalise_into(
    image: &Image,
    mask: Option<&Mask>,
    options: &Options,
    out: &mut [f32],
    ctx: &Context,
) -> Result<(), OperatorError> {
    assert_eq!(out.len(), image.grid().len(), "one number for each voxel");
    let region = Region::new(image, mask)?;
    let [nx, ny, _] = image.grid().shape;
    let plane = nx * ny;
    ctx.fill(out, plane, |k, slice| {
        let places = k * plane..(k + 1) * plane;
        if ctx.cancelled() {
            return;
        }
        let voxels = &image.voxels()[places.clone()];
        if mask.is_none() && voxels.iter().fold(true, |all, voxel| all & voxel.is_finite()) {
            match Curve::of(voxels, options.bins as usize) {
                Some(curve) => curve.map(voxels, slice),
                None => slice.fill(0.0),
            }
        } else {
            equalise_some(region.iter(places), options, slice);
        }
    });
    ctx.check_cancelled()
}

/// A slice of which not all voxels count; * `voxels`: those that count hold their intensity; * `out`: `[voxels]`.
fn equalise_some(voxels: impl Iterator<Item = Option<f32>> + Clone, options: &Options, out: &mut [f32]) {
    let full = options.mode == Mode::Full;
    let mut set = vec![0f32; out.len()];
    let mut count = 0;
    for voxel in voxels.clone() {
        // Written even if it does not count, and then overwritten: faster than a branch. `count` is at most the voxels seen.
        set[count] = voxel.unwrap_or(0.0);
        count += usize::from(full || voxel.is_some());
    }
    let set = &set[..count];
    let Some(curve) = Curve::of(set, options.bins as usize) else { return out.fill(0.0) };
    if full {
        return curve.map(set, out);
    }
    let mut mapped = vec![0f32; count];
    curve.map(set, &mut mapped);
    let mut mapped = mapped.iter();
    for (out, voxel) in out.iter_mut().zip(voxels) {
        *out = if voxel.is_some() { *mapped.next().expect("as many as were counted") } else { 0.0 };
    }
}

/// The map from intensity to the share of a set below it.
struct Curve {
    low: f64,
    /// Bins per unit of intensity.
    scale: f64,
    /// At each bin's centre: the share up to and with the bin, and how much the next one adds.
    knots: Vec<[f32; 2]>,
}

impl Curve {
    /// `None` for a set that is empty or of one intensity.
    fn of(set: &[f32], bins: usize) -> Option<Self> {
        let (low, high) = range(set);
        let (low, high) = (f64::from(low), f64::from(high));
        if low >= high {
            return None;
        }
        let scale = bins as f64 / (high - low);
        let counts = count(set, low, high, scale, bins);
        let total = set.len() as f64;
        let mut below = 0u64;
        let shares: Vec<f64> = counts
            .iter()
            .map(|&bin| {
                below += u64::from(bin);
                below as f64 / total
            })
            .collect();
        let next = shares[1..].iter().chain(shares.last());
        let knots =
            shares.iter().zip(next).map(|(&share, next)| [share as f32, (next - share) as f32]).collect();
        Some(Self { low, scale, knots })
    }

    /// * `out`: `[set]`, overwritten.
    fn map(&self, set: &[f32], out: &mut [f32]) {
        let last = (self.knots.len() - 1) as f64;
        let (mut index, mut beyond) = ([0u32; BLOCK], [0f32; BLOCK]);
        for (set, out) in set.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
            // A loop without look-ups, which becomes vector instructions, and one with them.
            for ((index, beyond), &voxel) in index.iter_mut().zip(&mut beyond).zip(set) {
                let centre = ((f64::from(voxel) - self.low) * self.scale - 0.5).max(0.0).min(last);
                let (knot, floor) = floor(centre);
                (*index, *beyond) = (knot, (centre - floor) as f32);
            }
            for ((out, &index), beyond) in out.iter_mut().zip(&index).zip(&beyond) {
                let [share, step] = self.knots[index as usize];
                *out = share + beyond * step;
            }
        }
    }
}

/// The integer below a number in 0..2^31, or the number less 1 if it is an integer above 0 itself; as index and as number.
fn floor(x: f64) -> (u32, f64) {
    let rounded = x - 0.5 + ROUND;
    (rounded.to_bits() as u32 & 0x7FFF_FFFF, rounded - ROUND)
}

/// Smallest and largest number of a set without NaN; infinite and upside down for an empty set.
fn range(set: &[f32]) -> (f32, f32) {
    // As integers in the same order, whose smallest and largest are found by vector instructions.
    let key = |v: f32| {
        let bits = v.to_bits().cast_signed();
        bits ^ ((bits >> 31) & i32::MAX)
    };
    let number = |key: i32| f32::from_bits((key ^ ((key >> 31) & i32::MAX)).cast_unsigned());
    let start = (key(f32::INFINITY), key(f32::NEG_INFINITY));
    let (low, high) = set.iter().fold(start, |(low, high), &v| (low.min(key(v)), high.max(key(v))));
    (number(low), number(high))
}

/// Counts of `bins` equally wide bins from `low` to `high`; an intensity on the edge of two belongs to the upper one.
fn count(set: &[f32], low: f64, high: f64, scale: f64, bins: usize) -> Vec<u32> {
    let width = (high - low) / bins as f64;
    // An f32 is at or above an edge if it is at or above the first f32 there.
    let at_or_above = |edge: f64| {
        let near = edge as f32;
        if f64::from(near) < edge { near.next_up() } else { near }
    };
    // The last bin takes all that is left, and a guess may lie one above it.
    let edge = |n: usize| if n < bins { at_or_above(low + n as f64 * width) } else { f32::INFINITY };
    let edges: Vec<[f32; 2]> = (0..=bins).map(|n| [edge(n), edge(n + 1)]).collect();
    // Two tables in turn: equal neighbours then need not wait for each other.
    let (mut even, mut odd) = (vec![0u32; bins + 1], vec![0u32; bins + 1]);
    let mut guesses = [0u32; BLOCK];
    for set in set.chunks(BLOCK) {
        for (guess, &voxel) in guesses.iter_mut().zip(set) {
            *guess = floor((f64::from(voxel) - low) * scale).0;
        }
        let bin = |voxel: f32, guess: u32| {
            let [lower, upper] = edges[guess as usize];
            // Rounding may put the guess next to the right bin; the edges decide.
            guess as usize + usize::from(voxel >= upper) - usize::from(voxel < lower)
        };
        let (pairs, rest) = set.as_chunks::<2>();
        for (&[a, b], guesses) in pairs.iter().zip(guesses.as_chunks::<2>().0) {
            even[bin(a, guesses[0])] += 1;
            odd[bin(b, guesses[1])] += 1;
        }
        for &voxel in rest {
            even[bin(voxel, guesses[set.len() - 1])] += 1;
        }
    }
    even.pop();
    even.iter_mut().zip(odd).for_each(|(sum, count)| *sum += count);
    even
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn equalised(set: &[f32], bins: usize) -> Vec<f32> {
        let mut out = vec![0.0; set.len()];
        Curve::of(set, bins).unwrap().map(set, &mut out);
        out
    }

    proptest! {
        #[test]
        fn larger_intensities_never_become_smaller(mut set in proptest::collection::vec(-1e3f32..1e3, 2..300), bins in 2usize..300) {
            set.sort_by(f32::total_cmp);
            prop_assume!(set[0] < set[set.len() - 1]);
            let out = equalised(&set, bins);
            prop_assert!(out.is_sorted(), "{out:?}");
            prop_assert!(out[0] > 0.0 && out[out.len() - 1] == 1.0, "{out:?}");
        }

        /// Scanners choose scale and offset at will. Powers of two, so that no rounding differs.
        #[test]
        fn scale_and_offset_of_the_intensities_do_not_matter(set in proptest::collection::vec(0u16..1000, 2..300)) {
            prop_assume!(set.iter().any(|&v| v != set[0]));
            let plain: Vec<f32> = set.iter().map(|&v| f32::from(v)).collect();
            let moved: Vec<f32> = set.iter().map(|&v| f32::from(v) * 4.0 + 64.0).collect();
            prop_assert_eq!(equalised(&plain, 256), equalised(&moved, 256));
        }

        #[test]
        fn every_voxel_is_counted_in_the_bin_whose_edges_hold_it(set in proptest::collection::vec(0u16..512, 2..300)) {
            // Edges at 0, 2, 4 …: half of all intensities lie on one.
            let voxels: Vec<f32> = set.iter().map(|&v| f32::from(v)).collect();
            let mut expected = vec![0u32; 256];
            for &v in &set {
                expected[usize::from(v / 2)] += 1;
            }
            prop_assert_eq!(count(&voxels, 0.0, 512.0, 0.5, 256), expected);
        }
    }

    #[test]
    fn an_intensity_on_an_edge_belongs_to_the_upper_bin_and_the_largest_to_the_last() {
        assert_eq!(count(&[0.0, 1.0, 1.0, 2.0, 3.0, 4.0], 0.0, 4.0, 1.0, 4), [1, 2, 1, 2]);
    }

    #[test]
    fn floor_is_that_of_the_number_but_for_integers_where_it_may_be_one_less() {
        for x in [0.0, 0.1, 0.9, 1.5, 254.999, 65_535.5] {
            assert_eq!(floor(x).0, x as u32, "{x}");
            assert_eq!(floor(x).1, x.floor(), "{x}");
        }
        for x in 1..1000u32 {
            let (index, number) = floor(f64::from(x));
            assert!((index == x || index + 1 == x) && number == f64::from(index), "{x}: {index}");
        }
    }
}
