//! The evaluation as tables: 1, 3 and 4 of the paper, and what goes beyond.

use super::further::{MAIN_METRICS, calibration, froc, of_model, paired, readers, strata};
use super::groups::{GROUPS, Metric, PAIRS, PARTS, Part, Spread, comparisons, members, spread, worst_case};
use super::{Cohort, Patient, Split, SummaryError};
use crate::calibration::BINS;
use crate::case::Lesion;
use crate::ranksum::Method;
use sdk::{Cell, Column, Table};

/// Names of the tables, as members of the port `tables`.
pub const NAMES: [&str; 13] = [
    "table1",
    "table3a",
    "table3b",
    "table3c",
    "table4a",
    "table4b",
    "table4c",
    "cases",
    "lesions",
    "froc",
    "calibration",
    "strata",
    "comparisons",
];

/// All tables, in the order of [`NAMES`].
///
/// # Errors
/// [`SummaryError::NoColumn`].
pub fn all(cohort: &Cohort) -> Result<Vec<Table>, SummaryError> {
    let mut tables = vec![table1(cohort)];
    tables.extend(PARTS.iter().map(|part| table3(cohort, part)));
    tables.extend(PARTS.iter().map(|part| table4(cohort, part)));
    tables.extend([cases(cohort), lesions(cohort), froc_table(cohort), calibration_table(cohort)]);
    tables.extend([strata_table(cohort)?, comparison_table(cohort)]);
    Ok(tables)
}

fn column(name: &str, description: &str) -> Column {
    Column::new(name, "", description)
}

/// Who is in the cohort.
fn table1(cohort: &Cohort) -> Table {
    let mut table = Table::new(vec![
        column("characteristic", "what is told"),
        column("dev", "development cases"),
        column("test", "test cases"),
        column("test_1_3", "test cases with 1 to 3 lesions"),
        column("test_4_10", "with 4 to 10"),
        column("test_over_10", "with more than 10"),
    ]);
    let mut sides: Vec<Vec<&Patient>> =
        [Split::Dev, Split::Test].map(|split| cohort.side(split).collect()).to_vec();
    sides.extend(["1-3", "4-10", ">10"].map(|group| members(cohort, group)));
    let mut row = |name: String, cell: &dyn Fn(&[&Patient]) -> Cell| {
        let cells = sides.iter().map(|patients| cell(patients));
        table.rows.push(std::iter::once(Cell::from(name)).chain(cells).collect());
    };
    row("cases".to_owned(), &|patients| Cell::from(patients.len() as f64));
    let failed = |patients: &[&Patient]| patients.iter().filter(|p| p.scored.is_none()).count();
    row("failed cases".to_owned(), &|patients| Cell::from(failed(patients) as f64));
    row("lesions".to_owned(), &|patients| {
        Cell::from(scored(patients, |s| s.figures.n_lesions as f64).iter().sum::<f64>())
    });
    row("lesions per case, median (range)".to_owned(), &|patients| {
        range_cell(scored(patients, |s| s.figures.n_lesions as f64))
    });
    row("lesion volume per case in ml, median (range)".to_owned(), &|patients| {
        range_cell(scored(patients, |s| s.figures.truth_voxels as f64 * s.figures.voxel_volume_mm3 / 1000.0))
    });
    row("longest diameter of lesions in mm, median (range)".to_owned(), &|patients| {
        let lesions = patients.iter().filter_map(|p| p.scored.as_ref()).flat_map(|s| &s.lesions);
        range_cell(lesions.map(|lesion| lesion.diameter_mm).collect())
    });
    for column in cohort.strata().unwrap_or_default() {
        let mut values: Vec<String> = cohort.patients.iter().filter_map(|p| p.stratum(&column)).collect();
        values.sort();
        values.dedup();
        for value in values {
            row(format!("{column}: {value}"), &|patients| {
                Cell::from(
                    patients.iter().filter(|p| p.stratum(&column).as_deref() == Some(&value)).count() as f64
                )
            });
        }
    }
    table
}

fn scored(patients: &[&Patient], of: impl Fn(&crate::case::Scored) -> f64) -> Vec<f64> {
    patients.iter().filter_map(|patient| patient.scored.as_ref().map(&of)).collect()
}

/// `7.5 (2.0-42.1)`.
fn range_cell(mut values: Vec<f64>) -> Cell {
    if values.is_empty() {
        return Cell::Absent;
    }
    let median = crate::brats::percentile(&mut values, 0.5);
    Cell::from(format!("{median:.1} ({:.1}-{:.1})", values[0], values[values.len() - 1]))
}

fn spread_columns(metrics: &[Metric]) -> Vec<Column> {
    let each = |metric: &Metric| {
        let name = metric.name();
        let mut columns = vec![
            column(&format!("{name}_n"), "cases that have the figure"),
            column(&format!("{name}_mean"), "mean over these"),
            column(&format!("{name}_sd"), "standard deviation, n - 1"),
            column(&format!("{name}_ci_low"), "95 % bootstrap interval of the mean, over patients"),
            column(&format!("{name}_ci_high"), "its upper end"),
        ];
        if metric.depends_on_threshold() {
            let about = "95 % interval over patients and thresholds of resampled development patients";
            columns.push(column(&format!("{name}_ci_threshold_low"), about));
            columns.push(column(&format!("{name}_ci_threshold_high"), "its upper end"));
        }
        columns
    };
    metrics.iter().flat_map(each).collect()
}

fn spread_cells(metric: Metric, spread: &Spread) -> Vec<Cell> {
    let ends = |interval: Option<[f64; 2]>| [0, 1].map(|end| Cell::from(interval.map(|ci| ci[end])));
    let mut cells = vec![Cell::from(spread.mean.n as f64), spread.mean.mean.into(), spread.mean.sd.into()];
    cells.extend(ends(spread.ci));
    if metric.depends_on_threshold() {
        cells.extend(ends(spread.ci_with_threshold));
    }
    cells
}

fn table3(cohort: &Cohort, part: &Part) -> Table {
    let mut columns = vec![column("lesions", "group by number of lesions, or what stands for a failed case")];
    columns.extend(spread_columns(&part.metrics));
    let mut table = Table::new(columns);
    let mut row = |name: &str, of: &dyn Fn(Metric) -> Spread| {
        let cells = part.metrics.into_iter().flat_map(|metric| spread_cells(metric, &of(metric)));
        table.rows.push(std::iter::once(Cell::from(name)).chain(cells).collect());
    };
    for group in GROUPS {
        let members = members(cohort, group);
        row(group, &|metric| spread(cohort, &members, metric));
    }
    row("all, failed cases as misses", &|metric| worst_case(cohort, metric));
    table
}

fn table4(cohort: &Cohort, part: &Part) -> Table {
    let mut table = Table::new(vec![
        column("groups", "what is compared"),
        column("metric", "by which figure"),
        column("p", "Wilcoxon rank sum, two-sided, as MATLAB's ranksum"),
        column("p_holm", "adjusted by Holm's method over this table"),
        column("method", "exact or approximate"),
        column("w", "rank sum of the smaller sample"),
        column("z", "standardised"),
        column("n_first", "cases of the first group"),
        column("n_second", "cases of the second"),
    ]);
    for comparison in comparisons(cohort, part) {
        let [first, second] = PAIRS[comparison.pair];
        let test = comparison.test;
        let method = match test.method {
            Method::Exact => "exact",
            Method::Approximate => "approximate",
        };
        table.rows.push(vec![
            format!("{first} vs {second}").into(),
            comparison.metric.name().into(),
            test.p.into(),
            comparison.p_holm.into(),
            method.into(),
            test.w.into(),
            test.z.into(),
            Cell::from(test.n[0] as f64),
            Cell::from(test.n[1] as f64),
        ]);
    }
    table
}

/// Every case, one row each.
fn cases(cohort: &Cohort) -> Table {
    let metrics: Vec<Metric> =
        PARTS.iter().flat_map(|part| part.metrics).chain([Metric::BratsDice, Metric::BratsHd95]).collect();
    let mut columns = vec![
        column("case", "name of the case"),
        column("split", "dev, test, or left out"),
        column("group", "by number of lesions"),
        column("lesions", "lesions of the truth"),
    ];
    columns.extend(metrics.iter().map(|metric| column(metric.name(), "see docs/evaluation.md")));
    columns.extend([
        column("dice_macro", "mean of the Dice of foreground and background"),
        column("nonfinite_in_mask", "scores that are not finite"),
        column("in_training", "inputs that the model was trained on"),
        column("failure", "why the case has no scores"),
    ]);
    let mut table = Table::new(columns);
    for patient in &cohort.patients {
        let split = match patient.split {
            Split::Dev => "dev",
            Split::Test => "test",
            Split::LeftOut => "left out",
        };
        let scored = patient.scored.as_ref();
        let mut row: Vec<Cell> = vec![
            patient.id.clone().into(),
            split.into(),
            patient.group().map(str::to_owned).into(),
            scored.map(|s| s.figures.n_lesions as f64).into(),
        ];
        row.extend(metrics.iter().map(|metric| Cell::from(metric.of(patient))));
        row.push(patient.at.map(|at| at.voxel.dice_macro()).into());
        row.push(scored.map(|s| s.figures.nonfinite_in_mask as f64).into());
        row.push(scored.filter(|s| !s.in_training.is_empty()).map(|s| s.in_training.join(", ")).into());
        row.push(patient.failure.clone().into());
        table.rows.push(row);
    }
    table
}

/// Every lesion of the test cases.
fn lesions(cohort: &Cohort) -> Table {
    let mut table = Table::new(vec![
        column("case", "name of the case"),
        Column::new("diameter_mm", "mm", "longest diameter between centres of voxel faces"),
        Column::new("volume_mm3", "mm^3", "volume"),
        column("overlap_gt", "share that is predicted at the found threshold"),
        column("found", "whether that is more than the least overlap"),
        column("found_any", "whether one voxel is predicted"),
        column("found_10mm3", "whether components of at least the size limit find it"),
    ]);
    let row = |lesion: &Lesion| {
        let met = &lesion.met;
        vec![
            lesion.case.clone().into(),
            lesion.diameter_mm.into(),
            lesion.volume_mm3.into(),
            met.overlap_gt.into(),
            met.found.into(),
            met.found_any.into(),
            met.found_10mm3.into(),
        ]
    };
    table.rows = cohort.tests().flat_map(|(_, scored)| scored.lesions.iter().map(row)).collect();
    table
}

fn froc_table(cohort: &Cohort) -> Table {
    let mut table = Table::new(vec![
        column("threshold", "lowest score that counts as predicted"),
        column("sensitivity", "share of all lesions that is found"),
        column("sensitivity_ci_low", "95 % bootstrap interval, over patients"),
        column("sensitivity_ci_high", "its upper end"),
        column("fp_per_patient", "predicted components without truth"),
        column("fp_10mm3_per_patient", "of these, those of at least the size limit"),
    ]);
    for point in froc(cohort, of_model) {
        table.rows.push(vec![
            point.threshold.into(),
            point.sensitivity.into(),
            point.sensitivity_ci.map(|ci| ci[0]).into(),
            point.sensitivity_ci.map(|ci| ci[1]).into(),
            point.fp_per_patient.into(),
            point.fp_10mm3_per_patient.into(),
        ]);
    }
    table
}

fn calibration_table(cohort: &Cohort) -> Table {
    let mut table = Table::new(vec![
        column("score_from", "lowest score of the bin"),
        column("score_to", "its upper end"),
        column("voxels", "voxels inside the mask with such a score"),
        column("mean_score", "their mean score"),
        column("lesion_share", "share of them that is lesion"),
    ]);
    for (n, bin) in calibration(cohort, of_model).bins.iter().enumerate() {
        let share = |sum: f64| (bin.voxels > 0).then(|| sum / bin.voxels as f64);
        table.rows.push(vec![
            Cell::from(n as f64 / BINS as f64),
            Cell::from((n + 1) as f64 / BINS as f64),
            Cell::from(bin.voxels as f64),
            share(bin.score_sum).into(),
            share(bin.positives as f64).into(),
        ]);
    }
    table
}

fn strata_table(cohort: &Cohort) -> Result<Table, SummaryError> {
    let mut columns = vec![
        column("column", "column of the cohort's table"),
        column("value", "its value"),
        column("n", "test cases with scores"),
        column("of", "test cases with this value"),
    ];
    columns.extend(spread_columns(&MAIN_METRICS));
    let mut table = Table::new(columns);
    for stratum in strata(cohort)? {
        let mut row: Vec<Cell> = vec![stratum.column.clone().into(), stratum.value.clone().into()];
        row.extend([Cell::from(stratum.n as f64), Cell::from(stratum.of as f64)]);
        row.extend(
            MAIN_METRICS.iter().flat_map(|&metric| spread_cells(metric, &stratum.metrics[metric.name()])),
        );
        table.rows.push(row);
    }
    Ok(table)
}

/// A second model and a second reader, where there are any.
fn comparison_table(cohort: &Cohort) -> Table {
    let mut table = Table::new(vec![
        column("comparison", "what is compared"),
        column("figure", "by what"),
        column("n", "cases"),
        column("first", "of the first"),
        column("second", "of the second"),
        column("difference", "first less second"),
        column("ci_low", "95 % interval of the difference: bootstrap, or limits of agreement of readers"),
        column("ci_high", "its upper end"),
        column("p", "by changes of sign"),
    ]);
    for (metric, paired) in paired(cohort).unwrap_or_default() {
        table.rows.push(vec![
            "models".into(),
            metric.name().into(),
            Cell::from(paired.n as f64),
            paired.mean.into(),
            paired.mean_other.into(),
            paired.difference.into(),
            paired.ci.map(|ci| ci[0]).into(),
            paired.ci.map(|ci| ci[1]).into(),
            paired.p.into(),
        ]);
    }
    if let Some(readers) = readers(cohort) {
        let n = Cell::from(readers.n as f64);
        let mut row = |figure: &str, first: Option<f64>, second: Option<f64>, difference: Option<f64>| {
            let limits = difference.and(readers.limits_of_agreement_ml);
            table.rows.push(vec![
                "readers".into(),
                figure.into(),
                n.clone(),
                first.into(),
                second.into(),
                difference.into(),
                limits.map(|limits| limits[0]).into(),
                limits.map(|limits| limits[1]).into(),
                Cell::Absent,
            ]);
        };
        row("dice", readers.dice.mean, None, None);
        row("lesions seen by the other", readers.seen_by_other, readers.other_seen, None);
        row("lesion_f1", readers.lesion_f1, None, None);
        row("volume_ml", None, None, readers.volume_difference_ml.mean);
    }
    table
}
