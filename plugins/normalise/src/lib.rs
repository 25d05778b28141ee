//! Normalise: brings intensities of different scans onto one scale.
//!
//! The methods are in [`equalise`] and [`standardise`]; this file is only the plugin's face towards the engine.

pub mod equalise;
pub mod region;
pub mod standardise;

use sdk::{
    Context, Inputs, Interface, Operator, OperatorError, OperatorInfo, Outputs, Place, Port, Value, Wiring,
};

const INPUTS: &[Port] = &[
    Port::image("image").on("g").about("intensities in any unit"),
    Port::mask("mask").on("g").optional().about("brain; voxels outside are background"),
];
const OUTPUTS: &[Port] = &[Port::image("image").on("g").about("normalised intensities")];

/// Operator `histogram_equalise`.
#[derive(Debug)]
pub struct HistogramEqualise {
    options: equalise::Options,
}

impl Operator for HistogramEqualise {
    const INFO: OperatorInfo = OperatorInfo {
        name: "histogram_equalise",
        role: Some("normaliser"),
        summary: "Spread the intensities of each slice evenly over 0 to 1.",
        inputs: INPUTS,
        outputs: OUTPUTS,
        ..OperatorInfo::CASE
    };
    type Settings = equalise::Options;

    fn interface(options: &equalise::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(INPUTS, OUTPUTS))
    }

    fn open(options: equalise::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let (image, mask) = (inputs.image("image")?, inputs.optional_mask("mask")?);
        let equalised = equalise::equalise(&image, mask.as_ref(), &self.options, ctx)?;
        Ok(Outputs::new().with("image", Value::from(equalised).facts(&inputs.facts("image"))))
    }
}

/// Operator `z_score`.
#[derive(Debug)]
pub struct ZScore {
    options: standardise::Options,
}

impl Operator for ZScore {
    const INFO: OperatorInfo = OperatorInfo {
        name: "z_score",
        role: Some("normaliser"),
        summary: "Shift and scale the intensities to centre 0 and spread 1.",
        inputs: INPUTS,
        outputs: OUTPUTS,
        ..OperatorInfo::CASE
    };
    type Settings = standardise::Options;

    fn open(options: standardise::Options, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let (image, mask) = (inputs.image("image")?, inputs.optional_mask("mask")?);
        let (standardised, scale) = standardise::z_score(&image, mask.as_ref(), &self.options, ctx)?;
        tracing::debug!(centre = scale.centre, spread = scale.spread, "z-score");
        Ok(Outputs::new().with("image", Value::from(standardised).facts(&inputs.facts("image"))))
    }
}

sdk::export_plugin![HistogramEqualise, ZScore];
