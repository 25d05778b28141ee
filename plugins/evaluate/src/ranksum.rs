//! Wilcoxon's rank-sum test as MATLAB's `ranksum` does it, two-sided, and Holm's adjustment.
//!
//! Exact where the smaller sample has fewer than 10 values and both have fewer than 20: all subsets of the midranks are
//! counted, and p is twice the smaller tail, at most 1. Otherwise the normal approximation with tie-corrected variance and a
//! continuity correction of one half.
//!
//! Source: MATLAB R2019b, `ranksum`; S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6, 1979.

use serde::{Deserialize, Serialize};

/// The smaller sample must have fewer values for the exact test.
const EXACT_SMALLER: usize = 10;
/// Both together must have fewer.
const EXACT_BOTH: usize = 20;

/// How p was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By counting subsets.
    Exact,
    /// By the normal distribution.
    Approximate,
}

/// A comparison of two samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankSum {
    /// Two-sided p; none where a sample is empty, or all values tie in the approximation.
    pub p: Option<f64>,
    /// How it was found.
    pub method: Method,
    /// Rank sum of the smaller sample, of the first if equal.
    pub w: Option<f64>,
    /// Standardised rank sum; of the approximation only.
    pub z: Option<f64>,
    /// Values of each sample.
    pub n: [usize; 2],
}

/// Compares two samples; values that are NaN are dropped.
pub fn rank_sum(first: &[f64], second: &[f64]) -> RankSum {
    let kept = |values: &[f64]| values.iter().copied().filter(|v| !v.is_nan()).collect::<Vec<f64>>();
    let (first, second) = (kept(first), kept(second));
    let n = [first.len(), second.len()];
    let both = n[0] + n[1];
    let (small, large) = if n[0] <= n[1] { (&first, &second) } else { (&second, &first) };
    let exact = small.len() < EXACT_SMALLER && both < EXACT_BOTH;
    let method = if exact { Method::Exact } else { Method::Approximate };
    if small.is_empty() {
        return RankSum { p: None, method, w: None, z: None, n };
    }
    let (doubled, tied) = doubled_midranks(small, large);
    let doubled_w: u64 = doubled[..small.len()].iter().sum();
    let w = doubled_w as f64 / 2.0;
    if exact {
        return RankSum {
            p: Some(exact_p(&doubled, small.len(), doubled_w)),
            method,
            w: Some(w),
            z: None,
            n,
        };
    }
    let (a, b, all) = (small.len() as f64, large.len() as f64, both as f64);
    let correction = 2.0 * tied / (all * (all - 1.0));
    let variance = a * b * (all + 1.0 - correction) / 12.0;
    if variance <= 0.0 {
        return RankSum { p: None, method, w: Some(w), z: None, n };
    }
    let from_mean = w - a * (all + 1.0) / 2.0;
    let sign = if from_mean == 0.0 { 0.0 } else { from_mean.signum() };
    let z = (from_mean - 0.5 * sign) / variance.sqrt();
    RankSum { p: Some(libm::erfc(z.abs() / std::f64::consts::SQRT_2)), method, w: Some(w), z: Some(z), n }
}

/// Twice the midrank of each value, the first sample's first, and half the sum of t(t² - 1) over all ties of t values.
fn doubled_midranks(first: &[f64], second: &[f64]) -> (Vec<u64>, f64) {
    let values: Vec<f64> = first.iter().chain(second).copied().collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0; values.len()];
    let (mut tied, mut before) = (0.0, 0);
    for ties in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let count = ties.len() as u64;
        for &place in ties {
            ranks[place] = 2 * before + count + 1;
        }
        before += count;
        tied += (count * (count * count - 1)) as f64 / 2.0;
    }
    (ranks, tied)
}

/// Twice the smaller tail over all subsets of `chosen` ranks: how many there are of each sum, rank by rank.
fn exact_p(doubled: &[u64], chosen: usize, doubled_w: u64) -> f64 {
    let most = doubled.iter().sum::<u64>() as usize;
    // Subsets by their size and sum; at most C(19, 9) of them.
    let mut subsets = vec![vec![0u64; most + 1]; chosen + 1];
    subsets[0][0] = 1;
    for &rank in doubled {
        for size in (1..=chosen).rev() {
            let (smaller, larger) = subsets.split_at_mut(size);
            for sum in (rank as usize..=most).rev() {
                larger[0][sum] += smaller[size - 1][sum - rank as usize];
            }
        }
    }
    let of_size = &subsets[chosen];
    let all: u64 = of_size.iter().sum();
    let low: u64 = of_size[..=doubled_w as usize].iter().sum();
    let high: u64 = of_size[doubled_w as usize..].iter().sum();
    (2.0 * (low.min(high) as f64 / all as f64)).min(1.0)
}

/// Holm's adjusted p of a family of tests; what has no p is no part of it.
pub fn holm(p: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<usize> = (0..p.len()).filter(|&n| p[n].is_some()).collect();
    order.sort_by(|&a, &b| p[a].unwrap_or(1.0).total_cmp(&p[b].unwrap_or(1.0)));
    let mut adjusted = vec![None; p.len()];
    let mut largest = 0.0f64;
    for (rank, &place) in order.iter().enumerate() {
        let factor = (order.len() - rank) as f64;
        largest = largest.max(p[place].unwrap_or(1.0) * factor).min(1.0);
        adjusted[place] = Some(largest);
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every subset, one by one.
    fn brute_force(first: &[f64], second: &[f64]) -> f64 {
        let (small, large) = if first.len() <= second.len() { (first, second) } else { (second, first) };
        let all: Vec<f64> = small.iter().chain(large).copied().collect();
        let rank = |x: f64| {
            let below = all.iter().filter(|&&y| y < x).count() as f64;
            below + f64::midpoint(all.iter().filter(|&&y| y == x).count() as f64, 1.0)
        };
        let ranks: Vec<f64> = all.iter().map(|&x| rank(x)).collect();
        let w: f64 = ranks[..small.len()].iter().sum();
        let (mut low, mut high, mut count) = (0.0, 0.0, 0.0);
        for subset in 0u32..1 << all.len() {
            if subset.count_ones() as usize == small.len() {
                let sum: f64 = (0..all.len()).filter(|n| subset >> n & 1 == 1).map(|n| ranks[n]).sum();
                count += 1.0;
                low += f64::from(u8::from(sum <= w));
                high += f64::from(u8::from(sum >= w));
            }
        }
        (2.0 * f64::min(low / count, high / count)).min(1.0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn small_samples_are_compared_as_by_all_permutations(
            first in proptest::collection::vec((0u8..9).prop_map(f64::from), 1..6),
            second in proptest::collection::vec((0u8..9).prop_map(f64::from), 1..7),
        ) {
            let found = rank_sum(&first, &second);
            prop_assert_eq!(found.method, Method::Exact);
            prop_assert!((found.p.unwrap() - brute_force(&first, &second)).abs() < 1e-15);
        }

        #[test]
        fn which_sample_comes_first_does_not_matter(
            first in proptest::collection::vec((0u8..9).prop_map(f64::from), 1..30),
            second in proptest::collection::vec((0u8..9).prop_map(f64::from), 1..30),
        ) {
            let (forth, back) = (rank_sum(&first, &second).p, rank_sum(&second, &first).p);
            prop_assert!(forth.zip(back).is_none_or(|(p, q)| (p - q).abs() < 1e-15), "{:?} {:?}", forth, back);
        }
    }

    /// Two samples of 17 without ties, the first of which has this rank sum.
    fn of_rank_sum(w: usize) -> ([f64; 17], [f64; 17]) {
        let mut ranks: [usize; 17] = std::array::from_fn(|n| n + 1);
        let mut left = w - ranks.iter().sum::<usize>();
        for (n, rank) in ranks.iter_mut().enumerate().rev() {
            let more = left.min(n + 18 - *rank);
            *rank += more;
            left -= more;
        }
        let mut others = (1..=34).filter(|rank| !ranks.contains(rank));
        (ranks.map(|rank| rank as f64), std::array::from_fn(|_| others.next().unwrap() as f64))
    }

    /// The p-values of the paper's Tables 4A and 4B invert to whole numbers k = |W - 297.5| - 1/2 of 17 patients against 17, row by
    /// row: no ties, and a continuity correction.
    #[test]
    fn every_row_of_the_paper_s_tables_4a_and_4b_is_reproduced() {
        let table_4a = [
            (72, "0.0131"),
            (91, "0.0017"),
            (57, "0.0496"),
            (88, "0.0024"),
            (88, "0.0024"),
            (84, "0.0038"),
            (23, "0.4282"),
            (12, "0.6794"),
            (59, "0.0421"),
        ];
        let table_4b = [
            (0, "1.0000"),
            (16, "0.5816"),
            (33, "0.2557"),
            (54, "0.0629"),
            (46, "0.1131"),
            (33, "0.2557"),
            (49, "0.0915"),
            (66, "0.0230"),
            (5, "0.8633"),
        ];
        for (k, p) in table_4a.into_iter().chain(table_4b) {
            for w in [298 + k, 297 - k] {
                let (first, second) = of_rank_sum(w);
                let found = rank_sum(&first, &second);
                assert_eq!((found.w, found.method), (Some(w as f64), Method::Approximate));
                assert_eq!(format!("{:.4}", found.p.unwrap()), p, "k = {k}");
            }
        }
        // What the paper prints as ".026".
        let (first, second) = of_rank_sum(298 + 33);
        assert_eq!(format!("{:.2}", rank_sum(&first, &second).p.unwrap()), "0.26");
    }

    /// Counts of lesions tie, as in the paper's Table 4C: no whole k any more, and a smaller variance.
    #[test]
    fn ties_make_the_rank_sum_fractional_and_correct_the_variance() {
        let first: Vec<f64> = (0..17).map(|n| f64::from(n / 2)).collect();
        let second: Vec<f64> = (0..17).map(|n| f64::from(n / 2 + 2)).collect();
        let found = rank_sum(&first, &second);
        let k = (found.w.unwrap() - 297.5).abs() - 0.5;
        let z = found.z.unwrap().abs();
        assert!(z > k / (17.0f64 * 17.0 * 35.0 / 12.0).sqrt() * 1.001, "{found:?}");
        assert_eq!(rank_sum(&[1.0, 1.0, 2.0], &[1.0, 3.0]).w, Some(6.5 + 0.5));
    }

    #[test]
    fn the_method_changes_where_matlab_changes_it() {
        let of = |a: usize, b: usize| {
            let values = |from: usize, n: usize| (from..from + n).map(|v| v as f64).collect::<Vec<_>>();
            rank_sum(&values(0, a), &values(a, b)).method
        };
        assert_eq!([of(9, 10), of(10, 9), of(1, 18)], [Method::Exact; 3]);
        assert_eq!([of(10, 10), of(9, 11), of(1, 19)], [Method::Approximate; 3]);
    }

    #[test]
    fn what_cannot_be_compared_has_no_p() {
        assert_eq!(rank_sum(&[], &[1.0]).p, None);
        assert_eq!(rank_sum(&[f64::NAN], &[1.0]).n, [0, 1]);
        assert_eq!(rank_sum(&[1.0; 15], &[1.0; 15]).p, None);
        assert_eq!(rank_sum(&[1.0; 3], &[1.0; 3]).p, Some(1.0));
    }

    #[test]
    fn holm_multiplies_the_smallest_most_and_never_falls() {
        assert_eq!(
            holm(&[Some(0.03), None, Some(0.01), Some(0.02)]),
            [Some(0.04), None, Some(0.03), Some(0.04)]
        );
        assert_eq!(holm(&[Some(0.9), Some(0.8)]), [Some(1.0), Some(1.0)]);
    }
}
