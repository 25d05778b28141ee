//! Lesion-wise Dice and HD95 by the rules of BraTS-METS 2023, for one class.
//!
//! Truth that touches after a dilation by its 18 neighbours is one lesion. Predicted components that touch the dilated lesion
//! are its prediction; none is a miss. Components that touch no dilated lesion are false positives. A miss and a false
//! positive each have a Dice of 0 and a distance of 374 mm. Lesions of up to 2 mm³ are left out.
//!
//! HD95 is the larger of the two directed 95th percentiles (linear) of the distances between voxels of the two surfaces: a
//! mask without its 6-neighbour erosion. The challenge weights by surface area; expect differences up to about one voxel.
//!
//! Source: A. W. Moawad et al., "The Brain Tumor Segmentation (BraTS-METS) Challenge 2023", arXiv 2306.00838.

use crate::evidence::{Run, shared_by_label};
use crate::lesions::{Prediction, SIZE_SLACK};
use crate::region::{Region, dilate, index};
use sdk::imaging::components::Connectivity;
use sdk::imaging::distance;
use sdk::{Affine, Context, Grid, OperatorError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// HD95 of a miss or a false positive: the diagonal of the challenge's volumes, mm.
pub const WORST_MM: f64 = 374.0;
/// Largest volume of a lesion that is left out, mm³.
const LEFT_OUT_MM3: f64 = 2.0;

/// Figures of a case by the challenge's rules.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brats {
    /// Lesions with a prediction.
    pub tp: u64,
    /// Lesions without.
    #[serde(rename = "fn")]
    pub fn_: u64,
    /// Predicted components without a lesion.
    pub fp: u64,
    /// Mean Dice over all of these, 0..=1; 1 if there is none.
    pub lesionwise_dice: f64,
    /// Mean HD95 over all of these, mm; 0 if there is none.
    pub lesionwise_hd95: f64,
}

/// Scores a prediction.
///
/// * `truth`: runs of the truth, in memory order; whatever their labels.
///
/// # Errors
/// No memory; the stage was asked to stop.
pub fn score(
    truth: &[Run],
    prediction: &Prediction,
    grid: &Grid,
    ctx: &Context,
) -> Result<Brats, OperatorError> {
    let lesions = merged(truth, grid, ctx);
    let mut matched = BTreeSet::new();
    let (mut tp, mut fn_, mut dice, mut hd95) = (0, 0, 0.0, 0.0);
    let mut touched: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (lesion, component, _) in shared_by_label(&lesions.dilated, &prediction.runs) {
        touched.entry(lesion).or_default().insert(component);
        matched.insert(component);
    }
    let mut both: BTreeMap<u32, u64> = BTreeMap::new();
    for (lesion, _, voxels) in shared_by_label(&lesions.truth, &prediction.runs) {
        *both.entry(lesion).or_insert(0) += voxels;
    }
    let least = LEFT_OUT_MM3 * (1.0 + SIZE_SLACK) / grid.voxel_volume_mm3();
    for (&lesion, &voxels) in &lesions.voxels {
        if voxels as f64 <= least {
            continue;
        }
        let Some(components) = touched.get(&lesion) else {
            fn_ += 1;
            hd95 += WORST_MM;
            continue;
        };
        tp += 1;
        let predicted: u64 = components.iter().map(|&n| prediction.voxels[n as usize - 1]).sum();
        dice += 2.0 * both.get(&lesion).copied().unwrap_or(0) as f64 / (voxels + predicted) as f64;
        let own: Vec<Run> = lesions.truth.iter().filter(|run| run[2] == lesion).copied().collect();
        let theirs: Vec<Run> =
            prediction.runs.iter().filter(|run| components.contains(&run[2])).copied().collect();
        hd95 += hd95_mm(&own, &theirs, grid, ctx)?;
    }
    let fp = prediction.voxels.len() as u64 - matched.len() as u64;
    hd95 += WORST_MM * fp as f64;
    let all = tp + fn_ + fp;
    let mean = |sum: f64, of_none: f64| if all == 0 { of_none } else { sum / all as f64 };
    Ok(Brats { tp, fn_, fp, lesionwise_dice: mean(dice, 1.0), lesionwise_hd95: mean(hd95, 0.0) })
}

/// The truth as the challenge sees it.
#[derive(Default)]
struct Merged {
    /// Runs of the truth with the numbers of their lesions.
    truth: Vec<Run>,
    /// Runs of the dilated lesions.
    dilated: Vec<Run>,
    /// Voxels of each lesion.
    voxels: BTreeMap<u32, u64>,
}

fn merged(truth: &[Run], grid: &Grid, ctx: &Context) -> Merged {
    let Some(region) = Region::around(grid.shape, truth) else { return Merged::default() };
    let region = region.grown(1);
    let (_, dilated) = region.components(&dilate(&region, truth), Connectivity::Corners26, ctx);
    let mut lesions = Merged { dilated, ..Merged::default() };
    let mut own = Vec::with_capacity(truth.len());
    crate::evidence::shared(truth, &lesions.dilated, |_, n, both| {
        let lesion = lesions.dilated[n][2];
        own.push([both.start as u32, both.len() as u32, lesion]);
        *lesions.voxels.entry(lesion).or_insert(0) += both.len() as u64;
    });
    lesions.truth = own;
    lesions
}

/// HD95 of two sets of voxels in mm; neither is empty.
///
/// # Errors
/// No memory; the stage was asked to stop.
pub fn hd95_mm(a: &[Run], b: &[Run], grid: &Grid, ctx: &Context) -> Result<f64, OperatorError> {
    let Some(region) = Region::around(grid.shape, a.iter().chain(b)) else { return Ok(0.0) };
    let surfaces = [a, b].map(|runs| surface(&region.paint(runs), region.shape));
    let spacing = Affine::scale_shift(grid.spacing_mm(), [0.0; 3]);
    let within = Grid::new(region.shape, spacing);
    let directed = |from: &[u8], to: &[u8]| -> Result<f64, OperatorError> {
        let squared = distance::squared_mm2(&within, ctx, |offset, row| {
            row.copy_from_slice(&to[offset..offset + row.len()]);
        })?;
        let mut distances: Vec<f64> = from
            .iter()
            .zip(squared.iter())
            .filter(|(inside, _)| **inside != 0)
            .map(|(_, square)| f64::from(*square).sqrt())
            .collect();
        Ok(percentile(&mut distances, 0.95))
    };
    Ok(directed(&surfaces[0], &surfaces[1])?.max(directed(&surfaces[1], &surfaces[0])?))
}

/// The voxels of a volume of 0 and 1 of which a 6-neighbour is 0 or lies outside.
fn surface(volume: &[u8], shape: [usize; 3]) -> Vec<u8> {
    let [nx, ny, nz] = shape;
    let steps = [1, nx, nx * ny];
    let is_surface = |place: usize| {
        let at = index(shape, place);
        (0..3).any(|axis| {
            at[axis] == 0
                || at[axis] + 1 == [nx, ny, nz][axis]
                || volume[place - steps[axis]] == 0
                || volume[place + steps[axis]] == 0
        })
    };
    (0..volume.len()).map(|place| u8::from(volume[place] != 0 && is_surface(place))).collect()
}

/// The value below which a share of the values lies, linear between neighbours; there is at least one value.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = share * (values.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(values.len() - 1);
    values[below] + (values[above] - values[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sdk::testing::context;

    const SHAPE: [usize; 3] = [6, 5, 4];

    fn runs(voxels: &[bool]) -> Vec<Run> {
        let marked: Vec<u8> = voxels.iter().map(|&inside| u8::from(inside)).collect();
        crate::evidence::runs_of(SHAPE, &marked, u32::from)
    }

    /// From each surface voxel of one to the nearest of the other, pair by pair.
    fn brute_force(a: &[bool], b: &[bool], grid: &Grid) -> f64 {
        let at = |set: &[bool], p: [i64; 3]| {
            (0..3).all(|n| (0..SHAPE[n] as i64).contains(&p[n])) && set[grid.offset(p.map(|n| n as usize))]
        };
        let surface = |set: &[bool]| -> Vec<[f64; 3]> {
            let places = (0..grid.len()).filter(|&n| set[n]).map(|n| grid.index(n));
            let steps = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]];
            let open = |p: &[usize; 3]| steps.iter().any(|s| !at(set, [0, 1, 2].map(|n| p[n] as i64 + s[n])));
            places.filter(open).map(|p| grid.world(p)).collect()
        };
        let (a, b) = (surface(a), surface(b));
        let distance = |p: &[f64; 3], q: &[f64; 3]| (0..3).map(|n| (p[n] - q[n]).powi(2)).sum::<f64>().sqrt();
        let directed = |from: &[[f64; 3]], to: &[[f64; 3]]| {
            let nearest = |p| to.iter().map(|q| distance(p, q)).fold(f64::INFINITY, f64::min);
            percentile(&mut from.iter().map(nearest).collect::<Vec<_>>(), 0.95)
        };
        directed(&a, &b).max(directed(&b, &a))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Squared distances are f32: to 1e-6 of a voxel.
        #[test]
        fn hd95_is_that_of_all_pairs_of_surface_voxels(
            a in proptest::collection::vec(proptest::bool::weighted(0.2), 120),
            b in proptest::collection::vec(proptest::bool::weighted(0.4), 120),
        ) {
            prop_assume!(a.contains(&true) && b.contains(&true));
            let spacing = Affine::scale_shift([0.9375, -1.5, 3.0], [5.0, 6.0, 7.0]);
            let grid = Grid::new(SHAPE, Affine::rigid([0.3, 0.2, 0.1], [0.0; 3], [0.0; 3]).after(&spacing));
            let found = hd95_mm(&runs(&a), &runs(&b), &grid, &context()).unwrap();
            prop_assert!((found - brute_force(&a, &b, &grid)).abs() < 1e-6);
        }
    }

    fn scored(truth: &[Run], predicted: &[Run]) -> Brats {
        let sizes = predicted.iter().map(|run| u64::from(run[1])).collect();
        let prediction = Prediction { voxels: sizes, runs: predicted.to_vec() };
        score(truth, &prediction, &Grid::axis_aligned([40, 1, 1], [1.0; 3]), &context()).unwrap()
    }

    #[test]
    fn misses_and_false_positives_count_as_bad_as_can_be() {
        let nothing = scored(&[], &[]);
        assert_eq!((nothing.lesionwise_dice, nothing.lesionwise_hd95), (1.0, 0.0));
        let missed = scored(&[[0, 5, 1]], &[]);
        assert_eq!((missed.fn_, missed.lesionwise_dice, missed.lesionwise_hd95), (1, 0.0, WORST_MM));
        let mixed = scored(&[[0, 4, 1], [20, 4, 1]], &[[0, 4, 1], [10, 3, 2]]);
        assert_eq!((mixed.tp, mixed.fn_, mixed.fp), (1, 1, 1));
        assert_eq!((mixed.lesionwise_dice, mixed.lesionwise_hd95), (1.0 / 3.0, 2.0 * WORST_MM / 3.0));
    }

    #[test]
    fn small_lesions_are_left_out_and_what_meets_them_is_no_false_positive() {
        let small = scored(&[[0, 2, 1]], &[[2, 3, 1]]);
        assert_eq!((small.tp, small.fn_, small.fp, small.lesionwise_dice), (0, 0, 0, 1.0));
    }

    #[test]
    fn lesions_that_touch_when_dilated_are_one() {
        let near = scored(&[[0, 4, 1], [6, 4, 1]], &[[0, 4, 1]]);
        assert_eq!((near.tp, near.fn_), (1, 0));
        let far = scored(&[[0, 4, 1], [7, 4, 1]], &[[0, 4, 1]]);
        assert_eq!((far.tp, far.fn_), (1, 1));
    }
}
