//! The card of a TorchScript network: a TOML file beside it that says what the network cannot say itself.

use crate::card::{Channel, Needs, usable};
use crate::thresholds::{self, Thresholds};
use serde::{Deserialize, Serialize};

/// What `format` must say.
pub const FORMAT: &str = "neuroloom-script-1";
/// Longest side of a patch, in voxels.
const MAX_PATCH: usize = 1024;
/// Slices that a stack of a 2.5D network may have.
const MAX_SLICES: usize = 15;

/// Why a card cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptCardError {
    /// It is no TOML, or lacks a key, or has an unknown one.
    #[error("{0}")]
    Toml(String),
    /// A key holds something else than it should.
    #[error("`{key}` is {found} where {expected} is expected")]
    Bad {
        /// The key.
        key: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
}

/// What a network reads at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A slice of each channel: `[batch, channel, j, i]`.
    #[serde(rename = "2d")]
    Slice,
    /// Neighbouring slices of each channel, channel by channel, the lowest first: `[batch, slices * channel, j, i]`.
    #[serde(rename = "2.5d")]
    Stack,
    /// A block: `[batch, channel, k, j, i]`.
    #[serde(rename = "3d")]
    Block,
}

/// In which order a tensor's spatial axes stand, the slowest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axes {
    /// As voxels lie in memory: nnU-Net.
    #[default]
    Kji,
    /// As a NIfTI's axes are counted: MONAI.
    Ijk,
}

/// What intensities become before the network reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalisation {
    /// They stay as the workflow gives them: equalised ones, say.
    Given,
    /// `(v - mean) / standard deviation`.
    Zscore,
    /// From 0 at the lower of `percentiles` to 1 at the upper, and held within.
    Percentile,
}

/// Over which voxels a normalisation is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// All.
    #[default]
    Image,
    /// Those of the mask; others become 0.
    Mask,
}

/// What is cut away first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// Nothing.
    #[default]
    None,
    /// All but the box around the mask.
    Mask,
}

/// What the network's numbers become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Each class by itself; a voxel's score is the largest of the lesion classes'.
    Sigmoid,
    /// All classes together; a voxel's score is the sum of the lesion classes'.
    Softmax,
    /// They are scores already, 0..=1; as with softmax.
    None,
}

/// An axis of the grid on which the network works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// The first.
    I,
    /// The second.
    J,
    /// The third.
    K,
}

fn half() -> f64 {
    0.5
}

fn yes() -> bool {
    true
}

fn nnunet_percentiles() -> [f64; 2] {
    [0.5, 99.5]
}

/// What a TorchScript network is and needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptCard {
    /// [`FORMAT`].
    pub format: String,
    /// Its name, for people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Files of an ensemble, relative to the card; empty for the one file beside the card.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// What it reads at once.
    pub input: Input,
    /// Slices of each channel that a 2.5D network reads; 1 for others.
    #[serde(default = "one")]
    pub slices: usize,
    /// Order of the spatial axes.
    #[serde(default)]
    pub axes: Axes,
    /// What it reads, in order.
    pub channels: Vec<Channel>,
    /// Of these at least one must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
    /// Three letters, where `i`, `j`, `k` run to, as in `RAS`; none for as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orientation: Option<String>,
    /// Spacing along `i`, `j`, `k`; none for as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spacing_mm: Option<[f64; 3]>,
    /// What is cut away first.
    #[serde(default)]
    pub crop: Crop,
    /// What intensities become.
    pub normalisation: Normalisation,
    /// For `percentile`: 0..=100, ascending.
    #[serde(default = "nnunet_percentiles")]
    pub percentiles: [f64; 2],
    /// Over which voxels.
    #[serde(default)]
    pub normalise_over: Over,
    /// Voxels along `i`, `j`, `k` that it reads at once; the third is 1 unless it reads blocks.
    pub patch: [usize; 3],
    /// Share of a patch that its neighbour sees, too: 0..1.
    #[serde(default = "half")]
    pub overlap: f64,
    /// Axes along which it may be shown a mirrored case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirror: Vec<Axis>,
    /// What its numbers become.
    pub activation: Activation,
    /// Names of what it makes, in order.
    pub classes: Vec<String>,
    /// Which of them are lesion.
    pub lesion: Vec<String>,
    /// Score from which on a voxel counts as lesion.
    #[serde(default = "half")]
    pub threshold: f64,
    /// The same for cases that lack sequences.
    #[serde(default, skip_serializing_if = "Thresholds::is_empty")]
    pub thresholds: Thresholds,
    /// Whether its weights come from training.
    #[serde(default = "yes")]
    pub trained: bool,
    /// What it was trained on.
    pub trained_on: String,
    /// For which images it is meant.
    pub domain: String,
    /// Terms of the weights.
    pub licence: String,
    /// What must be said wherever it is used; empty for nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub warning: String,
}

fn one() -> usize {
    1
}

impl ScriptCard {
    /// Reads a card.
    ///
    /// # Errors
    /// [`ScriptCardError`], naming the key.
    pub fn parse(text: &str) -> Result<Self, ScriptCardError> {
        let card: Self = toml::from_str(text)
            .map_err(|error| ScriptCardError::Toml(error.to_string().trim().to_owned()))?;
        card.check()?;
        Ok(card)
    }

    /// What it reads.
    pub fn needs(&self) -> Needs<'_> {
        Needs { channels: &self.channels, one_of: &self.one_of }
    }

    /// Places of the lesion classes among all.
    pub fn lesion_classes(&self) -> Vec<usize> {
        (0..self.classes.len()).filter(|&class| self.lesion.contains(&self.classes[class])).collect()
    }

    fn check(&self) -> Result<(), ScriptCardError> {
        let is = |fits: bool, key, found: String, expected| {
            if fits { Ok(()) } else { Err(ScriptCardError::Bad { key, found, expected }) }
        };
        is(self.format == FORMAT, "format", format!("`{}`", self.format), "`neuroloom-script-1`")?;
        let names: Vec<&str> = self.channels.iter().map(|channel| channel.name.as_str()).collect();
        is(usable(&self.channels), "channels", format!("{names:?}"), "1 to 16 channels, each once")?;
        let known = self.one_of.iter().all(|name| names.contains(&name.as_str()));
        is(known, "one_of", format!("{:?}", self.one_of), "a list of names among `channels`")?;
        let stack = self.input == Input::Stack;
        let slices = if stack { self.slices % 2 == 1 && self.slices <= MAX_SLICES } else { self.slices == 1 };
        is(slices, "slices", self.slices.to_string(), "an odd number up to 15 with `2.5d`, else 1")?;
        let sides = self.patch.iter().all(|side| (1..=MAX_PATCH).contains(side))
            && (self.input == Input::Block || self.patch[2] == 1);
        is(
            sides,
            "patch",
            format!("{:?}", self.patch),
            "voxels along i, j, k up to 1024, along k 1 unless `3d`",
        )?;
        let overlap = (0.0..=0.9).contains(&self.overlap);
        is(overlap, "overlap", self.overlap.to_string(), "a share from 0 to 0.9")?;
        let score = (0.0..=1.0).contains(&self.threshold);
        is(score, "threshold", self.threshold.to_string(), "a score in 0..=1")?;
        let patterns = thresholds::usable(&self.thresholds, &self.needs());
        is(patterns, "thresholds", format!("{:?}", self.thresholds), thresholds::EXPECTED)?;
        let [low, high] = self.percentiles;
        is(
            0.0 <= low && low < high && high <= 100.0,
            "percentiles",
            format!("[{low}, {high}]"),
            "two of 0 to 100, ascending",
        )?;
        let spacing = self.spacing_mm.unwrap_or([1.0; 3]);
        let fine = spacing.iter().all(|mm| (0.05..=20.0).contains(mm));
        is(fine, "spacing_mm", format!("{spacing:?}"), "three lengths from 0.05 to 20 mm")?;
        let letters = self.orientation.as_deref().unwrap_or("RAS");
        is(
            axes_of(letters).is_some(),
            "orientation",
            format!("`{letters}`"),
            "three letters such as `RAS` or `LPS`",
        )?;
        self.check_classes(is)
    }

    fn check_classes(
        &self,
        is: impl Fn(bool, &'static str, String, &'static str) -> Result<(), ScriptCardError>,
    ) -> Result<(), ScriptCardError> {
        let distinct: std::collections::BTreeSet<&String> = self.classes.iter().collect();
        let listed = (1..=64).contains(&self.classes.len()) && distinct.len() == self.classes.len();
        is(listed, "classes", format!("{:?}", self.classes), "1 to 64 names, each once")?;
        let lesion = !self.lesion.is_empty() && self.lesion.iter().all(|name| self.classes.contains(name));
        is(lesion, "lesion", format!("{:?}", self.lesion), "a list of names among `classes`")?;
        let all = self.activation == Activation::Softmax && self.lesion.len() >= self.classes.len();
        is(!all, "lesion", format!("{:?}", self.lesion), "with `softmax` a class that is not lesion")
    }
}

/// For each of three letters the world direction (0 x, 1 y, 2 z) and whether it runs backwards; `None` if they name no grid.
pub fn axes_of(letters: &str) -> Option<[(usize, bool); 3]> {
    let of = |letter| match letter {
        'R' => Some((0, false)),
        'L' => Some((0, true)),
        'A' => Some((1, false)),
        'P' => Some((1, true)),
        'S' => Some((2, false)),
        'I' => Some((2, true)),
        _ => None,
    };
    let axes: Vec<(usize, bool)> = letters.chars().map(of).collect::<Option<_>>()?;
    let axes: [(usize, bool); 3] = axes.try_into().ok()?;
    (0..3).all(|world| axes.iter().any(|axis| axis.0 == world)).then_some(axes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A card of a small 3D network with all that must be there.
    pub(crate) const CARD: &str = r#"
format = "neuroloom-script-1"
name = "a-unet"
version = "1"
input = "3d"
channels = [{ name = "t1_post" }, { name = "flair", optional = true }]
normalisation = "given"
patch = [16, 16, 8]
activation = "softmax"
classes = ["background", "lesion"]
lesion = ["lesion"]
trained_on = "nothing"
domain = "tests"
licence = "MIT"
"#;

    #[test]
    fn a_card_with_the_necessary_keys_has_the_documented_defaults() {
        let card = ScriptCard::parse(CARD).unwrap();
        assert_eq!((card.overlap, card.threshold, card.trained, card.slices), (0.5, 0.5, true, 1));
        assert_eq!((card.axes, card.crop, card.normalise_over), (Axes::Kji, Crop::None, Over::Image));
        assert_eq!(card.lesion_classes(), [1]);
        assert_eq!(card.needs().zeroed(&["t1_post"]), ["flair"]);
        assert_eq!(card.needs().patterns(), [vec!["t1_post", "flair"], vec!["t1_post"]]);
    }

    #[test]
    fn each_wrong_key_is_named_with_what_it_holds() {
        let wrong = [
            ("format = \"neuroloom-script-1\"", "format = \"other\"", "`format` is `other`"),
            ("patch = [16, 16, 8]", "patch = [16, 0, 8]", "`patch` is [16, 0, 8]"),
            ("input = \"3d\"", "input = \"2d\"", "`patch` is [16, 16, 8]"),
            ("input = \"3d\"", "input = \"4d\"", "4d"),
            ("version = \"1\"", "version = \"1\"\noverlap = 0.95", "`overlap` is 0.95"),
            ("version = \"1\"", "version = \"1\"\noverlapp = 0.5", "overlapp"),
            (
                "version = \"1\"",
                "version = \"1\"\nthresholds = { t1_post = 0.5 }",
                "`thresholds` is {\"t1_post\": 0.5}",
            ),
            ("version = \"1\"", "version = \"1\"\norientation = \"RLS\"", "`orientation` is `RLS`"),
            (
                "version = \"1\"",
                "version = \"1\"\nspacing_mm = [1.0, 0.0, 1.0]",
                "`spacing_mm` is [1.0, 0.0, 1.0]",
            ),
            ("version = \"1\"", "version = \"1\"\npercentiles = [99.0, 1.0]", "`percentiles` is [99, 1]"),
            ("version = \"1\"", "version = \"1\"\nslices = 3", "`slices` is 3"),
            ("lesion = [\"lesion\"]", "lesion = [\"tumour\"]", "`lesion` is [\"tumour\"]"),
            ("lesion = [\"lesion\"]", "lesion = [\"lesion\", \"background\"]", "`lesion` is "),
            ("licence = \"MIT\"", "", "missing field `licence`"),
        ];
        for (key, other, expected) in wrong {
            assert!(CARD.contains(key), "{key}");
            let text = ScriptCard::parse(&CARD.replace(key, other)).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn letters_name_axes_each_direction_once() {
        assert_eq!(axes_of("LPS"), Some([(0, true), (1, true), (2, false)]));
        assert_eq!([axes_of("RAR"), axes_of("RA"), axes_of("ras")], [None, None, None]);
    }
}
