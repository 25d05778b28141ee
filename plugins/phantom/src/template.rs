//! The head that phantoms come from, as it is: a template to register heads to.

use crate::anatomy::{Anatomy, ORIGIN_MM, SHAPE};
use crate::vessels;
use sdk::imaging::distance::outside_mm;
use sdk::{
    Affine, Context, Grid, Image, Inputs, Mask, NoSettings, Operator, OperatorError, OperatorInfo, Outputs,
    Place, Port, Value,
};

/// How far large vessels of another head lie from those of the template after an affine registration, mm, as a standard deviation: what
/// remains of the shape of heads is several millimetres at the surface of the brain (phantoms have 1.5 to 3.5 mm).
const SPREAD_MM: f64 = 3.0;
/// Fill of a voxel from which on it is vessel, of 255.
const VESSEL: u8 = 128;

/// Operator `head_template`.
#[derive(Debug)]
pub struct HeadTemplate {
    anatomy: Anatomy,
}

impl Operator for HeadTemplate {
    const INFO: OperatorInfo = OperatorInfo {
        name: "head_template",
        summary: "Give the head template that comes with the program: Colin27, T1-weighted, and its brain.",
        inputs: &[],
        outputs: &[
            Port::image("head").fresh("t").about("whole head on voxels of 1 mm, MNI world, cut at the neck"),
            Port::mask("brain").on("t").about("its brain"),
            Port::image("vessels")
                .on("t")
                .about("how near large vessels are, 0 to 1: a prior for `filter_lesions`"),
        ],
        citation: "C. J. Holmes et al., Enhancement of MR images using registration for signal averaging, J Comput \
                   Assist Tomogr 22(2):324-333, 1998",
        ..OperatorInfo::CASE
    };
    type Settings = NoSettings;

    fn open(_: NoSettings, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self { anatomy: Anatomy::load() })
    }

    fn run(&mut self, _: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let grid = Grid::new(SHAPE, Affine::translation(ORIGIN_MM));
        let voxels: Vec<f32> = self.anatomy.t1.iter().map(|value| f32::from(*value)).collect();
        let head = Value::from(Image::new(grid, voxels)?).fact("sources", vec!["template Colin27"]);
        let brain = Value::from(Mask::new(grid, self.anatomy.brain.clone())?).facts(&head.facts);
        let vessels = Value::from(nearness(&self.anatomy, grid, ctx)?).facts(&head.facts);
        Ok(Outputs::new().with("head", head).with("brain", brain).with("vessels", vessels))
    }
}

/// 1 in sinuses and in the arteries of the skull base, `exp(-d^2 / 2 s^2)` at `d` mm from them, `s` = [`SPREAD_MM`].
fn nearness(anatomy: &Anatomy, grid: Grid, ctx: &Context) -> Result<Image, OperatorError> {
    let inside: Vec<u8> = vessels::large(anatomy).iter().map(|&fill| u8::from(fill >= VESSEL)).collect();
    let far = outside_mm(&Mask::new(grid, inside)?, ctx)?;
    let near = |mm: &f32| (-0.5 * (f64::from(*mm) / SPREAD_MM).powi(2)).exp() as f32;
    Ok(Image::new(grid, far.voxels().iter().map(near).collect::<Vec<_>>())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::testing::run;
    use serde_json::json;

    #[test]
    fn the_prior_is_1_in_the_confluence_and_nothing_in_white_matter() {
        let made = run::<HeadTemplate>(json!({}), &Inputs::new()).unwrap();
        let (vessels, head) = (made.image("vessels").unwrap(), made.image("head").unwrap());
        assert_eq!(vessels.grid(), head.grid());
        let at = |mm: [f64; 3]| vessels.voxels()[Anatomy::offset(mm).unwrap()];
        assert!((at([0.0, -96.0, -15.0]) - 1.0).abs() < f32::EPSILON);
        assert!(at([30.0, -20.0, 30.0]) < 1e-3);
        assert!(vessels.voxels().iter().all(|near| (0.0..=1.0).contains(near)));
        // A sinus of 3.4 mm at z = -24: 4 mm beyond its edge a lesion's mean lies below one half.
        assert!((0.2..0.6).contains(&at([54.0, -70.0, -16.6])), "{}", at([54.0, -70.0, -16.6]));
    }
}
