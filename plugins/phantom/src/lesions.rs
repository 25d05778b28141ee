//! Enhancing lesions: lumpy ellipsoids, solid or ring-shaped, with oedema around.
//!
//! A lesion is a formula, not voxels: its surface is known along every ray from its centre, so that each sequence draws it
//! on its own grid with its own partial volume, and volume and centroid come from an integral over directions.

use crate::anatomy::Anatomy;
use crate::contrast::Sequence;
use crate::random::Stream;
use crate::subject::Subject;
use nalgebra::{Matrix3, Vector3};
use std::f64::consts::PI;

/// Median and spread (standard deviation of the logarithm) of diameters: near those of metastases in the literature.
const MEDIAN_MM: f64 = 7.5;
const SPREAD: f64 = 0.55;

/// Large lesions outgrow their supply: the share of rings grows from none at the first diameter to most at the second.
const RING_MM: [f64; 2] = [6.0, 18.0];
const MOST_RINGS: f64 = 0.9;

/// Bumps on a lesion's surface and how far each raises or lowers it, as a share of the radius.
const BUMPS: usize = 8;
const BUMP_HEIGHT: f64 = 0.22;

/// Directions over which shape integrals run: relative error of a volume below 0.1 %.
const DIRECTIONS: usize = 2000;

/// Clear distance between two lesions' surfaces, mm.
const CLEARANCE_MM: f64 = 4.0;

/// Places tried for one lesion before giving up.
const TRIES: usize = 5000;

/// Solid, or enhancing around a necrotic core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LesionKind {
    /// Enhances throughout.
    Solid,
    /// Enhances in its rim.
    Ring,
}

impl LesionKind {
    /// As written in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::Ring => "ring",
        }
    }
}

/// One lesion in the BRAVO world (mm).
#[derive(Clone, Debug)]
pub struct Lesion {
    /// Solid or ring.
    pub kind: LesionKind,
    /// Diameter of the ball with its volume.
    pub diameter_mm: f64,
    /// Where its rays start.
    pub centre: [f64; 3],
    /// Farthest surface point from the centre.
    pub radius_mm: f64,
    /// Mean width of the oedema around it; 0 without.
    pub oedema_mm: f64,
    /// Signal of the enhancing part in each sequence, white matter = 1.
    pub enhancing: [f32; 4],
    /// Signal of the core in each sequence.
    pub core: [f32; 4],
    shape: Shape,
    /// Core's radius as a share of the whole; 0 for solid.
    core_share: f64,
    /// Where the centroid lies from the centre.
    centroid_offset: [f64; 3],
}

/// An ellipsoid with bumps.
#[derive(Clone, Debug)]
struct Shape {
    /// From millimetres about the centre to the unit ball, and back.
    to_unit: Matrix3<f64>,
    from_unit: Matrix3<f64>,
    /// Direction and height of each bump.
    bumps: Vec<(Vector3<f64>, f64)>,
}

impl Shape {
    /// Draws proportions and bumps, then scales them so that the volume is that of a ball of `diameter_mm`.
    fn draw(stream: &mut Stream, diameter_mm: f64) -> Self {
        let axes: [f64; 3] = std::array::from_fn(|_| stream.within(0.8, 1.25));
        let turn = *sdk::Affine::rigid(stream.triple(PI), [0.0; 3], [0.0; 3]).matrix();
        let linear = turn.fixed_view::<3, 3>(0, 0) * Matrix3::from_diagonal(&Vector3::from(axes));
        let bump = |_| (Vector3::from(stream.direction()), stream.within(-BUMP_HEIGHT, BUMP_HEIGHT));
        let bumps: Vec<_> = (0..BUMPS).map(bump).collect();
        let mut shape = Self { to_unit: Matrix3::identity(), from_unit: linear, bumps };
        let scale = diameter_mm / (6.0 / PI * shape.volume()).cbrt();
        shape.from_unit *= scale;
        shape.to_unit = shape.from_unit.try_inverse().expect("axes are far from 0");
        shape
    }

    /// Distance of the surface from the centre along a direction of unit space.
    fn radius(&self, direction: &Vector3<f64>) -> f64 {
        let raised =
            |(towards, height): &(Vector3<f64>, f64)| height * (0.5 + 0.5 * direction.dot(towards)).powi(4);
        (1.0 + self.bumps.iter().map(raised).sum::<f64>()).max(0.4)
    }

    /// Volume in mm3.
    fn volume(&self) -> f64 {
        let cubes: f64 = directions().map(|u| self.radius(&u).powi(3)).sum();
        self.from_unit.determinant().abs() * 4.0 * PI / 3.0 * cubes / DIRECTIONS as f64
    }

    /// Centroid from the centre, mm.
    fn centroid(&self) -> Vector3<f64> {
        let cubes: f64 = directions().map(|u| self.radius(&u).powi(3)).sum();
        let moment: Vector3<f64> = directions().map(|u| u * self.radius(&u).powi(4)).sum();
        self.from_unit * moment * (0.75 / cubes)
    }

    /// Farthest surface point from the centre, mm.
    fn reach(&self) -> f64 {
        directions().map(|u| (self.from_unit * u * self.radius(&u)).norm()).fold(0.0, f64::max)
    }

    /// Distance in mm from `p` (mm about the centre) to the surface along its ray, negative inside; and to the surface
    /// shrunk to `core_share` of its radius.
    fn distances(&self, p: &Vector3<f64>, core_share: f64) -> (f64, f64) {
        let unit = self.to_unit * p;
        let place = unit.norm().max(1e-9);
        let surface = self.radius(&(unit / place));
        let mm_per_unit = p.norm() / place;
        ((place - surface) * mm_per_unit, (place - core_share * surface) * mm_per_unit)
    }
}

/// Evenly spread directions (Fibonacci's spiral).
fn directions() -> impl Iterator<Item = Vector3<f64>> {
    let golden_angle = PI * (3.0 - 5f64.sqrt());
    (0..DIRECTIONS).map(move |n| {
        let z = 1.0 - (2.0 * n as f64 + 1.0) / DIRECTIONS as f64;
        let ring = (1.0 - z * z).sqrt();
        let angle = golden_angle * n as f64;
        Vector3::new(ring * angle.cos(), ring * angle.sin(), z)
    })
}

/// How much of a voxel lies in the lesion, its core, its oedema: shares of 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares {
    /// Whole lesion.
    pub lesion: f64,
    /// Its core, part of the lesion.
    pub core: f64,
    /// Oedema where the tissue is white matter.
    pub oedema: f64,
}

impl Lesion {
    /// How much of a voxel about `p` (BRAVO world) lies in the lesion; `extents`: the voxel's three edges, mm.
    pub fn shares(&self, p: [f64; 3], extents: &[Vector3<f64>; 3]) -> Shares {
        let offset: Vector3<f64> = Vector3::from(p) - Vector3::from(self.centre);
        let (outer, inner) = self.shape.distances(&offset, self.core_share);
        // A plane across a voxel sweeps it over the sum of its edges' lengths along the plane's normal.
        let normal = offset / offset.norm().max(1e-9);
        let width = extents.iter().map(|edge| edge.dot(&normal).abs()).sum::<f64>().max(0.1);
        let filled = |distance: f64| (0.5 - distance / width).clamp(0.0, 1.0);
        let core = if self.kind == LesionKind::Ring { filled(inner) } else { 0.0 };
        Shares { lesion: filled(outer), core, oedema: self.oedema_share(&normal, outer) }
    }

    /// Full at the lesion's surface, fading out in the outer half; its width changes with direction as the bumps do.
    fn oedema_share(&self, normal: &Vector3<f64>, outside_mm: f64) -> f64 {
        if self.oedema_mm <= 0.0 || outside_mm > self.oedema_reach_mm() {
            return 0.0;
        }
        let waves =
            self.shape.bumps.iter().map(|(towards, height)| height * (4.0 * normal.dot(towards)).sin());
        let width = self.oedema_mm * (1.0 + waves.sum::<f64>()).clamp(0.4, 1.6);
        (2.0 * (1.0 - outside_mm / width)).clamp(0.0, 1.0)
    }

    fn oedema_reach_mm(&self) -> f64 {
        1.6 * self.oedema_mm
    }

    /// Distance from the centre beyond which nothing of it is seen, mm.
    pub fn reach_mm(&self) -> f64 {
        self.radius_mm + self.oedema_reach_mm()
    }

    /// Whether a point of the BRAVO world lies inside.
    pub fn contains(&self, p: [f64; 3]) -> bool {
        let offset = Vector3::from(p) - Vector3::from(self.centre);
        offset.norm() <= self.radius_mm && self.shape.distances(&offset, 0.0).0 <= 0.0
    }

    /// Centroid in the BRAVO world, RAS mm.
    pub fn centroid(&self) -> [f64; 3] {
        std::array::from_fn(|axis| self.centre[axis] + self.centroid_offset[axis])
    }

    /// Volume in mm3, core included.
    pub fn volume_mm3(&self) -> f64 {
        PI / 6.0 * self.diameter_mm.powi(3)
    }

    fn draw(stream: &mut Stream, diameter_mm: f64) -> Self {
        let shape = Shape::draw(stream, diameter_mm);
        let ring_share = ((diameter_mm - RING_MM[0]) / (RING_MM[1] - RING_MM[0])).clamp(0.0, MOST_RINGS);
        let ring = stream.unit() < ring_share;
        let core_share = if ring { stream.within(0.5, 0.7) } else { 0.0 };
        let has_oedema = stream.unit() < 0.8;
        let oedema_mm = if has_oedema { stream.within(0.25, 0.6) * diameter_mm.max(6.0) } else { 0.0 };
        let mut signal = |range: [f64; 2]| stream.within(range[0], range[1]) as f32;
        let enhancing = Sequence::ALL.map(|sequence| signal(sequence.contrast().enhancing));
        let core = Sequence::ALL.map(|sequence| signal(sequence.contrast().core));
        Self {
            kind: if ring { LesionKind::Ring } else { LesionKind::Solid },
            diameter_mm,
            centre: [0.0; 3],
            radius_mm: shape.reach(),
            oedema_mm,
            enhancing,
            core,
            centroid_offset: shape.centroid().into(),
            shape,
            core_share,
        }
    }
}

/// Draws lesions and places each in the brain, largest first.
///
/// * `count`: how many; `diameter_mm`: least and most.
///
/// # Errors
/// How many found a place, if not all did.
pub fn draw_lesions(
    anatomy: &Anatomy,
    subject: &Subject,
    seed: u64,
    count: usize,
    diameter_mm: [f64; 2],
) -> Result<Vec<Lesion>, usize> {
    let mut sizes = Stream::new(seed, "lesion diameters", 0);
    let mut diameters: Vec<f64> = (0..count).map(|_| draw_diameter(&mut sizes, diameter_mm)).collect();
    diameters.sort_by(|a, b| b.total_cmp(a));
    let mut lesions: Vec<Lesion> = Vec::with_capacity(count);
    for (index, diameter) in diameters.into_iter().enumerate() {
        let stream = &mut Stream::new(seed, "lesion shape", index as u64);
        let mut lesion = Lesion::draw(stream, diameter);
        if !place(&mut lesion, &lesions, anatomy, subject, stream) {
            return Err(lesions.len());
        }
        lesions.push(lesion);
    }
    Ok(lesions)
}

/// Log-normal, drawn again until within the limits; even between narrow limits.
fn draw_diameter(stream: &mut Stream, [low, high]: [f64; 2]) -> f64 {
    for _ in 0..50 {
        let diameter = MEDIAN_MM * (SPREAD * stream.normal()).exp();
        if (low..=high).contains(&diameter) {
            return diameter;
        }
    }
    stream.within(low, high)
}

/// Moves the lesion to a place where it fits: in the brain whole, hardly in fluid, clear of the others, and rather at the
/// border of grey and white matter than elsewhere.
fn place(
    lesion: &mut Lesion,
    others: &[Lesion],
    anatomy: &Anatomy,
    subject: &Subject,
    stream: &mut Stream,
) -> bool {
    for _ in 0..TRIES {
        let atlas = [stream.within(-72.0, 72.0), stream.within(-105.0, 72.0), stream.within(-55.0, 82.0)];
        let elsewhere = stream.unit() < 0.3;
        let tissue = if elsewhere { 80..118 } else { 92..106 };
        if !anatomy.in_brain(atlas) || !tissue.contains(&anatomy.t1_at(atlas)) {
            continue;
        }
        lesion.centre = subject.from_atlas(atlas);
        if clear_of(lesion, others) && within_brain(lesion, anatomy, subject) {
            return true;
        }
    }
    false
}

fn clear_of(lesion: &Lesion, others: &[Lesion]) -> bool {
    others.iter().all(|other| {
        let between: f64 = (0..3).map(|a| (lesion.centre[a] - other.centre[a]).powi(2)).sum();
        between.sqrt() >= lesion.radius_mm + other.radius_mm + CLEARANCE_MM
    })
}

/// Looks along evenly spread directions, at the surface and half-way: all in the brain, at most a tenth in fluid.
fn within_brain(lesion: &Lesion, anatomy: &Anatomy, subject: &Subject) -> bool {
    const EVERY: usize = 20;
    const MOST_IN_FLUID: usize = DIRECTIONS / EVERY * 2 / 10;
    const DARKER_IS_FLUID: u8 = 60;
    let mut in_fluid = 0;
    for direction in directions().step_by(EVERY) {
        let surface = lesion.shape.from_unit * direction * lesion.shape.radius(&direction);
        for share in [0.5, 1.1] {
            let p = std::array::from_fn(|axis| lesion.centre[axis] + share * surface[axis]);
            let atlas = subject.to_atlas(p);
            if !anatomy.in_brain(atlas) {
                return false;
            }
            in_fluid += usize::from(anatomy.t1_at(atlas) < DARKER_IS_FLUID);
        }
    }
    in_fluid <= MOST_IN_FLUID
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counting points on a fine lattice gives the promised volume and centroid: 1 % and 0.1 mm cover the lattice's error.
    #[test]
    fn volume_and_centroid_are_those_of_the_shape() {
        for index in 0..6 {
            let mut stream = Stream::new(11, "test", index);
            let lesion = Lesion::draw(&mut stream, 12.0);
            let step = 0.25;
            let reach = (lesion.radius_mm / step).ceil() as i64 + 1;
            let (mut inside, mut sum) = (0.0f64, [0.0f64; 3]);
            for n in 0..(2 * reach + 1).pow(3) {
                let side = 2 * reach + 1;
                let p = [n % side, n / side % side, n / (side * side)].map(|v| (v - reach) as f64 * step);
                if lesion.contains(p) {
                    inside += 1.0;
                    (0..3).for_each(|axis| sum[axis] += p[axis]);
                }
            }
            let volume = inside * step.powi(3);
            assert!((volume / lesion.volume_mm3() - 1.0).abs() < 0.01, "{volume} of {}", lesion.volume_mm3());
            for (axis, (sum, promised)) in sum.iter().zip(lesion.centroid()).enumerate() {
                let off = sum / inside - promised;
                assert!(off.abs() < 0.1, "lesion {index}, axis {axis}: {off} mm");
            }
        }
    }

    #[test]
    fn lesions_lie_in_the_brain_and_apart() {
        let anatomy = Anatomy::load();
        let subject = Subject::draw(5);
        let lesions = draw_lesions(&anatomy, &subject, 5, 30, [4.0, 25.0]).unwrap();
        assert_eq!(lesions.len(), 30);
        for (n, lesion) in lesions.iter().enumerate() {
            assert!(anatomy.in_brain(subject.to_atlas(lesion.centroid())), "lesion {n}");
            assert!((4.0..=25.0).contains(&lesion.diameter_mm));
            assert!(clear_of(lesion, &lesions[..n]));
        }
        assert!(lesions.iter().any(|lesion| lesion.kind == LesionKind::Ring));
        assert!(lesions.iter().any(|lesion| lesion.kind == LesionKind::Solid));
    }

    #[test]
    fn too_many_large_lesions_say_how_many_fit() {
        let anatomy = Anatomy::load();
        let placed = draw_lesions(&anatomy, &Subject::draw(1), 1, 200, [40.0, 42.0]).unwrap_err();
        assert!((1..100).contains(&placed), "{placed}");
    }
}
