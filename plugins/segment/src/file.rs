//! Writes safetensors files: the same bytes for the same content, in the order that is given.

use half::f16;
use sdk::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// How numbers are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "sdk::schemars")]
pub enum Stored {
    /// In 4 bytes, as they are.
    #[default]
    F32,
    /// In 2 bytes, rounded to the nearest of 11 significant bits.
    F16,
}

impl Stored {
    const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    fn encode(self, number: f32, out: &mut Vec<u8>) {
        match self {
            Self::F32 => out.extend(number.to_le_bytes()),
            Self::F16 => out.extend(f16::from_f32(number).to_le_bytes()),
        }
    }
}

/// A tensor to be written.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its lengths, slowest axis first.
    pub shape: Vec<usize>,
    /// Its numbers, in C order.
    pub numbers: Vec<f32>,
}

/// A whole safetensors file.
pub fn encode(metadata: &BTreeMap<String, String>, tensors: &[Entry], stored: Stored) -> Vec<u8> {
    let mut entries: BTreeMap<&str, serde_json::Value> = BTreeMap::new();
    entries.insert("__metadata__", serde_json::json!(metadata));
    let kind = match stored {
        Stored::F32 => "F32",
        Stored::F16 => "F16",
    };
    let mut end = 0;
    for tensor in tensors {
        let start = end;
        end += stored.bytes() * tensor.numbers.len();
        let entry = serde_json::json!({ "dtype": kind, "shape": tensor.shape, "data_offsets": [start, end] });
        entries.insert(&tensor.name, entry);
    }
    let mut header = serde_json::json!(entries).to_string().into_bytes();
    // Spaces up to a multiple of 8, so that the numbers are aligned when the file is mapped.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = Vec::with_capacity(8 + header.len() + end);
    file.extend((header.len() as u64).to_le_bytes());
    file.extend(header);
    for number in tensors.iter().flat_map(|tensor| &tensor.numbers) {
        stored.encode(*number, &mut file);
    }
    file
}

/// Writes a file that appears whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), std::io::Error> {
    let partial = path.with_extension("partial");
    let mut file = std::fs::File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::{Dtype, SafeTensors};

    #[test]
    fn what_is_written_is_read_back_by_the_format_s_own_crate() {
        let entry = |name: &str, numbers: Vec<f32>| Entry {
            name: name.to_owned(),
            shape: vec![numbers.len(), 1],
            numbers,
        };
        let tensors = [entry("b", vec![1.0, -0.5]), entry("a", vec![3.25])];
        let metadata = BTreeMap::from([("name".to_owned(), "a test".to_owned())]);
        for (stored, kind, first) in
            [(Stored::F32, Dtype::F32, vec![0, 0, 128, 63]), (Stored::F16, Dtype::F16, vec![0, 60])]
        {
            let bytes = encode(&metadata, &tensors, stored);
            let file = SafeTensors::deserialize(&bytes).unwrap();
            let tensor = file.tensor("b").unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (kind, &[2, 1][..]));
            assert_eq!(tensor.data()[..first.len()], first);
            assert_eq!(file.tensor("a").unwrap().shape(), [1, 1]);
        }
    }
}
