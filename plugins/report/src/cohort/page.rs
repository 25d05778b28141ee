//! The cohort's page from what was gathered, and the few pictures that it shows.

use super::curves::{self, Chart};
use super::gather::{CohortSummary, Row, json};
use super::options::CohortOptions;
use super::quality::{Strip, strips};
use crate::html::{self, HtmlError};
use minijinja::context;
use minijinja::value::Serde;
use sdk::serde::Serialize;
use sdk::{Cases, Context, OperatorError};
use serde_json::Value;

/// The templates of the page.
const TEMPLATES: [(&str, &str); 3] = [
    ("parts.html", include_str!("../templates/parts.html")),
    ("cohort.html", include_str!("../templates/cohort.html")),
    ("evaluation.html", include_str!("../templates/evaluation.html")),
];

/// A case with its picture.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Shown {
    /// The case.
    pub case: Row,
    /// Its picture, as `case_tile` drew it; null if it has none.
    pub picture: Value,
}

/// Example cases of a group by number of lesions.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Examples {
    /// The group.
    pub group: String,
    /// Its cases, from the fewest lesions to the most.
    pub cases: Vec<Shown>,
}

/// What is shown with pictures.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Pictures {
    /// Of each group with cases, a few.
    pub examples: Vec<Examples>,
    /// Outliers, the farthest first.
    pub outliers: Vec<Shown>,
    /// Outliers that are in the table alone.
    pub outliers_left: usize,
    /// Where each case lies by each figure of quality control.
    pub strips: Vec<Strip>,
    /// Curves of the evaluation.
    pub charts: Vec<Chart>,
}

impl Pictures {
    /// Chooses the cases to show, and reads the pictures of these alone.
    ///
    /// # Errors
    /// A tile that cannot be read; the stage was asked to stop.
    pub fn of(
        cases: &dyn Cases,
        summary: &CohortSummary,
        options: &CohortOptions,
        ctx: &Context,
    ) -> Result<Self, OperatorError> {
        let shown = |row: &Row| {
            ctx.check_cancelled()?;
            let tile = json(&cases.inputs(row.index)?, "tile", &row.case)?.unwrap_or_default();
            Ok::<_, OperatorError>(Shown { case: row.clone(), picture: tile["picture"].clone() })
        };
        let charts =
            summary.evaluation.as_ref().map(|evaluation| evaluation.charts.clone()).unwrap_or_default();
        let mut pictures = Self { strips: strips(&summary.cases), charts, ..Self::default() };
        for group in &summary.burden {
            let of_group = summary.cases.iter().filter(|row| row.burden == Some(group.name.as_str()));
            let mut rows: Vec<&Row> = of_group.filter(|row| row.brain_ml.is_some()).collect();
            rows.sort_by_key(|row| row.accepted);
            let chosen = spread(rows.len(), options.examples).into_iter().map(|n| shown(rows[n]));
            let cases = chosen.collect::<Result<Vec<_>, _>>()?;
            if !cases.is_empty() {
                pictures.examples.push(Examples { group: group.name.clone(), cases });
            }
        }
        let mut apart: Vec<&Row> = summary.cases.iter().filter(|row| !row.outliers.is_empty()).collect();
        apart.sort_by(|a, b| farthest(b).total_cmp(&farthest(a)));
        pictures.outliers_left = apart.len().saturating_sub(options.outlier_pictures);
        apart.truncate(options.outlier_pictures);
        pictures.outliers = apart.into_iter().map(shown).collect::<Result<_, _>>()?;
        Ok(pictures)
    }
}

/// At most `wanted` places in `0..count`, evenly over it.
fn spread(count: usize, wanted: usize) -> Vec<usize> {
    let chosen = count.min(wanted);
    (0..chosen).map(|n| (2 * n + 1) * count / (2 * chosen)).collect()
}

fn farthest(row: &Row) -> f64 {
    row.outliers.iter().map(|outlier| outlier.z.abs()).fold(0.0, f64::max)
}

/// The page.
///
/// # Errors
/// [`HtmlError`] if a template is at fault.
pub fn page(summary: &CohortSummary, pictures: &Pictures) -> Result<String, HtmlError> {
    let environment = html::environment(&TEMPLATES)?;
    let shown = context! {
        cohort => Serde(summary),
        pictures => Serde(pictures),
        chart_size => curves::SIZE,
        css => concat!(include_str!("../templates/page.css"), include_str!("../templates/cohort.css")),
        js => concat!(include_str!("../templates/sort.js"), include_str!("../templates/cohort.js")),
    };
    Ok(environment.get_template("cohort.html")?.render(shown)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_spread_over_their_group() {
        assert_eq!(spread(9, 3), [1, 4, 7]);
        assert_eq!(spread(2, 3), [0, 1]);
        assert_eq!(spread(0, 3), [0usize; 0]);
    }
}
