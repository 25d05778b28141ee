//! Two volumes, voxel by voxel.

use super::lesions;
use super::measures::{Delta, GridFacts, ImageMeasures, MaskMeasures, Measures, Pair, ProbabilityMeasures};
use super::{FileKind, Verdict};
use rayon::prelude::*;
use sdk::nifti::{self, NiftiError};
use sdk::{AnyVolume, Grid, Kind, Mask};
use std::path::Path;

/// How far a network's scores may lie apart between two devices, as `[absolute, share of the first score]`: what f32 sums in
/// another order give.
const NETWORK_TOLERANCE: [f64; 2] = [1e-3, 1e-4];

/// Voxels that are summed up at a time: sums of parts are added in their order, so the threads do not matter.
const PART: usize = 1 << 16;

/// mm3 in a ml.
pub(super) const MM3_PER_ML: f64 = 1000.0;

/// Compares two volumes of a kind; `same` says that the files are equal byte for byte, so that one need not be read twice.
pub(super) fn compare(
    kind: FileKind,
    files: Pair<&Path>,
    same: bool,
) -> Result<(Verdict, Measures), NiftiError> {
    let kind = match kind {
        FileKind::Labels => Kind::Labels,
        FileKind::Mask => Kind::Mask,
        FileKind::Probability => Kind::Probability,
        _ => Kind::Image,
    };
    let read = |path: &Path| nifti::read(path, kind).map(|read| read.volume);
    let volumes = if same {
        let volume = read(files.a)?;
        Pair { a: volume.clone(), b: volume }
    } else {
        let (a, b) = rayon::join(|| read(files.a), || read(files.b));
        Pair { a: a?, b: b? }
    };
    Ok(of_volumes(&volumes))
}

fn of_volumes(volumes: &Pair<AnyVolume>) -> (Verdict, Measures) {
    match (&volumes.a, &volumes.b) {
        (AnyVolume::Mask(a), AnyVolume::Mask(b)) => masks(a, b),
        (AnyVolume::Labels(a), AnyVolume::Labels(b)) => lesions::compare(a, b),
        (AnyVolume::Probability(a), AnyVolume::Probability(b)) => {
            let image = images([a.grid(), b.grid()], a.voxels(), b.voxels());
            let beyond_tolerance = image.same_grid.then(|| beyond_tolerance(a.voxels(), b.voxels()));
            let verdict = verdict_of(&image, beyond_tolerance == Some(0));
            (verdict, Measures::Probability(ProbabilityMeasures { image, beyond_tolerance }))
        }
        (AnyVolume::Image(a), AnyVolume::Image(b)) => {
            let image = images([a.grid(), b.grid()], a.voxels(), b.voxels());
            (verdict_of(&image, false), Measures::Image(image))
        }
        (a, b) => unreachable!("both were read as one kind, not {a:?} and {b:?}"),
    }
}

/// The facts of two grids.
pub(super) fn grids(a: &Grid, b: &Grid) -> Pair<GridFacts> {
    Pair { a: GridFacts::of(a), b: GridFacts::of(b) }
}

fn verdict_of(image: &ImageMeasures, within_tolerance: bool) -> Verdict {
    match &image.difference {
        None => Verdict::OtherGrid,
        Some(delta) if delta.voxels_differ == 0 => Verdict::Identical,
        Some(_) if within_tolerance => Verdict::Close,
        Some(_) => Verdict::Differs,
    }
}

fn images([grid_a, grid_b]: [&Grid; 2], a: &[f32], b: &[f32]) -> ImageMeasures {
    let same_grid = grid_a.matches(grid_b);
    let difference = same_grid.then(|| delta(a, b));
    ImageMeasures { same_grid, grid: grids(grid_a, grid_b), difference }
}

/// Sums over a part of two volumes.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// Voxels that are finite in both, or equal.
    finite: usize,
    sum: [f64; 2],
    absolute: f64,
    largest: f64,
    differ: usize,
    not_finite_differ: usize,
}

impl Sums {
    fn add(&mut self, a: f32, b: f32) {
        self.differ += usize::from(a.to_bits() != b.to_bits());
        if !a.is_finite() || !b.is_finite() {
            let alike = a == b || (a.is_nan() && b.is_nan());
            self.not_finite_differ += usize::from(!alike);
            return;
        }
        let (a, b) = (f64::from(a), f64::from(b));
        let apart = (a - b).abs();
        self.finite += 1;
        self.sum = [self.sum[0] + a, self.sum[1] + b];
        self.absolute += apart;
        self.largest = self.largest.max(apart);
    }

    fn and(self, other: Self) -> Self {
        Self {
            finite: self.finite + other.finite,
            sum: [self.sum[0] + other.sum[0], self.sum[1] + other.sum[1]],
            absolute: self.absolute + other.absolute,
            largest: self.largest.max(other.largest),
            differ: self.differ + other.differ,
            not_finite_differ: self.not_finite_differ + other.not_finite_differ,
        }
    }
}

/// What two volumes' parts give, in the order of the parts.
fn by_part<R: Send>(a: &[f32], b: &[f32], part: impl Fn(&[f32], &[f32]) -> R + Sync) -> Vec<R> {
    a.par_chunks(PART).zip(b.par_chunks(PART)).map(|(a, b)| part(a, b)).collect()
}

/// Voxels farther apart than a network's scores may be; probabilities are finite.
fn beyond_tolerance(a: &[f32], b: &[f32]) -> usize {
    let beyond = |a: f32, b: f32| {
        let (a, b) = (f64::from(a), f64::from(b));
        (a - b).abs() > NETWORK_TOLERANCE[0] + NETWORK_TOLERANCE[1] * a.abs()
    };
    a.iter().zip(b).filter(|(a, b)| beyond(**a, **b)).count()
}

fn delta(a: &[f32], b: &[f32]) -> Delta {
    let parts = by_part(a, b, |a, b| {
        let mut sums = Sums::default();
        a.iter().zip(b).for_each(|(a, b)| sums.add(*a, *b));
        sums
    });
    let sums = parts.into_iter().fold(Sums::default(), Sums::and);
    let count = sums.finite.max(1) as f64;
    Delta {
        voxels: a.len(),
        voxels_differ: sums.differ,
        largest: sums.largest,
        mean: sums.absolute / count,
        correlation: correlation(a, b, sums.sum.map(|sum| sum / count)),
        not_finite_differ: sums.not_finite_differ,
    }
}

/// Pearson's, about the means; none where one side is constant.
fn correlation(a: &[f32], b: &[f32], mean: [f64; 2]) -> Option<f64> {
    let parts = by_part(a, b, |a, b| {
        let both = a.iter().zip(b).filter(|(a, b)| a.is_finite() && b.is_finite());
        both.fold([0.0; 3], |[aa, bb, ab], (a, b)| {
            let (a, b) = (f64::from(*a) - mean[0], f64::from(*b) - mean[1]);
            [aa + a * a, bb + b * b, ab + a * b]
        })
    });
    let add = |x: [f64; 3], y: [f64; 3]| [x[0] + y[0], x[1] + y[1], x[2] + y[2]];
    let [aa, bb, ab] = parts.into_iter().fold([0.0; 3], add);
    let scale = aa.sqrt() * bb.sqrt();
    (scale > 0.0).then(|| (ab / scale).clamp(-1.0, 1.0))
}

/// `2TP / (2TP + FP + FN)`; 1 where both are empty.
pub(super) fn dice(both: usize, a: usize, b: usize) -> f64 {
    if a + b == 0 { 1.0 } else { 2.0 * both as f64 / (a + b) as f64 }
}

fn masks(a: &Mask, b: &Mask) -> (Verdict, Measures) {
    let same_grid = a.grid().matches(b.grid());
    let inside = Pair { a: a.count(), b: b.count() };
    let both = a.voxels().iter().zip(b.voxels()).filter(|(a, b)| **a != 0 && **b != 0).count();
    let differ = inside.a + inside.b - 2 * both;
    let volume = |mask: &Mask, count: usize| count as f64 * mask.grid().voxel_volume_mm3() / MM3_PER_ML;
    let measures = MaskMeasures {
        same_grid,
        grid: grids(a.grid(), b.grid()),
        volume_ml: Pair { a: volume(a, inside.a), b: volume(b, inside.b) },
        dice: same_grid.then(|| dice(both, inside.a, inside.b)),
        voxels_differ: same_grid.then_some(differ),
    };
    let verdict = match (same_grid, differ) {
        (false, _) => Verdict::OtherGrid,
        (true, 0) => Verdict::Identical,
        _ => Verdict::Differs,
    };
    (verdict, Measures::Mask(measures))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::{Image, Probability};

    fn grid() -> Grid {
        Grid::axis_aligned([2, 2, 1], [1.0, 2.0, 5.0])
    }

    fn pair<T: Into<AnyVolume>>(a: T, b: T) -> (Verdict, Measures) {
        of_volumes(&Pair { a: a.into(), b: b.into() })
    }

    fn image(voxels: [f32; 4]) -> AnyVolume {
        AnyVolume::Image(Image::new(grid(), voxels.to_vec()).unwrap())
    }

    fn probability(voxels: [f32; 4]) -> AnyVolume {
        AnyVolume::Probability(Probability::new(grid(), voxels.to_vec()).unwrap())
    }

    fn mask(grid: Grid, voxels: [u8; 4]) -> AnyVolume {
        AnyVolume::Mask(Mask::new(grid, voxels.to_vec()).unwrap())
    }

    fn delta_of(measures: Measures) -> Delta {
        match measures {
            Measures::Image(image) | Measures::Probability(ProbabilityMeasures { image, .. }) => {
                image.difference.unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn images_differ_by_their_largest_and_mean_difference_and_correlation() {
        let (verdict, measures) = pair(image([0.0, 1.0, 2.0, 3.0]), image([0.0, 1.0, 2.0, 5.0]));
        let delta = delta_of(measures);
        assert_eq!(
            (verdict, delta.voxels_differ, delta.largest, delta.mean),
            (Verdict::Differs, 1, 2.0, 0.5)
        );
        // numpy.corrcoef([0, 1, 2, 3], [0, 1, 2, 5])
        assert!((delta.correlation.unwrap() - 0.956_182_887_467_514_9).abs() < 1e-12, "{delta:?}");
    }

    #[test]
    fn voxels_that_are_not_numbers_are_counted_and_spoil_no_sum() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let (verdict, measures) = pair(image([nan, inf, 1.0, 2.0]), image([nan, -inf, 1.0, 2.0]));
        let delta = delta_of(measures);
        assert_eq!((verdict, delta.voxels_differ, delta.not_finite_differ), (Verdict::Differs, 1, 1));
        assert_eq!(delta.largest, 0.0);
        assert!(delta.correlation.is_some_and(|r| (r - 1.0).abs() < 1e-12), "{delta:?}");
        assert_eq!(pair(image([nan; 4]), image([nan; 4])).0, Verdict::Identical);
        assert_eq!(delta_of(pair(image([3.0; 4]), image([3.0; 4])).1).correlation, None);
    }

    #[test]
    fn scores_are_close_up_to_the_tolerance_of_a_network() {
        let reference = probability([0.0, 0.5, 1.0, 0.25]);
        for (score, verdict) in
            [(0.5, Verdict::Identical), (0.501_04, Verdict::Close), (0.501_06, Verdict::Differs)]
        {
            assert_eq!(pair(reference.clone(), probability([0.0, score, 1.0, 0.25])).0, verdict, "{score}");
        }
        assert_eq!(pair(image([0.5; 4]), image([0.5001; 4])).0, Verdict::Differs, "no such leave for images");
    }

    #[test]
    fn masks_have_dice_and_volumes() {
        let (verdict, measures) = pair(mask(grid(), [1, 1, 0, 0]), mask(grid(), [0, 1, 1, 1]));
        let Measures::Mask(measures) = measures else { panic!("{measures:?}") };
        assert_eq!(verdict, Verdict::Differs);
        assert_eq!((measures.dice, measures.voxels_differ), (Some(0.4), Some(3)));
        assert_eq!(measures.volume_ml, Pair { a: 0.02, b: 0.03 });
        let empty = pair(mask(grid(), [0; 4]), mask(grid(), [0; 4]));
        assert!(matches!(empty, (Verdict::Identical, Measures::Mask(MaskMeasures { dice: Some(1.0), .. }))));
    }

    #[test]
    fn on_another_grid_volumes_still_count_and_nothing_else_does() {
        let other = Grid::axis_aligned([2, 2, 1], [1.0, 1.0, 5.0]);
        let (verdict, measures) = pair(mask(grid(), [1, 1, 0, 0]), mask(other, [1, 1, 0, 0]));
        let Measures::Mask(measures) = measures else { panic!("{measures:?}") };
        assert_eq!((verdict, measures.same_grid), (Verdict::OtherGrid, false));
        assert_eq!((measures.dice, measures.voxels_differ), (None, None));
        assert_eq!(measures.volume_ml, Pair { a: 0.02, b: 0.01 });
    }
}
