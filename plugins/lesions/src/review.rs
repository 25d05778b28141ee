//! What readers decided about candidates, put in the place of what the filter said.
//!
//! Candidates keep their numbers, so that a number means the same before and after. Of several decisions on a candidate the
//! latest holds, of those of one second the one of the later review; a comment alone leaves the verdict as it is, and a verdict
//! leaves earlier comments behind.

use crate::filter::Class;
use sdk::review::{Decision, Review};
use sdk::{Cell, Column, Context, Grid, Labels, OperatorError, Table};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Why reviews cannot be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// The reviews are no list of reviews.
    #[error("the reviews cannot be read: {0}\nhint: `neuroloom review` makes them from files of readers")]
    Unreadable(#[from] serde_json::Error),
    /// The table lacks a column.
    #[error("the table of candidates has no column `{0}`\nhint: wire `candidates` of `filter_lesions`")]
    NoColumn(&'static str),
    /// A decision on nothing.
    #[error(
        "a reader decided on candidate {number}, and there are {count}\nhint: was the review made on this result?"
    )]
    Unknown {
        /// The number.
        number: u32,
        /// Candidates in the table.
        count: usize,
    },
    /// The filter says something else than what the reader saw.
    #[error(
        "candidate {number} is `{found}`, and was `{seen}` to the reader\nhint: the result was remade since; review it again"
    )]
    Changed {
        /// The number.
        number: u32,
        /// Its class now.
        found: String,
        /// Its class as the reader saw it.
        seen: String,
    },
    /// A verdict that a reader cannot give.
    #[error("the verdict on candidate {number} is `{found}`, not `accepted` or `rejected`")]
    Verdict {
        /// The number.
        number: u32,
        /// What was given.
        found: String,
    },
    /// Labels on two grids.
    #[error("`{name}` lies on another grid than the accepted lesions\nhint: wire outputs of one filter")]
    OtherGrid {
        /// The port.
        name: &'static str,
    },
    /// A candidate changes its class, and no voxel of it is there.
    #[error(
        "candidate {number} has no voxels\nhint: wire all labels of the filter: `labels`, `below_size` and `rejected`"
    )]
    NoVoxels {
        /// The number.
        number: u32,
    },
}

/// The filter's result, as readers see it.
#[derive(Debug)]
pub struct Reviewed {
    /// Lesions: accepted by a reader, or by the filter and not rejected by a reader.
    pub labels: Labels,
    /// Below the size limit, and not decided on.
    pub below_size: Labels,
    /// Rejected by a reader, or by the filter and not accepted by a reader.
    pub rejected: Labels,
    /// The candidates with class, what the filter had said, and who decided.
    pub table: Table,
    /// The reviews and what of them holds.
    pub record: Value,
    /// Each review in short: `reader`, `signed`, `decisions`, `changes`.
    pub short: Value,
}

/// The three label volumes of a filter.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Accepted lesions.
    pub labels: &'a Labels,
    /// Candidates below the size limit.
    pub below_size: Option<&'a Labels>,
    /// Rejected candidates.
    pub rejected: Option<&'a Labels>,
}

/// Reads a JSON list of reviews.
///
/// # Errors
/// [`ReviewError::Unreadable`].
pub fn read(text: &str) -> Result<Vec<Review>, ReviewError> {
    Ok(serde_json::from_str(text)?)
}

/// Applies reviews to what a filter found.
///
/// # Errors
/// [`ReviewError`] if a review does not fit the result; no memory; the stage was asked to stop.
pub fn apply(
    found: Found<'_>,
    candidates: &Table,
    reviews: &[Review],
    ctx: &Context,
) -> Result<Reviewed, OperatorError> {
    let listed = listed(candidates)?;
    for decision in reviews.iter().flat_map(|review| &review.decisions) {
        check(decision, &listed)?;
    }
    let holding = holding(reviews);
    let class = |number: u32, model: Class| match holding.get(&number).and_then(Held::verdict) {
        Some("accepted") => Class::Accepted,
        Some(_) => Class::Rejected,
        None => model,
    };
    let classes: BTreeMap<u32, Class> = listed.iter().map(|(&n, &model)| (n, class(n, model))).collect();
    let [labels, below_size, rejected] = paint(found, &listed, &classes, ctx)?;
    let short: Vec<Value> = reviews.iter().map(in_short).collect();
    let decisions: Vec<Decision> = holding.values().filter_map(Held::whole).collect();
    let record = json!({
        "format": "neuroloom-reviews",
        "version": 1,
        "case": reviews.first().map(|review| &review.case),
        "reviewed": reviews.first().map(|review| &review.reviewed),
        "reviews": reviews,
        "decisions": decisions,
    });
    let table = table(candidates, &classes, &holding);
    Ok(Reviewed { labels, below_size, rejected, table, record, short: short.into() })
}

/// The filter's class of each candidate, by number.
fn listed(candidates: &Table) -> Result<BTreeMap<u32, Class>, ReviewError> {
    let id = candidates.column("id").ok_or(ReviewError::NoColumn("id"))?;
    let class = candidates.column("class").ok_or(ReviewError::NoColumn("class"))?;
    let one = |row: &Vec<Cell>| {
        let number = row.get(id)?.number()? as u32;
        Some((number, Class::of_name(row.get(class)?.text()?)))
    };
    Ok(candidates.rows.iter().filter_map(one).collect())
}

fn check(decision: &Decision, listed: &BTreeMap<u32, Class>) -> Result<(), ReviewError> {
    let number = decision.candidate;
    let Some(class) = listed.get(&number) else {
        return Err(ReviewError::Unknown { number, count: listed.len() });
    };
    if class.name() != decision.model {
        let (found, seen) = (class.name().to_owned(), decision.model.clone());
        return Err(ReviewError::Changed { number, found, seen });
    }
    match decision.reader.as_deref() {
        None | Some("accepted" | "rejected") => Ok(()),
        Some(found) => Err(ReviewError::Verdict { number, found: found.to_owned() }),
    }
}

/// What holds of all that was said about a candidate.
#[derive(Clone, Debug, Default)]
struct Held<'a> {
    verdict: Option<&'a Decision>,
    comment: Option<&'a Decision>,
}

impl<'a> Held<'a> {
    fn verdict(&self) -> Option<&'a str> {
        self.verdict?.reader.as_deref()
    }

    /// What was said to the verdict, or after it; of another reader with the name.
    fn comment(&self) -> String {
        let Some(comment) = self.comment else { return String::new() };
        match self.verdict {
            Some(verdict) if verdict.by != comment.by => format!("{}: {}", comment.by, comment.comment),
            _ => comment.comment.clone(),
        }
    }

    /// All that holds, as one decision.
    fn whole(&self) -> Option<Decision> {
        let decision = self.verdict.or(self.comment)?.clone();
        Some(Decision { comment: self.comment(), ..decision })
    }
}

/// Of each candidate that was decided on: the latest verdict, and the latest comment since.
fn holding(reviews: &[Review]) -> BTreeMap<u32, Held<'_>> {
    let mut all: Vec<&Decision> = reviews.iter().flat_map(|review| &review.decisions).collect();
    // Stable: of one second the later review's comes last.
    all.sort_by(|a, b| a.at.cmp(&b.at));
    let mut held: BTreeMap<u32, Held<'_>> = BTreeMap::new();
    for decision in all {
        let entry = held.entry(decision.candidate).or_default();
        if decision.reader.is_some() {
            *entry = Held { verdict: Some(decision), comment: None };
        }
        if !decision.comment.is_empty() {
            entry.comment = Some(decision);
        }
    }
    held
}

fn in_short(review: &Review) -> Value {
    let decided = review.decisions.iter().filter(|decision| decision.reader.is_some());
    let changed = |decision: &&Decision| decision.reader.as_deref() != Some(&decision.model);
    json!({
        "reader": review.reader, "signed": review.signed,
        "decisions": decided.clone().count(), "changes": decided.filter(changed).count(),
    })
}

/// Labels by class: each candidate's voxels, wherever the filter had put them.
fn paint(
    found: Found<'_>,
    listed: &BTreeMap<u32, Class>,
    classes: &BTreeMap<u32, Class>,
    ctx: &Context,
) -> Result<[Labels; 3], OperatorError> {
    let grid: &Grid = found.labels.grid();
    for (name, other) in [("below_size", found.below_size), ("rejected", found.rejected)] {
        if other.is_some_and(|other| !other.grid().matches(grid)) {
            return Err(ReviewError::OtherGrid { name }.into());
        }
    }
    let mut out =
        [ctx.alloc::<u32>(grid.len())?, ctx.alloc::<u32>(grid.len())?, ctx.alloc::<u32>(grid.len())?];
    let mut seen = std::collections::BTreeSet::new();
    for source in [Some(found.labels), found.below_size, found.rejected].into_iter().flatten() {
        ctx.check_cancelled()?;
        for (offset, &number) in source.voxels().iter().enumerate().filter(|(_, number)| **number > 0) {
            // A number that is not in the table stays accepted: nobody has said anything else.
            let class = classes.get(&number).copied().unwrap_or(Class::Accepted);
            out[class as usize][offset] = number;
            seen.insert(number);
        }
    }
    let moved = classes.iter().filter(|(number, class)| listed.get(number) != Some(class));
    if let Some((&number, _)) = moved.into_iter().find(|(number, _)| !seen.contains(number)) {
        return Err(ReviewError::NoVoxels { number }.into());
    }
    let [accepted, below_size, rejected] = out;
    Ok([
        Labels::new(*grid, accepted.freeze())?,
        Labels::new(*grid, below_size.freeze())?,
        Labels::new(*grid, rejected.freeze())?,
    ])
}

/// The name of the rule where a reader changed what the filter said.
const READER: &str = "reader";

/// The candidates with their class after review, and beside it what the filter had said and who decided.
fn table(candidates: &Table, classes: &BTreeMap<u32, Class>, holding: &BTreeMap<u32, Held<'_>>) -> Table {
    let mut table = candidates.clone();
    table.columns.extend([
        Column::new("model_class", "", "class before review"),
        Column::new("model_rule", "", "the setting that decided before review"),
        Column::new("decided_by", "", "the reader whose verdict holds"),
        Column::new("decided_at", "", "when, RFC 3339"),
        Column::new("comment", "", "what was said to that verdict, or after it"),
    ]);
    let place = |name: &str| candidates.column(name);
    for row in &mut table.rows {
        let cell =
            |name: &str| place(name).and_then(|column| row.get(column)).cloned().unwrap_or(Cell::Absent);
        let number = cell("id").number().map(|number| number as u32);
        let (before, rule) = (cell("class"), cell("rule"));
        let held = number.and_then(|number| holding.get(&number)).cloned().unwrap_or_default();
        let after = number.and_then(|number| classes.get(&number)).map(|class| class.name());
        if let (Some(after), Some(column)) = (after, place("class"))
            && before.text() != Some(after)
        {
            row[column] = after.into();
            for (name, cell) in [("rule", READER.into()), ("value", Cell::Absent), ("limit", Cell::Absent)] {
                if let Some(column) = place(name) {
                    row[column] = cell;
                }
            }
        }
        let said =
            |what: fn(&Decision) -> &str| Cell::from(held.verdict.map(|decision| what(decision).to_owned()));
        let comment = held.comment();
        row.extend([
            before,
            rule,
            said(|decision| &decision.by),
            said(|decision| &decision.at),
            (!comment.is_empty()).then_some(comment).into(),
        ]);
    }
    table
}
