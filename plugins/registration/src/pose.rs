//! Poses: a rotation, a stretch, and where the middle of the head goes.
//!
//! A pose maps the fixed world to the moving world, mm: `x -> R S H (x - centre) + target`, with a rotation `R`, factors
//! along x, y and z on the diagonal of `S`, and shears above the unit diagonal of `H`. So the fixed head is sheared and
//! stretched along the fixed world's axes first, then turned. With 6 degrees of freedom `S` and `H` stay the identity, with
//! 7 the three factors stay equal. A step has a length in mm in each of its twelve numbers, so that one optimiser serves all:
//! turns, stretches and shears count as what they do at [`HEAD_RADIUS_MM`] from the centre.

use crate::metric::Slope;
use nalgebra::{Matrix3, SVector, Vector3};
use sdk::Affine;
use sdk::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Length at which a turn or a stretch counts as much as a shift: about the radius of a head, mm.
pub const HEAD_RADIUS_MM: f64 = 75.0;

/// A change of a pose in mm: turns about x, y, z; shifts; logarithms of the factors along x, y, z; shears xy, xz, yz.
pub type Step = SVector<f64, 12>;

/// Factors along the axes stay within these: heads from birth to the largest adult differ by 1.7 in circumference.
pub const SCALES: [f64; 2] = [0.5, 2.0];

/// The largest factor stays below this multiple of the smallest: breadth over length of human heads runs from 0.65 to 0.95.
pub const MOST_STRETCH: f64 = 1.6;

/// Shears stay within this: 19 degrees, beyond what tilted slices or two people's skulls ask for.
pub const MOST_SHEAR: f64 = 0.35;

/// A pose this near to a limit, as a share of it, has been held by it.
const AT_LIMIT: f64 = 0.99;

/// What a registration may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Freedom {
    /// Turns and shifts: 6 degrees of freedom.
    #[default]
    Rigid,
    /// And one factor of size: 7.
    Similarity,
    /// And factors and shears of their own along the axes: 12.
    Affine,
}

/// Why a number of degrees of freedom cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "{found} degrees of freedom instead of 6, 7 or 12\nhint: 6 for one person, 7 and 12 for another person or a template"
)]
pub struct FreedomError {
    /// The number.
    found: u8,
}

impl TryFrom<u8> for Freedom {
    type Error = FreedomError;

    fn try_from(found: u8) -> Result<Self, FreedomError> {
        match found {
            6 => Ok(Self::Rigid),
            7 => Ok(Self::Similarity),
            12 => Ok(Self::Affine),
            _ => Err(FreedomError { found }),
        }
    }
}

impl From<Freedom> for u8 {
    fn from(freedom: Freedom) -> Self {
        match freedom {
            Freedom::Rigid => 6,
            Freedom::Similarity => 7,
            Freedom::Affine => 12,
        }
    }
}

impl JsonSchema for Freedom {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Freedom".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "enum": [6, 7, 12] })
    }
}

impl Freedom {
    /// The step that a free step means: with 7 degrees of freedom its seventh number is the factor of all three axes.
    fn spread(self, by: &Step) -> Step {
        let mut step = *by;
        match self {
            Self::Rigid => step.fixed_rows_mut::<6>(6).fill(0.0),
            Self::Similarity => {
                step.fixed_rows_mut::<3>(6).fill(by[6]);
                step.fixed_rows_mut::<3>(9).fill(0.0);
            }
            Self::Affine => {}
        }
        step
    }

    /// The slope by a free step, from the slope by the step that it means; 0 where nothing is free.
    fn gathered(self, slope: &Step) -> Step {
        let mut free = self.spread(slope);
        if self == Self::Similarity {
            free[6] = slope[6] + slope[7] + slope[8];
            (free[7], free[8]) = (0.0, 0.0);
        }
        free
    }
}

/// The map `x -> rotation stretch (x - centre) + target`, world to world, mm.
#[derive(Clone, Copy, Debug)]
pub struct Pose {
    /// A rotation matrix.
    pub rotation: Matrix3<f64>,
    /// Factors along the fixed world's x, y and z.
    pub scale: Vector3<f64>,
    /// Shears: of x by y, of x by z, of y by z.
    pub shear: Vector3<f64>,
    /// The point that turns and stretches are about.
    pub centre: Vector3<f64>,
    /// Where that point goes.
    pub target: Vector3<f64>,
}

/// Half edge of the cube whose corners [`Pose::distance_mm`] looks at: about a brain's half width, mm.
const HALF_BRAIN_MM: f64 = 60.0;

impl Pose {
    /// A rotation about `centre`, which goes to `target`, with one factor of size.
    pub fn new(rotation: Matrix3<f64>, scale: f64, centre: [f64; 3], target: [f64; 3]) -> Self {
        Self {
            rotation,
            scale: Vector3::repeat(scale),
            shear: Vector3::zeros(),
            centre: centre.into(),
            target: target.into(),
        }
    }

    /// `S H`: what happens along the fixed axes before the rotation.
    fn stretch(&self) -> Matrix3<f64> {
        let ([sx, sy, sz], [xy, xz, yz]) = (self.scale.into(), self.shear.into());
        Matrix3::new(sx, sx * xy, sx * xz, 0.0, sy, sy * yz, 0.0, 0.0, sz)
    }

    fn linear(&self) -> Matrix3<f64> {
        self.rotation * self.stretch()
    }

    /// As a 4 x 4 map.
    pub fn map(&self) -> Affine {
        let linear = self.linear();
        Affine::from_parts(&linear, (self.target - linear * self.centre).into())
    }

    /// The pose after a step; what `freedom` does not name stays.
    #[must_use]
    pub fn moved(&self, by: &Step, freedom: Freedom) -> Self {
        let by = freedom.spread(by);
        let [rx, ry, rz] = turns(&by).map(|turn| turn.0);
        Self {
            rotation: rz * ry * rx * self.rotation,
            scale: Vector3::from_fn(|axis, _| self.scale[axis] * (by[6 + axis] / HEAD_RADIUS_MM).exp()),
            shear: self.shear + by.fixed_rows::<3>(9) / HEAD_RADIUS_MM,
            centre: self.centre,
            target: self.target + by.fixed_rows::<3>(3),
        }
    }

    /// The slope of a metric by the numbers of [`Pose::moved`], at `by`; 0 for those that are not free.
    ///
    /// `slope` is the metric's at the pose that `by` leads to.
    pub fn slope(&self, by: &Step, freedom: Freedom, slope: &Slope) -> Step {
        let there = self.moved(by, freedom);
        let [(rx, dx), (ry, dy), (rz, dz)] = turns(&freedom.spread(by));
        let changes = [rz * ry * dx, rz * dy * rx, dz * ry * rx];
        let stretch = there.stretch();
        let before = self.rotation * stretch;
        let mut step = Step::zeros();
        for (axis, change) in changes.into_iter().enumerate() {
            step[axis] = (change * before).component_mul(&slope.moment).sum() / HEAD_RADIUS_MM;
        }
        step.fixed_rows_mut::<3>(3).copy_from(&slope.force);
        // The moment as seen before the rotation, where factors and shears act.
        let moment = there.rotation.transpose() * slope.moment;
        for axis in 0..3 {
            step[6 + axis] = moment.row(axis).dot(&stretch.row(axis)) / HEAD_RADIUS_MM;
        }
        for (n, (row, column)) in [(0, 1), (0, 2), (1, 2)].into_iter().enumerate() {
            step[9 + n] = moment[(row, column)] * there.scale[row] / HEAD_RADIUS_MM;
        }
        freedom.gathered(&step)
    }

    /// Whether factors and shears are within [`SCALES`], [`MOST_STRETCH`] and [`MOST_SHEAR`].
    pub fn is_within_limits(&self) -> bool {
        self.share_of_limits() <= 1.0
    }

    /// Whether the limits may have held the pose back.
    pub fn is_at_limit(&self) -> bool {
        self.share_of_limits() > AT_LIMIT
    }

    /// The largest of factors and shears as a share of its limit; factors count by their logarithms.
    fn share_of_limits(&self) -> f64 {
        let (largest, smallest) = (self.scale.max().ln(), self.scale.min().ln());
        let shares = [
            smallest / SCALES[0].ln(),
            largest / SCALES[1].ln(),
            (largest - smallest) / MOST_STRETCH.ln(),
            self.shear.amax() / MOST_SHEAR,
        ];
        shares.into_iter().fold(0.0, f64::max)
    }

    /// Mean distance in mm of where two poses put the corners of a brain-sized cube about the centre.
    pub fn distance_mm(&self, other: &Self) -> f64 {
        let (one, two) = (self.linear(), other.linear());
        let corner = |n: usize| Vector3::from_fn(|axis, _| if n >> axis & 1 == 1 { 1.0 } else { -1.0 });
        let apart = |n: usize| {
            let at = corner(n) * HALF_BRAIN_MM;
            (one * at + self.target - two * at - other.target).norm()
        };
        (0..8).map(apart).sum::<f64>() / 8.0
    }
}

/// Rotations about x, y and z, each with its derivative by the angle.
fn turns(by: &Step) -> [(Matrix3<f64>, Matrix3<f64>); 3] {
    std::array::from_fn(|axis| {
        let (sin, cos) = (by[axis] / HEAD_RADIUS_MM).sin_cos();
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

    fn pose() -> Pose {
        Pose::new(Matrix3::identity(), 1.0, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    }

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

        /// With 6 degrees of freedom a pose stays rigid however it is moved, with 7 it keeps all angles.
        #[test]
        fn a_moved_pose_keeps_what_is_not_free(by in proptest::array::uniform12(-60.0f64..60.0)) {
            let by = Step::from(by);
            let rigid = pose().moved(&by, Freedom::Rigid).linear();
            prop_assert!((rigid * rigid.transpose() - Matrix3::identity()).abs().max() < 1e-12);
            let similar = pose().moved(&by, Freedom::Similarity).linear();
            let factor = (by[6] / HEAD_RADIUS_MM).exp();
            let off = similar * similar.transpose() / factor.powi(2) - Matrix3::identity();
            prop_assert!(off.abs().max() < 1e-12 && similar.determinant() > 0.0, "{off}");
        }

        /// The slope of a linear function of the map is what a step does to it (1e-6 of its length: the step of 1e-4 mm).
        #[test]
        fn the_slope_is_what_a_step_does(
            at in proptest::array::uniform12(-20.0f64..20.0),
            force in proptest::array::uniform3(-1.0f64..1.0),
            moment in proptest::array::uniform9(-1.0f64..1.0),
        ) {
            const STEP_MM: f64 = 1e-4;
            let slope = Slope { force: force.into(), moment: Matrix3::from_iterator(moment) };
            for freedom in [Freedom::Rigid, Freedom::Similarity, Freedom::Affine] {
                let of = |by: &Step| {
                    let there = pose().moved(by, freedom);
                    there.linear().component_mul(&slope.moment).sum() + there.target.dot(&slope.force)
                };
                let at = Step::from(at);
                let exact = pose().slope(&at, freedom, &slope);
                for n in 0..12 {
                    let mut step = Step::zeros();
                    step[n] = STEP_MM;
                    let found = (of(&(at + step)) - of(&(at - step))) / (2.0 * STEP_MM);
                    prop_assert!((found - exact[n]).abs() < 1e-6, "{freedom:?} {n}: {found}, {}", exact[n]);
                }
            }
        }
    }

    #[test]
    fn limits_hold_size_stretch_and_shear() {
        let with = |scale: [f64; 3], shear: f64| Pose {
            scale: scale.into(),
            shear: Vector3::new(0.0, shear, 0.0),
            ..pose()
        };
        assert!(with([0.7; 3], 0.0).is_within_limits() && with([1.3, 1.2, 1.0], 0.1).is_within_limits());
        assert!(!with([0.7; 3], 0.1).is_at_limit());
        for held in
            [with([0.499; 3], 0.0), with([2.01; 3], 0.0), with([1.3, 0.8, 1.0], 0.0), with([1.0; 3], -0.36)]
        {
            assert!(!held.is_within_limits(), "{held:?}");
        }
        assert!(with([1.0; 3], 0.349).is_at_limit());
    }

    #[test]
    fn other_degrees_of_freedom_are_refused_by_number() {
        let error = serde_json::from_str::<Freedom>("9").unwrap_err().to_string();
        assert!(error.contains("9 degrees of freedom instead of 6, 7 or 12"), "{error}");
        assert_eq!(serde_json::to_string(&Freedom::Affine).unwrap(), "12");
    }
}
