//! The 2.5D GoogLeNet while it learns.
//!
//! Weights, and the normalisation after each convolution, are kept apart here, unlike in [`crate::network`], which folds them.
//! A step is split: gradients of several lessons are found side by side, each by one thread that changes nothing; then they are
//! summed in their order and one step is taken. So the number of threads changes no bit of the weights, but how slices are
//! dealt into lessons does, since each lesson is normalised by its own statistics.
//!
//! Sources: Kingma and Ba, ICLR 2015 (Adam; L2 is added to the gradient, as there was no other way then); Ioffe and Szegedy,
//! ICML 2015 (batch normalisation).

use crate::network::{COARSE_BLOCKS, FINE_BLOCKS, NORMALISATION_EPSILON, NetworkError, Weights, halve};
use neuroloom_segment_abi::{MOMENTS, Recipe, STEPS};
use std::collections::BTreeMap;
use tch::{Device, Kind, Reduction, TchError, Tensor};

/// Branches of a block in the order of the weight file.
const BRANCHES: [&str; 6] = ["b1", "b2a", "b2b", "b3a", "b3b", "b4"];

/// A weight that is learnt.
struct Parameter {
    name: String,
    value: Tensor,
    /// Running means of its gradient and of the gradient's square.
    moments: [Tensor; 2],
}

impl Parameter {
    /// Whether L2 holds it small: kernels only.
    fn is_kernel(&self) -> bool {
        self.name.ends_with(".conv.weight") || self.name == "deconv.weight"
    }
}

/// Running statistics of one normalisation.
struct Statistics {
    name: String,
    /// `[channel]` each.
    mean: Tensor,
    variance: Tensor,
}

/// A network that learns.
pub(crate) struct Trainer {
    recipe: Recipe,
    pub(crate) device: Device,
    parameters: Vec<Parameter>,
    /// Place of each name in `parameters`.
    places: BTreeMap<String, usize>,
    statistics: Vec<Statistics>,
    /// Steps taken so far.
    steps: f64,
}

/// What one lesson says.
pub(crate) struct Gradient {
    /// For each parameter.
    parts: Vec<Tensor>,
    /// Mean and unbiased variance of each normalisation's input, in the order they are applied.
    seen: Vec<[Tensor; 2]>,
    /// Mean loss of a voxel.
    loss: f64,
}

/// One pass through the network.
struct Pass<'a> {
    trainer: &'a Trainer,
    /// In which numbers it convolves and keeps features; gradients of the weights come back in f32.
    kind: Kind,
    seen: Vec<[Tensor; 2]>,
}

impl Trainer {
    /// Puts the weights of a safetensors file on a device, with the moments that it holds, or none.
    ///
    /// # Errors
    /// [`NetworkError`], naming the tensor.
    pub(crate) fn load(file: &[u8], recipe: Recipe, device: Device) -> Result<Self, NetworkError> {
        let weights = Weights::parse(file, device)?;
        let place = |tensor: Tensor| -> Result<Tensor, TchError> {
            tensor.f_to_kind(Kind::Float)?.f_to_device(device)
        };
        let goes_on = weights.file.names().contains(&STEPS);
        let steps = if goes_on { weights.tensor(STEPS)?.f_double_value(&[0])? } else { 0.0 };
        let mut trainer = Self {
            recipe,
            device,
            parameters: Vec::new(),
            places: BTreeMap::new(),
            statistics: Vec::new(),
            steps,
        };
        for layer in layers() {
            for part in ["conv.weight", "bn.weight", "bn.bias"] {
                trainer.learn(&weights, &format!("{layer}.{part}"), goes_on)?;
            }
            let mean = place(weights.tensor(&format!("{layer}.bn.running_mean"))?)?;
            let variance = place(weights.tensor(&format!("{layer}.bn.running_var"))?)?;
            trainer.statistics.push(Statistics { name: layer, mean, variance });
        }
        trainer.learn(&weights, "deconv.weight", goes_on)?;
        trainer.learn(&weights, "deconv.bias", goes_on)?;
        Ok(trainer)
    }

    fn learn(&mut self, weights: &Weights<'_>, name: &str, goes_on: bool) -> Result<(), NetworkError> {
        let read = |name: &str| -> Result<Tensor, NetworkError> {
            Ok(weights.tensor(name)?.f_to_kind(Kind::Float)?.f_to_device(self.device)?)
        };
        let value = read(name)?;
        let moment = |prefix: &str| {
            if goes_on { read(&format!("{prefix}{name}")) } else { Ok(value.f_zeros_like()?) }
        };
        let moments = [moment(MOMENTS[0])?, moment(MOMENTS[1])?];
        let value = value.f_set_requires_grad(true)?;
        self.places.insert(name.to_owned(), self.parameters.len());
        self.parameters.push(Parameter { name: name.to_owned(), value, moments });
        Ok(())
    }

    fn weight(&self, name: &str) -> Result<&Tensor, NetworkError> {
        let place = self.places.get(name).ok_or_else(|| NetworkError::Missing(name.to_owned()))?;
        Ok(&self.parameters[*place].value)
    }

    /// The gradient of the mean loss over all voxels of a lesson: cross-entropy of the logistic of the logits, in which lesion
    /// voxels weigh `positive_weight`.
    ///
    /// * `stack`: `[batch, channel, height, width]`; `truth`: `[batch, 1, height, width]`, 0 or 1.
    ///
    /// # Errors
    /// libtorch's: no memory, wrong number of channels.
    pub(crate) fn gradient(&self, stack: &Tensor, truth: &Tensor) -> Result<Gradient, NetworkError> {
        let kind = if self.recipe.half == 0 { Kind::Float } else { Kind::BFloat16 };
        let mut pass = Pass { trainer: self, kind, seen: Vec::new() };
        let logits = pass.logits(&stack.f_to_kind(kind)?)?.f_to_kind(Kind::Float)?;
        let weight = Tensor::f_from_slice(&[self.recipe.positive_weight as f32])?.f_to_device(self.device)?;
        let loss = logits.f_binary_cross_entropy_with_logits(
            truth,
            None::<&Tensor>,
            Some(&weight),
            Reduction::Mean,
        )?;
        let values: Vec<&Tensor> = self.parameters.iter().map(|parameter| &parameter.value).collect();
        let parts = Tensor::f_run_backward(&[&loss], &values, false, false)?;
        let loss = loss.f_double_value(&[])?;
        Ok(Gradient { parts, seen: pass.seen, loss })
    }

    /// One step of Adam along the mean of `gradients`, summed in their order, of that `share` of the recipe's step size. Returns
    /// the mean loss.
    ///
    /// # Errors
    /// libtorch's.
    pub(crate) fn step(&mut self, gradients: &[Gradient], share: f64) -> Result<f64, NetworkError> {
        let loss = gradients.iter().map(|gradient| gradient.loss).sum::<f64>() / gradients.len() as f64;
        if loss.is_finite() {
            self.steps += 1.0;
            tch::no_grad(|| self.adam(gradients, share).and_then(|()| self.remember(gradients)))?;
        }
        Ok(loss)
    }

    fn adam(&mut self, gradients: &[Gradient], share: f64) -> Result<(), TchError> {
        let Recipe { learning_rate, beta1, beta2, epsilon, l2, .. } = self.recipe;
        let steps = self.steps as i32;
        let (first_bias, second_bias) = (1.0 - beta1.powi(steps), 1.0 - beta2.powi(steps));
        for (place, parameter) in self.parameters.iter_mut().enumerate() {
            let mut mean = mean(gradients.iter().map(|gradient| &gradient.parts[place]))?;
            if parameter.is_kernel() {
                mean = mean.f_add(&parameter.value.f_mul_scalar(l2)?)?;
            }
            let [first, second] = &mut parameter.moments;
            let _ = first.f_mul_scalar_(beta1)?.f_add_(&mean.f_mul_scalar(1.0 - beta1)?)?;
            let _ = second.f_mul_scalar_(beta2)?.f_add_(&mean.f_mul(&mean)?.f_mul_scalar(1.0 - beta2)?)?;
            let root = second.f_sqrt()?.f_div_scalar(second_bias.sqrt())?.f_add_scalar(epsilon)?;
            let change = first.f_div(&root)?.f_mul_scalar(share * learning_rate / first_bias)?;
            let _ = parameter.value.f_sub_(&change)?;
        }
        Ok(())
    }

    /// Moves the running statistics towards what was seen.
    fn remember(&mut self, gradients: &[Gradient]) -> Result<(), TchError> {
        let decay = self.recipe.normalisation_decay;
        for (place, statistics) in self.statistics.iter_mut().enumerate() {
            for (part, running) in [&mut statistics.mean, &mut statistics.variance].into_iter().enumerate() {
                let mean = mean(gradients.iter().map(|gradient| &gradient.seen[place][part]))?;
                let _ = running.f_mul_scalar_(decay)?.f_add_(&mean.f_mul_scalar(1.0 - decay)?)?;
            }
        }
        Ok(())
    }

    /// The tensor of that name as it is now: a weight, a running statistic, a moment, or the number of steps.
    ///
    /// # Errors
    /// [`NetworkError::Missing`].
    pub(crate) fn read(&self, name: &str) -> Result<Tensor, NetworkError> {
        if name == STEPS {
            return Ok(Tensor::f_from_slice(&[self.steps as f32])?);
        }
        for (moment, prefix) in MOMENTS.iter().enumerate() {
            if let Some(place) = name.strip_prefix(prefix).and_then(|name| self.places.get(name)) {
                return Ok(self.parameters[*place].moments[moment].shallow_clone());
            }
        }
        let layer = |part: &str| {
            let layer = name.strip_suffix(part)?;
            self.statistics.iter().find(|statistics| statistics.name == layer)
        };
        if let Some(statistics) = layer(".bn.running_mean") {
            return Ok(statistics.mean.shallow_clone());
        }
        if let Some(statistics) = layer(".bn.running_var") {
            return Ok(statistics.variance.shallow_clone());
        }
        Ok(self.weight(name)?.f_detach()?)
    }
}

/// Names of all convolutions in the order they are applied.
fn layers() -> Vec<String> {
    let stem = ["conv1", "conv2", "conv3"].map(str::to_owned);
    let blocks = FINE_BLOCKS.iter().chain(&COARSE_BLOCKS);
    let branches = blocks.flat_map(|block| BRANCHES.map(|branch| format!("inception{block}.{branch}")));
    stem.into_iter().chain(branches).collect()
}

/// The mean of tensors, summed in their order.
fn mean<'a>(mut tensors: impl ExactSizeIterator<Item = &'a Tensor>) -> Result<Tensor, TchError> {
    let count = tensors.len();
    let first = tensors.next().map_or_else(|| Tensor::f_from_slice(&[0_f32]), Tensor::f_detach)?;
    let sum = tensors.try_fold(first, |sum, tensor| sum.f_add(tensor))?;
    sum.f_div_scalar(count.max(1) as f64)
}

impl Pass<'_> {
    fn logits(&mut self, stack: &Tensor) -> Result<Tensor, NetworkError> {
        let mut x = self.convolution("conv1", stack)?;
        x = self.convolution("conv2", &x)?;
        x = halve(&self.convolution("conv3", &x)?)?; // [batch, channel, height / 2, width / 2]
        for block in FINE_BLOCKS {
            x = self.block(block, &x)?;
        }
        x = halve(&x)?; // [batch, channel, height / 4, width / 4]
        for block in COARSE_BLOCKS {
            x = self.block(block, &x)?;
        }
        let weight = self.trainer.weight("deconv.weight")?.f_to_kind(self.kind)?;
        let bias = self.trainer.weight("deconv.bias")?.f_to_kind(self.kind)?;
        Ok(x.f_conv_transpose2d(&weight, Some(&bias), [4, 4], [2, 2], [0, 0], 1, [1, 1])?)
    }

    fn block(&mut self, name: &str, x: &Tensor) -> Result<Tensor, NetworkError> {
        let branch = |branch: &str| format!("inception{name}.{branch}");
        let one = self.convolution(&branch("b1"), x)?;
        let three = self.convolution(&branch("b2a"), x)?;
        let three = self.convolution(&branch("b2b"), &three)?;
        let five = self.convolution(&branch("b3a"), x)?;
        let five = self.convolution(&branch("b3b"), &five)?;
        let pooled = x.f_max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false)?;
        let pooled = self.convolution(&branch("b4"), &pooled)?;
        Ok(Tensor::f_cat(&[one, three, five, pooled], 1)?)
    }

    /// Convolution, normalisation by the lesson's own statistics, `ReLU`.
    fn convolution(&mut self, name: &str, x: &Tensor) -> Result<Tensor, NetworkError> {
        let weight = self.trainer.weight(&format!("{name}.conv.weight"))?.f_to_kind(self.kind)?;
        let padding = [weight.size()[3] / 2; 2];
        let y = x.f_conv2d(&weight, None::<&Tensor>, [1, 1], padding, [1, 1], 1)?;
        let scale = self.trainer.weight(&format!("{name}.bn.weight"))?;
        let shift = self.trainer.weight(&format!("{name}.bn.bias"))?;
        let none = None::<&Tensor>;
        let (mut y, mean, inverse) =
            y.f_native_batch_norm(Some(scale), Some(shift), none, none, true, 0.0, NORMALISATION_EPSILON)?;
        // The inverse of the deviation of n numbers: v = 1 / inverse^2 - epsilon; unbiased, v n / (n - 1).
        let size = y.size();
        let numbers = (size[0] * size[2] * size[3]) as f64;
        let variance = inverse.f_detach()?.f_pow_tensor_scalar(-2)?.f_sub_scalar(NORMALISATION_EPSILON)?;
        let variance = variance.f_mul_scalar(numbers / (numbers - 1.0).max(1.0))?;
        self.seen.push([mean.f_detach()?, variance]);
        Ok(y.f_relu_()?)
    }
}
