//! What a value, a file or a text holds, as one number: BLAKE3, 256 bits.
//!
//! Source: O'Connor, Aumasson, Neves, Wilcox-O'Hearn, "BLAKE3: one function, fast everywhere", 2020.

use sdk::{AnyVolume, Content, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

/// BLAKE3 of some content. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no digest: 64 hexadecimal digits are expected")]
pub struct NoDigest {
    /// The text.
    pub text: String,
}

/// Hexadecimal digits of [`Digest::short`]: 48 bits, enough for people to tell contents apart.
const SHORT_DIGITS: usize = 12;

impl Digest {
    /// Of plain bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// Of JSON, whatever the order of its keys.
    pub fn of_json(json: &Json) -> Self {
        Self::of_bytes(canonical(json).as_bytes())
    }

    /// Of all that `reader` gives.
    ///
    /// # Errors
    /// When reading fails.
    pub fn of_reader(reader: impl Read) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(reader)?;
        Ok(Self(hasher.finalize().into()))
    }

    /// Of a value: its kind, its header (grid, columns, text …) with all facts, and its numbers, bit for bit.
    ///
    /// A file counts by its name and content, not by its folder: two copies of a file are one value.
    pub fn of_value(value: &Value) -> Self {
        Self::of_parts(value.kind().name(), &header(value), payload(value))
    }

    /// Of an input that is read from a file: its kind, the file's name (which travels with the value as a fact) and content.
    pub fn of_input(kind: sdk::Kind, path: &Path, content: Self) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::of_json(&serde_json::json!(["input", kind.name(), name, content]))
    }

    /// Of what a value consists of: the same as [`Digest::of_value`].
    pub(super) fn of_parts(kind: &str, header: &str, payload: Option<(u8, &[u8])>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for text in [kind, header] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        if let Some((element, bytes)) = payload {
            hasher.update(&[element]);
            hasher.update(bytes);
        }
        Self(hasher.finalize().into())
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Of bytes that are a digest already.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its first 12 digits, for people.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(SHORT_DIGITS);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| NoDigest { text: text.to_owned() })?;
        Ok(Self(hash.into()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// JSON as text with the keys of each object in order: one text for one meaning.
pub(super) fn canonical(json: &Json) -> String {
    fn sorted(json: &Json) -> Json {
        match json {
            Json::Array(list) => list.iter().map(sorted).collect(),
            Json::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
            }
            plain => plain.clone(),
        }
    }
    sorted(json).to_string()
}

/// All of a value but its numbers, as canonical JSON.
pub(super) fn header(value: &Value) -> String {
    let crossing = match &value.content {
        Content::File(path) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let content = std::fs::File::open(path).and_then(Digest::of_reader);
            let text = content.map_or_else(|error| error.to_string(), |digest| digest.to_string());
            sdk::border::to_abi(&Value::from(format!("{name} {text}")).facts(&value.facts))
        }
        _ => sdk::border::to_abi(value),
    };
    let crossing = crossing.expect("only a path may be no text, and paths were taken out");
    let json = serde_json::from_str::<Json>(crossing.header.as_str());
    canonical(&json.expect("the SDK writes headers as JSON"))
}

/// The numbers of a value, and their element type as numbered at the border.
pub(super) fn payload(value: &Value) -> Option<(u8, &[u8])> {
    fn bytes<T: sdk::buffer::Element + bytemuck::Pod>(numbers: &[T]) -> (u8, &[u8]) {
        (T::CODE, bytemuck::cast_slice(numbers))
    }
    Some(match &value.content {
        Content::Volume(AnyVolume::Image(volume)) => bytes(volume.voxels()),
        Content::Volume(AnyVolume::Mask(volume)) => bytes(volume.voxels()),
        Content::Volume(AnyVolume::Labels(volume)) => bytes(volume.voxels()),
        Content::Volume(AnyVolume::Probability(volume)) => bytes(volume.voxels()),
        Content::Document(document) => bytes(&document.bytes),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::{Document, Grid, Image, Probability, Table};

    fn image(voxels: [f32; 2]) -> Value {
        Image::new(Grid::axis_aligned([2, 1, 1], [1.0; 3]), voxels.to_vec()).unwrap().into()
    }

    #[test]
    fn whatever_differs_in_a_value_differs_in_its_digest() {
        let voxels = [0.0, 1.0];
        let shifted = Grid::axis_aligned([2, 1, 1], [1.0, 1.0, 1.000_000_000_000_000_2]);
        let values = [
            image(voxels),
            image([-0.0, 1.0]),
            image([0.0, f32::from_bits(1.0f32.to_bits() + 1)]),
            Image::new(shifted, voxels.to_vec()).unwrap().into(),
            Probability::new(Grid::axis_aligned([2, 1, 1], [1.0; 3]), voxels.to_vec()).unwrap().into(),
            image(voxels).fact("threshold", 0.5),
            image(voxels).fact("threshold", 0.25),
            Value::from("0 1"),
            Value::from(1.0),
            Value::from(f64::NAN),
            Value::from(Table::default()),
            Value::from(Document::new("text/plain", "0 1")),
            Value::from(Document::new("text/html", "0 1")),
        ];
        let digests: std::collections::BTreeSet<Digest> = values.iter().map(Digest::of_value).collect();
        assert_eq!(digests.len(), values.len());
        assert_eq!(Digest::of_value(&values[0]), Digest::of_value(&image(voxels)));
    }

    #[test]
    fn a_file_counts_by_name_and_content_and_not_by_its_folder() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let file = |folder: usize, text: &str| {
            let path = folders[folder].path().join("notes.txt");
            std::fs::write(&path, text).unwrap();
            Digest::of_value(&Value::from(path))
        };
        let first = file(0, "one");
        assert_eq!(first, file(1, "one"));
        assert_ne!(first, file(1, "two"));
    }

    #[test]
    fn a_digest_survives_text_and_other_texts_are_none() {
        let digest = Digest::of_bytes(b"abc");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.short(), "6437b3ac3846");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!("6437b3ac3846".parse::<Digest>().unwrap_err().to_string().contains("64 hexadecimal"));
    }

    #[test]
    fn the_order_of_keys_means_nothing() {
        let json = |text| Digest::of_json(&serde_json::from_str(text).unwrap());
        assert_eq!(json(r#"{"a":1,"b":{"c":2,"d":3}}"#), json(r#"{"b":{"d":3,"c":2},"a":1}"#));
    }
}
