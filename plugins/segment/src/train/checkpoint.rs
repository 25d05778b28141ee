//! What survives a kill: weights, moments, and how far the run had come.
//!
//! Numbers are stored exactly, so that the run goes on to the same bits.

use super::Row;
use crate::backend::{BackendError, Trainer};
use crate::file::{Entry, Stored, encode, write_whole};
use crate::network;
use neuroloom_segment_abi::{MOMENTS, STEPS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The run's own file, and the best weights so far.
const STATE: &str = "state.safetensors";
const BEST: &str = "best.safetensors";
/// The state's one metadata key.
const PROGRESS: &str = "progress";

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Steps taken.
    pub(super) steps: usize,
    /// Bits of the sum of losses of the epoch at hand: text would round it.
    loss_bits: u64,
    /// What each epoch that is over said.
    pub(super) curve: Vec<Row>,
}

impl Progress {
    /// Sum of the losses of the epoch at hand.
    pub(super) const fn loss(&self) -> f64 {
        f64::from_bits(self.loss_bits)
    }

    /// Sets it.
    pub(super) const fn set_loss(&mut self, sum: f64) {
        self.loss_bits = sum.to_bits();
    }
}

/// The folder that survives.
#[derive(Debug)]
pub(super) struct Checkpoint(pub(super) PathBuf);

impl Checkpoint {
    /// What an earlier start left: its state file, and how far it had come. A file that cannot be read counts as none.
    pub(super) fn read(&self) -> Option<(Vec<u8>, Progress)> {
        let bytes = std::fs::read(self.0.join(STATE)).ok()?;
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).ok()?;
        let progress = serde_json::from_str(metadata.metadata().as_ref()?.get(PROGRESS)?).ok()?;
        Some((bytes, progress))
    }

    /// Writes how far the run has come; the file is replaced at once.
    ///
    /// # Errors
    /// When a tensor cannot be read or the file not be written.
    pub(super) fn write(
        &self,
        trainer: &Trainer,
        tensors: &[network::Tensor],
        progress: &Progress,
    ) -> Result<(), sdk::OperatorError> {
        let mut entries = weights(trainer, tensors)?;
        for prefix in MOMENTS {
            for tensor in tensors.iter().filter(|tensor| !tensor.name.contains(".running_")) {
                let name = format!("{prefix}{}", tensor.name);
                let numbers = trainer.read(&name, tensor.len())?;
                entries.push(Entry { name, shape: tensor.shape.clone(), numbers });
            }
        }
        let numbers = trainer.read(STEPS, 1)?;
        entries.push(Entry { name: STEPS.to_owned(), shape: vec![1], numbers });
        let metadata = BTreeMap::from([(PROGRESS.to_owned(), serde_json::to_string(progress)?)]);
        Ok(write_whole(&self.0.join(STATE), &encode(&metadata, &entries, Stored::F32))?)
    }

    /// Keeps weights as the best so far.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn keep(&self, weights: &[Entry]) -> Result<(), std::io::Error> {
        write_whole(&self.0.join(BEST), &encode(&BTreeMap::new(), weights, Stored::F32))
    }

    /// The best weights so far.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn best(&self, tensors: &[network::Tensor]) -> Result<Vec<Entry>, sdk::OperatorError> {
        read_entries(&self.0.join(BEST), tensors)
    }
}

/// The weights as they are now.
///
/// # Errors
/// The backend's.
pub(super) fn weights(trainer: &Trainer, tensors: &[network::Tensor]) -> Result<Vec<Entry>, BackendError> {
    let entry = |tensor: &network::Tensor| {
        let numbers = trainer.read(&tensor.name, tensor.len())?;
        Ok(Entry { name: tensor.name.clone(), shape: tensor.shape.clone(), numbers })
    };
    tensors.iter().map(entry).collect()
}

/// The tensors of a file in 4-byte floats.
fn read_entries(path: &Path, tensors: &[network::Tensor]) -> Result<Vec<Entry>, sdk::OperatorError> {
    let bytes = std::fs::read(path)?;
    let damaged = |error: safetensors::SafeTensorError| {
        sdk::OperatorError::failed(format!("{} cannot be read: {error}", path.display()))
    };
    let file = safetensors::SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let entry = |tensor: &network::Tensor| {
        let view = file.tensor(&tensor.name).map_err(damaged)?;
        let number = |bytes: &[u8]| bytes.try_into().map_or(f32::NAN, f32::from_le_bytes);
        let numbers = view.data().chunks_exact(size_of::<f32>()).map(number).collect();
        Ok(Entry { name: tensor.name.clone(), shape: tensor.shape.clone(), numbers })
    };
    tensors.iter().map(entry).collect()
}
