//! The evaluation as a page: what was judged by which rules, tables, figures, and what to keep in mind.

use super::json::PAPER_NOTES;
use super::{Cohort, Split, figures, tables};
use crate::chart::escape;
use sdk::{Cell, Table};
use std::fmt::Write as _;
use std::ops::Range;

const STYLE: &str = "body{font:15px/1.45 Helvetica,Arial,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#111;\
background:#fff}table{border-collapse:collapse;margin:.6em 0 1.6em;font-size:13px;display:block;overflow-x:auto}\
th,td{border:1px solid #ccc;padding:3px 8px;text-align:right}th:first-child,td:first-child{text-align:left}\
td:first-child{white-space:nowrap}small{color:#555}th{background:#f3f3f3}.warn{border-left:5px solid #D55E00;padding:.3em 1em;background:#fff6ef}svg{max-width:100%;height:auto}";

/// Headings of the tables on the page; the others are in files.
const SHOWN: [(usize, &str); 9] = [
    (0, "Table 1. The cohort"),
    (1, "Table 3A. ROC curves over voxels, each patient at his own Youden threshold"),
    (2, "Table 3B. Voxels at the threshold"),
    (3, "Table 3C. Lesions at the threshold"),
    (4, "Table 4A. Groups compared, by figures of 3A"),
    (5, "Table 4B. Groups compared, by figures of 3B"),
    (6, "Table 4C. Groups compared, by figures of 3C"),
    (11, "Strata"),
    (12, "Models and readers compared"),
];

/// Writes the page.
pub fn page(cohort: &Cohort, tables: &[Table], svgs: &[String]) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Evaluation</title><style>{STYLE}</style></head>\
         <body>\n<h1>Evaluation</h1>\n<p>For research use only. Figures on phantoms judge the plumbing, never clinical \
         performance.</p>\n"
    );
    head(&mut out, cohort);
    for (index, heading) in SHOWN {
        if let Some(table) = tables.get(index).filter(|table| !table.rows.is_empty()) {
            let _ = writeln!(out, "<h2>{}</h2>", escape(heading));
            write_table(&mut out, table);
        }
    }
    out.push_str("<h2>Figures</h2>\n");
    for (name, svg) in figures::NAMES.iter().zip(svgs) {
        let _ = writeln!(out, "<figure id=\"{name}\">{svg}</figure>");
    }
    out.push_str("<h2>Before you compare with the paper</h2>\n<ul>\n");
    for note in PAPER_NOTES {
        let _ = writeln!(out, "<li>{}</li>", escape(note));
    }
    let _ = writeln!(out, "</ul>\n<p>{}</p>\n</body></html>", escape(crate::CITATION));
    out
}

/// What was judged, by which threshold, and what must be known.
fn head(out: &mut String, cohort: &Cohort) {
    let count = |split: Split| {
        (cohort.side(split).filter(|p| p.scored.is_some()).count(), cohort.side(split).count())
    };
    let ((dev, of_dev), (test, of_test)) = (count(Split::Dev), count(Split::Test));
    let source = if cohort.settings.threshold.is_some() {
        "fixed by the settings".to_owned()
    } else if dev == 0 {
        "the default, for there are no development cases".to_owned()
    } else {
        let interval = cohort
            .threshold_interval
            .map(|[low, high]| format!(", 95 % interval {low:.3} to {high:.3} over resampled patients"))
            .unwrap_or_default();
        let criterion = format!("{:?}", cohort.settings.criterion).to_lowercase();
        format!("the mean optimum of the development cases by `{criterion}`{interval}")
    };
    let _ = writeln!(
        out,
        "<p>{test} of {of_test} test cases and {dev} of {of_dev} development cases were scored. Threshold {:.4}: {}.</p>",
        cohort.threshold,
        escape(&source)
    );
    let mut warnings: Vec<String> = Vec::new();
    for patient in &cohort.patients {
        if let Some(failure) = &patient.failure {
            warnings.push(format!("{} failed: {failure}", patient.id));
        }
        let told = patient.scored.iter().flat_map(|scored| &scored.warnings);
        warnings.extend(told.map(|warning| format!("{}: {warning}", patient.id)));
    }
    let (shown, folded) = warnings.split_at(warnings.len().min(WARNINGS));
    let list = |out: &mut String, warnings: &[String]| {
        out.push_str("<ul>");
        for warning in warnings {
            let _ = write!(out, "<li>{}</li>", escape(warning));
        }
        out.push_str("</ul>");
    };
    if !shown.is_empty() {
        out.push_str("<div class=\"warn\">");
        list(out, shown);
        if !folded.is_empty() {
            let _ = write!(out, "<details><summary>{} more</summary>", folded.len());
            list(out, folded);
            out.push_str("</details>");
        }
        out.push_str("</div>\n");
    }
}

/// Warnings that are shown at once; the others unfold.
const WARNINGS: usize = 12;
/// Least number that four decimals can tell from 0.
const LEAST_SHOWN: f64 = 0.000_05;

fn write_table(out: &mut String, table: &Table) {
    out.push_str("<table><tr>");
    let columns = merged(table);
    for column in &columns {
        let (name, about) = (&table.columns[column.start].name, &table.columns[column.start].description);
        if column.len() > 1 {
            let name = name.trim_end_matches("_n");
            let _ = write!(
                out,
                "<th title=\"mean ± SD, 95 % interval of the mean over patients\">{}</th>",
                escape(name)
            );
        } else {
            let _ = write!(out, "<th title=\"{}\">{}</th>", escape(about), escape(name));
        }
    }
    out.push_str("</tr>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for column in &columns {
            let text = if column.len() > 1 { spread(&row[column.clone()]) } else { cell(&row[column.start]) };
            let _ = write!(out, "<td>{text}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

/// Which columns of a table share one on the page: the count, mean, SD and intervals of a figure.
fn merged(table: &Table) -> Vec<Range<usize>> {
    let name = |n: usize| table.columns.get(n).map_or("", |column| column.name.as_str());
    let mut columns = Vec::new();
    let mut start = 0;
    while start < table.columns.len() {
        let figure =
            name(start).strip_suffix("_n").filter(|figure| name(start + 1) == format!("{figure}_mean"));
        let own = figure.map_or(1, |figure| {
            let is_own = |&n: &usize| name(n).strip_prefix(figure).is_some_and(|rest| PARTS.contains(&rest));
            (start..table.columns.len()).take_while(is_own).count()
        });
        columns.push(start..start + own);
        start += own;
    }
    columns
}

/// Ends of the names of what belongs to a figure, in their order.
const PARTS: [&str; 7] =
    ["_n", "_mean", "_sd", "_ci_low", "_ci_high", "_ci_threshold_low", "_ci_threshold_high"];

/// A figure's cells as one: `0.9374 ± 0.1471`, below it how many cases and the intervals.
fn spread(cells: &[Cell]) -> String {
    let text = |n: usize| cells.get(n).filter(|cell| !matches!(cell, Cell::Absent)).map(cell);
    let Some((mean, sd)) = text(1).zip(text(2)) else { return "n/a".to_owned() };
    let mut told = format!("{mean} ± {sd}<br><small>n = {}", text(0).unwrap_or_default());
    if let Some((low, high)) = text(3).zip(text(4)) {
        let _ = write!(told, "; 95 % {low} to {high}");
    }
    if let Some((low, high)) = text(5).zip(text(6)) {
        let _ = write!(told, "<br>with the threshold's {low} to {high}");
    }
    told.push_str("</small>");
    told
}

fn cell(cell: &Cell) -> String {
    let text = match cell {
        Cell::Number(value) if value.fract() == 0.0 => format!("{value:.0}"),
        Cell::Number(value) if value.abs() < LEAST_SHOWN => "< 0.0001".to_owned(),
        Cell::Number(value) => format!("{value:.4}"),
        other => other.to_string(),
    };
    escape(&text)
}

/// Whether every shown table exists.
const _: () = assert!(SHOWN[SHOWN.len() - 1].0 < tables::NAMES.len());
