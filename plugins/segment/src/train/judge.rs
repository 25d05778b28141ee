//! What the network does on the development cases: AUC, Dice, and the threshold.
//!
//! Scores are counted in bins of their logit, so figures are those of scores rounded to a bin: ties within a bin count half.

use super::{Criterion, Options};
use crate::calibration::Count;
use sdk::{Mask, Probability};

/// Bins per unit of the logit: a threshold is found to within 0.004 of the score.
const BINS_PER_LOGIT: f64 = 64.0;
/// Largest logit that is told apart, either way: a score of 1 in 9 million.
const LARGEST_LOGIT: f64 = 16.0;
const BINS: usize = (2.0 * LARGEST_LOGIT * BINS_PER_LOGIT) as usize;

/// Voxels of one case by score: of lesions, and of the rest of the brain.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    lesion: Vec<u64>,
    other: Vec<u64>,
}

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures {
    /// Area under the ROC curve, mean over cases with and without lesion voxels; NaN without such a case.
    pub(super) auc: f64,
    /// Dice at the threshold, mean over cases with lesions; NaN without one.
    pub(super) dice: f64,
    /// Score from which on a voxel counts as lesion.
    pub(super) threshold: f64,
}

impl Tally {
    pub(super) fn new(scores: &Probability, truth: &[bool], mask: Option<&Mask>) -> Self {
        let mut tally = Self { lesion: vec![0; BINS], other: vec![0; BINS] };
        for (place, score) in scores.voxels().iter().enumerate() {
            if mask.is_none_or(|mask| mask.voxels()[place] != 0) {
                let side = if truth[place] { &mut tally.lesion } else { &mut tally.other };
                side[bin(f64::from(*score))] += 1;
            }
        }
        tally
    }

    fn auc(&self) -> Option<f64> {
        let (mut below, mut pairs) = (0.0, 0.0);
        for (lesion, other) in self.lesion.iter().zip(&self.other) {
            pairs += *lesion as f64 * (below + *other as f64 / 2.0);
            below += *other as f64;
        }
        let lesions: u64 = self.lesion.iter().sum();
        (lesions > 0 && below > 0.0).then(|| pairs / (lesions as f64 * below))
    }

    /// `(true positives, false positives)` of a threshold at the lower edge of each bin.
    fn above(&self) -> Vec<(f64, f64)> {
        let mut sums = (0.0, 0.0);
        let mut list: Vec<(f64, f64)> = (0..BINS)
            .rev()
            .map(|bin| {
                sums.0 += self.lesion[bin] as f64;
                sums.1 += self.other[bin] as f64;
                sums
            })
            .collect();
        list.reverse();
        list
    }

    fn lesions(&self) -> f64 {
        self.lesion.iter().sum::<u64>() as f64
    }

    fn others(&self) -> f64 {
        self.other.iter().sum::<u64>() as f64
    }
}

fn bin(score: f64) -> usize {
    let logit = (score / (1.0 - score)).ln().clamp(-LARGEST_LOGIT, LARGEST_LOGIT);
    (((logit + LARGEST_LOGIT) * BINS_PER_LOGIT) as usize).min(BINS - 1)
}

/// The score at the lower edge of a bin.
fn score(bin: usize) -> f64 {
    1.0 / (1.0 + (LARGEST_LOGIT - bin as f64 / BINS_PER_LOGIT).exp())
}

/// The voxels of all cases by logit, each bin's in its middle.
pub(super) fn counts(tallies: &[Tally]) -> Vec<Count> {
    let sum = |bin: usize, side: fn(&Tally) -> &[u64]| {
        tallies.iter().map(|tally| side(tally)[bin]).sum::<u64>() as f64
    };
    let of = |bin: usize| Count {
        logit: (bin as f64 + 0.5) / BINS_PER_LOGIT - LARGEST_LOGIT,
        lesion: sum(bin, |tally| &tally.lesion),
        other: sum(bin, |tally| &tally.other),
    };
    (0..BINS).map(of).filter(|count| count.lesion + count.other > 0.0).collect()
}

/// What the network does on cases, with the threshold that the criterion asks for.
pub(super) fn figures(tallies: &[Tally], options: &Options) -> Figures {
    let aucs: Vec<f64> = tallies.iter().filter_map(Tally::auc).collect();
    let with_lesion: Vec<&Tally> = tallies.iter().filter(|tally| tally.lesions() > 0.0).collect();
    let above: Vec<Vec<(f64, f64)>> = with_lesion.iter().map(|tally| tally.above()).collect();
    let dice = |bin: usize| {
        let of = |(tally, above): (&&Tally, &Vec<(f64, f64)>)| {
            let (hit, wrong) = above[bin];
            2.0 * hit / (tally.lesions() + hit + wrong)
        };
        mean(&with_lesion.iter().zip(&above).map(of).collect::<Vec<_>>())
    };
    let bin = match options.criterion {
        Criterion::Dice => best(dice),
        Criterion::Youden => best(|bin| rates(tallies, bin).map_or(f64::NAN, |(tpr, fpr)| tpr - fpr)),
        Criterion::Corner => {
            best(|bin| rates(tallies, bin).map_or(f64::NAN, |(tpr, fpr)| -(1.0 - tpr).hypot(fpr)))
        }
        Criterion::Fixed => bin(options.threshold),
    };
    let threshold = if options.criterion == Criterion::Fixed { options.threshold } else { score(bin) };
    Figures { auc: mean(&aucs), dice: dice(bin), threshold }
}

/// True and false positive rate over the voxels of all cases; `None` where either is undefined.
fn rates(tallies: &[Tally], bin: usize) -> Option<(f64, f64)> {
    let (lesions, others): (f64, f64) =
        tallies.iter().fold((0.0, 0.0), |sum, tally| (sum.0 + tally.lesions(), sum.1 + tally.others()));
    let count = |side: fn(&Tally) -> &[u64]| {
        tallies.iter().map(|tally| side(tally)[bin..].iter().sum::<u64>()).sum::<u64>() as f64
    };
    (lesions > 0.0 && others > 0.0)
        .then(|| (count(|tally| &tally.lesion) / lesions, count(|tally| &tally.other) / others))
}

/// The bin of the largest value; of equal ones the highest score's. Without any, that of score 0.5.
fn best(value: impl Fn(usize) -> f64) -> usize {
    let mut best = (f64::NEG_INFINITY, bin(0.5));
    for bin in 0..BINS {
        let value = value(bin);
        if value >= best.0 {
            best = (value, bin);
        }
    }
    best.1
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { f64::NAN } else { values.iter().sum::<f64>() / values.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Grid;

    const SCORES: [f32; 8] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 0.9];
    const TRUTH: [bool; 8] = [false, false, false, true, false, true, false, true];

    fn tally() -> Tally {
        let scores = Probability::new(Grid::axis_aligned([8, 1, 1], [1.0; 3]), SCORES.to_vec()).unwrap();
        Tally::new(&scores, &TRUTH, None)
    }

    #[test]
    fn the_area_is_the_share_of_pairs_in_the_right_order() {
        // Of 3 x 5 pairs, 0.3 is above 3, 0.6 above 4, 0.9 above 5.
        assert!((tally().auc().unwrap() - 12.0 / 15.0).abs() < 1e-12);
    }

    #[test]
    fn each_criterion_finds_its_threshold() {
        let at = |criterion, threshold| {
            figures(&[tally()], &Options { criterion, threshold, ..Options::default() })
        };
        // All three lesion voxels and two others from 0.3 on: Dice 6/8; Youden 1 - 2/5 = 0.6.
        let dice = at(Criterion::Dice, 0.5);
        assert!((dice.dice - 0.75).abs() < 1e-12, "{dice:?}");
        assert!((0.2..=0.3).contains(&dice.threshold), "{dice:?}");
        assert!((0.2..=0.3).contains(&at(Criterion::Youden, 0.5).threshold));
        // At 0.6 two of three and one of five: hypot(1/3, 1/5) is less than the 2/5 at 0.3.
        assert!((0.4..=0.6).contains(&at(Criterion::Corner, 0.5).threshold));
        let fixed = at(Criterion::Fixed, 0.7);
        assert_eq!((fixed.threshold, fixed.dice), (0.7, 2.0 / 5.0));
    }

    #[test]
    fn cases_without_lesions_leave_figures_undefined_and_the_threshold_in_the_middle() {
        let scores = Probability::new(Grid::axis_aligned([8, 1, 1], [1.0; 3]), SCORES.to_vec()).unwrap();
        let none = Tally::new(&scores, &[false; 8], None);
        let figures = figures(&[none], &Options::default());
        assert!(figures.auc.is_nan() && figures.dice.is_nan());
        assert!((figures.threshold - 0.5).abs() < 1e-12);
    }
}
