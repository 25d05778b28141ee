//! The figures at the top of the page.

use crate::case::Case;
use crate::shape::Shape;
use crate::tables;
use sdk::serde::Serialize;
use sdk::{Cell, Table};

/// What a reader wants to know first. `None` where a stage that would tell has not run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Summary {
    /// Lesions that passed all rules of the filter.
    pub accepted: Option<usize>,
    /// Candidates that are only too small.
    pub below_size: Option<usize>,
    /// Candidates that another rule rejected.
    pub rejected: Option<usize>,
    /// Volume of all accepted lesions in ml.
    pub total_ml: Option<f64>,
    /// Volume of the largest in ml.
    pub largest_ml: Option<f64>,
    /// Longest axial diameter among all, in mm.
    pub largest_diameter_mm: Option<f64>,
    /// Sum of the longest axial diameters of the target lesions in mm.
    pub target_sum_mm: Option<f64>,
    /// Number of target lesions: the largest measurable ones, at most [`TARGETS`].
    pub targets: usize,
    /// The same as pairs of title, value and explanation.
    pub figures: Vec<Figure>,
}

/// One figure as shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Figure {
    /// What it is.
    pub title: &'static str,
    /// Number and unit.
    pub value: String,
    /// Small print.
    pub detail: String,
}

/// Largest number of target lesions in RANO-BM (Lin et al., Lancet Oncology 2015;16:e270).
pub const TARGETS: usize = 5;

fn numbers(table: Option<&Table>, name: &str) -> Option<Vec<f64>> {
    let table = table?;
    let column = table.column(name)?;
    Some(table.rows.iter().filter_map(|row| row.get(column)?.number()).collect())
}

/// What the filter said about a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    BelowSize,
    Rejected,
}

/// The filter's class of each candidate: `accepted`, `below_size`, or another for one that it rejected.
fn verdicts(candidates: &Table) -> Option<Vec<Verdict>> {
    let column = candidates.column("class")?;
    let verdict = |row: &Vec<Cell>| match row.get(column).and_then(Cell::text) {
        Some("accepted") => Verdict::Accepted,
        Some("below_size") => Verdict::BelowSize,
        _ => Verdict::Rejected,
    };
    Some(candidates.rows.iter().map(verdict).collect())
}

/// The longest axial diameters of the target lesions: the largest measurable ones.
fn target_diameters(table: &Table) -> Option<Vec<f64>> {
    let (measurable, diameter) = (table.column("measurable")?, table.column("longest_axial_diameter_mm")?);
    let target = |row: &&Vec<Cell>| row.get(measurable) == Some(&Cell::Bool(true));
    let mut found: Vec<f64> =
        table.rows.iter().filter(target).filter_map(|row| row.get(diameter)?.number()).collect();
    found.sort_by(|a, b| b.total_cmp(a));
    found.truncate(TARGETS);
    Some(found)
}

impl Summary {
    /// Counts and sums what the case has; labels stand in where the table is absent.
    pub fn of(case: &Case, accepted: &[Shape], below_size: &[Shape]) -> Self {
        let verdicts = case.candidates.as_ref().and_then(verdicts);
        let count = |wanted| verdicts.as_ref().map(|list| list.iter().filter(|v| **v == wanted).count());
        let labels = case.lesions.as_ref().map(|_| accepted.len());
        let mut volumes_mm3 = numbers(case.table.as_ref(), "volume_mm3");
        if volumes_mm3.is_none() && labels.is_some() {
            volumes_mm3 = Some(accepted.iter().map(|shape| shape.volume_mm3).collect());
        }
        let largest = |list: &Vec<f64>| list.iter().copied().max_by(f64::total_cmp);
        let targets = case.table.as_ref().and_then(target_diameters);
        let diameters = numbers(case.table.as_ref(), "longest_axial_diameter_mm");
        let mut summary = Self {
            accepted: case.table.as_ref().map(|table| table.rows.len()).or(labels),
            below_size: case.below_size.as_ref().map(|_| below_size.len()).or(count(Verdict::BelowSize)),
            rejected: count(Verdict::Rejected),
            total_ml: volumes_mm3
                .as_ref()
                .map(|list| list.iter().fold(0.0, |sum, volume| sum + volume) / 1000.0),
            largest_ml: volumes_mm3.as_ref().and_then(largest).map(|mm3| mm3 / 1000.0),
            largest_diameter_mm: diameters.as_ref().and_then(largest),
            targets: targets.as_ref().map_or(0, Vec::len),
            target_sum_mm: targets.map(|list| list.iter().fold(0.0, |sum, diameter| sum + diameter)),
            figures: Vec::new(),
        };
        summary.figures = summary.shown();
        summary
    }

    fn shown(&self) -> Vec<Figure> {
        let count = |n: Option<usize>| n.map_or_else(|| "–".to_owned(), |n| n.to_string());
        let amount = |value: Option<f64>, unit: &str| {
            value.map_or_else(|| "–".to_owned(), |v| format!("{} {unit}", tables::number(v, unit, "")))
        };
        // What is not known needs no explanation.
        let figure = |title, value: String, detail: &str| {
            let detail = if value == "–" { "" } else { detail };
            Figure { title, value, detail: detail.to_owned() }
        };
        let diameter = self.largest_diameter_mm.map(|mm| format!("longest axial diameter {mm:.1} mm"));
        let targets = match self.targets {
            0 => "no measurable lesion".to_owned(),
            1 => "1 measurable lesion".to_owned(),
            n => format!("the {n} largest measurable lesions"),
        };
        vec![
            figure("Lesions accepted", count(self.accepted), ""),
            figure("Below size limit", count(self.below_size), "shown, not counted"),
            figure("Rejected", count(self.rejected), "by another rule of the filter"),
            figure("Total volume", amount(self.total_ml, "ml"), "accepted lesions"),
            figure("Largest", amount(self.largest_ml, "ml"), &diameter.unwrap_or_default()),
            figure("Sum of target diameters", amount(self.target_sum_mm, "mm"), &targets),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Column;

    fn table() -> Table {
        let names = ["lesion", "volume_mm3", "longest_axial_diameter_mm", "measurable"];
        let mut table = Table::new(names.map(|name| Column::new(name, "", "")).to_vec());
        for n in 0..7usize {
            let diameter = 10.0 + n as f64;
            table.rows.push(vec![(n + 1).into(), 500.0.into(), diameter.into(), (n > 0).into()]);
        }
        table
    }

    #[test]
    fn targets_are_the_five_largest_measurable_lesions() {
        let case = Case { table: Some(table()), ..Case::default() };
        let summary = Summary::of(&case, &[], &[]);
        assert_eq!(summary.accepted, Some(7));
        assert_eq!(summary.target_sum_mm, Some(16.0 + 15.0 + 14.0 + 13.0 + 12.0));
        assert_eq!(summary.targets, TARGETS);
        assert_eq!(summary.total_ml, Some(3.5));
        assert_eq!(summary.figures[0].value, "7");
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let summary = Summary::of(&Case::default(), &[], &[]);
        assert_eq!((summary.accepted, summary.total_ml), (None, None));
        assert_eq!(summary.figures[0].value, "–");
    }
}
