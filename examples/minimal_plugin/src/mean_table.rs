//! The mean of each numeric column of a table over all cases of a cohort.
//!
//! A case counts once in a column, with the mean of its rows; what is absent is left out. Sums are made in the order of the
//! cases, so that the result is the same whether the work was interrupted or not.
//!
//! What was read of a case is remembered in a file of lines, one a case. After a kill the next start reads them back and goes
//! on with the first case that is not among them.

use sdk::{Cases, Cell, Column, Context, JsonSchema, OperatorError, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// Settings of `mean_table`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct MeanOptions {
    /// Milliseconds to wait after each case: a demonstration of how a long stage is interrupted and goes on.
    #[schemars(range(max = 10_000))]
    pub pause_ms: u64,
}

/// What was read of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seen {
    case: String,
    columns: Vec<Mean>,
}

/// A column of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mean {
    name: String,
    unit: String,
    description: String,
    /// The bits of the mean of its numbers, since a number in JSON may lose its last digit.
    bits: u64,
}

/// The file of what was read, in the folder to resume from.
const FILE: &str = "cases.jsonl";

/// Means over the cases, and the cases that failed.
#[derive(Debug)]
pub struct Summary {
    /// One row for each numeric column.
    pub means: Table,
    /// One row for each case that failed: its label, and the reason.
    pub left_out: Table,
}

/// Averages the table that each case has at `port`.
///
/// * `resume_dir`: remembers what was read; empty at the first start.
///
/// # Errors
/// A case whose values cannot be read; a folder that cannot be written; the stage was asked to stop.
pub fn average(
    cases: &dyn Cases,
    port: &str,
    options: &MeanOptions,
    resume_dir: &Path,
    ctx: &Context,
) -> Result<Summary, OperatorError> {
    let path = resume_dir.join(FILE);
    let mut seen = remembered(&path)?;
    if !seen.is_empty() {
        tracing::info!("goes on after {} of {} cases", seen.len(), cases.len());
    }
    let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
    let mut all = Vec::new();
    let mut left_out = Table::new(vec![
        Column::new("case", "", "label of a case that does not count"),
        Column::new("reason", "", "why it has no values"),
    ]);
    for index in 0..cases.len() {
        ctx.check_cancelled()?;
        let entry = cases.entry(index)?;
        if let Some(reason) = entry.failure {
            left_out.rows.push(vec![entry.label.into(), reason.into()]);
            continue;
        }
        let case = match seen.remove(&entry.label) {
            Some(case) => case,
            None => read(cases, index, entry.label, port, options, &mut file)?,
        };
        ctx.progress((index + 1) as f64 / cases.len() as f64, &case.case);
        all.push(case);
    }
    Ok(Summary { means: means(&all), left_out })
}

/// What an earlier start remembered, by case. A line that a kill cut off is forgotten.
fn remembered(path: &Path) -> Result<BTreeMap<String, Seen>, OperatorError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text?,
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    }
    let lines = text[..whole].lines().map(|line| {
        let seen: Seen = serde_json::from_str(line)?;
        Ok((seen.case.clone(), seen))
    });
    lines.collect()
}

/// Reads a case and remembers what it says.
fn read(
    cases: &dyn Cases,
    index: usize,
    label: String,
    port: &str,
    options: &MeanOptions,
    file: &mut File,
) -> Result<Seen, OperatorError> {
    let table = cases.inputs(index)?.table(port)?;
    let case = Seen { case: label, columns: columns(&table) };
    file.write_all(format!("{}\n", serde_json::to_string(&case)?).as_bytes())?;
    std::thread::sleep(Duration::from_millis(options.pause_ms));
    Ok(case)
}

/// The mean of each column that holds a number.
fn columns(table: &Table) -> Vec<Mean> {
    let mut found = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        let number = |row: &Vec<Cell>| match row.get(at) {
            Some(Cell::Number(number)) => Some(*number),
            _ => None,
        };
        let numbers: Vec<f64> = table.rows.iter().filter_map(number).collect();
        if !numbers.is_empty() {
            let bits = (numbers.iter().sum::<f64>() / numbers.len() as f64).to_bits();
            let Column { name, unit, description, .. } = column.clone();
            found.push(Mean { name, unit, description, bits });
        }
    }
    found
}

/// The mean over cases and the standard deviation between them, a row for each column in the order of first sight.
fn means(all: &[Seen]) -> Table {
    let mut order: Vec<&Mean> = Vec::new();
    for column in all.iter().flat_map(|case| &case.columns) {
        if !order.iter().any(|known| known.name == column.name) {
            order.push(column);
        }
    }
    let mut table = Table::new(vec![
        Column::new("column", "", "column of the cases' tables"),
        Column::new("unit", "", "its unit"),
        Column::new("cases", "", "cases that have a number there"),
        Column::new("mean", "", "mean over these cases"),
        Column::new("sd", "", "standard deviation between these cases"),
    ]);
    for column in order {
        let of_case = |case: &Seen| {
            let same = case.columns.iter().find(|other| other.name == column.name);
            same.map(|other| f64::from_bits(other.bits))
        };
        let numbers: Vec<f64> = all.iter().filter_map(of_case).collect();
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        let squares = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>();
        let sd = (numbers.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        let cells: Vec<Cell> = vec![
            column.name.clone().into(),
            column.unit.clone().into(),
            numbers.len().into(),
            mean.into(),
            sd.into(),
        ];
        table.rows.push(cells);
    }
    table
}
