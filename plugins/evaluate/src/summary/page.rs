//! The evaluation as a page: what was judged by which rules, tables, figures, and what to keep in mind.

use super::json::PAPER_NOTES;
use super::{Cohort, Split, figures, tables};
use crate::chart::escape;
use sdk::{Cell, Table};
use std::fmt::Write as _;

const STYLE: &str = "body{font:15px/1.45 Helvetica,Arial,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#111;\
background:#fff}table{border-collapse:collapse;margin:.6em 0 1.6em;font-size:13px;display:block;overflow-x:auto}\
th,td{border:1px solid #ccc;padding:3px 8px;text-align:right}th:first-child,td:first-child{text-align:left}\
td:first-child{white-space:nowrap}th{background:#f3f3f3}.warn{border-left:5px solid #D55E00;padding:.3em 1em;background:#fff6ef}svg{max-width:100%;height:auto}";

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
    if !warnings.is_empty() {
        out.push_str("<div class=\"warn\"><ul>");
        for warning in &warnings {
            let _ = write!(out, "<li>{}</li>", escape(warning));
        }
        out.push_str("</ul></div>\n");
    }
}

fn write_table(out: &mut String, table: &Table) {
    out.push_str("<table><tr>");
    for column in &table.columns {
        let _ = write!(out, "<th title=\"{}\">{}</th>", escape(&column.description), escape(&column.name));
    }
    out.push_str("</tr>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for cell in row {
            let text = match cell {
                Cell::Number(value) if value.fract() == 0.0 => format!("{value:.0}"),
                Cell::Number(value) => format!("{value:.4}"),
                other => other.to_string(),
            };
            let _ = write!(out, "<td>{}</td>", escape(&text));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

/// Whether every shown table exists.
const _: () = assert!(SHOWN[SHOWN.len() - 1].0 < tables::NAMES.len());
