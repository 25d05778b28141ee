//! The face of `register` towards the engine.

use crate::align::{self, Masks};
use crate::pose::Freedom;
use crate::quality::Quality;
use sdk::imaging::resample::{self, Interpolation};
use sdk::schemars::JsonSchema;
use sdk::{Context, Inputs, Operator, OperatorError, OperatorInfo, Outputs, Place, Port, Value};
use serde::{Deserialize, Serialize};

/// What a workflow can set for `register`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// What may change: 6 turns and shifts, 7 the size, too, 12 factors and shears along all axes.
    pub degrees_of_freedom: Freedom,
    /// Whether both images count alike, so that exchanging them gives the inverse map.
    pub symmetric: bool,
    /// How values between voxels of the registered image are found: `nearest`, `linear`, `cubic`
    /// (B-spline) or `sinc` (Lanczos, radius 4).
    pub interpolation: Interpolation,
}

impl Default for Options {
    fn default() -> Self {
        Self { degrees_of_freedom: Freedom::Rigid, symmetric: true, interpolation: Interpolation::Linear }
    }
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
        summary: "Move an image so that it shows the same head in the same place as another.",
        inputs: &[
            Port::image("fixed").on("f").about("the image that stays"),
            Port::image("moving").on("m").about("the image that is brought onto its grid"),
            Port::mask("fixed_mask").on("f").optional().about("where to look; everywhere without it"),
            Port::mask("moving_mask")
                .on("m")
                .optional()
                .about("where to look in moving; everywhere without it"),
        ],
        outputs: &[
            Port::image("registered")
                .on("f")
                .about("the moving image on the fixed grid; 0 where it does not reach"),
            Port::transform("fixed_to_moving")
                .maps("f", "m")
                .about("where in moving to look for a fixed point"),
            Port::table("quality").about("metric, angles, shift, factors, shears and overlap, in one row"),
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
        let (fixed_mask, moving_mask) =
            (inputs.optional_mask("fixed_mask")?, inputs.optional_mask("moving_mask")?);
        let masks = Masks { fixed: fixed_mask.as_ref(), moving: moving_mask.as_ref() };
        let options =
            align::Options { freedom: self.options.degrees_of_freedom, symmetric: self.options.symmetric };
        let found = align::align(&fixed, &moving, masks, &options, ctx)?;
        let map = found.fixed_to_moving.map();
        let quality = Quality::of(&found, fixed.grid());
        let registered = resample::image(&moving, fixed.grid(), Some(&map), self.options.interpolation, ctx)?;
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
