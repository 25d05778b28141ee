//! What rules do: false positives and lesions found, without any rule, with each alone, with all, and with the learned one.

use super::cases::{Candidate, Case};
use crate::filter::learned::LearnedRule;
use crate::filter::rules::Rule;
use sdk::{Column, Table};
use std::collections::BTreeSet;

/// A true lesion is found if more than this share of it lies in candidates that are kept.
const FOUND: f64 = 0.1;

/// The table's columns.
pub(super) fn table() -> Table {
    Table::new(vec![
        Column::new("set", "", "`training`: cases the rule was learned from; `unseen`: the others"),
        Column::new("rule", "", "the rule that is applied after threshold and size limit, alone"),
        Column::new("limit", "", "its limit"),
        Column::new("cases", "", "number of cases"),
        Column::new("lesions", "", "true lesions"),
        Column::new("found", "", "of these, more than a tenth in candidates that are kept"),
        Column::new("sensitivity", "", "found over true lesions"),
        Column::new("lost_percent", "%", "of the lesions found without any rule, those no longer found"),
        Column::new("false_positives", "", "candidates kept that share no voxel with truth"),
        Column::new("false_positives_per_case", "", "over the cases"),
        Column::new("removed_percent", "%", "of the false positives without any rule, those removed"),
    ])
}

/// A set of cases with some candidates kept.
#[derive(Clone, Copy, Default)]
struct Count {
    found: usize,
    false_positives: usize,
}

impl Count {
    fn of(cases: &[Case], keeps: impl Fn(&Case, &Candidate) -> bool) -> Self {
        let mut count = Self::default();
        for case in cases {
            let kept: Vec<&Candidate> = case.candidates.iter().filter(|c| keeps(case, c)).collect();
            count.false_positives += kept.iter().filter(|candidate| !candidate.is_lesion).count();
            let ids: BTreeSet<u32> = kept.iter().map(|candidate| candidate.id).collect();
            let is_found = |&(&lesion, &voxels): &(&u32, &usize)| {
                let own = case.shared.range((lesion, 0)..=(lesion, u32::MAX));
                let shared: usize =
                    own.filter(|((_, id), _)| ids.contains(id)).map(|(_, voxels)| voxels).sum();
                shared as f64 > FOUND * voxels as f64
            };
            count.found += case.truth.iter().filter(is_found).count();
        }
        count
    }
}

/// Adds the rows of a set of cases.
pub(super) fn add(table: &mut Table, set: &str, cases: &[Case], learned: &LearnedRule) {
    if cases.is_empty() {
        return;
    }
    let lesions: usize = cases.iter().map(|case| case.truth.len()).sum();
    let before = Count::of(cases, |_, _| true);
    let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
    let mut row = |rule: &str, limit: Option<f64>, count: Count| {
        let lost = share(before.found.saturating_sub(count.found), before.found);
        let removed = share(before.false_positives - count.false_positives, before.false_positives);
        table.rows.push(vec![
            set.into(),
            rule.into(),
            limit.into(),
            cases.len().into(),
            lesions.into(),
            count.found.into(),
            share(count.found, lesions).into(),
            lost.map(|share| 100.0 * share).into(),
            count.false_positives.into(),
            share(count.false_positives, cases.len()).into(),
            removed.map(|share| 100.0 * share).into(),
        ]);
    };
    row("none", None, before);
    for rule in Rule::ALL {
        let limit = cases.iter().find_map(|case| case.limits.get(rule.name()).copied());
        let Some(limit) = limit else { continue };
        let feature = rule.test(limit).feature;
        let is_known = |case: &Case| case.candidates.iter().any(|c| c.features.get(feature).is_some());
        if cases.iter().any(is_known) {
            let keeps = |case: &Case, candidate: &Candidate| {
                let limit = case.limits.get(rule.name()).copied().unwrap_or(limit);
                rule.test(limit).rejects(&candidate.features).is_none()
            };
            row(rule.name(), Some(limit), Count::of(cases, keeps));
        }
    }
    row("as filtered", None, Count::of(cases, |_, candidate| candidate.accepted));
    let keeps = |_: &Case, candidate: &Candidate| learned.probability(&candidate.features) >= learned.cut;
    row("rule_file", Some(learned.cut), Count::of(cases, keeps));
}
