//! What can be said of a candidate beside its size and score: the figures that rules are held against.
//!
//! * **edge**: how deep its deepest voxel lies below the brain's edge, mm. Veins of the dura and the sinuses run along it.
//! * **elongation**: standard deviation of the voxels' places along the longest principal axis over that along the middle one.
//!   A ball has 1; the extent of a voxel itself is counted in, so that small candidates are not thin by chance.
//! * **compactness**: volume over that of the ball with the same longest diameter. A tube bends, and branches, without
//!   becoming compact.
//! * **vesselness**: Frangi's tube measure of the image, at the scale at which it curves most, averaged over the tenth of the voxels
//!   where it curves most: the axis of a tube, the middle of a ball. (Off its middle a ball looks like a tube that points outwards.)
//!   His third factor, which suppresses noise in the background, is left out: a candidate stands out already.
//! * **contrast**: mean intensity less the median of the surround, over the spread of the brain's intensities (1.4826 times the
//!   median absolute deviation): free of gain, and hardly touched by coil bias.
//! * **enhancement**: contrast after less contrast before the contrast agent. Matching by spread and surround is what
//!   makes two sequences comparable.
//! * **black blood**: contrast in the black-blood image of that half of the voxels which are brightest in the image. Flowing blood
//!   is bright in a gradient echo after contrast and dark in a spin echo, which loses the signal of what moves; a necrotic core
//!   is dark in both and must not count.
//! * **prior**: mean of the prior.
//!
//! Sources: A. F. Frangi et al., "Multiscale vessel enhancement filtering", MICCAI 1998, eqs. 11 to 15; Y. Sato et al., Med. Image
//! Anal. 2(2), 1998 (scales); N. Komada et al., Magn. Reson. Med. Sci. 7(1), 2008, and Y. Nagao et al., J. Comput. Assist. Tomogr.
//! 35(1), 2011 (black-blood imaging of metastases).

use super::candidates::Candidate;
use nalgebra::{Matrix3, SymmetricEigen, Vector3};
use sdk::imaging::{diameter, distance, hessian};
use sdk::{Context, Grid, Image, Mask, OperatorError};
use std::ops::Range;

/// How far the surround reaches, mm along each voxel axis: wider than the blur at a lesion's edge, narrower than a gyrus.
const SURROUND_MM: f64 = 3.0;
/// Fewest voxels of a surround whose median says something.
const SURROUND_VOXELS: usize = 8;
/// Frangi's alpha and beta, 0.5 both: twice their squares.
const TWICE_SQUARE: f64 = 0.5;
/// Share of a candidate's voxels whose tube measure counts: those where the image curves most.
const CURVED_SHARE: f64 = 0.1;
/// Standard deviation of a normal distribution over its median absolute deviation.
const MAD_TO_SD: f64 = 1.4826;

/// A figure that a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Mean score.
    MeanScore,
    /// Depth of the deepest voxel below the brain's edge, mm.
    Edge,
    /// Longest principal axis over the middle one.
    Elongation,
    /// Volume over that of the ball with the same longest diameter.
    Compactness,
    /// Tube measure where the image curves most, 0 to 1.
    Vesselness,
    /// Contrast in the image.
    Contrast,
    /// Contrast gained by the contrast agent.
    Enhancement,
    /// Contrast of the bright half in the black-blood image.
    BlackBlood,
    /// Mean of the prior.
    Prior,
}

impl Feature {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::MeanScore,
        Self::Edge,
        Self::Elongation,
        Self::Compactness,
        Self::Vesselness,
        Self::Contrast,
        Self::Enhancement,
        Self::BlackBlood,
        Self::Prior,
    ];

    /// Its column in the table of candidates.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MeanScore => "mean_score",
            Self::Edge => "edge_mm",
            Self::Elongation => "elongation",
            Self::Compactness => "compactness",
            Self::Vesselness => "vesselness",
            Self::Contrast => "contrast",
            Self::Enhancement => "enhancement",
            Self::BlackBlood => "black_blood",
            Self::Prior => "prior",
        }
    }

    /// The feature of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.name() == name)
    }
}

/// The features of a candidate; what needs an absent input is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Features([Option<f64>; 9]);

impl Features {
    /// A feature.
    pub const fn get(&self, feature: Feature) -> Option<f64> {
        self.0[feature as usize]
    }

    /// Sets a feature; what is not finite is absent.
    pub fn set(&mut self, feature: Feature, value: Option<f64>) {
        self.0[feature as usize] = value.filter(|value| value.is_finite());
    }
}

/// What is known beside the score; all on its grid.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// The brain.
    pub mask: Option<&'a Mask>,
    /// Gradient echo after contrast, blood bright.
    pub image: Option<&'a Image>,
    /// Before contrast.
    pub pre_contrast: Option<&'a Image>,
    /// Spin echo after contrast, blood dark.
    pub black_blood: Option<&'a Image>,
    /// Likelihood of sinus or skull base.
    pub prior: Option<&'a Image>,
}

/// The features of all candidates.
///
/// * `scales_mm`: widths of the Gaussians at which the image's curvature is looked at.
///
/// # Errors
/// No memory; the stage was asked to stop; an affine that cannot be inverted.
pub fn of_all(
    candidates: &[Candidate],
    grid: &Grid,
    beside: &Beside<'_>,
    scales_mm: &[f64],
    ctx: &Context,
) -> Result<Vec<Features>, OperatorError> {
    let marked = marked(candidates, grid, ctx)?;
    // A mask without an outside has no edge.
    let has_edge = |mask: &&Mask| mask.voxels().contains(&0);
    let depth = beside.mask.filter(has_edge).map(|mask| distance::inside_mm(mask, ctx)).transpose()?;
    let vesselness = match beside.image {
        Some(image) if !candidates.is_empty() => vesselness(candidates, image, &marked, scales_mm, ctx)?,
        _ => Vec::new(),
    };
    let around = |image: Option<&'_ Image>| -> Option<f64> { spread(image?, beside.mask) };
    let spreads = [beside.image, beside.pre_contrast, beside.black_blood].map(around);
    let features = ctx.map(candidates.len(), |n| {
        if ctx.cancelled() {
            return Features::default();
        }
        let candidate = &candidates[n];
        let contrast = |image: Option<&Image>, spread: Option<f64>, voxels: &[usize]| {
            let surround = || surround(candidate, image?, &marked, beside.mask);
            Some((mean(image?, voxels)? - surround()?) / spread?)
        };
        let voxels: Vec<usize> = candidate.voxels().collect();
        let after = contrast(beside.image, spreads[0], &voxels);
        let before = contrast(beside.pre_contrast, spreads[1], &voxels);
        let bright = beside.image.map(|image| brightest_half(image, &voxels));
        let mut features = Features::default();
        features.set(Feature::MeanScore, Some(candidate.mean_score));
        features.set(Feature::Edge, depth.as_ref().map(|depth| deepest(depth, &voxels)));
        features.set(Feature::Elongation, elongation(&voxels, grid));
        features.set(Feature::Compactness, compactness(candidate, grid));
        features.set(Feature::Vesselness, vesselness.get(n).copied().flatten());
        features.set(Feature::Contrast, after);
        features.set(Feature::Enhancement, after.zip(before).map(|(after, before)| after - before));
        features.set(
            Feature::BlackBlood,
            bright.and_then(|bright| contrast(beside.black_blood, spreads[2], &bright)),
        );
        features.set(Feature::Prior, beside.prior.and_then(|prior| mean(prior, &voxels)));
        features
    });
    ctx.check_cancelled()?;
    Ok(features)
}

/// 1 at the voxels of all candidates.
fn marked(candidates: &[Candidate], grid: &Grid, ctx: &Context) -> Result<Mask, OperatorError> {
    let mut marked = ctx.alloc::<u8>(grid.len())?;
    for run in candidates.iter().flat_map(|candidate| &candidate.runs) {
        marked[run.voxels.clone()].fill(1);
    }
    Ok(Mask::new(*grid, marked.freeze())?)
}

/// Mean of the finite voxels.
fn mean(image: &Image, voxels: &[usize]) -> Option<f64> {
    let finite = voxels.iter().map(|&n| image.voxels()[n]).filter(|value| value.is_finite());
    let (sum, count) = finite.fold((0.0, 0usize), |(sum, count), value| (sum + f64::from(value), count + 1));
    (count > 0).then(|| sum / count as f64)
}

fn deepest(depth: &Image, voxels: &[usize]) -> f64 {
    f64::from(voxels.iter().map(|&n| depth.voxels()[n]).fold(0.0, f32::max))
}

/// The voxels at or above their own median.
fn brightest_half(image: &Image, voxels: &[usize]) -> Vec<usize> {
    let mut sorted = voxels.to_vec();
    sorted.sort_by(|&a, &b| image.voxels()[b].total_cmp(&image.voxels()[a]).then(a.cmp(&b)));
    sorted.truncate(voxels.len().div_ceil(2));
    sorted
}

fn median(values: &mut [f32]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f32::total_cmp);
    let upper = f64::from(*upper);
    let lower = f64::from(below.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    Some(if even { f64::midpoint(lower, upper) } else { upper })
}

/// Robust standard deviation of the finite intensities inside the mask; `None` where there is none, or it is 0.
fn spread(image: &Image, mask: Option<&Mask>) -> Option<f64> {
    let inside = |n: usize| mask.is_none_or(|mask| mask.voxels()[n] != 0);
    let finite = image.voxels().iter().enumerate().filter(|&(n, value)| value.is_finite() && inside(n));
    let mut values: Vec<f32> = finite.map(|(_, &value)| value).collect();
    let middle = median(&mut values)?;
    for value in &mut values {
        *value = (f64::from(*value) - middle).abs() as f32;
    }
    let spread = MAD_TO_SD * median(&mut values)?;
    (spread > 0.0 && spread.is_finite()).then_some(spread)
}

/// Median of the finite voxels of no candidate, inside the mask, in the candidate's box grown by [`SURROUND_MM`].
fn surround(candidate: &Candidate, image: &Image, marked: &Mask, mask: Option<&Mask>) -> Option<f64> {
    let grid = image.grid();
    let [is, js, ks] = grown_box(candidate, grid);
    let mut values = Vec::new();
    for (j, k) in ks.flat_map(|k| js.clone().map(move |j| (j, k))) {
        let start = grid.offset([0, j, k]);
        for n in start + is.start..start + is.end {
            let counts = marked.voxels()[n] == 0 && mask.is_none_or(|mask| mask.voxels()[n] != 0);
            if counts && image.voxels()[n].is_finite() {
                values.push(image.voxels()[n]);
            }
        }
    }
    if values.len() < SURROUND_VOXELS { None } else { median(&mut values) }
}

fn grown_box(candidate: &Candidate, grid: &Grid) -> [Range<usize>; 3] {
    let spacing_mm = grid.spacing_mm();
    let statistics = &candidate.statistics;
    [0, 1, 2].map(|axis| {
        let more = (SURROUND_MM / spacing_mm[axis]).ceil() as usize;
        let end = (statistics.highest[axis] + more + 1).min(grid.shape[axis]);
        statistics.lowest[axis].saturating_sub(more)..end
    })
}

/// `sqrt(l1 / l2)` of the eigenvalues of the covariance of the voxels' places, that of a voxel's own extent added.
fn elongation(voxels: &[usize], grid: &Grid) -> Option<f64> {
    let linear = grid.voxel_to_world.linear();
    let index = |n: usize| Vector3::from(grid.index(n).map(|i| i as f64));
    let count = voxels.len() as f64;
    let centre = voxels.iter().map(|&n| index(n)).sum::<Vector3<f64>>() / count;
    let mut covariance = Matrix3::zeros();
    for &n in voxels {
        let off = index(n) - centre;
        covariance += off * off.transpose();
    }
    // A uniform distribution over a width of 1 has a variance of 1/12.
    let covariance = covariance / count + Matrix3::from_diagonal_element(1.0 / 12.0);
    let mut lengths = SymmetricEigen::new(linear * covariance * linear.transpose()).eigenvalues;
    lengths.as_mut_slice().sort_by(f64::total_cmp);
    (lengths[1] > 0.0).then(|| (lengths[2] / lengths[1]).sqrt())
}

/// Volume over that of the ball whose diameter is the longest between centres of voxel faces.
fn compactness(candidate: &Candidate, grid: &Grid) -> Option<f64> {
    let ends =
        |voxels: &Range<usize>| [voxels.start, voxels.end - 1].map(|n| grid.index(n).map(|i| i as i32));
    let points = candidate.runs.iter().flat_map(|run| ends(&run.voxels)).collect();
    let longest_mm = diameter::longest(points, grid).by_faces_mm;
    let ball_mm3 = std::f64::consts::PI / 6.0 * longest_mm.powi(3);
    (ball_mm3 > 0.0).then(|| candidate.volume_mm3 / ball_mm3)
}

/// Frangi's tube measure without its noise factor, at each voxel at the scale of the largest curvature, averaged over the voxels
/// of each candidate where the image curves most.
fn vesselness(
    candidates: &[Candidate],
    image: &Image,
    marked: &Mask,
    scales_mm: &[f64],
    ctx: &Context,
) -> Result<Vec<Option<f64>>, OperatorError> {
    let voxels = marked.voxels().iter().filter(|&&voxel| voxel != 0).count();
    let mut best = vec![(0.0f64, 0.0f64); voxels];
    // A voxel that is no number would spread over the whole reach of the Gaussian.
    let image = finite(image)?;
    for &sigma_mm in scales_mm {
        for (best, curvature) in best.iter_mut().zip(hessian::eigenvalues(&image, marked, sigma_mm, ctx)?) {
            let [l1, l2, l3] = curvature.map(f64::from);
            let strength = (l1 * l1 + l2 * l2 + l3 * l3).sqrt();
            if strength > best.0 {
                *best = (strength, tube(l1, l2, l3));
            }
        }
    }
    // Where a marked voxel stands among all of them, in memory order.
    let mut places = vec![0u32; marked.voxels().len()];
    let mut count = 0;
    for (place, &voxel) in places.iter_mut().zip(marked.voxels()) {
        *place = count;
        count += u32::from(voxel != 0);
    }
    let of = |candidate: &Candidate| {
        let mut found: Vec<(f64, f64)> = candidate.voxels().map(|n| best[places[n] as usize]).collect();
        // Stable: of equal curvatures the first in memory.
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.truncate((CURVED_SHARE * found.len() as f64).ceil() as usize);
        let (weight, sum) =
            found.iter().fold((0.0, 0.0), |(w, s), (curve, tube)| (w + curve, s + curve * tube));
        (weight > 0.0).then(|| sum / weight)
    };
    Ok(candidates.iter().map(of).collect())
}

/// The image with 0 where it is not finite.
fn finite(image: &Image) -> Result<Image, OperatorError> {
    if image.voxels().iter().all(|value| value.is_finite()) {
        return Ok(image.clone());
    }
    let clean = |&value: &f32| if value.is_finite() { value } else { 0.0 };
    Ok(Image::new(*image.grid(), image.voxels().iter().map(clean).collect::<Vec<_>>())?)
}

/// How much a place is a bright tube, 0 to 1, by eigenvalues from the smallest magnitude to the largest.
fn tube(l1: f64, l2: f64, l3: f64) -> f64 {
    if l2 >= 0.0 || l3 >= 0.0 {
        return 0.0;
    }
    let sheet_to_tube = l2 / l3;
    let tube_to_ball = l1.abs() / (l2 * l3).sqrt();
    (1.0 - (-sheet_to_tube.powi(2) / TWICE_SQUARE).exp()) * (-tube_to_ball.powi(2) / TWICE_SQUARE).exp()
}
