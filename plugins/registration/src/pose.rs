//! Rigid maps: a rotation about a point, and where that point goes.

use crate::metric::Slope;
use nalgebra::{Matrix3, Vector3, Vector6};
use sdk::Affine;

/// The rigid map `x -> rotation (x - centre) + target`, world to world, mm.
#[derive(Clone, Copy, Debug)]
pub struct Pose {
    /// A rotation matrix.
    pub rotation: Matrix3<f64>,
    /// The point the rotation is about.
    pub centre: Vector3<f64>,
    /// Where that point goes.
    pub target: Vector3<f64>,
}

/// Half edge of the cube whose corners [`Pose::distance_mm`] looks at: about a brain's half width, mm.
const HALF_BRAIN_MM: f64 = 60.0;

impl Pose {
    /// As a 4 x 4 map.
    pub fn map(&self) -> Affine {
        let offset = self.target - self.rotation * self.centre;
        Affine::from_parts(&self.rotation, offset.into())
    }

    /// The pose moved by six numbers in mm: three turns about x, y, z as lengths at `radius_mm`, and three shifts.
    #[must_use]
    pub fn moved(&self, by: &Vector6<f64>, radius_mm: f64) -> Self {
        let [rx, ry, rz] = turns(by, radius_mm).map(|turn| turn.0);
        let shift = Vector3::new(by[3], by[4], by[5]);
        Self { rotation: rz * ry * rx * self.rotation, target: self.target + shift, centre: self.centre }
    }

    /// The slope of a metric by the six numbers of [`Pose::moved`], at `by`.
    pub fn slope(&self, by: &Vector6<f64>, radius_mm: f64, slope: &Slope) -> Vector6<f64> {
        let [(rx, dx), (ry, dy), (rz, dz)] = turns(by, radius_mm);
        let changes = [rz * ry * dx, rz * dy * rx, dz * ry * rx];
        let [ax, ay, az] =
            changes.map(|change| (change * self.rotation).component_mul(&slope.moment).sum() / radius_mm);
        Vector6::new(ax, ay, az, slope.force.x, slope.force.y, slope.force.z)
    }

    /// Mean distance in mm of where two poses put the corners of a brain-sized cube about the centre.
    pub fn distance_mm(&self, other: &Self) -> f64 {
        let corner = |n: usize| Vector3::from_fn(|axis, _| if n >> axis & 1 == 1 { 1.0 } else { -1.0 });
        let apart = |n: usize| {
            let at = corner(n) * HALF_BRAIN_MM;
            (self.rotation * at + self.target - other.rotation * at - other.target).norm()
        };
        (0..8).map(apart).sum::<f64>() / 8.0
    }
}

/// Rotations about x, y and z, each with its derivative by the angle.
fn turns(by: &Vector6<f64>, radius_mm: f64) -> [(Matrix3<f64>, Matrix3<f64>); 3] {
    std::array::from_fn(|axis| {
        let (sin, cos) = (by[axis] / radius_mm).sin_cos();
        let (u, v) = ((axis + 1) % 3, (axis + 2) % 3);
        let (mut turn, mut change) = (Matrix3::identity(), Matrix3::zeros());
        (turn[(u, u)], turn[(u, v)], turn[(v, u)], turn[(v, v)]) = (cos, -sin, sin, cos);
        (change[(u, u)], change[(u, v)], change[(v, u)], change[(v, v)]) = (-sin, -cos, cos, -sin);
        (turn, change)
    })
}

/// Angles about x, then y, then z (radians) of a rotation matrix, as [`Affine::rigid`] takes them.
pub fn angles_rad(rotation: &Matrix3<f64>) -> [f64; 3] {
    let y = (-rotation[(2, 0)]).clamp(-1.0, 1.0).asin();
    let x = rotation[(2, 1)].atan2(rotation[(2, 2)]);
    let z = rotation[(1, 0)].atan2(rotation[(0, 0)]);
    [x, y, z]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Angles of a rotation build the same rotation again (1e-9 mm: rounding).
        #[test]
        fn angles_rebuild_the_map(
            angles in proptest::array::uniform3(-1.4f64..1.4),
            shift in proptest::array::uniform3(-50.0f64..50.0),
        ) {
            let centre = [3.0, -8.0, 12.0];
            let map = Affine::rigid(angles, shift, centre);
            let again = Affine::rigid(angles_rad(&map.linear()), shift, centre);
            let apart = (map.matrix() - again.matrix()).abs().max();
            prop_assert!(apart < 1e-9, "{apart}");
        }

        /// A pose stays rigid however it is moved.
        #[test]
        fn a_moved_pose_is_rigid(by in proptest::array::uniform6(-60.0f64..60.0)) {
            let centre = Vector3::new(1.0, 2.0, 3.0);
            let pose = Pose { rotation: Matrix3::identity(), centre, target: centre };
            let moved = pose.moved(&Vector6::from(by), 75.0);
            let off = (moved.rotation * moved.rotation.transpose() - Matrix3::identity()).abs().max();
            prop_assert!(off < 1e-12 && moved.rotation.determinant() > 0.0, "{off}");
        }
    }
}
