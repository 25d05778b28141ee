//! Robust z-scores: how far a case lies from the middle of its cohort, in units that a few bad cases cannot widen.

/// Makes the median absolute deviation of a normal distribution its standard deviation: the 0.75 quantile of the standard normal
/// (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993).
const NORMAL_QUARTILE: f64 = 0.674_489_75;
/// Fewer values have no middle worth a comparison.
const LEAST_VALUES: usize = 5;

/// The median of finite values, which are sorted; none of none.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = &values[(values.len() - 1) / 2];
    Some(f64::midpoint(*lower, *upper))
}

/// The robust z-score of each value: its distance from the median over the scaled median absolute deviation.
///
/// None where there is no finite value, fewer than five values in all, or more than half of them are equal.
pub fn robust_z(values: &[Option<f64>]) -> Vec<Option<f64>> {
    let finite = |value: &Option<f64>| value.filter(|value| value.is_finite());
    let mut known: Vec<f64> = values.iter().filter_map(finite).collect();
    let nothing = vec![None; values.len()];
    if known.len() < LEAST_VALUES {
        return nothing;
    }
    let Some(middle) = median(&mut known) else { return nothing };
    let mut distances: Vec<f64> = known.iter().map(|value| (value - middle).abs()).collect();
    match median(&mut distances) {
        Some(spread) if spread > 0.0 => values
            .iter()
            .map(|value| finite(value).map(|value| NORMAL_QUARTILE * (value - middle) / spread))
            .collect(),
        _ => nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wild_value_does_not_hide_itself() {
        let mut values: Vec<Option<f64>> = (0..9).map(|n| Some(f64::from(n))).collect();
        values.extend([Some(1000.0), None, Some(f64::NAN)]);
        let z = robust_z(&values);
        assert!(z[9].unwrap() > 200.0 && z[..9].iter().all(|z| z.unwrap().abs() < 1.5), "{z:?}");
        assert_eq!(z[10..], [None, None]);
    }

    #[test]
    fn values_without_a_middle_or_a_spread_have_no_score() {
        assert_eq!(robust_z(&[Some(1.0), Some(9.0)]), [None, None]);
        assert_eq!(robust_z(&[Some(2.0); 6]), [None; 6]);
        assert_eq!(median(&mut [3.0, 1.0, 2.0, 10.0]), Some(2.5));
    }
}
