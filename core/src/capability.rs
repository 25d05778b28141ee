//! What a workflow can do with a cohort, before anything is computed.
//!
//! Cases that bring the same inputs share a [`Pattern`] and its plan: 2,000 cases are planned as fast as there are patterns
//! among them, not cases.

mod report;

pub(crate) use report::running;

use crate::case::{Cohort, CohortCase, NearMiss, Problem};
use crate::catalogue::Catalogue;
use crate::graph::cost::{CostRow, row_of};
use crate::plan::{Graph, Impossible, Plan};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Cases that bring the same inputs, and what comes of them.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The inputs they bring.
    pub present: BTreeSet<String>,
    /// What happens to them, or every reason why nothing can.
    pub plan: Result<Arc<Plan>, Vec<Impossible>>,
    /// What their missing inputs cost, compared with a case that has all.
    pub cost: CostRow,
    /// Indices into [`Cohort::cases`], in order.
    pub cases: Vec<usize>,
}

impl Pattern {
    /// Whether nothing is absent, or nothing is lost by it.
    pub fn is_whole(&self) -> bool {
        let cost = &self.cost;
        let unharmed = cost.skipped.is_empty() && cost.stand_ins.is_empty() && cost.lost.is_empty();
        self.plan.is_ok() && (cost.absent.is_empty() || unharmed)
    }
}

/// What a workflow can do with one case.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// It can run.
    Runs(&'a Arc<Plan>),
    /// What it brings is too little.
    Impossible(&'a [Impossible]),
    /// What it brings is not clear, or broken.
    Problems(&'a [Problem]),
}

/// What a workflow can do with a cohort.
#[derive(Clone, Debug)]
pub struct Capability {
    /// Patterns that can run first, among them those with fewest inputs absent.
    pub patterns: Vec<Pattern>,
    /// For each case its pattern; none if the case has problems.
    pub pattern_of: Vec<Option<usize>>,
    /// Optional inputs that no case brings, though somebody looked for them.
    pub unmatched: Vec<Unmatched>,
}

/// An optional input that no case of a cohort brings: rather a slip than a cohort without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unmatched {
    /// The input.
    pub input: String,
    /// What was looked for.
    pub sought: String,
    /// What came close.
    pub near: Vec<NearGroup>,
}

/// Near misses of many cases that differ in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NearGroup {
    /// What keeps the files from being taken.
    pub differs: Vec<String>,
    /// In how many cases.
    pub cases: usize,
    /// One of the files.
    pub example: String,
}

/// Optional inputs that no case of a cohort brings.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct UnmatchedInputs(pub Vec<Unmatched>);

impl Capability {
    /// Plans every pattern of presence that the cohort has.
    pub fn new(graph: &Graph, catalogue: &dyn Catalogue, cohort: &Cohort) -> Self {
        let mut groups: BTreeMap<BTreeSet<String>, Vec<usize>> = BTreeMap::new();
        for (index, case) in cohort.cases.iter().enumerate().filter(|(_, case)| case.problems.is_empty()) {
            groups.entry(case.present()).or_default().push(index);
        }
        let all = graph.inputs.iter().map(|input| input.name.clone()).collect();
        let whole = graph.plan(catalogue, &all).ok();
        let pattern = |(present, cases)| {
            let plan = graph.plan(catalogue, &present).map(Arc::new);
            let outcome = plan.as_ref().map(Arc::as_ref).map_err(Vec::as_slice);
            let cost = row_of(graph, whole.as_ref(), &present, outcome);
            Pattern { present, plan, cost, cases }
        };
        let mut patterns: Vec<Pattern> = groups.into_iter().map(pattern).collect();
        patterns.sort_by_key(|pattern| (pattern.plan.is_err(), pattern.cost.absent.len()));
        let mut pattern_of = vec![None; cohort.cases.len()];
        for (number, pattern) in patterns.iter().enumerate() {
            pattern.cases.iter().for_each(|index| pattern_of[*index] = Some(number));
        }
        Self { patterns, pattern_of, unmatched: unmatched(graph, cohort) }
    }

    /// What can be done with the case of that index.
    pub fn verdict<'a>(&'a self, cohort: &'a Cohort, index: usize) -> Verdict<'a> {
        match self.pattern_of[index].map(|pattern| &self.patterns[pattern].plan) {
            Some(Ok(plan)) => Verdict::Runs(plan),
            Some(Err(reasons)) => Verdict::Impossible(reasons),
            None => Verdict::Problems(&cohort.cases[index].problems),
        }
    }

    /// How many cases can run.
    pub fn runnable(&self) -> usize {
        self.patterns.iter().filter(|pattern| pattern.plan.is_ok()).map(|pattern| pattern.cases.len()).sum()
    }

    /// Fails if an optional input is brought by no case at all.
    ///
    /// # Errors
    /// [`UnmatchedInputs`] with what came close.
    pub fn check_matched(&self) -> Result<(), UnmatchedInputs> {
        if self.unmatched.is_empty() { Ok(()) } else { Err(UnmatchedInputs(self.unmatched.clone())) }
    }
}

/// Optional inputs that were looked for and that no case brings. Of a part of a cohort this says nothing.
fn unmatched(graph: &Graph, cohort: &Cohort) -> Vec<Unmatched> {
    let brings = |case: &CohortCase, name: &String| {
        case.inputs.contains_key(name)
            || case.problems.iter().any(|problem| problem.input.as_ref().is_none_or(|input| input == name))
    };
    let optional = graph.inputs.iter().filter(|input| !input.required && !cohort.narrowed);
    let mut unmatched = Vec::new();
    for input in optional.filter(|input| !cohort.declared_absent.contains(&input.name)) {
        let Some(sought) = cohort.sought.get(&input.name) else { continue };
        if !cohort.cases.iter().any(|case| brings(case, &input.name)) {
            let near = near_groups(&cohort.cases, &input.name);
            unmatched.push(Unmatched { input: input.name.clone(), sought: sought.clone(), near });
        }
    }
    unmatched
}

/// The near misses of an input over all cases, the most frequent first.
pub(crate) fn near_groups<'a>(
    cases: impl IntoIterator<Item = &'a CohortCase>,
    input: &str,
) -> Vec<NearGroup> {
    let mut groups: BTreeMap<&[String], (usize, &str)> = BTreeMap::new();
    for case in cases {
        let misses: &[NearMiss] = case.near_misses.get(input).map_or(&[], Vec::as_slice);
        let mut seen = BTreeSet::new();
        for miss in misses.iter().filter(|miss| seen.insert(&miss.differs)) {
            groups.entry(&miss.differs).or_insert((0, &miss.file)).0 += 1;
        }
    }
    let group = |(differs, (cases, example)): (&[String], (usize, &str))| NearGroup {
        differs: differs.to_vec(),
        cases,
        example: example.to_owned(),
    };
    let mut groups: Vec<NearGroup> = groups.into_iter().map(group).collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.cases), group.differs.len()));
    groups
}

impl fmt::Display for NearGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.cases == 1 { "" } else { "s" };
        write!(f, "in {} case{plural}, as in {}: {}", self.cases, self.example, self.differs.join(", "))
    }
}

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// As many as help.
        const MOST: usize = 5;
        let Self { input, sought, near } = self;
        write!(f, "no case has the optional input `{input}` ({sought})")?;
        for group in near.iter().take(MOST) {
            write!(f, "\nnote: near {group}")?;
        }
        write!(
            f,
            "\nhint: correct its `bids` rule or the names of the files; if there is none in this cohort, say so: \
             `\"{input}\": null` in a `--bids-filter` file, a column `{input}` with `n/a` in a table, or \
             `inputs.{input}.remove = true` in a workflow that extends this one"
        )
    }
}
