//! How the surface moves: smoothness against the intensities under it.
//!
//! Each vertex looks along its inward normal. What is no brain within 7 mm says that the surface has passed the brain's
//! rim and must come back; nothing but brain says go on. Smoothness follows the local radius of curvature. Units are
//! world millimetres; voxel coordinates appear only where the image is sampled.
//!
//! Differs from the paper: intensities are first turned into [`likeness`] to brain, so that fat, marrow and enhancing
//! vessels push back as air and bone do and T2 and FLAIR behave as T1 does; and the surface moves until it rests, not
//! for a fixed number of iterations.
//!
//! Source: S. M. Smith, Human Brain Mapping 17(3), 2002, equations 3 to 14.

use crate::head::Head;
use crate::mesh::{Mesh, Point, dot, minus, plus};
use crate::scalp::Scalp;
use crate::shading::Shading;
use sdk::{Affine, Context, Image, OperatorError};

/// Distance of the samples on the way in, mm.
const STEP_MM: f64 = 1.0;
/// Samples under the surface that must all be brain: 7 mm (as in the published program).
const LOOK_DEEP_STEPS: usize = 7;
/// Samples under the surface in which the local brightest is taken: 3 mm (as in the published program).
const LOOK_NEAR_STEPS: usize = 3;
/// Radii of curvature between which smoothness sets in, mm (Smith 2002: 3.33 and 10; the wider end holds the
/// surface over the thin bone of the vertex, where thick slices blur brain and scalp into each other).
const RADII_MM: [f64; 2] = [3.33, 15.0];
/// Share of the mean edge that a vertex moves along its normal for a force of 1 (Smith 2002).
const NORMAL_STEP: f64 = 0.05;
/// Exponent that spreads the useful thresholds evenly over 0..1 (as in the published program).
const FRACTION_EXPONENT: f64 = 0.275;
/// Force where brain cannot be: half of what nothing at all under the surface gives, which is enough to stop any other.
const RETREAT: f64 = -1.0;
/// Iterations between two looks at the image: a vertex moves by a twentieth of an edge, less than a sample, in between.
const LOOK_EVERY: usize = 2;
/// Iterations between two looks at edge length, rest and cancellation.
const PERIOD: usize = 25;
/// Share by which the volume may still change in a period once the surface rests.
const RESTING_CHANGE: f64 = 0.001;
/// Least local brightest, as a share of brain: keeps the force finite in the dark.
const LEAST_BRIGHT: f64 = 0.1;
/// Half the distance over which the step at the surface is measured, mm: one voxel of a thin slice on either side.
const EDGE_MM: f64 = 1.5;
/// How far above the bright border of tissue, as a share of that border, likeness has fallen to 0. Small, since fat and
/// vessels that are blurred by thick slices are only a little brighter than brain.
const BRIGHT_FALL: f32 = 0.15;

/// How much an intensity looks like brain: 1 for tissue, falling to 0 at air, and to 0 at 15 % above the tissue's
/// bright border.
pub fn likeness(value: f32, head: &Head) -> f32 {
    let [dark, bright] = head.tissue;
    if value < dark {
        ((value - head.low) / (dark - head.low)).max(0.0)
    } else {
        (1.0 - (value - bright).max(0.0) / (BRIGHT_FALL * (bright - head.low))).max(0.0)
    }
}

/// What pulls at the surface.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forces {
    /// Fractional intensity threshold, 0..1: larger gives a smaller brain.
    pub fraction: f64,
    /// Change of the threshold per head radius upwards: positive gives a larger outline at the bottom.
    pub gradient: f64,
    /// Multiple of the smoothness force: 1 as published.
    pub stiffness: f64,
}

/// What a surface grows on.
pub struct Field {
    /// What the image shows.
    pub sampler: Sampler,
    /// Where it is.
    pub head: Head,
    /// What bounds it above, once that is known.
    pub scalp: Option<Scalp>,
}

impl Field {
    /// Outward where all under the surface is brain, inward where something else lies under it or the scalp is near; -2..=2.
    fn force(&self, place: Point, normal: Point, forces: &Forces) -> f64 {
        let Self { sampler, head, scalp } = self;
        if scalp.as_ref().is_some_and(|scalp| scalp.is_near(place)) {
            return RETREAT;
        }
        let step = sampler.voxel_step(normal.map(|x| -STEP_MM * x));
        let mut voxel = sampler.voxel(place);
        let (mut least, mut most) = (f32::INFINITY, 0f32);
        for sample in 1..=LOOK_DEEP_STEPS {
            (0..3).for_each(|axis| voxel[axis] += step[axis]);
            let value = sampler.at(voxel);
            least = least.min(value);
            if sample <= LOOK_NEAR_STEPS {
                most = most.max(value);
            }
        }
        let lift = forces.gradient * (place[2] - head.centre[2]) / head.radius_mm;
        let share = (forces.fraction + lift).clamp(0.0, 1.0).powf(FRACTION_EXPONENT);
        2.0 * (f64::from(least) / f64::from(most).max(LEAST_BRIGHT) - share)
    }
}

/// Likeness to brain at world points, by trilinear interpolation; 0 outside the image.
///
/// Kept in steps of 1/255: a byte a voxel stays in the cache where the surface passes, and no tissue is told apart by less.
pub struct Sampler {
    voxels: Vec<u8>,
    /// Coordinates of the last voxel.
    last: Place,
    /// Distance in memory of neighbours along each axis.
    strides: [usize; 3],
    to_voxel: Affine,
}

/// Likeness 1 as it is stored.
pub const WHOLE: f32 = 255.0;

impl Sampler {
    /// Turns an image into likeness.
    ///
    /// * `shading`: of the image's grid, taken out first.
    ///
    /// # Errors
    /// When the grid's affine is flat.
    pub fn new(image: &Image, head: &Head, shading: &Shading, ctx: &Context) -> Result<Self, OperatorError> {
        let grid = image.grid();
        let to_voxel = grid
            .world_to_voxel()
            .ok_or_else(|| OperatorError::failed(format!("the affine of {grid} cannot be inverted")))?;
        let [nx, ny, _] = grid.shape;
        let mut voxels = vec![0; grid.len()];
        ctx.fill(&mut voxels, nx * ny, |k, out| {
            let rows = image.voxels()[k * nx * ny..].chunks(nx).zip(out.chunks_mut(nx));
            for (j, (values, stored)) in rows.enumerate() {
                let of_row = shading.of_row(j, k);
                for ((stored, value), factor) in stored.iter_mut().zip(values).zip(shading.along_row()) {
                    let even = head.low + (value - head.low) * (factor * of_row);
                    *stored = (WHOLE * likeness(even, head) + 0.5) as u8;
                }
            }
        });
        Ok(Self { voxels, last: grid.shape.map(|n| n as f32 - 1.0), strides: [1, nx, nx * ny], to_voxel })
    }

    /// Likeness in the voxels, `i` fastest, 255 for 1.
    pub fn voxels(&self) -> &[u8] {
        &self.voxels
    }

    /// Voxel coordinates of a world point.
    fn voxel(&self, world: Point) -> Place {
        self.to_voxel.point(world).map(|x| x as f32)
    }

    /// A world direction in voxel coordinates.
    fn voxel_step(&self, world: Point) -> Place {
        self.to_voxel.vector(world).map(|x| x as f32)
    }

    /// Likeness at voxel coordinates.
    fn at(&self, voxel: Place) -> f32 {
        let mut start = 0;
        let mut next = [0; 3];
        let mut weight = [0.0; 3];
        for axis in 0..3 {
            let last = self.last[axis];
            let place = voxel[axis];
            if !(place >= -0.5 && place <= last + 0.5) {
                return 0.0;
            }
            let place = place.max(0.0).min(last);
            let base = place as i32;
            weight[axis] = place - base as f32;
            next[axis] = if place < last { self.strides[axis] } else { 0 };
            start += base as usize * self.strides[axis];
        }
        // One look at the bounds for all eight corners.
        let Some(cell) = self.voxels.get(start..=start + next[0] + next[1] + next[2]) else { return 0.0 };
        let row = |from: usize| {
            let (a, b) = (f32::from(cell[from]), f32::from(cell[from + next[0]]));
            a + weight[0] * (b - a)
        };
        let plane = |from: usize| {
            let (a, b) = (row(from), row(from + next[1]));
            a + weight[1] * (b - a)
        };
        let (a, b) = (plane(0), plane(next[2]));
        (a + weight[2] * (b - a)) * (1.0 / WHOLE)
    }
}

/// Voxel coordinates: single precision tells a hundredth of a voxel apart on the largest grid.
type Place = [f32; 3];

/// How a surface came to rest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rest {
    /// Iterations it took.
    pub iterations: usize,
    /// Mean way of a vertex along its normal in the last iteration, mm.
    pub residual_mm: f64,
}

/// Moves the surface until it rests, at most `most` times.
///
/// # Errors
/// When the run is cancelled.
pub fn settle(
    mesh: &mut Mesh,
    field: &Field,
    forces: &Forces,
    most: usize,
    ctx: &Context,
) -> Result<Rest, OperatorError> {
    let mut normals = Vec::new();
    let mut steps = vec![[0.0; 3]; mesh.vertices.len()];
    let mut pushes = vec![0.0; mesh.vertices.len()];
    let mut volume_mm3 = mesh.volume_mm3();
    let mut rest = Rest::default();
    while rest.iterations < most {
        ctx.check_cancelled()?;
        let edge_mm = mesh.mean_edge_mm();
        for iteration in 0..PERIOD {
            mesh.normals(&mut normals);
            if iteration % LOOK_EVERY == 0 {
                let push = |v: usize| field.force(mesh.vertices[v], normals[v], forces);
                pushes.iter_mut().enumerate().for_each(|(v, out)| *out = push(v));
            }
            for (v, out) in steps.iter_mut().enumerate() {
                *out = step(mesh, v, normals[v], edge_mm, pushes[v], forces.stiffness);
            }
            mesh.vertices.iter_mut().zip(&steps).for_each(|(v, step)| *v = plus(*v, 1.0, *step));
        }
        rest.iterations += PERIOD;
        let before = std::mem::replace(&mut volume_mm3, mesh.volume_mm3());
        if (volume_mm3 - before).abs() < RESTING_CHANGE * volume_mm3.abs() {
            break;
        }
    }
    let ways = steps.iter().zip(&normals).map(|(step, normal)| dot(*step, *normal).abs());
    rest.residual_mm = ways.sum::<f64>() / steps.len() as f64;
    Ok(rest)
}

/// Mean fall of likeness across the surface, from 1.5 mm inside to 1.5 mm outside; 1 for brain against nothing.
pub fn edge_sharpness(mesh: &Mesh, sampler: &Sampler) -> f64 {
    let mut normals = Vec::new();
    mesh.normals(&mut normals);
    let at = |place: Point| f64::from(sampler.at(sampler.voxel(place)));
    let fall = |(v, n): (&Point, &Point)| at(plus(*v, -EDGE_MM, *n)) - at(plus(*v, EDGE_MM, *n));
    mesh.vertices.iter().zip(&normals).map(fall).sum::<f64>() / normals.len() as f64
}

/// Where vertex `v` goes in one iteration, mm.
fn step(mesh: &Mesh, v: usize, normal: Point, edge_mm: f64, force: f64, stiffness: f64) -> Point {
    let place = mesh.vertices[v];
    let to_mean = minus(mesh.neighbour_mean(v), place);
    let along = dot(to_mean, normal);
    let tangential = plus(to_mean, -along, normal);
    let smooth = (stiffness * curvature_weight(along, edge_mm)).min(1.0);
    let push = NORMAL_STEP * edge_mm * force;
    let out = [0, 1, 2].map(|axis| 0.5 * tangential[axis]);
    plus(out, smooth * along + push, normal)
}

/// Share of the way to the neighbours' mean: 0 where the surface is flat, 1 at radii well below the smallest.
fn curvature_weight(along: f64, edge_mm: f64) -> f64 {
    let [tight, wide] = RADII_MM.map(|radius| 1.0 / radius);
    let (middle, steepness) = (f64::midpoint(tight, wide), 6.0 / (tight - wide));
    let curvature = 2.0 * along.abs() / (edge_mm * edge_mm);
    f64::midpoint(1.0, (steepness * (curvature - middle)).tanh())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        low: 10.0,
        air: 20.0,
        high: 300.0,
        tissue: [110.0, 210.0],
        centre: [0.0; 3],
        radius_mm: 80.0,
        thick: false,
    };

    #[test]
    fn tissue_is_wholly_brain_and_air_fat_and_vessels_are_not() {
        let seen = [0.0, 10.0, 60.0, 110.0, 160.0, 210.0, 225.0, 250.0, 900.0].map(|v| likeness(v, &HEAD));
        assert_eq!(seen, [0.0, 0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn smoothness_acts_on_tight_bends_only() {
        let edge_mm = 5.0;
        let bend = |radius_mm: f64| curvature_weight(edge_mm * edge_mm / (2.0 * radius_mm), edge_mm);
        // 6 / (1/rmin - 1/rmax) makes both ends of the range lie at tanh(+-3), 0.25 % from the ends.
        assert!(bend(3.33) > 0.99, "{}", bend(3.33));
        assert!(bend(15.0) < 0.01, "{}", bend(15.0));
    }
}
