//! Registration: brings images onto one grid.
//!
//! The methods are in [`align`] and its parts, [`fit_matrix`], and `sdk::imaging::resample`; this file, [`register`] and
//! [`resample`] are only the plugin's face towards the engine.

pub mod align;
pub mod fit_matrix;
pub mod histogram;
pub mod lookup;
pub mod metric;
pub mod optimise;
pub mod pose;
pub mod pyramid;
pub mod quality;
pub mod register;
pub mod resample;
pub mod start;
pub mod thin;

pub use register::Register;
pub use resample::Resample;
use sdk::{
    Context, Inputs, Interface, Operator, OperatorError, OperatorInfo, Outputs, Place, Port, Value, Wiring,
};

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
            .about("the same box in slices of `matrix` x `matrix` voxels")],
        citation: "Grøvik E, Yi D, Iv M, Tong E, Rubin D, Zaharchuk G. Deep learning enables automatic detection and \
                   segmentation of brain metastases on multisequence MRI. J Magn Reson Imaging 2020;51:175-182.",
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
        let fitted = fit_matrix::fit_slices(&image, &self.options, ctx)?;
        let warnings = fit_matrix::warnings(&image, &fitted);
        let mut value = Value::from(fitted).facts(&inputs.facts("image"));
        for warning in warnings {
            value.facts.warn(format!("fit_matrix: {warning}"));
        }
        Ok(Outputs::new().with("image", value))
    }
}

sdk::export_plugin![Register, Resample, FitMatrix];
