//! A network that learns, through the backend's table.

use super::{Backend, BackendError, MESSAGE_BYTES, read};
use neuroloom_segment_abi as abi;
use sdk::Place;

/// A network that learns, on a device.
#[derive(Debug)]
pub struct Trainer {
    table: &'static abi::Table,
    trainer: *mut abi::Trainer,
}

// SAFETY: the backend ties a trainer to no thread.
unsafe impl Send for Trainer {}
// SAFETY: the table allows gradients from several threads at once; a step needs `&mut`.
unsafe impl Sync for Trainer {}

/// What one lesson says of all weights.
#[derive(Debug)]
pub struct Gradient {
    table: &'static abi::Table,
    gradient: *mut abi::Gradient,
}

// SAFETY: the backend ties a gradient to no thread.
unsafe impl Send for Gradient {}

impl Backend {
    /// Puts a network that learns on the place's device.
    ///
    /// * `state`: a whole safetensors file: the weights, and to go on from an earlier run what [`abi::MOMENTS`] and
    ///   [`abi::STEPS`] name.
    ///
    /// # Errors
    /// [`BackendError::Backend`]: a weight that does not fit, no such device, no memory.
    pub fn trainer(self, state: &[u8], recipe: &abi::Recipe, place: &Place) -> Result<Trainer, BackendError> {
        let device = if place.device.is_empty() { "auto" } else { &place.device };
        let opening =
            abi::Opening { weights: abi::Lent::new(state), device: abi::Lent::new(device.as_bytes()) };
        let mut block = [0; MESSAGE_BYTES];
        let mut message = abi::Message::new(&mut block);
        // SAFETY: the table is of our version, and all that is lent lives until the call returns.
        let trainer = unsafe { (self.0.open_trainer)(&opening, recipe, &mut message) };
        let text = read(message.len, &block);
        if trainer.is_null() {
            return Err(BackendError::Backend(text));
        }
        if !text.is_empty() {
            tracing::info!("{text}");
        }
        Ok(Trainer { table: self.0, trainer })
    }
}

impl Trainer {
    /// The gradient of a lesson's mean loss. On a CPU it takes the calling thread alone; several threads may call at once.
    ///
    /// * `stack`: `[batch, height, width, channel]`, channel fastest, as `shape` says.
    /// * `truth`: `[batch, height, width]`, 1 in a lesion, else 0.
    ///
    /// # Errors
    /// [`BackendError::Backend`]: no memory, wrong number of channels.
    pub fn gradient(
        &self,
        stack: &[f32],
        shape: [usize; 4],
        truth: &[f32],
    ) -> Result<Gradient, BackendError> {
        let Some(lesson) = abi::Lesson::new(stack, shape, truth) else {
            let text = format!("{} numbers do not make a lesson of {shape:?}", stack.len());
            return Err(BackendError::Backend(text));
        };
        let mut block = [0; MESSAGE_BYTES];
        let mut message = abi::Message::new(&mut block);
        // SAFETY: the trainer is open, and the blocks live until the call returns.
        let gradient = unsafe { (self.table.gradient)(self.trainer, &lesson, &mut message) };
        if gradient.is_null() {
            return Err(BackendError::Backend(read(message.len, &block)));
        }
        Ok(Gradient { table: self.table, gradient })
    }

    /// One step along the mean of gradients, summed in their order; returns the mean loss of a voxel.
    ///
    /// * `share`: of the recipe's step size, 0..=1.
    ///
    /// # Errors
    /// [`BackendError::Backend`]: none is given, or the loss is not finite.
    pub fn step(&mut self, gradients: Vec<Gradient>, share: f64) -> Result<f64, BackendError> {
        if gradients.is_empty() {
            return Err(BackendError::Backend("a step without a gradient".to_owned()));
        }
        let mut block = [0; MESSAGE_BYTES];
        let mut message = abi::Message::new(&mut block);
        let list: Vec<*mut abi::Gradient> = gradients.iter().map(|own| own.gradient).collect();
        gradients.into_iter().for_each(std::mem::forget);
        // SAFETY: the trainer is open and nobody else has it; the gradients are given away here, once.
        let loss = unsafe { (self.table.step)(self.trainer, list.as_ptr(), list.len(), share, &mut message) };
        let text = read(message.len, &block);
        match loss.is_finite() {
            true => Ok(loss),
            false if text.is_empty() => Err(BackendError::Backend(format!(
                "the loss is {loss}\nhint: lower `learning_rate`, or look for intensities that are not equalised"
            ))),
            false => Err(BackendError::Backend(text)),
        }
    }

    /// The tensor of that name as it is now, of `len` numbers.
    ///
    /// # Errors
    /// [`BackendError::Backend`]: there is none, or it has another length.
    pub fn read(&self, name: &str, len: usize) -> Result<Vec<f32>, BackendError> {
        let mut out = vec![0.0; len];
        let mut block = [0; MESSAGE_BYTES];
        let mut message = abi::Message::new(&mut block);
        let name = abi::Lent::new(name.as_bytes());
        // SAFETY: the trainer is open, and the blocks live until the call returns.
        let done = unsafe { (self.table.read)(self.trainer, name, out.as_mut_ptr(), len, &mut message) };
        if done { Ok(out) } else { Err(BackendError::Backend(read(message.len, &block))) }
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        // SAFETY: opened by this table, and closed only here.
        unsafe { (self.table.close_trainer)(self.trainer) };
    }
}

impl Drop for Gradient {
    fn drop(&mut self) {
        // SAFETY: made by this table; `step`, which takes gradients, forgets them first.
        unsafe { (self.table.drop_gradient)(self.gradient) };
    }
}
