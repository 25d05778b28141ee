//! What remains of a case's volumes: the scores inside the brain mask and the voxels of the truth, both exact.
//!
//! A threshold that comes from the development cases is known only when all cases have been read once. So that nobody has to
//! read volumes again, or to keep them, `score` hands on this: a few megabytes a case, which `summarise` maps from disk one
//! case after another. Everything about lesions is computed from it, in both operators by the same code.
//!
//! Voxels are named by their place in memory (`i` fastest); a run is a row's touching voxels, and ends with its row.

use sdk::{Grid, Labels, Mask, Probability};
use std::borrow::Cow;
use std::ops::Range;

/// How a packed document begins; the number is the format's.
const MAGIC: [u8; 8] = *b"NLEVID01";
/// Numbers after the magic: counts of what follows, then the shape.
const HEADER: usize = 7;

/// Touching voxels of a row: place of the first, count, label (0 where there is none to give).
pub type Run = [u32; 3];

/// Why a case cannot be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A mask without a voxel.
    #[error("`mask` has no voxel inside, so nothing can be scored\nhint: is it the brain mask of this case?")]
    EmptyMask,
    /// A volume on another grid than the truth.
    #[error(
        "`{name}` lies on {found}, but `truth` on {truth}{apart}\n\
         hint: do the files belong to one case and one grid? `resample` brings a volume onto another's"
    )]
    OtherGrid {
        /// Port of the volume.
        name: &'static str,
        /// Its grid.
        found: Box<Grid>,
        /// Grid of the truth.
        truth: Box<Grid>,
        /// How far apart, if the shapes agree.
        apart: String,
    },
    /// A score that is none.
    #[error("`{name}` is {found} at voxel {voxel:?}, expected 0 to 1\nhint: a model's logits need a sigmoid")]
    Score {
        /// Port of the volume.
        name: &'static str,
        /// The score.
        found: f32,
        /// Where it is.
        voxel: [usize; 3],
    },
    /// More voxels than a run can name.
    #[error("a grid of {found} voxels, of which at most 2^32 can be scored")]
    TooLarge {
        /// Voxels of the grid.
        found: usize,
    },
    /// A packed document that is none.
    #[error("what was kept of the case cannot be read\nhint: run the case again")]
    Damaged,
}

/// How far the entries of two affines on one grid may differ: millimetres, and shares of a millimetre a voxel.
const AFFINE_TOLERANCE: f64 = 1e-3;

/// Whether a volume lies on the grid of the truth: same shape, and affines that agree to 1e-3.
///
/// # Errors
/// [`EvidenceError::OtherGrid`].
pub fn check_grid(name: &'static str, found: &Grid, truth: &Grid) -> Result<(), EvidenceError> {
    let pairs = found.voxel_to_world.rows().into_iter().flatten();
    let largest = pairs
        .zip(truth.voxel_to_world.rows().into_iter().flatten())
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    if found.shape == truth.shape && largest <= AFFINE_TOLERANCE {
        return Ok(());
    }
    let apart = if found.shape == truth.shape {
        format!("; corners up to {:.3} mm apart", found.corner_distance_mm(truth))
    } else {
        String::new()
    };
    Err(EvidenceError::OtherGrid { name, found: Box::new(*found), truth: Box::new(*truth), apart })
}

/// The scores inside the mask, and the voxels of the truth.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence<'a> {
    /// Voxels along `i`, `j`, `k`.
    pub shape: [usize; 3],
    /// Runs inside the mask, in memory order.
    pub mask: Cow<'a, [Run]>,
    /// Runs of the truth with the number of their lesion, from 1, in memory order; also those outside the mask.
    pub truth: Cow<'a, [Run]>,
    /// The model's scores inside the mask, in memory order.
    pub scores: Cow<'a, [f32]>,
    /// Those of a second model, in the same order; empty without one.
    pub other: Cow<'a, [f32]>,
}

/// Runs of the voxels of a row-wise volume that `label` gives another number than 0.
pub fn runs_of<T: Copy + PartialEq + Default>(
    shape: [usize; 3],
    voxels: &[T],
    label: impl Fn(T) -> u32,
) -> Vec<Run> {
    let nothing = T::default();
    let mut runs = Vec::new();
    for (row, voxels) in voxels.chunks(shape[0].max(1)).enumerate() {
        let mut i = 0;
        while let Some(ahead) = skip(&voxels[i..], nothing) {
            let begin = i + ahead;
            let value = voxels[begin];
            i = begin + voxels[begin..].iter().take_while(|&&v| v == value).count();
            let number = label(value);
            if number != 0 {
                runs.push([(row * shape[0] + begin) as u32, (i - begin) as u32, number]);
            }
        }
    }
    runs
}

/// Where the first voxel lies that is not `nothing`; several at a time, as most rows are empty.
fn skip<T: Copy + PartialEq>(voxels: &[T], nothing: T) -> Option<usize> {
    const STEP: usize = 32;
    let full = voxels
        .chunks(STEP)
        .take_while(|chunk| chunk.iter().filter(|&&v| v == nothing).count() == chunk.len());
    let start = full.map(<[T]>::len).sum::<usize>();
    voxels[start..].iter().position(|&v| v != nothing).map(|n| start + n)
}

/// The runs inside a mask.
///
/// # Errors
/// [`EvidenceError::EmptyMask`], [`EvidenceError::TooLarge`].
pub fn mask_runs(mask: &Mask) -> Result<Vec<Run>, EvidenceError> {
    let found = mask.grid().len();
    if u32::try_from(found).is_err() {
        return Err(EvidenceError::TooLarge { found });
    }
    let runs = runs_of(mask.grid().shape, mask.voxels(), |voxel| u32::from(voxel != 0));
    if runs.is_empty() { Err(EvidenceError::EmptyMask) } else { Ok(runs) }
}

/// The scores at these runs, and how many of them are not finite: these count as 0.
///
/// # Errors
/// [`EvidenceError::Score`] for one outside 0..=1, wherever it lies.
pub fn scores_at(
    name: &'static str,
    probability: &Probability,
    runs: &[Run],
) -> Result<(Vec<f32>, u64), EvidenceError> {
    let voxels = probability.voxels();
    let odd = |score: f32| score.is_finite() && !(0.0..=1.0).contains(&score);
    for (n, chunk) in voxels.chunks(4096).enumerate() {
        if chunk.iter().fold(false, |any, &score| any | odd(score)) {
            let at = n * 4096 + chunk.iter().position(|&score| odd(score)).unwrap_or(0);
            let voxel = probability.grid().index(at);
            return Err(EvidenceError::Score { name, found: voxels[at], voxel });
        }
    }
    let mut scores = Vec::with_capacity(runs.iter().map(|run| run[1] as usize).sum());
    let mut odd = 0;
    for run in runs {
        for &score in &voxels[range(run)] {
            odd += u64::from(!score.is_finite());
            // A negative zero is a zero, and so is what is no number.
            scores.push(if score > 0.0 && score.is_finite() { score } else { 0.0 });
        }
    }
    Ok((scores, odd))
}

/// The runs of the truth by label: `label` as in the volume.
pub fn label_runs(labels: &Labels) -> Vec<Run> {
    runs_of(labels.grid().shape, labels.voxels(), |label| label)
}

/// Places of a run's voxels.
pub const fn range(run: &Run) -> Range<usize> {
    run[0] as usize..run[0] as usize + run[1] as usize
}

/// Voxels that two lists of runs share: each overlap with the index of both runs. Both in memory order, without overlaps of
/// their own.
pub fn shared(a: &[Run], b: &[Run], mut each: impl FnMut(usize, usize, Range<usize>)) {
    let (mut m, mut n) = (0, 0);
    while m < a.len() && n < b.len() {
        let (one, two) = (range(&a[m]), range(&b[n]));
        let both = one.start.max(two.start)..one.end.min(two.end);
        if !both.is_empty() {
            each(m, n, both);
        }
        if one.end <= two.end {
            m += 1;
        } else {
            n += 1;
        }
    }
}

/// A list of runs as one number each (run and label) and the voxels they share.
pub fn shared_by_label(a: &[Run], b: &[Run]) -> Vec<(u32, u32, u64)> {
    let mut counts = std::collections::BTreeMap::new();
    shared(a, b, |m, n, both| *counts.entry((a[m][2], b[n][2])).or_insert(0) += both.len() as u64);
    counts.into_iter().map(|((one, two), voxels)| (one, two, voxels)).collect()
}

impl<'a> Evidence<'a> {
    /// Voxels inside the mask.
    pub fn mask_voxels(&self) -> usize {
        self.scores.len()
    }

    /// Which of the scores belong to lesion voxels: ranges into them, in order.
    pub fn positives(&self) -> Vec<Range<usize>> {
        let mut firsts = Vec::with_capacity(self.mask.len());
        let mut first = 0;
        for run in self.mask.iter() {
            firsts.push(first);
            first += run[1] as usize;
        }
        let mut ranges = Vec::new();
        shared(&self.mask, &self.truth, |m, _, both| {
            let start = firsts[m] + both.start - self.mask[m][0] as usize;
            ranges.push(start..start + both.len());
        });
        ranges
    }

    /// Voxels of each lesion of the truth, lesion 1 first.
    pub fn lesion_voxels(&self) -> Vec<u64> {
        let lesions = self.truth.iter().map(|run| run[2]).max().unwrap_or(0) as usize;
        let mut voxels = vec![0; lesions];
        for run in self.truth.iter() {
            voxels[run[2] as usize - 1] += u64::from(run[1]);
        }
        voxels
    }

    /// As bytes; [`Evidence::unpack`] reads them where they lie.
    pub fn pack(&self) -> Vec<u8> {
        let counts = [self.mask.len(), self.truth.len(), self.scores.len(), self.other.len()];
        let header: Vec<u64> = counts.into_iter().chain(self.shape).map(|n| n as u64).collect();
        let mut bytes =
            Vec::with_capacity(8 * (1 + HEADER) + 12 * (counts[0] + counts[1]) + 4 * (counts[2] + counts[3]));
        bytes.extend(MAGIC);
        bytes.extend_from_slice(bytemuck::cast_slice(&header));
        bytes.extend_from_slice(bytemuck::cast_slice(&self.mask));
        bytes.extend_from_slice(bytemuck::cast_slice(&self.truth));
        bytes.extend_from_slice(bytemuck::cast_slice(&self.scores));
        bytes.extend_from_slice(bytemuck::cast_slice(&self.other));
        bytes
    }

    /// From packed bytes, without a copy where they lie as numbers do.
    ///
    /// # Errors
    /// [`EvidenceError::Damaged`].
    pub fn unpack(bytes: &'a [u8]) -> Result<Self, EvidenceError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(EvidenceError::Damaged)?;
        let (header, mut rest) = rest.split_at_checked(8 * HEADER).ok_or(EvidenceError::Damaged)?;
        let numbers: Vec<usize> =
            bytemuck::pod_collect_to_vec::<u8, u64>(header).into_iter().map(|n| n as usize).collect();
        let [mask, truth, scores, other, nx, ny, nz] =
            <[usize; HEADER]>::try_from(numbers).map_err(|_| EvidenceError::Damaged)?;
        let mut part = |size: usize, count: usize| {
            let length = size.checked_mul(count).ok_or(EvidenceError::Damaged)?;
            let (taken, left) = rest.split_at_checked(length).ok_or(EvidenceError::Damaged)?;
            rest = left;
            Ok::<&'a [u8], EvidenceError>(taken)
        };
        let (mask, truth) = (part(12, mask)?, part(12, truth)?);
        let (scores, other) = (part(4, scores)?, part(4, other)?);
        Ok(Self {
            shape: [nx, ny, nz],
            mask: cast(mask),
            truth: cast(truth),
            scores: cast(scores),
            other: cast(other),
        })
    }
}

fn cast<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(bytes: &[u8]) -> Cow<'_, [T]> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(numbers) => Cow::Borrowed(numbers),
        Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(shape: [usize; 3], voxels: &[u8]) -> Mask {
        Mask::new(Grid::axis_aligned(shape, [1.0; 3]), voxels.to_vec()).unwrap()
    }

    #[test]
    fn runs_end_with_their_row() {
        let runs = mask_runs(&mask([3, 2, 1], &[0, 1, 1, 1, 0, 1])).unwrap();
        assert_eq!(runs, [[1, 2, 1], [3, 1, 1], [5, 1, 1]]);
        assert!(matches!(mask_runs(&mask([2, 1, 1], &[0, 0])), Err(EvidenceError::EmptyMask)));
    }

    #[test]
    fn what_is_packed_comes_back_wherever_the_bytes_lie() {
        let evidence = Evidence {
            shape: [4, 1, 1],
            mask: vec![[0, 3, 1]].into(),
            truth: vec![[1, 1, 1], [3, 1, 2]].into(),
            scores: vec![0.25, 1.0, 0.0].into(),
            other: Cow::default(),
        };
        let packed = evidence.pack();
        for shift in 0..4 {
            let mut moved = vec![0; shift];
            moved.extend(&packed);
            assert_eq!(Evidence::unpack(&moved[shift..]).unwrap(), evidence);
        }
        for length in [0, 7, 20, packed.len() - 1] {
            assert!(Evidence::unpack(&packed[..length]).is_err(), "{length}");
        }
        assert_eq!(evidence.positives(), vec![1..2]);
        assert_eq!(evidence.lesion_voxels(), [1, 1]);
    }

    #[test]
    fn what_is_no_number_counts_as_zero_and_what_is_no_score_is_named() {
        let grid = Grid::axis_aligned([4, 1, 1], [1.0; 3]);
        let of = |voxels: [f32; 4]| Probability::new(grid, voxels.to_vec()).unwrap();
        let odd = of([f32::NAN, f32::INFINITY, -0.0, 0.5]);
        let (scores, count) = scores_at("probability", &odd, &[[0, 4, 1]]).unwrap();
        assert_eq!(
            (scores.iter().map(|s| s.to_bits()).collect::<Vec<_>>(), count),
            (vec![0, 0, 0, 0.5f32.to_bits()], 2)
        );
        let error =
            scores_at("probability", &of([0.0, 0.0, 1.5, 0.0]), &[[0, 1, 1]]).unwrap_err().to_string();
        assert!(error.starts_with("`probability` is 1.5 at voxel [2, 0, 0], expected 0 to 1"), "{error}");
    }

    #[test]
    fn affines_agree_to_a_thousandth() {
        let grid = Grid::axis_aligned([3; 3], [1.0; 3]);
        let moved = |mm: f64| {
            Grid::new(grid.shape, sdk::Affine::translation([mm, 0.0, 0.0]).after(&grid.voxel_to_world))
        };
        assert!(check_grid("mask", &moved(0.000_9), &grid).is_ok());
        let error = check_grid("mask", &moved(0.001_1), &grid).unwrap_err().to_string();
        assert!(error.contains("corners up to 0.001 mm apart"), "{error}");
    }
}
