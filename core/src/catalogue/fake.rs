//! Operators written by hand, for tests of the checker.

#![expect(clippy::unnecessary_wraps, reason = "operators answer as `Ask` says")]

use super::{Catalogue, Found, Lookup, OperatorRef};
use sdk::export::OperatorDescription;
use sdk::port::{Interface, Port, PortSpec, Wiring};
use sdk::schemars::{self, JsonSchema, generate::SchemaSettings};
use sdk::{FileSetting, NoSettings, OperatorError, Scope};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct Matrix {
    /// Voxels of a slice along each side.
    matrix: u32,
}

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "snake_case")]
enum Degrees {
    /// Six.
    #[default]
    Rigid,
    /// Twelve.
    Affine,
}

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct Registration {
    /// What may move.
    degrees: Degrees,
    /// Bins of the joint histogram on each axis.
    #[schemars(range(min = 8, max = 512))]
    bins: u32,
}

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct Strip {
    fractional_threshold: f64,
    verbose: bool,
}

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct Network {
    models: Vec<FileSetting>,
    #[schemars(range(min = 0.0, max = 1.0))]
    threshold: Option<f64>,
}

type Ask = fn(&Json, &Wiring, Interface) -> Result<Interface, OperatorError>;

struct Operator {
    plugin: String,
    description: OperatorDescription,
    ask: Ask,
}

/// The operators of the tests.
pub(crate) struct Fake {
    operators: Vec<Operator>,
}

/// The description of an operator.
fn describe<S: JsonSchema>(
    name: &str,
    role: Option<&str>,
    inputs: &[Port],
    outputs: &[Port],
) -> OperatorDescription {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<S>();
    OperatorDescription {
        name: name.to_owned(),
        role: role.map(str::to_owned),
        summary: String::new(),
        scope: Scope::Case,
        inputs: inputs.iter().map(PortSpec::from).collect(),
        outputs: outputs.iter().map(PortSpec::from).collect(),
        settings: serde_json::to_value(schema).unwrap(),
        citation: String::new(),
        gpu: false,
    }
}

fn plain(_: &Json, _: &Wiring, interface: Interface) -> Result<Interface, OperatorError> {
    Ok(interface)
}

fn resample(_: &Json, wiring: &Wiring, interface: Interface) -> Result<Interface, OperatorError> {
    Ok(if wiring.has("transform") { interface } else { interface.in_one_frame("m", "g") })
}

/// Wants `bravo` and one more channel; says which one stands in.
fn segment(_: &Json, wiring: &Wiring, interface: Interface) -> Result<Interface, OperatorError> {
    let channels = wiring.members("channels");
    if channels.len() < 2 {
        return Err(OperatorError::refused(format!("1 channel before 2: {channels:?}")).hint("wire `t1_pre`"));
    }
    Ok(if channels.contains(&"flair") {
        interface
    } else {
        interface.note("without flair the model `mini` stands in")
    })
}

fn phantom(_: &Json, _: &Wiring, interface: Interface) -> Result<Interface, OperatorError> {
    Ok(interface.with_members("images", ["bravo", "flair"]))
}

impl Fake {
    pub(crate) fn new() -> Self {
        let mut fake = Self { operators: Vec::new() };
        fake.registration();
        fake.rest();
        fake
    }

    pub(crate) fn add(&mut self, plugin: &str, description: OperatorDescription, ask: Ask) {
        self.operators.push(Operator { plugin: plugin.to_owned(), description, ask });
    }

    fn registration(&mut self) {
        let image = |name| Port::image(name);
        let register = describe::<Registration>(
            "register",
            Some("registrar"),
            &[image("fixed").on("f"), image("moving").on("m")],
            &[image("registered").on("f"), Port::transform("fixed_to_moving").maps("f", "m")],
        );
        self.add("registration", register, plain);
        let transform = Port::transform("transform").maps("g", "m").optional();
        let inputs = [Port::volume_of("image", "K").on("m"), Port::volume("like").on("g"), transform];
        let outputs = [Port::volume_of("image", "K").on("g")];
        self.add("registration", describe::<NoSettings>("resample", None, &inputs, &outputs), resample);
        let outputs = [image("image").derived("n", "g")];
        self.add(
            "registration",
            describe::<Matrix>("fit_matrix", None, &[image("image").on("g")], &outputs),
            plain,
        );
        let outputs = [image("image").cropped("c", "g")];
        self.add(
            "registration",
            describe::<NoSettings>("crop", None, &[image("image").on("g")], &outputs),
            plain,
        );
    }

    fn rest(&mut self) {
        let image = |name| Port::image(name);
        let head = [image("head").on("h")];
        let mask = [Port::mask("mask").on("h")];
        self.add("skull_strip", describe::<Strip>("bet", Some("skull_stripper"), &head, &mask), plain);
        self.add("minimal", describe::<NoSettings>("my_strip", Some("skull_stripper"), &head, &mask), plain);
        let inputs = [image("image").on("g"), Port::mask("mask").on("g").optional()];
        let outputs = [image("image").on("g")];
        let role = Some("normaliser");
        self.add("normalise", describe::<NoSettings>("histogram_equalise", role, &inputs, &outputs), plain);
        self.add("normalise", describe::<NoSettings>("z_score", role, &inputs, &outputs), plain);
        self.add("normalise", describe::<NoSettings>("bias_correct", None, &inputs, &outputs), plain);
        let inputs = [image("channels").on("g").many(), Port::mask("mask").on("g").optional()];
        let outputs = [Port::probability("probability").on("g")];
        self.add("segment", describe::<Network>("segment", Some("segmenter"), &inputs, &outputs), segment);
        let inputs = [Port::probability("probability").on("g"), Port::mask("mask").on("g").optional()];
        let outputs = [Port::labels("labels").on("g"), Port::table("table")];
        self.add("lesions", describe::<NoSettings>("filter_lesions", None, &inputs, &outputs), plain);
        let inputs = [
            image("images").many().optional(),
            Port::labels("lesions").optional(),
            Port::table("table").optional(),
            Port::document("outcome").optional(),
            Port::text("label").optional(),
        ];
        self.add(
            "report",
            describe::<NoSettings>("case_report", None, &inputs, &[Port::document("html")]),
            plain,
        );
        let outputs = [image("images").many().fresh("p"), Port::labels("truth").on("p")];
        self.add("phantom", describe::<NoSettings>("phantom", None, &[], &outputs), phantom);
        let mut cohort = describe::<NoSettings>("cohort_report", None, &[], &[Port::document("html")]);
        cohort.scope = Scope::Cohort;
        self.add("report", cohort, plain);
        let inputs = [
            Port::table("table").about("measurements"),
            image("image").on("g").optional(),
            Port::labels("labels").on("g").optional(),
        ];
        let mut cohort = describe::<Strip>("summarise", None, &inputs, &[Port::table("table")]);
        cohort.scope = Scope::Cohort;
        self.add("evaluate", cohort, plain);
        let inputs = [Port::labels("lesions")];
        let mut subject = describe::<NoSettings>("follow", None, &inputs, &[Port::table("table")]);
        subject.scope = Scope::Subject;
        self.add("evaluate", subject, plain);
    }

    /// An operator whose code panics when it is asked for its ports.
    pub(crate) fn with_a_panic(mut self) -> Self {
        let description = describe::<NoSettings>(
            "boom",
            None,
            &[Port::image("head").on("h")],
            &[Port::mask("mask").on("h")],
        );
        let ask: Ask =
            |_, _, _| Err(OperatorError::panicked("index 3 of 2", Some("boom.rs:7:1".to_owned()), None));
        self.add("hostile", description, ask);
        self
    }

    /// An operator whose output is of any kind.
    pub(crate) fn with_a_riddle(mut self) -> Self {
        let outputs = [Port::any("thing")];
        let description = describe::<NoSettings>("boom", None, &[Port::image("head").on("h")], &outputs);
        self.add("hostile", description, plain);
        self
    }

    /// A second plugin that offers `bet`.
    pub(crate) fn with_a_clash(mut self) -> Self {
        self.add("other", describe::<NoSettings>("bet", None, &[Port::image("head").on("h")], &[]), plain);
        self
    }
}

impl Catalogue for Fake {
    fn operators(&self) -> Vec<OperatorRef> {
        let operator = |operator: &Operator| OperatorRef {
            plugin: operator.plugin.clone(),
            name: operator.description.name.clone(),
        };
        self.operators.iter().map(operator).collect()
    }

    fn find(&self, name: &str) -> Result<Found<'_>, Lookup> {
        let (plugin, bare) = name.split_once(':').map_or((None, name), |(plugin, bare)| (Some(plugin), bare));
        let fits = |one: &&Operator| {
            one.description.name == bare && plugin.is_none_or(|plugin| one.plugin == plugin)
        };
        let found: Vec<_> = self.operators.iter().filter(fits).collect();
        let reference = |one: &Operator| OperatorRef { plugin: one.plugin.clone(), name: bare.to_owned() };
        match found.as_slice() {
            [] => Err(Lookup::Unknown),
            [one] => Ok(Found { operator: reference(one), description: &one.description }),
            many => Err(Lookup::Ambiguous(many.iter().map(|one| reference(one).to_string()).collect())),
        }
    }

    fn interface(
        &self,
        operator: &OperatorRef,
        settings: &Json,
        wiring: &Wiring,
    ) -> Result<Interface, OperatorError> {
        let found = self
            .operators
            .iter()
            .find(|one| one.plugin == operator.plugin && one.description.name == operator.name);
        let found = found.ok_or_else(|| OperatorError::failed(format!("no operator {operator}")))?;
        let (inputs, outputs) = (found.description.inputs.clone(), found.description.outputs.clone());
        (found.ask)(settings, wiring, Interface { inputs, outputs, ..Interface::default() })
    }
}
