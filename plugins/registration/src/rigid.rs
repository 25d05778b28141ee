//! Rigid registration by normalised mutual information, coarse to fine.
//!
//! 1. Both images are smoothed and thinned to 8, 4, 2 and 1 mm ([`crate::pyramid`]); slices wider than that stay as they are.
//! 2. At 8 mm a fan of rotations is tried about three starts: the headers as they are, the images' centres, the centres of
//!    mass ([`crate::start`]). The best are climbed.
//! 3. The best of those are climbed at 4 mm, the winner at 2 and 1 mm ([`crate::metric`], [`crate::optimise`]).
//!
//! Points are drawn once per level from the fixed image, by a fixed rule; all sums run in a fixed order. So a result is the
//! same for any number of threads, bit by bit.
//!
//! Source: C. Studholme, D. Hill, D. Hawkes, "An overlap invariant entropy measure of 3D medical image alignment", Pattern
//! Recognition 32(1), 1999.

use crate::metric::{Measure, Metric};
use crate::optimise::{Climb, Pace, climb};
use crate::pose::Pose;
use crate::pyramid::{Level, Samples, levels};
use crate::start::{self, Candidate, LEAST_OVERLAP};
use nalgebra::{Matrix3, Vector3};
use sdk::{Affine, Context, Image, Mask, OperatorError};

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

/// Length at which an angle counts as much as a shift: about the radius of a head, mm.
const HEAD_RADIUS_MM: f64 = 75.0;

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
pub enum RigidError {
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
         hint: a rigid registration needs a volume, not a few slices"
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
    /// The mask leaves too little of the fixed image.
    #[error(
        "the fixed mask leaves {found} of {drawn} points, fewer than {limit}\n\
         hint: is the mask empty, or on another head?"
    )]
    MaskTooSmall {
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
         hint: do both show the same head, and is the fixed mask where the head is?"
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
    /// The best end of another start: its distance from the result in mm, and its metric at 4 mm less the result's there.
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

/// Finds the rigid map from the fixed world to the moving world under which the images tell most of each other.
///
/// * `fixed`, `moving`: any contrasts, spacings and orientations of one head; at least 4 voxels along each axis.
/// * `fixed_mask`: on any grid in the fixed world; only points within it count.
///
/// # Errors
/// [`RigidError`]; no memory; the stage was asked to stop.
pub fn register(
    fixed: &Image,
    moving: &Image,
    fixed_mask: Option<&Mask>,
    ctx: &Context,
) -> Result<Registration, OperatorError> {
    check(fixed, Side::Fixed)?;
    check(moving, Side::Moving)?;
    let widths_mm = DETAILS.map(|detail| detail.width_mm);
    ctx.progress(0.0, "smoothing");
    let fixed_levels = levels(fixed, &widths_mm, Side::Fixed, ctx)?;
    let moving_levels = levels(moving, &widths_mm, Side::Moving, ctx)?;
    let centre = fixed_levels[COARSEST].centre_of_mass();
    let pair = Pair { fixed_levels: &fixed_levels, moving_levels: &moving_levels, fixed_mask, centre, ctx };

    ctx.progress(0.3, "searching");
    let targets =
        [centre, centres_on_each_other(fixed, moving, centre), moving_levels[COARSEST].centre_of_mass()];
    let (best, steps, runner_up) = pair.coarse(&targets)?;
    pair.fine(best, steps, runner_up)
}

fn centres_on_each_other(fixed: &Image, moving: &Image, centre: [f64; 3]) -> [f64; 3] {
    let (from, to) = (fixed.grid().centre_world(), moving.grid().centre_world());
    [0, 1, 2].map(|axis| centre[axis] - from[axis] + to[axis])
}

fn check(image: &Image, side: Side) -> Result<(), RigidError> {
    let grid = image.grid();
    if let Some(axis) = (0..3).find(|&axis| grid.shape[axis] < FEWEST_VOXELS) {
        return Err(RigidError::TooThin { side, found: grid.shape[axis], axis, limit: FEWEST_VOXELS });
    }
    if grid.world_to_voxel().is_none() {
        return Err(RigidError::Flat { side });
    }
    match image.voxels().iter().position(|voxel| !voxel.is_finite()) {
        Some(offset) => Err(RigidError::NotFinite { side, index: grid.index(offset) }),
        None => Ok(()),
    }
}

/// Two images at all levels.
struct Pair<'a> {
    fixed_levels: &'a [Level],
    moving_levels: &'a [Level],
    fixed_mask: Option<&'a Mask>,
    centre: [f64; 3],
    ctx: &'a Context,
}

impl Pair<'_> {
    fn samples(&self, level: usize) -> Result<Samples, RigidError> {
        let drawn = DETAILS[level].points;
        let samples = Samples::draw(&self.fixed_levels[level], self.fixed_mask, self.centre, drawn);
        let found = samples.points.len();
        if found < FEWEST_POINTS {
            return Err(RigidError::MaskTooSmall { found, drawn, limit: FEWEST_POINTS });
        }
        Ok(samples)
    }

    fn metric<'b>(&'b self, samples: &'b Samples, level: usize) -> Result<Metric<'b>, RigidError> {
        let metric = Metric::new(samples, &self.moving_levels[level], DETAILS[level].bins);
        metric.ok_or(RigidError::Flat { side: Side::Moving })
    }

    /// Search and climbs at 8 and 4 mm: the best pose, its steps, and the best other one.
    fn coarse(&self, targets: &[[f64; 3]]) -> Result<(Candidate, usize, Option<RunnerUp>), OperatorError> {
        let samples = self.samples(COARSEST)?;
        let metric = self.metric(&samples, COARSEST)?;
        let starts = start::search(&metric, self.centre, targets, CLIMBED[0], self.ctx)?;
        if starts.is_empty() {
            return Err(RigidError::NoOverlap { limit_percent: 100.0 * LEAST_OVERLAP }.into());
        }
        let climbs = self.ctx.map(starts.len(), |n| climbed(&metric, &starts[n].pose, COARSEST, None));
        self.ctx.check_cancelled()?;
        let ends = start::best(climbs.iter().map(|(candidate, _)| *candidate).collect(), CLIMBED[1]);

        let samples = self.samples(2)?;
        let metric = self.metric(&samples, 2)?;
        let climbs = self.ctx.map(ends.len(), |n| climbed(&metric, &ends[n].pose, 2, None));
        self.ctx.check_cancelled()?;
        let ranked = start::best(climbs.iter().map(|(candidate, _)| *candidate).collect(), 2);
        let best = ranked[0];
        let runner_up = ranked.get(1).map(|other| RunnerUp {
            distance_mm: best.pose.distance_mm(&other.pose),
            share: (other.nmi - 1.0) / (best.nmi - 1.0),
        });
        let steps = climbs.iter().find(|(end, _)| end.nmi == best.nmi).map_or(0, |(_, climb)| climb.steps);
        Ok((best, steps, runner_up))
    }

    /// Climbs at 2 and 1 mm.
    fn fine(
        &self,
        best: Candidate,
        steps: usize,
        runner_up: Option<RunnerUp>,
    ) -> Result<Registration, OperatorError> {
        self.ctx.progress(0.5, "refining");
        let samples = self.samples(1)?;
        let (middle, middle_climb) = climbed(&self.metric(&samples, 1)?, &best.pose, 1, Some(self.ctx));
        self.ctx.check_cancelled()?;
        self.ctx.progress(0.7, "refining");
        let samples = self.samples(0)?;
        let metric = self.metric(&samples, 0)?;
        let (end, climb) = climbed(&metric, &middle.pose, 0, Some(self.ctx));
        self.ctx.check_cancelled()?;
        let before = metric.value(&Affine::IDENTITY);
        Ok(Registration {
            fixed_to_moving: end.pose,
            before: (before.overlap > 0.0).then_some(before),
            after: metric.value(&end.pose.map()),
            steps: steps + middle_climb.steps + climb.steps,
            converged: climb.converged,
            runner_up,
        })
    }
}

/// Climbs from a pose at one level.
fn climbed(metric: &Metric<'_>, from: &Pose, level: usize, ctx: Option<&Context>) -> (Candidate, Climb) {
    let Detail { width_mm, shortest_step_mm, .. } = DETAILS[level];
    let pace = Pace {
        first_step: 0.5 * width_mm,
        longest_step: 2.0 * width_mm,
        shortest_step: shortest_step_mm,
        most_steps: MOST_STEPS,
    };
    let end = climb(&pace, |by| {
        let (measure, slope) = metric.value_and_slope(&from.moved(by, HEAD_RADIUS_MM).map(), ctx);
        let nmi = if measure.overlap < LEAST_OVERLAP { f64::NEG_INFINITY } else { measure.nmi };
        (nmi, from.slope(by, HEAD_RADIUS_MM, &slope))
    });
    let pose = from.moved(&end.at, HEAD_RADIUS_MM);
    (Candidate { pose, nmi: end.value }, end)
}

impl Registration {
    /// Angles about x, then y, then z (radians) and shift (mm) about `centre`: what [`Affine::rigid`] builds the map from.
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

    /// How far `centre` moves, mm.
    pub fn shift_mm(&self, centre: [f64; 3]) -> f64 {
        Vector3::from(self.angles_and_shift(centre).1).norm()
    }
}
