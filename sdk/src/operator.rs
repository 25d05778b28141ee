//! The trait a plugin author writes, and what an operator reads and makes.

use crate::context::Context;
use crate::error::OperatorError;
use crate::port::{Interface, Port, Wiring};
use crate::value::{Content, Document, Facts, Kind, Table, Transform, Value};
use crate::volume::{AnyVolume, Image, Labels, Mask, Probability};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How many cases an operator looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One imaging session.
    #[default]
    Case,
    /// All sessions of one subject, in order.
    Subject,
    /// All cases of a run.
    Cohort,
}

/// What an operator is, as a constant.
#[derive(Clone, Copy, Debug)]
pub struct OperatorInfo {
    /// Its name in workflows.
    pub name: &'static str,
    /// Operators of one role share their ports, so that one line swaps them.
    pub role: Option<&'static str>,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// How many cases it looks at.
    pub scope: Scope,
    /// What it reads.
    pub inputs: &'static [Port],
    /// What it makes.
    pub outputs: &'static [Port],
    /// The publication behind the method, for methods paragraphs; empty if none.
    pub citation: &'static str,
    /// Whether it works on a GPU where it is given one: such a stage takes a GPU for itself while it runs.
    pub gpu: bool,
}

impl OperatorInfo {
    /// Defaults for an operator on single cases.
    pub const CASE: Self = Self {
        name: "",
        role: None,
        summary: "",
        scope: Scope::Case,
        inputs: &[],
        outputs: &[],
        citation: "",
        gpu: false,
    };
    /// Defaults for an operator on the sessions of a subject.
    pub const SUBJECT: Self = Self { scope: Scope::Subject, ..Self::CASE };
    /// Defaults for an operator on a cohort.
    pub const COHORT: Self = Self { scope: Scope::Cohort, ..Self::CASE };
}

/// Where an operator is opened.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// `cpu`, `cuda:0` … or `auto`.
    #[serde(default)]
    pub device: String,
    /// Threads the stage may use.
    #[serde(default)]
    pub threads: usize,
    /// The folder of the plugin's own file: helpers lie beside it.
    #[serde(default)]
    pub plugin_dir: PathBuf,
    /// What the site's `neuroloom.toml` says under the plugin's own name (`[torch] lib_dir` …), whole.
    #[serde(default)]
    pub site: serde_json::Value,
}

/// Settings without any entry.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// A setting that names a file. In a workflow it is relative to the file that wrote it; the engine makes it absolute,
/// checks that it is there, and counts its content as part of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileSetting(pub PathBuf);

impl JsonSchema for FileSetting {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "File".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "file" })
    }
}

impl AsRef<Path> for FileSetting {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

/// What an operator says of a model file, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// What is known, in the order in which it is read: a name of few words, and a text.
    pub lines: Vec<(String, String)>,
    /// What must be said to whoever uses the model.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// An operator on single cases.
///
/// The engine asks `interface` while it checks a workflow, opens one instance for each worker, and calls `run` once a case.
pub trait Operator: Send + Sized + 'static {
    /// Name, role, ports.
    const INFO: OperatorInfo;
    /// What the workflow can set; `deny_unknown_fields`, with a default for each.
    type Settings: DeserializeOwned + JsonSchema;

    /// The ports for one exact pattern of presence. Fast, and without weights or devices: `check` and `plan` call it.
    ///
    /// # Errors
    /// [`OperatorError::refused`] makes the pattern impossible, with the reason.
    fn interface(_settings: &Self::Settings, _wiring: &Wiring) -> Result<Interface, OperatorError> {
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    /// What decides the results beside the plugin's own file, the settings and the files they name: a backend's library, an
    /// outside program's version. Asked once a run; a change makes kept results stale. Never the device or the threads.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn identity(_settings: &Self::Settings, _place: &Place) -> Result<String, OperatorError> {
        Ok(String::new())
    }

    /// What a model file holds; `None` from an operator that reads no model files. Fast, and without weights or devices.
    ///
    /// # Errors
    /// Why this operator could not use the file.
    fn inspect(_file: &Path) -> Result<Option<Inspection>, OperatorError> {
        Ok(None)
    }

    /// Loads weights, chooses a device.
    ///
    /// # Errors
    /// When it cannot work here.
    fn open(settings: Self::Settings, place: &Place) -> Result<Self, OperatorError>;

    /// Works on one case.
    ///
    /// # Errors
    /// When this case cannot be done; others go on.
    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError>;
}

/// An operator on a group of cases: the sessions of a subject, or a cohort.
pub trait GroupOperator: Send + Sized + 'static {
    /// Name, role, ports, scope.
    const INFO: OperatorInfo;
    /// What the workflow can set.
    type Settings: DeserializeOwned + JsonSchema;

    /// As [`Operator::interface`].
    ///
    /// # Errors
    /// [`OperatorError::refused`] with the reason.
    fn interface(_settings: &Self::Settings, _wiring: &Wiring) -> Result<Interface, OperatorError> {
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    /// As [`Operator::identity`].
    ///
    /// # Errors
    /// When it cannot be found out.
    fn identity(_settings: &Self::Settings, _place: &Place) -> Result<String, OperatorError> {
        Ok(String::new())
    }

    /// As [`Operator::open`].
    ///
    /// # Errors
    /// When it cannot work here.
    fn open(settings: Self::Settings, place: &Place) -> Result<Self, OperatorError>;

    /// Works on the group.
    ///
    /// # Errors
    /// When the group cannot be done.
    fn run(&mut self, cases: &dyn Cases, ctx: &Context) -> Result<Outputs, OperatorError>;
}

/// A case of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseEntry {
    /// `sub-01_ses-02`.
    pub label: String,
    /// Subject, without `sub-`.
    #[serde(default)]
    pub subject: String,
    /// Session, without `ses-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Why the case has no values, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The way out, if the case failed and one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What a failed case left all the same, such as its page: paths within the output folder, with `/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// What the cohort's table says of it beside its files: `split`, `date`, `seed` …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
}

impl CaseEntry {
    /// The case called `sub-01` or `sub-01_ses-02`.
    pub fn of(label: &str) -> Self {
        let (subject, session) = match label.split_once("_ses-") {
            Some((subject, session)) => (subject, Some(session.to_owned())),
            None => (label, None),
        };
        let subject = subject.strip_prefix("sub-").unwrap_or(subject).to_owned();
        Self { label: label.to_owned(), subject, session, ..Self::default() }
    }
}

/// The cases of a group, in label order (sessions in time order): any of them, as often as wanted.
///
/// A failed case is among them, with its reason and no values. A case without a failure has something at every required port.
pub trait Cases {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who the case is, and whether it failed.
    ///
    /// # Errors
    /// When the engine's answer cannot be read.
    fn entry(&self, index: usize) -> Result<CaseEntry, OperatorError>;

    /// What the case has at the operator's input ports; none of it for a failed case.
    ///
    /// # Errors
    /// When a stored value cannot be read.
    fn inputs(&self, index: usize) -> Result<Inputs, OperatorError>;
}

/// A value at a port: `(port, member, value)`; the member is empty on a port that holds one value.
#[derive(Clone, Debug)]
struct Entry {
    port: String,
    member: String,
    value: Value,
}

/// What an operator reads in one run.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    entries: Vec<Entry>,
}

/// What an operator made in one run.
pub type Outputs = Inputs;

macro_rules! typed_input {
    ($($single:ident $optional:ident $many:ident $type:ty, $kind:ident, $words:literal;)*) => {$(
        #[doc = concat!("The ", $words, " at `port`.")]
        ///
        /// # Errors
        /// When the port is empty or holds another kind.
        pub fn $single(&self, port: &str) -> Result<$type, OperatorError> {
            self.$optional(port)?.ok_or_else(|| missing(port))
        }

        #[doc = concat!("The ", $words, " at an optional `port`.")]
        ///
        /// # Errors
        /// When the port holds another kind.
        pub fn $optional(&self, port: &str) -> Result<Option<$type>, OperatorError> {
            self.value(port).map(|value| as_kind(value, port)).transpose()
        }

        #[doc = concat!("The named set at `port`, each ", $words, ", in the order they were wired.")]
        ///
        /// # Errors
        /// When a member is of another kind.
        pub fn $many(&self, port: &str) -> Result<Vec<(String, $type)>, OperatorError> {
            self.members(port).map(|(name, value)| Ok((name.to_owned(), as_kind(value, port)?))).collect()
        }
    )*};
}

impl Inputs {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Adds a value at `port`.
    #[must_use]
    pub fn with(mut self, port: &str, value: impl Into<Value>) -> Self {
        self.insert(port, "", value.into());
        self
    }

    /// Adds a member to the named set at `port`.
    #[must_use]
    pub fn with_member(mut self, port: &str, member: &str, value: impl Into<Value>) -> Self {
        self.insert(port, member, value.into());
        self
    }

    /// Adds a value at a port; `member` is empty unless the port holds a set.
    pub fn insert(&mut self, port: &str, member: &str, value: Value) {
        self.entries.push(Entry { port: port.to_owned(), member: member.to_owned(), value });
    }

    /// The single value at `port`, whatever its kind.
    pub fn value(&self, port: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.port == port).map(|entry| &entry.value)
    }

    /// The members at `port`, whatever their kinds, in the order they were wired.
    pub fn members(&self, port: &str) -> impl Iterator<Item = (&str, &Value)> {
        let port = port.to_owned();
        self.entries.iter().filter(move |e| e.port == port).map(|e| (e.member.as_str(), &e.value))
    }

    /// The facts of the single value at `port`; none if it is absent.
    pub fn facts(&self, port: &str) -> Facts {
        self.value(port).map(|value| value.facts.clone()).unwrap_or_default()
    }

    /// Every `(port, member, value)`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.entries.iter().map(|e| (e.port.as_str(), e.member.as_str(), &e.value))
    }

    /// Every `(port, member, value)`, taken apart.
    pub fn into_entries(self) -> impl Iterator<Item = (String, String, Value)> {
        self.entries.into_iter().map(|e| (e.port, e.member, e.value))
    }

    typed_input! {
        image optional_image images Image, Image, "image (a mask or probability counts as one)";
        mask optional_mask masks Mask, Mask, "mask";
        labels optional_labels label_sets Labels, Labels, "labels";
        probability optional_probability probabilities Probability, Probability, "probability";
        volume optional_volume volumes AnyVolume, Image, "volume of any kind";
        transform optional_transform transforms Transform, Transform, "transform";
        table optional_table tables Table, Table, "table";
        document optional_document documents Document, Document, "document";
        file optional_file files PathBuf, File, "file";
        text optional_text texts String, Text, "text";
        number optional_number numbers f64, Number, "number";
    }
}

fn missing(port: &str) -> OperatorError {
    OperatorError::failed(format!("nothing at the required input `{port}`"))
}

fn as_kind<T: FromValue>(value: &Value, port: &str) -> Result<T, OperatorError> {
    T::from_value(value).ok_or_else(|| {
        let (found, expected) = (value.kind(), T::NAME);
        OperatorError::failed(format!("input `{port}` holds {found} where {expected} is expected"))
    })
}

/// What the typed readers of [`Inputs`] return.
trait FromValue: Sized {
    const NAME: &'static str;
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty, $name:literal, $pattern:pat => $take:expr;)*) => {$(
        impl FromValue for $type {
            const NAME: &'static str = $name;
            fn from_value(value: &Value) -> Option<Self> {
                match &value.content {
                    $pattern => Some($take),
                    _ => None,
                }
            }
        }
    )*};
}
from_value! {
    Mask, "mask", Content::Volume(AnyVolume::Mask(v)) => v.clone();
    Labels, "labels", Content::Volume(AnyVolume::Labels(v)) => v.clone();
    Probability, "probability", Content::Volume(AnyVolume::Probability(v)) => v.clone();
    AnyVolume, "a volume", Content::Volume(v) => v.clone();
    Transform, "transform", Content::Transform(v) => v.clone();
    Table, "table", Content::Table(v) => v.clone();
    Document, "document", Content::Document(v) => v.clone();
    PathBuf, "file", Content::File(v) => v.clone();
    String, "text", Content::Text(v) => v.clone();
    f64, "number", Content::Number(v) => *v;
}

impl FromValue for Image {
    const NAME: &'static str = Kind::Image.name();

    fn from_value(value: &Value) -> Option<Self> {
        match value.volume()? {
            AnyVolume::Image(v) => Some(v.clone()),
            AnyVolume::Probability(v) => Some(v.to_image()),
            AnyVolume::Mask(v) => Some(v.to_image()),
            AnyVolume::Labels(_) => None,
        }
    }
}
