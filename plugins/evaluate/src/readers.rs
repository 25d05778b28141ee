//! Agreement of two readers on one case.

use crate::evidence::{Run, shared_by_label};
use crate::lesions::{Prediction, Rules, compare};
use serde::{Deserialize, Serialize};

/// How far two readers agree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Voxels of the first reader.
    pub voxels: u64,
    /// Voxels of the second.
    pub voxels_other: u64,
    /// Voxels of both.
    pub voxels_both: u64,
    /// Dice of the two, 0..=1; 1 where both are empty.
    pub dice: f64,
    /// Lesions of the first reader.
    pub lesions: u64,
    /// Of these, those that the second has, by the rule of found lesions.
    pub lesions_seen: u64,
    /// Lesions of the second reader.
    pub lesions_other: u64,
    /// Of these, those that the first has.
    pub lesions_other_seen: u64,
}

/// Holds the runs of two readers against each other.
pub fn agreement(first: &[Run], second: &[Run], rules: &Rules) -> Agreement {
    let voxels_both: u64 = shared_by_label(first, second).iter().map(|shared| shared.2).sum();
    let [(one, seen), (two, other_seen)] = [(first, second), (second, first)].map(|(own, theirs)| {
        let (own_voxels, voxels) = (sizes(own), sizes(theirs));
        let (matches, _) = compare(own, &own_voxels, &Prediction { voxels, runs: theirs.to_vec() }, rules);
        (own_voxels, matches.iter().filter(|m| m.found).count() as u64)
    });
    let (voxels, voxels_other) = (one.iter().sum::<u64>(), two.iter().sum::<u64>());
    let either = voxels + voxels_other;
    Agreement {
        voxels,
        voxels_other,
        voxels_both,
        dice: if either == 0 { 1.0 } else { 2.0 * voxels_both as f64 / either as f64 },
        lesions: one.len() as u64,
        lesions_seen: seen,
        lesions_other: two.len() as u64,
        lesions_other_seen: other_seen,
    }
}

fn sizes(runs: &[Run]) -> Vec<u64> {
    let mut sizes = vec![0; runs.iter().map(|run| run[2]).max().unwrap_or(0) as usize];
    for run in runs {
        sizes[run[2] as usize - 1] += u64::from(run[1]);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    #[test]
    fn readers_agree_as_far_as_their_lesions_and_voxels_do() {
        let rules = Rules::of(&Options::default(), 1.0).unwrap();
        let first = [[0, 10, 1], [20, 5, 2]];
        let second = [[5, 10, 1]];
        let found = agreement(&first, &second, &rules);
        assert_eq!((found.voxels, found.voxels_other, found.voxels_both), (15, 10, 5));
        assert_eq!(
            (found.lesions, found.lesions_seen, found.lesions_other, found.lesions_other_seen),
            (2, 1, 1, 1)
        );
        assert_eq!(found.dice, 0.4);
        assert_eq!(agreement(&[], &[], &rules).dice, 1.0);
    }
}
