//! The table of candidates, and what is said of the rules.

use super::candidates::Candidate;
use super::features::{Beside, Feature, Features};
use super::learned::LearnedRule;
use super::rules::Rule;
use super::{Options, Verdict};
use sdk::{Cell, Column, Grid, Table};
use serde_json::{Value, json};

/// A row for each candidate, numbered in this order.
pub(super) fn table(
    order: &[usize],
    candidates: &[Candidate],
    features: &[Features],
    verdicts: &[Verdict],
    grid: &Grid,
    options: &Options,
) -> Table {
    let mut table = Table::new(columns());
    for (number, &n) in (1usize..).zip(order) {
        let (candidate, verdict) = (&candidates[n], &verdicts[n]);
        let [x, y, z] = grid.voxel_to_world.point(candidate.statistics.centroid());
        let mut row: Vec<Cell> = vec![
            number.into(),
            verdict.class.name().into(),
            verdict.rule.into(),
            verdict.value.into(),
            verdict.limit.into(),
            verdict.explanation.clone().into(),
            candidate.statistics.voxels.into(),
            candidate.volume_mm3.into(),
            x.into(),
            y.into(),
            z.into(),
            f64::from(candidate.max_score).into(),
        ];
        row.extend(Feature::ALL.map(|feature| Cell::from(features[n].get(feature))));
        row.push(silent(&features[n], options).into());
        table.rows.push(row);
    }
    table
}

/// The rules that were asked for and could say nothing of a candidate.
fn silent(features: &Features, options: &Options) -> Option<String> {
    let lacks = |rule: &&Rule| features.get(rule.test(0.0).feature).is_none();
    let names: Vec<&str> = options.rules.iter().filter(lacks).map(|rule| rule.name()).collect();
    (!names.is_empty()).then(|| names.join(" "))
}

/// The rules, their limits, and why those that are off are off.
pub(super) fn rules(options: &Options, beside: &Beside<'_>, learned: Option<&LearnedRule>) -> Value {
    let there = |port: &str| match port {
        "mask" => beside.mask.is_some(),
        "image" => beside.image.is_some(),
        "pre_contrast" => beside.pre_contrast.is_some(),
        "black_blood" => beside.black_blood.is_some(),
        _ => beside.prior.is_some(),
    };
    let mut all = serde_json::Map::new();
    for rule in Rule::ALL {
        let lacks = rule.needs().iter().find(|port| !there(port));
        let why = if learned.is_some() {
            Some("`rule_file` stands in for it".to_owned())
        } else if !options.rules.contains(&rule) {
            Some("not in `rules`".to_owned())
        } else {
            lacks.map(|port| format!("no `{port}`"))
        };
        let limit = options.limit(rule);
        all.insert(rule.name().to_owned(), json!({ "limit": limit, "on": why.is_none(), "why": why }));
    }
    if let Some(learned) = learned {
        let lacking: Vec<&str> = learned
            .features
            .iter()
            .filter(|term| {
                let needs = match Feature::from_name(&term.name) {
                    Some(Feature::Edge) => "mask",
                    Some(Feature::Enhancement) => "pre_contrast",
                    Some(Feature::BlackBlood) => "black_blood",
                    Some(Feature::Prior) => "prior",
                    Some(Feature::Vesselness | Feature::Contrast) => "image",
                    _ => return false,
                };
                !there(needs)
            })
            .map(|term| term.name.as_str())
            .collect();
        all.insert("rule_file".to_owned(), json!({ "limit": learned.cut, "on": true, "lacking": lacking }));
    }
    Value::Object(all)
}

fn columns() -> Vec<Column> {
    let spreads = "in robust standard deviations of the brain";
    let mut columns = vec![
        Column::new("id", "", "number of the candidate in `labels`, `below_size` or `rejected`"),
        Column::new("class", "", "`accepted`, `below_size` (smaller than the limit) or `rejected`"),
        Column::new("rule", "", "the setting that decided"),
        Column::new("value", "", "what was held against the rule's limit, in the unit of the rule"),
        Column::new("limit", "", "the rule's limit, in the unit of the rule"),
        Column::new("explanation", "", "what spoke most against it in a learned rule, in log odds"),
        Column::new("voxels", "", "number of voxels"),
        Column::new("volume_mm3", "mm^3", "voxels times the volume of one"),
        Column::new("centroid_x", "mm", "mean place of the voxels, to the right (RAS+)"),
        Column::new("centroid_y", "mm", "mean place of the voxels, to the front (RAS+)"),
        Column::new("centroid_z", "mm", "mean place of the voxels, up (RAS+)"),
        Column::new("max_score", "", "largest score"),
    ];
    columns.extend(Feature::ALL.map(|feature| {
        let (unit, about) = match feature {
            Feature::MeanScore => ("", "mean score".to_owned()),
            Feature::Edge => ("mm", "depth of the deepest voxel below the brain's edge".to_owned()),
            Feature::Elongation => ("", "longest principal axis over the middle one".to_owned()),
            Feature::Compactness => {
                ("", "volume over that of the ball with the same longest diameter".to_owned())
            }
            Feature::Vesselness => ("", "tube measure where the image curves most, 0 to 1".to_owned()),
            Feature::Contrast => ("", format!("contrast to the surround in the image, {spreads}")),
            Feature::Enhancement => ("", format!("contrast gained by the contrast agent, {spreads}")),
            Feature::BlackBlood => {
                ("", format!("contrast of the bright half in the black-blood image, {spreads}"))
            }
            Feature::Prior => ("", "mean of the prior of sinuses and skull base".to_owned()),
        };
        Column::new(feature.name(), unit, &about)
    }));
    columns.push(Column::new("rules_off", "", "rules that could say nothing, since a feature is absent"));
    columns
}
