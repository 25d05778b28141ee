//! What flows between stages: a content of one of ten kinds, and the facts that travel with it.

use crate::buffer::Buf;
use crate::geometry::Affine;
use crate::volume::{AnyVolume, Image, Labels, Mask, Probability};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a port can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Intensities, f32.
    Image,
    /// 0 or 1, u8.
    Mask,
    /// Integer components or classes, u32.
    Labels,
    /// Scores in 0..=1, f32.
    Probability,
    /// A map from one frame's world to another's.
    Transform,
    /// Named columns with units.
    Table,
    /// Bytes and their media type.
    Document,
    /// A path to a file.
    File,
    /// A piece of text.
    Text,
    /// One number.
    Number,
}

impl Kind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Image,
        Self::Mask,
        Self::Labels,
        Self::Probability,
        Self::Transform,
        Self::Table,
        Self::Document,
        Self::File,
        Self::Text,
        Self::Number,
    ];

    /// As written in workflows and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Mask => "mask",
            Self::Labels => "labels",
            Self::Probability => "probability",
            Self::Transform => "transform",
            Self::Table => "table",
            Self::Document => "document",
            Self::File => "file",
            Self::Text => "text",
            Self::Number => "number",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it is one of the four volumes.
    pub const fn is_volume(self) -> bool {
        matches!(self, Self::Image | Self::Mask | Self::Labels | Self::Probability)
    }

    /// Whether a value of this kind may go where `port` is expected: the same, or a probability or mask as an image.
    pub fn may_feed(self, port: Self) -> bool {
        self == port || (port == Self::Image && matches!(self, Self::Probability | Self::Mask))
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Small named entries that travel with a value: model digest, threshold, units, source files.
///
/// Names in use: `model` (object: `name`, `digest`, `card`), `threshold` (number, 0..=1), `calibrated` (bool),
/// `sources` (list of paths or labels), `warnings` (list of texts that a report must show), `quality` (object).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Facts(BTreeMap<String, serde_json::Value>);

impl Facts {
    /// No facts.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The fact of that name.
    pub fn get(&self, name: &str) -> Option<&serde_json::Value> {
        self.0.get(name)
    }

    /// The fact of that name, if it is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(serde_json::Value::as_f64)
    }

    /// The fact of that name, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(serde_json::Value::as_str)
    }

    /// Sets a fact; an old one of that name goes.
    pub fn set(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Adds a warning that reports must show.
    pub fn warn(&mut self, warning: impl Into<String>) {
        let list =
            self.0.entry("warnings".to_owned()).or_insert_with(|| serde_json::Value::Array(Vec::new()));
        if let serde_json::Value::Array(list) = list {
            list.push(warning.into().into());
        }
    }

    /// The warnings.
    pub fn warnings(&self) -> Vec<&str> {
        let list = self.get("warnings").and_then(serde_json::Value::as_array);
        list.map(|list| list.iter().filter_map(serde_json::Value::as_str).collect()).unwrap_or_default()
    }

    /// Takes over all facts of `other`; where both have one, `other` wins.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    /// All facts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &serde_json::Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A map from points of one frame's world to points of another's, both RAS+ mm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum Transform {
    /// A 4 x 4 matrix.
    Affine {
        /// From the first frame to the second.
        matrix: Affine,
    },
}

impl Transform {
    /// A map by matrix.
    pub const fn affine(matrix: Affine) -> Self {
        Self::Affine { matrix }
    }

    /// The matrix; `None` for a map that has none.
    pub const fn as_affine(&self) -> Option<&Affine> {
        match self {
            Self::Affine { matrix } => Some(matrix),
        }
    }
}

/// One entry of a table. Numbers that do not exist are `Absent`, never NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// No entry: `n/a`.
    Absent,
    /// Yes or no.
    Bool(bool),
    /// A finite number.
    Number(f64),
    /// Text.
    Text(String),
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        if value.is_finite() { Self::Number(value) } else { Self::Absent }
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Self::Number(value as f64)
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

impl Cell {
    /// The number, if it is one.
    pub const fn number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            _ => None,
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("n/a"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// A column's name, unit and meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name, in lower case with underscores and the unit at its end: `volume_mm3`.
    pub name: String,
    /// Unit as shown to people (`mm`, `mm^3`, `ml`); empty for counts and words.
    pub unit: String,
    /// What it tells.
    pub description: String,
}

impl Column {
    /// A column.
    pub fn new(name: &str, unit: &str, description: &str) -> Self {
        Self { name: name.to_owned(), unit: unit.to_owned(), description: description.to_owned() }
    }
}

/// Named columns and rows of cells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The columns, left to right.
    pub columns: Vec<Column>,
    /// The rows; each has a cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Place of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The cell in a row, by column name.
    pub fn cell(&self, row: usize, name: &str) -> Option<&Cell> {
        self.rows.get(row)?.get(self.column(name)?)
    }
}

/// Bytes and their media type: `text/html`, `image/png`, `application/json`.
#[derive(Clone, Debug)]
pub struct Document {
    /// What the bytes are.
    pub media_type: String,
    /// The bytes.
    pub bytes: Buf<u8>,
}

impl Document {
    /// A document.
    pub fn new(media_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { media_type: media_type.to_owned(), bytes: Buf::from(bytes.into()) }
    }
}

/// What a value holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Content {
    /// Image, mask, labels or probability.
    Volume(AnyVolume),
    /// A map between frames.
    Transform(Transform),
    /// Columns and rows.
    Table(Table),
    /// Bytes.
    Document(Document),
    /// A path.
    File(PathBuf),
    /// Text.
    Text(String),
    /// A number.
    Number(f64),
}

/// A content and its facts.
#[derive(Clone, Debug)]
pub struct Value {
    /// What it holds.
    pub content: Content,
    /// What is known about it.
    pub facts: Facts,
}

impl Value {
    /// Which of the ten kinds.
    pub fn kind(&self) -> Kind {
        match &self.content {
            Content::Volume(volume) => volume.kind(),
            Content::Transform(_) => Kind::Transform,
            Content::Table(_) => Kind::Table,
            Content::Document(_) => Kind::Document,
            Content::File(_) => Kind::File,
            Content::Text(_) => Kind::Text,
            Content::Number(_) => Kind::Number,
        }
    }

    /// The same with one more fact.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.facts.set(name, value);
        self
    }

    /// The same with these facts added.
    #[must_use]
    pub fn facts(mut self, facts: &Facts) -> Self {
        self.facts.extend(facts);
        self
    }

    /// The volume, if it is one.
    pub const fn volume(&self) -> Option<&AnyVolume> {
        match &self.content {
            Content::Volume(volume) => Some(volume),
            _ => None,
        }
    }
}

macro_rules! value_from {
    ($($type:ty => $make:expr;)*) => {$(
        impl From<$type> for Value {
            fn from(content: $type) -> Self {
                Self { content: $make(content), facts: Facts::new() }
            }
        }
    )*};
}
value_from! {
    AnyVolume => Content::Volume;
    Image => |v| Content::Volume(AnyVolume::Image(v));
    Mask => |v| Content::Volume(AnyVolume::Mask(v));
    Labels => |v| Content::Volume(AnyVolume::Labels(v));
    Probability => |v| Content::Volume(AnyVolume::Probability(v));
    Transform => Content::Transform;
    Affine => |matrix| Content::Transform(Transform::affine(matrix));
    Table => Content::Table;
    Document => Content::Document;
    PathBuf => Content::File;
    String => Content::Text;
    &str => |text: &str| Content::Text(text.to_owned());
    f64 => Content::Number;
}
