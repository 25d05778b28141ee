//! From equalised sequences to a score for each voxel: slice by slice, in batches.

use crate::card::{Card, Equalisation};
use crate::network;
use crate::stack::{self, Rule, Sequences};
use sdk::{Context, Grid, Image, Mask, OperatorError, Probability};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How far beyond 0..=1 an equalised intensity may lie by interpolation in f32.
const RANGE_SLACK: f32 = 1e-3;

/// Why a case cannot be segmented.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentationError {
    /// The slices do not divide by the network's stride.
    #[error(
        "slices of {width} x {height} voxels, where both must be multiples of {}\n\
         hint: put the reference through `fit_matrix` first, with a `matrix` that is a multiple of 4",
        network::STRIDE
    )]
    Matrix {
        /// Voxels along `i`.
        width: usize,
        /// Voxels along `j`.
        height: usize,
    },
    /// Intensities are not numbers.
    #[error(
        "channel `{channel}` has {count} voxels that are not finite\nhint: normalise it before `segment`"
    )]
    NotFinite {
        /// The channel.
        channel: String,
        /// How many.
        count: usize,
    },
    /// The network made something that is not a number.
    #[error(
        "the network's score of slice {slice} is not finite\nhint: the weights of model `{model}` are damaged"
    )]
    Score {
        /// Index of the slice.
        slice: usize,
        /// The model's name.
        model: String,
    },
}

/// What scores stacks: `(stack, [batch, height, width, channel], logits)`, called by several threads at once.
pub type Scorer<'a> = dyn Fn(&[f32], [usize; 4], &mut [f32]) -> Result<(), OperatorError> + Sync + 'a;

/// A case as a model reads it.
#[derive(Clone, Debug)]
pub struct CaseImages {
    /// For each channel of the card: its image, `None` where zeros stand in. All on one grid, at least one is there.
    pub channels: Vec<Option<Image>>,
    /// Brain, on that grid.
    pub mask: Option<Mask>,
}

/// How a case is worked on.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Neighbouring slices scored at once, at least 1.
    pub batch: usize,
    /// Whether slices without brain are left at 0.
    pub skip_empty: bool,
}

/// Scores in 0..=1 on the grid of the images: the logistic function of the network's logits, 0 outside `mask`.
///
/// Slices run along `k`, and each of the stage's threads scores slices of its own. A slice is empty if it has no voxel of the
/// mask; without a mask, if all its intensities are 0.
///
/// # Errors
/// [`SegmentationError`], the scorer's own, or cancelled.
pub fn scores(
    case: &CaseImages,
    card: &Card,
    plan: Plan,
    scorer: &Scorer<'_>,
    ctx: &Context,
) -> Result<Probability, OperatorError> {
    let grid = checked_grid(case, card)?;
    let slice_len = grid.shape[0] * grid.shape[1];
    let batch = plan.batch.clamp(1, grid.shape[2].max(1));
    let voxels: Vec<Option<&[f32]>> = case.channels.iter().map(|c| c.as_ref().map(Image::voxels)).collect();
    let work = Work { case, card, plan, sequences: Sequences { voxels: &voxels, shape: grid.shape } };

    let failures = Mutex::new(BTreeMap::new());
    let failed = || failures.lock().unwrap_or_else(PoisonError::into_inner);
    let done = AtomicUsize::new(0);
    let mut out = ctx.alloc::<f32>(grid.len())?;
    ctx.fill(&mut out, batch * slice_len, |part, scores| {
        if ctx.cancelled() || !failed().is_empty() {
            return;
        }
        if let Err(error) = work.score(part * batch, scores, scorer) {
            failed().insert(part, error);
        }
        let slices = done.fetch_add(scores.len() / slice_len, Ordering::Relaxed);
        ctx.progress(slices as f64 / grid.shape[2] as f64, "scoring slices");
    });
    ctx.check_cancelled()?;
    // The lowest slice's, whichever thread failed first.
    let first = failed().pop_first();
    first.map_or_else(|| Ok(Probability::new(grid, out.freeze())?), |(_, error)| Err(error))
}

/// What all threads share.
struct Work<'a> {
    case: &'a CaseImages,
    card: &'a Card,
    plan: Plan,
    sequences: Sequences<'a>,
}

impl Work<'_> {
    /// Scores the slices from `first` on that have brain; `scores` has whole slices, zeroed.
    fn score(&self, first: usize, scores: &mut [f32], scorer: &Scorer<'_>) -> Result<(), OperatorError> {
        let [width, height, _] = self.sequences.shape;
        let slice_len = width * height;
        let wanted = |k: &usize| !self.plan.skip_empty || has_brain(self.case, *k, slice_len);
        let slices: Vec<usize> = (first..first + scores.len() / slice_len).filter(wanted).collect();
        if slices.is_empty() {
            return Ok(());
        }
        let channels = self.card.stack_channels();
        let mut stack = vec![0.0; slices.len() * slice_len * channels];
        let rule = Rule { slices: self.card.slices, edge: self.card.edge };
        stack::fill(self.sequences, rule, &slices, &mut stack);
        let mut logits = vec![0.0; slices.len() * slice_len];
        scorer(&stack, [slices.len(), height, width, channels], &mut logits)?;
        for (&k, logits) in slices.iter().zip(logits.chunks_exact(slice_len)) {
            if !logits.iter().all(|logit| logit.is_finite()) {
                return Err(SegmentationError::Score { slice: k, model: self.card.name.clone() }.into());
            }
            let brain =
                self.case.mask.as_ref().map(|mask| &mask.voxels()[k * slice_len..(k + 1) * slice_len]);
            let scores = &mut scores[(k - first) * slice_len..(k - first + 1) * slice_len];
            for (v, (score, &logit)) in scores.iter_mut().zip(logits).enumerate() {
                *score = if brain.is_none_or(|brain| brain[v] != 0) { logistic(logit) } else { 0.0 };
            }
        }
        Ok(())
    }
}

/// The grid of all images, once they are fit to be read.
fn checked_grid(case: &CaseImages, card: &Card) -> Result<Grid, OperatorError> {
    let first = case.channels.iter().flatten().next();
    let grid = *first.ok_or_else(|| OperatorError::failed("no channel at `channels`"))?.grid();
    let [width, height, _] = grid.shape;
    if width == 0 || height == 0 || width % network::STRIDE != 0 || height % network::STRIDE != 0 {
        return Err(SegmentationError::Matrix { width, height }.into());
    }
    for (channel, image) in card.channels.iter().zip(&case.channels) {
        let voxels = image.iter().flat_map(Image::voxels);
        let count = voxels.filter(|voxel| !voxel.is_finite()).count();
        if count > 0 {
            return Err(SegmentationError::NotFinite { channel: channel.name.clone(), count }.into());
        }
    }
    Ok(grid)
}

fn has_brain(case: &CaseImages, k: usize, slice_len: usize) -> bool {
    let place = k * slice_len..(k + 1) * slice_len;
    case.mask.as_ref().map_or_else(
        || {
            case.channels
                .iter()
                .flatten()
                .any(|image| image.voxels()[place.clone()].iter().any(|&v| v != 0.0))
        },
        |mask| mask.voxels()[place.clone()].iter().any(|&voxel| voxel != 0),
    )
}

fn logistic(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Names of channels whose intensities lie outside 0..=1 although the model learnt from equalised ones.
pub fn unlike_equalised<'a>(case: &CaseImages, card: &'a Card) -> Vec<&'a str> {
    if card.equalisation == Equalisation::None {
        return Vec::new();
    }
    let range = -RANGE_SLACK..=1.0 + RANGE_SLACK;
    let outside = |image: &Image| image.voxels().iter().any(|voxel| !range.contains(voxel));
    let channels = card.channels.iter().zip(&case.channels);
    channels
        .filter(|(_, i)| i.as_ref().is_some_and(outside))
        .map(|(channel, _)| channel.name.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::untrained;
    use sdk::testing::{ball, ball_mask, context, context_with};

    fn grid() -> Grid {
        Grid::axis_aligned([16, 12, 9], [1.0; 3])
    }

    /// All four channels, a ball of intensity 1 in each; brain in slices 2 to 6.
    fn case() -> CaseImages {
        let image = ball(grid(), [8.0, 6.0, 4.0], 4.0, 1.0);
        let mask = ball_mask(grid(), [8.0, 6.0, 4.0], 2.2);
        CaseImages { channels: vec![Some(image); 4], mask: Some(mask) }
    }

    const PLAN: Plan = Plan { batch: 2, skip_empty: true };

    /// A stand-in for the network: the logit of a voxel is the centre slice of the first sequence.
    #[expect(clippy::unnecessary_wraps, reason = "a scorer may fail")]
    fn centre(stack: &[f32], shape: [usize; 4], logits: &mut [f32]) -> Result<(), OperatorError> {
        for (voxel, logit) in stack.chunks(shape[3]).zip(logits) {
            *logit = voxel[3];
        }
        Ok(())
    }

    #[test]
    fn slices_without_brain_never_reach_the_network() {
        let sizes = Mutex::new(Vec::new());
        let scorer = |stack: &[f32], shape: [usize; 4], logits: &mut [f32]| {
            sizes.lock().unwrap().push(shape);
            centre(stack, shape, logits)
        };
        scores(&case(), &untrained(0.25, 1), PLAN, &scorer, &context_with(1)).unwrap();
        // Brain lies in slices 2 to 6, and batches begin at even ones.
        assert_eq!(sizes.into_inner().unwrap(), [[2, 12, 16, 28], [2, 12, 16, 28], [1, 12, 16, 28]]);
    }

    #[test]
    fn each_brain_voxel_has_the_logistic_of_its_own_logit() {
        let case = case();
        let scores = scores(&case, &untrained(0.25, 1), PLAN, &centre, &context()).unwrap();
        let (image, mask) = (case.channels[0].clone().unwrap(), case.mask.unwrap());
        for (v, score) in scores.voxels().iter().enumerate() {
            let expected = 1.0 / (1.0 + (-image.voxels()[v]).exp());
            assert_eq!(*score, if mask.voxels()[v] == 1 { expected } else { 0.0 });
        }
    }

    #[test]
    fn the_number_of_threads_and_the_batch_change_nothing() {
        let card = untrained(0.25, 1);
        let one = scores(&case(), &card, Plan { batch: 1, ..PLAN }, &centre, &context_with(1)).unwrap();
        let many = scores(&case(), &card, Plan { batch: 64, ..PLAN }, &centre, &context_with(3)).unwrap();
        assert_eq!(one.voxels(), many.voxels());
    }

    #[test]
    fn without_a_mask_a_slice_is_empty_if_all_intensities_are_zero() {
        let seen = AtomicUsize::new(0);
        let scorer = |_: &[f32], shape: [usize; 4], logits: &mut [f32]| {
            seen.fetch_add(shape[0], Ordering::Relaxed);
            logits.fill(0.0);
            Ok(())
        };
        let case = CaseImages { mask: None, ..case() };
        let scores = scores(&case, &untrained(0.25, 1), PLAN, &scorer, &context()).unwrap();
        // The ball of radius 4 mm with its half voxel of rim: slices 0 to 8 but for the poles, whose centre voxel is 0.5.
        assert_eq!(seen.into_inner(), 9);
        assert!(scores.voxels().iter().all(|score| *score == 0.5));
    }

    #[test]
    fn an_empty_mask_gives_scores_of_zero_without_the_network() {
        let empty = Mask::new(grid(), vec![0; grid().len()]).unwrap();
        let case = CaseImages { mask: Some(empty), ..case() };
        let never = |_: &[f32], _: [usize; 4], _: &mut [f32]| panic!("no slice has brain");
        let scores = scores(&case, &untrained(0.25, 1), PLAN, &never, &context()).unwrap();
        assert!(scores.voxels().iter().all(|score| *score == 0.0));
    }

    #[test]
    fn slices_that_do_not_divide_by_four_are_refused_with_a_way_out() {
        let grid = Grid::axis_aligned([16, 13, 3], [1.0; 3]);
        let image = ball(grid, [8.0, 6.0, 1.0], 4.0, 1.0);
        let case = CaseImages { channels: vec![Some(image); 4], mask: None };
        let error = scores(&case, &untrained(0.25, 1), PLAN, &centre, &context()).unwrap_err();
        assert_eq!(error.message, "slices of 16 x 13 voxels, where both must be multiples of 4");
        assert!(error.hint.unwrap().contains("fit_matrix"));
    }

    #[test]
    fn nan_in_a_channel_and_nan_from_the_network_are_named() {
        let mut damaged = case();
        let mut voxels = damaged.channels[3].as_ref().unwrap().voxels().to_vec();
        voxels[5] = f32::NAN;
        damaged.channels[3] = Some(Image::new(grid(), voxels).unwrap());
        let error = scores(&damaged, &untrained(0.25, 1), PLAN, &centre, &context()).unwrap_err();
        assert_eq!(error.message, "channel `flair` has 1 voxels that are not finite");
        let nan = |_: &[f32], _: [usize; 4], logits: &mut [f32]| {
            logits.fill(f32::NAN);
            Ok(())
        };
        let error = scores(&case(), &untrained(0.25, 1), PLAN, &nan, &context()).unwrap_err();
        assert!(error.message.starts_with("the network's score of slice "), "{error}");
        let error = scores(&case(), &untrained(0.25, 1), PLAN, &nan, &context_with(1)).unwrap_err();
        assert_eq!(error.message, "the network's score of slice 2 is not finite");
    }

    #[test]
    fn a_volume_of_one_slice_is_scored() {
        let grid = Grid::axis_aligned([4, 4, 1], [1.0; 3]);
        let image = ball(grid, [2.0, 2.0, 0.0], 1.5, 1.0);
        let case = CaseImages { channels: vec![None, None, Some(image), None], mask: None };
        assert!(scores(&case, &untrained(0.25, 1), PLAN, &centre, &context()).is_ok());
    }

    #[test]
    fn intensities_that_were_not_equalised_are_noticed() {
        let mut case = case();
        let card = untrained(0.25, 1);
        assert!(unlike_equalised(&case, &card).is_empty());
        case.channels[1] = Some(ball(grid(), [8.0, 6.0, 4.0], 4.0, 800.0));
        assert_eq!(unlike_equalised(&case, &card), ["t1_post"]);
    }
}
