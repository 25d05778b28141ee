//! Brain extraction with a deformable surface, after Smith (2002).
//!
//! A sphere in the middle of the head grows until what lies under it says that it has met the brain's rim. It grows as a
//! coarse mesh first and is refined twice. Units are millimetres in RAS+ world space, so slice thickness, axis order and
//! obliquity play no part.
//!
//! Differs from the paper: the threshold counts from the brain tissue's own intensities as measured in each image, so that
//! one value fits all contrasts, and where its surface leaves the proportions of a brain in a head others are tried; the
//! coil's shading, measured under a first coarse surface, is taken out; a surface that folds back on itself is grown again,
//! stiffer, and reported if it still does.
//!
//! Source: S. M. Smith, "Fast robust automated brain extraction", Human Brain Mapping 17(3), 2002.

use crate::fill::voxels_inside;
use crate::head::survey;
use crate::mesh::Mesh;
use crate::rim::peel;
use crate::scalp::Scalp;
use crate::shading::{Shading, measure};
use crate::start::from_mask;
use crate::surface::{Field, Forces, Rest, Sampler, edge_sharpness, settle};
use sdk::{Context, Grid, Image, JsonSchema, Mask, OperatorError};
use serde::{Deserialize, Serialize};

/// Settings of `bet`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Fractional intensity threshold of the published method, larger gives a smaller brain. Left out, it is chosen for
    /// each image: 0.5 of the image's own tissue scale, or the next of 0.4, 0.3, 0.6 that gives a brain's proportions.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub fractional_threshold: Option<f64>,
    /// Change of the threshold per head radius upwards: positive gives a larger outline at the bottom and a smaller one
    /// at the top.
    #[schemars(range(min = -1.0, max = 1.0))]
    pub gradient_threshold: f64,
    /// Whether the output `skull` is made: where the skull's outer border lies.
    pub skull: bool,
}

/// Why no brain could be found, or the settings make no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BetError {
    /// A setting is out of its range.
    #[error(
        "setting `{name}` is {value}, it must lie in {low}..={high}\n\
         hint: leave it out, the default suits heads of any contrast"
    )]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: f64,
        /// Its least value.
        low: f64,
        /// Its largest value.
        high: f64,
    },
    /// The surface holds far less or more than a brain.
    #[error(
        "no brain found: the surface that fits best holds {volume_ml:.0} ml, a brain in view has {:.0} to {:.0} ml\n\
         hint: is this a whole head, before skull stripping, with its voxel size in mm?",
        BRAIN_RANGE_ML[0], BRAIN_RANGE_ML[1]
    )]
    ImplausibleVolume {
        /// Volume found, ml.
        volume_ml: f64,
    },
    /// The surface at the chosen threshold lies on no edge.
    #[error(
        "no brain found: the edge under the surface has a sharpness of {sharpness:.2}, a brain's is at least {LEAST_SHARPNESS}\n\
         hint: is this a head image with contrast between brain and skull?"
    )]
    NoEdge {
        /// Mean fall of likeness to brain across the surface, 1 for brain against nothing.
        sharpness: f64,
    },
}

/// Volume of a brain in view, ml: from part of a child's to a large adult's that the header makes 1.3 times too long.
const BRAIN_RANGE_ML: [f64; 2] = [50.0, 4000.0];
/// Sharpness below which a surface has met no brain's rim: heads have 0.3 (5.5 mm slices) to 0.6 (1 mm), pure noise 0.15.
const LEAST_SHARPNESS: f64 = 0.18;
/// Fractional thresholds tried in this order when none is set. Dark layers within the brain make a surface collapse,
/// which the lower ones cure; the last is for a surface that leaks.
const CANDIDATES: [f64; 4] = [0.5, 0.4, 0.3, 0.6];
/// Share of the head above the neck that is brain: 0.5 to 0.6 in adults, with room for children, atrophy, cut views.
const BRAIN_SHARE: [f64; 2] = [0.35, 0.8];
/// Start sphere, in head radii (Smith 2002).
const START_RADII: f64 = 0.5;
/// Times the icosahedron's faces are cut in the coarsest mesh: 162 vertices.
const COARSE_LEVELS: usize = 2;
/// Most iterations on the meshes of 162, 642, 2562 (the published number) and 10242 vertices. The last, whose edges of 4 mm
/// follow the folds at the base, starts from a surface at rest and has little way to go.
const MOST_ITERATIONS: [usize; 4] = [300, 300, 400, 25];
/// The first of these meshes draw the outline from which shading and tissue are measured.
const OUTLINE_MESHES: usize = 2;
/// What the threshold loses on the finest mesh in thick slices. There the thin fluid around the brain shares its voxels with
/// it and belongs to the mask, so that the surface rests where likeness has fallen a little farther.
const THICK_LOSS: f64 = 0.1;
/// Change of the threshold per head radius upwards on the same mesh. Fluid is widest at the base, in the cisterns; at the
/// vertex the brain lies against dura and marrow, which slices cut at a slant.
const THICK_GRADIENT: f64 = 0.3;
/// Share of folded triangles from which on the surface is grown again, stiffer.
const MOST_FOLDED: f64 = 0.03;
/// Smoothness at each further try, as a multiple of the published force.
const STIFFER: [f64; 2] = [2.0, 4.0];
/// Area on the rim of the grid from which on the brain counts as cut: more than a brain stem, mm2.
const CUT_AREA_MM2: f64 = 1500.0;

/// How good a surface is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Fractional threshold used, 0..=1.
    pub threshold: f64,
    /// Whether it was chosen for this image.
    pub automatic: bool,
    /// Volume of the mask, ml.
    pub brain_volume_ml: f64,
    /// Mean fall of likeness to brain across the surface, 0..=1.
    pub edge_sharpness: f64,
    /// Mean way of a vertex in the last iteration, mm.
    pub surface_residual_mm: f64,
    /// Iterations on all meshes of the surface that was kept.
    pub iterations: usize,
    /// Share of triangles that fold back on their neighbours, 0..=1.
    pub folded_share: f64,
    /// Area of the brain on the outer faces of the grid, mm2.
    pub cut_area_mm2: f64,
    /// Volume of the brain as a share of the head above the neck, 0..=1.
    pub head_share: f64,
}

impl Quality {
    /// What a person should look at, in words; empty if all is well.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.touches_edge() {
            let area_cm2 = self.cut_area_mm2 / 100.0;
            warnings.push(format!(
                "brain mask: {area_cm2:.0} cm2 of the brain lie on the edge of the field of view, so part of it may be missing"
            ));
        }
        if self.folded_share > MOST_FOLDED {
            let percent = self.folded_share * 100.0;
            warnings.push(format!(
                "brain mask: {percent:.0} % of the surface folds back on itself, look at the mask"
            ));
        }
        if self.edge_sharpness < LEAST_SHARPNESS {
            let sharpness = self.edge_sharpness;
            warnings.push(format!("brain mask: its edge is not sharp ({sharpness:.2}), look at the mask"));
        }
        if !is_brain_share(self.head_share) {
            let percent = self.head_share * 100.0;
            warnings.push(format!(
                "brain mask: the brain is {percent:.0} % of the head, {:.0} to {:.0} % are usual, look at the mask",
                BRAIN_SHARE[0] * 100.0,
                BRAIN_SHARE[1] * 100.0
            ));
        }
        warnings
    }

    /// Whether the field of view cuts the brain.
    pub fn touches_edge(&self) -> bool {
        self.cut_area_mm2 > CUT_AREA_MM2
    }
}

fn is_brain_share(share: f64) -> bool {
    (BRAIN_SHARE[0]..=BRAIN_SHARE[1]).contains(&share)
}

/// A brain and how good its surface is.
#[derive(Debug)]
pub struct Brain {
    /// The voxels whose centre lies inside the surface.
    pub mask: Mask,
    /// How good it is.
    pub quality: Quality,
    /// The surface the mask was filled from.
    pub surface: Mesh,
    /// Border between air and head, in the image's intensities.
    pub air: f32,
}

/// What surfaces grow on, and from where.
struct Ground {
    field: Field,
    shading: Shading,
    /// 162 vertices, within the brain.
    start: Mesh,
}

/// A surface at rest.
struct Fit {
    mesh: Mesh,
    fraction: f64,
    rest: Rest,
    /// Volume inside, as a share of the head's.
    head_share: f64,
}

impl Options {
    /// # Errors
    /// [`BetError::OutOfRange`].
    pub fn check(&self) -> Result<(), BetError> {
        let within = |name, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(BetError::OutOfRange { name, value, low, high })
            }
        };
        within("fractional_threshold", self.fractional_threshold.unwrap_or(CANDIDATES[0]), 0.0, 1.0)?;
        within("gradient_threshold", self.gradient_threshold, -1.0, 1.0)
    }

    fn forces(&self, fraction: f64) -> Forces {
        Forces { fraction, gradient: self.gradient_threshold, stiffness: 1.0 }
    }
}

impl Forces {
    /// The same for the finest mesh in slices in which fluid has no voxels of its own.
    fn on_thick_slices(self) -> Self {
        Self { fraction: self.fraction - THICK_LOSS, gradient: self.gradient + THICK_GRADIENT, ..self }
    }
}

/// Finds the brain of a head image.
///
/// * `image`: a whole head or a part with most of the brain, T1, T2, FLAIR or PD, with or without contrast agent; any
///   grid of at least 3 voxels along each axis. Result on the same grid, the same for any number of threads.
///
/// # Errors
/// [`BetError`] or [`HeadError`](crate::head::HeadError) when there is no brain to be found; or when cancelled.
pub fn find_brain(image: &Image, options: &Options, ctx: &Context) -> Result<Brain, OperatorError> {
    find_brain_from(image, None, options, ctx)
}

/// Finds the brain of a head image, from where a mask says that it lies.
///
/// * `start`: roughly the brain, on the grid of `image`, such as a template's mask brought over by a registration.
///
/// # Errors
/// As [`find_brain`], and [`StartError`](crate::start::StartError) for a mask that cannot be a brain's.
pub fn find_brain_from(
    image: &Image,
    start: Option<&Mask>,
    options: &Options,
    ctx: &Context,
) -> Result<Brain, OperatorError> {
    let mut head = survey(image, ctx)?;
    let start = match start {
        Some(mask) => from_mask(mask, image, &mut head, COARSE_LEVELS, BRAIN_RANGE_ML[0], ctx)?,
        None => Mesh::sphere(head.centre, START_RADII * head.radius_mm, COARSE_LEVELS),
    };
    ctx.progress(0.1, "head measured");
    let shading = Shading::none(image.grid());
    let sampler = Sampler::new(image, &head, &shading, ctx)?;
    let mut ground = Ground { field: Field { sampler, head, scalp: None }, shading, start };
    let outline = choose(&ground, options, &MOST_ITERATIONS[..OUTLINE_MESHES], ctx)?;
    ctx.progress(0.4, "brain outlined");
    let inside = voxels_inside(&outline.mesh, image.grid(), ctx)?;
    if let Some((shading, tissue)) = measure(image, &inside, &head) {
        head.tissue = tissue;
        let sampler = Sampler::new(image, &head, &shading, ctx)?;
        ground = Ground { field: Field { sampler, head, scalp: None }, shading, ..ground };
    }
    ground.field.scalp = Scalp::of(image, &head, &outline.mesh);
    let fit = choose(&ground, options, &MOST_ITERATIONS, ctx)?;
    ctx.progress(0.9, "surface at rest");
    judged(fit, &ground, image, options, ctx)
}

/// The mask within a surface, and how good both are.
fn judged(
    fit: Fit,
    ground: &Ground,
    image: &Image,
    options: &Options,
    ctx: &Context,
) -> Result<Brain, OperatorError> {
    let Ground { field: Field { sampler, head, .. }, shading, .. } = ground;
    let sharpness = edge_sharpness(&fit.mesh, sampler);
    let mut voxels = voxels_inside(&fit.mesh, image.grid(), ctx)?;
    let dark = |n: usize| shading.even(image.voxels()[n], image.grid().index(n)) < head.tissue[0];
    if !head.thick {
        peel(&mut voxels, image.grid(), sampler.voxels(), dark, ctx)?;
    }
    let mask = Mask::new(*image.grid(), voxels.freeze())?;
    let volume_ml = mask.count() as f64 * image.grid().voxel_volume_mm3() / 1000.0;
    if !(BRAIN_RANGE_ML[0]..=BRAIN_RANGE_ML[1]).contains(&volume_ml) {
        return Err(BetError::ImplausibleVolume { volume_ml }.into());
    }
    let automatic = options.fractional_threshold.is_none();
    if automatic && sharpness < LEAST_SHARPNESS {
        return Err(BetError::NoEdge { sharpness }.into());
    }
    let quality = Quality {
        threshold: fit.fraction,
        automatic,
        brain_volume_ml: volume_ml,
        edge_sharpness: sharpness,
        surface_residual_mm: fit.rest.residual_mm,
        iterations: fit.rest.iterations,
        folded_share: fit.mesh.folded_share(),
        cut_area_mm2: cut_area_mm2(&mask),
        head_share: fit.head_share,
    };
    Ok(Brain { mask, quality, surface: fit.mesh, air: head.air })
}

/// The surface at the threshold that is set, or at the first that gives a brain's proportions, or else the sharpest.
///
/// * `most`: iterations on each mesh.
fn choose(ground: &Ground, options: &Options, most: &[usize], ctx: &Context) -> Result<Fit, OperatorError> {
    if let Some(fraction) = options.fractional_threshold {
        return grow_unfolded(ground, &options.forces(fraction), most, ctx);
    }
    let mut sharpest: Option<(f64, Fit)> = None;
    for fraction in CANDIDATES {
        let fit = grow_unfolded(ground, &options.forces(fraction), most, ctx)?;
        if is_brain_share(fit.head_share) {
            return Ok(fit);
        }
        tracing::debug!(fraction, share = fit.head_share, "not the proportions of a brain");
        let sharpness = edge_sharpness(&fit.mesh, &ground.field.sampler);
        if sharpest.as_ref().is_none_or(|(best, _)| sharpness > *best) {
            sharpest = Some((sharpness, fit));
        }
    }
    Ok(sharpest.expect("there is at least one candidate").1)
}

/// Grows a surface, and again with more smoothness while it folds back on itself.
fn grow_unfolded(
    ground: &Ground,
    forces: &Forces,
    most: &[usize],
    ctx: &Context,
) -> Result<Fit, OperatorError> {
    let mut fit = grow(ground, forces, most, ctx)?;
    for stiffness in STIFFER {
        if fit.mesh.folded_share() <= MOST_FOLDED {
            break;
        }
        fit = grow(ground, &Forces { stiffness, ..*forces }, most, ctx)?;
    }
    Ok(fit)
}

/// Grows a surface from the start on ever finer meshes.
fn grow(ground: &Ground, forces: &Forces, most: &[usize], ctx: &Context) -> Result<Fit, OperatorError> {
    let Ground { field, start, .. } = ground;
    let head = &field.head;
    let mut mesh = start.clone();
    let mut rest = settle(&mut mesh, field, forces, most[0], ctx)?;
    for (n, &most) in most.iter().enumerate().skip(1) {
        mesh = mesh.refined();
        let finest = n + 1 == MOST_ITERATIONS.len();
        let forces = if finest && head.thick { forces.on_thick_slices() } else { *forces };
        let finer = settle(&mut mesh, field, &forces, most, ctx)?;
        rest = Rest { iterations: rest.iterations + finer.iterations, ..finer };
    }
    let head_mm3 = 4.0 / 3.0 * std::f64::consts::PI * head.radius_mm.powi(3);
    Ok(Fit { head_share: mesh.volume_mm3() / head_mm3, mesh, fraction: forces.fraction, rest })
}

/// Area of the mask on the six outer faces of its grid, mm2.
fn cut_area_mm2(mask: &Mask) -> f64 {
    let grid: &Grid = mask.grid();
    let spacing = grid.spacing_mm();
    let volume_mm3 = grid.voxel_volume_mm3();
    let mut area = 0.0;
    for (axis, &spacing_mm) in spacing.iter().enumerate() {
        let (b, c) = ((axis + 1) % 3, (axis + 2) % 3);
        for layer in [0, grid.shape[axis] - 1] {
            let mut index = [layer; 3];
            let mut count = 0;
            for (index_b, index_c) in (0..grid.shape[b]).flat_map(|b| (0..grid.shape[c]).map(move |c| (b, c)))
            {
                (index[b], index[c]) = (index_b, index_c);
                count += usize::from(mask.at(index));
            }
            area += count as f64 * volume_mm3 / spacing_mm;
        }
    }
    area
}
