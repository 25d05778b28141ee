//! Correction of the bias field: what the coil's sensitivity multiplied onto the intensities is divided out.
//!
//! The log of the field is a smooth cubic B-spline. Starting from none, the log intensities less the field are sharpened (their
//! histogram is deconvolved, `sharpen`), a smooth field is fitted to what each voxel lies above its sharpened intensity
//! (`samples`, `lattice`), and is added to the field, until the field no longer changes; then the spline's spans are
//! halved, and so on for each level. All steps are those of the papers and of SimpleITK's `N4BiasFieldCorrectionImageFilter`, with its
//! defaults. As there, the outermost voxels that are fitted to and the outermost voxels of the volume both lie at the ends of
//! the spline: at the edges of the volume the field is stretched by up to half a step of the fit (2 voxels of 180). One difference:
//! voxels at or below 0, not finite, or a thousand times darker or brighter than the median are not fitted to.
//!
//! Sources: N. Tustison et al., "N4ITK: improved N3 bias correction", IEEE Trans. Med. Imaging 29(6), 2010; J. Sled,
//! A. Zijdenbos, A. Evans, IEEE Trans. Med. Imaging 17(1), 1998; S. Lee, G. Wolberg, S. Shin, IEEE Trans. Vis. Comput. Graph.
//! 3(3), 1997.

mod fourier;
mod lattice;
mod samples;
mod sharpen;

use crate::region::{Region, RegionError};
use lattice::{Basis, Lattice, blend};
use samples::{Samples, Sampling};
use sdk::imaging::histogram::{Histogram, quantiles};
use sdk::{Context, Grid, Image, JsonSchema, Mask, OperatorError};
use serde::{Deserialize, Serialize};
use sharpen::{Bins, Sharpening};
use std::num::NonZeroUsize;

/// Bins of the histogram behind Otsu's threshold, as SimpleITK's users take.
const OTSU_BINS: NonZeroUsize = NonZeroUsize::new(200).expect("not 0");

/// Samples lie four voxels of the finest axis apart, as is usual …
const USUAL_STEP: f64 = 4.0;
/// … but never further than this, in mm: a tenth of the width of the narrowest basis function over a head (8 spans of 20 to
/// 25 mm, 4 spans wide), so that the spline and not the sampling decides what is resolved …
const LARGEST_STEP_MM: f64 = 8.0;
/// … nor nearer than this, in mm, which would only cost time.
const SMALLEST_STEP_MM: f64 = 1.5;
/// An axis keeps so many samples, if it has as many voxels: one for each span of the last level.
const FEWEST_ALONG_AXIS: usize = 8;
/// With fewer samples than this the steps are halved: a histogram of 200 bins needs some in each.
const FEWEST: usize = 4000;

/// Natural log of the factor by which a voxel may differ from the median: no tissue does, but the rim of a resampled image.
const LARGEST_LOG_RATIO: f32 = 6.907_755;

/// More spans than these along an axis of a head are narrower than any field.
const MOST_SPANS: f64 = 16.0;

/// Settings of `bias_correct`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Largest number of iterations on each level, 1 to 6 levels; every level halves the spline's spans.
    pub iterations: Vec<u32>,
    /// A level ends when the ratio of two successive fields has a standard deviation below this, over its mean.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub convergence: f64,
    /// Length in mm of the spline's spans on the first level. Without it one span covers the volume (four control points).
    #[schemars(range(min = 10.0, max = 1000.0))]
    pub spline_mm: Option<f64>,
    /// Every so manieth voxel along `i`, `j`, `k` is fitted to. Without it: four along the finest axis, and as near to that
    /// distance in mm as can be along the others, within 1.5 to 8 mm. The field is evaluated at every voxel in any case.
    pub shrink: Option<[u32; 3]>,
    /// Full width at half maximum of the log field's distribution.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub fwhm: f64,
    /// Noise term of the Wiener filter.
    #[schemars(range(min = 0.000_001, max = 1.0))]
    pub noise: f64,
    /// Bins of the histogram, 16 to 4096.
    #[schemars(range(min = 16, max = 4096))]
    pub bins: u32,
    /// Whether the field is an output, too.
    pub bias_field: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            iterations: vec![50; 4],
            convergence: 0.001,
            spline_mm: None,
            shrink: None,
            fwhm: 0.15,
            noise: 0.01,
            bins: 200,
            bias_field: false,
        }
    }
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`BiasError::Setting`].
    pub fn check(&self) -> Result<(), BiasError> {
        let levels = self.iterations.len();
        let refuse = |name, found: f64, limit| Err(BiasError::Setting { name, found, limit });
        if !(1..=6).contains(&levels) {
            return refuse("iterations", levels as f64, "1 to 6 levels");
        }
        if let Some(mm) = self.spline_mm.filter(|mm| !(10.0..=1000.0).contains(mm)) {
            return refuse("spline_mm", mm, "10 to 1000");
        }
        if let Some(&step) = self.shrink.iter().flatten().find(|&&step| !(1..=64).contains(&step)) {
            return refuse("shrink", step.into(), "1 to 64");
        }
        if !(16..=4096).contains(&self.bins) {
            return refuse("bins", self.bins.into(), "16 to 4096");
        }
        let numbers = [
            ("convergence", self.convergence, 0.0..=1.0, "0 to 1"),
            ("fwhm", self.fwhm, 0.01..=1.0, "0.01 to 1"),
            ("noise", self.noise, 1e-6..=1.0, "0.000001 to 1"),
        ];
        match numbers.into_iter().find(|(_, found, range, _)| !range.contains(found)) {
            Some((name, found, _, limit)) => refuse(name, found, limit),
            None => Ok(()),
        }
    }
}

/// Why a bias field could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BiasError {
    /// A setting is out of its range.
    #[error("`{name}` is {found}, where {limit} can be used\nhint: the defaults suit heads of any contrast")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What it is.
        found: f64,
        /// What it may be.
        limit: &'static str,
    },
    /// The logarithm of no voxel can be taken.
    #[error(
        "no voxel above 0 among {of} to fit a bias field to\n\
         hint: the field is a factor, so correct it before intensities are shifted (`z_score`)"
    )]
    NothingPositive {
        /// Voxels of the grid.
        of: usize,
    },
}

/// An image without its bias field, and the field.
#[derive(Clone, Debug)]
pub struct Corrected {
    /// The image over the field.
    pub image: Image,
    /// The factor that was divided out of each voxel, above 0; where it was asked for.
    pub field: Option<Image>,
    /// Iterations over all levels.
    pub iterations: u32,
}

/// Divides the bias field out; see the module's head.
///
/// Fitted to the voxels inside `mask`; without one, to those brighter than Otsu's threshold over the whole image (200 bins).
/// All voxels are corrected. What is not finite becomes 0. The field's scale is arbitrary, as is that of all bias fields: that
/// of the fit is kept, whose mean is near 1. If all voxels are equal, so is the field, and it is 1.
///
/// # Errors
/// [`BiasError`]; [`RegionError`]; no memory; the stage was asked to stop.
pub fn correct(
    image: &Image,
    mask: Option<&Mask>,
    options: &Options,
    ctx: &Context,
) -> Result<Corrected, OperatorError> {
    options.check()?;
    let (mut samples, spans) = samples_of(image, mask, options, ctx)?;
    let (field, iterations) = fit(&mut samples, spans, options, ctx)?;
    tracing::debug!(iterations, samples = samples.len(), spans = ?field.spans, "bias field");
    ctx.progress(0.9, "divide the field out");
    let [nx, ny, _] = image.grid().shape;
    let bases: [Basis; 3] =
        std::array::from_fn(|axis| Basis::along(image.grid().shape[axis], field.spans[axis]));
    let write = |divide: bool| -> Result<Image, OperatorError> {
        let mut out = ctx.alloc::<f32>(image.grid().len())?;
        ctx.fill(&mut out, nx * ny, |k, out| {
            if !ctx.cancelled() {
                evaluate(&field, &bases, k, out);
                if divide {
                    quotient(&image.voxels()[k * nx * ny..], out);
                }
            }
        });
        ctx.check_cancelled()?;
        Ok(Image::new(*image.grid(), out.freeze())?)
    };
    let field = if options.bias_field { Some(write(false)?) } else { None };
    Ok(Corrected { image: write(true)?, field, iterations })
}

/// The voxels to fit to, and the spans of the first level.
fn samples_of(
    image: &Image,
    mask: Option<&Mask>,
    options: &Options,
    ctx: &Context,
) -> Result<(Samples, [usize; 3]), OperatorError> {
    Region::new(image, mask)?;
    let (grid, voxels) = (image.grid(), image.voxels());
    let above = match mask {
        Some(_) => 0.0,
        None => foreground(image, ctx)?,
    };
    let inside = |offset: usize| mask.is_none_or(|mask| mask.voxels()[offset] != 0);
    let log = |offset: usize| {
        let value = voxels[offset];
        (inside(offset) && value > above && value < f32::INFINITY).then(|| value.ln())
    };
    let spans = spans(grid, options.spline_mm);
    let mut step = steps(grid, options.shrink);
    loop {
        let sampling = Sampling::every(step, grid.shape);
        let mut logs: Vec<f32> = sampling.offsets(grid.shape).filter_map(log).collect();
        ctx.check_cancelled()?;
        if logs.len() < FEWEST && step != [1; 3] && options.shrink.is_none() {
            step = step.map(|step| step.div_ceil(2));
        } else if logs.is_empty() {
            return Err(BiasError::NothingPositive { of: grid.len() }.into());
        } else {
            let median = quantiles(&mut logs, &[0.5])[0] as f32;
            let near = |value: &f32| (value - median).abs() <= LARGEST_LOG_RATIO;
            let samples = Samples::new(grid.shape, sampling, spans, ctx, |at| log(at).filter(near));
            return Ok((samples, spans));
        }
    }
}

/// What the foreground of a whole image is brighter than: Otsu's threshold, at least 0.
fn foreground(image: &Image, ctx: &Context) -> Result<f32, RegionError> {
    let histogram = Histogram::of(image.voxels(), None, OTSU_BINS, ctx)
        .ok_or(RegionError::Empty { of: image.grid().len(), inside: image.grid().len() })?;
    let [low, high] = histogram.range();
    // A constant image is all foreground, or none.
    Ok(if low < high { histogram.otsu().max(0.0) as f32 } else { 0.0 })
}

/// Distance of samples along each axis, in voxels.
fn steps(grid: &Grid, shrink: Option<[u32; 3]>) -> [usize; 3] {
    if let Some(steps) = shrink {
        return steps.map(|step| step as usize);
    }
    let spacing_mm = grid.spacing_mm();
    let axes = (0..3).filter(|&axis| grid.shape[axis] > 1);
    let finest = axes.map(|axis| spacing_mm[axis]).fold(f64::INFINITY, f64::min);
    let step_mm = (USUAL_STEP * finest).clamp(SMALLEST_STEP_MM, LARGEST_STEP_MM);
    std::array::from_fn(|axis| {
        let most = (grid.shape[axis] / FEWEST_ALONG_AXIS).max(1);
        ((step_mm / spacing_mm[axis]).round() as usize).clamp(1, most)
    })
}

/// Spans of the first level along each axis.
fn spans(grid: &Grid, spline_mm: Option<f64>) -> [usize; 3] {
    let spacing_mm = grid.spacing_mm();
    std::array::from_fn(|axis| {
        let extent_mm = (grid.shape[axis] - 1) as f64 * spacing_mm[axis];
        spline_mm.map_or(1, |span_mm| (extent_mm / span_mm).round().clamp(1.0, MOST_SPANS) as usize)
    })
}

/// The field, level by level; and how many iterations it took.
fn fit(
    samples: &mut Samples,
    spans: [usize; 3],
    options: &Options,
    ctx: &Context,
) -> Result<(Lattice, u32), OperatorError> {
    let sharpening = Sharpening { fwhm: options.fwhm, noise: options.noise };
    let mut field = Lattice::zero(spans);
    let mut iterations = 0;
    for (level, &most) in options.iterations.iter().enumerate() {
        if level > 0 {
            field = field.refined();
            samples.refine(field.spans, ctx);
        }
        let mut change = f64::INFINITY;
        for _ in 0..most {
            ctx.check_cancelled()?;
            let Some(bins) = Bins::over(samples.range(ctx), options.bins as usize) else { break };
            let counts = samples.histogram(bins, ctx);
            let update = samples.fit(&sharpening.expected(bins, &counts), ctx);
            field.points.iter_mut().zip(update).for_each(|(point, more)| *point += more);
            change = samples.subtract(&field, ctx);
            iterations += 1;
            if change <= options.convergence {
                break;
            }
        }
        tracing::debug!(level, change, "bias field");
        ctx.progress(0.9 * (level + 1) as f64 / options.iterations.len() as f64, "fit the field");
    }
    Ok((field, iterations))
}

/// The field (not its log) on slice `k`; * `out`: `[i, j]`.
fn evaluate(field: &Lattice, bases: &[Basis; 3], k: usize, out: &mut [f32]) {
    let [bx, by, bz] = bases;
    let [points_x, points_y, _] = field.shape();
    let (mut plane, mut row) = (vec![0.0; points_x * points_y], vec![0.0; points_x]);
    field.plane(bz.first[k], bz.weights[k], &mut plane);
    for (j, out) in out.chunks_exact_mut(bx.first.len()).enumerate() {
        blend(&plane, by.first[j], by.weights[j], &mut row);
        for ((out, &first), [a, b, c, d]) in out.iter_mut().zip(&bx.first).zip(&bx.weights) {
            let points = &row[first..first + 4];
            let log = a * points[0] + b * points[1] + c * points[2] + d * points[3];
            *out = (log as f32).exp();
        }
    }
}

/// Intensities over the field, in the place of the field.
fn quotient(voxels: &[f32], field: &mut [f32]) {
    for (out, &voxel) in field.iter_mut().zip(voxels) {
        // The largest f32 over a field below 1 would be infinite.
        let value = (voxel / *out).clamp(f32::MIN, f32::MAX);
        *out = if voxel.is_finite() { value } else { 0.0 };
    }
}
