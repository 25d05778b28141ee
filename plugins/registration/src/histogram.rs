//! Entropies of a joint histogram, their normalised mutual information, and how that changes with each entry.
//!
//! `NMI = (H(fixed) + H(moving)) / H(fixed, moving)`, from 1 (nothing in common) to 2 (one tells all of the other).
//!
//! Source: C. Studholme, D. Hill, D. Hawkes, "An overlap invariant entropy measure of 3D medical image alignment", Pattern
//! Recognition 32(1), 1999.

/// Sums and entropies (nats) of a joint histogram and its margins.
#[derive(Debug)]
pub struct Entropies {
    /// Sum of all entries.
    pub total: f64,
    fixed: Vec<f64>,
    moving: Vec<f64>,
    h_fixed: f64,
    h_moving: f64,
    h_joint: f64,
}

impl Entropies {
    /// Of a histogram of `bins` x `bins`, moving bin fastest; entries are not negative.
    pub fn of(histogram: &[f64], bins: usize) -> Self {
        let fixed: Vec<f64> = histogram.chunks_exact(bins).map(|row| row.iter().sum()).collect();
        let mut moving = vec![0.0; bins];
        for row in histogram.chunks_exact(bins) {
            for (sum, count) in moving.iter_mut().zip(row) {
                *sum += count;
            }
        }
        let total = fixed.iter().sum::<f64>();
        let [h_fixed, h_moving, h_joint] = [&fixed, &moving, histogram].map(|counts| entropy(counts, total));
        Self { total, fixed, moving, h_fixed, h_moving, h_joint }
    }

    /// Normalised mutual information, 1..=2; 1 of an empty histogram.
    pub fn nmi(&self) -> f64 {
        if self.h_joint > 0.0 { (self.h_fixed + self.h_moving) / self.h_joint } else { 1.0 }
    }

    /// d NMI / d histogram entry. The constant terms of the three entropies cancel: H(f) + H(m) - NMI H(f, m) = 0.
    pub fn slopes(&self, histogram: &[f64]) -> Vec<f64> {
        let bins = self.fixed.len();
        if self.h_joint <= 0.0 {
            return vec![0.0; bins * bins];
        }
        let log = |count: f64| if count > 0.0 { (count / self.total).ln() } else { 0.0 };
        let (fixed, moving): (Vec<f64>, Vec<f64>) =
            self.fixed.iter().zip(&self.moving).map(|(f, m)| (log(*f), log(*m))).unzip();
        let (nmi, scale) = (self.nmi(), -1.0 / (self.total * self.h_joint));
        let entry = |(n, count): (usize, &f64)| {
            if *count > 0.0 { scale * (fixed[n / bins] + moving[n % bins] - nmi * log(*count)) } else { 0.0 }
        };
        histogram.iter().enumerate().map(entry).collect()
    }
}

fn entropy(counts: &[f64], total: f64) -> f64 {
    if total <= 0.0 {
        return 0.0;
    }
    let sum: f64 = counts.iter().filter(|count| **count > 0.0).map(|count| count * count.ln()).sum();
    total.ln() - sum / total
}

/// Smooths a square table along both axes by 1/4, 1/2, 1/4; what would fall over the edge stays in the outer bin.
///
/// It is its own adjoint.
pub fn smooth(table: &mut [f64], bins: usize) {
    for row in table.chunks_exact_mut(bins) {
        let mut before = row[0];
        for n in 0..bins {
            let here = row[n];
            let after = row[(n + 1).min(bins - 1)];
            row[n] = 0.25 * (before + after) + 0.5 * here;
            before = here;
        }
    }
    let mut before = table[..bins].to_vec();
    for n in 0..bins {
        let after = (n + 1).min(bins - 1) * bins;
        for m in 0..bins {
            let here = table[n * bins + m];
            // The last row's neighbour is the row itself, which must still be as it was.
            let next = if n + 1 < bins { table[after + m] } else { here };
            table[n * bins + m] = 0.25 * (before[m] + next) + 0.5 * here;
            before[m] = here;
        }
    }
}

/// The table with its axes exchanged.
pub fn transposed(table: &[f64], bins: usize) -> Vec<f64> {
    (0..bins * bins).map(|n| table[n % bins * bins + n / bins]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BINS: usize = 8;

    fn nmi(table: &[f64], bins: usize) -> f64 {
        Entropies::of(table, bins).nmi()
    }

    proptest! {
        /// What two images share cannot depend on which is called fixed, with and without smoothing (1e-12: rounding).
        #[test]
        fn nmi_is_symmetric(table in proptest::collection::vec(0.0f64..10.0, BINS * BINS)) {
            let mut table = table;
            prop_assert!((nmi(&table, BINS) - nmi(&transposed(&table, BINS), BINS)).abs() < 1e-12);
            smooth(&mut table, BINS);
            prop_assert!((nmi(&table, BINS) - nmi(&transposed(&table, BINS), BINS)).abs() < 1e-12);
        }

        /// Bins that are given other numbers in rising or falling order, with gaps between them, tell as much (1e-12:
        /// rounding, as sums run in another order). Turned round, they do so after smoothing, too.
        #[test]
        fn nmi_knows_no_names_of_bins(
            table in proptest::collection::vec(0.0f64..10.0, BINS * BINS),
            places in proptest::sample::subsequence((0..2 * BINS).collect::<Vec<_>>(), BINS),
            falling in proptest::bool::ANY,
        ) {
            let mut table = table;
            let place = |n: usize| places[if falling { BINS - 1 - n } else { n }];
            let mut renamed = vec![0.0; 4 * BINS * BINS];
            for (n, count) in table.iter().enumerate() {
                renamed[place(n / BINS) * 2 * BINS + n % BINS] = *count;
            }
            prop_assert!((nmi(&table, BINS) - nmi(&renamed, 2 * BINS)).abs() < 1e-12);
            let mut turned: Vec<f64> = table.chunks_exact(BINS).rev().flatten().copied().collect();
            smooth(&mut table, BINS);
            smooth(&mut turned, BINS);
            prop_assert!((nmi(&table, BINS) - nmi(&turned, BINS)).abs() < 1e-12);
        }

        /// The smoothing moves counts and loses none, and it is its own adjoint (1e-9 of sums near 500: rounding).
        #[test]
        fn smoothing_loses_nothing_and_is_its_own_adjoint(
            a in proptest::collection::vec(0.0f64..10.0, BINS * BINS),
            b in proptest::collection::vec(-1.0f64..1.0, BINS * BINS),
        ) {
            let (mut smooth_a, mut smooth_b) = (a.clone(), b.clone());
            smooth(&mut smooth_a, BINS);
            smooth(&mut smooth_b, BINS);
            prop_assert!((a.iter().sum::<f64>() - smooth_a.iter().sum::<f64>()).abs() < 1e-9);
            let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            prop_assert!((dot(&a, &smooth_b) - dot(&smooth_a, &b)).abs() < 1e-9);
        }
    }
}
