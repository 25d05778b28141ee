//! A comparison in words: what matters first.

use super::measures::{Measures, Pair};
use super::{CaseComparison, CaseState, Comparison, FileComparison, FileKind, OutputSummary, Verdict};

/// Outputs that the first line names.
const NAMED_OUTPUTS: usize = 3;

/// The line that says what matters: `58 of 60 cases identical; desc-lesions_dseg differs in 2`.
pub fn headline(comparison: &Comparison) -> String {
    let counts = &comparison.counts;
    let mut parts = vec![match (counts.identical, counts.compared) {
        (1, 1) => "the case is identical".to_owned(),
        (0, 1) => "the case is not identical".to_owned(),
        (same, all) if same == all => format!("all {all} cases identical"),
        (same, all) => format!("{same} of {all} cases identical"),
    }];
    if counts.close > 0 {
        parts.push(format!("{} the same but for rounding", counts.close));
    }
    let changed = |output: &OutputSummary| output.differ + output.only.a + output.only.b + output.unreadable;
    let results = comparison.outputs.iter().filter(|output| output.kind != FileKind::Document);
    let mut changed: Vec<(&str, usize)> = results
        .map(|output| (output.output.as_str(), changed(output)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let more = changed.len().saturating_sub(NAMED_OUTPUTS);
    changed.truncate(NAMED_OUTPUTS);
    let mut named: Vec<String> = changed.iter().map(|(name, count)| format!("{name} in {count}")).collect();
    if let Some(first) = named.first_mut() {
        *first = first.replacen(" in ", " differs in ", 1);
        let more = if more == 0 { String::new() } else { format!(", and {more} more outputs") };
        parts.push(format!("{}{more}", named.join(", ")));
    }
    if counts.documents_differ > 0 {
        parts.push(format!("pages and other documents differ in {}", counts.documents_differ));
    }
    for (count, what) in [
        (counts.only.a, "with results in A alone"),
        (counts.only.b, "with results in B alone"),
        (counts.failed.a, "failed in A"),
        (counts.failed.b, "failed in B"),
    ] {
        if count > 0 {
            parts.push(format!("{} {what}", many(count, "case")));
        }
    }
    if counts.unreadable > 0 {
        parts.push(format!("{} cannot be read", many(counts.unreadable, "file")));
    }
    parts.join("; ")
}

/// A number of things: `1 case`, `2 cases`.
pub fn many(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Why a case has no results on one side.
fn without(state: CaseState, reason: Option<&String>, side: &str) -> String {
    let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    match state {
        CaseState::Failed => format!("failed in {side}{why}"),
        _ => format!("not in {side}{why}"),
    }
}

/// The rows of a case that are worth a line: output, kind and difference; empty if all is identical.
pub fn in_words(case: &CaseComparison) -> Vec<(String, Option<FileKind>, String)> {
    let whole = |words| vec![("all".to_owned(), None, words)];
    match case.verdict {
        Verdict::OnlyA => whole(without(case.state.b, case.reason.b.as_ref(), "B")),
        Verdict::OnlyB => whole(without(case.state.a, case.reason.a.as_ref(), "A")),
        Verdict::Neither => whole("failed in both".to_owned()),
        _ => {
            let differ = case.files.iter().filter(|file| file.verdict != Verdict::Identical);
            differ.map(|file| (file.output.clone(), Some(file.kind), difference(file))).collect()
        }
    }
}

/// A file's difference.
fn difference(file: &FileComparison) -> String {
    let measured = file.measures.as_ref().map(measured).unwrap_or_default();
    match file.verdict {
        Verdict::OnlyA => "only in A".to_owned(),
        Verdict::OnlyB => "only in B".to_owned(),
        Verdict::Unreadable => {
            let problem = file.problem.as_deref().unwrap_or("cannot be read");
            problem.lines().next().unwrap_or_default().to_owned()
        }
        Verdict::Close => format!("rounding: {measured}"),
        _ => measured,
    }
}

fn measured(measures: &Measures) -> String {
    match measures {
        Measures::Image(m) => m.difference.as_ref().map_or_else(|| other_grid(&m.grid), delta),
        Measures::Probability(m) => {
            m.image.difference.as_ref().map_or_else(|| other_grid(&m.image.grid), delta)
        }
        Measures::Mask(m) => match (m.dice, m.voxels_differ) {
            (Some(dice), Some(voxels)) => {
                format!("Dice {}, {}, {}", ratio(dice), ml(m.volume_ml), many(voxels, "voxel"))
            }
            _ => format!("{}; {}", other_grid(&m.grid), ml(m.volume_ml)),
        },
        Measures::Labels(m) => labels(m),
        Measures::Transform(m) => format!("up to {} mm", digits(m.largest_displacement_mm)),
        Measures::Table(m) => table(m),
        Measures::Number(m) => format!("{} and {}", m.value.a, m.value.b),
        Measures::Document(m) if m.bytes.a == m.bytes.b => "other content".to_owned(),
        Measures::Document(m) => format!("other content, {} and {} bytes", m.bytes.a, m.bytes.b),
    }
}

fn labels(m: &super::LabelMeasures) -> String {
    let counts = format!("{} and {}", m.lesions.a, many(m.lesions.b, "lesion"));
    let (Some(unmatched), Some(dice)) = (m.unmatched, m.dice) else {
        return format!("{}; {counts}, {}", other_grid(&m.grid), ml(m.volume_ml));
    };
    if m.voxels_differ == Some(0) {
        return format!("{counts}, the same voxels with other labels");
    }
    let mut parts = vec![counts];
    for (count, side) in [(unmatched.a, "A"), (unmatched.b, "B")] {
        if count > 0 {
            parts.push(format!("{count} only in {side}"));
        }
    }
    format!("{}; Dice {}, {}", parts.join(", "), ratio(dice), ml(m.volume_ml))
}

fn table(m: &super::TableMeasures) -> String {
    let mut parts = Vec::new();
    for (columns, side) in [(&m.columns_only.a, "A"), (&m.columns_only.b, "B")] {
        if !columns.is_empty() {
            parts.push(format!("{} only in {side}", many(columns.len(), "column")));
        }
    }
    for (count, side) in [(m.rows_only.a, "A"), (m.rows_only.b, "B")] {
        if count > 0 {
            parts.push(format!("{} only in {side}", many(count, "row")));
        }
    }
    if m.cells_differ > 0 || parts.is_empty() {
        parts.push(format!("{} of {} differ", m.cells_differ, many(m.cells, "cell")));
    }
    if let Some(largest) = m.largest.as_ref().filter(|_| m.cells_differ > 0) {
        let (a, b) = (digits(largest.value.a), digits(largest.value.b));
        parts.push(format!("most: {} {a} and {b}", largest.column));
    }
    parts.join(", ")
}

fn delta(delta: &super::Delta) -> String {
    let correlation = delta.correlation.map(|r| format!(", correlation {}", ratio(r))).unwrap_or_default();
    let odd = match delta.not_finite_differ {
        0 => String::new(),
        count => format!(", {} not finite in one", many(count, "voxel")),
    };
    format!("up to {}, mean {}{correlation}{odd}", digits(delta.largest), digits(delta.mean))
}

fn other_grid(grid: &Pair<super::GridFacts>) -> String {
    let text = |grid: &super::GridFacts| {
        let ([nx, ny, nz], [x, y, z]) = (grid.shape, grid.spacing_mm.map(|mm| (mm * 1e3).round() / 1e3));
        format!("{nx}x{ny}x{nz} of {x}x{y}x{z} mm {}", grid.orientation)
    };
    let (a, b) = (text(&grid.a), text(&grid.b));
    if a == b { format!("other grid: {a} in both, elsewhere") } else { format!("other grid: {a} and {b}") }
}

/// A share or correlation: `0.987`; never rounded up to 1.
fn ratio(ratio: f64) -> String {
    if ratio < 1.0 && ratio > 0.9995 { format!("1 - {}", digits(1.0 - ratio)) } else { format!("{ratio:.3}") }
}

fn ml(volumes: Pair<f64>) -> String {
    format!("{} and {} ml", volume_text(volumes.a), volume_text(volumes.b))
}

fn volume_text(ml: f64) -> String {
    if ml < 10.0 { format!("{ml:.3}") } else { format!("{ml:.1}") }
}

/// A number with about three digits that matter.
fn digits(number: f64) -> String {
    let text = match number.abs() {
        0.0 => return "0".to_owned(),
        size if !(1e-3..1e6).contains(&size) => return format!("{number:.1e}"),
        size if size >= 100.0 => return format!("{number:.0}"),
        size if size >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.4}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What an output's figures over all cases come to; of documents there are none.
pub fn figures(output: &OutputSummary) -> String {
    let mut parts = Vec::new();
    if output.identical == output.cases {
        parts.extend(output.lesions.map(|lesions| many(lesions.a, "lesion")));
        parts.extend(output.volume_ml.map(|volume| format!("{} ml", volume_text(volume.a))));
        return parts.join(", ");
    }
    if let (Some(mean), Some(lowest)) = (output.mean_dice, output.lowest_dice) {
        parts.push(format!("Dice {} on average, lowest {}", ratio(mean), ratio(lowest)));
    }
    if let Some(lesions) = output.lesions {
        parts.push(format!("{} and {}", lesions.a, many(lesions.b, "lesion")));
    }
    if let Some(unmatched) = output.unmatched {
        parts.push(format!("{} only in A, {} only in B", unmatched.a, unmatched.b));
    }
    parts.extend(output.volume_ml.map(ml));
    if let (Some(cells), Some(differ)) = (output.cells, output.cells_differ) {
        parts.push(format!("{differ} of {} differ", many(cells, "cell")));
    }
    match (output.kind, output.largest) {
        (FileKind::Transform, Some(largest)) => parts.push(format!("up to {} mm", digits(largest))),
        (_, Some(largest)) => parts.push(format!("up to {}", digits(largest))),
        _ => {}
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        let shown = [0.0, 0.000_12, 0.0123, 0.5, 1.234, 2.0, 100.4, 1_234_567.0].map(digits);
        assert_eq!(shown, ["0", "1.2e-4", "0.0123", "0.5", "1.23", "2", "100", "1.2e6"]);
        assert_eq!(
            (ratio(0.98765), ratio(1.0), ratio(0.9999)),
            ("0.988".into(), "1.000".into(), "1 - 1.0e-4".into())
        );
    }
}
