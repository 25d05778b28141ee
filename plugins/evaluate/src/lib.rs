//! Evaluation: scores cases against a truth, and sums a cohort up as the paper does, and further.
//!
//! The methods are in the modules; this file is only the plugin's face towards the engine.

pub mod brats;
pub mod calibration;
pub mod case;
pub mod chart;
pub mod curve;
pub mod evidence;
pub mod lesions;
pub mod options;
pub mod provenance;
pub mod ranksum;
pub mod readers;
pub mod region;
pub mod statistics;
pub mod summary;

use case::Volumes;
use options::{Options, Summary};
use sdk::{
    Cases, Cell, Column, Context, Document, Facts, GroupOperator, Inputs, Interface, Operator, OperatorError,
    OperatorInfo, Outputs, Place, Port, Table, Value, Wiring,
};

/// The publication whose statistics are reproduced.
pub const CITATION: &str = "Grøvik E, Yi D, Iv M, et al. Deep learning enables automatic detection and segmentation of brain \
                            metastases on multisequence MRI. J Magn Reson Imaging 2020;51:175-182.";

/// Operator `score`.
#[derive(Debug)]
pub struct Score {
    options: Options,
}

impl Operator for Score {
    const INFO: OperatorInfo = OperatorInfo {
        name: "score",
        summary: "Hold a score map against the truth: ROC curve, lesions, calibration of one case.",
        inputs: &[
            Port::labels("truth").on("g").about("voxels above 0 are metastasis"),
            Port::probability("probability").on("g").about("the model's score of each voxel"),
            Port::mask("mask").on("g").about("brain; voxels count inside only"),
            Port::probability("other").on("g").optional().about("scores of a second model, to compare with"),
            Port::labels("other_truth").on("g").optional().about("truth of a second reader"),
            Port::text("options")
                .optional()
                .about("options of a manifest, as JSON; they win over the settings"),
            Port::document("card")
                .optional()
                .about("the model's card as JSON, with digests of its training inputs"),
            Port::document("provenance").optional().about("`case.provenance`, for the digests of the inputs"),
        ],
        outputs: &[
            Port::document("scores").about("the case's part of the evaluation, as JSON"),
            Port::document("evidence").about("scores inside the mask and truth, exact, for `summarise`"),
            Port::table("lesions").about("a row for each lesion of the truth, the largest first"),
        ],
        citation: CITATION,
        ..OperatorInfo::CASE
    };
    type Settings = Options;

    fn interface(options: &Options, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: Options, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        Ok(Self { options })
    }

    fn run(&mut self, inputs: &Inputs, ctx: &Context) -> Result<Outputs, OperatorError> {
        let options = self.options.with(inputs.optional_text("options")?.as_deref())?;
        let (truth, probability, mask) =
            (inputs.labels("truth")?, inputs.probability("probability")?, inputs.mask("mask")?);
        let (other, other_truth) =
            (inputs.optional_probability("other")?, inputs.optional_labels("other_truth")?);
        let volumes = Volumes {
            truth: &truth,
            probability: &probability,
            mask: &mask,
            other: other.as_ref(),
            other_truth: other_truth.as_ref(),
        };
        let (mut scored, evidence) = case::score(&ctx.case_label(), &volumes, &options, ctx)?;
        let mut facts = inputs.facts("probability");
        let (card, provenance) = (json(inputs, "card")?, json(inputs, "provenance")?);
        scored.in_training = provenance::in_training(&facts, card.as_ref(), provenance.as_ref());
        scored.missing_sequences = provenance::missing_sequences(&facts);
        warn(&mut facts, &scored);
        scored.warnings = facts.warnings().into_iter().map(str::to_owned).collect();
        let table = Value::from(lesion_table(&scored.lesions)).facts(&facts);
        let scores = Document::new("application/json", serde_json::to_vec(&scored)?);
        let evidence = Document::new("application/octet-stream", evidence.pack());
        Ok(Outputs::new()
            .with("scores", Value::from(scores).facts(&facts))
            .with("evidence", evidence)
            .with("lesions", table))
    }
}

/// What the readers of a case's figures must know.
fn warn(facts: &mut Facts, scored: &case::Scored) {
    let figures = &scored.figures;
    if figures.nonfinite_in_mask > 0 {
        facts.warn(format!("{} scores in the mask are not finite and count as 0", figures.nonfinite_in_mask));
    }
    if figures.truth_voxels_outside_mask > 0 {
        facts.warn(format!(
            "{} of {} voxels of the truth lie outside the mask: they can only be missed",
            figures.truth_voxels_outside_mask, figures.truth_voxels
        ));
    }
    if !scored.in_training.is_empty() {
        facts.warn(format!("the model was trained on {} of this case", scored.in_training.join(", ")));
    }
}

/// The JSON of a document at an optional port.
fn json(inputs: &Inputs, port: &str) -> Result<Option<serde_json::Value>, OperatorError> {
    let read = |document: Document| {
        serde_json::from_slice(&document.bytes)
            .map_err(|error| OperatorError::failed(format!("`{port}` is no JSON: {error}")))
    };
    inputs.optional_document(port)?.map(read).transpose()
}

/// Lesions of the truth as a table.
fn lesion_table(lesions: &[case::Lesion]) -> Table {
    let mut table = Table::new(vec![
        Column::new("voxels", "", "number of voxels"),
        Column::new("volume_mm3", "mm^3", "voxels times the volume of one"),
        Column::new("diameter_mm", "mm", "largest distance between centres of voxel faces"),
        Column::new("diameter_centre_mm", "mm", "largest distance between voxel centres"),
        Column::new("centroid_x", "mm", "mean place of the voxels, to the right (RAS+)"),
        Column::new("centroid_y", "mm", "mean place of the voxels, to the front (RAS+)"),
        Column::new("centroid_z", "mm", "mean place of the voxels, up (RAS+)"),
        Column::new("overlap_gt", "", "share of the lesion that is predicted at the found threshold"),
        Column::new("overlap_pred", "", "share of the components that touch it that lies in it"),
        Column::new("iou", "", "voxels of both over voxels of either"),
        Column::new("found", "", "whether the overlap is larger than the least one"),
        Column::new("found_any", "", "whether one voxel is predicted"),
        Column::new("found_10mm3", "", "whether it is found by components of at least the size limit"),
    ]);
    for lesion in lesions {
        let [x, y, z] = lesion.centroid_ras;
        let met = &lesion.met;
        let mut row: Vec<Cell> = vec![Cell::from(lesion.voxels as f64)];
        row.extend(
            [lesion.volume_mm3, lesion.diameter_mm, lesion.diameter_centre_mm, x, y, z].map(Cell::from),
        );
        row.extend([met.overlap_gt, met.overlap_pred, met.iou].map(Cell::from));
        row.extend([met.found, met.found_any, met.found_10mm3].map(Cell::from));
        table.rows.push(row);
    }
    table
}

/// Operator `summarise`.
#[derive(Debug)]
pub struct Summarise {
    settings: Summary,
}

impl GroupOperator for Summarise {
    const INFO: OperatorInfo = OperatorInfo {
        name: "summarise",
        summary: "Sum up the scores of a cohort: threshold, tables, tests, curves, figures.",
        inputs: &[
            Port::document("scores").about("what `score` says of a case"),
            Port::document("evidence").about("what `score` kept of a case"),
            Port::text("options")
                .optional()
                .about("options of a manifest, as JSON; they win over the settings"),
        ],
        outputs: &[
            Port::document("evaluation").about("all figures, as JSON"),
            Port::document("report").about("a page with tables and figures"),
            Port::table("tables").many().about("Tables 1, 3 and 4 of the paper, and further ones"),
            Port::document("figures").many().about("figures as SVG"),
        ],
        citation: CITATION,
        ..OperatorInfo::COHORT
    };
    type Settings = Summary;

    fn interface(settings: &Summary, _: &Wiring) -> Result<Interface, OperatorError> {
        settings.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs)
            .with_members("tables", summary::tables::NAMES)
            .with_members("figures", summary::figures::NAMES))
    }

    fn open(settings: Summary, _: &Place) -> Result<Self, OperatorError> {
        settings.check()?;
        Ok(Self { settings })
    }

    fn run(&mut self, cases: &dyn Cases, ctx: &Context) -> Result<Outputs, OperatorError> {
        let cohort = summary::Cohort::of(cases, &self.settings, ctx)?;
        let tables = summary::tables::all(&cohort)?;
        let figures = summary::figures::all(&cohort);
        let page = summary::page::page(&cohort, &tables, &figures);
        let evaluation = format!("{:#}\n", summary::json::evaluation(&cohort)?);
        let mut outputs = Outputs::new()
            .with("evaluation", Document::new("application/json", evaluation))
            .with("report", Document::new("text/html", page));
        for (name, table) in summary::tables::NAMES.iter().zip(tables) {
            outputs = outputs.with_member("tables", name, table);
        }
        for (name, svg) in summary::figures::NAMES.iter().zip(figures) {
            outputs = outputs.with_member("figures", name, Document::new("image/svg+xml", svg));
        }
        Ok(outputs)
    }
}

sdk::export_plugin![Score; groups: Summarise];
