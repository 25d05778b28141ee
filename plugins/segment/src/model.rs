//! Model files: a card and the weights, in one safetensors file.
//!
//! While a workflow is checked only the header is read: it holds the card and each tensor's shape, so that a model that
//! does not fit a case, or lacks a weight, is refused before any image is read.

use crate::card::{Card, CardError, Channel, Edge, Equalisation};
use crate::file::{self, Entry, Stored};
use crate::{initial, network};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest header that is read: a card and 287 tensors take about 40 kB.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file cannot be read.
    #[error("model `{path}` cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no safetensors file.
    #[error(
        "model `{path}` is no safetensors file: {reason}\nhint: the file may be cut short; fetch or make it anew"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The card cannot be used.
    #[error("model `{path}`: {source}")]
    Card {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CardError,
    },
    /// A weight is not there.
    #[error("model `{path}` has no tensor `{name}`, of shape {expected:?} at the card's width")]
    NoTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the card's width and channels ask for.
        expected: Vec<usize>,
    },
    /// A weight has another shape or type than the card says.
    #[error("model `{path}` has tensor `{name}` as {found} where {expected} is expected")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Shape and type found.
        found: String,
        /// What the card's width and channels ask for.
        expected: String,
    },
    /// No model is named.
    #[error(
        "`models` names no model\nhint: set `models` to one or more .safetensors or .pt files; the first that fits is used"
    )]
    NoneNamed,
    /// No model fits the channels.
    #[error(
        "no model fits the channels {present}: {reasons}\n\
         hint: give what is missing, or add to `models` one that does without it"
    )]
    NoneFits {
        /// What is there.
        present: String,
        /// For each model, what it lacks.
        reasons: String,
    },
}

/// A model file whose header was read and held against its card.
#[derive(Clone, Debug)]
pub struct Model {
    /// The file.
    pub path: PathBuf,
    /// What it says of itself.
    pub card: Card,
    /// How many tensors it holds, and how many numbers they are.
    pub tensors: [usize; 2],
}

impl Model {
    /// Reads a file's header and holds its tensors against its card.
    ///
    /// # Errors
    /// [`ModelError`], naming the file and the key or tensor.
    pub fn read_header(path: &Path) -> Result<Self, ModelError> {
        let metadata = header(path)?;
        let keys: BTreeMap<String, String> =
            metadata.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let card = Card::parse(&keys).map_err(|source| ModelError::Card { path: path.to_owned(), source })?;
        for tensor in network::tensors(card.width, card.stack_channels()) {
            let path = || path.to_owned();
            let Some(found) = metadata.info(&tensor.name) else {
                return Err(ModelError::NoTensor { path: path(), name: tensor.name, expected: tensor.shape });
            };
            if found.shape != tensor.shape || !matches!(found.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                return Err(ModelError::Tensor {
                    path: path(),
                    name: tensor.name,
                    found: format!("{:?} {:?}", found.dtype, found.shape),
                    expected: format!("F32, F16 or BF16 {:?}", tensor.shape),
                });
            }
        }
        let all = metadata.tensors();
        let numbers = all.values().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        Ok(Self { path: path.to_owned(), card, tensors: [all.len(), numbers] })
    }

    /// The whole file.
    ///
    /// # Errors
    /// [`ModelError::Read`].
    pub fn bytes(&self) -> Result<Vec<u8>, ModelError> {
        std::fs::read(&self.path).map_err(|source| ModelError::Read { path: self.path.clone(), source })
    }
}

fn header(path: &Path) -> Result<Metadata, ModelError> {
    let read = |source| ModelError::Read { path: path.to_owned(), source };
    let format = |reason: String| ModelError::Format { path: path.to_owned(), reason };
    let mut file = std::fs::File::open(path).map_err(read)?;
    let file_bytes = file.metadata().map_err(read)?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|error| format(error.to_string()))?;
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > MAX_HEADER_BYTES.min(file_bytes - 8) {
        return Err(format(format!("its header claims {header_bytes} bytes of a file of {file_bytes}")));
    }
    let mut header = vec![0; header_bytes as usize];
    file.read_exact(&mut header).map_err(read)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| format(error.to_string()))?;
    let expected = 8 + header_bytes + metadata.data_len() as u64;
    if file_bytes != expected {
        return Err(format(format!("it has {file_bytes} bytes where its header promises {expected}")));
    }
    Ok(metadata)
}

/// `` `a`, `b` ``, or `none`.
pub fn quoted(names: &[&str]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The card of the initial weights: everything but training.
///
/// * `width`: factor on all channels. `seed`: of the weights.
pub fn untrained(width: f64, seed: u64) -> Card {
    let channel = |name: &str, optional| Channel { name: name.to_owned(), optional };
    Card {
        name: format!("untrained-w{:03}", (width * 100.0).round()),
        version: "1".to_owned(),
        width,
        channels: vec![
            channel("t1_pre", false),
            channel("t1_post", true),
            channel("bravo", false),
            channel("flair", true),
        ],
        one_of: Vec::new(),
        slices: 7,
        edge: Edge::Clamp,
        equalisation: Equalisation::Masked,
        threshold: 0.5,
        thresholds: BTreeMap::new(),
        calibration: None,
        trained: false,
        trained_on: format!("nothing: initial weights of seed {seed}"),
        domain: "none; for trying out workflows only".to_owned(),
        licence: "MIT OR Apache-2.0".to_owned(),
        warning: String::new(),
        other: BTreeMap::new(),
    }
}

/// Writes a model file with the initial weights of `seed`, the same bytes each time.
///
/// The file appears whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_initial(path: &Path, card: &Card, seed: u64) -> Result<(), std::io::Error> {
    let entry = |tensor: network::Tensor| {
        let numbers = initial::weights(&tensor, seed);
        Entry { name: tensor.name, shape: tensor.shape, numbers }
    };
    let tensors: Vec<Entry> =
        network::tensors(card.width, card.stack_channels()).into_iter().map(entry).collect();
    file::write_whole(path, &file::encode(&card.metadata(), &tensors, Stored::F32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initial_file(card: &Card) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_initial(&path, card, 1).unwrap();
        (folder, path)
    }

    #[test]
    fn a_model_file_is_the_same_to_the_byte_each_time() {
        let card = untrained(0.0625, 1);
        let ((_a, first), (_b, second)) = (initial_file(&card), initial_file(&card));
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(second).unwrap());
        assert_eq!(Model::read_header(&first).unwrap().card, card);
    }

    #[test]
    fn a_model_file_holds_the_initial_weights() {
        let (_folder, path) = initial_file(&untrained(0.25, 1));
        let bytes = std::fs::read(path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for tensor in network::tensors(0.25, 28) {
            let bytes: Vec<u8> = initial::weights(&tensor, 1).iter().flat_map(|w| w.to_le_bytes()).collect();
            assert_eq!(file.tensor(&tensor.name).unwrap().data(), bytes, "{}", tensor.name);
        }
        assert_eq!(file.tensor("conv1.conv.weight").unwrap().shape(), [16, 28, 7, 7]);
    }

    #[test]
    fn a_file_cut_short_is_refused_by_its_header() {
        let (_folder, path) = initial_file(&untrained(0.0625, 1));
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 7, 100, bytes.len() - 4] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = Model::read_header(&path).unwrap_err();
            assert!(matches!(error, ModelError::Format { .. }), "{length} bytes: {error}");
        }
        std::fs::write(&path, [0xFF; 64]).unwrap();
        assert!(matches!(Model::read_header(&path), Err(ModelError::Format { .. })));
    }

    #[test]
    fn a_card_of_another_width_names_the_first_tensor_that_does_not_fit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_initial(&path, &untrained(0.25, 1), 1).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes[8..20_000]).into_owned();
        // The same number of bytes, so that the rest of the file stays where it is.
        let start = 8 + text.find(r#""width":"0.25""#).unwrap();
        let mut wrong = bytes.clone();
        wrong[start..start + 14].copy_from_slice(br#""width":"0.50""#);
        std::fs::write(&path, wrong).unwrap();
        let error = Model::read_header(&path).unwrap_err().to_string();
        assert!(error.contains("tensor `conv1.conv.weight` as F32 [16, 28, 7, 7]"), "{error}");
    }
}
