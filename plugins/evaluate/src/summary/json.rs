//! The evaluation as JSON, with the keys of `docs/evaluation.md`.

use super::further::{self, FrocPoint};
use super::groups::{
    GROUPS, Metric, PAIRS, PARTS, comparisons, mean_roc, members, sizes, spread, worst_case,
};
use super::{AtThreshold, Cohort, Patient, Split, SummaryError};
use crate::case::Scored;
use crate::options;
use serde_json::{Map, Value as Json, json};

/// What the paper's numbers cannot all be, for whoever compares with them.
pub const PAPER_NOTES: [&str; 4] = [
    "The paper's mean Dice of 0.79 exceeds (precision 0.79 + recall 0.53) / 2 = 0.66; a patient's Dice never exceeds the mean of \
     his precision and recall, so the three means cannot all be foreground figures. The mean of the Dice of foreground and \
     background fits two of the three groups: it stands beside as `dice_macro`.",
    "The paper's sensitivity and specificity of 94 % and 97 % are those of Youden's threshold, yet at its threshold of 0.93 the \
     recall of voxels is 53 %: 0.93 is not Youden's threshold. The criterion is an option here.",
    "A p of \".026\" in the paper's Table 3B is 0.26. Its Tables 4A and 4B are reproduced by the normal approximation with \
     continuity correction and without ties, 17 patients against 17; its Table 4C has ties, and is tie-corrected.",
    "The paper's AUC of 0.79 to 1.00 includes one outlier; its 856 lesions in 51 patients mean about 42 lesions in each patient \
     with more than ten.",
];

/// Writes the evaluation.
///
/// # Errors
/// [`SummaryError::NoColumn`]; what cannot be written as JSON.
pub fn evaluation(cohort: &Cohort) -> Result<Json, sdk::OperatorError> {
    let dev: Vec<Json> = cohort
        .side(Split::Dev)
        .filter_map(|patient| patient.scored.as_ref().map(figures))
        .collect::<Result<_, _>>()?;
    let test: Vec<Json> = cohort
        .tests()
        .map(|(patient, scored)| test_case(cohort, patient, scored))
        .collect::<Result<_, _>>()?;
    let mut all = Map::new();
    all.insert("options".to_owned(), Json::Object(options::all(&cohort.options, &cohort.settings)));
    all.insert("dev".to_owned(), dev.into());
    all.insert("thresholds".to_owned(), serde_json::to_value(cohort.thresholds)?);
    all.insert("threshold".to_owned(), cohort.threshold.into());
    all.insert("test".to_owned(), test.into());
    all.insert("table3".to_owned(), table3(cohort));
    all.insert("table4".to_owned(), table4(cohort)?);
    all.insert("size".to_owned(), serde_json::to_value(sizes(cohort))?);
    all.insert("roc_mean".to_owned(), roc_mean(cohort)?);
    beyond(cohort, &mut all)?;
    Ok(Json::Object(all))
}

/// What goes beyond the paper.
fn beyond(cohort: &Cohort, all: &mut Map<String, Json>) -> Result<(), sdk::OperatorError> {
    all.insert("threshold_ci".to_owned(), json!(cohort.threshold_interval));
    all.insert("cases".to_owned(), counts(cohort));
    let worst: Map<String, Json> = PARTS
        .iter()
        .flat_map(|part| part.metrics)
        .map(|metric| (metric.name().to_owned(), json!(worst_case(cohort, metric))))
        .collect();
    all.insert("worst_case".to_owned(), worst.into());
    all.insert("froc".to_owned(), froc(&further::froc(cohort, further::of_model)));
    let calibration = further::calibration(cohort, further::of_model);
    all.insert("calibration".to_owned(), json!({ "ece": calibration.ece(), "bins": calibration.bins }));
    if cohort.settings.brats {
        let tests: Vec<&Patient> = cohort.tests().map(|(patient, _)| patient).collect();
        let of = |metric| json!(spread(cohort, &tests, metric));
        let brats =
            json!({ "lesionwise_dice": of(Metric::BratsDice), "lesionwise_hd95": of(Metric::BratsHd95) });
        all.insert("brats".to_owned(), brats);
    }
    let strata = further::strata(cohort).map_err(|error: SummaryError| sdk::OperatorError::from(error))?;
    all.insert("strata".to_owned(), serde_json::to_value(strata)?);
    if let (Some(paired), Some((thresholds, threshold))) = (further::paired(cohort), cohort.other) {
        let metrics: Map<String, Json> =
            paired.iter().map(|(metric, paired)| (metric.name().to_owned(), json!(paired))).collect();
        let other = json!({
            "thresholds": thresholds, "threshold": threshold, "paired": metrics,
            "froc": froc(&further::froc(cohort, further::of_other)),
            "ece": further::calibration(cohort, further::of_other).ece(),
        });
        all.insert("other_model".to_owned(), other);
    }
    if let Some(readers) = further::readers(cohort) {
        all.insert("readers".to_owned(), serde_json::to_value(readers)?);
    }
    all.insert("notes_on_the_paper".to_owned(), json!(PAPER_NOTES));
    Ok(())
}

fn froc(points: &[FrocPoint]) -> Json {
    json!(points)
}

/// How many cases there are, and which failed.
fn counts(cohort: &Cohort) -> Json {
    let side = |split: Split| {
        let all = cohort.side(split).count();
        let failed: Vec<Json> = cohort
            .side(split)
            .filter(|patient| patient.scored.is_none())
            .map(|patient| json!({ "id": patient.id, "reason": patient.failure }))
            .collect();
        json!({ "scored": all - failed.len(), "of": all, "failed": failed })
    };
    let left_out: Vec<&str> = cohort.side(Split::LeftOut).map(|patient| patient.id.as_str()).collect();
    let trained: Vec<&str> =
        cohort.tests().filter(|(_, s)| !s.in_training.is_empty()).map(|(p, _)| p.id.as_str()).collect();
    json!({ "dev": side(Split::Dev), "test": side(Split::Test), "left_out": left_out, "in_training": trained })
}

fn figures(scored: &Scored) -> Result<Json, serde_json::Error> {
    let mut case = serde_json::to_value(&scored.figures)?;
    if !scored.in_training.is_empty() {
        case["in_training"] = json!(scored.in_training);
    }
    Ok(case)
}

fn test_case(cohort: &Cohort, patient: &Patient, scored: &Scored) -> Result<Json, serde_json::Error> {
    let mut case = figures(scored)?;
    if let Some(at) = &patient.at {
        let AtThreshold { voxel, lesion, brats } = at;
        case["voxel"] = json!({
            "tp": voxel.tp, "fp": voxel.fp, "fn": voxel.fn_, "tn": voxel.tn, "precision": voxel.precision(),
            "recall": voxel.recall(), "dice": voxel.dice(), "dice_macro": voxel.dice_macro(),
        });
        case["lesion"] = json!(lesion);
        if let Some(brats) = brats {
            case["brats"] = json!(brats);
        }
    }
    case["lesion_at_found_threshold"] = json!(scored.lesion_at_found_threshold);
    case["lesions"] = json!(scored.lesions);
    if let (Some(other), Some(_)) = (&scored.other, cohort.other) {
        case["other_model"] = json!({
            "roc": other.roc, "nonfinite_in_mask": other.nonfinite_in_mask,
            "dice": patient.other_at.map(|at| at.voxel.dice()), "lesion": patient.other_at.map(|at| at.lesion),
            "brats": patient.other_at.and_then(|at| at.brats),
        });
    }
    if let Some(readers) = &scored.readers {
        case["readers"] = json!(readers);
    }
    Ok(case)
}

fn table3(cohort: &Cohort) -> Json {
    let mut table = Map::new();
    for part in &PARTS {
        let group = |group: &str| {
            let members = members(cohort, group);
            let metric = |metric: Metric| (metric.name().to_owned(), json!(spread(cohort, &members, metric)));
            (group.to_owned(), Json::Object(part.metrics.into_iter().map(metric).collect()))
        };
        table.insert(format!("3{}", part.letter), Json::Object(GROUPS.into_iter().map(group).collect()));
    }
    table.into()
}

fn table4(cohort: &Cohort) -> Result<Json, serde_json::Error> {
    let mut table = Map::new();
    for part in &PARTS {
        let mut pairs = Map::new();
        for comparison in comparisons(cohort, part) {
            let [first, second] = PAIRS[comparison.pair];
            let pair = pairs.entry(format!("{first} vs {second}")).or_insert_with(|| json!({}));
            pair[comparison.metric.name()] = serde_json::to_value(comparison)?;
        }
        table.insert(format!("4{}", part.letter), pairs.into());
    }
    Ok(table.into())
}

fn roc_mean(cohort: &Cohort) -> Result<Json, serde_json::Error> {
    let mut groups = Map::new();
    for group in GROUPS {
        if let Some(roc) = mean_roc(cohort, group) {
            groups.insert(group.to_owned(), serde_json::to_value(roc)?);
        }
    }
    Ok(groups.into())
}
