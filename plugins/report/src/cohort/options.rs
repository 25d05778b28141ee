//! What a workflow can set about the cohort's page.

use sdk::serde::{Deserialize, Serialize};
use sdk::{FileSetting, JsonSchema};

/// Settings of `cohort_report`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct CohortOptions {
    /// Robust z-score from which on a case is an outlier.
    #[schemars(range(min = 1.0, max = 20.0))]
    pub outlier_z: f64,
    /// Example cases shown of each group by number of lesions.
    #[schemars(range(min = 0, max = 6))]
    pub examples: usize,
    /// Outliers shown with a picture, the farthest first.
    #[schemars(range(min = 0, max = 40))]
    pub outlier_pictures: usize,
    /// How the files of the cases' own pages end, as their output's `bids` has it; empty for a table without links.
    pub page: String,
    /// The `evaluation.json` of `summarise`, to be shown beside.
    pub evaluation: Option<FileSetting>,
}

impl Default for CohortOptions {
    fn default() -> Self {
        // 3.5: Iglewicz and Hoaglin 1993.
        let page = "report".to_owned();
        Self { outlier_z: 3.5, examples: 3, outlier_pictures: 20, page, evaluation: None }
    }
}

/// A setting out of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("setting `{name}` is {found}, outside {low} to {high}\nhint: leave it out for its default")]
pub struct CohortOptionsError {
    name: &'static str,
    found: f64,
    low: f64,
    high: f64,
}

impl CohortOptions {
    /// Checks every range.
    ///
    /// # Errors
    /// [`CohortOptionsError`] for the first setting out of its range.
    pub fn check(&self) -> Result<(), CohortOptionsError> {
        let ranges = [
            ("outlier_z", self.outlier_z, 1.0, 20.0),
            ("examples", self.examples as f64, 0.0, 6.0),
            ("outlier_pictures", self.outlier_pictures as f64, 0.0, 40.0),
        ];
        let wrong = ranges.into_iter().find(|(_, found, low, high)| !(*low..=*high).contains(found));
        wrong.map_or(Ok(()), |(name, found, low, high)| Err(CohortOptionsError { name, found, low, high }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_names_every_setting_with_its_default() {
        let defaults = serde_json::to_value(CohortOptions::default()).unwrap();
        for (name, default) in defaults.as_object().unwrap() {
            let told = if default.is_null() { "none".to_owned() } else { format!("`{default}`") };
            let row = format!("| `{name}` | {told} |");
            assert!(include_str!("../../README.md").contains(&row), "the README lacks {row}");
        }
        assert!(CohortOptions { outlier_z: f64::NAN, ..CohortOptions::default() }.check().is_err());
    }
}
