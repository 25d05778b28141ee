//! From equalised sequences to a score for each voxel: slice by slice, in batches.

use crate::backend::BackendError;
use crate::card::{Card, Equalisation};
use crate::halving::Batches;
use crate::network;
use crate::stack::{self, Rule, Sequences};
use crate::symmetry;
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
pub type Scorer<'a> = dyn Fn(&[f32], [usize; 4], &mut [f32]) -> Result<(), BackendError> + Sync + 'a;

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

/// How often each slice is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Views {
    /// How many of the eight symmetries of a slice are scored, 1 to 8; their logits are averaged.
    pub count: usize,
    /// Whether the spread of the scores is asked for.
    pub spread: bool,
}

/// Each slice as it is.
pub const ONE_VIEW: Views = Views { count: 1, spread: false };

/// What a network says of a case.
#[derive(Debug)]
pub struct Scores {
    /// Score of each voxel, 0..=1.
    pub probability: Probability,
    /// Standard deviation of the score over the views, 0..=0.5; only if it was asked for.
    pub spread: Option<Probability>,
    /// Slices (patches) scored at once in the end, if memory did not suffice for what was planned.
    pub halved: Option<usize>,
}

/// As [`scores_of_views`], of each slice as it is.
///
/// # Errors
/// As [`scores_of_views`].
pub fn scores(
    case: &CaseImages,
    card: &Card,
    plan: Plan,
    scorer: &Scorer<'_>,
    ctx: &Context,
) -> Result<Probability, OperatorError> {
    Ok(scores_of_views(case, card, plan, ONE_VIEW, scorer, ctx)?.probability)
}

/// Scores in 0..=1 on the grid of the images: the logistic function of the network's mean logits over all views, which the card's
/// calibration may move first; 0 outside `mask`.
///
/// Slices run along `k`, and each of the stage's threads scores slices of its own. A slice is empty if it has no voxel of the
/// mask; without a mask, if all its intensities are 0.
///
/// # Errors
/// [`SegmentationError`], the scorer's own, or cancelled.
pub fn scores_of_views(
    case: &CaseImages,
    card: &Card,
    plan: Plan,
    views: Views,
    scorer: &Scorer<'_>,
    ctx: &Context,
) -> Result<Scores, OperatorError> {
    let grid = checked_grid(case, card)?;
    let slice_len = grid.shape[0] * grid.shape[1];
    let batch = plan.batch.clamp(1, grid.shape[2].max(1));
    let voxels: Vec<Option<&[f32]>> = case.channels.iter().map(|c| c.as_ref().map(Image::voxels)).collect();
    let sequences = Sequences { voxels: &voxels, shape: grid.shape };
    let batches = Batches::of(batch);
    let work = Work { case, card, plan, views, sequences, batches: &batches };

    let failures = Mutex::new(BTreeMap::new());
    let failed = || failures.lock().unwrap_or_else(PoisonError::into_inner);
    let done = AtomicUsize::new(0);
    let mut out = ctx.alloc::<f32>(grid.len())?;
    let mut spread = ctx.alloc::<f32>(if views.spread { grid.len() } else { 0 })?;
    let pieces: Vec<Mutex<&mut [f32]>> = spread.chunks_mut(batch * slice_len).map(Mutex::new).collect();
    ctx.fill(&mut out, batch * slice_len, |part, scores| {
        if ctx.cancelled() || !failed().is_empty() {
            return;
        }
        let mut piece = pieces.get(part).map(|piece| piece.lock().unwrap_or_else(PoisonError::into_inner));
        let spread = piece.as_mut().map(|piece| &mut ***piece);
        if let Err(error) = work.score(part * batch, scores, spread, scorer) {
            failed().insert(part, error);
        }
        let slices = done.fetch_add(scores.len() / slice_len, Ordering::Relaxed);
        ctx.progress(slices as f64 / grid.shape[2] as f64, "scoring slices");
    });
    drop(pieces);
    ctx.check_cancelled()?;
    // The lowest slice's, whichever thread failed first.
    if let Some((_, error)) = failed().pop_first() {
        return Err(error);
    }
    let probability = Probability::new(grid, out.freeze())?;
    let spread = views.spread.then(|| Probability::new(grid, spread.freeze())).transpose()?;
    Ok(Scores { probability, spread, halved: batches.halved() })
}

/// What all threads share.
struct Work<'a> {
    case: &'a CaseImages,
    card: &'a Card,
    plan: Plan,
    views: Views,
    sequences: Sequences<'a>,
    batches: &'a Batches,
}

impl Work<'_> {
    /// Scores the slices from `first` on that have brain; `scores` and `spread` have whole slices, zeroed.
    fn score(
        &self,
        first: usize,
        scores: &mut [f32],
        mut spread: Option<&mut [f32]>,
        scorer: &Scorer<'_>,
    ) -> Result<(), OperatorError> {
        let [width, height, _] = self.sequences.shape;
        let slice_len = width * height;
        let wanted = |k: &usize| !self.plan.skip_empty || has_brain(self.case, *k, slice_len);
        let slices: Vec<usize> = (first..first + scores.len() / slice_len).filter(wanted).collect();
        let mut tally = Tally::new(slices.len() * slice_len, self.views.spread);
        self.batches.run(slices.len(), &mut |range| {
            let place = range.start * slice_len..range.end * slice_len;
            self.look(&slices[range], scorer, &mut tally, place)
        })?;
        tally.finish(self.views.count);
        for (at, &k) in slices.iter().enumerate() {
            let own = at * slice_len..(at + 1) * slice_len;
            if !tally.logits[own.clone()].iter().all(|logit| logit.is_finite()) {
                return Err(SegmentationError::Score { slice: k, model: self.card.name.clone() }.into());
            }
            let brain =
                self.case.mask.as_ref().map(|mask| &mask.voxels()[k * slice_len..(k + 1) * slice_len]);
            let inside = |v: usize| brain.is_none_or(|brain| brain[v] != 0);
            let target = (k - first) * slice_len..(k - first + 1) * slice_len;
            for (v, (score, logit)) in
                scores[target.clone()].iter_mut().zip(&tally.logits[own.clone()]).enumerate()
            {
                *score = if inside(v) { logistic(self.card.logit(*logit)) } else { 0.0 };
            }
            if let Some(spread) = spread.as_deref_mut() {
                for (v, (out, found)) in spread[target].iter_mut().zip(&tally.spread[own]).enumerate() {
                    *out = if inside(v) { *found } else { 0.0 };
                }
            }
        }
        Ok(())
    }

    /// Scores slices in every view, and adds what was found at `place` of the tally once all views are there.
    fn look(
        &self,
        slices: &[usize],
        scorer: &Scorer<'_>,
        tally: &mut Tally,
        place: std::ops::Range<usize>,
    ) -> Result<(), BackendError> {
        let [width, height, _] = self.sequences.shape;
        let channels = self.card.stack_channels();
        let mut stack = vec![0.0; slices.len() * width * height * channels];
        stack::fill(
            self.sequences,
            Rule { slices: self.card.slices, edge: self.card.edge },
            slices,
            &mut stack,
        );
        let mut found = vec![0.0; slices.len() * width * height];
        if self.views.count == 1 {
            scorer(&stack, [slices.len(), height, width, channels], &mut found)?;
            tally.add(place, &found, self.card);
            return Ok(());
        }
        // A view that fails for want of memory must leave nothing behind: the piece is done again.
        let mut views = Vec::with_capacity(self.views.count);
        let mut turned = vec![0.0; stack.len()];
        for view in 0..self.views.count {
            symmetry::turn(&stack, [width, height], channels, view, &mut turned);
            let [turned_width, turned_height] = symmetry::turned_shape(width, height, view);
            scorer(&turned, [slices.len(), turned_height, turned_width, channels], &mut found)?;
            let mut back = vec![0.0; found.len()];
            let slice_len = width * height;
            for (from, to) in found.chunks_exact(slice_len).zip(back.chunks_exact_mut(slice_len)) {
                for (v, logit) in from.iter().enumerate() {
                    let [i, j] = symmetry::source(v % turned_width, v / turned_width, width, height, view);
                    to[i + width * j] = *logit;
                }
            }
            views.push(back);
        }
        for view in &views {
            tally.add(place.clone(), view, self.card);
        }
        Ok(())
    }
}

/// Sums over views.
struct Tally {
    /// Sum of logits; their mean once finished.
    logits: Vec<f32>,
    /// Sums of scores and of their squares, if the spread is asked for.
    moments: Vec<[f64; 2]>,
    /// Standard deviation of scores, once finished.
    spread: Vec<f32>,
}

impl Tally {
    fn new(len: usize, spread: bool) -> Self {
        let asked = if spread { len } else { 0 };
        Self { logits: vec![0.0; len], moments: vec![[0.0; 2]; asked], spread: Vec::new() }
    }

    fn add(&mut self, place: std::ops::Range<usize>, logits: &[f32], card: &Card) {
        for (sum, logit) in self.logits[place.clone()].iter_mut().zip(logits) {
            *sum += logit;
        }
        if !self.moments.is_empty() {
            for (sums, logit) in self.moments[place].iter_mut().zip(logits) {
                let score = f64::from(logistic(card.logit(*logit)));
                sums[0] += score;
                sums[1] += score * score;
            }
        }
    }

    fn finish(&mut self, views: usize) {
        // One view stays as it is, to the bit.
        self.logits.iter_mut().for_each(|sum| *sum /= views as f32);
        let views = views as f64;
        let deviation = |[sum, squares]: &[f64; 2]| {
            let mean = sum / views;
            (squares / views - mean * mean).max(0.0).sqrt() as f32
        };
        self.spread = self.moments.iter().map(deviation).collect();
    }
}

/// The grid of all images, once they are fit to be read.
fn checked_grid(case: &CaseImages, card: &Card) -> Result<Grid, OperatorError> {
    let names: Vec<&str> = card.channels.iter().map(|channel| channel.name.as_str()).collect();
    let grid = finite_grid(case, &names)?;
    let [width, height, _] = grid.shape;
    if width == 0 || height == 0 || width % network::STRIDE != 0 || height % network::STRIDE != 0 {
        return Err(SegmentationError::Matrix { width, height }.into());
    }
    Ok(grid)
}

/// The grid of all images, whose voxels are finite.
///
/// * `names`: of the channels, for the error.
///
/// # Errors
/// [`SegmentationError::NotFinite`]; no image at all.
pub fn finite_grid(case: &CaseImages, names: &[&str]) -> Result<Grid, OperatorError> {
    let first = case.channels.iter().flatten().next();
    let grid = *first.ok_or_else(|| OperatorError::failed("no channel at `channels`"))?.grid();
    for (name, image) in names.iter().zip(&case.channels) {
        let voxels = image.iter().flat_map(Image::voxels);
        let count = voxels.filter(|voxel| !voxel.is_finite()).count();
        if count > 0 {
            return Err(SegmentationError::NotFinite { channel: (*name).to_owned(), count }.into());
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
    fn centre(stack: &[f32], shape: [usize; 4], logits: &mut [f32]) -> Result<(), BackendError> {
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

    /// Each voxel's logit is its distance from the slice's first corner: a network that is not symmetric at all.
    #[expect(clippy::unnecessary_wraps, reason = "a scorer may fail")]
    fn slanted(_: &[f32], shape: [usize; 4], logits: &mut [f32]) -> Result<(), BackendError> {
        let slice_len = shape[1] * shape[2];
        for (v, logit) in logits.iter_mut().enumerate() {
            *logit = (v % slice_len % shape[2] + 10 * (v % slice_len / shape[2])) as f32 / 20.0;
        }
        Ok(())
    }

    #[test]
    fn views_are_brought_back_before_their_logits_are_averaged() {
        let card = untrained(0.25, 1);
        let views = |count| Views { count, spread: true };
        // A network that treats all views alike says the same of each: the mean is its logit, the spread none.
        let case = CaseImages { mask: None, ..case() };
        let all = scores_of_views(&case, &card, PLAN, views(8), &centre, &context()).unwrap();
        let one = scores(&case, &card, PLAN, &centre, &context()).unwrap();
        for (mean, alone) in all.probability.voxels().iter().zip(one.voxels()) {
            assert!((mean - alone).abs() < 1e-6);
        }
        assert!(all.spread.unwrap().voxels().iter().all(|spread| *spread < 1e-6));
    }

    #[test]
    fn the_spread_is_the_deviation_of_the_views_scores_and_zero_outside_the_mask() {
        let (case, card) = (case(), untrained(0.25, 1));
        let four = Views { count: 4, spread: true };
        let found = scores_of_views(&case, &card, PLAN, four, &slanted, &context()).unwrap();
        let (spread, mask) = (found.spread.unwrap(), case.mask.unwrap());
        let (i, j) = (9, 5);
        assert_eq!(mask.at([i, j, 4]), 1);
        let logits =
            [[i, j], [15 - i, j], [i, 11 - j], [15 - i, 11 - j]].map(|[i, j]| (i + 10 * j) as f64 / 20.0);
        let mean = logits.iter().sum::<f64>() / 4.0;
        assert!((f64::from(found.probability.at([i, j, 4])) - 1.0 / (1.0 + (-mean).exp())).abs() < 1e-6);
        let views = logits.map(|logit| 1.0 / (1.0 + (-logit).exp()));
        let centre = views.iter().sum::<f64>() / 4.0;
        let deviation = (views.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / 4.0).sqrt();
        assert!(deviation > 0.01 && (f64::from(spread.at([i, j, 4])) - deviation).abs() < 1e-6);
        for (spread, brain) in spread.voxels().iter().zip(mask.voxels()) {
            assert!(*brain == 1 || *spread == 0.0);
        }
    }

    #[test]
    fn a_backend_without_memory_for_the_batch_gives_the_same_scores_from_smaller_ones() {
        let card = untrained(0.25, 1);
        let sizes = Mutex::new(Vec::new());
        let short = |stack: &[f32], shape: [usize; 4], logits: &mut [f32]| {
            sizes.lock().unwrap().push(shape[0]);
            if shape[0] > 2 {
                return Err(BackendError::Memory("CUDA out of memory".to_owned()));
            }
            centre(stack, shape, logits)
        };
        let plan = Plan { batch: 5, skip_empty: false };
        let views = Views { count: 4, spread: false };
        let found = scores_of_views(&case(), &card, plan, views, &short, &context_with(1)).unwrap();
        assert_eq!(found.halved, Some(2));
        assert_eq!(
            sizes.into_inner().unwrap()[..6],
            [5, 3, 2, 2, 2, 2],
            "halved twice, then four views of two"
        );
        let whole = scores_of_views(&case(), &card, plan, views, &centre, &context_with(1)).unwrap();
        assert_eq!((whole.halved, found.probability.voxels()), (None, whole.probability.voxels()));
        let none = |_: &[f32], _: [usize; 4], _: &mut [f32]| {
            Err(BackendError::Memory("CUDA out of memory".to_owned()))
        };
        let error = scores(&case(), &card, plan, &none, &context()).unwrap_err();
        assert!(error.message.contains("out of memory") && error.hint.is_some(), "{error}");
    }

    #[test]
    fn a_volume_of_three_slices_is_scored() {
        let grid = Grid::axis_aligned([4, 8, 3], [1.0; 3]);
        let image = ball(grid, [2.0, 4.0, 1.0], 1.5, 1.0);
        let case = CaseImages { channels: vec![Some(image); 4], mask: None };
        let eight = Views { count: 8, spread: true };
        let found = scores_of_views(&case, &untrained(0.25, 1), PLAN, eight, &centre, &context()).unwrap();
        assert_eq!(found.probability.voxels().len(), grid.len());
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
