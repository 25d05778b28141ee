//! Labels by Gaussian vote: the label with the largest smoothed membership, without a volume for each label.
//!
//! Source: J. Schaerer, F. Roche, B. Belaroussi, "A generic interpolator for multi-label images", Insight Journal, 2014; here
//! with a table of votes at each place, so that memory does not grow with the number of labels.

use super::ResampleError;
use super::pull::Pull;
use crate::buffer::Buf;
use crate::context::Context;
use crate::error::OperatorError;
use crate::volume::Labels;

/// Where the Gaussian is cut, in sigmas: 0.3 % of its mass lies beyond, far less than two labels at a border differ by.
const REACH: f64 = 3.0;

/// Voxels that may vote at a place: a box of 32 to each side, far wider than half a voxel of any target.
pub(super) const MOST_VOXELS: usize = 1 << 15;

/// A width in voxels below which the nearest voxel has all the votes: one next to it has e^-50 of its.
const LEAST_SIGMA_VOXELS: f64 = 0.05;

/// Labels on the target of `pull`.
pub(super) fn labels(
    source: &Labels,
    pull: &Pull,
    sigma_mm: Option<[f64; 3]>,
    ctx: &Context,
) -> Result<Buf<u32>, OperatorError> {
    let spacing_mm = source.grid().spacing_mm();
    let sigma = match sigma_mm {
        None => pull.widest_steps().map(|step| 0.5 * step.max(1.0)),
        Some(found) if found.iter().all(|sigma| *sigma > 0.0 && sigma.is_finite()) => {
            [0, 1, 2].map(|axis| (found[axis] / spacing_mm[axis]).max(LEAST_SIGMA_VOXELS))
        }
        Some(found) => return Err(ResampleError::Sigma { found }.into()),
    };
    let shape = source.grid().shape;
    let boxes =
        [0, 1, 2].map(|axis| (2.0 * REACH * sigma[axis]).min(shape[axis] as f64).ceil().max(1.0) as usize);
    let voxels = boxes.into_iter().fold(1usize, usize::saturating_mul);
    if voxels > MOST_VOXELS {
        let found = [0, 1, 2].map(|axis| sigma[axis] * spacing_mm[axis]);
        return Err(ResampleError::Wide { found, voxels }.into());
    }
    let electorate = Electorate { voxels: source.voxels(), shape, sigma };
    pull.run(ctx, |place| {
        electorate.winner([0, 1, 2].map(|axis| place.low[axis] as f64 + f64::from(place.share[axis])))
    })
}

/// Labels and how far their votes reach.
struct Electorate<'a> {
    voxels: &'a [u32],
    shape: [usize; 3],
    /// Widths in voxels.
    sigma: [f64; 3],
}

impl Electorate<'_> {
    fn winner(&self, place: [f64; 3]) -> u32 {
        let [nx, ny, _] = self.shape;
        let [x, y, z] = [0, 1, 2].map(|axis| self.range(place[axis], axis));
        let rows = || z.clone().flat_map(|k| y.clone().map(move |j| (j, k)));
        let row = |j: usize, k: usize| &self.voxels[nx * (j + ny * k)..][x.clone()];
        let first = row(*y.start(), *z.start())[0];
        if rows().all(|(j, k)| row(j, k).iter().all(|label| *label == first)) {
            return first;
        }
        let weight =
            |at: usize, axis: usize| (-0.5 * ((at as f64 - place[axis]) / self.sigma[axis]).powi(2)).exp();
        let columns: Vec<f64> = x.clone().map(|i| weight(i, 0)).collect();
        let mut votes: Vec<(u32, f64)> = Vec::new();
        for (j, k) in rows() {
            let share = weight(j, 1) * weight(k, 2);
            for (label, column) in row(j, k).iter().zip(&columns) {
                match votes.iter_mut().find(|(known, _)| known == label) {
                    Some((_, sum)) => *sum += share * column,
                    None => votes.push((*label, share * column)),
                }
            }
        }
        let ahead = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        votes.into_iter().min_by(ahead).map_or(first, |(label, _)| label)
    }

    /// Voxels along an axis that are within reach of a place; at least the nearest.
    fn range(&self, at: f64, axis: usize) -> std::ops::RangeInclusive<usize> {
        let reach = (REACH * self.sigma[axis]).max(0.5);
        let low = (at - reach).ceil().max(0.0) as usize;
        let high = ((at + reach).floor() as usize).min(self.shape[axis] - 1);
        low..=high
    }
}
