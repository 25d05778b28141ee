//! A model's card: what its weights need, what they were trained on, and what must be said wherever they are used.
//!
//! The card is the `__metadata__` of a safetensors file: text for each key. Numbers, truth values and lists are written as
//! JSON. Keys that are not known here are kept and shown, never acted upon.

use crate::calibration::{self, Calibration};
use crate::model::quoted;
use crate::thresholds::{self, Thresholds};
use sdk::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `format` must say.
pub const FORMAT: &str = "neuroloom-segment-1";
/// The one architecture there is.
pub const ARCHITECTURE: &str = "googlenet-2.5d";
/// Widths that make sense: from four channels nearly everywhere to four times the paper's.
const WIDTHS: std::ops::RangeInclusive<f64> = 0.0625..=4.0;
/// Slices that a stack may have.
const MAX_SLICES: usize = 15;
/// Sequences that a model may read.
const MAX_CHANNELS: usize = 16;

/// Why a card cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// The file has no metadata at all.
    #[error(
        "it has no card, so nothing is known of what it needs\n\
         hint: write the keys of the plugin's README into the file's `__metadata__`"
    )]
    Missing,
    /// A key is not there.
    #[error("its card lacks `{key}`")]
    NoKey {
        /// The key.
        key: &'static str,
    },
    /// A key holds something else than it should.
    #[error("its card says `{key} = {found}` where {expected} is expected")]
    Bad {
        /// The key.
        key: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
}

/// A sequence that a model reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Name of the member at `channels`.
    pub name: String,
    /// Whether zeros may stand in for it.
    #[serde(default)]
    pub optional: bool,
}

/// What lies beyond the first and the last slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "sdk::schemars")]
pub enum Edge {
    /// The first or last slice again.
    Clamp,
    /// Zeros.
    Zero,
}

/// How the intensities that a model learnt from were equalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "sdk::schemars")]
pub enum Equalisation {
    /// Per slice, over brain voxels; 0 elsewhere.
    Masked,
    /// Per slice, over all voxels after masking.
    Full,
    /// Not at all.
    None,
}

/// What a model is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Card {
    /// Its name, for people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Factor on the channels of every layer; 1 is the paper's.
    pub width: f64,
    /// What it reads, in the order of its stack.
    pub channels: Vec<Channel>,
    /// Of these at least one must be there, though each may be optional.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
    /// Slices of each sequence in a stack: odd.
    pub slices: usize,
    /// What lies beyond the first and the last slice.
    pub edge: Edge,
    /// How its intensities are equalised.
    pub equalisation: Equalisation,
    /// Score from which on a voxel counts as lesion, 0..=1.
    pub threshold: f64,
    /// The same for cases that lack sequences.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub thresholds: Thresholds,
    /// The line that makes probabilities of its scores; without one they are the logistic function of its logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Whether its weights come from training.
    pub trained: bool,
    /// What it was trained on.
    pub trained_on: String,
    /// For which images it is meant.
    pub domain: String,
    /// Terms of the weights.
    pub licence: String,
    /// What must be said wherever the model is used; empty for nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub warning: String,
    /// All other keys.
    #[serde(flatten)]
    pub other: BTreeMap<String, String>,
}

impl Card {
    /// Reads a card from a file's metadata.
    ///
    /// # Errors
    /// [`CardError`] naming the key.
    pub fn parse(metadata: &BTreeMap<String, String>) -> Result<Self, CardError> {
        if metadata.is_empty() {
            return Err(CardError::Missing);
        }
        let mut keys = Keys(metadata.clone());
        keys.fixed("format", FORMAT)?;
        keys.fixed("architecture", ARCHITECTURE)?;
        let channels: Vec<Channel> =
            keys.json("channels", "a list of up to 16 `{\"name\": …}`, each once", |c: &Vec<_>| usable(c))?;
        let known = |names: &Vec<String>| names.iter().all(|name| channels.iter().any(|c| c.name == *name));
        let one_of: Vec<String> = keys.json_or_empty("one_of", "a list of names among `channels`", known)?;
        let needs = Needs { channels: &channels, one_of: &one_of };
        let card = Self {
            thresholds: keys.json_or_empty("thresholds", thresholds::EXPECTED, |table| {
                thresholds::usable(table, &needs)
            })?,
            one_of,
            name: keys.text("name")?,
            version: keys.text("version")?,
            width: keys.json("width", "a factor from 0.0625 to 4", |width| WIDTHS.contains(width))?,
            channels,
            slices: keys
                .json("slices", "an odd number up to 15", |n: &usize| n % 2 == 1 && *n <= MAX_SLICES)?,
            edge: keys.word("edge", "`clamp` or `zero`")?,
            equalisation: keys.word("equalisation", "`masked`, `full` or `none`")?,
            threshold: keys.json("threshold", "a score in 0..=1", |t| (0.0..=1.0).contains(t))?,
            calibration: keys.json_or_empty(
                "calibration",
                calibration::EXPECTED,
                |line: &Option<Calibration>| line.is_some_and(|line| line.is_usable()),
            )?,
            trained: keys.json("trained", "`true` or `false`", |_| true)?,
            trained_on: keys.text("trained_on")?,
            domain: keys.text("domain")?,
            licence: keys.text("licence")?,
            warning: keys.text("warning").unwrap_or_default(),
            other: keys.0,
        };
        Ok(card)
    }

    /// The card as a file's metadata: what [`Card::parse`] reads.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = self.other.clone();
        metadata.insert("format".to_owned(), FORMAT.to_owned());
        metadata.insert("architecture".to_owned(), ARCHITECTURE.to_owned());
        let card = serde_json::to_value(self).expect("a card is plain text and numbers");
        for (key, value) in card.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            metadata.insert(key.clone(), text);
        }
        metadata
    }

    /// A logit of the network as it counts: on the line of `calibration`.
    pub fn logit(&self, logit: f32) -> f32 {
        self.calibration.map_or(logit, |line| line.logit(logit))
    }

    /// Channels of a stack: slices times sequences.
    pub const fn stack_channels(&self) -> usize {
        self.slices * self.channels.len()
    }

    /// What it reads.
    pub fn needs(&self) -> Needs<'_> {
        Needs { channels: &self.channels, one_of: &self.one_of }
    }

    /// As [`Needs::lacks`].
    pub fn lacks(&self, present: &[&str]) -> Option<String> {
        self.needs().lacks(present)
    }

    /// As [`Needs::zeroed`].
    pub fn zeroed<'a>(&'a self, present: &[&str]) -> Vec<&'a str> {
        self.needs().zeroed(present)
    }
}

/// Which sequences a model reads, of whatever format it is.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// In the order of the network.
    pub channels: &'a [Channel],
    /// Of these at least one must be there; empty for no such rule.
    pub one_of: &'a [String],
}

impl<'a> Needs<'a> {
    /// What must be there and is not, in words; `None` if the model works.
    pub fn lacks(&self, present: &[&str]) -> Option<String> {
        let absent = self.absent(present).filter(|channel| !channel.optional);
        let missing: Vec<&str> = absent.map(|channel| channel.name.as_str()).collect();
        if !missing.is_empty() {
            return Some(quoted(&missing));
        }
        let one_of: Vec<&str> = self.one_of.iter().map(String::as_str).collect();
        let none = !one_of.is_empty() && one_of.iter().all(|name| !present.contains(name));
        none.then(|| format!("one of {}", quoted(&one_of)))
    }

    /// Channels for which zeros stand in.
    pub fn zeroed(&self, present: &[&str]) -> Vec<&'a str> {
        self.absent(present).filter(|channel| channel.optional).map(|channel| channel.name.as_str()).collect()
    }

    /// Every pattern of presence that the model accepts, each in the order of the network.
    pub fn patterns(&self) -> Vec<Vec<&'a str>> {
        let name = |n: usize| self.channels[n].name.as_str();
        let of = |bits: usize| (0..self.channels.len()).filter(|n| bits >> n & 1 == 1).map(name).collect();
        let all = (1_usize..1 << self.channels.len()).rev().map(of);
        all.filter(|present: &Vec<&str>| self.lacks(present).is_none()).collect()
    }

    fn absent(&self, present: &[&str]) -> impl Iterator<Item = &'a Channel> {
        let channels: &'a [Channel] = self.channels;
        channels.iter().filter(move |channel| !present.contains(&channel.name.as_str()))
    }
}

/// Whether a list of channels makes sense: 1 to 16, each once.
pub fn usable(channels: &[Channel]) -> bool {
    let distinct: std::collections::BTreeSet<&str> = channels.iter().map(|c| c.name.as_str()).collect();
    (1..=MAX_CHANNELS).contains(&channels.len()) && distinct.len() == channels.len()
}

/// The keys that were not read yet.
struct Keys(BTreeMap<String, String>);

impl Keys {
    fn text(&mut self, key: &'static str) -> Result<String, CardError> {
        self.0.remove(key).ok_or(CardError::NoKey { key })
    }

    fn fixed(&mut self, key: &'static str, expected: &str) -> Result<(), CardError> {
        let found = self.text(key)?;
        if found == expected {
            return Ok(());
        }
        Err(CardError::Bad { key, found, expected: format!("`{expected}`") })
    }

    fn word<T: serde::de::DeserializeOwned>(
        &mut self,
        key: &'static str,
        expected: &str,
    ) -> Result<T, CardError> {
        let found = self.text(key)?;
        serde_json::from_value(found.clone().into()).map_err(|_| CardError::Bad {
            key,
            found,
            expected: expected.to_owned(),
        })
    }

    /// As `json`, for a list or table that may be left out.
    fn json_or_empty<T: serde::de::DeserializeOwned + Default>(
        &mut self,
        key: &'static str,
        expected: &str,
        fits: impl Fn(&T) -> bool,
    ) -> Result<T, CardError> {
        if self.0.contains_key(key) { self.json(key, expected, fits) } else { Ok(T::default()) }
    }

    fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        key: &'static str,
        expected: &str,
        fits: impl Fn(&T) -> bool,
    ) -> Result<T, CardError> {
        let found = self.text(key)?;
        match serde_json::from_str(&found) {
            Ok(value) if fits(&value) => Ok(value),
            _ => Err(CardError::Bad { key, found, expected: expected.to_owned() }),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::untrained;

    #[test]
    fn a_card_survives_writing_and_reading() {
        let mut card = untrained(0.25, 1);
        card.other.insert("made_by".to_owned(), "a test".to_owned());
        assert_eq!(Card::parse(&card.metadata()).unwrap(), card);
    }

    #[test]
    fn each_wrong_key_is_named() {
        let wrong = [
            ("format", "neuroloom-segment-9"),
            ("architecture", "unet"),
            ("width", "NaN"),
            ("width", "0"),
            ("channels", "[]"),
            ("channels", r#"[{"name":"flair"},{"name":"flair"}]"#),
            ("slices", "6"),
            ("edge", "mirror"),
            ("equalisation", "clahe"),
            ("threshold", "1.5"),
            ("trained", "perhaps"),
        ];
        for (key, value) in wrong {
            let mut metadata = untrained(0.25, 1).metadata();
            metadata.insert(key.to_owned(), value.to_owned());
            let text = Card::parse(&metadata).unwrap_err().to_string();
            assert!(text.contains(key) && text.contains(value), "{text}");
            metadata.remove(key);
            assert_eq!(Card::parse(&metadata).unwrap_err().to_string(), format!("its card lacks `{key}`"));
        }
        assert!(matches!(Card::parse(&BTreeMap::new()), Err(CardError::Missing)));
    }

    #[test]
    fn thresholds_of_patterns_survive_and_those_of_others_are_refused() {
        let mut card = untrained(0.25, 1);
        card.thresholds = [("flair".to_owned(), 0.125), ("t1_post,flair".to_owned(), 0.0625)].into();
        assert_eq!(Card::parse(&card.metadata()).unwrap(), card);
        card.thresholds.insert("t1_pre".to_owned(), 0.5);
        let text = Card::parse(&card.metadata()).unwrap_err().to_string();
        assert!(
            text.contains("`thresholds = {") && text.contains("scores in 0..=1 by what may lack"),
            "{text}"
        );
    }

    #[test]
    fn a_calibration_survives_and_a_line_that_does_not_rise_is_refused() {
        let mut card = untrained(0.25, 1);
        card.calibration = Some(Calibration { slope: 0.5, offset: -2.0 });
        assert_eq!(Card::parse(&card.metadata()).unwrap(), card);
        assert_eq!((card.logit(2.0), untrained(0.25, 1).logit(2.0)), (-1.0, 2.0));
        card.calibration = Some(Calibration { slope: 0.0, offset: 0.0 });
        let text = Card::parse(&card.metadata()).unwrap_err().to_string();
        assert!(text.contains("`calibration = {") && text.contains("the slope above 0"), "{text}");
    }

    #[test]
    fn optional_channels_are_zeroed_and_others_missing() {
        let card = untrained(0.25, 1);
        assert_eq!(card.lacks(&["bravo"]).unwrap(), "`t1_pre`");
        assert_eq!(card.lacks(&["bravo", "t1_pre"]), None);
        assert_eq!(card.zeroed(&["t1_pre", "bravo"]), ["t1_post", "flair"]);
    }

    #[test]
    fn a_model_that_needs_one_of_two_sequences_says_so() {
        let mut card = untrained(0.25, 1);
        card.channels.iter_mut().for_each(|channel| channel.optional = true);
        card.one_of = vec!["t1_post".to_owned(), "bravo".to_owned()];
        card.warning = "for a test".to_owned();
        assert_eq!(Card::parse(&card.metadata()).unwrap(), card);
        assert_eq!(card.lacks(&["flair", "t1_pre"]).unwrap(), "one of `t1_post`, `bravo`");
        assert_eq!(card.lacks(&["t1_post"]), None);
        card.one_of.push("t2".to_owned());
        let text = Card::parse(&card.metadata()).unwrap_err().to_string();
        assert!(text.contains("`one_of = ") && text.contains("a list of names among `channels`"), "{text}");
    }
}
