//! Vessels and choroid plexus, drawn as tubes into the atlas.
//!
//! Large ones lie where Colin27 shows them: venous sinuses, carotids, basilar and middle cerebral arteries. Cortical veins
//! and small vessels are drawn anew for each seed. They are what a network must not take for a lesion: blood is bright in
//! BRAVO and black in the spin-echo sequences; choroid plexus enhances in both.

use crate::anatomy::{Anatomy, LEN, ORIGIN_MM, SHAPE};
use crate::random::Stream;

/// A chain of atlas points (mm) with one radius (mm).
type Tube = (&'static [[f64; 3]], f64);

/// Paired vessels of the right side; the left is their mirror image.
const PAIRED: [Tube; 5] = [
    // Transverse and sigmoid sinus.
    (
        &[
            [0.0, -96.0, -15.0],
            [12.0, -95.5, -19.0],
            [30.0, -92.0, -22.0],
            [45.0, -82.0, -23.0],
            [54.0, -70.0, -24.0],
            [61.0, -56.0, -29.0],
            [61.0, -48.0, -36.0],
            [54.0, -42.0, -45.0],
            [42.0, -38.0, -50.0],
            [32.0, -36.0, -58.0],
        ],
        3.4,
    ),
    // Internal carotid artery.
    (
        &[
            [26.0, -18.0, -62.0],
            [24.0, -12.0, -42.0],
            [15.0, -8.0, -36.0],
            [14.0, 4.0, -32.0],
            [13.0, 4.0, -25.0],
            [13.0, 3.0, -20.0],
        ],
        2.3,
    ),
    // Middle cerebral artery.
    (
        &[
            [13.0, 3.0, -19.0],
            [24.0, 4.0, -19.0],
            [34.0, 4.0, -17.0],
            [41.0, -2.0, -10.0],
            [42.0, -14.0, 0.0],
        ],
        1.3,
    ),
    // Anterior cerebral artery.
    (&[[13.0, 4.0, -19.0], [3.0, 10.0, -16.0], [2.0, 22.0, -10.0], [2.0, 37.0, 2.0], [2.0, 32.0, 20.0]], 1.1),
    // Vertebral artery, into the basilar.
    (&[[14.0, -30.0, -70.0], [8.0, -22.0, -58.0], [0.0, -15.0, -46.0]], 1.5),
];

/// Vessels of the midline.
const MIDLINE: [Tube; 3] = [
    // Straight sinus, from the great vein to the confluence.
    (
        &[[0.0, -42.0, 12.0], [0.0, -46.0, 20.0], [0.0, -60.0, 7.0], [0.0, -78.0, -7.0], [0.0, -96.0, -15.0]],
        2.2,
    ),
    // Basilar artery.
    (&[[0.0, -15.0, -46.0], [0.0, -7.0, -32.0], [0.0, -7.0, -20.0]], 1.7),
    // Internal cerebral vein.
    (&[[0.0, -8.0, 12.0], [0.0, -26.0, 11.0], [0.0, -42.0, 12.0]], 1.2),
];

/// Choroid plexus in the lateral ventricles' bodies and trigones, right side.
const PLEXUS: [Tube; 2] = [
    (&[[5.0, -8.0, 17.0], [10.0, -24.0, 18.0], [18.0, -36.0, 15.0]], 1.2),
    (&[[18.0, -36.0, 15.0], [23.0, -40.0, 10.0], [26.0, -38.0, 3.0]], 2.4),
];

/// Centre of the fan of rays that finds the brain's rim for the superior sagittal sinus and cortical veins, atlas mm.
const FAN_MM: [f64; 3] = [0.0, -22.0, 15.0];

/// Radius of the superior sagittal sinus, mm: thin in front, wide behind.
const SAGITTAL_RADIUS_MM: [f64; 2] = [1.6, 3.6];

/// Cortical veins on each side, and small vessels within the brain.
const CORTICAL_VEINS: u64 = 7;
const SMALL_VESSELS: u64 = 40;

/// How much of each atlas voxel is filled: 0 none, 255 all.
#[derive(Debug)]
pub struct Vessels {
    /// Blood in arteries, veins and sinuses.
    pub blood: Vec<u8>,
    /// Choroid plexus.
    pub plexus: Vec<u8>,
}

impl Vessels {
    /// Draws the vessels of a seed.
    pub fn draw(anatomy: &Anatomy, seed: u64) -> Self {
        let mut blood = large(anatomy);
        let mut plexus = vec![0; LEN];
        for index in 0..2 * CORTICAL_VEINS {
            let stream = &mut Stream::new(seed, "cortical vein", index);
            let side = if index % 2 == 0 { 1.0 } else { -1.0 };
            let radius = stream.within(0.7, 1.3);
            draw_chain(&mut blood, &cortical_vein(anatomy, side, stream), |_| radius);
        }
        for index in 0..SMALL_VESSELS {
            let stream = &mut Stream::new(seed, "small vessel", index);
            let radius = stream.within(0.4, 0.9);
            draw_chain(&mut blood, &small_vessel(anatomy, stream), |_| radius);
        }
        for (points, radius) in PLEXUS {
            draw_pair(&mut plexus, points, radius);
        }
        Self { blood, plexus }
    }
}

/// How much of each atlas voxel the sinuses and the arteries of the skull base fill, which lie where Colin27 has them whatever the
/// seed: 0 none, 255 all.
pub fn large(anatomy: &Anatomy) -> Vec<u8> {
    let mut blood = vec![0; LEN];
    for (points, radius) in PAIRED {
        draw_pair(&mut blood, points, radius);
    }
    for (points, radius) in MIDLINE {
        draw_chain(&mut blood, points, |_| radius);
    }
    let [front, back] = SAGITTAL_RADIUS_MM;
    draw_chain(&mut blood, &sagittal_sinus(anatomy), |along| front + (back - front) * along);
    blood
}

/// A chain and its mirror image.
fn draw_pair(out: &mut [u8], points: &[[f64; 3]], radius: f64) {
    draw_chain(out, points, |_| radius);
    let mirrored: Vec<[f64; 3]> = points.iter().map(|p| [-p[0], p[1], p[2]]).collect();
    draw_chain(out, &mirrored, |_| radius);
}

/// Draws the segments between points; `radius` (mm) by the share of the chain (0..=1).
fn draw_chain(out: &mut [u8], points: &[[f64; 3]], radius: impl Fn(f64) -> f64) {
    let last = points.len().saturating_sub(1).max(1) as f64;
    for (n, pair) in points.windows(2).enumerate() {
        let ends = [radius(n as f64 / last), radius((n + 1) as f64 / last)];
        draw_segment(out, [pair[0], pair[1]], ends);
    }
}

/// Draws one round-ended segment whose edge is soft over a voxel (1 mm), keeping what was fuller.
fn draw_segment(out: &mut [u8], [a, b]: [[f64; 3]; 2], radius: [f64; 2]) {
    let widest = radius[0].max(radius[1]) + 1.0;
    let bound = |axis: usize| {
        let low = a[axis].min(b[axis]) - widest - ORIGIN_MM[axis];
        let high = a[axis].max(b[axis]) + widest - ORIGIN_MM[axis];
        low.floor().max(0.0) as usize
            ..(high.ceil().max(-1.0) as i64 + 1).clamp(0, SHAPE[axis] as i64) as usize
    };
    let along: [f64; 3] = std::array::from_fn(|axis| b[axis] - a[axis]);
    let length2 = along.iter().map(|v| v * v).sum::<f64>().max(f64::MIN_POSITIVE);
    for k in bound(2) {
        for j in bound(1) {
            for i in bound(0) {
                let p: [f64; 3] = [i as f64, j as f64, k as f64];
                let from_a: [f64; 3] = std::array::from_fn(|axis| p[axis] + ORIGIN_MM[axis] - a[axis]);
                let share = (0..3).map(|axis| from_a[axis] * along[axis]).sum::<f64>() / length2;
                let share = share.clamp(0.0, 1.0);
                let distance2 = (0..3).map(|axis| (from_a[axis] - share * along[axis]).powi(2)).sum::<f64>();
                let radius = radius[0] + share * (radius[1] - radius[0]);
                let filled = (radius - distance2.sqrt() + 0.5).clamp(0.0, 1.0);
                // A tube thinner than a voxel cannot fill one: its cross-section in mm2 bounds the share.
                let filled = filled.min(std::f64::consts::PI * radius * radius);
                let voxel = &mut out[i + SHAPE[0] * (j + SHAPE[1] * k)];
                *voxel = (*voxel).max((filled * 255.0) as u8);
            }
        }
    }
}

/// Where a ray from [`FAN_MM`] leaves the brain for good, mm.
fn rim(anatomy: &Anatomy, direction: [f64; 3]) -> f64 {
    const FARTHEST_MM: usize = 130;
    let at = |mm: f64| std::array::from_fn(|axis| FAN_MM[axis] + mm * direction[axis]);
    (0..FARTHEST_MM).rev().map(|mm| mm as f64).find(|&mm| anatomy.in_brain(at(mm))).unwrap_or(0.0)
}

/// A point `beyond` mm outside the brain's rim.
fn beyond_rim(anatomy: &Anatomy, direction: [f64; 3], beyond: f64) -> [f64; 3] {
    let mm = rim(anatomy, direction) + beyond;
    std::array::from_fn(|axis| FAN_MM[axis] + mm * direction[axis])
}

/// Along the midline's rim from the forehead over the vertex to the confluence.
fn sagittal_sinus(anatomy: &Anatomy) -> Vec<[f64; 3]> {
    /// Elevation above the front horizon where it starts and ends, degrees.
    const FROM_TO_DEG: [f64; 2] = [12.0, 200.0];
    const STEPS: usize = 36;
    let point = |step: usize| {
        let angle = FROM_TO_DEG[0] + (FROM_TO_DEG[1] - FROM_TO_DEG[0]) * step as f64 / STEPS as f64;
        let angle = angle.to_radians();
        beyond_rim(anatomy, [0.0, angle.cos(), angle.sin()], 2.5)
    };
    let mut points: Vec<[f64; 3]> = (0..=STEPS).map(point).collect();
    points.push([0.0, -96.0, -15.0]);
    points
}

/// From the sagittal sinus down one side over the brain's surface, wavering.
fn cortical_vein(anatomy: &Anatomy, side: f64, stream: &mut Stream) -> Vec<[f64; 3]> {
    let mut front = stream.within(30.0, 160.0).to_radians();
    let steps = 6 + (stream.unit() * 10.0) as usize;
    let mut drift = stream.within(-0.06, 0.06);
    let mut points = Vec::new();
    for step in 0..steps {
        let down = step as f64 * 0.07;
        let direction = [side * down.sin(), front.cos() * down.cos(), front.sin() * down.cos()];
        points.push(beyond_rim(anatomy, direction, 0.5));
        drift += stream.within(-0.04, 0.04);
        front += drift;
    }
    points
}

/// A short curved vessel that starts in a sulcus or the grey matter.
fn small_vessel(anatomy: &Anatomy, stream: &mut Stream) -> Vec<[f64; 3]> {
    const TRIES: usize = 200;
    const STEP_MM: f64 = 2.5;
    let mut start = FAN_MM;
    for _ in 0..TRIES {
        let place: [f64; 3] =
            [stream.within(-70.0, 70.0), stream.within(-100.0, 70.0), stream.within(-50.0, 75.0)];
        if anatomy.in_brain(place) && (45..80).contains(&anatomy.t1_at(place)) {
            start = place;
            break;
        }
    }
    let steps = 4 + (stream.unit() * 7.0) as usize;
    let mut heading = stream.direction();
    let mut points = vec![start];
    for _ in 0..steps {
        let bend = stream.triple(0.5);
        let raw: [f64; 3] = std::array::from_fn(|axis| heading[axis] + bend[axis]);
        let norm = raw.iter().map(|v| v * v).sum::<f64>().sqrt().max(0.1);
        heading = raw.map(|v| v / norm);
        let last = points[points.len() - 1];
        points.push(std::array::from_fn(|axis| last[axis] + STEP_MM * heading[axis]));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sagittal_sinus_follows_the_rim_of_the_brain_from_front_to_back() {
        let anatomy = Anatomy::load();
        let vessels = Vessels::draw(&anatomy, 1);
        let filled = |p: [f64; 3]| vessels.blood[Anatomy::offset(p).unwrap()];
        for point in sagittal_sinus(&anatomy) {
            assert!(filled(point) > 200, "{point:?} holds {}", filled(point));
        }
        assert!(sagittal_sinus(&anatomy).iter().any(|p| p[2] > 70.0), "it passes the vertex");
        assert_eq!(filled([30.0, -20.0, 30.0]), 0, "white matter holds no large vessel");
    }

    /// Sinuses, carotids and veins hold tens of millilitres in a real head.
    #[test]
    fn blood_and_plexus_have_plausible_volumes() {
        let vessels = Vessels::draw(&Anatomy::load(), 3);
        let millilitres = |v: &[u8]| v.iter().map(|&f| f64::from(f)).sum::<f64>() / 255_000.0;
        let (blood, plexus) = (millilitres(&vessels.blood), millilitres(&vessels.plexus));
        assert!((15.0..60.0).contains(&blood), "{blood} ml of blood");
        assert!((0.5..5.0).contains(&plexus), "{plexus} ml of plexus");
    }
}
