//! Operator `resample`: brings a volume onto the grid of another. The method is `sdk::imaging::resample`.

use sdk::imaging::resample::{self, Interpolation, LabelInterpolation};
use sdk::schemars::JsonSchema;
use sdk::{
    Affine, AnyVolume, Context, Grid, Inputs, Interface, Operator, OperatorError, OperatorInfo, Outputs,
    Place, Port, Transform, Value, Wiring,
};
use serde::{Deserialize, Serialize};

/// What a workflow can set.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// How values between voxels are found, of images, probabilities and masks: `nearest`, `linear`, `cubic` (B-spline) or
    /// `sinc` (Lanczos, radius 4).
    pub interpolation: Interpolation,
    /// How labels between voxels are found: `nearest`, or `vote` (each label's smoothed membership, the largest wins).
    pub labels: LabelMethod,
    /// Sigmas of the vote in mm along the axes of the labels; without it half a voxel of the input or of `like`, whichever is
    /// wider along that axis.
    pub vote_sigma_mm: Option<[f64; 3]>,
}

/// How labels between voxels are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "sdk::schemars")]
pub enum LabelMethod {
    /// The label of the nearest voxel centre.
    #[default]
    Nearest,
    /// The label with the largest smoothed membership.
    Vote,
}

/// Settings that contradict each other.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A width for a vote that is not held.
    #[error("setting `vote_sigma_mm` without `labels = \"vote\"`\nhint: set both, or neither")]
    NoVote,
    /// A width that is none.
    #[error(
        "setting `vote_sigma_mm` is {found:?}, where each is above 0\nhint: half a voxel suits most labels"
    )]
    Sigma {
        /// The setting.
        found: [f64; 3],
    },
}

impl Options {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn check(&self) -> Result<(), OptionsError> {
        match self.vote_sigma_mm {
            Some(_) if self.labels == LabelMethod::Nearest => Err(OptionsError::NoVote),
            Some(found) if !found.iter().all(|sigma| *sigma > 0.0 && sigma.is_finite()) => {
                Err(OptionsError::Sigma { found })
            }
            _ => Ok(()),
        }
    }

    fn of_labels(&self) -> LabelInterpolation {
        match self.labels {
            LabelMethod::Nearest => LabelInterpolation::Nearest,
            LabelMethod::Vote => LabelInterpolation::Vote(self.vote_sigma_mm),
        }
    }
}

/// Operator `resample`.
#[derive(Debug)]
pub struct Resample {
    options: Options,
}

impl Operator for Resample {
    const INFO: OperatorInfo = OperatorInfo {
        name: "resample",
        summary: "Bring a volume onto the grid of another.",
        inputs: &[
            Port::volume_of("image", "K")
                .on("m")
                .about("what is brought there: image, probability, mask or labels"),
            Port::volume("like").on("g").about("whose grid to take"),
            Port::transform("transform")
                .maps("g", "m")
                .optional()
                .about("needed unless both lie in one frame"),
        ],
        outputs: &[Port::volume_of("image", "K").on("g").about("0 where the input does not reach")],
        ..OperatorInfo::CASE
    };
    type Settings = Options;

    fn interface(options: &Options, wiring: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        let interface = Interface::of(Self::INFO.inputs, Self::INFO.outputs);
        Ok(if wiring.has("transform") { interface } else { interface.in_one_frame("m", "g") })
    }

    fn open(options: Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let (source, like) = (inputs.volume("image")?, inputs.volume("like")?);
        let transform = inputs.optional_transform("transform")?;
        let map = transform.as_ref().map(matrix_of).transpose()?;
        let volume = resampled(&source, like.grid(), map, &self.options, ctx)?;
        let lost = has_content(&source) && !has_content(&volume);
        let mut value = Value::from(volume).facts(&inputs.facts("image"));
        if lost {
            value.facts.warn("resample: nothing of the volume lies within the new grid");
        }
        Ok(Outputs::new().with("image", value))
    }
}

fn matrix_of(transform: &Transform) -> Result<&Affine, OperatorError> {
    transform.as_affine().ok_or_else(|| {
        OperatorError::failed("a transform that is no matrix")
            .hint("this `resample` knows affine transforms only")
    })
}

fn resampled(
    source: &AnyVolume,
    target: &Grid,
    map: Option<&Affine>,
    options: &Options,
    ctx: &Context,
) -> Result<AnyVolume, OperatorError> {
    let interpolation = options.interpolation;
    Ok(match source {
        AnyVolume::Image(v) => AnyVolume::Image(resample::image(v, target, map, interpolation, ctx)?),
        AnyVolume::Mask(v) => AnyVolume::Mask(resample::mask(v, target, map, interpolation, ctx)?),
        AnyVolume::Labels(v) => {
            AnyVolume::Labels(resample::labels(v, target, map, options.of_labels(), ctx)?)
        }
        AnyVolume::Probability(v) => {
            AnyVolume::Probability(resample::probability(v, target, map, interpolation, ctx)?)
        }
    })
}

fn has_content(volume: &AnyVolume) -> bool {
    match volume {
        AnyVolume::Image(v) => v.voxels().iter().any(|x| *x != 0.0),
        AnyVolume::Mask(v) => v.voxels().iter().any(|x| *x != 0),
        AnyVolume::Labels(v) => v.voxels().iter().any(|x| *x != 0),
        AnyVolume::Probability(v) => v.voxels().iter().any(|x| *x != 0.0),
    }
}
