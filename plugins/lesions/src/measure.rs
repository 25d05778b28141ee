//! What clinicians measure of each lesion: volume, place, diameters, scores, contrast, and the burden of a case.
//!
//! All voxels of one label are one lesion, connected or not. Volume is the number of voxels times |det| of the affine. A
//! contrast ratio is the mean intensity of the lesion over the mean of its surround: voxels of no lesion, inside the mask if
//! there is one, in the lesion's box of voxels grown by `surround_mm` on each side. Diameters: see [`diameter`].
//!
//! A lesion is *measurable* by RANO-BM if its longest axial diameter is at least 10 mm, the extent perpendicular to it at least
//! 5 mm, it lies on at least two axial slices, and these are at most 5 mm apart. The sum of longest diameters is that of the
//! axial ones of up to five targets: the measurable lesions with the longest. Steroids and clinical status are no part of it.
//!
//! Source: N. Lin et al., "Response assessment criteria for brain metastases", Lancet Oncol. 16, 2015 (RANO-BM).

pub mod diameter;
mod gather;
mod surround;

use diameter::Axial;
use gather::{Lesion, Lesions, gather};
use sdk::imaging::diameter::{Longest, longest};
use sdk::{Cell, Column, Context, Grid, Image, JsonSchema, Labels, Mask, OperatorError, Probability, Table};
use serde::{Deserialize, Serialize};

/// The publication behind `measurable` and the sum of diameters.
pub const CITATION: &str = "Lin NU, Lee EQ, Aoyama H, et al. Response assessment criteria for brain metastases: proposal from \
                            the RANO group. Lancet Oncol 2015;16:e270-e278.";

/// RANO-BM: shortest longest axial diameter of a measurable lesion, mm.
const MEASURABLE_LONGEST_MM: f64 = 10.0;
/// RANO-BM: shortest perpendicular of a measurable lesion, mm.
const MEASURABLE_PERPENDICULAR_MM: f64 = 5.0;
/// RANO-BM: fewest axial slices of a measurable lesion.
const MEASURABLE_SLICES: usize = 2;
/// RANO-BM: largest distance of slices on which lesions are measurable, mm.
const MEASURABLE_SLICE_MM: f64 = 5.0;
/// RANO-BM: most target lesions.
const TARGETS: usize = 5;
/// How far from its limit a length still counts as on it, relative: spacings in headers are f32.
const SLACK: f64 = 1e-6;
/// Widest surround that is still a lesion's own, mm.
const MAX_SURROUND_MM: f64 = 50.0;

/// Settings of `measure_lesions`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// How far around a lesion its surround reaches, in mm along each voxel axis, 0 to 50: what the contrast ratio compares with.
    #[schemars(range(min = 0.0, max = 50.0))]
    pub surround_mm: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { surround_mm: 3.0 }
    }
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`MeasureError::Surround`].
    pub fn check(&self) -> Result<(), MeasureError> {
        let found = self.surround_mm;
        if (0.0..=MAX_SURROUND_MM).contains(&found) { Ok(()) } else { Err(MeasureError::Surround { found }) }
    }
}

/// Why lesions could not be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// A surround that is none.
    #[error("`surround_mm` is {found}, outside 0 to {MAX_SURROUND_MM}\nhint: 3 mm is the default")]
    Surround {
        /// The setting, mm.
        found: f64,
    },
    /// A volume that does not lie on the labels' grid.
    #[error("`{name}` on {found} beside labels on {labels}\nhint: `resample` it onto the labels' grid")]
    OtherGrid {
        /// Port of the volume.
        name: &'static str,
        /// Its grid.
        found: Box<Grid>,
        /// Grid of the labels.
        labels: Box<Grid>,
    },
}

/// What can be known of a case's lesions beside their labels; all on the grid of the labels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// Intensities in which lesions enhance.
    pub image: Option<&'a Image>,
    /// The scores the labels were made from.
    pub probability: Option<&'a Probability>,
    /// The brain.
    pub mask: Option<&'a Mask>,
}

impl Beside<'_> {
    fn check(&self, labels: &Grid) -> Result<(), MeasureError> {
        let grids = [
            ("image", self.image.map(Image::grid)),
            ("probability", self.probability.map(Probability::grid)),
            ("mask", self.mask.map(Mask::grid)),
        ];
        for (name, grid) in grids {
            if let Some(found) = grid
                && !labels.matches(found)
            {
                return Err(MeasureError::OtherGrid {
                    name,
                    found: Box::new(*found),
                    labels: Box::new(*labels),
                });
            }
        }
        Ok(())
    }
}

/// What all lesions of a case make together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Burden {
    /// Number of lesions.
    pub lesions: usize,
    /// Volume of all lesions, ml.
    pub total_volume_ml: f64,
    /// Number of measurable lesions.
    pub measurable: usize,
    /// The targets: up to five measurable lesions, longest axial diameter first.
    pub targets: Vec<u32>,
    /// Sum of the targets' longest axial diameters, mm.
    pub sum_of_longest_diameters_mm: f64,
    /// Voxel axis along which axial slices are counted: 0 `i`, 1 `j`, 2 `k`.
    pub axial_axis: usize,
    /// Distance of axial slices, mm.
    pub axial_slice_mm: f64,
}

/// Lesions and their burden.
#[derive(Debug)]
pub struct Measured {
    /// A row for each lesion, by id.
    pub table: Table,
    /// Their sum.
    pub burden: Burden,
    /// Why no lesion can be measurable, if so.
    pub warning: Option<String>,
}

/// What is known of one lesion.
struct Measurement {
    longest: Longest,
    axial: Axial,
    scores: Option<(f64, f32)>,
    contrast: Option<f64>,
    touches_edge: Option<bool>,
}

/// Measures every lesion of `labels`; see the module's head.
///
/// # Errors
/// [`MeasureError`]; the stage was asked to stop.
pub fn measure(
    labels: &Labels,
    beside: Beside<'_>,
    options: &Options,
    ctx: &Context,
) -> Result<Measured, OperatorError> {
    options.check()?;
    let grid = labels.grid();
    beside.check(grid)?;
    let axial_axis = axial_axis(grid);
    let gathered = gather(labels, ctx);
    let lesions = &gathered.all;
    let measured = ctx.map(lesions.len(), |n| {
        (!ctx.cancelled()).then(|| measure_one(&lesions[n], &gathered, grid, beside, axial_axis, options))
    });
    ctx.check_cancelled()?;
    let measured: Vec<Measurement> = measured.into_iter().flatten().collect();

    let axial_slice_mm = grid.spacing_mm()[axial_axis];
    let thin = axial_slice_mm <= MEASURABLE_SLICE_MM * (1.0 + SLACK);
    let measurable: Vec<bool> = measured.iter().map(|m| thin && is_measurable(&m.axial)).collect();
    let mut table = Table::new(columns());
    for ((lesion, measured), &measurable) in lesions.iter().zip(&measured).zip(&measurable) {
        table.rows.push(row(lesion, measured, measurable, grid));
    }
    let mut targets: Vec<usize> = (0..lesions.len()).filter(|&n| measurable[n]).collect();
    targets.sort_by(|&a, &b| measured[b].axial.longest_mm.total_cmp(&measured[a].axial.longest_mm));
    let count = targets.len();
    targets.truncate(TARGETS);
    let voxels: usize = lesions.iter().map(Lesion::voxels).sum();
    let burden = Burden {
        lesions: lesions.len(),
        total_volume_ml: voxels as f64 * grid.voxel_volume_mm3() / 1000.0,
        measurable: count,
        // An empty sum of floats is -0.0.
        sum_of_longest_diameters_mm: targets.iter().fold(0.0, |sum, &n| sum + measured[n].axial.longest_mm),
        targets: targets.iter().map(|&n| lesions[n].id).collect(),
        axial_axis,
        axial_slice_mm,
    };
    let warning = (!thin && !lesions.is_empty()).then(|| {
        format!(
            "axial slices are {axial_slice_mm:.2} mm apart, more than {MEASURABLE_SLICE_MM} mm: no lesion counts as measurable"
        )
    });
    Ok(Measured { table, burden, warning })
}

/// The voxel axis that runs closest to the world's z: axial slices are counted along it, whatever way the image was acquired.
fn axial_axis(grid: &Grid) -> usize {
    let axes = grid.closest_axes();
    axes.iter().position(|&(world, _)| world == 2).expect("three axes share three directions")
}

fn is_measurable(axial: &Axial) -> bool {
    let reaches = |length_mm: f64, limit_mm: f64| length_mm >= limit_mm * (1.0 - SLACK);
    reaches(axial.longest_mm, MEASURABLE_LONGEST_MM)
        && reaches(axial.perpendicular_mm, MEASURABLE_PERPENDICULAR_MM)
        && axial.slices >= MEASURABLE_SLICES
}

fn measure_one(
    lesion: &Lesion,
    lesions: &Lesions,
    grid: &Grid,
    beside: Beside<'_>,
    axial_axis: usize,
    options: &Options,
) -> Measurement {
    Measurement {
        longest: longest(lesion.ends(), grid),
        axial: diameter::axial(&lesion.segments(axial_axis), axial_axis, grid),
        scores: beside.probability.map(|probability| lesion.mean_and_max(probability)),
        contrast: beside.image.and_then(|image| {
            surround::contrast_ratio(lesion, lesions, image, beside.mask, options.surround_mm)
        }),
        touches_edge: beside.mask.map(|mask| surround::touches_edge(lesion, mask)),
    }
}

fn row(lesion: &Lesion, measured: &Measurement, measurable: bool, grid: &Grid) -> Vec<Cell> {
    let voxels = lesion.voxels();
    let volume_mm3 = voxels as f64 * grid.voxel_volume_mm3();
    let [i, j, k] = lesion.centroid();
    let [x, y, z] = grid.voxel_to_world.point([i, j, k]);
    vec![
        f64::from(lesion.id).into(),
        volume_mm3.into(),
        (volume_mm3 / 1000.0).into(),
        voxels.into(),
        x.into(),
        y.into(),
        z.into(),
        i.into(),
        j.into(),
        k.into(),
        measured.longest.by_faces_mm.into(),
        measured.longest.by_centres_mm.into(),
        measured.axial.longest_mm.into(),
        measured.axial.perpendicular_mm.into(),
        measured.axial.slice.into(),
        measured.scores.map(|(mean, _)| mean).into(),
        measured.scores.map(|(_, max)| f64::from(max)).into(),
        measured.contrast.into(),
        measured.touches_edge.into(),
        measurable.into(),
    ]
}

fn columns() -> Vec<Column> {
    let axis = "mean index of the voxels along this voxel axis";
    vec![
        Column::new("lesion", "", "label of the lesion"),
        Column::new("volume_mm3", "mm^3", "voxels times the volume of one"),
        Column::new("volume_ml", "ml", "the same in millilitres"),
        Column::new("voxels", "", "number of voxels"),
        Column::new("centroid_x", "mm", "mean place of the voxels, to the right (RAS+)"),
        Column::new("centroid_y", "mm", "mean place of the voxels, to the front (RAS+)"),
        Column::new("centroid_z", "mm", "mean place of the voxels, up (RAS+)"),
        Column::new("centroid_i", "voxel", axis),
        Column::new("centroid_j", "voxel", axis),
        Column::new("centroid_k", "voxel", axis),
        Column::new("longest_diameter_mm", "mm", "largest distance between centres of voxel faces, in 3-D"),
        Column::new("longest_diameter_centre_mm", "mm", "largest distance between voxel centres, in 3-D"),
        Column::new(
            "longest_axial_diameter_mm",
            "mm",
            "largest distance between centres of voxel edges in an axial slice",
        ),
        Column::new("perpendicular_mm", "mm", "extent perpendicular to that diameter in the same slice"),
        Column::new("axial_slice", "voxel", "index of that slice along the voxel axis closest to z"),
        Column::new("mean_score", "", "mean score of the voxels"),
        Column::new("max_score", "", "largest score of the voxels"),
        Column::new("contrast_ratio", "", "mean intensity over that of the surround"),
        Column::new("touches_mask_edge", "", "whether a voxel lies at the edge of the mask or beyond"),
        Column::new(
            "measurable",
            "",
            "by RANO-BM: 10 mm long, 5 mm across, on 2 axial slices at most 5 mm apart",
        ),
    ]
}
