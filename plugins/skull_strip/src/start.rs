//! Start from a mask that is known to lie about the brain, such as a template's, brought over by a registration.
//!
//! The mask says where the brain is; the image, where its rim lies. So a mask that is off by a centimetre does no harm, and
//! a head whose proportions mislead (cut far, in an unusual position, among other things in view) has its start.

use crate::head::{Head, tissue_of};
use crate::mesh::{Mesh, Point, dot, minus, plus, unit};
use sdk::{Context, Image, Mask, OperatorError};

/// Share of the way from the middle to the mask's border at which the surface starts: well inside the brain for a mask
/// that is off by a fifth of its radius.
const START_SHARE: f64 = 0.7;
/// Share of the mask's radius within which intensities are brain for certain.
const CORE_SHARE: f64 = 0.6;

/// Why a start mask cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Too little of it lies in the image.
    #[error(
        "the start mask holds {volume_ml:.0} ml, a brain in view has at least {least_ml:.0} ml\n\
         hint: was it brought onto the head's grid by the transform from the template to the head?"
    )]
    TooSmall {
        /// What it holds, ml.
        volume_ml: f64,
        /// What is needed, ml.
        least_ml: f64,
    },
    /// The image has nothing but air where the mask is.
    #[error(
        "no voxel in the core of the start mask is above {air}, where air ends\n\
         hint: was the transform from the template to the head applied, and not its inverse?"
    )]
    NoTissue {
        /// Border between air and head.
        air: f32,
    },
}

/// Turns the head's centre and tissue to what the mask says, and gives the surface to start from.
///
/// * `mask`: on the grid of `image`.
/// * `levels`: times the icosahedron's faces are cut.
///
/// # Errors
/// [`StartError`]; or when cancelled.
pub fn from_mask(
    mask: &Mask,
    image: &Image,
    head: &mut Head,
    levels: usize,
    least_ml: f64,
    ctx: &Context,
) -> Result<Mesh, OperatorError> {
    ctx.check_cancelled()?;
    let grid = mask.grid();
    let volume_ml = mask.count() as f64 * grid.voxel_volume_mm3() / 1000.0;
    if volume_ml < least_ml {
        return Err(StartError::TooSmall { volume_ml, least_ml }.into());
    }
    let places: Vec<(usize, Point)> = (mask.voxels().iter().enumerate())
        .filter(|(_, v)| **v != 0)
        .map(|(offset, _)| (offset, grid.world(grid.index(offset))))
        .collect();
    let sum = places.iter().fold([0.0; 3], |sum, (_, place)| plus(sum, 1.0, *place));
    let centre = sum.map(|x| x / places.len() as f64);
    let mut mesh = Mesh::sphere(centre, 1.0, levels);
    let reach = reach_mm(&mesh, centre, &places);
    let radius_mm = (volume_ml * 1000.0 * 0.75 / std::f64::consts::PI).cbrt();
    let near = |place: Point| {
        let away = minus(place, centre);
        dot(away, away).sqrt() < CORE_SHARE * radius_mm
    };
    let core = places.iter().filter(|(_, place)| near(*place)).map(|(offset, _)| image.voxels()[*offset]);
    let mut core: Vec<f32> = core.filter(|value| *value > head.air).collect();
    head.tissue = tissue_of(&mut core, head.low, head.thick).ok_or(StartError::NoTissue { air: head.air })?;
    head.centre = centre;
    for (vertex, reach) in mesh.vertices.iter_mut().zip(reach) {
        *vertex = plus(centre, START_SHARE * reach, minus(*vertex, centre));
    }
    Ok(mesh)
}

/// Distance of the mask's farthest voxel in the direction of each vertex, mm; the mean where there is none.
fn reach_mm(mesh: &Mesh, centre: Point, places: &[(usize, Point)]) -> Vec<f64> {
    let directions: Vec<Point> = mesh.vertices.iter().map(|v| unit(minus(*v, centre))).collect();
    let mut reach = vec![0f64; directions.len()];
    // A thousandth of the voxels outline a brain to a few millimetres, which is all a start needs.
    let stride = (places.len() / 20_000).max(1);
    for (_, place) in places.iter().step_by(stride) {
        let away = minus(*place, centre);
        let direction = unit(away);
        let nearest = (0..directions.len())
            .max_by(|&a, &b| dot(directions[a], direction).total_cmp(&dot(directions[b], direction)));
        if let Some(nearest) = nearest {
            reach[nearest] = reach[nearest].max(dot(away, away).sqrt());
        }
    }
    let mean = reach.iter().sum::<f64>() / reach.len() as f64;
    reach.into_iter().map(|mm| if mm > 0.0 { mm } else { mean }).collect()
}
