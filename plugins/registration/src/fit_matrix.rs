//! Resizes the slices of an image to the matrix that a network was made for.
//!
//! Slices are the planes of the first two stored axes; the third stays. An image that was sliced another way may be resliced to
//! axial ones first. Bilinear with voxel edges aligned and nothing smoothed
//! first (torch's `interpolate(mode="bilinear", align_corners=False, antialias=False)`): voxel `k` of the result lies at
//! `(k + 1/2) n_in / n_out - 1/2`, held within the outermost centres. So 512 to 256 is the mean of each 2 x 2 block, as in
//! Grøvik et al., J. Magn. Reson. Imaging 51, 2020.

use sdk::geometry::{Affine, Grid};
use sdk::imaging::resample::{self, Interpolation};
use sdk::schemars::JsonSchema;
use sdk::{Context, Image, OperatorError};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Which slices the result has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "sdk::schemars")]
pub enum Slices {
    /// Those across the third stored axis, whatever they are.
    #[default]
    Stored,
    /// Axial ones: as stored where these are axial, else resliced.
    Axial,
}

/// What a workflow can set.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Voxels along each of the first two axes.
    #[schemars(range(min = 16, max = 1024))]
    pub matrix: usize,
    /// Which slices the result has.
    pub slices: Slices,
}

impl Default for Options {
    fn default() -> Self {
        Self { matrix: 256, slices: Slices::Stored }
    }
}

/// Matrices that a network may ask for.
const MATRICES: RangeInclusive<usize> = 16..=1024;

/// Why an image cannot be fitted to a matrix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The setting is out of range.
    #[error(
        "setting `matrix` is {found}, outside {} to {}\nhint: the shipped networks take 256",
        MATRICES.start(), MATRICES.end()
    )]
    Matrix {
        /// The setting.
        found: usize,
    },
    /// The image has no voxel.
    #[error("an image without voxels, {grid}\nhint: is the file whole?")]
    Empty {
        /// Its grid.
        grid: Box<Grid>,
    },
}

impl Options {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// [`FitError::Matrix`].
    pub fn check(&self) -> Result<(), FitError> {
        if MATRICES.contains(&self.matrix) { Ok(()) } else { Err(FitError::Matrix { found: self.matrix }) }
    }
}

/// The grid of `matrix` x `matrix` slices that fills the same box.
pub fn fitted_grid(grid: &Grid, matrix: usize) -> Grid {
    let [nx, ny, nz] = grid.shape;
    let factor = [nx, ny].map(|n| n as f64 / matrix as f64);
    let shift = factor.map(|f| (f - 1.0) / 2.0);
    let scale = Affine::scale_shift([factor[0], factor[1], 1.0], [shift[0], shift[1], 0.0]);
    Grid::new([matrix, matrix, nz], grid.voxel_to_world.after(&scale))
}

/// Whether the slices across the third stored axis are the axial ones.
fn is_axial(grid: &Grid) -> bool {
    grid.closest_axes()[2].0 == 2
}

/// The grid of `matrix` x `matrix` axial slices about the middle of an image that was sliced another way.
///
/// Its axes are the stored ones, in the order and direction right, anterior, superior. Voxels of a slice are square, and the longer side of
/// the box fills the matrix. Slices lie no closer than their voxels do.
pub fn axial_grid(grid: &Grid, matrix: usize) -> Grid {
    let (closest, stored_mm, linear) = (grid.closest_axes(), grid.spacing_mm(), grid.voxel_to_world.linear());
    let mut stored = [(0, 1.0); 3];
    for (axis, (world, backwards)) in closest.into_iter().enumerate() {
        stored[world] = (axis, if backwards { -1.0 } else { 1.0 });
    }
    let extent_mm = stored.map(|(axis, _)| grid.shape[axis] as f64 * stored_mm[axis]);
    let side_mm = extent_mm[0].max(extent_mm[1]) / matrix as f64;
    let apart_mm = side_mm.max(stored_mm[stored[2].0]);
    // The slack keeps rounding from adding a slice.
    let slices = ((extent_mm[2] / apart_mm - 1e-6).ceil() as usize).max(1);
    let (shape, spacing) = ([matrix, matrix, slices], [side_mm, side_mm, apart_mm]);
    let step = |world: usize, axis: usize| {
        let (from, sign) = stored[axis];
        sign * linear[(world, from)] / stored_mm[from] * spacing[axis]
    };
    let middle = shape.map(|n| (n as f64 - 1.0) / 2.0);
    let centre = grid.centre_world();
    let rows = std::array::from_fn(|world| {
        let steps = [0, 1, 2].map(|axis| step(world, axis));
        let to_middle: f64 = steps.iter().zip(middle).map(|(step, voxels)| step * voxels).sum();
        [steps[0], steps[1], steps[2], centre[world] - to_middle]
    });
    Grid::new(shape, Affine::from_rows(rows))
}

/// An image with slices of `matrix` x `matrix` voxels: on [`fitted_grid`], or, where axial slices are asked for and the stored
/// ones are others, trilinearly on [`axial_grid`], 0 where the image does not reach.
///
/// # Errors
/// As [`fit`].
pub fn fit_slices(image: &Image, options: &Options, ctx: &Context) -> Result<Image, OperatorError> {
    let grid = image.grid();
    if options.slices == Slices::Stored || grid.is_empty() || is_axial(grid) {
        return fit(image, options.matrix, ctx);
    }
    resample::image(image, &axial_grid(grid, options.matrix), None, Interpolation::Linear, ctx)
}

/// An image with slices of `matrix` x `matrix` voxels, on [`fitted_grid`].
///
/// If the slices are of that size, the voxels are shared, not copied.
///
/// # Errors
/// [`FitError::Empty`]; no memory; the stage was asked to stop.
pub fn fit(image: &Image, matrix: usize, ctx: &Context) -> Result<Image, OperatorError> {
    let grid = image.grid();
    if grid.is_empty() {
        return Err(FitError::Empty { grid: Box::new(*grid) }.into());
    }
    let [nx, ny, nz] = grid.shape;
    if [nx, ny] == [matrix, matrix] {
        return Ok(image.clone());
    }
    let (columns, rows) = (taps(nx, matrix), taps(ny, matrix));
    let plane = matrix * matrix;
    let mut out = ctx.alloc::<f32>(plane * nz)?;
    ctx.fill(&mut out, plane, |k, slice| {
        let voxels = &image.voxels()[nx * ny * k..][..nx * ny];
        for (row, tap) in slice.chunks_exact_mut(matrix).zip(&rows) {
            let [low, up] = tap.at.map(|j| &voxels[nx * j..][..nx]);
            for (value, column) in row.iter_mut().zip(&columns) {
                *value = tap.between(column.of(low), column.of(up)) as f32;
            }
        }
    });
    ctx.check_cancelled()?;
    Ok(Image::new(fitted_grid(grid, matrix), out.freeze())?)
}

/// Two neighbours and how far between them a place lies.
struct Tap {
    at: [usize; 2],
    share: f64,
}

impl Tap {
    fn between(&self, low: f64, up: f64) -> f64 {
        low * (1.0 - self.share) + up * self.share
    }

    fn of(&self, line: &[f32]) -> f64 {
        let [low, up] = self.at.map(|n| f64::from(line[n]));
        self.between(low, up)
    }
}

/// For each voxel of the result its two neighbours along an axis.
fn taps(from: usize, to: usize) -> Vec<Tap> {
    let factor = from as f64 / to as f64;
    let tap = |k: usize| {
        let place = ((k as f64 + 0.5) * factor - 0.5).max(0.0);
        let low = (place as usize).min(from - 1);
        Tap { at: [low, (low + 1).min(from - 1)], share: place - low as f64 }
    };
    (0..to).map(tap).collect()
}

/// A spacing along the third axis below this share of the largest is not the slices' own.
const SLICE_SPACING_SHARE: f64 = 0.9;

/// In-plane spacings that differ by more than this factor show shapes visibly stretched.
const MOST_STRETCH: f64 = 1.1;

/// Stored slices that lie further apart than this many voxels of the axial ones made from them show in these as steps.
const MOST_BLUR: f64 = 2.0;

/// What a reader of the result should know: slices that are not axial, not across the third axis, stretched, or blurred.
pub fn warnings(image: &Image, fitted: &Image) -> Vec<String> {
    let mut warnings = Vec::new();
    let spacing = image.grid().spacing_mm();
    if is_axial(fitted.grid()) && !is_axial(image.grid()) {
        let voxel = fitted.grid().spacing_mm()[0];
        if spacing[2] > MOST_BLUR * voxel {
            warnings.push(format!(
                "axial slices of {voxel:.2} mm voxels were made from others that lie {:.2} mm apart: they are blurred",
                spacing[2]
            ));
        }
        return warnings;
    }
    let widest = spacing.into_iter().fold(0.0, f64::max);
    if spacing[2] < SLICE_SPACING_SHARE * widest {
        let [x, y, z] = spacing;
        warnings.push(format!(
            "slices are taken across the third axis, but with a spacing of {x:.2} x {y:.2} x {z:.2} mm it is not the \
             one the image was sliced along"
        ));
    }
    let (across, _) = image.grid().closest_axes()[2];
    if across != 2 {
        let name = ["sagittal", "coronal"][across];
        warnings
            .push(format!("slices across the third axis are {name}; the published network knows axial ones"));
    }
    let [x, y, _] = fitted.grid().spacing_mm();
    if x.max(y) > MOST_STRETCH * x.min(y) {
        warnings.push(format!(
            "voxels of the fitted slices are {x:.2} x {y:.2} mm: shapes look stretched to a network made for square ones"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::testing::{ball, context, context_with};

    fn noise(grid: Grid) -> Image {
        let voxels: Vec<f32> = (0..grid.len()).map(|n| (n * 7919 % 1009) as f32).collect();
        Image::new(grid, voxels).unwrap()
    }

    #[test]
    fn half_the_matrix_is_the_mean_of_each_block() {
        let image = noise(Grid::axis_aligned([32, 32, 3], [0.5, 0.5, 2.0]));
        let out = fit(&image, 16, &context()).unwrap();
        for offset in 0..out.grid().len() {
            let [i, j, k] = out.grid().index(offset);
            let at = |a, b| f64::from(image.at([2 * i + a, 2 * j + b, k]));
            let mean = (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4.0;
            assert_eq!(out.voxels()[offset], mean as f32);
        }
        assert_eq!(out.grid().world([0, 0, 0]), [0.25, 0.25, 0.0]);
    }

    /// A ramp shows the place itself: (k + 1/2) 3/16 - 1/2, held within the outermost centres (1e-6: f32).
    #[test]
    fn a_larger_matrix_follows_the_half_voxel_rule() {
        let image = Image::new(Grid::axis_aligned([3, 1, 1], [1.0; 3]), vec![0.0, 1.0, 2.0]).unwrap();
        let out = fit(&image, 16, &context()).unwrap();
        for (k, found) in out.voxels()[..16].iter().enumerate() {
            let expected = ((k as f32 + 0.5) * 3.0 / 16.0 - 0.5).clamp(0.0, 2.0);
            assert!((found - expected).abs() < 1e-6, "voxel {k} is {found}, not {expected}");
        }
    }

    /// Edges of the box stay where they were, whatever the matrix (1e-9 mm: rounding).
    #[test]
    fn the_box_stays_where_it_was() {
        let turn = Affine::rigid([0.1, 0.2, -0.1], [5.0, 6.0, 7.0], [0.0; 3]);
        let grid = Grid::new([40, 28, 5], turn.after(&Affine::scale_shift([0.9, 0.9, 5.5], [0.0; 3])));
        let fitted = fitted_grid(&grid, 64);
        let edge = |grid: &Grid| grid.voxel_to_world.point(grid.shape.map(|n| n as f64 - 0.5));
        let (a, b) = (edge(&grid), [edge(&fitted), fitted.voxel_to_world.point([-0.5; 3])]);
        let first = grid.voxel_to_world.point([-0.5; 3]);
        for axis in 0..2 {
            assert!((a[axis] - b[0][axis]).abs() < 1e-9 && (first[axis] - b[1][axis]).abs() < 1e-9);
        }
    }

    #[test]
    fn a_fitting_matrix_shares_the_voxels() {
        let image = ball(Grid::axis_aligned([16, 16, 2], [1.0; 3]), [8.0, 8.0, 1.0], 4.0, 1.0);
        assert_eq!(fit(&image, 16, &context()).unwrap().voxels().as_ptr(), image.voxels().as_ptr());
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let image = noise(Grid::axis_aligned([50, 40, 7], [1.0; 3]));
        let one = fit(&image, 32, &context_with(1)).unwrap();
        assert_eq!(one.voxels(), fit(&image, 32, &context_with(4)).unwrap().voxels());
    }

    #[test]
    fn sagittal_and_stretched_slices_are_told() {
        let sagittal = Affine::from_rows([[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]);
        let image = noise(Grid::new([32, 16, 4], sagittal));
        let told = warnings(&image, &fit(&image, 16, &context()).unwrap());
        assert!(told.len() == 2 && told[0].contains("sagittal") && told[1].contains("stretched"), "{told:?}");
        let axial = noise(Grid::axis_aligned([32, 32, 4], [0.5, 0.5, 3.0]));
        assert!(warnings(&axial, &fit(&axial, 16, &context()).unwrap()).is_empty());
    }

    /// Voxel `[i, j, k]` runs to posterior, inferior and left, as in a sagittal acquisition.
    fn sagittal(shape: [usize; 3], [pi, pj, pk]: [f64; 3]) -> Image {
        let rows = [[0.0, 0.0, -pk, 40.0], [-pi, 0.0, 0.0, 30.0], [0.0, -pj, 0.0, 20.0]];
        noise(Grid::new(shape, Affine::from_rows(rows)))
    }

    const AXIAL: Options = Options { matrix: 32, slices: Slices::Axial };

    #[test]
    fn sagittal_slices_of_that_matrix_become_axial_ones_with_the_same_voxels() {
        let image = sagittal([32, 24, 20], [1.5; 3]);
        let out = fit_slices(&image, &AXIAL, &context()).unwrap();
        let grid = out.grid();
        assert_eq!((grid.shape, grid.orientation().as_str()), ([32, 32, 24], "RAS"));
        assert!(grid.spacing_mm().iter().all(|mm| (mm - 1.5).abs() < 1e-9), "{grid}");
        // 20 voxels lie in the middle of 32 from left to right; the others are empty.
        for offset in 0..grid.len() {
            let [i, j, k] = grid.index(offset);
            let expected = if (6..26).contains(&i) { image.at([31 - j, 23 - k, 25 - i]) } else { 0.0 };
            assert_eq!(out.at([i, j, k]), expected, "voxel {i} {j} {k}");
        }
        assert!(warnings(&image, &out).is_empty());
    }

    #[test]
    fn axial_slices_lie_no_closer_than_their_voxels_and_fill_the_same_box() {
        let image = sagittal([64, 64, 100], [0.5, 0.5, 0.3]);
        let out = fit_slices(&image, &AXIAL, &context()).unwrap();
        assert_eq!(out.grid().shape, [32, 32, 32]);
        assert!(out.grid().spacing_mm().iter().all(|mm| (mm - 1.0).abs() < 1e-9));
        let apart = (0..3).map(|axis| out.grid().centre_world()[axis] - image.grid().centre_world()[axis]);
        assert!(apart.into_iter().all(|mm| mm.abs() < 1e-9));
        let thick = sagittal([32, 24, 6], [1.0, 1.0, 5.0]);
        let told = warnings(&thick, &fit_slices(&thick, &AXIAL, &context()).unwrap());
        assert!(told.len() == 1 && told[0].contains("5.00 mm apart: they are blurred"), "{told:?}");
    }

    #[test]
    fn slices_that_are_axial_already_are_fitted_as_stored() {
        let image = noise(Grid::axis_aligned([40, 36, 5], [0.9, 0.9, 3.0]));
        let (as_stored, axial) =
            (fit(&image, 32, &context()).unwrap(), fit_slices(&image, &AXIAL, &context()).unwrap());
        assert_eq!((axial.grid(), axial.voxels()), (as_stored.grid(), as_stored.voxels()));
    }

    #[test]
    fn a_matrix_out_of_range_names_setting_value_and_limit() {
        let error = Options { matrix: 8, ..Options::default() }.check().unwrap_err().to_string();
        assert!(error.starts_with("setting `matrix` is 8, outside 16 to 1024"), "{error}");
    }
}
