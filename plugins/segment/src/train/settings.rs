//! Settings of `train`, and why it cannot train.

use crate::backend::Precision;
use crate::card::{Card, Channel, Edge, Equalisation};
use crate::file::Stored;
use crate::model::quoted;
use crate::network::STRIDE;
use sdk::{FileSetting, JsonSchema};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most voxels along the side of a part of a slice: more than any slice has.
const LARGEST_CROP: usize = 4096;

/// How the threshold is chosen on the development cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "sdk::schemars")]
pub enum Criterion {
    /// The largest mean Dice of a case.
    #[default]
    Dice,
    /// The largest sensitivity + specificity - 1 over all voxels.
    Youden,
    /// The ROC curve's point nearest to its corner.
    Corner,
    /// `threshold` itself.
    Fixed,
}

/// How the step size falls over the steps of all epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "sdk::schemars")]
pub enum Decay {
    /// Not at all.
    #[default]
    None,
    /// To nothing, along half a cosine (Loshchilov and Hutter, ICLR 2017, without restarts).
    Cosine,
}

/// Settings of `train`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// The model's name, for people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// For which images it is meant, for people.
    pub domain: String,
    /// Terms of the weights.
    pub licence: String,
    /// What must be said wherever the model is used, as that it is for demonstration only; empty for nothing.
    pub warning: String,
    /// Sequences that it reads, in the order of its stack.
    #[schemars(length(min = 1, max = 16))]
    pub channels: Vec<String>,
    /// Sequences of which a case must have at least one: dropout never takes all of them.
    pub one_of: Vec<String>,
    /// Factor on the channels of every layer; 1 is the paper's.
    #[schemars(range(min = 0.0625, max = 4.0))]
    pub width: f64,
    /// Slices of each sequence in a stack, odd.
    #[schemars(range(min = 1, max = 15))]
    pub slices: usize,
    /// What lies beyond the outer slices.
    pub edge: Edge,
    /// How `channels` were equalised; goes into the card.
    pub equalisation: Equalisation,
    /// Most times that as many slices are drawn as there are. 0: the model of `start` stays as it is, only its thresholds are chosen.
    #[schemars(range(min = 0, max = 1000))]
    pub epochs: usize,
    /// Steps of an epoch; 0 for as many as draw each slice once in the mean.
    pub steps_per_epoch: usize,
    /// Slices of a step, half of them with a lesion.
    #[schemars(range(min = 2, max = 512))]
    pub batch: usize,
    /// Slices that are normalised together and held in memory at once by a thread; divides `batch`.
    #[schemars(range(min = 1, max = 512))]
    pub micro_batch: usize,
    /// Side in voxels of the part of a slice that is learned from, a multiple of 4; 0 for whole slices. The half of a step that
    /// has lesions sees parts that hold one.
    #[schemars(range(min = 0, max = 4096))]
    pub crop: usize,
    /// Step size of Adam.
    #[schemars(range(min = 1e-8, max = 1.0))]
    pub learning_rate: f64,
    /// How the step size falls over the steps of all epochs.
    pub decay: Decay,
    /// In which numbers slices go through the network and gradients come back; weights are kept in 32 bits in any case.
    pub precision: Precision,
    /// Times a kernel, added to its gradient.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub l2: f64,
    /// Weight of a lesion voxel in the loss.
    #[schemars(range(min = 0.01, max = 10000.0))]
    pub positive_weight: f64,
    /// Probability that a slice loses a random set of its sequences; above 0 every sequence becomes optional.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dropout: f64,
    /// Turn and mirror slices at random.
    pub augment: bool,
    /// Weights, draws and the dealing of subjects follow from it.
    pub seed: u64,
    /// Epochs without a better AUC on the development cases after which to stop.
    #[schemars(range(min = 1, max = 1000))]
    pub patience: usize,
    /// How the threshold is chosen, and with `dropout` those of cases that lack one or two sequences.
    pub criterion: Criterion,
    /// For the latter each how-manieth slice of a development case is scored; 1 for all.
    #[schemars(range(min = 1, max = 100))]
    pub judge_every: usize,
    /// Fit on the development cases the line that makes probabilities of the scores; thresholds are then such.
    pub calibrate: bool,
    /// Score from which on a voxel counts as lesion, for `criterion = "fixed"`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    /// How the model file stores numbers.
    pub stored: Stored,
    /// Time between two notes of how far it has come, beside those at each epoch's end, in seconds.
    #[schemars(range(min = 0.0, max = 86400.0))]
    pub checkpoint_seconds: f64,
    /// A model file to start from, with the same channels, slices and width: another site's model is adapted that way.
    pub start: Option<FileSetting>,
}

impl Default for Options {
    fn default() -> Self {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Self {
            name: "trained".to_owned(),
            version: "1".to_owned(),
            domain: "images like those it was trained on; research only".to_owned(),
            licence: "not stated".to_owned(),
            warning: String::new(),
            channels: names(&["t1_pre", "t1_post", "bravo", "flair"]),
            one_of: names(&["t1_post", "bravo"]),
            width: 1.0,
            slices: 7,
            edge: Edge::Clamp,
            equalisation: Equalisation::Masked,
            epochs: 10,
            steps_per_epoch: 0,
            batch: 32,
            micro_batch: 4,
            crop: 0,
            learning_rate: 1e-3,
            decay: Decay::None,
            precision: Precision::F32,
            l2: 1e-5,
            positive_weight: 10.0,
            dropout: 0.0,
            augment: true,
            seed: 1,
            patience: 3,
            criterion: Criterion::Dice,
            judge_every: 1,
            calibrate: false,
            threshold: 0.5,
            stored: Stored::F32,
            checkpoint_seconds: 300.0,
            start: None,
        }
    }
}

/// Why no model can be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting that cannot be used.
    #[error("`{name}` is {found}, where {expected} is expected")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A case without a place in the split.
    #[error(
        "case {case} has `{found}` in the column `split` where `train`, `dev` or `test` is expected\n\
         hint: fill the column for all cases, or leave it out: then subjects are dealt by their lesion counts"
    )]
    Split {
        /// The case.
        case: String,
        /// What its row says.
        found: String,
    },
    /// A subject on both sides.
    #[error(
        "subject {subject} is in `{}` and in `{}`\nhint: all sessions of a subject belong to one split",
        splits[0],
        splits[1]
    )]
    Straddles {
        /// The subject.
        subject: String,
        /// Two of its splits.
        splits: [&'static str; 2],
    },
    /// Nothing to find.
    #[error(
        "none of the {cases} cases to learn from has a slice with a lesion within the brain\n\
         hint: wire the true lesions into `truth`"
    )]
    NoLesion {
        /// Cases to learn from.
        cases: usize,
    },
    /// Nothing to choose thresholds by.
    #[error(
        "none of the {cases} development cases has a lesion, so no threshold can be chosen\n\
         hint: say `dev` in the column `split` of cases with lesions"
    )]
    NothingToJudge {
        /// Development cases.
        cases: usize,
    },
    /// Nothing to calibrate scores by.
    #[error(
        "none of the {cases} development cases has a lesion, so scores cannot be calibrated\n\
         hint: say `dev` in the column `split` of cases with lesions, or leave `calibrate` out"
    )]
    NothingToCalibrate {
        /// Development cases.
        cases: usize,
    },
    /// Slices of another size.
    #[error(
        "case {case} has slices of {} x {} voxels, others of {} x {}\n\
         hint: bring all to one with `fit_matrix`",
        found[0], found[1], expected[0], expected[1]
    )]
    Matrix {
        /// The case.
        case: String,
        /// Its width and height.
        found: [usize; 2],
        /// Those of the first case.
        expected: [usize; 2],
    },
    /// Slices that are smaller than the part of them that is wanted.
    #[error(
        "`crop` is {crop}, but case {case} has slices of {} x {} voxels\n\
         hint: set `crop` to at most the smaller side, or to 0 for whole slices",
        found[0], found[1]
    )]
    Crop {
        /// The setting.
        crop: usize,
        /// The case.
        case: String,
        /// Its width and height.
        found: [usize; 2],
    },
    /// Intensities that are no shares.
    #[error(
        "case {case} has {outside} voxels of `{channel}` outside 0..=1, or not finite\n\
         hint: put the images through `histogram_equalise` first"
    )]
    NotEqualised {
        /// The case.
        case: String,
        /// The sequence.
        channel: String,
        /// Voxels.
        outside: usize,
    },
    /// The model to start from is another.
    #[error(
        "the model of `start` has {found} where {expected} is set\n\
         hint: set `channels`, `slices` and `width` as that model's card says"
    )]
    Start {
        /// What its card says.
        found: String,
        /// What the settings say.
        expected: String,
    },
}

impl Options {
    /// Whether the settings can be used together.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), TrainError> {
        let bad = |name, found: String, expected: &str| {
            Err(TrainError::Setting { name, found, expected: expected.to_owned() })
        };
        let distinct: BTreeSet<&String> = self.channels.iter().collect();
        if distinct.len() != self.channels.len() || !(1..=16).contains(&self.channels.len()) {
            return bad("channels", self.channels.join(", "), "1 to 16 names, each once");
        }
        if let Some(name) = self.one_of.iter().find(|name| !distinct.contains(name)) {
            return bad("one_of", format!("`{name}`"), "a name among `channels`");
        }
        if !(0.0625..=4.0).contains(&self.width) {
            return bad("width", self.width.to_string(), "a factor from 0.0625 to 4");
        }
        if self.slices.is_multiple_of(2) || self.slices > 15 {
            return bad("slices", self.slices.to_string(), "an odd number up to 15");
        }
        if !(2..=512).contains(&self.batch) {
            return bad("batch", self.batch.to_string(), "2 to 512");
        }
        if self.micro_batch == 0 || !self.batch.is_multiple_of(self.micro_batch) {
            return bad("micro_batch", self.micro_batch.to_string(), "a divisor of `batch`");
        }
        if !self.crop.is_multiple_of(STRIDE) || self.crop > LARGEST_CROP {
            return bad("crop", self.crop.to_string(), "a multiple of 4 up to 4096, or 0 for whole slices");
        }
        if self.patience == 0 {
            return bad("patience", "0".to_owned(), "at least 1");
        }
        if self.judges_only() && self.start.is_none() {
            return bad(
                "epochs",
                "0 without `start`".to_owned(),
                "a model to choose thresholds for, or at least 1",
            );
        }
        if !(1..=100).contains(&self.judge_every) {
            return bad("judge_every", self.judge_every.to_string(), "1 to 100");
        }
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<(), TrainError> {
        let range = |name, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            let expected = format!("a number from {low} to {high}");
            Err(TrainError::Setting { name, found: value.to_string(), expected })
        };
        range("learning_rate", self.learning_rate, 1e-8, 1.0)?;
        range("l2", self.l2, 0.0, 1.0)?;
        range("positive_weight", self.positive_weight, 0.01, 1e4)?;
        range("dropout", self.dropout, 0.0, 1.0)?;
        range("threshold", self.threshold, 0.0, 1.0)?;
        range("checkpoint_seconds", self.checkpoint_seconds, 0.0, 86400.0)
    }

    /// Whether a model can be started from.
    ///
    /// # Errors
    /// [`TrainError::Start`].
    pub(super) fn fits(&self, card: &Card) -> Result<(), TrainError> {
        let told = |names: &[&str], slices, width| {
            format!("channels {}, {slices} slices and width {width}", quoted(names))
        };
        let theirs: Vec<&str> = card.channels.iter().map(|channel| channel.name.as_str()).collect();
        let ours: Vec<&str> = self.channels.iter().map(String::as_str).collect();
        let (found, expected) =
            (told(&theirs, card.slices, card.width), told(&ours, self.slices, self.width));
        if found == expected { Ok(()) } else { Err(TrainError::Start { found, expected }) }
    }

    /// Whether nothing is learned, but thresholds are chosen for the model of `start`.
    pub(super) const fn judges_only(&self) -> bool {
        self.epochs == 0
    }

    /// Voxels along `i` and `j` of what is read of a slice of a case.
    pub(super) const fn window(&self, shape: [usize; 3]) -> [usize; 2] {
        if self.crop == 0 { [shape[0], shape[1]] } else { [self.crop; 2] }
    }

    /// The card, but for what only the training can tell.
    pub(super) fn card(&self) -> Card {
        let optional = self.dropout > 0.0;
        let channel = |name: &String| Channel { name: name.clone(), optional };
        Card {
            name: self.name.clone(),
            version: self.version.clone(),
            width: self.width,
            channels: self.channels.iter().map(channel).collect(),
            one_of: if optional { self.one_of.clone() } else { Vec::new() },
            slices: self.slices,
            edge: self.edge,
            equalisation: self.equalisation,
            threshold: self.threshold,
            thresholds: BTreeMap::new(),
            calibration: None,
            trained: true,
            trained_on: String::new(),
            domain: self.domain.clone(),
            licence: self.licence.clone(),
            warning: self.warning.clone(),
            other: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        let wrong: [(Options, &str); 9] = [
            (Options { epochs: 0, ..Options::default() }, "`epochs` is 0 without `start`, where a model"),
            (Options { judge_every: 0, ..Options::default() }, "`judge_every` is 0, where 1 to 100"),
            (Options { crop: 30, ..Options::default() }, "`crop` is 30, where a multiple of 4"),
            (
                Options { micro_batch: 5, ..Options::default() },
                "`micro_batch` is 5, where a divisor of `batch`",
            ),
            (Options { slices: 6, ..Options::default() }, "`slices` is 6, where an odd number"),
            (Options { width: 9.0, ..Options::default() }, "`width` is 9"),
            (Options { dropout: f64::NAN, ..Options::default() }, "`dropout` is NaN"),
            (Options { one_of: vec!["t2".to_owned()], ..Options::default() }, "`one_of` is `t2`"),
            (Options { channels: vec!["a".to_owned(); 2], ..Options::default() }, "`channels` is a, a"),
        ];
        for (options, text) in wrong {
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!(Options::default().check().is_ok());
    }

    #[test]
    fn a_model_of_other_channels_is_not_started_from() {
        let options = Options::default();
        assert!(options.fits(&options.card()).is_ok());
        let other = Options { width: 0.5, ..Options::default() };
        let error = options.fits(&other.card()).unwrap_err().to_string();
        assert!(
            error.contains("7 slices and width 0.5 where") && error.contains("width 1 is set"),
            "{error}"
        );
    }
}
