//! Segmentation by the 2.5D GoogLeNet.
//!
//! The plugin itself links no libtorch: it reads model files, builds stacks and calls a backend library, which it opens when
//! a stage starts. So workflows are checked, and this crate is built and tested, without libtorch.

pub mod backend;
pub mod card;
pub mod file;
pub mod initial;
pub mod model;
pub mod network;
pub mod segmentation;
pub mod stack;
pub mod train;

use backend::{Backend, Session};
use model::Model;
use sdk::{
    Cases, Cause, Context, Facts, FileSetting, GroupOperator, Image, Inputs, Interface, JsonSchema, Operator,
    OperatorError, OperatorInfo, Outputs, Place, Port, Value, Wiring,
};
use segmentation::{CaseImages, Plan};
use serde::{Deserialize, Serialize};

/// Slices that may be scored at once.
const MAX_BATCH: usize = 64;

/// Settings of `segment`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Model files, safetensors with a card; the first whose card fits the channels of a case is used.
    pub models: Vec<FileSetting>,
    /// Neighbouring slices scored at once; more helps a GPU and costs memory.
    #[schemars(range(min = 1, max = 64))]
    pub batch: usize,
    /// Leave slices without brain at score 0 instead of scoring them.
    pub skip_empty: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { models: Vec::new(), batch: 1, skip_empty: true }
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// No slice, or too many, at once.
    #[error("`batch` is {found} where 1 to {MAX_BATCH} is expected")]
    Batch {
        /// The setting.
        found: usize,
    },
}

impl Options {
    fn check(&self) -> Result<(), OptionsError> {
        if (1..=MAX_BATCH).contains(&self.batch) {
            Ok(())
        } else {
            Err(OptionsError::Batch { found: self.batch })
        }
    }

    /// The cards of all models, held against their tensors.
    fn read_models(&self) -> Result<Vec<Model>, OperatorError> {
        self.check()?;
        let models = self.models.iter().map(|file| Model::read_header(file.as_ref()));
        Ok(models.collect::<Result<_, _>>()?)
    }
}

/// Operator `segment`.
#[derive(Debug)]
pub struct Segment {
    options: Options,
    models: Vec<Model>,
    /// One for each model.
    networks: Vec<Network>,
}

/// A model's weights on a device.
#[derive(Debug)]
struct Network {
    session: Session,
    /// BLAKE3 of the model file, in hex.
    digest: String,
}

impl Operator for Segment {
    const INFO: OperatorInfo = OperatorInfo {
        name: "segment",
        role: Some("segmenter"),
        summary: "Score each voxel as lesion or not, by a network that reads neighbouring slices of all sequences.",
        inputs: &[
            Port::image("channels")
                .on("g")
                .many()
                .about("equalised sequences: t1_pre, t1_post, bravo, flair"),
            Port::mask("mask").on("g").optional().about("brain; scores outside it are 0"),
        ],
        outputs: &[Port::probability("probability").on("g").about("score of each voxel, not calibrated")],
        gpu: true,
        citation: "Grøvik E, Yi D, Iv M, Tong E, Rubin D, Zaharchuk G. Deep learning enables automatic detection and \
                   segmentation of brain metastases on multisequence MRI. J Magn Reson Imaging 2020;51:175-182",
        ..OperatorInfo::CASE
    };
    type Settings = Options;

    fn interface(options: &Options, wiring: &Wiring) -> Result<Interface, OperatorError> {
        describe(options, wiring).map_err(|error| OperatorError { cause: Cause::Refused, ..error })
    }

    fn identity(_: &Options, place: &Place) -> Result<String, OperatorError> {
        Ok(backend::identity(place)?)
    }

    fn open(options: Options, place: &Place) -> Result<Self, OperatorError> {
        let models = options.read_models()?;
        let backend = Backend::open(place)?;
        let networks = models.iter().map(|model| load(model, backend, place)).collect::<Result<_, _>>()?;
        Ok(Self { options, models, networks })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let images = inputs.images("channels")?;
        let present: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
        let choice = model::choose(&self.models, &present)?;
        let card = &choice.model.card;
        let image =
            |name: &str| images.iter().find(|(member, _)| member == name).map(|(_, image)| image.clone());
        let channels: Vec<Option<Image>> = card.channels.iter().map(|channel| image(&channel.name)).collect();
        let case = CaseImages { channels, mask: inputs.optional_mask("mask")? };

        let network = &self.networks[choice.index];
        let plan = Plan { batch: self.options.batch, skip_empty: self.options.skip_empty };
        let session = &network.session;
        let scorer = |stack: &[f32], shape: [usize; 4], logits: &mut [f32]| {
            session.logits(stack, shape, logits).map_err(OperatorError::from)
        };
        let probability = segmentation::scores(&case, card, plan, &scorer, ctx)?;
        let facts = facts(choice.model, &network.digest, &present, &case)?;
        Ok(Outputs::new().with("probability", Value::from(probability).facts(&facts)))
    }
}

/// The interface for one pattern of presence, with a note on which model works on it.
fn describe(options: &Options, wiring: &Wiring) -> Result<Interface, OperatorError> {
    let models = options.read_models()?;
    let present = wiring.members("channels");
    let choice = model::choose(&models, &present)?;
    let card = &choice.model.card;
    let mut note = format!("model `{}`", card.name);
    if !choice.passed_over.is_empty() {
        note = format!("{note} stands in ({})", choice.passed_over.join("; "));
    }
    let zeroed = card.zeroed(&present);
    if !zeroed.is_empty() {
        note = format!("{note}, with zeros for {}", model::quoted(&zeroed));
    }
    let known = |name: &&str| card.channels.iter().any(|channel| channel.name == **name);
    let unread: Vec<&str> = present.iter().copied().filter(|name| !known(name)).collect();
    if !unread.is_empty() {
        note = format!("{note}; it does not read {}", model::quoted(&unread));
    }
    Ok(Interface::of(Segment::INFO.inputs, Segment::INFO.outputs).note(note))
}

fn load(model: &Model, backend: Backend, place: &Place) -> Result<Network, OperatorError> {
    let weights = model.bytes()?;
    let session = backend.session(&weights, place)?;
    Ok(Network { session, digest: blake3::hash(&weights).to_hex().to_string() })
}

/// What travels with the scores.
fn facts(model: &Model, digest: &str, present: &[&str], case: &CaseImages) -> Result<Facts, OperatorError> {
    let card = &model.card;
    let zeroed = card.zeroed(present);
    let mut facts = Facts::new();
    facts.set(
        "model",
        serde_json::json!({
            "name": card.name,
            "digest": format!("blake3:{digest}"),
            "card": serde_json::to_value(card)?,
            "zeroed_channels": zeroed,
        }),
    );
    facts.set("threshold", card.threshold);
    facts.set("calibrated", false);
    if !card.trained {
        facts.warn(format!(
            "UNTRAINED MODEL: the weights of `{}` come from no training; its scores mean nothing",
            card.name
        ));
    }
    if !card.warning.is_empty() {
        facts.warn(card.warning.clone());
    }
    let unlike = segmentation::unlike_equalised(case, card);
    if !unlike.is_empty() {
        let channels = model::quoted(&unlike);
        facts.warn(format!(
            "intensities of {channels} lie outside 0..=1, but model `{}` reads equalised ones",
            card.name
        ));
    }
    Ok(facts)
}

/// Operator `train`.
#[derive(Debug)]
pub struct Train {
    options: train::Options,
    place: Place,
}

impl GroupOperator for Train {
    const INFO: OperatorInfo = OperatorInfo {
        name: "train",
        summary: "Train the network of `segment` on cases with truth; a run that was killed goes on.",
        inputs: &[
            Port::image("channels").on("g").many().about("equalised sequences, by the names in `channels`"),
            Port::mask("mask").on("g").optional().about("brain; slices without it are not drawn"),
            Port::labels("truth").on("g").about("true lesions, each with its number"),
            Port::document("provenance").optional().about("`case.provenance`, for the digests in the card"),
        ],
        outputs: &[
            Port::document("model").about("the model file, with its card"),
            Port::document("card").about("the card as JSON"),
            Port::table("curve").about("loss, and figures of the development cases, of each epoch"),
            Port::table("splits").about("what each case was for"),
        ],
        gpu: true,
        citation: Segment::INFO.citation,
        ..OperatorInfo::COHORT
    };
    type Settings = train::Options;

    fn interface(options: &train::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        if let Some(file) = &options.start {
            Model::read_header(file.as_ref())?;
        }
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn identity(_: &train::Options, place: &Place) -> Result<String, OperatorError> {
        Ok(backend::identity(place)?)
    }

    fn open(options: train::Options, place: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options, place: place.clone() })
    }

    fn run(&mut self, cases: &dyn Cases, ctx: &Context) -> Result<Outputs, OperatorError> {
        train::train(cases, &self.options, &self.place, ctx)
    }
}

sdk::export_plugin![Segment; groups: Train];

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Kind;
    use std::collections::BTreeMap;

    fn wiring(names: &[&str]) -> Wiring {
        let members = names.iter().map(|name| ((*name).to_owned(), Kind::Image)).collect();
        Wiring { ports: BTreeMap::from([("channels".to_owned(), members)]) }
    }

    fn options(folder: &tempfile::TempDir) -> Options {
        let path = folder.path().join("model.safetensors");
        model::write_initial(&path, &model::untrained(0.25, 1), 1).unwrap();
        Options { models: vec![FileSetting(path)], ..Options::default() }
    }

    #[test]
    fn the_interface_says_which_model_works_and_what_is_zeroed_or_unread() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        let notes = |names: &[&str]| Segment::interface(&options, &wiring(names)).unwrap().notes;
        assert_eq!(notes(&["t1_pre", "t1_post", "bravo", "flair"]), ["model `untrained-w025`"]);
        assert_eq!(
            notes(&["t1_pre", "bravo", "t2"]),
            ["model `untrained-w025`, with zeros for `t1_post`, `flair`; it does not read `t2`"]
        );
    }

    #[test]
    fn a_pattern_that_no_model_fits_is_refused_with_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let error = Segment::interface(&options(&folder), &wiring(&["t1_pre", "flair"])).unwrap_err();
        assert_eq!(error.cause, Cause::Refused);
        assert_eq!(
            error.message,
            "no model fits the channels `t1_pre`, `flair`: `untrained-w025` needs `bravo`"
        );
        assert!(error.hint.is_some());
    }

    #[test]
    fn settings_without_a_model_or_with_a_batch_of_none_are_refused() {
        let refusal = |options| Segment::interface(&options, &wiring(&["bravo"])).unwrap_err();
        let error = refusal(Options::default());
        assert_eq!((error.cause, error.message.as_str()), (Cause::Refused, "`models` names no model"));
        let error = refusal(Options { batch: 0, ..Options::default() });
        assert_eq!(error.message, "`batch` is 0 where 1 to 64 is expected");
        let missing =
            Options { models: vec![FileSetting("nowhere.safetensors".into())], ..Options::default() };
        assert!(refusal(missing).message.starts_with("model `nowhere.safetensors` cannot be read: "));
    }

    #[test]
    fn the_readme_lists_every_setting_and_every_key_of_a_card() {
        let readme = include_str!("../README.md");
        let schema = sdk::schemars::schema_for!(Options);
        let settings = schema.get("properties").unwrap().as_object().unwrap();
        for setting in settings.keys() {
            assert!(readme.contains(&format!("\n| `{setting}` | ")), "setting `{setting}`");
        }
        for key in model::untrained(1.0, 1).metadata().keys() {
            assert!(
                readme.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{key}`"))),
                "key `{key}`"
            );
        }
    }
}
