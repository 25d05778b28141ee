//! Means, bootstrap intervals over patients, and paired differences.
//!
//! Random numbers depend on a seed and their place alone, so that no interval depends on the number of threads.

use crate::brats::percentile;
use serde::{Deserialize, Serialize};

/// Share of the resampled means below and above an interval: 95 % lie within.
const TAIL: f64 = 0.025;
/// Up to so many pairs all changes of sign are counted; above, random ones.
const MOST_EXACT_PAIRS: usize = 16;
/// Random changes of sign beyond that.
const SIGN_FLIPS: u64 = 10_000;

/// Mean and spread of what exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// Values that exist.
    pub n: usize,
    /// Their mean; none without a value.
    pub mean: Option<f64>,
    /// Their standard deviation, n - 1 in the denominator; 0 for one value, none without one.
    pub sd: Option<f64>,
}

/// Mean and SD of the values that exist.
pub fn mean(values: &[Option<f64>]) -> Mean {
    let values: Vec<f64> = values.iter().copied().flatten().collect();
    let n = values.len();
    if n == 0 {
        return Mean::default();
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let sd = if n == 1 { 0.0 } else { (squares / (n - 1) as f64).sqrt() };
    Mean { n, mean: Some(mean), sd: Some(sd) }
}

/// A number that looks random: splitmix64 of Steele et al., 2014, at a place.
const fn random(seed: u64, place: u64) -> u64 {
    let mut z = seed.wrapping_add(place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `limit`, from the high bits of a product (Lemire 2019): the bias is below 2^-50 for as many as patients.
const fn below(limit: usize, random: u64) -> usize {
    ((random as u128 * limit as u128) >> 64) as usize
}

/// Mean of the values that exist of the patients drawn.
fn mean_of(values: &[Option<f64>], drawn: &[usize]) -> Option<f64> {
    let drawn = drawn.iter().filter_map(|&patient| values[patient]);
    let (sum, n) = drawn.fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// Between which 95 % of the figures lie.
fn ends(mut figures: Vec<f64>) -> Option<[f64; 2]> {
    (!figures.is_empty()).then(|| [percentile(&mut figures, TAIL), percentile(&mut figures, 1.0 - TAIL)])
}

/// How patients are resampled.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    /// Resamplings; 0 for none.
    pub replicates: u32,
    /// Seed.
    pub seed: u64,
}

impl Bootstrap {
    /// 95 % interval of the mean, by percentiles over resamplings of the patients, those without a value among them; none
    /// with fewer than two values.
    pub fn interval(&self, values: &[Option<f64>]) -> Option<[f64; 2]> {
        self.interval_of(values.len(), |drawn| mean_of(values, drawn))
            .filter(|_| values.iter().flatten().count() > 1)
    }

    /// 95 % interval of any figure of so many patients; resamplings without the figure are left out.
    ///
    /// * `figure`: of the patients drawn, by index, in the order drawn.
    pub fn interval_of(&self, patients: usize, figure: impl Fn(&[usize]) -> Option<f64>) -> Option<[f64; 2]> {
        ends(self.figures(patients, |_, drawn| figure(drawn)))
    }

    /// 95 % interval of a mean that also depends on something else that was estimated (a threshold): resampling `n` takes the values
    /// of the `n % len`th of some equally likely states of it. None with fewer than two patients with a value, or without a state.
    ///
    /// * `values`: of each state, of each patient, the same patients in each.
    pub fn interval_over(&self, values: &[Vec<Option<f64>>]) -> Option<[f64; 2]> {
        let patients = values.first()?.len();
        let exist = |patient: &usize| values.iter().any(|state| state[*patient].is_some());
        if (0..patients).filter(exist).count() < 2 {
            return None;
        }
        ends(self.figures(patients, |replicate, drawn| mean_of(&values[replicate % values.len()], drawn)))
    }

    /// So many equally likely values of a mean over patients: the middles of as many equal parts of its bootstrap distribution,
    /// in ascending order; none with fewer than two values.
    pub fn quantiles(&self, values: &[Option<f64>], count: usize) -> Vec<f64> {
        if values.iter().flatten().count() < 2 {
            return Vec::new();
        }
        let mut means = self.figures(values.len(), |_, drawn| mean_of(values, drawn));
        if means.is_empty() {
            return means;
        }
        (0..count).map(|n| percentile(&mut means, (n as f64 + 0.5) / count as f64)).collect()
    }

    /// A figure of each resampling; those without it are left out.
    fn figures(&self, patients: usize, figure: impl Fn(usize, &[usize]) -> Option<f64>) -> Vec<f64> {
        let mut drawn = vec![0; patients];
        let mut figures = Vec::with_capacity(self.replicates as usize);
        for replicate in 0..u64::from(self.replicates) {
            for (n, patient) in drawn.iter_mut().enumerate() {
                *patient = below(patients, random(self.seed, replicate * patients as u64 + n as u64));
            }
            figures.extend(figure(replicate as usize, &drawn));
        }
        figures
    }

    /// Two-sided p of paired differences by changes of sign: all of them up to 16 pairs, 10,000 random ones above. None
    /// without a pair.
    pub fn sign_flip_p(&self, differences: &[f64]) -> Option<f64> {
        let n = differences.len();
        let observed = differences.iter().sum::<f64>().abs();
        // Sums in another order differ in their last bits.
        let least = observed * (1.0 - 1e-12);
        let extreme = |signs: &dyn Fn(usize) -> bool| {
            let sum: f64 = differences.iter().enumerate().map(|(n, d)| if signs(n) { *d } else { -d }).sum();
            u64::from(sum.abs() >= least)
        };
        if n == 0 {
            return None;
        }
        if n <= MOST_EXACT_PAIRS {
            let count: u64 = (0u64..1 << n).map(|flips| extreme(&|place| flips >> place & 1 == 0)).sum();
            return Some(count as f64 / (1u64 << n) as f64);
        }
        let is_plus = |flip: u64, place: usize| random(self.seed, flip * n as u64 + place as u64) >> 63 == 0;
        let count: u64 = (0..SIGN_FLIPS).map(|flip| extreme(&|place| is_plus(flip, place))).sum();
        Some((count + 1) as f64 / (SIGN_FLIPS + 1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTSTRAP: Bootstrap = Bootstrap { replicates: 2000, seed: 1 };

    #[test]
    fn one_value_has_no_spread_and_none_has_no_mean() {
        assert_eq!(mean(&[None, Some(2.0)]), Mean { n: 1, mean: Some(2.0), sd: Some(0.0) });
        assert_eq!(mean(&[None]), Mean { n: 0, mean: None, sd: None });
        assert_eq!(mean(&[Some(1.0), Some(3.0)]).sd, Some(2f64.sqrt()));
    }

    #[test]
    fn the_interval_of_a_mean_is_about_two_standard_errors_wide() {
        let values: Vec<Option<f64>> = (0..100).map(|n| Some(f64::from(n))).collect();
        let [low, high] = BOOTSTRAP.interval(&values).unwrap();
        let standard_error = mean(&values).sd.unwrap() / 10.0;
        assert!(
            (high - low - 2.0 * 1.96 * standard_error).abs() < 0.1 * standard_error * 3.92,
            "{low} {high}"
        );
        assert!(low < 49.5 && 49.5 < high);
        assert_eq!(BOOTSTRAP.interval(&values), Some([low, high]));
        assert_eq!(BOOTSTRAP.interval(&[Some(1.0)]), None);
        assert_eq!(Bootstrap { replicates: 0, seed: 1 }.interval(&values), None);
    }

    #[test]
    fn an_interval_over_states_that_agree_is_that_of_the_values_and_wider_where_they_do_not() {
        let values: Vec<Option<f64>> = (0..40).map(|n| Some(f64::from(n % 7))).collect();
        let plain = BOOTSTRAP.interval(&values).unwrap();
        assert_eq!(BOOTSTRAP.interval_over(&[values.clone(), values.clone()]), Some(plain));
        let moved = |by: f64| values.iter().map(|value| value.map(|v| v + by)).collect::<Vec<_>>();
        let [low, high] = BOOTSTRAP.interval_over(&[moved(-1.0), moved(0.0), moved(1.0)]).unwrap();
        assert!(low < plain[0] - 0.5 && high > plain[1] + 0.5, "{low} {high} {plain:?}");
        assert_eq!(BOOTSTRAP.interval_over(&[]), None);
        assert_eq!(BOOTSTRAP.interval_over(&[vec![Some(1.0), None]]), None);
    }

    #[test]
    fn quantiles_are_the_middles_of_equal_parts_of_the_bootstrap_means() {
        let values: Vec<Option<f64>> = (0..100).map(|n| Some(f64::from(n))).collect();
        let found = BOOTSTRAP.quantiles(&values, 20);
        assert!(found.len() == 20 && found.is_sorted());
        let standard_error = mean(&values).sd.unwrap() / 10.0;
        // The outermost twentieths begin 1.96 standard errors from the mean; 2000 resamplings tell a tenth of one.
        assert!((found[19] - 49.5 - 1.96 * standard_error).abs() < 0.3 * standard_error, "{found:?}");
        assert_eq!(BOOTSTRAP.quantiles(&[Some(1.0), None], 20), Vec::<f64>::new());
    }

    #[test]
    fn differences_of_one_sign_are_as_rare_as_their_number_says() {
        assert_eq!(BOOTSTRAP.sign_flip_p(&[1.0; 6]), Some(2.0 / 64.0));
        assert_eq!(BOOTSTRAP.sign_flip_p(&[1.0, -1.0]), Some(1.0));
        assert_eq!(BOOTSTRAP.sign_flip_p(&[]), None);
        let none: Vec<f64> = (0..40).map(|n| if n % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert_eq!(BOOTSTRAP.sign_flip_p(&none), Some(1.0));
        assert!(BOOTSTRAP.sign_flip_p(&[1.0; 40]).unwrap() < 0.001);
    }
}
