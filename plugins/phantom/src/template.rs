//! The head that phantoms come from, as it is: a template to register heads to.

use crate::anatomy::{Anatomy, ORIGIN_MM, SHAPE};
use sdk::{
    Affine, Context, Grid, Image, Inputs, Mask, NoSettings, Operator, OperatorError, OperatorInfo, Outputs,
    Place, Port, Value,
};

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
        ],
        citation: "C. J. Holmes et al., Enhancement of MR images using registration for signal averaging, J Comput \
                   Assist Tomogr 22(2):324-333, 1998",
        ..OperatorInfo::CASE
    };
    type Settings = NoSettings;

    fn open(_: NoSettings, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self { anatomy: Anatomy::load() })
    }

    fn run(&mut self, _: &Inputs, _: &Context) -> Result<Outputs, OperatorError> {
        let grid = Grid::new(SHAPE, Affine::translation(ORIGIN_MM));
        let voxels: Vec<f32> = self.anatomy.t1.iter().map(|value| f32::from(*value)).collect();
        let head = Value::from(Image::new(grid, voxels)?).fact("sources", vec!["template Colin27"]);
        let brain = Value::from(Mask::new(grid, self.anatomy.brain.clone())?).facts(&head.facts);
        Ok(Outputs::new().with("head", head).with("brain", brain))
    }
}
