//! Normalise: brings intensities of different scans onto one scale.
//!
//! The methods are in [`bias`], [`equalise`], [`standardise`] and [`matching`]; this file is only the plugin's face towards the
//! engine.

pub mod bias;
pub mod equalise;
pub mod matching;
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

const FIELD: Port = Port::image("bias_field").on("g").about("factor at each voxel that was divided out");

/// Operator `bias_correct`.
#[derive(Debug)]
pub struct BiasCorrect {
    options: bias::Options,
}

impl Operator for BiasCorrect {
    const INFO: OperatorInfo = OperatorInfo {
        name: "bias_correct",
        role: Some("bias_corrector"),
        summary: "Divide the slow change of brightness that the coils leave out of an image.",
        inputs: &[
            Port::image("image").on("g").about("intensities of a magnitude image, before any shift"),
            Port::mask("mask").on("g").optional().about("where to fit; without it: above Otsu's threshold"),
        ],
        outputs: &[Port::image("image").on("g").about("corrected intensities"), FIELD.optional()],
        citation: "Tustison NJ, Avants BB, Cook PA, et al. N4ITK: improved N3 bias correction. IEEE Trans Med Imaging \
                   2010;29(6):1310-1320.",
        ..OperatorInfo::CASE
    };
    type Settings = bias::Options;

    fn interface(options: &bias::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        let outputs = [Self::INFO.outputs[0], FIELD];
        Ok(Interface::of(Self::INFO.inputs, if options.bias_field { &outputs } else { &outputs[..1] }))
    }

    fn open(options: bias::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let (image, mask) = (inputs.image("image")?, inputs.optional_mask("mask")?);
        let corrected = bias::correct(&image, mask.as_ref(), &self.options, ctx)?;
        let facts = inputs.facts("image");
        let outputs = Outputs::new().with("image", Value::from(corrected.image).facts(&facts));
        Ok(match corrected.field {
            Some(field) => outputs.with("bias_field", Value::from(field).facts(&facts)),
            None => outputs,
        })
    }
}

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

/// Operator `match_histogram`.
#[derive(Debug)]
pub struct MatchHistogram {
    options: matching::Options,
}

impl Operator for MatchHistogram {
    const INFO: OperatorInfo = OperatorInfo {
        name: "match_histogram",
        role: Some("normaliser"),
        summary: "Bring the percentiles of an image onto those of a reference image.",
        inputs: &[
            INPUTS[0],
            INPUTS[1],
            Port::image("reference").on("r").about("image of the same contrast, of anyone, on any grid"),
            Port::mask("reference_mask").on("r").optional().about("brain of the reference"),
        ],
        outputs: OUTPUTS,
        citation: "Nyúl LG, Udupa JK, Zhang X. New variants of a method of MRI scale standardization. IEEE Trans Med Imaging \
                   2000;19(2):143-150.",
        ..OperatorInfo::CASE
    };
    type Settings = matching::Options;

    fn interface(options: &matching::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: matching::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let (image, mask) = (inputs.image("image")?, inputs.optional_mask("mask")?);
        let (reference, reference_mask) =
            (inputs.image("reference")?, inputs.optional_mask("reference_mask")?);
        let onto = (&reference, reference_mask.as_ref());
        let matched = matching::match_to(&image, mask.as_ref(), onto, &self.options, ctx)?;
        Ok(Outputs::new().with("image", Value::from(matched).facts(&inputs.facts("image"))))
    }
}

sdk::export_plugin![BiasCorrect, HistogramEqualise, ZScore, MatchHistogram];
