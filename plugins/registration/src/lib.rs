//! Registration: brings images onto one grid.
//!
//! The methods are in [`rigid`] and its parts, [`fit_matrix`], and `sdk::imaging::resample`; this file and [`resample`] are
//! only the plugin's face towards the engine.

pub mod fit_matrix;
pub mod metric;
pub mod optimise;
pub mod pose;
pub mod pyramid;
pub mod quality;
pub mod resample;
pub mod rigid;
pub mod start;

use quality::Quality;
pub use resample::Resample;
use sdk::imaging::resample::{Interpolation, image as resample_image};
use sdk::schemars::JsonSchema;
use sdk::{
    Context, Inputs, Interface, Operator, OperatorError, OperatorInfo, Outputs, Place, Port, Value, Wiring,
};
use serde::{Deserialize, Serialize};

/// What a workflow can set for `register`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// How values between voxels are found: `nearest`, `linear`, `cubic` (B-spline) or `sinc` (Lanczos, radius 4).
    pub interpolation: Interpolation,
}

/// Operator `register`.
#[derive(Debug)]
pub struct Register {
    options: Options,
}

impl Operator for Register {
    const INFO: OperatorInfo = OperatorInfo {
        name: "register",
        role: Some("registrar"),
        summary: "Move an image rigidly so that it shows the same head in the same place as another.",
        inputs: &[
            Port::image("fixed").on("f").about("the image that stays"),
            Port::image("moving").on("m").about("the image that is brought onto its grid"),
            Port::mask("fixed_mask").on("f").optional().about("where to look; everywhere without it"),
        ],
        outputs: &[
            Port::image("registered")
                .on("f")
                .about("the moving image on the fixed grid; 0 where it does not reach"),
            Port::transform("fixed_to_moving")
                .maps("f", "m")
                .about("where in moving to look for a fixed point"),
            Port::table("quality").about("metric, angles, shift and overlap, in one row"),
        ],
        citation: "C. Studholme, D. Hill, D. Hawkes, An overlap invariant entropy measure of 3D medical image \
                   alignment, Pattern Recognition 32(1):71-86, 1999",
        ..OperatorInfo::CASE
    };
    type Settings = Options;

    fn open(options: Options, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let (fixed, moving) = (inputs.image("fixed")?, inputs.image("moving")?);
        let mask = inputs.optional_mask("fixed_mask")?;
        let found = rigid::register(&fixed, &moving, mask.as_ref(), ctx)?;
        let map = found.fixed_to_moving.map();
        let quality = Quality::of(&found, fixed.grid());
        let registered = resample_image(&moving, fixed.grid(), Some(&map), self.options.interpolation, ctx)?;
        let mut registered = Value::from(registered).facts(&inputs.facts("moving"));
        for warning in &quality.warnings {
            registered.facts.warn(warning);
        }
        Ok(Outputs::new()
            .with("registered", registered)
            .with("fixed_to_moving", map)
            .with("quality", quality.table()))
    }
}

/// Operator `fit_matrix`.
#[derive(Debug)]
pub struct FitMatrix {
    options: fit_matrix::Options,
}

impl Operator for FitMatrix {
    const INFO: OperatorInfo = OperatorInfo {
        name: "fit_matrix",
        summary: "Resize the slices of an image to the matrix a network was made for.",
        inputs: &[Port::image("image")
            .on("g")
            .about("any image; its slices are across the third stored axis")],
        outputs: &[Port::image("image")
            .derived("fitted", "g")
            .about("the same box in `matrix` x `matrix` voxels a slice")],
        citation: "E. Grøvik et al., Deep learning enables automatic detection and segmentation of brain metastases \
                   on multisequence MRI, J Magn Reson Imaging 51(1):175-182, 2020",
        ..OperatorInfo::CASE
    };
    type Settings = fit_matrix::Options;

    fn interface(options: &fit_matrix::Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: fit_matrix::Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let image = inputs.image("image")?;
        let fitted = fit_matrix::fit(&image, self.options.matrix, ctx)?;
        let warnings = fit_matrix::warnings(&image, &fitted);
        let mut value = Value::from(fitted).facts(&inputs.facts("image"));
        for warning in warnings {
            value.facts.warn(format!("fit_matrix: {warning}"));
        }
        Ok(Outputs::new().with("image", value))
    }
}

sdk::export_plugin![Register, Resample, FitMatrix];
