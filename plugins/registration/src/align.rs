//! Registration by normalised mutual information, coarse to fine: rigid, similar or affine.
//!
//! 1. Both images are smoothed and thinned to 8, 4, 2 and 1 mm ([`crate::pyramid`]); slices wider than that stay as they are.
//! 2. At 8 mm a fan of rotations is tried about three starts: the headers as they are, the images' centres, the centres of
//!    mass; where the size is free, at three sizes ([`crate::start`]). The best are climbed, rigidly or by similarity.
//! 3. The best of those are climbed at 4 mm with all that is free, the winner at 2 and 1 mm ([`crate::metric`],
//!    [`crate::optimise`]).
//!
//! Points are drawn once per level, by a fixed rule; all sums run in a fixed order. So a result is the same for any number of
//! threads, bit by bit. A symmetric registration draws half of its points from each image and measures both ways.
//!
//! Source: C. Studholme, D. Hill, D. Hawkes, "An overlap invariant entropy measure of 3D medical image alignment", Pattern
//! Recognition 32(1), 1999.

use crate::metric::{Measure, Metric};
use crate::optimise::{Climb, Curvature, Pace, climb};
use crate::pose::{Freedom, Pose};
use crate::pyramid::{Level, Samples, levels};
use crate::start::{self, Candidate, LEAST_OVERLAP};
use nalgebra::{Matrix3, Vector3};
use sdk::{Affine, Context, Grid, Image, Mask, OperatorError};

/// What one level asks for.
struct Detail {
    /// Width of the detail, mm.
    width_mm: f64,
    /// Points drawn from the fixed image.
    points: usize,
    /// Bins of the joint histogram along each axis.
    bins: usize,
    /// A step this short ends the climb, mm.
    shortest_step_mm: f64,
}

/// Finest first.
const DETAILS: [Detail; 4] = [
    Detail { width_mm: 1.0, points: 250_000, bins: 64, shortest_step_mm: 0.002 },
    Detail { width_mm: 2.0, points: 100_000, bins: 64, shortest_step_mm: 0.01 },
    Detail { width_mm: 4.0, points: 30_000, bins: 48, shortest_step_mm: 0.05 },
    Detail { width_mm: 8.0, points: 6_000, bins: 32, shortest_step_mm: 0.2 },
];

/// Place of the search's level in [`DETAILS`].
const COARSEST: usize = 3;

/// Starts that are climbed at 8 mm, and at 4 mm.
const CLIMBED: [usize; 2] = [12, 3];

/// Steps of one climb; about 10 to 20 are usual.
const MOST_STEPS: usize = 60;

/// Which of the two images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The image that stays.
    Fixed,
    /// The image that is resampled.
    Moving,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fixed => "fixed",
            Self::Moving => "moving",
        })
    }
}

/// Why two images could not be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AlignError {
    /// An image has one intensity only.
    #[error(
        "the {side} image has the one value {value} everywhere\nhint: is the file empty, or a mask of nothing?"
    )]
    Constant {
        /// Which image.
        side: Side,
        /// Its value.
        value: f32,
    },
    /// An image holds NaN or infinity.
    #[error("the {side} image is not finite at voxel {index:?}\nhint: replace NaN and infinity by 0 first")]
    NotFinite {
        /// Which image.
        side: Side,
        /// The first such voxel.
        index: [usize; 3],
    },
    /// An image is too thin along an axis to be turned about.
    #[error(
        "the {side} image has {found} voxels along axis {axis}, fewer than {limit}\n\
         hint: a registration needs a volume, not a few slices"
    )]
    TooThin {
        /// Which image.
        side: Side,
        /// Voxels along the axis.
        found: usize,
        /// Voxel axis, 0 to 2.
        axis: usize,
        /// The least number.
        limit: usize,
    },
    /// An affine cannot be inverted.
    #[error("the affine of the {side} image is flat\nhint: correct the file's header")]
    Flat {
        /// Which image.
        side: Side,
    },
    /// Intensities span more than a number can hold.
    #[error(
        "the {side} image has values from {low:e} to {high:e}, too far apart to count in\n\
         hint: scale it, or replace the values that stand for missing ones by 0"
    )]
    TooLarge {
        /// Which image.
        side: Side,
        /// 0.5th percentile.
        low: f32,
        /// 99.5th percentile.
        high: f32,
    },
    /// A mask leaves too little of its image.
    #[error(
        "the {side} mask leaves {found} of {drawn} points, fewer than {limit}\n\
         hint: is the mask empty, or on another head?"
    )]
    MaskTooSmall {
        /// Whose mask.
        side: Side,
        /// Points within the mask.
        found: usize,
        /// Points that were drawn.
        drawn: usize,
        /// The least number.
        limit: usize,
    },
    /// No start lays the images over each other.
    #[error(
        "no start lays {limit_percent} % of the images over each other\n\
         hint: do both show the same head, and are the masks where the heads are?"
    )]
    NoOverlap {
        /// The least overlap, percent of the smaller image.
        limit_percent: f64,
    },
}

/// Least number of voxels along each axis.
const FEWEST_VOXELS: usize = 4;

/// Least number of points within a mask at the coarsest level.
const FEWEST_POINTS: usize = 200;

/// What to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What may change.
    pub freedom: Freedom,
    /// Whether both images count alike.
    pub symmetric: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { freedom: Freedom::Rigid, symmetric: true }
    }
}

/// Where to look, each on any grid in its image's world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masks<'a> {
    /// Of the fixed image.
    pub fixed: Option<&'a Mask>,
    /// Of the moving image.
    pub moving: Option<&'a Mask>,
}

/// What a registration found.
#[derive(Clone, Debug)]
pub struct Registration {
    /// World of the fixed image to world of the moving one.
    pub fixed_to_moving: Pose,
    /// The metric with the headers as they are; `None` if they do not overlap.
    pub before: Option<Measure>,
    /// The metric in the end.
    pub after: Measure,
    /// Steps of the climbs at 4, 2 and 1 mm that led to the result.
    pub steps: usize,
    /// Whether the finest level ended at a top.
    pub converged: bool,
    /// The best end of another start.
    pub runner_up: Option<RunnerUp>,
}

/// Where the second best start ended.
#[derive(Clone, Copy, Debug)]
pub struct RunnerUp {
    /// Distance from the result, mean over a brain-sized cube's corners, mm.
    pub distance_mm: f64,
    /// Its `NMI - 1` at 4 mm as a share of the winner's.
    pub share: f64,
}

/// Finds the map from the fixed world to the moving world under which the images tell most of each other.
///
/// * `fixed`, `moving`: any contrasts, spacings and orientations of heads; at least 4 voxels along each axis.
/// * `masks`: only points within them count.
///
/// # Errors
/// [`AlignError`]; no memory; the stage was asked to stop.
pub fn align(
    fixed: &Image,
    moving: &Image,
    masks: Masks<'_>,
    options: &Options,
    ctx: &Context,
) -> Result<Registration, OperatorError> {
    check(fixed, Side::Fixed)?;
    check(moving, Side::Moving)?;
    let widths_mm = DETAILS.map(|detail| detail.width_mm);
    ctx.progress(0.0, "smoothing");
    // Points are drawn within their own image's mask, and looked up within the other's.
    let seen_mask = masks.fixed.filter(|_| options.symmetric);
    let fixed_levels = levels(fixed, seen_mask, &widths_mm, Side::Fixed, ctx)?;
    let moving_levels = levels(moving, masks.moving, &widths_mm, Side::Moving, ctx)?;
    let centres = [&fixed_levels, &moving_levels].map(|levels| levels[COARSEST].centre_of_mass());
    let pair = Pair { levels: [&fixed_levels, &moving_levels], masks, centres, options, ctx };

    ctx.progress(0.3, "searching");
    let [centre, other] = centres;
    let targets = [centre, centres_on_each_other(fixed, moving, centre), other];
    let approach = pair.coarse(&targets)?;
    pair.fine(&approach)
}

fn centres_on_each_other(fixed: &Image, moving: &Image, centre: [f64; 3]) -> [f64; 3] {
    let (from, to) = (fixed.grid().centre_world(), moving.grid().centre_world());
    [0, 1, 2].map(|axis| centre[axis] - from[axis] + to[axis])
}

fn check(image: &Image, side: Side) -> Result<(), AlignError> {
    let grid = image.grid();
    if let Some(axis) = (0..3).find(|&axis| grid.shape[axis] < FEWEST_VOXELS) {
        return Err(AlignError::TooThin { side, found: grid.shape[axis], axis, limit: FEWEST_VOXELS });
    }
    if grid.world_to_voxel().is_none() {
        return Err(AlignError::Flat { side });
    }
    match image.voxels().iter().position(|voxel| !voxel.is_finite()) {
        Some(offset) => Err(AlignError::NotFinite { side, index: grid.index(offset) }),
        None => Ok(()),
    }
}

/// Two images at all levels, fixed first.
struct Pair<'a> {
    levels: [&'a [Level]; 2],
    masks: Masks<'a>,
    centres: [[f64; 3]; 2],
    options: &'a Options,
    ctx: &'a Context,
}

/// The points of a level: of the fixed image, and of the moving one if both count.
struct Points {
    level: usize,
    fixed: Samples,
    moving: Option<Samples>,
}

/// Where search and climbs at 8 and 4 mm led.
struct Approach {
    best: Candidate,
    climb: Climb,
    runner_up: Option<RunnerUp>,
}

impl Pair<'_> {
    fn points(&self, level: usize) -> Result<Points, AlignError> {
        let share = if self.options.symmetric { 2 } else { 1 };
        let drawn = DETAILS[level].points / share;
        let draw = |side: Side, mask: Option<&Mask>| {
            let levels = self.levels[side as usize];
            let samples = Samples::draw(&levels[level], mask, self.centres[side as usize], drawn, self.ctx);
            let found = samples.values.len();
            let limit = FEWEST_POINTS;
            if found < limit {
                Err(AlignError::MaskTooSmall { side, found, drawn, limit })
            } else {
                Ok(samples)
            }
        };
        let fixed = draw(Side::Fixed, self.masks.fixed)?;
        let moving = self.options.symmetric.then(|| draw(Side::Moving, self.masks.moving)).transpose()?;
        Ok(Points { level, fixed, moving })
    }

    fn metric<'b>(&'b self, points: &'b Points) -> Result<Metric<'b>, AlignError> {
        let [fixed, moving] = self.levels.map(|levels| &levels[points.level]);
        let metric = Metric::new(&points.fixed, moving, DETAILS[points.level].bins)
            .ok_or(AlignError::Flat { side: Side::Moving })?;
        match &points.moving {
            Some(samples) => metric.and_back(samples, fixed).ok_or(AlignError::Flat { side: Side::Fixed }),
            None => Ok(metric),
        }
    }

    /// Search and climbs at 8 and 4 mm.
    fn coarse(&self, targets: &[[f64; 3]]) -> Result<Approach, OperatorError> {
        let freedom = self.options.freedom;
        let points = self.points(COARSEST)?;
        let metric = self.metric(&points)?;
        let sizes = start::sizes(freedom);
        let starts = start::search(&metric, self.centres[0], targets, sizes, CLIMBED[0], self.ctx)?;
        if starts.is_empty() {
            return Err(AlignError::NoOverlap { limit_percent: 100.0 * LEAST_OVERLAP }.into());
        }
        let first = if freedom == Freedom::Affine { Freedom::Similarity } else { freedom };
        let climbs =
            self.ctx.map(starts.len(), |n| climbed(&metric, &starts[n].pose, first, COARSEST, None, None));
        self.ctx.check_cancelled()?;
        let ends = start::best(climbs.iter().map(|(candidate, _)| *candidate).collect(), CLIMBED[1]);

        let points = self.points(2)?;
        let metric = self.metric(&points)?;
        let climbs = self.ctx.map(ends.len(), |n| climbed(&metric, &ends[n].pose, freedom, 2, None, None));
        self.ctx.check_cancelled()?;
        let ranked = start::best(climbs.iter().map(|(candidate, _)| *candidate).collect(), 2);
        let best = ranked[0];
        let runner_up = ranked.get(1).map(|other| RunnerUp {
            distance_mm: best.pose.distance_mm(&other.pose),
            share: (other.nmi - 1.0) / (best.nmi - 1.0),
        });
        let (_, climb) =
            climbs.iter().find(|(end, _)| end.nmi == best.nmi).expect("the best is the end of one climb");
        Ok(Approach { best, climb: *climb, runner_up })
    }

    /// Climbs at 2 and 1 mm.
    fn fine(&self, approach: &Approach) -> Result<Registration, OperatorError> {
        let freedom = self.options.freedom;
        self.ctx.progress(0.5, "refining");
        let points = self.points(1)?;
        let metric = self.metric(&points)?;
        let (from, seen) = (&approach.best.pose, approach.climb.curvature.as_ref());
        let (middle, middle_climb) = climbed(&metric, from, freedom, 1, seen, Some(self.ctx));
        self.ctx.check_cancelled()?;
        self.ctx.progress(0.7, "refining");
        let points = self.points(0)?;
        let metric = self.metric(&points)?;
        let seen = middle_climb.curvature.as_ref();
        let (end, climb) = climbed(&metric, &middle.pose, freedom, 0, seen, Some(self.ctx));
        self.ctx.check_cancelled()?;
        let before = metric.value(&Affine::IDENTITY);
        Ok(Registration {
            fixed_to_moving: end.pose,
            before: (before.overlap > 0.0).then_some(before),
            after: metric.value(&end.pose.map()),
            steps: approach.climb.steps + middle_climb.steps + climb.steps,
            converged: climb.converged,
            runner_up: approach.runner_up,
        })
    }
}

/// Climbs from a pose at one level; `curvature` is what the level before saw.
fn climbed(
    metric: &Metric<'_>,
    from: &Pose,
    freedom: Freedom,
    level: usize,
    curvature: Option<&Curvature>,
    ctx: Option<&Context>,
) -> (Candidate, Climb) {
    let Detail { width_mm, shortest_step_mm, .. } = DETAILS[level];
    let pace = Pace {
        first_step: 0.5 * width_mm,
        longest_step: 2.0 * width_mm,
        shortest_step: shortest_step_mm,
        most_steps: MOST_STEPS,
    };
    let end = climb(&pace, curvature, |by| {
        let there = from.moved(by, freedom);
        let (measure, slope) = metric.value_and_slope(&there.map(), ctx);
        let allowed = measure.overlap >= LEAST_OVERLAP && there.is_within_limits();
        (if allowed { measure.nmi } else { f64::NEG_INFINITY }, from.slope(by, freedom, &slope))
    });
    let pose = from.moved(&end.at, freedom);
    (Candidate { pose, nmi: end.value }, end)
}

impl Registration {
    /// Angles about x, then y, then z (radians) and shift (mm) about `centre`: without factors and shears, what
    /// [`Affine::rigid`] builds the map from.
    pub fn angles_and_shift(&self, centre: [f64; 3]) -> ([f64; 3], [f64; 3]) {
        let there = self.fixed_to_moving.map().point(centre);
        let shift = [0, 1, 2].map(|axis| there[axis] - centre[axis]);
        (crate::pose::angles_rad(&self.fixed_to_moving.rotation), shift)
    }

    /// The whole angle of the rotation, radians.
    pub fn angle_rad(&self) -> f64 {
        let rotation: &Matrix3<f64> = &self.fixed_to_moving.rotation;
        ((rotation.trace() - 1.0) / 2.0).clamp(-1.0, 1.0).acos()
    }

    /// How far the middle of a grid moves, mm.
    pub fn shift_mm(&self, grid: &Grid) -> f64 {
        Vector3::from(self.angles_and_shift(grid.centre_world()).1).norm()
    }
}
