//! Lesions: filters candidates out of a score map and measures what remains.
//!
//! The methods are in [`filter`] and [`measure`]; this file is only the plugin's face towards the engine.

pub mod filter;
pub mod measure;

use sdk::{
    Context, Inputs, Interface, Operator, OperatorError, OperatorInfo, Outputs, Place, Port, Value, Wiring,
};

/// Operator `filter_lesions`.
#[derive(Debug)]
pub struct FilterLesions {
    options: filter::Options,
}

impl Operator for FilterLesions {
    const INFO: OperatorInfo = OperatorInfo {
        name: "filter_lesions",
        role: Some("lesion_filter"),
        summary: "Turn a score map into lesions: threshold, connected components, size limit.",
        inputs: &[
            Port::probability("probability").on("g").about("score of each voxel"),
            Port::mask("mask").on("g").optional().about("brain; lesions are sought inside"),
        ],
        outputs: &[
            Port::labels("labels").on("g").about("accepted lesions, 1 to n, largest first"),
            Port::labels("below_size")
                .on("g")
                .about("candidates below the size limit, n + 1 and up, largest first"),
            Port::table("candidates").about("every candidate with class, rule and value"),
        ],
        citation: filter::CITATION,
        ..OperatorInfo::CASE
    };
    type Settings = filter::Options;

    fn interface(options: &filter::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: filter::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let mut facts = inputs.facts("probability");
        let (threshold, source) = filter::threshold(&self.options, &facts)?;
        let (probability, mask) = (inputs.probability("probability")?, inputs.optional_mask("mask")?);
        let found = filter::lesions(&probability, mask.as_ref(), threshold, &self.options, ctx)?;
        facts.set("threshold", threshold);
        facts.set("threshold_source", source.name());
        if found.non_finite > 0 {
            facts.warn(format!("{} scores are not finite and count as 0", found.non_finite));
        }
        let with_facts = |value: Value| value.facts(&facts);
        Ok(Outputs::new()
            .with("labels", with_facts(found.labels.into()))
            .with("below_size", with_facts(found.below_size.into()))
            .with("candidates", with_facts(found.table.into())))
    }
}

/// Operator `measure_lesions`.
#[derive(Debug)]
pub struct MeasureLesions {
    options: measure::Options,
}

impl Operator for MeasureLesions {
    const INFO: OperatorInfo = OperatorInfo {
        name: "measure_lesions",
        summary: "Measure volume, place, diameters, scores and contrast of each lesion, and the burden of the case.",
        inputs: &[
            Port::labels("labels").on("g").about("each label is a lesion"),
            Port::image("image")
                .on("g")
                .optional()
                .about("intensities in which lesions enhance, for the contrast ratio"),
            Port::probability("probability").on("g").optional().about("scores the lesions were made from"),
            Port::mask("mask").on("g").optional().about("brain"),
        ],
        outputs: &[Port::table("table").about("a row for each lesion; its fact `burden` sums them up")],
        citation: measure::CITATION,
        ..OperatorInfo::CASE
    };
    type Settings = measure::Options;

    fn interface(options: &measure::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: measure::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let labels = inputs.labels("labels")?;
        let (image, probability) =
            (inputs.optional_image("image")?, inputs.optional_probability("probability")?);
        let mask = inputs.optional_mask("mask")?;
        let beside =
            measure::Beside { image: image.as_ref(), probability: probability.as_ref(), mask: mask.as_ref() };
        let measured = measure::measure(&labels, beside, &self.options, ctx)?;
        let mut facts = inputs.facts("labels");
        facts.set("burden", serde_json::to_value(measured.burden)?);
        if let Some(warning) = measured.warning {
            facts.warn(warning);
        }
        Ok(Outputs::new().with("table", Value::from(measured.table).facts(&facts)))
    }
}

sdk::export_plugin![FilterLesions, MeasureLesions];
