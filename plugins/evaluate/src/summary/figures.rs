//! The paper's figures and those beyond, as charts.

use super::Cohort;
use super::further::{FrocPoint, calibration, froc, of_model, of_other};
use super::groups::{MeanRoc, Sizes, mean_roc, sizes};
use crate::chart::{Axis, Chart, GUIDE, STYLES};
use crate::curve::POINTS;

/// Names of the figures, as members of the port `figures`; the numbers are the paper's.
pub const NAMES: [&str; 6] = ["fig3histogram", "fig3curves", "fig5roc", "fig6groups", "froc", "reliability"];

/// False positives per patient that the FROC curve reaches to at most: what lies beyond is in the table.
const MOST_FALSE_POSITIVES: f64 = 20.0;

/// All figures as SVG, in the order of [`NAMES`].
pub fn all(cohort: &Cohort) -> Vec<String> {
    let sizes = sizes(cohort);
    let charts = [
        histogram(cohort, &sizes),
        curves(cohort, &sizes),
        roc(cohort),
        groups(cohort),
        froc_chart(cohort),
        reliability(cohort),
    ];
    charts.iter().map(Chart::svg).collect()
}

fn histogram(cohort: &Cohort, sizes: &Sizes) -> Chart {
    let highest = sizes.histogram.iter().map(|bin| bin.found + bin.missed).max().unwrap_or(0);
    let last = sizes.histogram.iter().rposition(|bin| bin.found + bin.missed > 0).map_or(1, |n| n + 1);
    let title = format!("Lesions by size: {} lesions at p ≥ {}", sizes.n, cohort.options.found_threshold);
    let mut chart = Chart::new(
        &title,
        Axis::up_to("longest diameter (mm)", last as f64),
        Axis::up_to("lesions", highest as f64),
    );
    for bin in &sizes.histogram[..last] {
        let (found, all) = (bin.found as f64, (bin.found + bin.missed) as f64);
        if bin.found > 0 {
            chart.bar([bin.lo, bin.hi], [0.0, found], STYLES[0], false);
        }
        if bin.missed > 0 {
            chart.bar([bin.lo, bin.hi], [found, all], STYLES[1], true);
        }
    }
    chart.name("found", STYLES[0], false);
    chart.name("missed", STYLES[1], true);
    chart
}

fn curves(cohort: &Cohort, sizes: &Sizes) -> Chart {
    let mut chart = Chart::new(
        "Sensitivity by size",
        Axis::up_to("diameter s (mm)", f64::from(cohort.settings.size_max_mm)),
        Axis::share("share of lesions found"),
    );
    let of = |sensitivity: fn(&super::groups::SizePoint) -> Option<f64>| {
        sizes.curve.iter().filter_map(|point| Some((point.threshold, sensitivity(point)?))).collect()
    };
    chart.line(of(|point| point.sens_ge), STYLES[0], false);
    chart.line(of(|point| point.sens_lt), STYLES[1], false);
    chart.name("lesions of at least s", STYLES[0], false);
    chart.name("lesions smaller than s", STYLES[1], false);
    chart
}

fn roc_axes(title: &str) -> Chart {
    let mut chart = Chart::new(title, Axis::share("1 - specificity"), Axis::share("sensitivity"));
    chart.line(vec![(0.0, 0.0), (1.0, 1.0)], GUIDE, false);
    chart
}

fn points(values: &[f64]) -> Vec<(f64, f64)> {
    values.iter().enumerate().map(|(n, &value)| (n as f64 / (POINTS - 1) as f64, value)).collect()
}

fn add_roc(chart: &mut Chart, roc: &MeanRoc, name: &str, style: crate::chart::Style) {
    chart.band(points(&roc.ci_lo), points(&roc.ci_hi), style);
    chart.line(points(&roc.tpr), style, false);
    let patients = if roc.n == 1 { "patient" } else { "patients" };
    chart.name(&format!("{name} ({} {patients})", roc.n), style, false);
}

fn roc(cohort: &Cohort) -> Chart {
    let mut chart = roc_axes("Mean ROC curve over voxels, 95 % interval");
    if let Some(roc) = mean_roc(cohort, "all") {
        add_roc(&mut chart, &roc, "all", STYLES[0]);
    }
    chart
}

fn groups(cohort: &Cohort) -> Chart {
    let mut chart = roc_axes("Mean ROC curves by number of lesions, 95 % intervals");
    for (group, style) in ["1-3", "4-10", ">10"].into_iter().zip(STYLES) {
        if let Some(roc) = mean_roc(cohort, group) {
            add_roc(&mut chart, &roc, &format!("{group} lesions"), style);
        }
    }
    chart
}

fn froc_chart(cohort: &Cohort) -> Chart {
    let model = froc(cohort, of_model);
    let other = cohort.other.map(|_| froc(cohort, of_other));
    let most = |points: &[FrocPoint]| points.iter().filter_map(|p| p.fp_per_patient).fold(0.0, f64::max);
    let highest = most(&model).max(other.as_deref().map_or(0.0, most));
    let mut chart = Chart::new(
        "FROC: lesions found against false positives",
        Axis::up_to("false positives per patient", highest.min(MOST_FALSE_POSITIVES)),
        Axis::share("share of lesions found"),
    );
    let of = |points: &[FrocPoint], fp: fn(&FrocPoint) -> Option<f64>| {
        let places: Vec<(f64, f64)> =
            points.iter().filter_map(|point| Some((fp(point)?, point.sensitivity?))).collect();
        // Below the threshold of the most false positives, components grow into one another and into lesions: the curve would turn back
        // and end at no false positive and all lesions, where the whole brain is predicted.
        let most = places.iter().map(|place| place.0).fold(0.0, f64::max);
        let from = places.iter().rposition(|place| place.0 >= most).unwrap_or(0);
        places[from..].iter().copied().filter(|place| place.0 <= MOST_FALSE_POSITIVES).collect()
    };
    chart.line(of(&model, |p| p.fp_per_patient), STYLES[0], true);
    chart.name("all components", STYLES[0], false);
    chart.line(of(&model, |p| p.fp_10mm3_per_patient), STYLES[1], true);
    chart.name(&format!("components ≥ {} mm³", cohort.options.size_limit_mm3), STYLES[1], false);
    if let Some(other) = other {
        chart.line(of(&other, |p| p.fp_per_patient), STYLES[2], true);
        chart.name("second model", STYLES[2], false);
    }
    chart
}

fn reliability(cohort: &Cohort) -> Chart {
    let model = calibration(cohort, of_model);
    let ece = model.ece().map_or_else(|| "n/a".to_owned(), |ece| format!("{ece:.4}"));
    let mut chart = Chart::new(
        &format!("Reliability of scores, expected calibration error {ece}"),
        Axis::share("mean score of voxels"),
        Axis::share("share that is lesion"),
    );
    let of = |bins: &[crate::calibration::Bin]| {
        let filled = bins.iter().filter(|bin| bin.voxels > 0);
        filled
            .map(|bin| (bin.score_sum / bin.voxels as f64, bin.positives as f64 / bin.voxels as f64))
            .collect()
    };
    chart.line(vec![(0.0, 0.0), (1.0, 1.0)], GUIDE, false);
    chart.name("score = share", GUIDE, false);
    chart.line(of(&model.bins), STYLES[0], true);
    chart.name("model", STYLES[0], false);
    if cohort.other.is_some() {
        chart.line(of(&calibration(cohort, of_other).bins), STYLES[1], true);
        chart.name("second model", STYLES[1], false);
    }
    chart
}
