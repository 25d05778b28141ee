//! Lesions: filters candidates out of a score map.
//!
//! The method is in [`filter`]; this file is only the plugin's face towards the engine.

pub mod filter;

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

sdk::export_plugin![FilterLesions];
