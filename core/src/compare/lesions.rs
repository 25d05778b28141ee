//! Two label volumes: lesions, and which of them have a partner.

use super::Verdict;
use super::measures::{LabelMeasures, Measures, Pair};
use super::volumes::{MM3_PER_ML, dice, grids};
use crate::host::{Cancel, StageHost};
use sdk::imaging::components::{Components, Connectivity};
use sdk::{Context, Labels};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The share of a lesion that must be foreground in the other volume for the two to be matched; more than this, not as much.
const MATCHING_SHARE: f64 = 0.10;

/// Compares two label volumes.
pub(super) fn compare(a: &Labels, b: &Labels) -> (Verdict, Measures) {
    let same_grid = a.grid().matches(b.grid());
    let (in_a, in_b) = rayon::join(|| foreground(a), || foreground(b));
    let overlap = Overlap::of(a.voxels(), b.voxels());
    let matched = Pair { a: count_matched(&in_a, b.voxels()), b: count_matched(&in_b, a.voxels()) };
    let size = |lesions: &Components| lesions.statistics().iter().map(|lesion| lesion.voxels).sum::<usize>();
    let voxels = Pair { a: size(&in_a), b: size(&in_b) };
    let volume =
        |labels: &Labels, voxels: usize| voxels as f64 * labels.grid().voxel_volume_mm3() / MM3_PER_ML;
    let measures = LabelMeasures {
        same_grid,
        grid: grids(a.grid(), b.grid()),
        labels: Pair { a, b }.map(count_labels),
        lesions: Pair { a: in_a.len(), b: in_b.len() },
        volume_ml: Pair { a: volume(a, voxels.a), b: volume(b, voxels.b) },
        matched: same_grid.then_some(matched),
        unmatched: same_grid.then(|| Pair { a: in_a.len() - matched.a, b: in_b.len() - matched.b }),
        dice: same_grid.then(|| dice(overlap.both, voxels.a, voxels.b)),
        voxels_differ: same_grid.then(|| voxels.a + voxels.b - 2 * overlap.both),
        relabelled: same_grid.then_some(overlap.relabelled),
    };
    let verdict = match (measures.voxels_differ, measures.relabelled) {
        (None, _) => Verdict::OtherGrid,
        (Some(0), Some(0)) => Verdict::Identical,
        _ => Verdict::Differs,
    };
    (verdict, Measures::Labels(measures))
}

/// The 26-connected components of all labels together.
fn foreground(labels: &Labels) -> Components {
    let host = StageHost {
        pool: None,
        cancel: Cancel::default(),
        progress: Arc::new(|_, _| {}),
        scratch_root: std::env::temp_dir(),
        case: String::new(),
    };
    let voxels = labels.voxels();
    Components::find(
        labels.grid().shape,
        Connectivity::Corners26,
        &Context::new(host.object()),
        |offset, row| {
            for (inside, voxel) in row.iter_mut().zip(&voxels[offset..]) {
                *inside = u8::from(*voxel != 0);
            }
        },
    )
}

fn count_labels(labels: &Labels) -> usize {
    let mut found = BTreeSet::new();
    let mut last = 0;
    for &label in labels.voxels() {
        if label != last && label != 0 {
            found.insert(label);
        }
        last = label;
    }
    found.len()
}

struct Overlap {
    /// Voxels in both foregrounds.
    both: usize,
    /// Of these, those with another label.
    relabelled: usize,
}

impl Overlap {
    fn of(a: &[u32], b: &[u32]) -> Self {
        let both = || a.iter().zip(b).filter(|(a, b)| **a != 0 && **b != 0);
        Self { both: both().count(), relabelled: both().filter(|(a, b)| a != b).count() }
    }
}

/// How many lesions lie by more than [`MATCHING_SHARE`] in the other volume's foreground. On other grids without meaning.
fn count_matched(lesions: &Components, other: &[u32]) -> usize {
    let mut covered = vec![0usize; lesions.len()];
    for run in lesions.runs() {
        let voxels = other.get(run.voxels).unwrap_or_default();
        covered[run.label as usize - 1] += voxels.iter().filter(|voxel| **voxel != 0).count();
    }
    let matched = lesions
        .statistics()
        .iter()
        .zip(covered)
        .filter(|(lesion, covered)| *covered as f64 > MATCHING_SHARE * lesion.voxels as f64);
    matched.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Grid;

    /// A row of voxels, one for each digit; 1 x 1 x 10 mm.
    fn row(digits: &str) -> Labels {
        let voxels: Vec<u32> = digits.chars().map(|digit| digit.to_digit(10).unwrap()).collect();
        Labels::new(Grid::axis_aligned([voxels.len(), 1, 1], [1.0, 1.0, 10.0]), voxels).unwrap()
    }

    fn measured(a: &Labels, b: &Labels) -> (Verdict, LabelMeasures) {
        match compare(a, b) {
            (verdict, Measures::Labels(measures)) => (verdict, measures),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lesions_are_matched_where_they_overlap_and_counted_on_each_side() {
        // The first lesion of A is two of B; the second of A has none; the last of B is new.
        let (verdict, m) = measured(&row("1111110000220000000"), &row("1100330000000000440"));
        assert_eq!(verdict, Verdict::Differs);
        assert_eq!(m.lesions, Pair { a: 2, b: 3 });
        assert_eq!(m.labels, Pair { a: 2, b: 3 });
        assert_eq!(m.matched, Some(Pair { a: 1, b: 2 }));
        assert_eq!(m.unmatched, Some(Pair { a: 1, b: 1 }));
        assert_eq!(m.volume_ml, Pair { a: 0.08, b: 0.06 });
        assert_eq!((m.dice, m.voxels_differ, m.relabelled), (Some(8.0 / 14.0), Some(6), Some(2)));
    }

    #[test]
    fn a_tenth_of_a_lesion_is_not_yet_a_match() {
        let lesion = row("11111111110");
        assert_eq!(measured(&lesion, &row("10000000000")).1.matched, Some(Pair { a: 0, b: 1 }));
        assert_eq!(measured(&lesion, &row("11000000000")).1.matched, Some(Pair { a: 1, b: 1 }));
    }

    #[test]
    fn other_numbers_for_the_same_lesions_are_a_difference_of_labels_alone() {
        let (verdict, m) = measured(&row("1100220"), &row("2200110"));
        assert_eq!((verdict, m.dice, m.voxels_differ), (Verdict::Differs, Some(1.0), Some(0)));
        assert_eq!((m.relabelled, m.matched), (Some(4), Some(Pair { a: 2, b: 2 })));
        assert_eq!(measured(&row("1100220"), &row("1100220")).0, Verdict::Identical);
    }

    #[test]
    fn touching_labels_are_one_lesion() {
        let (_, m) = measured(&row("1122000"), &row("0000000"));
        assert_eq!((m.labels.a, m.lesions.a), (2, 1));
        assert_eq!(m.dice, Some(0.0));
    }

    #[test]
    fn lesions_on_another_grid_are_counted_and_measured() {
        let (verdict, m) = measured(&row("1100220"), &row("11002"));
        assert_eq!((verdict, m.lesions), (Verdict::OtherGrid, Pair { a: 2, b: 2 }));
        assert_eq!((m.volume_ml, m.dice, m.matched), (Pair { a: 0.04, b: 0.03 }, None, None));
    }
}
