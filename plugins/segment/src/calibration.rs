//! From logits to probabilities: a straight line before the logistic function.
//!
//! A network that learned with lesion voxels weighed more than others finds a lesion likelier than it is. A line that rises changes
//! neither the order of scores nor, with its threshold moved along, what is found; but a score of 0.7 then means that of such voxels
//! seven in ten are lesion, as on the cases it was fitted on.
//!
//! Source: J. Platt, "Probabilistic outputs for support vector machines", 1999, with his targets, which keep the line finite where
//! scores separate all; C. Guo et al., "On calibration of modern neural networks", ICML 2017.

use serde::{Deserialize, Serialize};

/// What a card's key should hold.
pub const EXPECTED: &str = "`{\"slope\": …, \"offset\": …}`, numbers, the slope above 0";
/// Newton's steps: they double the digits of the line each time once they are near.
const MOST_STEPS: usize = 100;
/// Change of slope and offset at which the line is found.
const CLOSE: f64 = 1e-9;
/// Halvings of a step that leads uphill before the line counts as found.
const MOST_HALVINGS: usize = 30;

/// A line that turns a network's logit into the logit of a probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Above 0.
    pub slope: f64,
    /// Added after that.
    pub offset: f64,
}

/// Voxels of one logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    /// What the network says of them.
    pub logit: f64,
    /// How many are lesion.
    pub lesion: f64,
    /// How many are not.
    pub other: f64,
}

impl Calibration {
    /// The line that leaves logits as they are.
    pub const NONE: Self = Self { slope: 1.0, offset: 0.0 };

    /// Whether it is a line that rises.
    pub fn is_usable(&self) -> bool {
        self.slope.is_finite() && self.slope > 0.0 && self.offset.is_finite()
    }

    /// A logit on the line.
    pub fn logit(&self, logit: f32) -> f32 {
        (self.slope * f64::from(logit) + self.offset) as f32
    }

    /// A score, 0..=1, as it is after calibration.
    pub fn score(&self, score: f64) -> f64 {
        logistic(self.slope * (score / (1.0 - score)).ln() + self.offset)
    }

    /// The line of the largest likelihood; `None` without voxels of both kinds, or where larger logits are not likelier lesion.
    pub fn fit(counts: &[Count]) -> Option<Self> {
        let sum = |of: fn(&Count) -> f64| counts.iter().map(of).sum::<f64>();
        let (lesions, others) = (sum(|count| count.lesion), sum(|count| count.other));
        if lesions == 0.0 || others == 0.0 {
            return None;
        }
        let targets = [(lesions + 1.0) / (lesions + 2.0), 1.0 / (others + 2.0)];
        let mut line = Self::NONE;
        for _ in 0..MOST_STEPS {
            let step = line.step(counts, targets)?;
            let start = line.loss(counts, targets);
            let halved = (0..MOST_HALVINGS).map(|n| line.moved(step, 0.5_f64.powi(n as i32)));
            let Some(next) = halved.into_iter().find(|next| next.loss(counts, targets) <= start) else {
                break;
            };
            let moved = (next.slope - line.slope).abs() + (next.offset - line.offset).abs();
            line = next;
            if moved < CLOSE {
                break;
            }
        }
        line.is_usable().then_some(line)
    }

    /// Mean of the negative logarithm of the probability that was given to what is true; 0 for a network that is sure and right.
    pub fn log_loss(&self, counts: &[Count]) -> f64 {
        let voxels: f64 = counts.iter().map(|count| count.lesion + count.other).sum();
        self.loss(counts, [1.0, 0.0]) / voxels
    }

    fn moved(&self, [slope, offset]: [f64; 2], share: f64) -> Self {
        Self { slope: self.slope + share * slope, offset: self.offset + share * offset }
    }

    /// The sum of cross-entropies. * `targets`: what a lesion voxel counts as, and another.
    fn loss(&self, counts: &[Count], targets: [f64; 2]) -> f64 {
        let of = |count: &Count| {
            let logit = self.slope * count.logit + self.offset;
            // ln(1 + e^x) without overflow.
            let above = logit.max(0.0) + (-logit.abs()).exp().ln_1p();
            count.lesion * (above - targets[0] * logit) + count.other * (above - targets[1] * logit)
        };
        counts.iter().map(of).sum()
    }

    /// Newton's step of slope and offset; `None` where all logits are alike.
    fn step(&self, counts: &[Count], targets: [f64; 2]) -> Option<[f64; 2]> {
        let (mut slope, mut bend) = ([0.0; 2], [0.0; 3]);
        for Count { logit, lesion, other } in counts {
            let score = logistic(self.slope * logit + self.offset);
            let wrong = lesion * (score - targets[0]) + other * (score - targets[1]);
            let weight = (lesion + other) * score * (1.0 - score);
            slope = [slope[0] + wrong * logit, slope[1] + wrong];
            bend = [bend[0] + weight * logit * logit, bend[1] + weight * logit, bend[2] + weight];
        }
        let determinant = bend[0] * bend[2] - bend[1] * bend[1];
        let step = [
            (bend[1] * slope[1] - bend[2] * slope[0]) / determinant,
            (bend[1] * slope[0] - bend[0] * slope[1]) / determinant,
        ];
        step.iter().all(|part| part.is_finite()).then_some(step)
    }
}

fn logistic(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million voxels of each logit from -8 to 8, of which the line's share is lesion.
    fn counts(line: Calibration) -> Vec<Count> {
        let of = |n: i32| {
            let logit = f64::from(n) / 4.0;
            let lesion = 1e6 * logistic(line.slope * logit + line.offset);
            Count { logit, lesion, other: 1e6 - lesion }
        };
        (-32..=32).map(of).collect()
    }

    #[test]
    fn the_line_that_made_the_shares_is_found() {
        for (slope, offset) in [(1.0, 0.0), (0.4, -2.3), (3.0, 1.0)] {
            let counts = counts(Calibration { slope, offset });
            let line = Calibration::fit(&counts).unwrap();
            assert!((line.slope - slope).abs() < 1e-4 && (line.offset - offset).abs() < 1e-4, "{line:?}");
            assert!(line.log_loss(&counts) <= Calibration::NONE.log_loss(&counts) + 1e-9, "{line:?}");
        }
    }

    #[test]
    fn a_network_that_is_always_right_gets_a_finite_line_and_one_that_knows_nothing_gets_none() {
        let count = |logit, lesion, other| Count { logit, lesion, other };
        let line = Calibration::fit(&[count(-3.0, 0.0, 900.0), count(3.0, 100.0, 0.0)]).unwrap();
        assert!(line.is_usable() && line.score(0.9) > 0.9, "{line:?}");
        assert_eq!(Calibration::fit(&[count(-3.0, 0.0, 900.0)]), None);
        assert_eq!(Calibration::fit(&[count(1.0, 100.0, 900.0)]), None);
        assert_eq!(Calibration::fit(&[count(-3.0, 90.0, 10.0), count(3.0, 10.0, 90.0)]), None, "upside down");
    }

    #[test]
    fn a_score_goes_where_its_logit_goes() {
        let line = Calibration { slope: 0.5, offset: -1.0 };
        for score in [0.01, 0.3, 0.5, 0.97] {
            let logit = (score / (1.0_f64 - score)).ln() as f32;
            assert!((line.score(score) - logistic(f64::from(line.logit(logit)))).abs() < 1e-6);
        }
        assert_eq!((line.score(0.0), line.score(1.0)), (0.0, 1.0));
    }
}
