//! How deep a place lies under the scalp, where intensities do not tell.
//!
//! Towards the vertex thick slices cut skull and scalp at a slant, so that no dark bone is left between brain and scalp; in T2
//! both are as bright as each other, and a surface that is led by intensities alone grows through the skull. But bone and scalp
//! have a thickness there too, and no less than most of what they have at the sides, where the bone is seen. So what the first
//! outline leaves at the sides bounds the surface above. A head that is stripped already has no such thickness and no bound.
//!
//! Directions are counted from the head's centre: elevation from the horizontal plane, azimuth from the patient's right. World
//! millimetres throughout.

use crate::head::Head;
use crate::mesh::{Mesh, Point, dot, minus, plus};
use sdk::Image;

/// Between neighbouring directions, degrees: 5 mm on a scalp, which bends by less than 0.2 mm over half of that.
const STEP_DEG: f64 = 3.0;
/// Directions from the horizontal plane to the vertex, both counted.
const ROWS: usize = 31;
/// Directions around.
const COLUMNS: usize = 120;
/// Where rays start, in head radii: outside of every head, whose upper half reaches 1.3 radii from its centre.
const START_RADII: f64 = 2.0;
/// Between the samples of a ray, mm: as fine as the voxels of most heads.
const MARCH_MM: f64 = 1.0;
/// Samples brighter than air, one after the other, that are scalp and not noise or a ghost.
const IN_A_ROW: usize = 3;
/// Dark samples, one after the other, that are air: more than a skull is thick, which is as dark, and which a ray meets first
/// where the top of the head is out of view.
const AIR_IN_A_ROW: usize = 12;
/// Elevation below which is a side, and above which the surface is bounded, degrees. Ears and jaw lie below 0.
const UPPER_DEG: f64 = 30.0;
/// Least depth above, as a share of the median at the sides. In the masks that others made of three patients and Colin27, all
/// but a hundredth of the upper surface lies deeper than 0.71 to 0.93 of it.
const LEAST_SHARE: f64 = 0.7;

/// Where the scalp lies above a head's centre, and how near to it a brain may come.
#[derive(Debug)]
pub struct Scalp {
    centre: Point,
    /// From the centre to the scalp's outer border in each direction, mm; infinite where the view ends before, from the side up.
    reach_mm: Vec<f32>,
    /// Least depth of brain under it, above.
    least_mm: f64,
    /// Radius around the centre in which no place is nearer than that.
    free_mm: f64,
}

impl Scalp {
    /// * `outline`: the brain, roughly.
    ///
    /// `None` for a flat grid.
    pub fn of(image: &Image, head: &Head, outline: &Mesh) -> Option<Self> {
        let to_voxel = image.grid().world_to_voxel()?;
        let shape = image.grid().shape;
        let start_mm = START_RADII * head.radius_mm;
        let reach = |n: usize| {
            let (elevation, azimuth) = ((n / COLUMNS) as f64 * STEP_DEG, (n % COLUMNS) as f64 * STEP_DEG);
            let (up, side) = elevation.to_radians().sin_cos();
            let (y, x) = azimuth.to_radians().sin_cos();
            let out = [side * x, side * y, up];
            let start = to_voxel.point(plus(head.centre, start_mm, out));
            let step = to_voxel.vector(out.map(|x| -MARCH_MM * x));
            let samples = (0..(start_mm / MARCH_MM) as usize).map(|n| {
                let index = plus(start, n as f64, step).map(f64::round);
                let is_inside = (0..3).all(|axis| index[axis] >= 0.0 && index[axis] < shape[axis] as f64);
                is_inside.then(|| image.at(index.map(|x| x as usize)))
            });
            border(samples, head.air).map_or(f32::INFINITY, |n| (start_mm - n as f64 * MARCH_MM) as f32)
        };
        let mut reach_mm: Vec<f32> = (0..ROWS * COLUMNS).map(reach).collect();
        // Beyond the edge of a view that cuts the head, the scalp lies at least as far out as at that edge.
        for n in COLUMNS..reach_mm.len() {
            if reach_mm[n].is_infinite() {
                reach_mm[n] = reach_mm[n - COLUMNS];
            }
        }
        let nearest_mm = f64::from(reach_mm.iter().copied().fold(f32::INFINITY, f32::min));
        let mut scalp = Self { centre: head.centre, reach_mm, least_mm: 0.0, free_mm: 0.0 };
        scalp.least_mm = LEAST_SHARE * scalp.usual_mm(outline);
        scalp.free_mm = (nearest_mm - scalp.least_mm).max(0.0);
        Some(scalp)
    }

    /// Whether a place is nearer to the scalp above than a brain comes.
    pub fn is_near(&self, place: Point) -> bool {
        // Most places are told apart without their angles.
        let away = minus(place, self.centre);
        if away[2] < 0.0 || dot(away, away) < self.free_mm * self.free_mm {
            return false;
        }
        let (elevation, depth_mm) = self.depth(place);
        elevation > UPPER_DEG && depth_mm < self.least_mm
    }

    /// Elevation, degrees, and depth under the scalp along the line from the centre, mm; infinite where the scalp is not seen.
    fn depth(&self, place: Point) -> (f64, f64) {
        let away = minus(place, self.centre);
        let radius = dot(away, away).sqrt();
        let elevation = (away[2] / radius).asin().to_degrees();
        if elevation.is_nan() || elevation < 0.0 {
            return (elevation, f64::INFINITY);
        }
        let azimuth = away[1].atan2(away[0]).to_degrees().rem_euclid(360.0);
        let [row, column] = [elevation, azimuth].map(|angle| (angle / STEP_DEG).round() as usize);
        let reach = self.reach_mm[row * COLUMNS + column % COLUMNS];
        (elevation, f64::from(reach) - radius)
    }

    /// Median depth of a surface at the sides, mm; 0 where the scalp is seen nowhere there.
    fn usual_mm(&self, surface: &Mesh) -> f64 {
        let is_side = |&(elevation, mm): &(f64, f64)| elevation < UPPER_DEG && mm.is_finite();
        let mut depths: Vec<f64> =
            surface.vertices.iter().map(|v| self.depth(*v)).filter(is_side).map(|(_, mm)| mm).collect();
        let half = depths.len() / 2;
        if depths.is_empty() { 0.0 } else { *depths.select_nth_unstable_by(half, f64::total_cmp).1 }
    }
}

/// Which sample of a ray from outside is the first of the head; `None` where the view begins within it, or there is none.
///
/// * `samples`: intensities, `None` beyond the view; * `air`: border between air and head.
fn border(samples: impl Iterator<Item = Option<f32>>, air: f32) -> Option<usize> {
    let (mut dark, mut bright) = (0, 0);
    let mut is_air_seen = false;
    for (n, sample) in samples.enumerate() {
        match sample {
            None => (dark, bright, is_air_seen) = (0, 0, false),
            Some(value) if value > air => (dark, bright) = (0, bright + 1),
            Some(_) => (dark, bright) = (dark + 1, 0),
        }
        is_air_seen |= dark == AIR_IN_A_ROW;
        if bright == IN_A_ROW {
            return is_air_seen.then_some(n + 1 - IN_A_ROW);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::{Affine, Grid};

    const HEAD: Head = Head {
        low: 0.0,
        air: 10.0,
        high: 200.0,
        tissue: [80.0, 140.0],
        centre: [0.0; 3],
        radius_mm: 90.0,
        thick: true,
    };

    /// A ball of 90 mm with a speck in the air, on slices of 5 mm that end `top` mm above its centre.
    fn ball(top: f64) -> Image {
        let shape = [120, 120, ((top + 100.0) / 5.0) as usize];
        let grid = Grid::new(shape, Affine::scale_shift([2.0, 2.0, 5.0], [-120.0, -120.0, -100.0]));
        let value = |n: usize| {
            let place = grid.world(grid.index(n));
            let is_speck = grid.index(n) == [60, 60, 39];
            if dot(place, place) <= 90.0 * 90.0 || is_speck { 100.0 } else { 0.0 }
        };
        Image::new(grid, (0..grid.len()).map(value).collect::<Vec<f32>>()).expect("one number a voxel")
    }

    #[test]
    fn brain_keeps_the_distance_from_the_scalp_above_that_it_has_at_the_sides() {
        let scalp = Scalp::of(&ball(120.0), &HEAD, &Mesh::sphere([0.0; 3], 76.0, 3)).expect("a grid");
        let expected = LEAST_SHARE * 14.0;
        assert!((scalp.least_mm - expected).abs() < 2.0, "{} for {expected}", scalp.least_mm);
        let at = |mm: f64, elevation: f64| {
            let (up, side) = elevation.to_radians().sin_cos();
            scalp.is_near([mm * side, 0.0, mm * up])
        };
        assert_eq!([60.0, 84.0, 89.0, 95.0].map(|mm| at(mm, 80.0)), [false, true, true, true]);
        assert_eq!(
            [at(74.0, 45.0), at(85.0, 45.0), at(85.0, 20.0), at(85.0, -60.0)],
            [false, true, false, false]
        );
    }

    #[test]
    fn a_brain_may_reach_the_edge_of_a_view_that_cuts_the_head() {
        let cut = Scalp::of(&ball(60.0), &HEAD, &Mesh::sphere([0.0; 3], 76.0, 3)).expect("a grid");
        assert!(!cut.is_near([0.0, 0.0, 58.0]));
        assert!(cut.is_near([71.0, 0.0, 50.0]), "{}", cut.least_mm);
    }

    #[test]
    fn a_head_that_is_stripped_has_no_bound() {
        let stripped = Scalp::of(&ball(120.0), &HEAD, &Mesh::sphere([0.0; 3], 90.0, 3)).expect("a grid");
        assert!(!stripped.is_near([0.0, 0.0, 87.0]), "{}", stripped.least_mm);
    }
}
