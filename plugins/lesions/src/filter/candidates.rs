//! Candidates: connected components of the voxels at or above the threshold, with their scores.

use super::{FilterError, SCORE_SLACK};
use sdk::imaging::components::{Components, Connectivity, Run, Statistics};
use sdk::{Context, Grid, Mask, Probability};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A connected component of a score map.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its voxels, in memory order.
    pub runs: Vec<Run>,
    /// Place and extent.
    pub statistics: Statistics,
    /// Number of voxels times the volume of one, mm^3.
    pub volume_mm3: f64,
    /// Largest score.
    pub max_score: f32,
    /// Mean score.
    pub mean_score: f64,
}

impl Candidate {
    /// Places in memory of all voxels.
    pub fn voxels(&self) -> impl Iterator<Item = usize> + '_ {
        self.runs.iter().flat_map(|run| run.voxels.clone())
    }
}

/// The candidates of a score map, in the order of their first voxels.
#[derive(Debug)]
pub(super) struct Candidates {
    pub(super) components: Components,
    pub(super) list: Vec<Candidate>,
    /// Scores inside the mask that are NaN or infinite.
    pub(super) non_finite: usize,
}

/// A score that is not finite counts as 0.
fn clean(score: f32) -> f32 {
    if score.is_finite() { score } else { 0.0 }
}

impl Candidates {
    /// Finds them, inside `mask` if there is one.
    pub(super) fn find(
        probability: &Probability,
        mask: Option<&Mask>,
        threshold: f32,
        connectivity: Connectivity,
        ctx: &Context,
    ) -> Result<Self, FilterError> {
        let (components, non_finite) = components(probability, mask, threshold, connectivity, ctx)?;
        let list = list(probability.voxels(), &components, probability.grid());
        Ok(Self { components, list, non_finite })
    }
}

/// Components of the voxels at or above the threshold, and the number of scores inside the mask that are not finite.
fn components(
    probability: &Probability,
    mask: Option<&Mask>,
    threshold: f32,
    connectivity: Connectivity,
    ctx: &Context,
) -> Result<(Components, usize), FilterError> {
    let grid = probability.grid();
    let (non_finite, outside) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let components = Components::find(grid.shape, connectivity, ctx, |offset, row| {
        let scores = &probability.voxels()[offset..][..row.len()];
        let (mut bad, mut far) = (0u32, 0u32);
        for (inside, &score) in row.iter_mut().zip(scores) {
            *inside = u8::from(clean(score) >= threshold);
            far += u32::from((score - 0.5).abs() > 0.5 + SCORE_SLACK && score.is_finite());
        }
        if let Some(mask) = mask {
            for ((inside, &voxel), &score) in row.iter_mut().zip(&mask.voxels()[offset..]).zip(scores) {
                let voxel = u8::from(voxel != 0);
                *inside &= voxel;
                bad += u32::from(voxel) & u32::from(!score.is_finite());
            }
        } else {
            bad = scores.iter().map(|score| u32::from(!score.is_finite())).sum();
        }
        if bad > 0 {
            non_finite.fetch_add(bad as usize, Ordering::Relaxed);
        }
        if far > 0 {
            outside.fetch_add(far as usize, Ordering::Relaxed);
        }
    });
    match outside.into_inner() {
        0 => Ok((components, non_finite.into_inner())),
        found => Err(FilterError::Range { found, of: grid.len() }),
    }
}

/// Runs and scores of each component, summed in memory order.
fn list(scores: &[f32], components: &Components, grid: &Grid) -> Vec<Candidate> {
    let start = |&statistics: &Statistics| Candidate {
        runs: Vec::new(),
        statistics,
        volume_mm3: statistics.voxels as f64 * grid.voxel_volume_mm3(),
        max_score: 0.0,
        mean_score: 0.0,
    };
    let mut list: Vec<Candidate> = components.statistics().iter().map(start).collect();
    for run in components.runs() {
        let candidate = &mut list[run.label as usize - 1];
        for &score in &scores[run.voxels.clone()] {
            let score = clean(score);
            candidate.max_score = candidate.max_score.max(score);
            candidate.mean_score += f64::from(score);
        }
        candidate.runs.push(run);
    }
    for candidate in &mut list {
        candidate.mean_score /= candidate.statistics.voxels as f64;
    }
    list
}
