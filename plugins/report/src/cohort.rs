//! Operator `cohort_report`: a whole cohort on one page, failures first.
//!
//! It reads of each case the JSON of `case_report` and the tile of `case_tile`, both small, one case after another. Clocks are no
//! part of it, so that the same cases give the same page: what stages took is told by `status`.

pub mod curves;
pub mod evaluation;
pub mod failures;
pub mod gather;
pub mod options;
pub mod outlier;
pub mod page;
pub mod quality;
pub mod tile;

use evaluation::Evaluation;
use gather::{CohortSummary, Row};
use options::CohortOptions;
use sdk::{
    Cases, Cell, Column, Context, Document, GroupOperator, Interface, OperatorError, OperatorInfo, Outputs,
    Place, Port, Table, Wiring,
};

/// Operator `cohort_report`.
#[derive(Debug)]
pub struct CohortReport {
    options: CohortOptions,
    evaluation: Option<Evaluation>,
}

impl GroupOperator for CohortReport {
    const INFO: OperatorInfo = OperatorInfo {
        name: "cohort_report",
        summary: "Put a cohort on one page: failures, all cases, burden, outliers.",
        inputs: &[
            Port::document("report").optional().about("output `json` of `case_report`"),
            Port::document("tile").optional().about("output `tile` of `case_tile`"),
        ],
        outputs: &[
            Port::document("html").about("the page, one self-contained file"),
            Port::document("json").about("the same content for programs, without pictures"),
            Port::table("table").about("a row for each case"),
        ],
        ..OperatorInfo::COHORT
    };
    type Settings = CohortOptions;

    fn interface(options: &CohortOptions, _: &Wiring) -> Result<Interface, OperatorError> {
        options.check()?;
        Ok(Interface::of(Self::INFO.inputs, Self::INFO.outputs))
    }

    fn open(options: CohortOptions, _: &Place) -> Result<Self, OperatorError> {
        options.check()?;
        let evaluation =
            options.evaluation.as_ref().map(|file| Evaluation::read(file.as_ref())).transpose()?;
        Ok(Self { options, evaluation })
    }

    fn run(&mut self, cases: &dyn Cases, ctx: &Context) -> Result<Outputs, OperatorError> {
        let summary = CohortSummary::of(cases, &self.options, self.evaluation.clone(), ctx)?;
        let pictures = page::Pictures::of(cases, &summary, &self.options, ctx)?;
        let json = serde_json::to_vec_pretty(&summary)?;
        Ok(Outputs::new()
            .with("html", Document::new("text/html", page::page(&summary, &pictures)?))
            .with("json", Document::new("application/json", json))
            .with("table", table(&summary)))
    }
}

/// A row for each case, those that failed first; with figures of the evaluation, if there is one.
fn table(summary: &CohortSummary) -> Table {
    let mut table = Table::new(vec![
        Column::new("case", "", "label of the case"),
        Column::new("failure", "", "why it failed; nothing if it did not"),
        Column::new("hint", "", "what helps, if that is known"),
        Column::new("lesions", "", "accepted lesions"),
        Column::new("below_size", "", "lesions below the size limit"),
        Column::new("rejected", "", "candidates that another rule rejected"),
        Column::new("total_ml", "ml", "volume of the accepted lesions"),
        Column::new("largest_ml", "ml", "volume of the largest"),
        Column::new("target_sum_mm", "mm", "sum of the longest axial diameters of the target lesions"),
        Column::new("burden", "", "group by number of lesions"),
        Column::new("missing", "", "inputs that the case lacks"),
        Column::new("warnings", "", "number of warnings on the case's page"),
        Column::new("registration", "", "least metric after registration among its images"),
        Column::new("brain_ml", "ml", "volume of the brain mask"),
        Column::new("median_intensity", "", "median of the reference within the brain"),
        Column::new("outliers", "", "figures of quality control that lie apart from the cohort"),
    ]);
    table.rows = summary.cases.iter().map(cells).collect();
    if summary.evaluation.is_some() {
        table.columns.extend([
            Column::new("auc", "", "area under the ROC curve over voxels"),
            Column::new("dice", "", "Dice of the voxels at the evaluation's threshold"),
            Column::new("lesion_sensitivity", "", "share of the true lesions that is found at it"),
            Column::new("false_positives", "", "predicted components without truth at it"),
        ]);
        for (cells, row) in table.rows.iter_mut().zip(&summary.cases) {
            let scores = row.scores.unwrap_or_default();
            let figures = [scores.auc, scores.dice, scores.lesion_sensitivity, scores.false_positives];
            cells.extend(figures.map(Cell::from));
        }
    }
    table
}

fn cells(row: &Row) -> Vec<Cell> {
    let words =
        |list: Vec<&str>| (!list.is_empty()).then(|| list.join(", ")).map_or(Cell::Absent, Cell::from);
    let line = |text: &String| Cell::from(text.replace(['\n', '\t', '\r'], " "));
    let count = |n: Option<u64>| Cell::from(n.map(|n| n as f64));
    vec![
        row.case.clone().into(),
        row.failure.as_ref().map_or(Cell::Absent, line),
        row.hint.as_ref().map_or(Cell::Absent, line),
        count(row.accepted),
        count(row.below_size),
        count(row.rejected),
        row.total_ml.into(),
        row.largest_ml.into(),
        row.target_sum_mm.into(),
        row.burden.map_or(Cell::Absent, |group| group.to_owned().into()),
        words(row.missing.iter().map(String::as_str).collect()),
        count(row.failure.is_none().then_some(row.warnings.len() as u64)),
        row.registrations.values().copied().min_by(f64::total_cmp).into(),
        row.brain_ml.into(),
        row.median_intensity.into(),
        words(row.outliers.iter().map(|outlier| outlier.name.as_str()).collect()),
    ]
}
