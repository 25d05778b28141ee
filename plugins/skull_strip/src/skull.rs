//! Where the skull ends: between the brain's surface and the scalp.
//!
//! From each vertex a ray runs outward. Scalp (fat, muscle, skin) is the brightest thing on it, bone the darkest thing before
//! that, in every contrast; the skull's outer border is the last place before the scalp that is still dark. Where there is
//! no bright layer after a dark one (orbits, neck, ears, edge of the view) nothing is found, and the neighbours decide.
//!
//! Source: S. M. Smith, Human Brain Mapping 17(3), 2002, section on the estimate of the skull; that the border is taken
//! half way up from bone to scalp is our own.

use crate::fill::voxels_inside;
use crate::mesh::{Mesh, Point, plus};
use sdk::{Context, Image, Labels, Mask, OperatorError};

/// How far outward scalp is looked for, mm (Smith 2002).
const REACH_MM: f64 = 30.0;
/// Distance of the samples, mm: half a thin voxel.
const STEP_MM: f64 = 0.5;
/// Bone must be darker than this share of the scalp on the same ray.
const BONE_SHARE: f32 = 0.5;
/// Least and largest distance of the outer border from the brain, mm: fluid and bone of a newborn, and of a giant with
/// air in the bone.
const RANGE_MM: [f64; 2] = [2.0, 25.0];
/// Rounds in which a vertex takes the mean of itself and its neighbours.
const SMOOTHINGS: usize = 4;

/// The skull's outer surface.
#[derive(Clone, Debug)]
pub struct Skull {
    /// The brain's surface moved outward to where bone ends.
    pub outer: Mesh,
    /// Share of vertices over which bone and scalp were seen, 0..=1; the others follow their neighbours.
    pub seen_share: f64,
    /// Median distance of bone's outer border from the brain's surface, mm; 0 if none was seen.
    pub distance_mm: f64,
}

/// Share of vertices over which bone must have been seen: about half lie above the skull's base.
const LEAST_SEEN: f64 = 0.3;

impl Skull {
    /// What a person should look at, in words.
    pub fn warning(&self) -> Option<String> {
        let percent = self.seen_share * 100.0;
        (self.seen_share < LEAST_SEEN).then(|| {
            format!("skull: bone under a brighter scalp was seen over {percent:.0} % of the brain only, look at it")
        })
    }
}

/// Finds the skull's outer surface around the brain's.
///
/// * `air`: border between air and head, in the image's intensities.
///
/// # Errors
/// When the grid's affine is flat, or the run is cancelled.
pub fn find_skull(mesh: &Mesh, image: &Image, air: f32, ctx: &Context) -> Result<Skull, OperatorError> {
    ctx.check_cancelled()?;
    let to_voxel = image
        .grid()
        .world_to_voxel()
        .ok_or_else(|| OperatorError::failed(format!("the affine of {} cannot be inverted", image.grid())))?;
    let mut normals = Vec::new();
    mesh.normals(&mut normals);
    let distance = |v: usize| {
        let at = |n: usize| to_voxel.point(plus(mesh.vertices[v], n as f64 * STEP_MM, normals[v]));
        let ray: Vec<f32> =
            (0..=(REACH_MM / STEP_MM) as usize).map_while(|n| nearest(image, at(n))).collect();
        border_mm(&ray, air)
    };
    let distances: Vec<Option<f64>> = (0..mesh.vertices.len()).map(distance).collect();
    let mut seen: Vec<f64> = distances.iter().copied().flatten().collect();
    seen.sort_by(f64::total_cmp);
    let distance_mm = seen.get(seen.len() / 2).copied().unwrap_or(0.0);
    let smooth = smoothed(mesh, &distances, distance_mm);
    let mut outer = mesh.clone();
    for (n, vertex) in outer.vertices.iter_mut().enumerate() {
        *vertex = plus(*vertex, smooth[n], normals[n]);
    }
    Ok(Skull { outer, seen_share: seen.len() as f64 / distances.len() as f64, distance_mm })
}

/// Brain 1, fluid and bone around it 2, all else 0.
///
/// # Errors
/// When memory cannot be had, or the run is cancelled.
pub fn labels(skull: &Skull, brain: &Mask, ctx: &Context) -> Result<Labels, OperatorError> {
    let within = voxels_inside(&skull.outer, brain.grid(), ctx)?;
    let mut labels = ctx.alloc::<u32>(within.len())?;
    for ((label, brain), within) in labels.iter_mut().zip(brain.voxels()).zip(within.iter()) {
        *label = if *brain != 0 { 1 } else { 2 * u32::from(*within) };
    }
    Ok(Labels::new(*brain.grid(), labels.freeze())?)
}

/// Value of the voxel nearest to voxel coordinates; `None` outside the image.
fn nearest(image: &Image, voxel: Point) -> Option<f32> {
    let place = voxel.map(f64::round);
    let within = (0..3).all(|axis| place[axis] >= 0.0 && place[axis] < image.grid().shape[axis] as f64);
    within.then(|| image.at(place.map(|x| x as usize)))
}

/// Distance along the ray at which bone ends, mm; `None` without bone under scalp.
fn border_mm(ray: &[f32], air: f32) -> Option<f64> {
    // The first of the brightest: scalp, not what lies behind it.
    let scalp = (0..ray.len()).rev().max_by(|&a, &b| ray[a].total_cmp(&ray[b]))?;
    let bone = (0..scalp).min_by(|&a, &b| ray[a].total_cmp(&ray[b]))?;
    if ray[scalp] <= air || ray[bone] > BONE_SHARE * ray[scalp] {
        return None;
    }
    let middle = f32::midpoint(ray[bone], ray[scalp]);
    let border = (bone..scalp).rfind(|&n| ray[n] < middle)?;
    let mm = border as f64 * STEP_MM;
    (RANGE_MM[0]..=RANGE_MM[1]).contains(&mm).then_some(mm)
}

/// Distances with gaps filled from the neighbours, or else the median, and made smooth.
fn smoothed(mesh: &Mesh, distances: &[Option<f64>], median_mm: f64) -> Vec<f64> {
    let mut known = distances.to_vec();
    // A gap is closed from its rim inward; the number of rounds is bounded by the mesh's width.
    while known.iter().any(Option::is_none) && known.iter().any(Option::is_some) {
        let next = (0..known.len())
            .map(|v| known[v].or_else(|| mean(mesh.neighbours(v).iter().filter_map(|&n| known[n as usize]))));
        known = next.collect();
    }
    let mut out: Vec<f64> = known.into_iter().map(|mm| mm.unwrap_or(median_mm)).collect();
    for _ in 0..SMOOTHINGS {
        let around = |v: usize| mean(mesh.neighbours(v).iter().map(|&n| out[n as usize])).unwrap_or(out[v]);
        out = (0..out.len()).map(|v| f64::midpoint(out[v], around(v))).collect();
    }
    out
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bone_ends_half_way_up_to_the_scalp_and_is_not_seen_without_one() {
        // 3 mm of fluid, 6 mm of bone, scalp from 9 mm on.
        let ray: Vec<f32> = (0..40)
            .map(|n| {
                if n < 6 {
                    40.0
                } else if n < 18 {
                    5.0
                } else {
                    200.0
                }
            })
            .collect();
        assert_eq!(border_mm(&ray, 10.0), Some(8.5));
        assert_eq!(border_mm(&ray[..17], 10.0), None);
        assert_eq!(border_mm(&[100.0; 40], 10.0), None);
        assert_eq!(border_mm(&[], 10.0), None);
    }
}
