//! Segmentation by the 2.5D GoogLeNet.
//!
//! The plugin itself links no libtorch: it reads model files, builds stacks and calls a backend library, which it opens when
//! a stage starts. So workflows are checked, and this crate is built and tested, without libtorch.

pub mod backend;
pub mod calibration;
pub mod card;
mod costs;
pub mod file;
pub mod halving;
pub mod initial;
pub mod model;
pub mod models;
pub mod network;
pub mod patches;
pub mod patchwise;
pub mod script;
pub mod segmentation;
pub mod stack;
pub mod symmetry;
pub mod thresholds;
pub mod train;

use backend::{Backend, Precision, Session};
use model::Model;
use models::AnyModel;
use sdk::{
    Cases, Cause, Context, Facts, FileSetting, GroupOperator, Inputs, Inspection, Interface, JsonSchema,
    Operator, OperatorError, OperatorInfo, Outputs, Place, Port, Value, Wiring,
};
use segmentation::{CaseImages, Plan, Scores, Views};
use serde::{Deserialize, Serialize};

/// Slices that may be scored at once.
const MAX_BATCH: usize = 64;
/// How often a slice may be looked at: as it is, its mirror images, all symmetries of a square.
const VIEWS: [usize; 3] = [1, 4, 8];

/// Settings of `segment`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Model files, safetensors or TorchScript, each with its card; the first whose card fits the channels of a case is used.
    pub models: Vec<FileSetting>,
    /// Neighbouring slices (patches) scored at once; more helps a GPU and costs memory.
    #[schemars(range(min = 1, max = 64))]
    pub batch: usize,
    /// Leave slices without brain at score 0 instead of scoring them.
    pub skip_empty: bool,
    /// Looks at each slice: 1, 4 with its mirror images, 8 with quarter turns; their mean is the score.
    #[schemars(extend("enum" = [1, 4, 8]))]
    pub views: usize,
    /// Numbers in which the network computes.
    pub precision: Precision,
}

impl Default for Options {
    fn default() -> Self {
        Self { models: Vec::new(), batch: 1, skip_empty: true, views: 1, precision: Precision::F32 }
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
    /// A number of views that make no group.
    #[error("`views` is {found} where 1, 4 or 8 is expected")]
    Views {
        /// The setting.
        found: usize,
    },
}

impl Options {
    fn check(&self) -> Result<(), OptionsError> {
        if !(1..=MAX_BATCH).contains(&self.batch) {
            return Err(OptionsError::Batch { found: self.batch });
        }
        if !VIEWS.contains(&self.views) {
            return Err(OptionsError::Views { found: self.views });
        }
        Ok(())
    }

    /// The cards of all models, held against their files.
    fn read_models(&self) -> Result<Vec<AnyModel>, OperatorError> {
        self.check()?;
        self.models.iter().map(|file| AnyModel::read(file.as_ref())).collect()
    }

    /// Whether the spread of the scores over several views is made.
    const fn spread(&self) -> bool {
        self.views > 1
    }
}

/// Operator `segment`.
#[derive(Debug)]
pub struct Segment {
    options: Options,
    models: Vec<AnyModel>,
    /// One for each model.
    networks: Vec<Network>,
}

/// A model's weights on a device.
#[derive(Debug)]
struct Network {
    /// One; several for an ensemble.
    sessions: Vec<Session>,
    /// BLAKE3 of the model file, in hex; of a TorchScript model, of its card and all its files.
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
        outputs: &[
            Port::probability("probability").on("g").about("score of each voxel"),
            Port::probability("spread")
                .on("g")
                .about("standard deviation of the score over all views; only with `views` above 1"),
        ],
        gpu: true,
        citation: "Grøvik E, Yi D, Iv M, Tong E, Rubin D, Zaharchuk G. Deep learning enables automatic detection and \
                   segmentation of brain metastases on multisequence MRI. J Magn Reson Imaging 2020;51:175-182",
        ..OperatorInfo::CASE
    };
    type Settings = Options;

    fn interface(options: &Options, wiring: &Wiring) -> Result<Interface, OperatorError> {
        describe(options, wiring).map_err(|error| OperatorError { cause: Cause::Refused, ..error })
    }

    fn identity(options: &Options, place: &Place) -> Result<String, OperatorError> {
        let mut identity = backend::identity(place)?;
        // The settings name one file of a TorchScript model; its card and the rest of an ensemble decide the scores as well.
        for model in options.read_models()? {
            if let AnyModel::Script(script) = model {
                identity = format!("{identity}, model {}", script.digest()?);
            }
        }
        Ok(identity)
    }

    fn inspect(file: &std::path::Path) -> Result<Option<Inspection>, OperatorError> {
        models::inspect(file).map(Some)
    }

    fn open(options: Options, place: &Place) -> Result<Self, OperatorError> {
        let models = options.read_models()?;
        let backend = Backend::open(place)?;
        let load = |model| load(model, backend, options.precision, place);
        let networks = models.iter().map(load).collect::<Result<_, _>>()?;
        Ok(Self { options, models, networks })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let images = inputs.images("channels")?;
        let present: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
        let choice = models::choose(&self.models, &present)?;
        let image =
            |name: &str| images.iter().find(|(member, _)| member == name).map(|(_, image)| image.clone());
        let channels = choice.model.needs().channels.iter().map(|channel| image(&channel.name)).collect();
        let case = CaseImages { channels, mask: inputs.optional_mask("mask")? };
        let network = &self.networks[choice.index];
        let scores = self.scores(choice.model, network, &case, ctx)?;
        let mut facts = facts(choice.model, &network.digest, &present, &case)?;
        if let Some(used) = scores.halved {
            facts.set("batch", serde_json::json!({ "asked": self.options.batch, "used": used }));
        }
        if self.options.precision != Precision::F32 {
            facts.set("precision", serde_json::to_value(self.options.precision)?);
        }
        let mut outputs = Outputs::new().with("probability", Value::from(scores.probability).facts(&facts));
        if let Some(spread) = scores.spread {
            outputs = outputs.with("spread", Value::from(spread).fact("views", self.options.views));
        }
        Ok(outputs)
    }
}

impl Segment {
    fn scores(
        &self,
        model: &AnyModel,
        network: &Network,
        case: &CaseImages,
        ctx: &Context,
    ) -> Result<Scores, OperatorError> {
        let options = &self.options;
        let sessions = &network.sessions;
        match model {
            AnyModel::Slices(model) => {
                let plan = Plan { batch: options.batch, skip_empty: options.skip_empty };
                let views = Views { count: options.views, spread: options.spread() };
                let scorer = |stack: &[f32], shape: [usize; 4], logits: &mut [f32]| {
                    sessions[0].logits(stack, shape, logits)
                };
                segmentation::scores_of_views(case, &model.card, plan, views, &scorer, ctx)
            }
            AnyModel::Script(model) => {
                let plan = patchwise::Plan {
                    batch: options.batch,
                    views: options.views,
                    spread: options.spread(),
                    networks: sessions.len(),
                };
                let runner = |network: usize, input: &[f32], shape: &[usize], said: &mut [f32]| {
                    sessions[network].forward(input, shape, said)
                };
                patchwise::scores(case, &model.card, plan, &runner, ctx)
            }
        }
    }
}

/// The interface for one pattern of presence, with a note on which model works on it.
fn describe(options: &Options, wiring: &Wiring) -> Result<Interface, OperatorError> {
    let models = options.read_models()?;
    let present = wiring.members("channels");
    let choice = models::choose(&models, &present)?;
    let needs = choice.model.needs();
    let mut note = format!("model `{}`", choice.model.name());
    if !choice.passed_over.is_empty() {
        note = format!("{note} stands in ({})", choice.passed_over.join("; "));
    }
    let zeroed = needs.zeroed(&present);
    if !zeroed.is_empty() {
        note = format!("{note}, with zeros for {}", model::quoted(&zeroed));
        let threshold = choice.model.threshold(&present);
        if threshold.own {
            note = format!("{note} and a threshold chosen for that, {:.4}", threshold.score);
        }
    }
    let known = |name: &&str| needs.channels.iter().any(|channel| channel.name == **name);
    let unread: Vec<&str> = present.iter().copied().filter(|name| !known(name)).collect();
    if !unread.is_empty() {
        note = format!("{note}; it does not read {}", model::quoted(&unread));
    }
    if let AnyModel::Script(script) = choice.model
        && options.views > 1
        && script.card.mirror.is_empty()
    {
        note = format!("{note}; its card allows no mirroring, so `views` changes nothing");
    }
    let costs = match choice.model {
        AnyModel::Slices(model) => costs::note(&model.card, &zeroed),
        AnyModel::Script(_) => None,
    };
    let told = choice.model.foreign_threshold(&present).into_iter().chain(costs);
    let mut interface = Interface::of(Segment::INFO.inputs, Segment::INFO.outputs).note(note);
    if !options.spread() {
        // One view has no spread: whoever wires it is told by `check`.
        interface.outputs.retain(|port| port.name != "spread");
    }
    Ok(told.fold(interface, Interface::note))
}

fn load(
    model: &AnyModel,
    backend: Backend,
    precision: Precision,
    place: &Place,
) -> Result<Network, OperatorError> {
    match model {
        AnyModel::Slices(model) => {
            let weights = model.bytes()?;
            let session =
                backend.open_session(&weights, neuroloom_segment_abi::FORMAT_SLICES, precision, place)?;
            Ok(Network { sessions: vec![session], digest: blake3::hash(&weights).to_hex().to_string() })
        }
        AnyModel::Script(model) => {
            let mut sessions = Vec::new();
            for file in &model.files {
                let named = |error: backend::BackendError| {
                    let error = OperatorError::from(error);
                    OperatorError {
                        message: format!("model `{}`: {}", file.display(), error.message),
                        ..error
                    }
                };
                let bytes = std::fs::read(file)
                    .map_err(|source| script::ScriptModelError::Read { path: file.clone(), source })?;
                let session = backend
                    .open_session(&bytes, neuroloom_segment_abi::FORMAT_SCRIPT, precision, place)
                    .map_err(named)?;
                patchwise::try_out(&model.card, &session).map_err(named)?;
                sessions.push(session);
            }
            Ok(Network { sessions, digest: model.digest()? })
        }
    }
}

/// What travels with the scores.
fn facts(
    model: &AnyModel,
    digest: &str,
    present: &[&str],
    case: &CaseImages,
) -> Result<Facts, OperatorError> {
    let mut facts = Facts::new();
    facts.set(
        "model",
        serde_json::json!({
            "name": model.name(),
            "digest": format!("blake3:{digest}"),
            "card": model.card_json()?,
            "zeroed_channels": model.needs().zeroed(present),
        }),
    );
    facts.set("threshold", model.threshold(present).score);
    facts.set("calibrated", model.is_calibrated());
    let warnings = model.warnings().into_iter().chain(model.foreign_threshold(present));
    warnings.for_each(|warning| facts.warn(warning));
    if let AnyModel::Slices(model) = model {
        // Whoever reads the page has not seen what `check` and `plan` said of the missing sequences.
        if let Some(cost) = costs::note(&model.card, &model.card.needs().zeroed(present)) {
            facts.warn(cost);
        }
        let unlike = segmentation::unlike_equalised(case, &model.card);
        if !unlike.is_empty() {
            let channels = model::quoted(&unlike);
            facts.warn(format!(
                "intensities of {channels} lie outside 0..=1, but model `{}` reads equalised ones",
                model.card.name
            ));
        }
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
    fn a_case_that_lacks_a_sequence_gets_the_threshold_of_its_pattern_or_is_warned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut card = card::Card { trained: true, name: "taught".to_owned(), ..model::untrained(0.25, 1) };
        card.thresholds.insert("flair".to_owned(), 0.125);
        model::write_initial(&path, &card, 1).unwrap();
        let models = [AnyModel::read(&path).unwrap()];
        let case = CaseImages { channels: vec![None; 4], mask: None };
        let told = |present: &[&str]| {
            let facts = facts(&models[0], "", present, &case).unwrap();
            let warnings = facts.warnings().into_iter().map(str::to_owned).collect::<Vec<_>>();
            (facts.number("threshold").unwrap(), warnings)
        };
        assert_eq!(told(&["t1_pre", "t1_post", "bravo", "flair"]), (0.5, vec![]));
        assert_eq!(told(&["t1_pre", "t1_post", "bravo"]), (0.125, vec![]));
        let (threshold, warnings) = told(&["t1_pre", "bravo"]);
        assert!(threshold == 0.5 && warnings.len() == 1, "{warnings:?}");
        assert_eq!(
            warnings[0],
            "model `taught`: its threshold 0.5 was chosen with all sequences, none for cases without `t1_post`, `flair`, where it may \
             find too little or too much"
        );
        let options = Options { models: vec![FileSetting(path)], ..Options::default() };
        let notes = |names: &[&str]| Segment::interface(&options, &wiring(names)).unwrap().notes;
        assert_eq!(
            notes(&["t1_pre", "t1_post", "bravo"]),
            ["model `taught`, with zeros for `flair` and a threshold chosen for that, 0.1250"]
        );
        assert_eq!(
            notes(&["t1_pre", "bravo"]),
            ["model `taught`, with zeros for `t1_post`, `flair`", &warnings[0]]
        );
    }

    #[test]
    fn the_spread_is_offered_only_where_there_are_several_views() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = |views| {
            let options = Options { views, ..options(&folder) };
            let interface = Segment::interface(&options, &wiring(&["t1_pre", "bravo"])).unwrap();
            interface.outputs.into_iter().map(|port| port.name).collect::<Vec<_>>()
        };
        assert_eq!(outputs(1), ["probability"]);
        assert_eq!(outputs(8), ["probability", "spread"]);
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
        let error = refusal(Options { views: 3, ..Options::default() });
        assert_eq!(error.message, "`views` is 3 where 1, 4 or 8 is expected");
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
        let card = script::card::ScriptCard::parse(script::card::tests::CARD).unwrap();
        let optional = ["files", "one_of", "orientation", "spacing_mm", "mirror", "thresholds", "warning"];
        let keys = serde_json::to_value(card).unwrap();
        let keys = keys.as_object().unwrap().keys().map(String::as_str);
        for key in keys.chain(optional) {
            assert!(readme.contains(&format!("\n| `{key}` | ")), "key `{key}` of a script's card");
        }
        let untrained = model::untrained(1.0, 1).metadata();
        for key in untrained.keys().map(String::as_str).chain(["one_of", "thresholds", "warning"]) {
            assert!(
                readme.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{key}`"))),
                "key `{key}`"
            );
        }
    }
}
