//! Models of either format, and which of them works on a case.

use crate::card::{Channel, Needs};
use crate::model::{Model, ModelError, quoted};
use crate::script::ScriptModel;
use crate::thresholds::{self, Threshold, Thresholds};
use sdk::{Inspection, OperatorError};
use std::path::Path;

/// Patterns of presence that `inspect` lists; more are counted only.
const LISTED_PATTERNS: usize = 16;

/// A model whose card was read.
#[derive(Clone, Debug)]
pub enum AnyModel {
    /// Weights of the 2.5D network, in safetensors.
    Slices(Box<Model>),
    /// A network of its own, in TorchScript.
    Script(Box<ScriptModel>),
}

impl AnyModel {
    /// Reads the card of a file and holds it against what the file tells of itself.
    ///
    /// # Errors
    /// [`ModelError`], [`crate::script::ScriptModelError`].
    pub fn read(path: &Path) -> Result<Self, OperatorError> {
        if ScriptModel::is_meant(path) {
            Ok(Self::Script(Box::new(ScriptModel::read(path)?)))
        } else {
            Ok(Self::Slices(Box::new(Model::read_header(path)?)))
        }
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        match self {
            Self::Slices(model) => &model.card.name,
            Self::Script(model) => &model.card.name,
        }
    }

    /// Which sequences it reads.
    pub fn needs(&self) -> Needs<'_> {
        match self {
            Self::Slices(model) => model.card.needs(),
            Self::Script(model) => model.card.needs(),
        }
    }

    /// Whether its scores are probabilities, as far as the cases go by which it was calibrated.
    pub fn is_calibrated(&self) -> bool {
        match self {
            Self::Slices(model) => model.card.calibration.is_some(),
            Self::Script(_) => false,
        }
    }

    /// The threshold of cases that have these sequences.
    pub fn threshold(&self, present: &[&str]) -> Threshold {
        let (whole, without) = self.thresholds();
        thresholds::of(without, whole, &self.needs().zeroed(present))
    }

    /// What must be said of the threshold of cases that have these sequences: that it was chosen for others. Of an untrained model
    /// nothing, as its threshold was chosen for none.
    pub fn foreign_threshold(&self, present: &[&str]) -> Option<String> {
        let Threshold { score, own } = self.threshold(present);
        let absent = quoted(&self.needs().zeroed(present));
        (self.trained() && !own).then(|| {
            format!(
                "model `{}`: its threshold {score} was chosen with all sequences, none for cases without {absent}, where \
                 it may find too little or too much",
                self.name()
            )
        })
    }

    /// Of cases with all sequences, and of those that lack some.
    const fn thresholds(&self) -> (f64, &Thresholds) {
        match self {
            Self::Slices(model) => (model.card.threshold, &model.card.thresholds),
            Self::Script(model) => (model.card.threshold, &model.card.thresholds),
        }
    }

    const fn trained(&self) -> bool {
        match self {
            Self::Slices(model) => model.card.trained,
            Self::Script(model) => model.card.trained,
        }
    }

    /// Its card, for records.
    ///
    /// # Errors
    /// Never in practice: cards are plain text and numbers.
    pub fn card_json(&self) -> Result<serde_json::Value, serde_json::Error> {
        match self {
            Self::Slices(model) => serde_json::to_value(&model.card),
            Self::Script(model) => serde_json::to_value(&model.card),
        }
    }

    /// What must be said wherever it is used.
    pub fn warnings(&self) -> Vec<String> {
        let warning = match self {
            Self::Slices(model) => &model.card.warning,
            Self::Script(model) => &model.card.warning,
        };
        let untrained = (!self.trained()).then(|| {
            let name = self.name();
            format!("UNTRAINED MODEL: the weights of `{name}` come from no training; its scores mean nothing")
        });
        untrained.into_iter().chain((!warning.is_empty()).then(|| warning.clone())).collect()
    }
}

/// Which model works on a case.
#[derive(Debug)]
pub struct Choice<'a> {
    /// Its place in the list.
    pub index: usize,
    /// The model.
    pub model: &'a AnyModel,
    /// For each model before it, why it does not fit.
    pub passed_over: Vec<String>,
}

/// The first model whose card fits what is there.
///
/// # Errors
/// [`ModelError::NoneNamed`], [`ModelError::NoneFits`] with what each lacks.
pub fn choose<'a>(models: &'a [AnyModel], present: &[&str]) -> Result<Choice<'a>, ModelError> {
    if models.is_empty() {
        return Err(ModelError::NoneNamed);
    }
    let mut passed_over = Vec::new();
    for (index, model) in models.iter().enumerate() {
        let Some(lacking) = model.needs().lacks(present) else {
            return Ok(Choice { index, model, passed_over });
        };
        passed_over.push(format!("`{}` needs {lacking}", model.name()));
    }
    Err(ModelError::NoneFits { present: quoted(present), reasons: passed_over.join("; ") })
}

/// What a model file holds, for `neuroloom model inspect`.
///
/// # Errors
/// As [`AnyModel::read`].
pub fn inspect(path: &Path) -> Result<Inspection, OperatorError> {
    let model = AnyModel::read(path)?;
    let mut lines = Vec::new();
    let mut tell = |name: &str, text: String| lines.push((name.to_owned(), text));
    match &model {
        AnyModel::Slices(model) => {
            let [tensors, numbers] = model.tensors;
            tell("format", format!("safetensors, {tensors} tensors of {numbers} numbers"));
        }
        AnyModel::Script(model) => {
            let files: Vec<String> = model.files.iter().map(|file| file.display().to_string()).collect();
            tell(
                "format",
                format!("TorchScript, {} tensors; card {}", model.tensors, model.card_path.display()),
            );
            tell("networks", files.join("\n"));
        }
    }
    let needs = model.needs();
    let named = |channel: &Channel| {
        if channel.optional { format!("{} (optional)", channel.name) } else { channel.name.clone() }
    };
    tell("channels", needs.channels.iter().map(named).collect::<Vec<_>>().join(", "));
    tell("works with", patterns(&needs));
    let (whole, without) = model.thresholds();
    tell("threshold", thresholds::told(without, whole));
    let card = model.card_json()?;
    for (key, value) in card.as_object().into_iter().flatten() {
        if !["channels", "threshold", "thresholds", "warning", "format"].contains(&key.as_str()) {
            tell(key, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    Ok(Inspection { lines, warnings: model.warnings() })
}

/// The patterns of presence that a model accepts, one a line.
fn patterns(needs: &Needs<'_>) -> String {
    let all = needs.patterns();
    let mut listed: Vec<String> = all.iter().take(LISTED_PATTERNS).map(|names| names.join(", ")).collect();
    if all.len() > LISTED_PATTERNS {
        listed.push(format!("and {} patterns more", all.len() - LISTED_PATTERNS));
    }
    listed.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Card;
    use crate::model::{untrained, write_initial};
    use std::path::PathBuf;

    #[test]
    fn the_first_model_that_fits_is_chosen_and_the_others_say_what_they_lack() {
        let model = |name: &str, needs: &[&str]| {
            let channels =
                needs.iter().map(|name| Channel { name: (*name).to_owned(), optional: false }).collect();
            let card = Card { name: name.to_owned(), channels, ..untrained(1.0, 1) };
            AnyModel::Slices(Box::new(Model { path: PathBuf::from(name), card, tensors: [0, 0] }))
        };
        let models = [model("all", &["bravo", "flair"]), model("some", &["bravo"])];
        let choice = choose(&models, &["bravo"]).unwrap();
        assert_eq!((choice.index, choice.passed_over), (1, vec!["`all` needs `flair`".to_owned()]));
        let error = choose(&models, &["flair"]).unwrap_err().to_string();
        assert!(error.contains("`flair`: `all` needs `bravo`; `some` needs `bravo`\nhint: "), "{error}");
        assert!(matches!(choose(&[], &["bravo"]), Err(ModelError::NoneNamed)));
    }

    #[test]
    fn inspect_tells_the_threshold_of_each_pattern() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut card = untrained(0.0625, 1);
        card.thresholds.insert("t1_post,flair".to_owned(), 0.0625);
        write_initial(&path, &card, 1).unwrap();
        let lines = inspect(&path).unwrap().lines;
        let told = lines.iter().filter(|line| line.0.starts_with("threshold")).collect::<Vec<_>>();
        assert_eq!(told, [&("threshold".to_owned(), "0.5\n0.0625 without `t1_post`, `flair`".to_owned())]);
    }

    #[test]
    fn inspect_tells_card_tensors_patterns_and_warnings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_initial(&path, &untrained(0.0625, 1), 1).unwrap();
        let inspection = inspect(&path).unwrap();
        let line = |name: &str| &inspection.lines.iter().find(|line| line.0 == name).unwrap().1;
        assert!(line("format").starts_with("safetensors, 287 tensors of "), "{}", line("format"));
        assert_eq!(line("channels"), "t1_pre, t1_post (optional), bravo, flair (optional)");
        assert_eq!(
            line("works with"),
            "t1_pre, t1_post, bravo, flair\nt1_pre, bravo, flair\nt1_pre, t1_post, bravo\nt1_pre, bravo"
        );
        assert_eq!((line("width").as_str(), line("trained").as_str()), ("0.0625", "false"));
        assert!(inspection.warnings[0].starts_with("UNTRAINED MODEL"));
        std::fs::write(&path, "no model at all").unwrap();
        assert!(inspect(&path).unwrap_err().message.contains("is no safetensors file"));
    }
}
