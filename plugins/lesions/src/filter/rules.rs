//! The rules that reject candidates: a feature and its limit each.

use super::features::{Feature, Features};
use sdk::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rule, named like the setting of its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "sdk::schemars")]
pub enum Rule {
    /// Bright in the image, dark in the black-blood image: a vessel.
    MinBlackBlood,
    /// Gains no contrast by the contrast agent.
    MinEnhancement,
    /// Its voxels lie along tubes.
    MaxVesselness,
    /// Long and thin.
    MaxElongation,
    /// Fills little of the ball around it.
    MinCompactness,
    /// Lies all along the brain's edge.
    MinEdgeMm,
    /// Lies where the prior expects sinus or skull base.
    MaxPrior,
}

/// A feature held against a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    /// The setting.
    pub rule: Rule,
    /// What is looked at.
    pub feature: Feature,
    /// The limit, itself accepted.
    pub limit: f64,
    /// Whether values below the limit are rejected, or those above it.
    pub at_least: bool,
}

impl Rule {
    /// All of them, in the order in which they are asked: what is known of blood first, shape next, place last.
    pub const ALL: [Self; 7] = [
        Self::MinBlackBlood,
        Self::MinEnhancement,
        Self::MaxVesselness,
        Self::MaxElongation,
        Self::MinCompactness,
        Self::MinEdgeMm,
        Self::MaxPrior,
    ];

    /// Its setting.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MinBlackBlood => "min_black_blood",
            Self::MinEnhancement => "min_enhancement",
            Self::MaxVesselness => "max_vesselness",
            Self::MaxElongation => "max_elongation",
            Self::MinCompactness => "min_compactness",
            Self::MinEdgeMm => "min_edge_mm",
            Self::MaxPrior => "max_prior",
        }
    }

    /// The inputs that it needs beside the scores.
    pub const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::MinBlackBlood => &["image", "black_blood"],
            Self::MinEnhancement => &["image", "pre_contrast"],
            Self::MaxVesselness => &["image"],
            Self::MaxElongation | Self::MinCompactness => &[],
            Self::MinEdgeMm => &["mask"],
            Self::MaxPrior => &["prior"],
        }
    }

    /// Its test.
    pub const fn test(self, limit: f64) -> Test {
        let (feature, at_least) = match self {
            Self::MinBlackBlood => (Feature::BlackBlood, true),
            Self::MinEnhancement => (Feature::Enhancement, true),
            Self::MaxVesselness => (Feature::Vesselness, false),
            Self::MaxElongation => (Feature::Elongation, false),
            Self::MinCompactness => (Feature::Compactness, true),
            Self::MinEdgeMm => (Feature::Edge, true),
            Self::MaxPrior => (Feature::Prior, false),
        };
        Test { rule: self, feature, limit, at_least }
    }
}

impl Test {
    /// The value that rejects a candidate; `None` if it passes, or if the feature is absent.
    ///
    /// Dark in the black-blood image is the sign of a vessel for what is bright in the image alone.
    pub fn rejects(&self, features: &Features) -> Option<f64> {
        let value = features.get(self.feature)?;
        let bright = features.get(Feature::Contrast).is_some_and(|contrast| contrast > 0.0);
        let applies = self.rule != Rule::MinBlackBlood || bright;
        let beyond = if self.at_least { value < self.limit } else { value > self.limit };
        (applies && beyond).then_some(value)
    }
}
