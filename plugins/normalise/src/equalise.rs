//! Histogram equalisation, slice by slice along the third voxel axis.
//!
//! Of each slice a set of voxels is taken, `bins` equally wide bins from its smallest to its largest intensity are counted (the
//! last one closed on the right), and each intensity becomes the share of the set below it: the cumulative counts, taken at the
//! bins' centres, linear in between and level beyond. A slice whose set is empty or of one intensity becomes 0.
//!
//! Edges and shares in f64, the last product and sum in f32. Agrees with scikit-image's `equalize_hist` on the same set within 1e-6.
//!
//! Source: R. Gonzalez, R. Woods, "Digital Image Processing", section 3.3; bins and interpolation as scikit-image 0.26.

mod survey;

use crate::region::Region;
use sdk::{Context, Image, JsonSchema, Mask, OperatorError};
use serde::{Deserialize, Serialize};
use survey::{EXACT, ROUND_SHORT, Survey, whole};
use wide::f32x4;

/// More bins than a 16-bit image has intensities tell nothing more.
const MAX_BINS: u32 = 65_536;

/// 1.5 * 2^52: added to a small number, it leaves the nearest integer in the lowest bits; [`ROUND_SHORT`] for an f64.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// Voxels for each whole number between the smallest and the largest: with so many a table costs next to nothing.
const VOXELS_PER_NUMBER: usize = 4;

/// Parts of each count.
const TURNS: usize = 8;

/// Voxels that are worked on together: with one of them next to an edge, all are placed with care.
const BLOCK: usize = 128;

/// Error of a place that f32 gives, as a share of it: three roundings of 2^-24 each, and one to spare.
const PLACE_ERROR: f32 = 1.0 / EXACT;

/// Largest intensities for which f32 holds a bin's width and its inverse, whatever the range.
const MAGNITUDES: std::ops::RangeInclusive<f32> = 1e-12..=1e18;

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
        let survey = Survey::of(voxels);
        if mask.is_none() && survey.is_finite {
            equalise_set(voxels, &survey, options.bins as usize, slice);
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
    if full {
        return equalise_set(set, &Survey::of(set), options.bins as usize, out);
    }
    let mut mapped = vec![0f32; count];
    equalise_set(set, &Survey::of(set), options.bins as usize, &mut mapped);
    let mut mapped = mapped.iter();
    for (out, voxel) in out.iter_mut().zip(voxels) {
        *out = if voxel.is_some() { *mapped.next().expect("as many as were counted") } else { 0.0 };
    }
}

/// A set of finite intensities, all of which count; * `out`: `[set]`, overwritten, 0 for a set of one intensity.
fn equalise_set(set: &[f32], survey: &Survey, bins: usize, out: &mut [f32]) {
    let Survey { low, high, .. } = *survey;
    if low >= high {
        return out.fill(0.0);
    }
    let largest = low.abs().max(high.abs());
    if !MAGNITUDES.contains(&largest) {
        // A power of two changes no share.
        let factor = f64::from(largest).log2().floor().exp2().recip();
        let set: Vec<f32> = set.iter().map(|&v| (f64::from(v) * factor) as f32).collect();
        return equalise_set(&set, &Survey::of(&set), bins, out);
    }
    let halves = Halves::new(low, high, bins);
    if let Some(tally) = Tally::of(set, survey) {
        let values = tally.values();
        let mut table = vec![0f32; values.len()];
        halves.place(&values, &mut table);
        let mut counts = vec![0u32; halves.len()];
        for (half, often) in table.iter().zip(&tally.counts) {
            counts[half.to_bits() as usize] += often;
        }
        Curve::of(&halves, &counts).map(&values, &mut table);
        for (out, &index) in out.iter_mut().zip(&tally.indices) {
            *out = table[usize::from(index)];
        }
    } else {
        let counts = halves.counts(set, out);
        Curve::of(&halves, &counts).map(set, out);
    }
}

/// How far each of a set of whole numbers lies above the smallest of them; * `out`: `[set]`, overwritten.
#[multiversion::multiversion(targets("x86_64+avx2"))]
fn above(set: &[f32], low: i32, out: &mut [u16]) {
    for (index, &voxel) in out.iter_mut().zip(set) {
        *index = (whole(voxel) - low) as u16;
    }
}

/// How often each whole number stands in a set: scanners store whole numbers, and far fewer of them than voxels.
struct Tally {
    low: i32,
    /// Of each voxel: how far it lies above the smallest.
    indices: Vec<u16>,
    counts: Vec<u32>,
}

impl Tally {
    /// `None` if some intensities are no whole numbers, or if they spread so far that counting voxel by voxel is cheaper.
    fn of(set: &[f32], survey: &Survey) -> Option<Self> {
        let Survey { low, high, is_whole, .. } = *survey;
        let most = (set.len() / VOXELS_PER_NUMBER).min(u16::MAX.into());
        let few = high - low <= most as f32 && low.abs().max(high.abs()) < EXACT;
        if !is_whole || !few {
            return None;
        }
        let values = (high - low) as usize + 1;
        let low = whole(low);
        let mut indices = vec![0u16; set.len()];
        above(set, low, &mut indices);
        let mut counters = Counters::new(values);
        counters.add(&indices, usize::from);
        Some(Self { low, indices, counts: counters.sums() })
    }

    /// Each whole number from the smallest to the largest.
    fn values(&self) -> Vec<f32> {
        (0..self.counts.len()).map(|n| (self.low + n as i32) as f32).collect()
    }
}

/// A histogram, each count in several parts that take turns: equal neighbours, as in the background, then need not wait for
/// each other.
struct Counters(Vec<[u32; TURNS]>);

impl Counters {
    fn new(bins: usize) -> Self {
        Self(vec![[0; TURNS]; bins])
    }

    /// * `bin`: that of a member of the set.
    fn add<T: Copy>(&mut self, set: &[T], bin: impl Fn(T) -> usize) {
        let (groups, rest) = set.as_chunks::<TURNS>();
        for group in groups {
            for (turn, &member) in group.iter().enumerate() {
                self.0[bin(member)][turn] += 1;
            }
        }
        for &member in rest {
            self.0[bin(member)][0] += 1;
        }
    }

    fn sums(self) -> Vec<u32> {
        self.0.into_iter().map(|turns| turns.iter().sum()).collect()
    }
}

/// The map from intensity to the share of a set below it.
struct Curve {
    /// The numbers of each [`Piece`], in its order.
    pieces: Vec<f32x4>,
}

/// The straight piece of the map over one half of a bin.
#[derive(Clone, Copy)]
struct Piece {
    /// An intensity at which the piece begins, or began.
    from: f32,
    /// The share there.
    share: f32,
    /// Share per unit of intensity.
    slope: f32,
    /// The share at the piece's end, which rounding shall not pass: then larger intensities never become smaller.
    most: f32,
}

impl Curve {
    /// * `counts`: of the set in each half.
    fn of(halves: &Halves, counts: &[u32]) -> Self {
        let total = counts.iter().map(|&half| f64::from(half)).sum::<f64>();
        let mut below = 0u64;
        let share = |bin: &[u32; 2]| {
            below += bin.iter().map(|&half| u64::from(half)).sum::<u64>();
            below as f64 / total
        };
        let shares: Vec<f64> = counts.as_chunks::<2>().0.iter().map(share).collect();
        let level = |share: f64| Piece { from: 0.0, share: share as f32, slope: 0.0, most: share as f32 };
        let mut pieces = vec![level(shares[0])];
        for (bin, pair) in shares.windows(2).enumerate() {
            let slope = (pair[1] - pair[0]) * halves.scale / 2.0;
            // The first f32 at or above the bin's centre, and the share there.
            let from = halves.edges[2 * bin + 1][0];
            let share = pair[0] + (f64::from(from) - halves.edge(2 * bin + 1)) * slope;
            let piece = Piece { from, share: share as f32, slope: slope as f32, most: pair[1] as f32 };
            pieces.extend([piece, piece]);
        }
        pieces.push(level(shares[shares.len() - 1]));
        let row = |piece: Piece| f32x4::from([piece.from, piece.share, piece.slope, piece.most]);
        Self { pieces: pieces.into_iter().map(row).collect() }
    }

    /// * `out`: `[set]`, the half in which each lies, as [`Halves::place`] leaves it; overwritten.
    fn map(&self, set: &[f32], out: &mut [f32]) {
        map(&self.pieces, set, out);
    }
}

/// [`Curve::map`], four voxels at once: their pieces are loaded whole and turned, as look-ups are what takes the time.
#[multiversion::multiversion(targets("x86_64+avx2"))]
fn map(pieces: &[f32x4], set: &[f32], out: &mut [f32]) {
    let mapped = |places: [f32; 4], voxels: [f32; 4]| {
        let [from, share, slope, most] = f32x4::transpose(places.map(|half| pieces[half.to_bits() as usize]));
        (share + (f32x4::from(voxels) - from) * slope).fast_min(most).to_array()
    };
    let (groups, rest) = set.as_chunks::<4>();
    let (outs, out_rest) = out.as_chunks_mut::<4>();
    for (out, &voxels) in outs.iter_mut().zip(groups) {
        *out = mapped(*out, voxels);
    }
    for (out, &voxel) in out_rest.iter_mut().zip(rest) {
        *out = mapped([*out; 4], [voxel; 4])[0];
    }
}

/// The integer below a number in 0..2^31, or the number less 1 if it is an integer above 0 itself.
fn floor(x: f64) -> u32 {
    (x - 0.5 + ROUND).to_bits() as u32 & 0x7FFF_FFFF
}

/// The half of each intensity, as [`Halves::place`] leaves it, from the place that f32 gives; whether one of them lies so near
/// to an edge that the guess may be wrong.
///
/// * `low`: where the first half begins; * `scale`: halves per unit of intensity.
#[multiversion::multiversion(targets("x86_64+avx2"))]
fn guess(set: &[f32], out: &mut [f32], low: f32, scale: f32) -> bool {
    let mut is_near = 0u32;
    // Without look-ups, so that it becomes vector instructions.
    for (out, &voxel) in out.iter_mut().zip(set) {
        let place = (voxel - low) * scale;
        let rounded = place + ROUND_SHORT;
        let beyond = place - (rounded - ROUND_SHORT);
        let edge = rounded.to_bits().wrapping_sub(ROUND_SHORT.to_bits());
        // The smallest lies on the lowest edge, without any error.
        is_near |= u32::from(beyond.abs() < PLACE_ERROR * place);
        *out = f32::from_bits(edge.wrapping_sub(u32::from(beyond < 0.0)));
    }
    is_near > 0
}

/// Equally wide bins from the smallest to the largest intensity, cut in two at their centres: the map bends there. An intensity
/// on the edge of two halves belongs to the upper one.
struct Halves {
    low: f32,
    /// Halves per unit of intensity.
    scale: f64,
    /// Width of a half, in units of intensity.
    width: f64,
    /// Of each half, and of one behind the last: the first f32 in it, and the first beyond it.
    edges: Vec<[f32; 2]>,
}

impl Halves {
    /// * `low`, `high`: within [`MAGNITUDES`] and not equal.
    fn new(low: f32, high: f32, bins: usize) -> Self {
        let range = f64::from(high) - f64::from(low);
        let halves = 2 * bins;
        let mut made =
            Self { low, scale: halves as f64 / range, width: range / halves as f64, edges: Vec::new() };
        // An f32 is at or above an edge if it is at or above the first f32 there.
        let at_or_above = |edge: f64| {
            let near = edge as f32;
            if f64::from(near) < edge { near.next_up() } else { near }
        };
        // The last half takes all that is left, and a guess may lie one above it.
        let edge = |n: usize| if n < halves { at_or_above(made.edge(n)) } else { f32::INFINITY };
        made.edges = (0..=halves).map(|n| [edge(n), edge(n + 1)]).collect();
        made
    }

    /// Where half `n` begins.
    fn edge(&self, n: usize) -> f64 {
        f64::from(self.low) + n as f64 * self.width
    }

    /// How many there are.
    fn len(&self) -> usize {
        self.edges.len() - 1
    }

    /// Finds the half of each intensity; * `out`: `[set]`, overwritten by its number, as the bits of an integer.
    fn place(&self, set: &[f32], out: &mut [f32]) {
        self.place_blocks(set, out, |_| ());
    }

    /// [`Halves::place`]; * `each`: is shown the places of each block.
    fn place_blocks(&self, set: &[f32], out: &mut [f32], mut each: impl FnMut(&[f32])) {
        let (low, scale) = (self.low, self.scale as f32);
        for (set, out) in set.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
            if guess(set, out, low, scale) {
                out.iter_mut().zip(set).for_each(|(out, &voxel)| *out = f32::from_bits(self.half(voxel)));
            }
            each(out);
        }
    }

    /// The half of an intensity: rounding may put a guess next to it, and the edges decide.
    fn half(&self, voxel: f32) -> u32 {
        let guess = floor((f64::from(voxel) - f64::from(self.low)) * self.scale);
        let [lower, upper] = self.edges[guess as usize];
        guess + u32::from(voxel >= upper) - u32::from(voxel < lower)
    }

    /// [`Halves::place`], and how many intensities lie in each half.
    fn counts(&self, set: &[f32], out: &mut [f32]) -> Vec<u32> {
        let mut counters = Counters::new(self.len());
        self.place_blocks(set, out, |places| counters.add(places, |half| half.to_bits() as usize));
        counters.sums()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn equalised(set: &[f32], bins: usize) -> Vec<f32> {
        let mut out = vec![0.0; set.len()];
        equalise_set(set, &Survey::of(set), bins, &mut out);
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

        /// The table of whole numbers is a short cut and nothing else.
        #[test]
        fn whole_numbers_are_mapped_as_any_others(few in proptest::collection::vec(-40i16..40, 2..300), bins in 2usize..300) {
            prop_assume!(few.iter().any(|&v| v != few[0]));
            let set: Vec<f32> = few.iter().flat_map(|&v| [f32::from(v); 9]).collect();
            let survey = Survey::of(&set);
            prop_assert!(Tally::of(&set, &survey).is_some() || set.len() / VOXELS_PER_NUMBER < 80);
            let plain = Survey { is_whole: false, ..survey };
            let mut expected = vec![0.0; set.len()];
            equalise_set(&set, &plain, bins, &mut expected);
            prop_assert_eq!(equalised(&set, bins), expected);
        }

        #[test]
        fn every_voxel_is_counted_in_the_half_whose_edges_hold_it(set in proptest::collection::vec(0u16..512, 2..300)) {
            // Edges at 0, 1, 2 …: all intensities lie on one.
            let voxels: Vec<f32> = set.iter().map(|&v| f32::from(v)).collect();
            let mut expected = vec![0u32; 512];
            for &v in &set {
                expected[usize::from(v)] += 1;
            }
            prop_assert_eq!(counts(&Halves::new(0.0, 512.0, 256), &voxels), expected);
        }

        /// The quick way and the careful one.
        #[test]
        fn a_place_lies_between_its_edges(set in proptest::collection::vec(-1e3f32..1e3, 2..300), bins in 2usize..3000) {
            let Survey { low, high, .. } = Survey::of(&set);
            prop_assume!(low < high);
            let halves = Halves::new(low, high, bins);
            let mut places = vec![0.0; set.len()];
            halves.place(&set, &mut places);
            for (voxel, place) in set.iter().zip(&places) {
                let [from, to] = halves.edges[place.to_bits() as usize];
                prop_assert!(from <= *voxel && *voxel < to, "{voxel} in {from}..{to}");
            }
        }

        /// As the definition says it, in f64 and one by one.
        #[test]
        fn shares_are_those_of_the_definition(
            set in proptest::collection::vec(-1e3f32..1e3, 2..300), bins in 2usize..300, power in -145i32..110
        ) {
            let set: Vec<f32> = set.iter().map(|&v| (f64::from(v) * 2f64.powi(power)) as f32).collect();
            let Survey { low, high, .. } = Survey::of(&set);
            // Where f32 has few numbers left, the scaled set is another one.
            prop_assume!(f64::from(high) - f64::from(low) > 2f64.powi(-120));
            for (out, expected) in equalised(&set, bins).iter().zip(by_definition(&set, bins)) {
                prop_assert!((f64::from(*out) - expected).abs() < 1e-6, "{out} for {expected}");
            }
        }
    }

    /// Each intensity's share, after the module's head.
    fn by_definition(set: &[f32], bins: usize) -> Vec<f64> {
        let set: Vec<f64> = set.iter().map(|&v| f64::from(v)).collect();
        let low = set.iter().copied().fold(f64::INFINITY, f64::min);
        let high = set.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let edge = |n: usize| low + n as f64 * ((high - low) / bins as f64);
        let bin_of = |v: f64| (0..bins).rfind(|&n| v >= edge(n)).unwrap();
        let mut counts = vec![0.0; bins];
        for &v in &set {
            counts[bin_of(v)] += 1.0;
        }
        let share = |bin: usize| counts[..=bin].iter().sum::<f64>() / set.len() as f64;
        let place = |v: f64| ((v - low) / (high - low) * bins as f64 - 0.5).clamp(0.0, bins as f64 - 1.0);
        let value = |v: f64| {
            let (below, part) = (place(v).floor() as usize, place(v).fract());
            share(below) + if part > 0.0 { part * (share(below + 1) - share(below)) } else { 0.0 }
        };
        set.iter().map(|&v| value(v)).collect()
    }

    fn counts(halves: &Halves, set: &[f32]) -> Vec<u32> {
        halves.counts(set, &mut vec![0.0; set.len()])
    }

    #[test]
    fn an_intensity_on_an_edge_belongs_to_the_upper_half_and_the_largest_to_the_last() {
        let set = [0.0, 1.0, 1.0, 2.0, 3.0, 4.0];
        assert_eq!(counts(&Halves::new(0.0, 4.0, 4), &set), [1, 0, 2, 0, 1, 0, 1, 1]);
    }

    #[test]
    fn floor_is_that_of_the_number_but_for_integers_where_it_may_be_one_less() {
        for x in [0.0, 0.1, 0.9, 1.5, 254.999, 65_535.5] {
            assert_eq!(floor(x), x as u32, "{x}");
        }
        for x in 1..1000u32 {
            let index = floor(f64::from(x));
            assert!(index == x || index + 1 == x, "{x}: {index}");
        }
    }
}
