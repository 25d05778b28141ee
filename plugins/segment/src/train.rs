//! Training of the 2.5D GoogLeNet from a cohort with truth, by the recipe of Grøvik et al.
//!
//! Slices of the cases to learn from are kept in memory as bytes. A step draws its slices, half of them with a lesion, deals them into
//! lessons of `micro_batch`, finds the gradients of these side by side, and takes one step along their mean. What it draws follows
//! from the seed and the step's number; sums are made in order; so neither the number of threads nor a kill changes the weights.
//!
//! Source: Grøvik et al., JMRI 51:175, 2020; the dropout of whole sequences is that of npj Digit Med 4:33, 2021.

mod checkpoint;
mod cohort;
mod development;
mod judge;
mod lessons;
mod outcome;
mod settings;

pub use cohort::Split;
pub use settings::{Criterion, Decay, Options, TrainError};

use crate::backend::{Backend, Gradient, Precision, Trainer};
use crate::card::Card;
use crate::file::{Entry, Stored, encode};
use crate::model::Model;
use crate::segmentation;
use crate::stack::Rule;
use crate::{initial, network};
use checkpoint::{Checkpoint, Progress};
use cohort::{Cached, Member};
use judge::Figures;
use lessons::{Deck, fill};
use neuroloom_segment_abi::Recipe;
use outcome::Outcome;
use sdk::{Cases, Context, OperatorError, Outputs, Place};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Steps from which on the running means of normalisation may keep 0.99: in shorter runs they would not have caught up.
const LONG_RUN_STEPS: usize = 500;
const LONG_RUN_DECAY: f64 = 0.99;
const SHORT_RUN_DECAY: f64 = 0.9;

/// What an epoch said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// From 1; 0 for weights that were not taught here.
    epoch: usize,
    /// Steps so far.
    steps: usize,
    /// Mean loss of a voxel over the epoch; 0 for epoch 0.
    loss: f64,
    /// Of the development cases; absent without any.
    auc: Option<f64>,
    dice: Option<f64>,
    /// Score from which on a voxel counts as lesion, before a calibration of this run.
    threshold: f64,
    /// Whether it was the best so far.
    best: bool,
}

impl Row {
    fn of(epoch: usize, steps: usize, loss: f64, figures: Figures) -> Self {
        let known = |value: f64| value.is_finite().then_some(value);
        let (auc, dice) = (known(figures.auc), known(figures.dice));
        Self { epoch, steps, loss, auc, dice, threshold: figures.threshold, best: false }
    }

    /// What the best epoch is chosen by: AUC, or without development cases the loss.
    fn merit(&self) -> f64 {
        self.auc.unwrap_or(-self.loss)
    }
}

/// A run.
struct Run<'a> {
    options: &'a Options,
    /// The model's card, but for what only the run can tell.
    card: Card,
    place: &'a Place,
    backend: Backend,
    ctx: &'a Context,
    cases: &'a dyn Cases,
    members: Vec<Member>,
    cached: Vec<Cached>,
    deck: Deck,
    tensors: Vec<network::Tensor>,
    checkpoint: Checkpoint,
}

/// Learns from a cohort, or, without an epoch, chooses the thresholds of a model that others taught.
///
/// # Errors
/// [`TrainError`]; a value that cannot be read; the backend's; the stage was asked to stop.
pub(crate) fn train(
    cases: &dyn Cases,
    options: &Options,
    place: &Place,
    ctx: &Context,
) -> Result<Outputs, OperatorError> {
    options.check()?;
    let members = cohort::members(cases, options, ctx)?;
    let development: Vec<&Member> =
        members.iter().filter(|member| member.split == Split::Development).collect();
    // Said before hours of learning, not after.
    if options.calibrate && development.iter().all(|member| member.lesions == 0) {
        return Err(TrainError::NothingToCalibrate { cases: development.len() }.into());
    }
    let cached = if options.judges_only() { Vec::new() } else { read_cases(cases, &members, options, ctx)? };
    let deck = Deck::new(&cached);
    if deck.with_lesion() == 0 && !options.judges_only() {
        return Err(TrainError::NoLesion { cases: cached.len() }.into());
    }
    let backend = Backend::open(place)?;
    let tensors = network::tensors(options.width, options.slices * options.channels.len());
    let checkpoint = Checkpoint(ctx.resume_dir()?);
    let mut card = match &options.start {
        Some(file) if options.judges_only() => Model::read_header(file.as_ref())?.card,
        _ => options.card(),
    };
    if options.calibrate {
        card.calibration = None;
    }
    let mut run =
        Run { options, card, place, backend, ctx, cases, members, cached, deck, tensors, checkpoint };
    let (curve, weights) = if options.judges_only() { run.judge_start()? } else { run.learn()? };
    if options.calibrate {
        run.card.calibration = run.calibration(&weights)?;
    }
    let without = run.without(&weights)?;
    outcome::outputs(
        &Outcome { options, card: &run.card, members: &run.members, curve: &curve, without: &without },
        &weights,
    )
}

fn read_cases(
    cases: &dyn Cases,
    members: &[Member],
    options: &Options,
    ctx: &Context,
) -> Result<Vec<Cached>, OperatorError> {
    let mut cached: Vec<Cached> = Vec::new();
    for member in members.iter().filter(|member| member.split == Split::Train) {
        ctx.check_cancelled()?;
        let case = cohort::cache(&cases.inputs(member.index)?, &member.label, options)?;
        let [width, height, _] = case.shape;
        if width % network::STRIDE != 0 || height % network::STRIDE != 0 {
            return Err(segmentation::SegmentationError::Matrix { width, height }.into());
        }
        if width.min(height) < options.crop {
            let (case, found) = (member.label.clone(), [width, height]);
            return Err(TrainError::Crop { crop: options.crop, case, found }.into());
        }
        if let Some(first) = cached.first().filter(|first| first.shape[..2] != case.shape[..2]) {
            let (case, expected) = (member.label.clone(), [first.shape[0], first.shape[1]]);
            return Err(TrainError::Matrix { case, found: [width, height], expected }.into());
        }
        cached.push(case);
    }
    Ok(cached)
}

impl Run<'_> {
    fn steps_per_epoch(&self) -> usize {
        match self.options.steps_per_epoch {
            0 => self.deck.len().div_ceil(self.options.batch),
            steps => steps,
        }
    }

    fn recipe(&self) -> Recipe {
        let options = self.options;
        let steps = self.steps_per_epoch() * options.epochs;
        let decay = if steps < LONG_RUN_STEPS { SHORT_RUN_DECAY } else { LONG_RUN_DECAY };
        Recipe {
            learning_rate: options.learning_rate,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            l2: options.l2,
            positive_weight: options.positive_weight,
            normalisation_decay: decay,
            half: u32::from(options.precision == Precision::Bf16),
        }
    }

    /// The trainer where an earlier start left it, or at the first step.
    fn begin(&self) -> Result<(Trainer, Progress), OperatorError> {
        if let Some((state, progress)) = self.checkpoint.read() {
            tracing::info!("goes on after {} steps", progress.steps);
            return Ok((self.backend.trainer(&state, &self.recipe(), self.place)?, progress));
        }
        let state = if let Some(file) = &self.options.start {
            let model = Model::read_header(file.as_ref())?;
            self.options.fits(&model.card)?;
            model.bytes()?
        } else {
            let bias = self.first_bias();
            let entry = |tensor: &network::Tensor| Entry {
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
                numbers: initial::untaught(tensor, self.options.seed, bias),
            };
            let entries: Vec<Entry> = self.tensors.iter().map(entry).collect();
            encode(&std::collections::BTreeMap::new(), &entries, Stored::F32)
        };
        Ok((self.backend.trainer(&state, &self.recipe(), self.place)?, Progress::default()))
    }

    /// The logit of the share of lesion among all voxels, by their weights in the loss: so the first steps need not find it.
    fn first_bias(&self) -> f32 {
        let lesion: f64 =
            self.cached.iter().map(|case| case.truth.iter().map(|v| f64::from(*v)).sum::<f64>()).sum();
        let all: usize =
            self.cached.iter().map(|case| case.slices.len() * case.shape[0] * case.shape[1]).sum();
        let others = (all as f64 - lesion).max(1.0);
        (lesion.max(1.0) * self.options.positive_weight / others).ln() as f32
    }

    /// The weights of `start`, and what they do as they are.
    fn judge_start(&self) -> Result<(Vec<Row>, Vec<Entry>), OperatorError> {
        let (trainer, _) = self.begin()?;
        let weights = checkpoint::weights(&trainer, &self.tensors)?;
        let figures = self.figures(&weights)?;
        if !figures.dice.is_finite() {
            return Err(TrainError::NothingToJudge { cases: self.development().count() }.into());
        }
        Ok((vec![Row { best: true, ..Row::of(0, 0, 0.0, figures) }], weights))
    }

    /// All epochs, or up to `patience` after the best. Returns what each said, and the best weights.
    fn learn(&self) -> Result<(Vec<Row>, Vec<Entry>), OperatorError> {
        let (mut trainer, mut progress) = self.begin()?;
        let per_epoch = self.steps_per_epoch();
        let mut written = Instant::now();
        while progress.curve.len() < self.options.epochs && !self.is_over(&progress.curve) {
            let end = (progress.curve.len() + 1) * per_epoch;
            while progress.steps < end {
                self.ctx.check_cancelled()?;
                let loss = self.step(&mut trainer, progress.steps)?;
                progress.steps += 1;
                progress.set_loss(progress.loss() + loss);
                self.tell(&progress, per_epoch);
                if written.elapsed() >= Duration::from_secs_f64(self.options.checkpoint_seconds) {
                    self.checkpoint.write(&trainer, &self.tensors, &progress)?;
                    written = Instant::now();
                }
            }
            self.judge(&trainer, &mut progress)?;
            self.checkpoint.write(&trainer, &self.tensors, &progress)?;
        }
        let best = self.checkpoint.best(&self.tensors)?;
        Ok((progress.curve, best))
    }

    fn is_over(&self, curve: &[Row]) -> bool {
        let best = curve.iter().rposition(|row| row.best);
        best.is_some_and(|best| curve.len() - 1 - best >= self.options.patience)
    }

    fn tell(&self, progress: &Progress, per_epoch: usize) {
        let of_epoch = progress.steps - progress.curve.len() * per_epoch;
        let loss = progress.loss() / of_epoch.max(1) as f64;
        let share = progress.steps as f64 / (per_epoch * self.options.epochs) as f64;
        let epoch = progress.curve.len() + 1;
        self.ctx.progress(share, &format!("epoch {epoch}, step {of_epoch} of {per_epoch}, loss {loss:.4}"));
    }

    /// One step; returns its loss.
    fn step(&self, trainer: &mut Trainer, step: usize) -> Result<f64, OperatorError> {
        let frames = self.deck.draw(step, &self.cached, self.options);
        // Lessons mix slices with lesions and others: each is normalised by its own statistics.
        let count = frames.len() / self.options.micro_batch;
        let lesson = |n: usize| frames.iter().skip(n).step_by(count).cloned().collect::<Vec<_>>();
        let [width, height] = self.options.window(self.cached[0].shape);
        let channels = self.options.slices * self.options.channels.len();
        let rule = Rule { slices: self.options.slices, edge: self.options.edge };
        let (cached, teacher) = (&self.cached, &*trainer);
        let gradients = self.ctx.map(count, |n| {
            let frames = lesson(n);
            let voxels = frames.len() * height * width;
            let (mut stack, mut truth) = (vec![0.0; voxels * channels], vec![0.0; voxels]);
            fill(&frames, cached, rule, &mut stack, &mut truth);
            teacher.gradient(&stack, [frames.len(), height, width, channels], &truth)
        });
        let gradients: Vec<Gradient> = gradients.into_iter().collect::<Result<_, _>>()?;
        Ok(trainer.step(gradients, self.share(step))?)
    }

    /// The share of the step size that a step takes, by how it falls.
    fn share(&self, step: usize) -> f64 {
        let all = (self.steps_per_epoch() * self.options.epochs) as f64;
        match self.options.decay {
            Decay::None => 1.0,
            Decay::Cosine => f64::midpoint(1.0, (std::f64::consts::PI * step as f64 / all).cos()),
        }
    }

    /// Ends an epoch: what the development cases say, and whether the weights are the best so far.
    fn judge(&self, trainer: &Trainer, progress: &mut Progress) -> Result<(), OperatorError> {
        let weights = checkpoint::weights(trainer, &self.tensors)?;
        let loss = progress.loss() / self.steps_per_epoch() as f64;
        let mut row = Row::of(progress.curve.len() + 1, progress.steps, loss, self.figures(&weights)?);
        row.best = progress.curve.iter().all(|before| row.merit() > before.merit());
        if row.best {
            self.checkpoint.keep(&weights)?;
        }
        let shown = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), |v| format!("{v:.4}"));
        tracing::info!(
            "epoch {}: loss {:.4}, development AUC {}, Dice {}{}",
            row.epoch,
            row.loss,
            shown(row.auc),
            shown(row.dice),
            if row.best { ", the best so far" } else { "" }
        );
        progress.curve.push(row);
        progress.set_loss(0.0);
        Ok(())
    }
}
