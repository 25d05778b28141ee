//! Operator `case_tile`: the little of a case that a cohort's page needs of its images.
//!
//! Stages of the cohort keep what they read of each case. A tile is some kilobytes where the images are hundreds of megabytes.

use crate::figures::{self, Drawn, Figure};
use crate::options::Options;
use crate::overlay::Outline;
use crate::plane::{Plane, View};
use crate::scene::Scene;
use crate::shape::shapes;
use sdk::serde::{Deserialize, Serialize};
use sdk::{
    Context, Document, Image, Inputs, Interface, JsonSchema, Mask, Operator, OperatorError, OperatorInfo,
    Outputs, Place, Port, Wiring,
};

/// Cubic millimetres of a millilitre.
const MM3_OF_ML: f64 = 1000.0;

/// `case_tile` has no settings.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct NoSettings {}

/// What the tile holds: figures of the brain, and a slice of it.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
struct Tile {
    /// Volume of the brain mask in ml.
    brain_ml: f64,
    /// Median intensity of the image within the mask, in the image's own unit; none for an empty mask.
    median_intensity: Option<f64>,
    /// The axial slice with most lesion, skull-stripped; none if it could not be drawn.
    picture: Option<Figure>,
    /// Why there is no picture.
    note: Option<String>,
}

/// Operator `case_tile`.
#[derive(Debug)]
pub struct CaseTile;

impl Operator for CaseTile {
    const INFO: OperatorInfo = OperatorInfo {
        name: "case_tile",
        summary: "Draw one small picture of a case for the page of its cohort.",
        inputs: &[
            Port::image("image").on("g").about("the image that the picture is drawn on"),
            Port::mask("mask").on("g").about("brain mask: nothing beyond it is shown"),
            Port::labels("lesions").optional().about("accepted lesions, outlined"),
        ],
        outputs: &[Port::document("tile").about("the picture, brain volume and median intensity, as JSON")],
        ..OperatorInfo::CASE
    };
    type Settings = NoSettings;

    fn interface(_: &NoSettings, _: &Wiring) -> Result<Interface, OperatorError> {
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(_: NoSettings, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self)
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let (image, mask) = (inputs.image("image")?, inputs.mask("mask")?);
        let lesions = inputs.optional_labels("lesions")?;
        let options = Options::default();
        let mut tile = measured(&image, &mask);
        match Scene::new(Some(&image), Some(&mask), &options) {
            Ok(scene) => {
                let grid = scene.grid();
                let through = Plane::of(grid, View::Axial).through;
                let shapes = lesions.as_ref().map_or_else(Vec::new, |labels| shapes(labels, grid, through));
                let mut drawn = Drawn::new(&options);
                drawn.outline(Outline::Accepted, lesions.as_ref(), grid);
                tile.picture = figures::mosaic(&scene, &drawn, &shapes, 1, ctx)?.pop();
            }
            Err(reason) => tile.note = Some(reason.to_string()),
        }
        Ok(Outputs::new().with("tile", Document::new("application/json", serde_json::to_vec(&tile)?)))
    }
}

/// The figures of the brain, without a picture.
fn measured(image: &Image, mask: &Mask) -> Tile {
    let inside = image.voxels().iter().zip(mask.voxels()).filter(|(_, inside)| **inside != 0);
    let mut values: Vec<f64> = inside.map(|(value, _)| f64::from(*value)).collect();
    let voxel_mm3 = mask.grid().voxel_volume_mm3();
    let brain_ml = values.len() as f64 * voxel_mm3 / MM3_OF_ML;
    values.retain(|value| value.is_finite());
    Tile { brain_ml, median_intensity: super::outlier::median(&mut values), picture: None, note: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::testing::{ball, ball_mask, run};
    use sdk::{Grid, Labels};

    #[test]
    fn a_tile_is_small_and_shows_the_brain_alone() {
        let grid = Grid::axis_aligned([40, 40, 20], [4.0; 3]);
        let centre = grid.world([19, 19, 9]);
        let labels: Vec<u32> = ball_mask(grid, centre, 8.0).voxels().iter().map(|v| u32::from(*v)).collect();
        let inputs = Inputs::new()
            .with("image", ball(grid, centre, 70.0, 100.0))
            .with("mask", ball_mask(grid, centre, 40.0))
            .with("lesions", Labels::new(grid, labels).unwrap());
        let outputs = run::<CaseTile>(serde_json::json!({}), &inputs).unwrap();
        let bytes = outputs.document("tile").unwrap().bytes.to_vec();
        let tile: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert!(bytes.len() < 40_000, "{} bytes", bytes.len());
        assert!((tile["brain_ml"].as_f64().unwrap() - 268.0).abs() < 5.0, "{}", tile["brain_ml"]);
        assert_eq!(tile["median_intensity"], 100.0);
        assert!(tile["picture"]["overlay"].as_str().unwrap().starts_with("data:image/png;base64,"));
    }
}
