//! From images to scores by a TorchScript network: onto its grid, normalised, patch by patch, and back.

use crate::backend::{BackendError, Session};
use crate::halving::Batches;
use crate::patches::{self, Blend, Frame};
use crate::script::card::{Activation, Axes, Axis, Crop, Input, Normalisation, Over, ScriptCard, axes_of};
use crate::segmentation::{self, CaseImages, Scores};
use crate::stack::Rule;
use sdk::imaging::resample::{self, Interpolation};
use sdk::{Affine, Context, Grid, Image, Mask, OperatorError, Probability};

/// How far beyond 0..=1 sums of scores may lie by rounding.
const SCORE_SLACK: f32 = 1e-4;

/// Why a TorchScript network cannot work on a case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchwiseError {
    /// All voxels alike.
    #[error(
        "channel `{channel}` has the same value everywhere, so it cannot be normalised as model `{model}` asks for"
    )]
    Constant {
        /// The channel.
        channel: String,
        /// The model.
        model: String,
    },
    /// The card asks for a mask that is not there.
    #[error("model `{model}` {wants} the mask, and there is none\nhint: wire `mask`")]
    NoMask {
        /// The model.
        model: String,
        /// What its card wants of it.
        wants: &'static str,
    },
    /// The network made something that is not a number, or no score.
    #[error(
        "the score that model `{model}` gives is {found}, where 0..=1 is expected\nhint: is `activation` of its card right?"
    )]
    Score {
        /// The model.
        model: String,
        /// What it made.
        found: f32,
    },
}

/// What runs patches: `(input, shape, output)`, called by several threads at once; one for each network of the ensemble.
pub type Runner<'a> = dyn Fn(usize, &[f32], &[usize], &mut [f32]) -> Result<(), BackendError> + Sync + 'a;

/// How much is done at once, and how often a case is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Patches at once.
    pub batch: usize,
    /// Mirror images, at most: the card says along which axes.
    pub views: usize,
    /// Whether the spread over views and networks is asked for.
    pub spread: bool,
    /// Networks of the ensemble.
    pub networks: usize,
}

/// Runs a network once on zeros of the card's shape: what contradicts the card is found before the first case.
///
/// # Errors
/// [`BackendError`] with what the network says or makes instead.
pub fn try_out(card: &ScriptCard, session: &Session) -> Result<(), BackendError> {
    let shape = tensor_shape(card, 1);
    let patch: usize = card.patch.iter().product();
    let mut said = vec![0.0; card.classes.len() * patch];
    session.forward(&vec![0.0; shape.iter().product()], &shape, &mut said)
}

/// Scores in 0..=1 on the grid of the images, 0 outside the mask.
///
/// # Errors
/// [`PatchwiseError`], the runner's own, no memory, or cancelled.
pub fn scores(
    case: &CaseImages,
    card: &ScriptCard,
    plan: Plan,
    runner: &Runner<'_>,
    ctx: &Context,
) -> Result<Scores, OperatorError> {
    let names: Vec<&str> = card.channels.iter().map(|channel| channel.name.as_str()).collect();
    let own = segmentation::finite_grid(case, &names)?;
    let wants = |wants| PatchwiseError::NoMask { model: card.name.clone(), wants };
    if case.mask.is_none() && card.crop == Crop::Mask {
        return Err(wants("crops to").into());
    }
    if case.mask.is_none() && card.normalise_over == Over::Mask && card.normalisation != Normalisation::Given
    {
        return Err(wants("normalises over").into());
    }
    let batches = Batches::of(plan.batch);
    let Some(prepared) = prepare(case, card, &own, ctx)? else {
        let empty = Probability::new(own, vec![0.0; own.len()])?;
        let spread = plan.spread.then(|| empty.clone());
        return Ok(Scores { probability: empty, spread, halved: None });
    };
    let work = Work { card, prepared: &prepared, batches: &batches, runner, ctx };
    let (scores, spread) = work.ensemble(plan)?;
    let back = |voxels: Vec<f32>| {
        let there = Probability::new(prepared.grid, voxels)?;
        let here = resample::probability(&there, &own, None, Interpolation::Linear, ctx)?;
        masked(&here, case.mask.as_ref())
    };
    let spread = spread.map(back).transpose()?;
    Ok(Scores { probability: back(scores)?, spread, halved: batches.halved() })
}

fn masked(scores: &Probability, mask: Option<&Mask>) -> Result<Probability, OperatorError> {
    let Some(mask) = mask else { return Ok(scores.clone()) };
    let inside = |(score, brain): (&f32, &u8)| if *brain == 0 { 0.0 } else { *score };
    let voxels: Vec<f32> = scores.voxels().iter().zip(mask.voxels()).map(inside).collect();
    Ok(Probability::new(*scores.grid(), voxels)?)
}

/// A case on the network's grid.
struct Prepared {
    grid: Grid,
    /// For each channel its voxels; `None` for zeros.
    channels: Vec<Option<Vec<f32>>>,
}

/// Brings a case onto the network's grid; `None` if the mask to crop to is empty.
fn prepare(
    case: &CaseImages,
    card: &ScriptCard,
    own: &Grid,
    ctx: &Context,
) -> Result<Option<Prepared>, OperatorError> {
    let mut grid = target_grid(own, card);
    let on = |mask: &Mask, grid: &Grid| resample::mask(mask, grid, None, Interpolation::Linear, ctx);
    if let Some(mask) = case.mask.as_ref().filter(|_| card.crop == Crop::Mask) {
        let Some(box_of_mask) = bounding_box(&on(mask, &grid)?) else { return Ok(None) };
        grid = cropped(&grid, box_of_mask);
    }
    let over = case.mask.as_ref().filter(|_| card.normalise_over == Over::Mask);
    let over = over.map(|mask| on(mask, &grid)).transpose()?;
    let mut channels = Vec::new();
    for (channel, image) in card.channels.iter().zip(&case.channels) {
        ctx.check_cancelled()?;
        let Some(image) = image else {
            channels.push(None);
            continue;
        };
        let there: Image = resample::image(image, &grid, None, Interpolation::Linear, ctx)?;
        let voxels = normalised(there.voxels(), over.as_ref(), card).ok_or_else(|| {
            PatchwiseError::Constant { channel: channel.name.clone(), model: card.name.clone() }
        })?;
        channels.push(Some(voxels));
    }
    Ok(Some(Prepared { grid, channels }))
}

/// The grid that the card asks for: axes in its order, its spacing, the same box of the world up to half a voxel.
pub fn target_grid(own: &Grid, card: &ScriptCard) -> Grid {
    let closest = own.closest_axes();
    let wanted = card.orientation.as_deref().and_then(axes_of).unwrap_or(closest);
    let spacing = own.spacing_mm();
    let mut shape = own.shape;
    let mut rows = [[0.0; 4]; 3];
    for (axis, &(world, backwards)) in wanted.iter().enumerate() {
        let source = (0..3).find(|&source| closest[source].0 == world).unwrap_or(axis);
        let turned = closest[source].1 != backwards;
        let size = own.shape[source] as f64;
        let ratio = card.spacing_mm.map_or(1.0, |mm| mm[axis] / spacing[source]);
        shape[axis] = ((size / ratio).round() as usize).max(1);
        // The middles of both grids fall together.
        let (old_middle, new_middle) = ((size - 1.0) / 2.0, (shape[axis] as f64 - 1.0) / 2.0);
        let scale = if turned { -ratio } else { ratio };
        rows[source][axis] = scale;
        rows[source][3] = old_middle - scale * new_middle;
    }
    Grid::new(shape, own.voxel_to_world.after(&Affine::from_rows(rows)))
}

/// First and last voxel of a mask along each axis; `None` if it is empty.
fn bounding_box(mask: &Mask) -> Option<[[usize; 2]; 3]> {
    let mut found: Option<[[usize; 2]; 3]> = None;
    for (at, _) in mask.voxels().iter().enumerate().filter(|(_, voxel)| **voxel != 0) {
        let index = mask.grid().index(at);
        let so_far = found.unwrap_or(index.map(|n| [n, n]));
        found = Some(std::array::from_fn(|axis| {
            [so_far[axis][0].min(index[axis]), so_far[axis][1].max(index[axis])]
        }));
    }
    found
}

fn cropped(grid: &Grid, box_of_mask: [[usize; 2]; 3]) -> Grid {
    let shift = box_of_mask.map(|[first, _]| first as f64);
    Grid::new(
        box_of_mask.map(|[first, last]| last - first + 1),
        grid.voxel_to_world.after(&Affine::translation(shift)),
    )
}

/// Intensities as the card asks for; `None` if they are all alike and so cannot be.
fn normalised(voxels: &[f32], mask: Option<&Mask>, card: &ScriptCard) -> Option<Vec<f32>> {
    let inside = |at: usize| mask.is_none_or(|mask| mask.voxels()[at] != 0);
    let counted: Vec<f32> = (0..voxels.len()).filter(|&at| inside(at)).map(|at| voxels[at]).collect();
    let map: Box<dyn Fn(f32) -> f32> = match card.normalisation {
        Normalisation::Given => return Some(voxels.to_vec()),
        _ if counted.is_empty() => return Some(vec![0.0; voxels.len()]),
        Normalisation::Zscore => {
            let count = counted.len() as f64;
            let mean = counted.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
            let variance = counted.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
            let deviation = variance.sqrt();
            if deviation <= 0.0 {
                return None;
            }
            Box::new(move |v| ((f64::from(v) - mean) / deviation) as f32)
        }
        Normalisation::Percentile => {
            let mut counted = counted;
            let shares = card.percentiles.map(|percent| percent / 100.0);
            let found = sdk::imaging::histogram::quantiles(&mut counted, &shares);
            let (low, high) = (found[0], found[1]);
            if high <= low {
                return None;
            }
            Box::new(move |v| ((f64::from(v) - low) / (high - low)).clamp(0.0, 1.0) as f32)
        }
    };
    Some(voxels.iter().enumerate().map(|(at, v)| if inside(at) { map(*v) } else { 0.0 }).collect())
}

/// Lengths of a tensor of `batch` patches, the slowest first.
fn tensor_shape(card: &ScriptCard, batch: usize) -> Vec<usize> {
    let [i, j, k] = card.patch;
    let channels = card.channels.len() * card.slices;
    let mut space = if card.input == Input::Block { vec![k, j, i] } else { vec![j, i] };
    if card.axes == Axes::Ijk {
        space.reverse();
    }
    [vec![batch, channels], space].concat()
}

/// Steps from voxel to voxel along `i`, `j`, `k` in a patch's memory.
fn strides(card: &ScriptCard) -> [usize; 3] {
    let [i, j, k] = card.patch;
    match card.axes {
        Axes::Kji => [1, i, i * j],
        Axes::Ijk => [j * k, k, 1],
    }
}

struct Work<'a> {
    card: &'a ScriptCard,
    prepared: &'a Prepared,
    batches: &'a Batches,
    runner: &'a Runner<'a>,
    ctx: &'a Context,
}

impl Work<'_> {
    /// The score of each voxel, from the mean over all networks and mirror images of what they say; and its spread.
    fn ensemble(&self, plan: Plan) -> Result<(Vec<f32>, Option<Vec<f32>>), OperatorError> {
        let mirrors = mirrors(&self.card.mirror, plan.views);
        let members = plan.networks * mirrors.len();
        let len = self.prepared.grid.len();
        let mut total = vec![0.0_f32; len * self.card.classes.len()];
        let mut moments = vec![[0.0_f64; 2]; if plan.spread { len } else { 0 }];
        for member in 0..members {
            let said = self.volume(member / mirrors.len(), mirrors[member % mirrors.len()])?;
            total.iter_mut().zip(&said).for_each(|(sum, said)| *sum += said);
            if plan.spread {
                for (sums, score) in moments.iter_mut().zip(self.scores(&said)?) {
                    sums[0] += f64::from(score);
                    sums[1] += f64::from(score).powi(2);
                }
            }
            self.ctx.progress((member + 1) as f64 / members as f64, "scoring patches");
        }
        for sum in &mut total {
            *sum /= members as f32;
        }
        let members = members as f64;
        let deviation =
            |[sum, squares]: &[f64; 2]| (squares / members - (sum / members).powi(2)).max(0.0).sqrt() as f32;
        let spread = plan.spread.then(|| moments.iter().map(deviation).collect());
        Ok((self.scores(&total)?, spread))
    }

    /// What one network says of every voxel, `[class, k, j, i]`; `mirrored` axes are shown to it the other way round.
    fn volume(&self, network: usize, mirrored: [bool; 3]) -> Result<Vec<f32>, OperatorError> {
        let (card, shape) = (self.card, self.prepared.grid.shape);
        let frame = Frame { shape, patch: card.patch, strides: strides(card), mirrored };
        let along = [0, 1, 2].map(|axis| patches::starts(shape[axis], card.patch[axis], card.overlap));
        let mut all = Vec::new();
        for &z in &along[2] {
            for &y in &along[1] {
                all.extend(along[0].iter().map(|&x| [x, y, z]));
            }
        }
        let mut blend = Blend::new(shape, card.patch, card.classes.len());
        let said_len = card.classes.len() * card.patch.iter().product::<usize>();
        // Threads work on pieces of the list, and the sums are made in the list's order: their number changes no bit.
        let threads = self.ctx.threads().max(1);
        for pieces in all.chunks(self.batches.size() * threads) {
            self.ctx.check_cancelled()?;
            let piece_len = pieces.len().div_ceil(threads);
            let parts: Vec<&[[isize; 3]]> = pieces.chunks(piece_len).collect();
            let said = self.ctx.map(parts.len(), |n| {
                let mut said = vec![0.0; parts[n].len() * said_len];
                self.batches
                    .run(parts[n].len(), &mut |range| {
                        let out = &mut said[range.start * said_len..range.end * said_len];
                        self.run(network, &frame, &parts[n][range], out)
                    })
                    .map(|()| said)
            });
            for (starts, said) in parts.iter().zip(said) {
                for (start, said) in starts.iter().zip(said?.chunks_exact(said_len)) {
                    blend.add(&frame, *start, said);
                }
            }
        }
        Ok(blend.means())
    }

    /// Runs a network on the patches at `starts`.
    fn run(
        &self,
        network: usize,
        frame: &Frame,
        starts: &[[isize; 3]],
        said: &mut [f32],
    ) -> Result<(), BackendError> {
        let card = self.card;
        let patch: usize = card.patch.iter().product();
        let mut input = vec![0.0; starts.len() * card.channels.len() * card.slices * patch];
        let rule = Rule { slices: card.slices, edge: crate::card::Edge::Clamp };
        let mut blocks = input.chunks_exact_mut(patch);
        for start in starts {
            for voxels in &self.prepared.channels {
                for offset in 0..card.slices {
                    let Some(block) = blocks.next() else { continue };
                    let Some(voxels) = voxels else { continue };
                    let mut start = *start;
                    if card.input == Input::Stack {
                        // Mirrored along `k` a stack runs the other way.
                        let offset = if frame.mirrored[2] { card.slices - 1 - offset } else { offset };
                        let slice = rule.source(start[2] as usize, offset, frame.shape[2]);
                        start[2] = slice.map_or(start[2], |slice| slice as isize);
                    }
                    frame.each(start, |voxel, own, _| block[own] = voxels[voxel]);
                }
            }
        }
        (self.runner)(network, &input, &tensor_shape(card, starts.len()), said)
    }

    /// Scores of all voxels from what was said of each class.
    fn scores(&self, said: &[f32]) -> Result<Vec<f32>, OperatorError> {
        let len = self.prepared.grid.len();
        let lesion = self.card.lesion_classes();
        let score = |voxel: usize| {
            let of = |class: usize| said[class * len + voxel];
            match self.card.activation {
                Activation::Sigmoid => {
                    lesion.iter().map(|&class| 1.0 / (1.0 + (-of(class)).exp())).fold(0.0, nan_or_max)
                }
                Activation::Softmax => {
                    let classes = 0..self.card.classes.len();
                    let top = classes.clone().map(of).fold(f32::NEG_INFINITY, f32::max);
                    let total: f32 = classes.map(|class| (of(class) - top).exp()).sum();
                    lesion.iter().map(|&class| (of(class) - top).exp() / total).sum()
                }
                Activation::None => lesion.iter().map(|&class| of(class)).sum(),
            }
        };
        let scores: Vec<f32> = (0..len).map(score).collect();
        match scores.iter().find(|score| !(-SCORE_SLACK..=1.0 + SCORE_SLACK).contains(*score)) {
            Some(&found) => Err(PatchwiseError::Score { model: self.card.name.clone(), found }.into()),
            None => Ok(scores.into_iter().map(|score| score.clamp(0.0, 1.0)).collect()),
        }
    }
}

/// The larger, but what is no number stays so.
fn nan_or_max(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}

/// Along which axes each look at the case is mirrored: none first, then one more axis after another, at most `views`.
fn mirrors(axes: &[Axis], views: usize) -> Vec<[bool; 3]> {
    let mirrored =
        |axis: Axis, bits: usize| axes.iter().position(|a| *a == axis).is_some_and(|n| bits >> n & 1 == 1);
    let all = (0..1_usize << axes.len().min(3))
        .map(|bits| [Axis::I, Axis::J, Axis::K].map(|axis| mirrored(axis, bits)));
    all.take(views).collect()
}

#[cfg(test)]
mod tests;
