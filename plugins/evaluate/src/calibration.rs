//! How far scores are probabilities: reliability in bins, and the expected calibration error.
//!
//! Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Bins of equal width over 0..=1.
pub const BINS: usize = 15;

/// Voxels of a bin of scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Voxels inside the mask with such a score.
    pub voxels: u64,
    /// Of these, lesion voxels.
    pub positives: u64,
    /// Sum of their scores.
    pub score_sum: f64,
}

/// Voxels by score.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// [`BINS`] bins, or none of nothing.
    pub bins: Vec<Bin>,
}

fn bin(score: f32) -> usize {
    ((score * BINS as f32) as usize).min(BINS - 1)
}

impl Calibration {
    /// Of scores; those in the ranges are of lesion voxels.
    pub fn of(scores: &[f32], positives: &[Range<usize>]) -> Self {
        let mut bins = vec![Bin::default(); BINS];
        for &score in scores {
            let bin = &mut bins[bin(score)];
            bin.voxels += 1;
            bin.score_sum += f64::from(score);
        }
        for &score in positives.iter().flat_map(|range| &scores[range.clone()]) {
            bins[bin(score)].positives += 1;
        }
        Self { bins }
    }

    /// Adds the voxels of another case.
    pub fn add(&mut self, other: &Self) {
        self.bins.resize(self.bins.len().max(other.bins.len()), Bin::default());
        for (sum, bin) in self.bins.iter_mut().zip(&other.bins) {
            sum.voxels += bin.voxels;
            sum.positives += bin.positives;
            sum.score_sum += bin.score_sum;
        }
    }

    /// Expected calibration error: mean distance of score and share of lesion, over voxels; none without a voxel.
    pub fn ece(&self) -> Option<f64> {
        let voxels: u64 = self.bins.iter().map(|bin| bin.voxels).sum();
        let apart = self.bins.iter().map(|bin| (bin.positives as f64 - bin.score_sum).abs());
        (voxels > 0).then(|| apart.sum::<f64>() / voxels as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_are_shares_are_calibrated_and_others_are_as_far_off_as_they_say() {
        let half = Calibration::of(&[0.5; 4], std::slice::from_ref(&(1..3)));
        assert_eq!(half.ece(), Some(0.0));
        let sure = Calibration::of(&[1.0, 1.0, 0.0, 0.0], std::slice::from_ref(&(0..1)));
        assert_eq!(sure.ece(), Some(0.25));
        assert_eq!((sure.bins[BINS - 1].voxels, sure.bins[0].voxels), (2, 2));
        let mut both = Calibration::default();
        assert_eq!(both.ece(), None);
        both.add(&half);
        both.add(&sure);
        assert_eq!(both.ece(), Some(0.125));
    }
}
