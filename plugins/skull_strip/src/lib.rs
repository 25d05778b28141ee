//! Skull strip: finds the brain of a head image.
//!
//! The method is in [`bet`] (what is done), [`head`] (where to start), [`shading`] (what a first outline tells), [`surface`] (how it moves), [`mesh`] and [`fill`]
//! (geometry); this file is only the plugin's face towards the engine.

pub mod bet;
pub mod fill;
pub mod head;
pub mod mesh;
pub mod rim;
pub mod scalp;
pub mod shading;
pub mod skull;
pub mod start;
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
        inputs: &[
            Port::image("head").on("h").about("whole head, not yet stripped"),
            Port::mask("start_mask")
                .on("h")
                .optional()
                .about("roughly the brain, such as a template's brought over by a registration"),
        ],
        outputs: &[
            Port::mask("mask").on("h").about("brain with cerebellum and brain stem"),
            Port::table("quality").about("threshold, volume and how well the surface fits, one row"),
            Port::labels("skull")
                .on("h")
                .about("1 brain, 2 fluid and bone out to the skull's outer border; with the setting `skull`"),
        ],
        citation: "Smith SM. Fast robust automated brain extraction. Human Brain Mapping 2002;17(3):143-155.",
        ..OperatorInfo::CASE
    };
    type Settings = Options;

    fn interface(options: &Options, _: &Wiring) -> Result<Interface, OperatorError> {
        check(options)?;
        let mut interface = Interface::of(Self::INFO.inputs, Self::INFO.outputs);
        interface.outputs.retain(|port| options.skull || port.name != "skull");
        Ok(interface)
    }

    fn open(options: Options, _: &Place) -> Result<Self, OperatorError> {
        check(&options)?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let head = inputs.image("head")?;
        let start = inputs.optional_mask("start_mask")?;
        let brain = bet::find_brain_from(&head, start.as_ref(), &self.options, ctx)?;
        let mut facts = inputs.facts("head");
        for warning in brain.quality.warnings() {
            tracing::warn!("{warning}");
            facts.warn(warning);
        }
        let mut outputs = Outputs::new().with("quality", Value::from(table(&brain.quality)).facts(&facts));
        if self.options.skull {
            let skull = skull::find_skull(&brain.surface, &head, brain.air, ctx)?;
            let mut facts = facts.clone();
            skull.warning().into_iter().for_each(|warning| facts.warn(warning));
            outputs =
                outputs.with("skull", Value::from(skull::labels(&skull, &brain.mask, ctx)?).facts(&facts));
        }
        Ok(outputs.with("mask", Value::from(brain.mask).facts(&facts)))
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
