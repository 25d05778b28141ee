//! Volume math: small arithmetic on volumes.
//!
//! The methods are in [`mask`], [`threshold`], [`select`], [`subtract`] and [`logistic`]; this file is only the plugin's face
//! towards the engine.

pub mod logistic;
pub mod mask;
pub mod select;
pub mod subtract;
pub mod threshold;

use sdk::{
    Context, Facts, Grid, Inputs, Interface, Operator, OperatorError, OperatorInfo, Outputs, Place, Port,
    Value, Wiring,
};

/// Two volumes that cannot be compared voxel by voxel.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{name}` on {found} beside a volume on {expected}\nhint: `resample` one of them onto the other's grid"
)]
pub struct OtherGrid {
    /// Port of the volume that does not fit.
    pub name: &'static str,
    /// Its grid.
    pub found: Box<Grid>,
    /// The grid of the other volume.
    pub expected: Box<Grid>,
}

impl OtherGrid {
    /// Whether the volume at port `name` fits.
    ///
    /// # Errors
    /// [`OtherGrid`] if it does not.
    pub fn check(name: &'static str, found: &Grid, expected: &Grid) -> Result<(), Self> {
        if expected.matches(found) {
            Ok(())
        } else {
            Err(Self { name, found: Box::new(*found), expected: Box::new(*expected) })
        }
    }
}

/// Operator `apply_mask`.
#[derive(Debug)]
pub struct ApplyMask {
    options: mask::Options,
}

impl Operator for ApplyMask {
    const INFO: OperatorInfo = OperatorInfo {
        name: "apply_mask",
        summary: "Keep a volume inside a mask and write one value outside.",
        inputs: &[Port::volume_of("image", "K").on("g"), Port::mask("mask").on("g")],
        outputs: &[Port::volume_of("image", "K").on("g")],
        ..OperatorInfo::CASE
    };
    type Settings = mask::Options;

    fn interface(options: &mask::Options, wiring: &Wiring) -> Result<Interface, OperatorError> {
        let kinds = wiring.ports.get("image").into_iter().flatten().map(|(_, kind)| *kind);
        kinds.into_iter().try_for_each(|kind| options.check(kind))?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: mask::Options, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let volume = inputs.volume("image")?;
        let masked = mask::apply(&volume, &inputs.mask("mask")?, &self.options, ctx)?;
        Ok(Outputs::new().with("image", Value::from(masked).facts(&inputs.facts("image"))))
    }
}

/// Operator `threshold`.
#[derive(Debug)]
pub struct Threshold {
    options: threshold::Options,
}

impl Operator for Threshold {
    const INFO: OperatorInfo = OperatorInfo {
        name: "threshold",
        summary: "Mark the voxels of an image whose values lie between two bounds.",
        inputs: &[Port::image("image").on("g").about("an image, probability or mask")],
        outputs: &[Port::mask("mask").on("g")],
        ..OperatorInfo::CASE
    };
    type Settings = threshold::Options;

    fn interface(options: &threshold::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: threshold::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let mask = threshold::threshold(&inputs.image("image")?, &self.options, ctx)?;
        Ok(Outputs::new().with("mask", Value::from(mask).facts(&inputs.facts("image"))))
    }
}

/// Operator `select_labels`.
#[derive(Debug)]
pub struct SelectLabels {
    options: select::Options,
}

impl Operator for SelectLabels {
    const INFO: OperatorInfo = OperatorInfo {
        name: "select_labels",
        summary: "Mark the voxels that carry one of the given labels.",
        inputs: &[Port::labels("labels").on("g")],
        outputs: &[Port::mask("mask").on("g")],
        ..OperatorInfo::CASE
    };
    type Settings = select::Options;

    fn interface(options: &select::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: select::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let (mask, missing) = select::select(&inputs.labels("labels")?, &self.options, ctx)?;
        let mut facts: Facts = inputs.facts("labels");
        if !missing.is_empty() {
            facts.warn(format!("no voxel carries the labels {missing:?}"));
        }
        Ok(Outputs::new().with("mask", Value::from(mask).facts(&facts)))
    }
}

/// Operator `subtract`.
#[derive(Debug)]
pub struct Subtract;

impl Operator for Subtract {
    const INFO: OperatorInfo = OperatorInfo {
        name: "subtract",
        summary: "Subtract image `b` from image `a`, voxel by voxel.",
        inputs: &[Port::image("a").on("g"), Port::image("b").on("g").about("what is taken away")],
        outputs: &[Port::image("image").on("g")],
        ..OperatorInfo::CASE
    };
    type Settings = sdk::NoSettings;

    fn open(_: sdk::NoSettings, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self)
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let difference = subtract::subtract(&inputs.image("a")?, &inputs.image("b")?, ctx)?;
        Ok(Outputs::new().with("image", Value::from(difference).facts(&inputs.facts("a"))))
    }
}

/// Operator `logistic`.
#[derive(Debug)]
pub struct Logistic {
    options: logistic::Options,
}

impl Operator for Logistic {
    const INFO: OperatorInfo = OperatorInfo {
        name: "logistic",
        summary: "Turn the intensities of an image into scores from 0 to 1.",
        inputs: &[Port::image("image").on("g").about("intensities on a known scale, as of `z_score`")],
        outputs: &[Port::probability("probability").on("g")],
        ..OperatorInfo::CASE
    };
    type Settings = logistic::Options;

    fn interface(options: &logistic::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: logistic::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let scores = logistic::logistic(&inputs.image("image")?, &self.options, ctx)?;
        Ok(Outputs::new().with("probability", Value::from(scores).facts(&inputs.facts("image"))))
    }
}

sdk::export_plugin![ApplyMask, Threshold, SelectLabels, Subtract, Logistic];
