//! Skull strip: finds the brain of a head image.
//!
//! The method is in [`bet`] (what is done), [`head`] (where to start), [`surface`] (how it moves), [`mesh`] and [`fill`]
//! (geometry); this file is only the plugin's face towards the engine.

pub mod bet;
pub mod fill;
pub mod head;
pub mod mesh;
pub mod surface;

use bet::{Options, Quality};
use sdk::{
    Cause, Cell, Column, Context, Inputs, Interface, Operator, OperatorError, OperatorInfo, Outputs, Place,
    Port, Table, Value, Wiring,
};

/// Operator `bet`.
#[derive(Debug)]
pub struct Bet {
    options: Options,
}

impl Operator for Bet {
    const INFO: OperatorInfo = OperatorInfo {
        name: "bet",
        role: Some("skull_stripper"),
        summary: "Find the brain in a head image of any contrast, slice thickness and orientation.",
        inputs: &[Port::image("head").on("h").about("whole head, not yet stripped")],
        outputs: &[
            Port::mask("mask").on("h").about("brain with cerebellum and brain stem"),
            Port::table("quality").about("threshold, volume and how well the surface fits, one row"),
        ],
        citation: "Smith SM. Fast robust automated brain extraction. Human Brain Mapping 2002;17(3):143-155.",
        ..OperatorInfo::CASE
    };
    type Settings = Options;

    fn interface(options: &Options, _: &Wiring) -> Result<Interface, OperatorError> {
        check(options)?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: Options, _: &Place) -> Result<Self, OperatorError> {
        check(&options)?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let head = inputs.image("head")?;
        let brain = bet::find_brain(&head, &self.options, ctx)?;
        let mut facts = inputs.facts("head");
        for warning in brain.quality.warnings() {
            tracing::warn!("{warning}");
            facts.warn(warning);
        }
        let quality = Value::from(table(&brain.quality)).facts(&facts);
        Ok(Outputs::new().with("mask", Value::from(brain.mask).facts(&facts)).with("quality", quality))
    }
}

fn check(options: &Options) -> Result<(), OperatorError> {
    options.check().map_err(|error| OperatorError { cause: Cause::Refused, ..error.into() })
}

/// The quality as a table of one row.
fn table(quality: &Quality) -> Table {
    let entries: [(&str, &str, &str, Cell); 11] = [
        ("threshold", "", "fractional intensity threshold used", quality.threshold.into()),
        (
            "threshold_automatic",
            "",
            "whether the threshold was chosen for this image",
            quality.automatic.into(),
        ),
        ("brain_volume_ml", "ml", "volume of the mask", quality.brain_volume_ml.into()),
        (
            "edge_sharpness",
            "",
            "mean fall of likeness to brain across the surface, 0 to 1",
            quality.edge_sharpness.into(),
        ),
        (
            "surface_residual_mm",
            "mm",
            "mean way of a vertex in the last iteration",
            quality.surface_residual_mm.into(),
        ),
        ("iterations", "", "iterations until the surface came to rest", quality.iterations.into()),
        (
            "folded_share",
            "",
            "share of triangles that fold back on their neighbours",
            quality.folded_share.into(),
        ),
        (
            "cut_area_mm2",
            "mm^2",
            "area of the brain on the outer faces of the grid",
            quality.cut_area_mm2.into(),
        ),
        ("touches_edge", "", "whether the field of view cuts the brain", quality.touches_edge().into()),
        (
            "head_share",
            "",
            "volume of the brain as a share of the head above the neck",
            quality.head_share.into(),
        ),
        ("warnings", "", "what a person should look at", quality.warnings().join("; ").into()),
    ];
    let columns = entries.iter().map(|(name, unit, about, _)| Column::new(name, unit, about)).collect();
    Table { columns, rows: vec![entries.into_iter().map(|(_, _, _, cell)| cell).collect()] }
}

sdk::export_plugin![Bet];
