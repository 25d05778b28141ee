//! Lesions out of a score map: threshold, connected components, size limit.
//!
//! A voxel is a candidate's if its score is at least the threshold, both as f32, inside the mask; a score that is not finite
//! counts as 0. Touching voxels are one candidate. A candidate below the size limit is no lesion, but a class of its own that
//! stays in sight: real metastases can be that small.
//!
//! Candidates are numbered largest first (of equal ones: first in memory), accepted ones before those below the size limit.
//!
//! Source: E. Grøvik et al., J. Magn. Reson. Imaging 51, 2020 (26-connected components, 10 mm^3).

use sdk::imaging::components::{Components, Connectivity, UnknownConnectivity};
use sdk::{Column, Context, Facts, Grid, JsonSchema, Labels, Mask, OperatorError, Probability, Table};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The publication behind the default rule.
pub const CITATION: &str = "Grøvik E, Yi D, Iv M, Tong E, Rubin D, Zaharchuk G. Deep learning enables automatic detection and \
                            segmentation of brain metastases on multisequence MRI. J Magn Reson Imaging 2020;51:175-182.";

/// Threshold where neither setting nor model gives one: the middle of the scale.
pub const DEFAULT_THRESHOLD: f64 = 0.5;

/// How far below its limit a volume still counts as on it, relative: the rounding of a header's f32 spacings cancels, that of
/// the product of counts and volumes does not.
const SLACK: f64 = 1e-9;

/// How far beyond 0..=1 a score may lie through rounding in resampling.
const SCORE_SLACK: f32 = 1e-3;

/// Settings of `filter_lesions`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Lowest score of a lesion's voxels, 0 to 1. Without it: the `threshold` that the score map carries from its model, else
    /// 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: Option<f64>,
    /// Smallest volume of a lesion in mm^3, itself accepted.
    #[schemars(range(min = 0.0))]
    pub min_volume_mm3: f64,
    /// Which voxels touch: 6 (faces), 18 (and edges) or 26 (and corners).
    #[schemars(extend("enum" = [6, 18, 26]))]
    pub connectivity: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { threshold: None, min_volume_mm3: 10.0, connectivity: 26 }
    }
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// The first setting out of its range.
    pub fn check(&self) -> Result<(), FilterError> {
        if let Some(found) = self.threshold
            && !(0.0..=1.0).contains(&found)
        {
            return Err(FilterError::Threshold { given_by: ThresholdSource::Setting, found });
        }
        if !(self.min_volume_mm3.is_finite() && self.min_volume_mm3 >= 0.0) {
            return Err(FilterError::MinVolume { found: self.min_volume_mm3 });
        }
        Connectivity::of(self.connectivity)?;
        Ok(())
    }
}

/// Where a threshold came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdSource {
    /// The setting `threshold`.
    Setting,
    /// The fact `threshold` of the score map.
    Model,
    /// [`DEFAULT_THRESHOLD`].
    Default,
}

impl ThresholdSource {
    /// As facts and messages say it: `setting`, `model`, `default`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Model => "model",
            Self::Default => "default",
        }
    }
}

/// Why a score map could not be filtered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// A threshold that no score can have.
    #[error("`threshold` (from: {}) is {found}, outside 0 to 1\nhint: set `threshold` to a score", given_by.name())]
    Threshold {
        /// Who gave it.
        given_by: ThresholdSource,
        /// The threshold.
        found: f64,
    },
    /// A size limit that no volume can be held against.
    #[error("`min_volume_mm3` is {found}, below 0 or not finite\nhint: 0 accepts every candidate")]
    MinVolume {
        /// The limit.
        found: f64,
    },
    /// A connectivity other than 6, 18, 26.
    #[error(transparent)]
    Connectivity(#[from] UnknownConnectivity),
    /// Mask and scores lie on different grids.
    #[error("a mask on {mask} for scores on {scores}\nhint: `resample` the mask onto the scores' grid")]
    OtherGrid {
        /// Grid of the mask.
        mask: Box<Grid>,
        /// Grid of the scores.
        scores: Box<Grid>,
    },
    /// Nowhere to look.
    #[error("a mask without a single voxel of {of}\nhint: has the brain been found? look at the skull strip")]
    EmptyMask {
        /// Voxels of the grid.
        of: usize,
    },
    /// Scores that are none.
    #[error("{found} of {of} scores lie outside 0 to 1\nhint: is this a map of percent, or of logits?")]
    Range {
        /// Scores out of range.
        found: usize,
        /// Voxels of the grid.
        of: usize,
    },
}

/// What was found in a score map.
#[derive(Debug)]
pub struct Lesions {
    /// Accepted lesions, `1..=n`.
    pub labels: Labels,
    /// Candidates below the size limit, `n + 1` and up.
    pub below_size: Labels,
    /// A row for each candidate, in the order of its ids.
    pub table: Table,
    /// Scores inside the mask that are NaN or infinite.
    pub non_finite: usize,
}

/// The threshold to use, and who gave it: the setting, else the score map's fact, else [`DEFAULT_THRESHOLD`].
///
/// # Errors
/// [`FilterError::Threshold`] if it lies outside 0 to 1.
pub fn threshold(options: &Options, facts: &Facts) -> Result<(f64, ThresholdSource), FilterError> {
    let (found, source) = match (options.threshold, facts.number("threshold")) {
        (Some(threshold), _) => (threshold, ThresholdSource::Setting),
        (None, Some(threshold)) => (threshold, ThresholdSource::Model),
        (None, None) => (DEFAULT_THRESHOLD, ThresholdSource::Default),
    };
    if (0.0..=1.0).contains(&found) {
        Ok((found, source))
    } else {
        Err(FilterError::Threshold { given_by: source, found })
    }
}

/// Finds the lesions of a score map, inside `mask` if there is one.
///
/// * `threshold`: lowest score of a lesion's voxels, compared as f32.
///
/// # Errors
/// [`FilterError`]; no memory; the stage was asked to stop.
pub fn lesions(
    probability: &Probability,
    mask: Option<&Mask>,
    threshold: f64,
    options: &Options,
    ctx: &Context,
) -> Result<Lesions, OperatorError> {
    let grid = probability.grid();
    check_mask(grid, mask)?;
    let (components, non_finite) =
        components(probability, mask, threshold as f32, Connectivity::of(options.connectivity)?, ctx)?;
    ctx.check_cancelled()?;

    let (table, numbers) = sort_out(&components, &scores(probability.voxels(), &components), grid, options);
    let paint = |numbers: &[u32]| -> Result<Labels, OperatorError> {
        let mut out = ctx.alloc::<u32>(grid.len())?;
        components.paint(&mut out, numbers, ctx);
        Ok(Labels::new(*grid, out.freeze())?)
    };
    Ok(Lesions { labels: paint(&numbers[0])?, below_size: paint(&numbers[1])?, table, non_finite })
}

/// The table of candidates, and for each component its number among the accepted and among those below the size limit; 0
/// where it is not one of them.
fn sort_out(
    components: &Components,
    scores: &[Score],
    grid: &Grid,
    options: &Options,
) -> (Table, [Vec<u32>; 2]) {
    let voxel_mm3 = grid.voxel_volume_mm3();
    let limit_mm3 = options.min_volume_mm3;
    let statistics = components.statistics();
    let mut order: Vec<usize> = (0..components.len()).collect();
    // Stable: of equal candidates the first in memory comes first. Accepted ones are the larger ones.
    order.sort_by_key(|&n| std::cmp::Reverse(statistics[n].voxels));
    let mut numbers = [vec![0; components.len()], vec![0; components.len()]];
    let mut table = Table::new(columns());
    for (place, &n) in order.iter().enumerate() {
        let voxels = statistics[n].voxels;
        let volume_mm3 = voxels as f64 * voxel_mm3;
        let accepted = volume_mm3 >= limit_mm3 * (1.0 - SLACK);
        numbers[usize::from(!accepted)][n] = place as u32 + 1;
        let [x, y, z] = grid.voxel_to_world.point(statistics[n].centroid());
        table.rows.push(vec![
            (place + 1).into(),
            if accepted { "accepted" } else { "below_size" }.into(),
            "min_volume_mm3".into(),
            volume_mm3.into(),
            limit_mm3.into(),
            voxels.into(),
            volume_mm3.into(),
            x.into(),
            y.into(),
            z.into(),
            f64::from(scores[n].max).into(),
            (scores[n].sum / voxels as f64).into(),
        ]);
    }
    (table, numbers)
}

fn check_mask(grid: &Grid, mask: Option<&Mask>) -> Result<(), FilterError> {
    let Some(mask) = mask else { return Ok(()) };
    if !grid.matches(mask.grid()) {
        return Err(FilterError::OtherGrid { mask: Box::new(*mask.grid()), scores: Box::new(*grid) });
    }
    if mask.count() == 0 { Err(FilterError::EmptyMask { of: grid.len() }) } else { Ok(()) }
}

/// A score that is not finite counts as 0.
fn clean(score: f32) -> f32 {
    if score.is_finite() { score } else { 0.0 }
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

#[derive(Clone, Copy, Default)]
struct Score {
    max: f32,
    sum: f64,
}

/// Largest score and sum of scores of each component, summed in memory order.
fn scores(voxels: &[f32], components: &Components) -> Vec<Score> {
    let mut scores = vec![Score::default(); components.len()];
    for run in components.runs() {
        let score = &mut scores[run.label as usize - 1];
        for &voxel in &voxels[run.voxels] {
            let voxel = clean(voxel);
            score.max = score.max.max(voxel);
            score.sum += f64::from(voxel);
        }
    }
    scores
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("id", "", "number of the candidate in `labels` or `below_size`"),
        Column::new("class", "", "`accepted`, or `below_size`: smaller than the limit"),
        Column::new("rule", "", "the setting that decided"),
        Column::new("value", "", "what was held against the rule's limit, in the unit of the rule"),
        Column::new("limit", "", "the rule's limit, in the unit of the rule"),
        Column::new("voxels", "", "number of voxels"),
        Column::new("volume_mm3", "mm^3", "voxels times the volume of one"),
        Column::new("centroid_x", "mm", "mean place of the voxels, to the right (RAS+)"),
        Column::new("centroid_y", "mm", "mean place of the voxels, to the front (RAS+)"),
        Column::new("centroid_z", "mm", "mean place of the voxels, up (RAS+)"),
        Column::new("max_score", "", "largest score"),
        Column::new("mean_score", "", "mean score"),
    ]
}
