//! Operator `cohort_report`: a whole cohort on one page, failures first.
//!
//! It reads of each case the JSON of `case_report` and the tile of `case_tile`, both small, one case after another. Clocks are no
//! part of it, so that the same cases give the same page: what stages took is told by `status`.

pub mod gather;
pub mod options;
pub mod outlier;
pub mod page;
pub mod tile;

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
        Ok(Self { options })
    }

    fn run(&mut self, cases: &dyn Cases, ctx: &Context) -> Result<Outputs, OperatorError> {
        let summary = CohortSummary::of(cases, &self.options, ctx)?;
        let pictures = page::Pictures::of(cases, &summary, &self.options, ctx)?;
        let json = serde_json::to_vec_pretty(&summary)?;
        Ok(Outputs::new()
            .with("html", Document::new("text/html", page::page(&summary, &pictures)?))
            .with("json", Document::new("application/json", json))
            .with("table", table(&summary.cases)))
    }
}

/// A row for each case, those that failed first.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(vec![
        Column::new("case", "", "label of the case"),
        Column::new("failure", "", "why it failed; nothing if it did not"),
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
    table.rows = rows.iter().map(cells).collect();
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
        count(row.accepted),
        count(row.below_size),
        count(row.rejected),
        row.total_ml.into(),
        row.largest_ml.into(),
        row.target_sum_mm.into(),
        row.burden.map_or(Cell::Absent, |group| group.to_owned().into()),
        words(row.missing.iter().map(String::as_str).collect()),
        count(row.failure.is_none().then_some(row.warnings.len() as u64)),
        row.registration.into(),
        row.brain_ml.into(),
        row.median_intensity.into(),
        words(row.outliers.iter().map(|outlier| outlier.name).collect()),
    ]
}
