//! Otsu brain: a small skull stripper, as a Neuroloom plugin outside of Neuroloom's own workspace.
//!
//! The methods are in [`brain`] and [`distance`], and in [`mean_table`], which works on a cohort: plain functions on the SDK's
//! types. This file is the plugin's face towards the engine: names, ports, settings.

pub mod brain;
pub mod distance;
pub mod mean_table;

use brain::{Found, Options};
use mean_table::MeanOptions;
use sdk::{
    Cases, Cause, Cell, Column, Context, GroupOperator, Inputs, Interface, Operator, OperatorError,
    OperatorInfo, Outputs, Place, Port, Table, Value, Wiring,
};

/// Operator `otsu_brain`.
#[derive(Debug)]
pub struct OtsuBrain {
    options: Options,
}

impl Operator for OtsuBrain {
    const INFO: OperatorInfo = OperatorInfo {
        name: "otsu_brain",
        role: Some("skull_stripper"),
        summary: "Find the brain in a T1-weighted head by threshold and morphology.",
        inputs: &[Port::image("head").on("h").about("whole head, not yet stripped")],
        outputs: &[
            Port::mask("mask").on("h").about("brain, ventricles included"),
            Port::table("quality").about("threshold and volume, one row"),
        ],
        citation: "Otsu N. A threshold selection method from gray-level histograms. IEEE Trans Syst Man Cybern 1979;9(1):62-66.",
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
        let found = brain::find(&head, &self.options, ctx)?;
        let mut facts = inputs.facts("head");
        if let Some(warning) = found.warning() {
            tracing::warn!("{warning}");
            facts.warn(warning);
        }
        let quality = Value::from(table(&found)).facts(&facts);
        Ok(Outputs::new().with("mask", Value::from(found.mask).facts(&facts)).with("quality", quality))
    }
}

/// Settings that cannot be used are refused: the workflow is wrong, whatever the data.
fn check(options: &Options) -> Result<(), OperatorError> {
    options.check().map_err(|error| OperatorError { cause: Cause::Refused, ..error.into() })
}

fn table(found: &Found) -> Table {
    let columns = vec![
        Column::new("threshold", "", "intensity between dark and bright, by Otsu"),
        Column::new("brain_volume_ml", "ml", "volume of the mask"),
        Column::new("warnings", "", "what a person should look at"),
    ];
    let row = vec![
        Cell::from(f64::from(found.threshold)),
        found.volume_ml.into(),
        found.warning().unwrap_or_default().into(),
    ];
    Table { columns, rows: vec![row] }
}

/// Operator `mean_table`, on a cohort.
#[derive(Debug)]
pub struct MeanTable {
    options: MeanOptions,
}

impl GroupOperator for MeanTable {
    const INFO: OperatorInfo = OperatorInfo {
        name: "mean_table",
        summary: "Average the numeric columns of a table over all cases.",
        inputs: &[Port::table("table").about("measurements of each case")],
        outputs: &[
            Port::table("table").about("a row for each numeric column: mean over cases"),
            Port::table("left_out").about("a row for each failed case, with its reason"),
        ],
        ..OperatorInfo::COHORT
    };
    type Settings = MeanOptions;

    fn open(options: MeanOptions, _: &Place) -> Result<Self, OperatorError> {
        Ok(Self { options })
    }

    fn run(&mut self, cases: &dyn Cases, ctx: &Context) -> Result<Outputs, OperatorError> {
        let summary = mean_table::average(cases, "table", &self.options, &ctx.resume_dir()?, ctx)?;
        Ok(Outputs::new().with("table", summary.means).with("left_out", summary.left_out))
    }
}

sdk::export_plugin![OtsuBrain; groups: MeanTable];
