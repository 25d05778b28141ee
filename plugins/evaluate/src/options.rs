//! What can be set, and how a manifest's `options` change it.
//!
//! Ten options belong to the definitions of the evaluation (`docs/evaluation.md`); `score` needs those that decide figures of
//! a case, `summarise` the others. A manifest may set any of them for all its cases: they then win over the workflow's.

use sdk::JsonSchema;
use sdk::imaging::components::{Connectivity, UnknownConnectivity};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// What a lesion's overlap with the prediction is a share of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "sdk::schemars")]
pub enum OverlapOf {
    /// Of the lesion.
    #[default]
    Gt,
    /// Of the predicted components that touch the lesion, together.
    Pred,
    /// Of the lesion and those components, together.
    Iou,
}

/// What one lesion of the truth is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "sdk::schemars")]
pub enum TruthMode {
    /// Voxels that touch.
    #[default]
    Components,
    /// Voxels of one label.
    Instances,
}

/// Which threshold of a patient is the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "sdk::schemars")]
pub enum Criterion {
    /// The one of the highest Dice.
    #[default]
    Dice,
    /// The one of the highest sensitivity + specificity - 1.
    Youden,
    /// The one whose point on the ROC curve lies closest to its upper left corner.
    Corner,
}

/// Settings of `score`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Which voxels touch: 6 (faces), 18 (and edges) or 26 (and corners).
    pub connectivity: u32,
    /// Score from which on a voxel counts as predicted in the analysis by lesion size, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub found_threshold: f64,
    /// Share that must be overlapped by more than this for a lesion to be found, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub overlap_min: f64,
    /// What the overlap is a share of: `gt` (the lesion), `pred` (the predicted components that touch it) or `iou` (both).
    pub overlap_of: OverlapOf,
    /// Smallest volume of a predicted component that counts where small ones do not, mm³, itself included.
    #[schemars(range(min = 0.0))]
    pub size_limit_mm3: f64,
    /// What one lesion of the truth is: `components` (voxels that touch) or `instances` (voxels of one label).
    pub truth_mode: TruthMode,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connectivity: 26,
            found_threshold: 0.1,
            overlap_min: 0.10,
            overlap_of: OverlapOf::Gt,
            size_limit_mm3: 10.0,
            truth_mode: TruthMode::Components,
        }
    }
}

/// Settings of `summarise`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Summary {
    /// Which threshold of a development patient is its best: `dice`, `youden` or `corner`; the mean over patients is used.
    pub criterion: Criterion,
    /// A threshold to use instead, 0 to 1 (0.93 in the paper).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: Option<f64>,
    /// Largest diameter in the curves of sensitivity by size, mm.
    #[schemars(range(min = 1, max = 500))]
    pub size_max_mm: u32,
    /// Whether lesion-wise Dice and HD95 by the rules of BraTS-METS are wanted.
    pub brats: bool,
    /// Resamplings of the patients behind each bootstrap interval; 0 for no intervals.
    #[schemars(range(min = 0, max = 100_000))]
    pub bootstrap: u32,
    /// Seed of the resampling.
    pub seed: u64,
    /// Columns of the cohort's table to tell patients apart by; if empty, all that have two to eight different values.
    pub strata: Vec<String>,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            criterion: Criterion::Dice,
            threshold: None,
            size_max_mm: 45,
            brats: true,
            bootstrap: 2000,
            seed: 1,
            strata: Vec::new(),
        }
    }
}

/// An option that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A share or score that is none.
    #[error("`{name}` is {found}, outside 0 to 1")]
    OutsideUnit {
        /// The option.
        name: &'static str,
        /// Its value.
        found: f64,
    },
    /// A volume that is none.
    #[error("`size_limit_mm3` is {found}, expected 0 or more")]
    Size {
        /// Its value.
        found: f64,
    },
    /// No size to draw a curve to.
    #[error("`size_max_mm` is {found}, expected 1 to 500")]
    SizeMax {
        /// Its value.
        found: u32,
    },
    /// An unknown connectivity.
    #[error(transparent)]
    Connectivity(#[from] UnknownConnectivity),
    /// The text is no table of options.
    #[error("`options` are no JSON table: {message}\nhint: for example {{\"criterion\": \"youden\"}}")]
    NoTable {
        /// What is wrong.
        message: String,
    },
    /// An option that nobody knows.
    #[error("option `{name}` is not known\nhint: there are {known}")]
    Unknown {
        /// The option.
        name: String,
        /// All there are.
        known: String,
    },
    /// An option with a value of another type.
    #[error("an option cannot be used: {message}")]
    Value {
        /// What is wrong.
        message: String,
    },
}

fn unit(name: &'static str, found: f64) -> Result<(), OptionsError> {
    if (0.0..=1.0).contains(&found) { Ok(()) } else { Err(OptionsError::OutsideUnit { name, found }) }
}

impl Options {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn check(&self) -> Result<(), OptionsError> {
        Connectivity::of(self.connectivity)?;
        unit("found_threshold", self.found_threshold)?;
        unit("overlap_min", self.overlap_min)?;
        let found = self.size_limit_mm3;
        if found >= 0.0 && found.is_finite() { Ok(()) } else { Err(OptionsError::Size { found }) }
    }

    /// These settings with what a manifest says of them.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn with(&self, manifest: Option<&str>) -> Result<Self, OptionsError> {
        let merged: Self = merge(self, manifest)?;
        merged.check().map(|()| merged)
    }
}

impl Summary {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn check(&self) -> Result<(), OptionsError> {
        self.threshold.map_or(Ok(()), |threshold| unit("threshold", threshold))?;
        let found = self.size_max_mm;
        if (1..=500).contains(&found) { Ok(()) } else { Err(OptionsError::SizeMax { found }) }
    }

    /// These settings with what a manifest says of them.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn with(&self, manifest: Option<&str>) -> Result<Self, OptionsError> {
        let merged: Self = merge(self, manifest)?;
        merged.check().map(|()| merged)
    }
}

/// Both operators' settings by name: what a manifest may set.
pub fn all(options: &Options, summary: &Summary) -> Map<String, Json> {
    let mut all = as_map(options);
    all.extend(as_map(summary));
    all
}

fn as_map(settings: &impl Serialize) -> Map<String, Json> {
    match serde_json::to_value(settings) {
        Ok(Json::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Replaces the settings that `manifest` names; those of the other operator are let pass, unknown ones are not.
fn merge<T: Serialize + DeserializeOwned + Clone>(
    settings: &T,
    manifest: Option<&str>,
) -> Result<T, OptionsError> {
    let Some(text) = manifest else { return Ok(settings.clone()) };
    let given: Map<String, Json> =
        serde_json::from_str(text).map_err(|error| OptionsError::NoTable { message: error.to_string() })?;
    let known = all(&Options::default(), &Summary::default());
    let mut merged = as_map(settings);
    for (name, value) in given {
        if !known.contains_key(&name) {
            let known = known.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            return Err(OptionsError::Unknown { name, known });
        }
        if let Some(place) = merged.get_mut(&name) {
            *place = value;
        }
    }
    serde_json::from_value(Json::Object(merged))
        .map_err(|error| OptionsError::Value { message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_changes_what_it_names_and_each_operator_takes_its_own() {
        let text =
            Some(r#"{"overlap_min": 0.5, "criterion": "youden", "threshold": 0.93, "overlap_of": "iou"}"#);
        let options = Options::default().with(text).unwrap();
        assert_eq!((options.overlap_min, options.overlap_of), (0.5, OverlapOf::Iou));
        assert_eq!(options.size_limit_mm3, 10.0);
        let summary = Summary::default().with(text).unwrap();
        assert_eq!((summary.criterion, summary.threshold), (Criterion::Youden, Some(0.93)));
        assert_eq!(Options::default().with(None).unwrap(), Options::default());
    }

    #[test]
    fn an_option_that_nobody_knows_is_named_and_so_is_one_out_of_range() {
        let error = |text| Options::default().with(Some(text)).unwrap_err().to_string();
        assert!(error(r#"{"overlap": 0.5}"#).starts_with("option `overlap` is not known\nhint: there are"));
        assert_eq!(error(r#"{"overlap_min": 1.5}"#), "`overlap_min` is 1.5, outside 0 to 1");
        assert!(error(r#"{"connectivity": 7}"#).starts_with("connectivity 7"));
        assert!(error("[]").starts_with("`options` are no JSON table"));
        assert!(error(r#"{"overlap_of": "none"}"#).starts_with("an option cannot be used"));
    }
}
