//! Small charts of curves as parts of the page: they take its colours, and nothing foreign is embedded.

use sdk::serde::Serialize;
use std::fmt::Write as _;

/// Size of the drawing, in units.
pub const SIZE: [f64; 2] = [340.0, 250.0];
/// Where the axes lie: left, top, right, bottom.
const FRAME: [f64; 4] = [42.0, 10.0, 330.0, 208.0];
/// Parts between the ticks of an axis that ends at 1.
const SHARE_PARTS: usize = 5;
/// Steps of ticks on an axis without a fixed end, before they are scaled by ten.
const STEPS: [f64; 4] = [1.0, 2.0, 2.5, 5.0];
/// The most ticks of such an axis.
const MOST_TICKS: f64 = 6.0;

/// An axis from zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Axis {
    /// What it holds, with its unit.
    pub label: &'static str,
    /// Ticks.
    pub ticks: Vec<Tick>,
    #[serde(skip)]
    end: f64,
}

/// A tick.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Tick {
    /// Its place in the drawing.
    pub at: f64,
    /// Its number.
    pub text: String,
}

/// A curve or a band.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Curve {
    /// Its style: `s0` to `s3`, or `guide`.
    pub style: &'static str,
    /// Its path.
    pub path: String,
}

/// A chart.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Chart {
    /// What it shows.
    pub title: &'static str,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// Areas below the curves.
    pub bands: Vec<Curve>,
    /// Curves.
    pub lines: Vec<Curve>,
    /// Style and name of the curves.
    pub legend: Vec<(&'static str, String)>,
}

impl Axis {
    /// From 0 to 1.
    pub fn share(label: &'static str) -> Self {
        let tick = |n: usize| Tick { at: 0.0, text: format!("{:.1}", n as f64 / SHARE_PARTS as f64) };
        Self { label, ticks: (0..=SHARE_PARTS).map(tick).collect(), end: 1.0 }
    }

    /// From 0 to a round number that is at least `end`.
    pub fn up_to(label: &'static str, end: f64) -> Self {
        let end = if end.is_finite() && end > 0.0 { end } else { 1.0 };
        let power = 10f64.powf((end / MOST_TICKS).log10().floor());
        let steps = STEPS.iter().map(|step| step * power).chain([10.0 * power]);
        let step = steps.into_iter().find(|step| end / step <= MOST_TICKS).unwrap_or(end);
        let parts = (end / step).ceil() as usize;
        let tick = |n: usize| Tick { at: 0.0, text: format!("{}", (n as f64 * step * 1e6).round() / 1e6) };
        Self { label, ticks: (0..=parts).map(tick).collect(), end: parts as f64 * step }
    }

    /// Gives the ticks their places.
    fn placed(mut self, from: f64, to: f64) -> Self {
        let parts = (self.ticks.len() - 1) as f64;
        for (n, tick) in self.ticks.iter_mut().enumerate() {
            tick.at = round(from + (to - from) * n as f64 / parts);
        }
        self
    }
}

impl Chart {
    /// A chart without curves.
    pub fn new(title: &'static str, x: Axis, y: Axis) -> Self {
        let [left, top, right, bottom] = FRAME;
        let (x, y) = (x.placed(left, right), y.placed(bottom, top));
        Self { title, x, y, bands: Vec::new(), lines: Vec::new(), legend: Vec::new() }
    }

    /// The diagonal, which a score that knows nothing follows.
    pub fn diagonal(&mut self) {
        let path = self.path(&[(0.0, 0.0), (self.x.end, self.y.end)]);
        self.lines.push(Curve { style: "guide", path });
    }

    /// Adds a curve through points of finite numbers; none of fewer than two.
    pub fn line(&mut self, points: &[(f64, f64)], style: &'static str, name: String) {
        if points.len() > 1 {
            self.lines.push(Curve { style, path: self.path(points) });
            self.legend.push((style, name));
        }
    }

    /// Adds the area between two curves.
    pub fn band(&mut self, low: &[(f64, f64)], high: &[(f64, f64)], style: &'static str) {
        let around: Vec<(f64, f64)> = low.iter().chain(high.iter().rev()).copied().collect();
        if around.len() > 2 {
            self.bands.push(Curve { style, path: self.path(&around) + "Z" });
        }
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let [left, top, right, bottom] = FRAME;
        let mut path = String::new();
        for (n, (x, y)) in points.iter().enumerate() {
            let at = |value: f64, end: f64| (value / end).clamp(0.0, 1.0);
            let (x, y) =
                (left + (right - left) * at(*x, self.x.end), bottom + (top - bottom) * at(*y, self.y.end));
            let _ = write!(path, "{}{} {}", if n == 0 { 'M' } else { 'L' }, round(x), round(y));
        }
        path
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_a_round_number_with_few_ticks() {
        let ends = [0.0, 0.7, 6.0, 13.0, 45.0, f64::NAN].map(|end| {
            let axis = Axis::up_to("x", end);
            (axis.end, axis.ticks.len())
        });
        assert_eq!(ends, [(1.0, 6), (0.8, 5), (6.0, 7), (15.0, 7), (50.0, 6), (1.0, 6)]);
    }

    #[test]
    fn curves_stay_within_the_frame_and_one_point_is_none() {
        let mut chart = Chart::new("t", Axis::share("x"), Axis::share("y"));
        chart.line(&[(0.5, 0.5)], "s0", "one".to_owned());
        chart.line(&[(0.0, 0.0), (2.0, 1.0)], "s1", "two".to_owned());
        assert_eq!(chart.lines, [Curve { style: "s1", path: "M42 208L330 10".to_owned() }]);
        assert_eq!(chart.legend.len(), 1);
    }
}
