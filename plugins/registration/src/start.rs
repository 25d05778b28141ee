//! Where a registration starts: a coarse search over rotations, shifts and sizes.
//!
//! Headers can be wrong by a table move or a tilted head, and centres of mass by a neck that only one image shows. So three
//! ways to lay the images over each other are each tried with a fan of rotations, and the best of all are climbed.

use crate::metric::Metric;
use crate::pose::{Freedom, Pose};
use nalgebra::{Matrix3, Rotation3, Vector3};
use sdk::{Context, OperatorError};

/// How far the rotations that are tried lie apart, degrees: within the width of a peak at 8 mm detail.
const STEP_DEG: f64 = 15.0;

/// Rotations up to this angle are tried, about any axis, degrees: a head 45 degrees off in a header that is 15 off.
pub const REACH_DEG: f64 = 60.0;

/// Factors of size that are tried where the size is free: steps that a climb at 8 mm bridges, for heads of 0.7 to 1.4.
const SIZES: [f64; 3] = [0.8, 1.0, 1.25];

/// Starts that overlap less than this share of the smaller image do not count: two slivers of air always agree.
pub const LEAST_OVERLAP: f64 = 0.25;

/// Two starts closer than this, in mm, lead to one place.
pub const SAME_PLACE_MM: f64 = 12.0;

/// The factors of size that a search tries.
pub const fn sizes(freedom: Freedom) -> &'static [f64] {
    match freedom {
        Freedom::Rigid => &[1.0],
        Freedom::Similarity | Freedom::Affine => &SIZES,
    }
}

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
/// * `sizes`: how large the moving head may be, as factors.
///
/// # Errors
/// The stage was asked to stop.
pub fn search(
    metric: &Metric<'_>,
    centre: [f64; 3],
    targets: &[[f64; 3]],
    sizes: &[f64],
    count: usize,
    ctx: &Context,
) -> Result<Vec<Candidate>, OperatorError> {
    let rotations = rotations();
    let laid = rotations.len() * targets.len();
    let mut candidates = ctx.map(laid * sizes.len(), |n| {
        let (rotation, target) = (rotations[n % laid / targets.len()], targets[n % targets.len()]);
        let pose = Pose::new(rotation, sizes[n / laid], centre, target);
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

/// A lattice of rotation vectors within a ball of [`REACH_DEG`].
fn rotations() -> Vec<Matrix3<f64>> {
    let side = (REACH_DEG / STEP_DEG) as i32;
    let along = || -side..=side;
    let vectors = along().flat_map(|z| along().flat_map(move |y| along().map(move |x| [x, y, z])));
    vectors
        .map(|v| Vector3::from(v.map(f64::from)) * STEP_DEG)
        .filter(|degrees| degrees.norm() <= REACH_DEG)
        .map(|degrees| Rotation3::new(degrees.map(f64::to_radians)).into_inner())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No rotation within reach is further from one that is tried than half the diagonal of the lattice.
        #[test]
        fn each_rotation_within_reach_has_one_nearby(
            axis in proptest::array::uniform3(-1.0f64..1.0),
            angle_deg in 0.0f64..45.0,
        ) {
            let axis = Vector3::from(axis).try_normalize(0.01).unwrap_or(Vector3::x());
            let wanted = Rotation3::new(axis * angle_deg.to_radians());
            let apart = |tried: &Matrix3<f64>| {
                Rotation3::from_matrix_unchecked(wanted.matrix() * tried.transpose()).angle().to_degrees()
            };
            let nearest = rotations().iter().map(apart).fold(f64::INFINITY, f64::min);
            prop_assert!(nearest < STEP_DEG * 0.75f64.sqrt(), "{nearest}");
        }
    }
}
