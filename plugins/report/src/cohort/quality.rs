//! Quality control: what lies apart from the cohort, and where each case lies in it.

use super::gather::Row;
use super::outlier::{median, robust_z};
use crate::tables::number;
use sdk::serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Millilitres and the like from which on decimals say nothing.
const LARGE: f64 = 100.0;
/// Width of a strip in units of its drawing.
const STRIP_WIDTH: f64 = 300.0;
/// Levels that dots are spread over, so that equal values are seen beside each other.
const LEVELS: usize = 5;
/// Distance of two levels.
const LEVEL: f64 = 5.0;

/// A figure of quality control.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Measure {
    /// Similarity after registration of this image. Each sequence has its own: a case that lacks one would lie apart by its worst.
    Registration(String),
    /// Volume of the brain mask.
    Brain,
    /// Median of the reference in the brain.
    Intensity,
}

impl Measure {
    /// Those that some case has.
    fn all(rows: &[Row]) -> Vec<Self> {
        let images: BTreeSet<&String> = rows.iter().flat_map(|row| row.registrations.keys()).collect();
        let registrations = images.into_iter().cloned().map(Self::Registration);
        registrations.chain([Self::Brain, Self::Intensity]).collect()
    }

    fn name(&self) -> String {
        match self {
            Self::Registration(image) => format!("Registration metric, {image}"),
            Self::Brain => "Brain volume".to_owned(),
            Self::Intensity => "Median intensity in the brain".to_owned(),
        }
    }

    const fn unit(&self) -> &'static str {
        if matches!(self, Self::Brain) { "ml" } else { "" }
    }

    fn of(&self, row: &Row) -> Option<f64> {
        match self {
            Self::Registration(image) => row.registrations.get(image).copied(),
            Self::Brain => row.brain_ml,
            Self::Intensity => row.median_intensity,
        }
    }

    /// A value with its unit.
    fn text(&self, value: f64) -> String {
        let unit = self.unit();
        let text = if value.abs() >= LARGE { format!("{value:.0}") } else { number(value, unit, "") };
        format!("{text} {unit}").trim_end().to_owned()
    }
}

/// A figure that lies apart.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Outlier {
    /// Which figure.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// The case's value.
    pub value: f64,
    /// The same for people, with its unit.
    pub text: String,
    /// Its robust z-score.
    pub z: f64,
}

/// All cases along one figure, a dot each.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Strip {
    /// Which figure.
    pub name: String,
    /// Least value, with its unit.
    pub low: String,
    /// The cohort's median.
    pub middle: String,
    /// Largest value.
    pub high: String,
    /// Place of the median.
    pub at: f64,
    /// Cases that have the figure.
    pub cases: usize,
    /// How many lie apart.
    pub apart: usize,
    /// Dots of the cases, as the path of an SVG.
    pub dots: String,
    /// Dots of those that lie apart.
    pub apart_dots: String,
}

/// Marks what lies apart.
///
/// * `limit`: robust z-score beyond which a value does.
pub fn mark(rows: &mut [Row], limit: f64) {
    for measure in Measure::all(rows) {
        let values: Vec<Option<f64>> = rows.iter().map(|row| measure.of(row)).collect();
        for ((row, value), z) in rows.iter_mut().zip(&values).zip(robust_z(&values)) {
            if let (Some(value), Some(z)) = (*value, z.filter(|z| z.abs() > limit)) {
                let (name, unit, text) = (measure.name(), measure.unit(), measure.text(value));
                row.outliers.push(Outlier { name, unit, value, text, z });
            }
        }
    }
}

/// A strip for each figure that two cases or more have.
pub fn strips(rows: &[Row]) -> Vec<Strip> {
    Measure::all(rows).iter().filter_map(|measure| strip(rows, measure)).collect()
}

fn strip(rows: &[Row], measure: &Measure) -> Option<Strip> {
    let name = measure.name();
    let is_apart = |row: &Row| row.outliers.iter().any(|outlier| outlier.name == name);
    let value = |row: &Row| Some((measure.of(row).filter(|value| value.is_finite())?, is_apart(row)));
    let mut known: Vec<(f64, bool)> = rows.iter().filter_map(value).collect();
    if known.len() < 2 {
        return None;
    }
    known.sort_by(|a, b| a.0.total_cmp(&b.0));
    let middle = median(&mut known.iter().map(|(value, _)| *value).collect::<Vec<_>>())?;
    let (low, high) = (known[0].0, known[known.len() - 1].0);
    let place =
        |value: f64| if high > low { (value - low) / (high - low) * STRIP_WIDTH } else { STRIP_WIDTH / 2.0 };
    let (mut dots, mut apart_dots) = (String::new(), String::new());
    for (n, (value, apart)) in known.iter().enumerate() {
        let path = if *apart { &mut apart_dots } else { &mut dots };
        let _ = write!(path, "M{:.1} {}h0", place(*value), (n % LEVELS + 1) as f64 * LEVEL);
    }
    Some(Strip {
        low: measure.text(low),
        middle: measure.text(middle),
        high: measure.text(high),
        at: (place(middle) * 10.0).round() / 10.0,
        cases: known.len(),
        apart: known.iter().filter(|(_, apart)| *apart).count(),
        dots,
        apart_dots,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_with_a_figure_is_a_dot_and_outliers_have_their_own() {
        let row = |ml: f64| Row { brain_ml: Some(ml), ..Row::default() };
        let mut rows: Vec<Row> = [1200.0, 1210.0, 1190.0, 1205.0, 1195.0, 300.0].map(row).into();
        rows.push(Row::default());
        mark(&mut rows, 3.5);
        let strips = strips(&rows);
        assert_eq!(strips.len(), 1, "nothing else is known: {strips:?}");
        let strip = &strips[0];
        assert_eq!((strip.name.as_str(), strip.cases, strip.apart), ("Brain volume", 6, 1));
        assert_eq!((strip.dots.matches('M').count(), strip.apart_dots.as_str()), (5, "M0.0 5h0"));
        assert_eq!((strip.low.as_str(), strip.high.as_str()), ("300 ml", "1210 ml"));
    }

    #[test]
    fn a_sequence_is_compared_with_the_same_of_other_cases_alone() {
        let row = |n: u32, flair: Option<f64>| {
            let post = ("t1_post".to_owned(), 2.0 + f64::from(n) / 100.0);
            let registrations = flair.map(|metric| ("flair".to_owned(), metric)).into_iter().chain([post]);
            Row { registrations: registrations.collect(), ..Row::default() }
        };
        let mut rows: Vec<Row> =
            (0..6).map(|n| row(n, (n != 3).then(|| 1.0 + f64::from(n) / 100.0))).collect();
        mark(&mut rows, 3.5);
        assert!(
            rows.iter().all(|row| row.outliers.is_empty()),
            "a case without flair lies with the others: {rows:?}"
        );
        assert_eq!(strips(&rows).len(), 2);
    }
}
