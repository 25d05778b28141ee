//! One self-contained HTML file from the report and its pictures.

use crate::figures::{Figure, ImageFigures, LesionFigures};
use crate::graph::Graph;
use crate::histogram::Histograms;
use crate::overlay;
use crate::report::Report;
use crate::rows::Listed;
use crate::solid::Solid;
use crate::volumes::Volumes;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, HtmlEscape, Value as Markup, context};
use sdk::serde::Serialize;

/// The page cannot be made from its templates: a bug, since both are part of this library.
#[derive(Debug, thiserror::Error)]
#[error("the page could not be made from its templates")]
pub struct HtmlError(#[from] minijinja::Error);

/// The pictures of a page; empty where nothing could or may be drawn.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Pictures {
    /// Axial slices over the whole brain.
    pub mosaic: Vec<Figure>,
    /// The largest lesions.
    pub lesions: Vec<LesionFigures>,
    /// Registered images against the reference.
    pub registered: Vec<ImageFigures>,
    /// The brain mask.
    pub mask: Vec<Figure>,
    /// What the viewer shows.
    pub volumes: Option<Volumes>,
    /// What draws them in 3-D, where a workflow asks for it.
    pub solid: Option<Solid>,
    /// Histograms within the brain.
    pub histograms: Vec<Histograms>,
    /// Orientation and spacing of the grid they are drawn on.
    pub grid: String,
    /// What is drawn over the brain: `scores`, `accepted`, `below_size`, `truth`.
    pub legend: Vec<&'static str>,
}

/// The templates of a case's page.
const TEMPLATES: [(&str, &str); 11] = [
    ("page.html", include_str!("templates/page.html")),
    ("parts.html", include_str!("templates/parts.html")),
    ("summary.html", include_str!("templates/summary.html")),
    ("lesions.html", include_str!("templates/lesions.html")),
    ("review.html", include_str!("templates/review.html")),
    ("pictures.html", include_str!("templates/pictures.html")),
    ("viewer.html", include_str!("templates/viewer.html")),
    ("solid.html", include_str!("templates/solid.html")),
    ("quality.html", include_str!("templates/quality.html")),
    ("plan.html", include_str!("templates/plan.html")),
    ("methods.html", include_str!("templates/methods.html")),
];

/// The page's scripts, in the order in which they build on each other.
const SCRIPTS: [&str; 9] = [
    include_str!("templates/sort.js"),
    include_str!("templates/page.js"),
    include_str!("templates/volumes.js"),
    include_str!("templates/painting.js"),
    include_str!("templates/viewer.js"),
    include_str!("templates/solid.js"),
    include_str!("templates/thumbnails.js"),
    include_str!("templates/registration.js"),
    include_str!("templates/review.js"),
];

/// Stops of the colour bar; every third has a number.
const BAR_STOPS: usize = 10;

/// A stop of the colour bar.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
struct Stop {
    /// Place in percent of the bar's length.
    percent: f64,
    /// `#rrggbb`.
    colour: String,
    /// The score there.
    score: String,
}

fn bar_stops(display_threshold: f64) -> Vec<Stop> {
    let stop = |n: usize| {
        let t = n as f64 / (BAR_STOPS - 1) as f64;
        let [r, g, b] = overlay::score_colour(t);
        let score = display_threshold + t * (1.0 - display_threshold);
        Stop {
            percent: (t * 1000.0).round() / 10.0,
            colour: format!("#{r:02x}{g:02x}{b:02x}"),
            score: format!("{score:.1}"),
        }
    };
    (0..BAR_STOPS).map(stop).collect()
}

/// Escapes a text; words between back quotes, as messages have them, become code.
fn marked(text: &str) -> Markup {
    let parts: Vec<String> = text.split('`').map(|part| HtmlEscape(part).to_string()).collect();
    // An odd number of parts has each opening quote closed; else the text is left as it is.
    if parts.len().is_multiple_of(2) {
        return Markup::from_safe_string(parts.join("`"));
    }
    let coded = parts
        .iter()
        .enumerate()
        .map(|(n, part)| if n % 2 == 1 { format!("<code>{part}</code>") } else { part.clone() });
    Markup::from_safe_string(coded.collect())
}

/// Templates by name, with the filter `marked`: names end in `.html`, so that everything put into them is escaped.
///
/// # Errors
/// [`HtmlError`] if a template is at fault.
pub fn environment(
    templates: &'static [(&'static str, &'static str)],
) -> Result<Environment<'static>, HtmlError> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_filter("marked", marked);
    for (name, text) in templates {
        environment.add_template(name, text)?;
    }
    Ok(environment)
}

/// The page.
///
/// * `review`: of [`crate::form::head`], where a reader can decide.
///
/// # Errors
/// [`HtmlError`] if a template is at fault.
pub fn page(report: &Report, pictures: &Pictures, review: Option<&str>) -> Result<String, HtmlError> {
    let environment = environment(&TEMPLATES)?;
    let listed = Listed::of(report.lesions.as_ref(), report.candidates.as_ref());
    let graph = Graph::of(&report.stages);
    let bar = bar_stops(report.display_threshold);
    let shown = context! {
        report => Serde(report),
        pictures => Serde(pictures),
        bar => Serde(&bar),
        listed => Serde(&listed),
        graph => Serde(&graph),
        review => review,
        css => concat!(
            include_str!("templates/page.css"),
            include_str!("templates/viewer.css"),
            include_str!("templates/review.css")
        ),
        js => SCRIPTS.concat(),
    };
    Ok(environment.get_template("page.html")?.render(shown)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_quotes_become_code_and_everything_is_escaped() {
        assert_eq!(marked("use `a<b`, please").as_str(), Some("use <code>a&lt;b</code>, please"));
        assert_eq!(marked("a ` <b>").as_str(), Some("a ` &lt;b&gt;"));
    }
}
