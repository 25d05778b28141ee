//! What matters of a comparison: verdicts, order by badness, and each output over all cases.

use super::folder::{CaseState, FileKind};
use super::measures::{Measures, Pair};
use super::{CaseComparison, FileComparison, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;

/// How many cases and files, by verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Cases that either folder knows.
    pub cases: usize,
    /// Cases whose results are in both.
    pub compared: usize,
    /// Of these, the ones with the same results, documents left aside.
    pub identical: usize,
    /// The same but for rounding.
    pub close: usize,
    /// The others.
    pub differ: usize,
    /// Cases whose documents differ, whatever else does.
    pub documents_differ: usize,
    /// Cases that each folder alone has results of.
    pub only: Pair<usize>,
    /// Cases that failed in each folder and have no results there.
    pub failed: Pair<usize>,
    /// Files that cannot be read.
    pub unreadable: usize,
}

/// An output over all cases that both folders have results of.
#[derive(Clone, Debug, Serialize)]
pub struct OutputSummary {
    /// Its name, as in [`FileComparison`].
    pub output: String,
    /// What it holds.
    pub kind: FileKind,
    /// Cases that have it in either folder.
    pub cases: usize,
    /// The same content.
    pub identical: usize,
    /// The same but for rounding.
    pub close: usize,
    /// Other content, or another grid.
    pub differ: usize,
    /// Files that one folder alone has.
    pub only: Pair<usize>,
    /// Files that cannot be read.
    pub unreadable: usize,
    /// Mean Dice of those that have one.
    pub mean_dice: Option<f64>,
    /// Lowest Dice.
    pub lowest_dice: Option<f64>,
    /// Volume of all masks or lesions, in ml.
    pub volume_ml: Option<Pair<f64>>,
    /// All lesions.
    pub lesions: Option<Pair<usize>>,
    /// Lesions with a partner, of those on one grid.
    pub matched: Option<Pair<usize>>,
    /// Lesions without one.
    pub unmatched: Option<Pair<usize>>,
    /// Cells of all tables that both folders have.
    pub cells: Option<usize>,
    /// Of these, the ones that differ.
    pub cells_differ: Option<usize>,
    /// Largest difference of two voxels, of two numbers, or of two transforms in mm.
    pub largest: Option<f64>,
    /// The case that differs most; none if none does.
    pub worst_case: Option<String>,
}

/// How bad a file is: more for what more hangs on, and in that for the larger difference.
pub(super) fn file_badness(file: &FileComparison) -> f64 {
    /// Weight of a missing file or a damaged one, above all differences of content.
    const NO_PARTNER: f64 = 7.0;
    match file.verdict {
        Verdict::Identical | Verdict::Neither => 0.0,
        Verdict::Close => 0.01,
        Verdict::Unreadable => NO_PARTNER + 1.0,
        Verdict::OnlyA | Verdict::OnlyB => NO_PARTNER,
        Verdict::OtherGrid => NO_PARTNER - 1.0,
        Verdict::Differs => weight(file.kind) + share(file),
    }
}

/// What hangs on a kind: lesions before masks before scores, documents last.
const fn weight(kind: FileKind) -> f64 {
    match kind {
        FileKind::Labels => 5.0,
        FileKind::Mask => 4.0,
        FileKind::Probability | FileKind::Transform => 3.0,
        FileKind::Image => 2.0,
        FileKind::Table | FileKind::Text => 1.0,
        FileKind::Document => 0.05,
    }
}

/// How large the difference is, in 0..1.
fn share(file: &FileComparison) -> f64 {
    /// So that no difference reaches the weight of the next kind; of a document less still.
    const BELOW_NEXT: f64 = 0.9;
    let share = match &file.measures {
        Some(Measures::Labels(m)) if has_unmatched(m) => 1.0,
        Some(Measures::Labels(m)) => 1.0 - m.dice.unwrap_or(0.0),
        Some(Measures::Mask(m)) => 1.0 - m.dice.unwrap_or(0.0),
        Some(Measures::Probability(m)) => m.image.difference.as_ref().map_or(1.0, |d| d.largest),
        Some(Measures::Image(m)) => {
            m.difference.as_ref().map_or(1.0, |d| 1.0 - d.correlation.unwrap_or(0.0).max(0.0))
        }
        Some(Measures::Transform(m)) => m.largest_displacement_mm / (1.0 + m.largest_displacement_mm),
        Some(Measures::Table(m)) => m.cells_differ as f64 / m.cells.max(1) as f64,
        _ => 0.0,
    };
    BELOW_NEXT * share.clamp(0.0, 1.0)
}

fn has_unmatched(measures: &super::LabelMeasures) -> bool {
    measures.unmatched.is_some_and(|unmatched| unmatched.a + unmatched.b > 0)
}

/// How bad a case is: as its worst file; one that failed or is missing on one side comes first.
pub(super) fn badness(case: &CaseComparison) -> f64 {
    /// Above any file.
    const NO_RESULTS: f64 = 10.0;
    match case.verdict {
        Verdict::OnlyA | Verdict::OnlyB => NO_RESULTS,
        _ => case.files.iter().map(file_badness).fold(0.0, f64::max),
    }
}

/// How a case's results relate, documents left aside.
pub(super) fn case_verdict(state: Pair<CaseState>, files: &[FileComparison]) -> Verdict {
    match (state.a == CaseState::Published, state.b == CaseState::Published) {
        (true, false) => return Verdict::OnlyA,
        (false, true) => return Verdict::OnlyB,
        (false, false) => return Verdict::Neither,
        (true, true) => {}
    }
    let parts = files.iter().filter(|file| file.kind != FileKind::Document || has_no_partner(file));
    match parts.map(|file| file.verdict).max() {
        None | Some(Verdict::Identical) => Verdict::Identical,
        Some(Verdict::Close) => Verdict::Close,
        Some(_) => Verdict::Differs,
    }
}

fn has_no_partner(file: &FileComparison) -> bool {
    matches!(file.verdict, Verdict::OnlyA | Verdict::OnlyB | Verdict::Unreadable)
}

/// Counts cases and files.
pub(super) fn counts(cases: &[CaseComparison]) -> Counts {
    let mut counts = Counts { cases: cases.len(), ..Counts::default() };
    for case in cases {
        counts.failed.a += usize::from(case.state.a == CaseState::Failed);
        counts.failed.b += usize::from(case.state.b == CaseState::Failed);
        counts.unreadable += case.files.iter().filter(|file| file.verdict == Verdict::Unreadable).count();
        match case.verdict {
            Verdict::OnlyA => counts.only.a += 1,
            Verdict::OnlyB => counts.only.b += 1,
            Verdict::Neither => {}
            Verdict::Identical => counts.identical += 1,
            Verdict::Close => counts.close += 1,
            _ => counts.differ += 1,
        }
        if is_compared(case) {
            let document =
                |file: &&FileComparison| file.kind == FileKind::Document && file.verdict == Verdict::Differs;
            counts.compared += 1;
            counts.documents_differ += usize::from(case.files.iter().any(|file| document(&file)));
        }
    }
    counts
}

fn is_compared(case: &CaseComparison) -> bool {
    case.state.a == CaseState::Published && case.state.b == CaseState::Published
}

/// Each output over all cases, worst first.
pub(super) fn outputs(cases: &[CaseComparison]) -> Vec<OutputSummary> {
    let mut by_output: BTreeMap<(&str, FileKind), Vec<(&str, &FileComparison)>> = BTreeMap::new();
    for case in cases.iter().filter(|case| is_compared(case)) {
        for file in &case.files {
            by_output.entry((&file.output, file.kind)).or_default().push((&case.case, file));
        }
    }
    let worst = |files: &[(&str, &FileComparison)]| {
        files.iter().map(|(_, file)| file_badness(file)).fold(0.0, f64::max)
    };
    let mut outputs: Vec<(f64, OutputSummary)> = by_output
        .into_iter()
        .map(|((output, kind), files)| (worst(&files), summary(output, kind, &files)))
        .collect();
    outputs.sort_by(|one, other| other.0.total_cmp(&one.0));
    outputs.into_iter().map(|(_, output)| output).collect()
}

fn summary(output: &str, kind: FileKind, files: &[(&str, &FileComparison)]) -> OutputSummary {
    let count = |verdict| files.iter().filter(|(_, file)| file.verdict == verdict).count();
    let measures = || files.iter().filter_map(|(_, file)| file.measures.as_ref());
    let dices: Vec<f64> = measures().filter_map(dice).collect();
    let worst = files.iter().max_by(|(one_case, one), (other_case, other)| {
        file_badness(one).total_cmp(&file_badness(other)).then(other_case.cmp(one_case))
    });
    OutputSummary {
        output: output.to_owned(),
        kind,
        cases: files.len(),
        identical: count(Verdict::Identical),
        close: count(Verdict::Close),
        differ: count(Verdict::Differs) + count(Verdict::OtherGrid),
        only: Pair { a: count(Verdict::OnlyA), b: count(Verdict::OnlyB) },
        unreadable: count(Verdict::Unreadable),
        mean_dice: (!dices.is_empty()).then(|| dices.iter().sum::<f64>() / dices.len() as f64),
        lowest_dice: dices.iter().copied().reduce(f64::min),
        volume_ml: measures().filter_map(volumes).reduce(add),
        lesions: measures().filter_map(|m| labels(m).map(|m| m.lesions)).reduce(add),
        matched: measures().filter_map(|m| labels(m)?.matched).reduce(add),
        unmatched: measures().filter_map(|m| labels(m)?.unmatched).reduce(add),
        cells: measures().filter_map(|m| Some(table(m)?.cells)).reduce(|one, other| one + other),
        cells_differ: measures()
            .filter_map(|m| Some(table(m)?.cells_differ))
            .reduce(|one, other| one + other),
        largest: measures().filter_map(largest).reduce(f64::max),
        worst_case: worst.filter(|(_, file)| file_badness(file) > 0.0).map(|(case, _)| (*case).to_owned()),
    }
}

fn add<T: std::ops::Add<Output = T>>(one: Pair<T>, other: Pair<T>) -> Pair<T> {
    Pair { a: one.a + other.a, b: one.b + other.b }
}

const fn labels(measures: &Measures) -> Option<&super::LabelMeasures> {
    match measures {
        Measures::Labels(measures) => Some(measures),
        _ => None,
    }
}

const fn table(measures: &Measures) -> Option<&super::TableMeasures> {
    match measures {
        Measures::Table(measures) => Some(measures),
        _ => None,
    }
}

const fn dice(measures: &Measures) -> Option<f64> {
    match measures {
        Measures::Labels(measures) => measures.dice,
        Measures::Mask(measures) => measures.dice,
        _ => None,
    }
}

const fn volumes(measures: &Measures) -> Option<Pair<f64>> {
    match measures {
        Measures::Labels(measures) => Some(measures.volume_ml),
        Measures::Mask(measures) => Some(measures.volume_ml),
        _ => None,
    }
}

fn largest(measures: &Measures) -> Option<f64> {
    match measures {
        Measures::Image(m) => m.difference.as_ref().map(|d| d.largest),
        Measures::Probability(m) => m.image.difference.as_ref().map(|d| d.largest),
        Measures::Transform(m) => Some(m.largest_displacement_mm),
        Measures::Number(m) => Some((m.value.a - m.value.b).abs()),
        _ => None,
    }
}
