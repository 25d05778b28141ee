//! Histograms of one image: counts, Otsu's threshold, quantiles.
//!
//! Counts are integers and are added up part by part, so nothing here depends on the number of threads. Values that are not
//! finite are not counted.
//!
//! Sources: N. Otsu, IEEE Trans. Syst. Man Cybern. 9(1), 1979; R. Hyndman, Y. Fan, "Sample quantiles in statistical packages",
//! Am. Stat. 50(4), 1996 (definition 7).

use crate::context::Context;
use std::num::NonZeroUsize;

/// Values that one thread counts at a time; no result depends on it.
const PART: usize = 1 << 16;

/// Counts of equally wide bins from the smallest to the largest value, the last bin closed on the right.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    low: f64,
    high: f64,
    counts: Vec<u64>,
}

impl Histogram {
    /// Counts the finite values inside `mask`; `None` if there is none. A value within rounding of a bin's edge may fall on
    /// either side; if all values are equal, they are in the first bin.
    ///
    /// * `values`: any unit; * `mask`: `[values]`, 0 outside; without it all values count.
    ///
    /// # Panics
    /// If the mask is shorter than the values.
    pub fn of(values: &[f32], mask: Option<&[u8]>, bins: NonZeroUsize, ctx: &Context) -> Option<Self> {
        let bins = bins.get();
        let part = |n: usize| n * PART..((n + 1) * PART).min(values.len());
        let counted = |n: usize| {
            let inside = mask.map(|mask| &mask[part(n)]);
            let counts = move |at: usize| inside.is_none_or(|inside| inside[at] != 0);
            let values = values[part(n)].iter().enumerate();
            values.filter(move |&(at, value)| value.is_finite() && counts(at)).map(|(_, &value)| value)
        };
        let parts = values.len().div_ceil(PART);
        let ranges = ctx.map(parts, |n| {
            counted(n).fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)])
        });
        let [low, high] =
            ranges.into_iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], [l, h]| {
                [low.min(l.into()), high.max(h.into())]
            });
        if low > high {
            return None;
        }
        let scale = if high > low { bins as f64 / (high - low) } else { 0.0 };
        let partial = ctx.map(parts, |n| {
            let mut counts = vec![0u32; bins];
            for value in counted(n) {
                counts[(((f64::from(value) - low) * scale) as usize).min(bins - 1)] += 1;
            }
            counts
        });
        let mut counts = vec![0u64; bins];
        for part in partial {
            counts.iter_mut().zip(part).for_each(|(sum, count)| *sum += u64::from(count));
        }
        Some(Self { low, high, counts })
    }

    /// Smallest and largest value.
    pub fn range(&self) -> [f64; 2] {
        [self.low, self.high]
    }

    /// Values in each bin, lowest first.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The upper edge of the bin that splits the values into two classes whose means lie furthest apart, in the sense of the
    /// largest variance between them; the smallest value if all are equal. Values above it are the brighter class.
    pub fn otsu(&self) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let moment: f64 = self.counts.iter().enumerate().map(|(n, &count)| n as f64 * count as f64).sum();
        let (mut best, mut split) = (0.0, None);
        let (mut below, mut moment_below) = (0u64, 0.0);
        for (n, &count) in self.counts.iter().enumerate() {
            below += count;
            moment_below += n as f64 * count as f64;
            let above = total - below;
            if below > 0 && above > 0 {
                let apart = moment_below / below as f64 - (moment - moment_below) / above as f64;
                let between = below as f64 * above as f64 * apart * apart;
                if between > best {
                    (best, split) = (between, Some(n));
                }
            }
        }
        let width = (self.high - self.low) / self.counts.len() as f64;
        split.map_or(self.low, |n| self.low + (n + 1) as f64 * width)
    }
}

/// Quantiles, linear between the two nearest values; exact, by selection. `values` is not empty, holds no NaN, and loses its
/// order.
///
/// * `shares`: 0 to 1, ascending; 0.5 is the median.
///
/// # Panics
/// If there is no value, or a share lies outside 0 to 1.
pub fn quantiles(values: &mut [f32], shares: &[f64]) -> Vec<f64> {
    let last = values.len() - 1;
    let mut sorted = 0;
    let mut at = |share: f64| {
        let place = share * last as f64;
        let lower = (place as usize).min(last);
        // All below `sorted` are no larger than all from there on.
        let from = if lower >= sorted { sorted } else { 0 };
        let (_, &mut value, above) = values[from..].select_nth_unstable_by(lower - from, f32::total_cmp);
        sorted = lower;
        let (value, between) = (f64::from(value), place - lower as f64);
        if between > 0.0 {
            let next = f64::from(above.iter().copied().fold(f32::INFINITY, f32::min));
            value + (next - value) * between
        } else {
            value
        }
    };
    shares.iter().map(|&share| at(share)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, context_with};
    use proptest::prelude::*;

    const BINS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

    #[test]
    fn the_last_bin_is_closed_and_what_does_not_count_is_left_out() {
        let values = [0.0, 1.0, f32::NAN, 3.0, 4.0, f32::INFINITY, 100.0];
        let found = Histogram::of(&values, Some(&[1, 1, 1, 1, 1, 1, 0]), BINS, &context()).unwrap();
        assert_eq!((found.range(), found.counts()), ([0.0, 4.0], &[1, 1, 0, 2][..]));
        assert_eq!(Histogram::of(&values, Some(&[0; 7]), BINS, &context()), None);
        let equal = Histogram::of(&[7.0; 3], None, BINS, &context()).unwrap();
        assert_eq!((equal.counts(), equal.otsu()), (&[3, 0, 0, 0][..], 7.0));
    }

    #[test]
    fn otsu_splits_two_heaps_between_them() {
        let bins = NonZeroUsize::new(100).unwrap();
        let values: Vec<f32> =
            (0..1000).map(|n| if n % 4 == 0 { 80.0 + (n % 21) as f32 } else { (n % 21) as f32 }).collect();
        let split = Histogram::of(&values, None, bins, &context()).unwrap().otsu();
        assert!((20.0..80.0).contains(&split), "{split}");
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let values: Vec<f32> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 8) as f32).collect();
        let with = |threads| Histogram::of(&values, None, BINS, &context_with(threads)).unwrap();
        assert_eq!(with(1), with(7));
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_values(
            mut values in proptest::collection::vec(-1e3f32..1e3, 1..80),
            mut shares in proptest::collection::vec(0.0f64..=1.0, 1..8),
        ) {
            shares.sort_by(f64::total_cmp);
            shares.extend([1.0, 1.0]);
            let found = quantiles(&mut values, &shares);
            values.sort_by(f32::total_cmp);
            for (share, found) in shares.iter().zip(found) {
                let place = share * (values.len() - 1) as f64;
                let [a, b] = [place.floor(), place.ceil()].map(|n| f64::from(values[n as usize]));
                let expected = a + (b - a) * (place - place.floor());
                prop_assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{found} for {expected} at {share}");
            }
        }
    }
}
