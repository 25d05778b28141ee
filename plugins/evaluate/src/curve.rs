//! The exact ROC curve of a case over its voxels, and the thresholds that are best on it.
//!
//! A score and whether its voxel is lesion make one integer key (the bits of a score in 0..=1 rise with it), the keys are
//! sorted by radix, and one walk down the sorted keys meets every threshold there is. Counts are integers, so that the area is
//! exact, ties at one half included (Mann-Whitney).
//!
//! A threshold is a score that occurs, `p >= t`; above the highest there is the one that predicts nothing. Criteria are
//! compared after rounding to 12 decimals; of equal ones the highest threshold is taken.

use serde::{Deserialize, Serialize};

/// Points of a curve on a common axis: FPR 0, 0.01 .. 1.
pub const POINTS: usize = 101;

/// Bits of a digit in the radix sort: three passes over the 31 bits of a key, with counters that fit into the first cache.
const DIGIT_BITS: u32 = 11;
/// Passes of the sort.
const PASSES: u32 = 3;
/// Criteria are equal if they agree to so many parts of one.
const DECIMALS: f64 = 1e12;

/// The key of a voxel: ascending with its score.
///
/// * `score`: finite, 0..=1, no negative zero.
pub const fn key(score: f32, lesion: bool) -> u32 {
    score.to_bits() << 1 | lesion as u32
}

/// Sorts keys in ascending order; they have 31 bits.
pub fn sort(keys: &mut Vec<u32>) {
    let buckets = 1usize << DIGIT_BITS;
    let digit = |key: u32, pass: u32| (key >> (pass * DIGIT_BITS)) as usize & (buckets - 1);
    let mut counts = vec![0u32; buckets * PASSES as usize];
    for &key in keys.iter() {
        for pass in 0..PASSES {
            counts[pass as usize * buckets + digit(key, pass)] += 1;
        }
    }
    let mut other = vec![0u32; keys.len()];
    for pass in 0..PASSES {
        let counts = &mut counts[pass as usize * buckets..][..buckets];
        if counts.iter().any(|&count| count as usize == keys.len()) {
            continue;
        }
        let mut next = 0;
        for count in counts.iter_mut() {
            next += std::mem::replace(count, next);
        }
        for &key in keys.iter() {
            let place = &mut counts[digit(key, pass)];
            other[*place as usize] = key;
            *place += 1;
        }
        std::mem::swap(keys, &mut other);
    }
}

/// Voxels at or above a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The threshold.
    pub score: f32,
    /// Lesion voxels at or above it.
    pub tp: u64,
    /// Other voxels at or above it.
    pub fp: u64,
}

/// Every threshold that occurs, from the highest down.
///
/// * `sorted`: keys in ascending order.
pub fn steps(sorted: &[u32]) -> impl Iterator<Item = Step> + '_ {
    let (mut tp, mut fp) = (0u64, 0u64);
    let mut left = sorted.len();
    std::iter::from_fn(move || {
        let bits = sorted[..left].last()? >> 1;
        while let Some(&key) = sorted[..left].last()
            && key >> 1 == bits
        {
            tp += u64::from(key & 1);
            fp += u64::from(key & 1 ^ 1);
            left -= 1;
        }
        Some(Step { score: f32::from_bits(bits), tp, fp })
    })
}

/// What the ROC curve of a case says; all of it is absent without a lesion voxel or without another in the mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Roc {
    /// Area under it, 0..=1: the probability that a lesion voxel scores higher than another, ties at one half.
    pub auc: Option<f64>,
    /// Share of lesion voxels at or above the Youden threshold.
    pub sensitivity: Option<f64>,
    /// Share of other voxels below the Youden threshold.
    pub specificity: Option<f64>,
    /// Highest sensitivity + specificity - 1.
    pub youden_j: Option<f64>,
    /// The threshold there; absent where nothing is better than predicting nothing.
    pub youden_threshold: Option<f64>,
    /// The threshold of the highest Dice.
    pub dice_threshold: Option<f64>,
    /// The highest Dice.
    pub dice_max: Option<f64>,
    /// The threshold closest to the upper left corner; absent as for Youden.
    pub corner_threshold: Option<f64>,
}

/// The best threshold so far by one criterion.
struct Best {
    /// The criterion in parts of [`DECIMALS`], rounded.
    rounded: f64,
    /// The criterion.
    value: f64,
    step: Option<Step>,
}

impl Best {
    fn at_nothing(value: f64) -> Self {
        Self { rounded: (value * DECIMALS).round_ties_even(), value, step: None }
    }

    fn offer(&mut self, value: f64, step: Step) {
        let scaled = value * DECIMALS;
        // Rounding moves by one half at most; it is looked at only where it can matter.
        if scaled < self.rounded {
            return;
        }
        let rounded = scaled.round_ties_even();
        if rounded > self.rounded {
            *self = Self { rounded, value, step: Some(step) };
        }
    }

    fn threshold(&self) -> Option<f64> {
        self.step.map(|step| f64::from(step.score))
    }
}

/// The curve's figures, and its highest TPR at FPR 0, 0.01 .. 1, linear between the FPR that occur.
///
/// * `sorted`: keys in ascending order.
pub fn roc(sorted: &[u32]) -> Option<(Roc, Vec<f64>)> {
    let positives = sorted.iter().map(|key| u64::from(key & 1)).sum::<u64>();
    let negatives = sorted.len() as u64 - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let (p, n) = (positives as f64, negatives as f64);
    let (mut youden, mut dice, mut corner) =
        (Best::at_nothing(0.0), Best::at_nothing(0.0), Best::at_nothing(-1.0));
    let mut axis = Axis::new();
    let mut doubled_area = 0u64;
    let mut last = Step { score: f32::INFINITY, tp: 0, fp: 0 };
    for step in steps(sorted) {
        // Each new lesion voxel beats the others below it, and ties with those of its own score.
        doubled_area += (step.tp - last.tp) * (2 * (negatives - step.fp) + (step.fp - last.fp));
        if step.fp != last.fp {
            axis.point(last.fp as f64 / n, last.tp as f64 / p);
        }
        let (tpr, fpr) = (step.tp as f64 / p, step.fp as f64 / n);
        youden.offer(tpr - fpr, step);
        dice.offer(2.0 * step.tp as f64 / (step.tp + step.fp + positives) as f64, step);
        corner.offer(-((1.0 - tpr) * (1.0 - tpr) + fpr * fpr), step);
        last = step;
    }
    axis.point(1.0, 1.0);
    let at_youden = youden.step.unwrap_or(Step { score: f32::INFINITY, tp: 0, fp: 0 });
    let roc = Roc {
        auc: Some(doubled_area as f64 / (2 * positives * negatives) as f64),
        sensitivity: Some(at_youden.tp as f64 / p),
        specificity: Some((negatives - at_youden.fp) as f64 / n),
        youden_j: Some(youden.value),
        youden_threshold: youden.threshold(),
        dice_threshold: dice.threshold(),
        dice_max: Some(dice.value),
        corner_threshold: corner.threshold(),
    };
    Some((roc, axis.tpr))
}

/// A curve on the common axis, from points in ascending order.
struct Axis {
    tpr: Vec<f64>,
    last: (f64, f64),
}

impl Axis {
    fn new() -> Self {
        Self { tpr: Vec::with_capacity(POINTS), last: (0.0, 0.0) }
    }

    fn point(&mut self, fpr: f64, tpr: f64) {
        while self.tpr.len() < POINTS {
            let at = self.tpr.len() as f64 / (POINTS - 1) as f64;
            if at > fpr {
                break;
            }
            let (from, low) = self.last;
            let value = if at < fpr { low + (tpr - low) * (at - from) / (fpr - from) } else { tpr };
            self.tpr.push(value);
        }
        self.last = (fpr, tpr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(voxels: &[(f32, bool)]) -> Vec<u32> {
        let mut keys = voxels.iter().map(|&(score, lesion)| key(score, lesion)).collect();
        sort(&mut keys);
        keys
    }

    /// Scores that often tie.
    fn voxels() -> impl Strategy<Value = Vec<(f32, bool)>> {
        let score = prop_oneof![(0u8..5).prop_map(|n| f32::from(n) / 4.0), 0.0f32..=1.0];
        proptest::collection::vec((score, any::<bool>()), 2..60)
    }

    proptest! {
        #[test]
        fn the_area_is_the_share_of_pairs_in_the_right_order(voxels in voxels()) {
            let of = |lesion: bool| voxels.iter().filter(move |v| v.1 == lesion).map(|v| v.0);
            let pairs = of(true).flat_map(|p| of(false).map(move |n| if p > n { 2u64 } else { u64::from(p == n) }));
            let doubled: u64 = pairs.sum();
            let count = of(true).count() as u64 * of(false).count() as u64;
            let found = roc(&sorted(&voxels)).and_then(|(roc, _)| roc.auc);
            prop_assert_eq!(found, (count > 0).then(|| doubled as f64 / (2 * count) as f64));
        }

        #[test]
        fn keys_are_sorted_as_any_sort_would(mut keys in proptest::collection::vec(0u32..1 << 31, 0..500)) {
            let mut expected = keys.clone();
            expected.sort_unstable();
            sort(&mut keys);
            prop_assert_eq!(keys, expected);
        }

        #[test]
        fn optima_are_those_of_all_thresholds_and_the_highest_of_equal_ones(voxels in voxels()) {
            let Some((roc, _)) = roc(&sorted(&voxels)) else { return Ok(()) };
            let mut thresholds: Vec<f32> = voxels.iter().map(|v| v.0).collect();
            thresholds.sort_by(|a, b| b.total_cmp(a));
            thresholds.dedup();
            let count = |lesion: bool, t: f32| voxels.iter().filter(|v| v.1 == lesion && v.0 >= t).count() as f64;
            let (p, n) = (count(true, 0.0), count(false, 0.0));
            let round = |x: f64| (x * 1e12).round_ties_even() / 1e12;
            let best = |criterion: &dyn Fn(f64, f64) -> f64, nothing: f64| {
                let mut best = (round(nothing), None);
                for &t in &thresholds {
                    let value = round(criterion(count(true, t), count(false, t)));
                    if value > best.0 {
                        best = (value, Some(f64::from(t)));
                    }
                }
                best
            };
            let youden = best(&|tp, fp| tp / p - fp / n, 0.0);
            prop_assert_eq!(roc.youden_threshold, youden.1);
            prop_assert!((roc.youden_j.unwrap() - youden.0).abs() < 1e-11);
            prop_assert_eq!(roc.dice_threshold, best(&|tp, fp| 2.0 * tp / (tp + fp + p), 0.0).1);
            let corner = best(&|tp, fp| -((1.0 - tp / p).powi(2) + (fp / n).powi(2)), -1.0);
            prop_assert_eq!(roc.corner_threshold, corner.1);
        }

        #[test]
        fn the_curve_on_the_common_axis_is_that_of_all_points(voxels in voxels()) {
            let Some((_, tpr)) = roc(&sorted(&voxels)) else { return Ok(()) };
            let total = |lesion: bool| voxels.iter().filter(|v| v.1 == lesion).count() as f64;
            let mut points = vec![(0.0, 0.0)];
            for step in steps(&sorted(&voxels)) {
                let point = (step.fp as f64 / total(false), step.tp as f64 / total(true));
                if points.last().unwrap().0 == point.0 {
                    points.pop();
                }
                points.push(point);
            }
            for (n, &found) in tpr.iter().enumerate() {
                let x = n as f64 / 100.0;
                let above = points.iter().position(|point| point.0 >= x).unwrap();
                let (x1, y1) = points[above];
                let expected = if x1 == x {
                    y1
                } else {
                    let (x0, y0) = points[above - 1];
                    y0 + (y1 - y0) * (x - x0) / (x1 - x0)
                };
                prop_assert!((found - expected).abs() < 1e-12, "{} at {}: {}", found, x, expected);
            }
            prop_assert_eq!(tpr.len(), POINTS);
        }
    }

    #[test]
    fn without_lesion_or_without_background_there_is_no_curve() {
        assert!(roc(&sorted(&[(0.5, true), (0.2, true)])).is_none());
        assert!(roc(&sorted(&[(0.5, false)])).is_none());
        assert!(roc(&[]).is_none());
    }

    #[test]
    fn scores_that_say_nothing_have_no_best_threshold_but_that_of_dice() {
        let (roc, _) = roc(&sorted(&[(0.5, true), (0.5, false), (0.5, false)])).unwrap();
        assert_eq!((roc.auc, roc.sensitivity, roc.specificity), (Some(0.5), Some(0.0), Some(1.0)));
        assert_eq!((roc.youden_threshold, roc.youden_j), (None, Some(0.0)));
        // (1 - 1)^2 + 1^2 is no better than the (1 - 0)^2 of predicting nothing.
        assert_eq!(roc.corner_threshold, None);
        assert_eq!((roc.dice_threshold, roc.dice_max), (Some(0.5), Some(0.5)));
    }
}
