//! Lesions out of a score map: threshold, connected components, and the rules that tell lesions from what looks like them.
//!
//! A voxel is a candidate's if its score is at least the threshold, both as f32, inside the mask; a score that is not finite
//! counts as 0. Touching voxels are one candidate. It has one of three classes, decided in this order:
//!
//! 1. `rejected` by `seed_threshold`: no voxel reaches it (hysteresis).
//! 2. `below_size`: smaller than the size limit. No lesion, but kept in sight: real metastases can be that small. No other rule
//!    looks at it, for shape and contrast of a few voxels say little.
//! 3. `rejected` by the first of [`rules`] that it breaks, or by a [`learned`] rule in their place.
//! 4. `accepted` else.
//!
//! A rule whose feature a candidate lacks, since an input is absent, lets it pass. Candidates are numbered by class (accepted,
//! below the size limit, rejected), within a class largest first, of equal ones the first in memory.
//!
//! Source: E. Grøvik et al., J. Magn. Reson. Imaging 51, 2020 (26-connected components, 10 mm^3); of the features, see
//! [`features`].

pub mod candidates;
pub mod features;
pub mod learned;
mod list;
pub mod rules;

use candidates::{Candidate, Candidates};
use features::{Beside, Features};
use learned::{LearnedRule, RuleError};
use rules::{Rule, Test};
use sdk::imaging::components::{Connectivity, UnknownConnectivity};
use sdk::{
    Context, Facts, FileSetting, Grid, Image, JsonSchema, Labels, Mask, OperatorError, Probability, Table,
};
use serde::{Deserialize, Serialize};

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

/// Widest scale of vesselness, mm: half a sinus.
const MAX_SCALE_MM: f64 = 10.0;

/// Settings of `filter_lesions`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Lowest score of a lesion's voxels, 0 to 1. Without it: the `threshold` that the score map carries from its model, else
    /// 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: Option<f64>,
    /// Score that at least one voxel must reach, not below the threshold; without it the threshold.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub seed_threshold: Option<f64>,
    /// Smallest volume of a lesion in mm^3, itself accepted.
    #[schemars(range(min = 0.0))]
    pub min_volume_mm3: f64,
    /// Which voxels touch: 6 (faces), 18 (and edges) or 26 (and corners).
    #[schemars(extend("enum" = [6, 18, 26]))]
    pub connectivity: u32,
    /// The rules that reject candidates, by the names of their limits, in this order; an empty list turns all off.
    pub rules: Vec<Rule>,
    /// Lowest contrast in the black-blood image of what is bright in the image, in spreads of the brain's intensities.
    pub min_black_blood: f64,
    /// Lowest gain of contrast by the contrast agent, in spreads of the brain's intensities.
    pub min_enhancement: f64,
    /// Highest tube measure where the image curves most, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_vesselness: f64,
    /// Highest ratio of the longest to the middle principal axis, from 1.
    #[schemars(range(min = 1.0))]
    pub max_elongation: f64,
    /// Lowest share of the ball with the same longest diameter that a lesion fills, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_compactness: f64,
    /// Least depth of the deepest voxel below the brain's edge, mm.
    #[schemars(range(min = 0.0))]
    pub min_edge_mm: f64,
    /// Highest mean of the prior of sinuses and skull base, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_prior: f64,
    /// Scales at which tubes are looked for: standard deviations of Gaussians in mm, above 0, up to 10.
    #[schemars(length(min = 1, max = 8))]
    pub vessel_scales_mm: Vec<f64>,
    /// A rule that `fit_filter` learned, in the place of `rules`.
    pub rule_file: Option<FileSetting>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threshold: None,
            seed_threshold: None,
            min_volume_mm3: 10.0,
            connectivity: 26,
            rules: Rule::ALL.to_vec(),
            min_black_blood: 0.0,
            min_enhancement: 0.0,
            max_vesselness: 0.7,
            max_elongation: 4.0,
            min_compactness: 0.02,
            min_edge_mm: 1.5,
            max_prior: 0.5,
            vessel_scales_mm: vec![1.0, 1.5, 2.5],
            rule_file: None,
        }
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
        let at_least = |name, found: f64, low: f64| {
            let fits = found.is_finite() && found >= low;
            if fits { Ok(()) } else { Err(FilterError::Limit { name, found, low }) }
        };
        at_least("min_volume_mm3", self.min_volume_mm3, 0.0)?;
        at_least("seed_threshold", self.seed_threshold.unwrap_or(0.0), 0.0)?;
        at_least("max_vesselness", self.max_vesselness, 0.0)?;
        at_least("max_elongation", self.max_elongation, 1.0)?;
        at_least("min_compactness", self.min_compactness, 0.0)?;
        at_least("min_edge_mm", self.min_edge_mm, 0.0)?;
        at_least("max_prior", self.max_prior, 0.0)?;
        at_least("min_black_blood", self.min_black_blood, f64::MIN)?;
        at_least("min_enhancement", self.min_enhancement, f64::MIN)?;
        for &found in &self.vessel_scales_mm {
            if !(found > 0.0 && found <= MAX_SCALE_MM) {
                return Err(FilterError::Scale { found });
            }
        }
        Connectivity::of(self.connectivity)?;
        Ok(())
    }

    /// The limit of a rule.
    pub const fn limit(&self, rule: Rule) -> f64 {
        match rule {
            Rule::MinBlackBlood => self.min_black_blood,
            Rule::MinEnhancement => self.min_enhancement,
            Rule::MaxVesselness => self.max_vesselness,
            Rule::MaxElongation => self.max_elongation,
            Rule::MinCompactness => self.min_compactness,
            Rule::MinEdgeMm => self.min_edge_mm,
            Rule::MaxPrior => self.max_prior,
        }
    }

    /// The learned rule, if one is named.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn learned(&self) -> Result<Option<LearnedRule>, RuleError> {
        self.rule_file.as_ref().map(|file| LearnedRule::read(file.as_ref())).transpose()
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
    /// A seed that would let more in than the threshold.
    #[error(
        "`seed_threshold` is {found}, where {threshold} (the threshold) to 1 is expected\nhint: leave it out to have no hysteresis"
    )]
    Seed {
        /// The seed threshold.
        found: f64,
        /// The threshold.
        threshold: f64,
    },
    /// A limit that nothing can be held against.
    #[error(
        "`{name}` is {found}, below {low} or not finite\nhint: take a rule out of `rules` to turn it off"
    )]
    Limit {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: f64,
        /// Its lowest.
        low: f64,
    },
    /// A scale at which nothing can be looked for.
    #[error(
        "`vessel_scales_mm` holds {found}, outside 0 to {MAX_SCALE_MM} mm\nhint: 1 to 3 mm suit cerebral vessels"
    )]
    Scale {
        /// The scale, mm.
        found: f64,
    },
    /// A connectivity other than 6, 18, 26.
    #[error(transparent)]
    Connectivity(#[from] UnknownConnectivity),
    /// A volume and the scores lie on different grids.
    #[error("`{name}` on {found} for scores on {scores}\nhint: `resample` it onto the scores' grid")]
    OtherGrid {
        /// Port of the volume.
        name: &'static str,
        /// Its grid.
        found: Box<Grid>,
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
    /// Rejected candidates; their numbers go on.
    pub rejected: Labels,
    /// A row for each candidate, in the order of its ids.
    pub table: Table,
    /// Scores inside the mask that are NaN or infinite.
    pub non_finite: usize,
    /// The rules, with limits, and why those that are off are off: `{name: {limit, on, why}}`.
    pub rules: serde_json::Value,
}

/// The class of a candidate, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A lesion.
    Accepted,
    /// Smaller than the size limit.
    BelowSize,
    /// What looked like a lesion.
    Rejected,
}

impl Class {
    /// As the table says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::BelowSize => "below_size",
            Self::Rejected => "rejected",
        }
    }

    /// From the word of the table; whatever is neither accepted nor below the size limit was rejected.
    pub fn of_name(name: &str) -> Self {
        match name {
            "accepted" => Self::Accepted,
            "below_size" => Self::BelowSize,
            _ => Self::Rejected,
        }
    }
}

/// What became of a candidate: class, the rule that decided, what was held against which limit, and why in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its class.
    pub class: Class,
    /// The setting that decided.
    pub rule: &'static str,
    /// What was held against the limit.
    pub value: f64,
    /// The limit.
    pub limit: f64,
    /// The largest contributions to the verdict of a learned rule.
    pub explanation: Option<String>,
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

/// Finds the lesions of a score map, inside the mask if there is one.
///
/// * `threshold`: lowest score of a lesion's voxels, compared as f32.
/// * `learned`: a rule in the place of `options.rules`.
///
/// # Errors
/// [`FilterError`]; no memory; the stage was asked to stop.
pub fn lesions(
    probability: &Probability,
    beside: &Beside<'_>,
    threshold: f64,
    options: &Options,
    learned: Option<&LearnedRule>,
    ctx: &Context,
) -> Result<Lesions, OperatorError> {
    let grid = probability.grid();
    check_grids(grid, beside)?;
    let seed = options.seed_threshold.unwrap_or(threshold);
    if !(threshold..=1.0).contains(&seed) {
        return Err(FilterError::Seed { found: seed, threshold }.into());
    }
    let connectivity = Connectivity::of(options.connectivity)?;
    let found = Candidates::find(probability, beside.mask, threshold as f32, connectivity, ctx)?;
    ctx.check_cancelled()?;
    ctx.progress(0.3, "features");
    let features = features::of_all(&found.list, grid, beside, &options.vessel_scales_mm, ctx)?;

    let judge = Judge { seed, options, learned };
    let verdicts: Vec<Verdict> = found
        .list
        .iter()
        .zip(&features)
        .map(|(candidate, features)| judge.verdict(candidate, features))
        .collect();
    let mut order: Vec<usize> = (0..found.list.len()).collect();
    // Stable: of equal candidates the first in memory comes first.
    order.sort_by_key(|&n| (verdicts[n].class, std::cmp::Reverse(found.list[n].statistics.voxels)));
    let paint = |class: Class| -> Result<Labels, OperatorError> {
        let mut numbers = vec![0; order.len()];
        for (number, &n) in (1..).zip(&order) {
            numbers[n] = if verdicts[n].class == class { number } else { 0 };
        }
        let mut out = ctx.alloc::<u32>(grid.len())?;
        if numbers.iter().any(|&number| number > 0) {
            found.components.paint(&mut out, &numbers, ctx);
        }
        Ok(Labels::new(*grid, out.freeze())?)
    };
    Ok(Lesions {
        labels: paint(Class::Accepted)?,
        below_size: paint(Class::BelowSize)?,
        rejected: paint(Class::Rejected)?,
        table: list::table(&order, &found.list, &features, &verdicts, grid, options),
        non_finite: found.non_finite,
        rules: list::rules(options, beside, learned),
    })
}

/// Decides.
struct Judge<'a> {
    seed: f64,
    options: &'a Options,
    learned: Option<&'a LearnedRule>,
}

impl Judge<'_> {
    fn verdict(&self, candidate: &Candidate, features: &Features) -> Verdict {
        let says = |class, rule, value, limit| Verdict { class, rule, value, limit, explanation: None };
        if candidate.max_score < self.seed as f32 {
            return says(Class::Rejected, "seed_threshold", f64::from(candidate.max_score), self.seed);
        }
        let (volume_mm3, limit_mm3) = (candidate.volume_mm3, self.options.min_volume_mm3);
        if volume_mm3 < limit_mm3 * (1.0 - SLACK) {
            return says(Class::BelowSize, "min_volume_mm3", volume_mm3, limit_mm3);
        }
        if let Some(rule) = self.learned {
            let probability = rule.probability(features);
            let class = if probability < rule.cut { Class::Rejected } else { Class::Accepted };
            let explanation = (class == Class::Rejected).then(|| rule.explanation(features));
            return Verdict { explanation, ..says(class, "rule_file", probability, rule.cut) };
        }
        let tests = self.options.rules.iter().map(|&rule| rule.test(self.options.limit(rule)));
        let mut broken = tests.filter_map(|test| Some((test, test.rejects(features)?)));
        match broken.next() {
            Some((Test { rule, limit, .. }, value)) => says(Class::Rejected, rule.name(), value, limit),
            None => says(Class::Accepted, "min_volume_mm3", volume_mm3, limit_mm3),
        }
    }
}

fn check_grids(grid: &Grid, beside: &Beside<'_>) -> Result<(), FilterError> {
    let grids = [
        ("mask", beside.mask.map(Mask::grid)),
        ("image", beside.image.map(Image::grid)),
        ("pre_contrast", beside.pre_contrast.map(Image::grid)),
        ("black_blood", beside.black_blood.map(Image::grid)),
        ("prior", beside.prior.map(Image::grid)),
    ];
    for (name, other) in grids {
        if let Some(found) = other
            && !grid.matches(found)
        {
            return Err(FilterError::OtherGrid { name, found: Box::new(*found), scores: Box::new(*grid) });
        }
    }
    match beside.mask {
        Some(mask) if mask.count() == 0 => Err(FilterError::EmptyMask { of: grid.len() }),
        _ => Ok(()),
    }
}
