//! Where a registration starts: a coarse search over rotations and shifts.
//!
//! Headers can be wrong by a table move or a tilted head, and centres of mass by a neck that only one image shows. So three
//! ways to lay the images over each other are each tried with a fan of rotations, and the best of all are climbed.

use crate::metric::Metric;
use crate::pose::Pose;
use nalgebra::{Matrix3, Rotation3, Vector3};
use sdk::{Context, OperatorError};

/// Rotations about each axis that are tried, degrees: steps of 15 lie within the width of a peak at 8 mm detail.
const ANGLES_DEG: [f64; 7] = [-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0];

/// Starts that overlap less than this share of the smaller image do not count: two slivers of air always agree.
pub const LEAST_OVERLAP: f64 = 0.25;

/// Two starts closer than this, in mm, lead to one place.
pub const SAME_PLACE_MM: f64 = 12.0;

/// How far the coarse rotations reach, degrees about each axis.
pub const REACH_DEG: f64 = 45.0;

/// A pose and the metric there.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Where.
    pub pose: Pose,
    /// Normalised mutual information.
    pub nmi: f64,
}

/// The best `count` poses of the search that differ, best first.
///
/// * `centre`: the middle of the head in the fixed world; all rotations are about it.
/// * `targets`: where in the moving world that middle may lie, mm.
///
/// # Errors
/// The stage was asked to stop.
pub fn search(
    metric: &Metric<'_>,
    centre: [f64; 3],
    targets: &[[f64; 3]],
    count: usize,
    ctx: &Context,
) -> Result<Vec<Candidate>, OperatorError> {
    let rotations = rotations();
    let mut candidates = ctx.map(rotations.len() * targets.len(), |n| {
        let pose = Pose {
            rotation: rotations[n / targets.len()],
            centre: Vector3::from(centre),
            target: Vector3::from(targets[n % targets.len()]),
        };
        let measure = metric.value(&pose.map());
        let nmi = if measure.overlap < LEAST_OVERLAP { f64::NEG_INFINITY } else { measure.nmi };
        Candidate { pose, nmi }
    });
    ctx.check_cancelled()?;
    candidates.retain(|candidate| candidate.nmi.is_finite());
    Ok(best(candidates, count))
}

/// The best `count` candidates that differ, best first; equal ones in the order they came.
pub fn best(mut candidates: Vec<Candidate>, count: usize) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.nmi.total_cmp(&a.nmi));
    let mut kept: Vec<Candidate> = Vec::with_capacity(count);
    for candidate in candidates {
        if kept.len() == count {
            break;
        }
        if kept.iter().all(|other| other.pose.distance_mm(&candidate.pose) > SAME_PLACE_MM) {
            kept.push(candidate);
        }
    }
    kept
}

fn rotations() -> Vec<Matrix3<f64>> {
    let turn = |n: usize| ANGLES_DEG[n].to_radians();
    let count = ANGLES_DEG.len();
    (0..count.pow(3))
        .map(|n| {
            Rotation3::from_euler_angles(turn(n % count), turn(n / count % count), turn(n / count.pow(2)))
        })
        .map(Rotation3::into_inner)
        .collect()
}
