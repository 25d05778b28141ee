//! Charts as SVG: two axes, lines with bands, bars, dots, and a legend. Light background, text that can be read in print.
//!
//! Series differ by dash and mark as well as by colour (the palette of Okabe and Ito, which colour-blind readers tell apart).

use std::fmt::Write as _;

/// Size of a chart, in units that are pixels on a screen.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 480.0;
/// Room for the title, the axes' numbers and labels, and the legend.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 64.0;
/// Height of a row of the legend.
const LEGEND_ROW: f64 = 20.0;
/// About this many numbers on an axis.
const TICKS: f64 = 6.0;

/// Colour and dash of a series.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colour: &'static str,
    dash: &'static str,
}

/// Styles of series, in the order in which charts use them.
pub const STYLES: [Style; 4] = [
    Style { colour: "#0072B2", dash: "none" },
    Style { colour: "#D55E00", dash: "9 4" },
    Style { colour: "#009E73", dash: "3 3" },
    Style { colour: "#000000", dash: "12 3 3 3" },
];
/// Style of a line that is no data.
pub const GUIDE: Style = Style { colour: "#888888", dash: "2 4" };

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// Its first value.
    pub low: f64,
    /// Its last value, above the first.
    pub high: f64,
}

impl Axis {
    /// An axis from 0 to 1.
    pub fn share(label: &str) -> Self {
        Self { label: label.to_owned(), low: 0.0, high: 1.0 }
    }

    /// An axis from 0 to at least a value, up to a round number.
    pub fn up_to(label: &str, value: f64) -> Self {
        let step = round_step(value.max(1.0));
        Self { label: label.to_owned(), low: 0.0, high: (value.max(1.0) / step).ceil() * step }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let step = round_step(self.high - self.low);
        let (low, high) = (self.low, self.high);
        (0..).map(move |n| low + f64::from(n) * step).take_while(move |tick| *tick <= high + step * 1e-6)
    }

    fn share_of(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, so that about [`TICKS`] of it make `range`.
fn round_step(range: f64) -> f64 {
    let rough = range / TICKS;
    let power = 10f64.powf(rough.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|n| n * power >= rough * 0.999);
    round.unwrap_or(10.0) * power
}

/// What a chart shows.
#[derive(Clone, Debug)]
enum Mark {
    Line { points: Vec<(f64, f64)>, style: Style, dots: bool },
    Band { low: Vec<(f64, f64)>, high: Vec<(f64, f64)>, style: Style },
    Bar { from: f64, to: f64, low: f64, high: f64, style: Style, hollow: bool },
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    title: String,
    x: Axis,
    y: Axis,
    marks: Vec<Mark>,
    legend: Vec<(String, Style, bool)>,
}

impl Chart {
    /// An empty chart.
    pub fn new(title: &str, x: Axis, y: Axis) -> Self {
        Self { title: title.to_owned(), x, y, marks: Vec::new(), legend: Vec::new() }
    }

    /// Adds an entry to the legend; `hollow` as the bars have it.
    pub fn name(&mut self, name: &str, style: Style, hollow: bool) {
        self.legend.push((name.to_owned(), style, hollow));
    }

    /// Adds a line through points, with dots at them if wanted.
    pub fn line(&mut self, points: Vec<(f64, f64)>, style: Style, dots: bool) {
        self.marks.push(Mark::Line { points, style, dots });
    }

    /// Adds a band between two lines.
    pub fn band(&mut self, low: Vec<(f64, f64)>, high: Vec<(f64, f64)>, style: Style) {
        self.marks.push(Mark::Band { low, high, style });
    }

    /// Adds a bar over `from..to`, hollow or filled.
    pub fn bar(&mut self, [from, to]: [f64; 2], [low, high]: [f64; 2], style: Style, hollow: bool) {
        self.marks.push(Mark::Bar { from, to, low, high, style, hollow });
    }

    /// The chart as a text of SVG.
    pub fn svg(&self) -> String {
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             font-family=\"Helvetica, Arial, sans-serif\" font-size=\"14\" role=\"img\">\n<title>{0}</title>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"{1}\" y=\"26\" font-size=\"17\" font-weight=\"bold\">{0}</text>\n",
            escape(&self.title),
            LEFT,
        );
        self.axes(&mut out);
        self.marks.iter().for_each(|mark| self.mark(&mut out, mark));
        self.frame(&mut out);
        out.push_str("</svg>\n");
        out
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let across = LEFT + self.x.share_of(x) * (WIDTH - LEFT - RIGHT);
        (across, HEIGHT - BOTTOM - self.y.share_of(y) * (HEIGHT - TOP - BOTTOM))
    }

    fn axes(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in self.x.ticks() {
            let (x, _) = self.place((tick, 0.0));
            let _ = writeln!(
                out,
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 20.0,
                number(tick)
            );
        }
        for tick in self.y.ticks() {
            let (_, y) = self.place((0.0, tick));
            let _ = writeln!(
                out,
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 5.0,
                number(tick)
            );
        }
        let (middle, high) = (f64::midpoint(LEFT, right), f64::midpoint(TOP, bottom));
        let _ = writeln!(
            out,
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(20 {high:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 16.0,
            escape(&self.x.label),
            escape(&self.y.label)
        );
    }

    fn mark(&self, out: &mut String, mark: &Mark) {
        let path = |points: &mut dyn Iterator<Item = &(f64, f64)>| {
            points.map(|&point| self.place(point)).fold(String::new(), |mut text, (x, y)| {
                let _ = write!(text, "{x:.1},{y:.1} ");
                text
            })
        };
        match mark {
            Mark::Line { points, style: Style { colour, dash }, dots } => {
                let text = path(&mut points.iter());
                let _ = writeln!(
                    out,
                    "<polyline points=\"{text}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>"
                );
                for (x, y) in points.iter().filter(|_| *dots).map(|&point| self.place(point)) {
                    let _ =
                        writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
                }
            }
            Mark::Band { low, high, style } => {
                let text = path(&mut low.iter().chain(high.iter().rev()));
                let _ = writeln!(
                    out,
                    "<polygon points=\"{text}\" fill=\"{}\" fill-opacity=\"0.15\"/>",
                    style.colour
                );
            }
            Mark::Bar { from, to, low, high, style, hollow } => {
                let ((x, bottom), (right, y)) = (self.place((*from, *low)), self.place((*to, *high)));
                let fill = if *hollow { "#ffffff" } else { style.colour };
                let _ = writeln!(
                    out,
                    "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\" stroke=\"{}\"/>",
                    x + 0.75,
                    (right - x - 1.5).max(0.5),
                    bottom - y,
                    style.colour
                );
            }
        }
    }

    /// The frame around the data, and the legend in the corner that has least in it.
    fn frame(&self, out: &mut String) {
        let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let _ = writeln!(
            out,
            "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#444444\"/>"
        );
        if self.legend.is_empty() {
            return;
        }
        let longest = self.legend.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
        // A letter of this font and size is 7 units wide on average.
        let (box_width, box_height) =
            (60.0 + 7.0 * longest as f64, 12.0 + LEGEND_ROW * self.legend.len() as f64);
        let (x, y) = self.emptiest_corner(box_width, box_height);
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{box_width:.1}\" height=\"{box_height:.1}\" fill=\"#ffffff\" \
             fill-opacity=\"0.9\" stroke=\"#bbbbbb\"/>"
        );
        for (n, (name, style, hollow)) in self.legend.iter().enumerate() {
            let middle = y + 6.0 + LEGEND_ROW * (n as f64 + 0.5);
            let is_bar = self.marks.iter().any(|mark| matches!(mark, Mark::Bar { .. }));
            let sample = if is_bar {
                let fill = if *hollow { "#ffffff" } else { style.colour };
                format!(
                    "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"28\" height=\"12\" fill=\"{fill}\" stroke=\"{}\"/>",
                    x + 10.0,
                    middle - 6.0,
                    style.colour
                )
            } else {
                format!(
                    "<line x1=\"{:.1}\" y1=\"{middle:.1}\" x2=\"{:.1}\" y2=\"{middle:.1}\" stroke=\"{}\" stroke-width=\"2\" \
                     stroke-dasharray=\"{}\"/>",
                    x + 8.0,
                    x + 40.0,
                    style.colour,
                    style.dash
                )
            };
            let _ = writeln!(
                out,
                "{sample}<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 48.0,
                middle + 5.0,
                escape(name)
            );
        }
    }

    fn emptiest_corner(&self, width: f64, height: f64) -> (f64, f64) {
        let (left, right) = (LEFT + 10.0, WIDTH - RIGHT - 10.0 - width);
        let (top, bottom) = (TOP + 10.0, HEIGHT - BOTTOM - 10.0 - height);
        let covered = |&(x, y): &(f64, f64)| {
            let inside = |point: (f64, f64)| {
                let (px, py) = self.place(point);
                (x - 8.0..x + width + 8.0).contains(&px) && (y - 8.0..y + height + 8.0).contains(&py)
            };
            let points = self.marks.iter().map(|mark| match mark {
                Mark::Line { points, .. } => points.iter().filter(|&&point| inside(point)).count(),
                Mark::Band { .. } => 0,
                Mark::Bar { from, to, high, .. } => {
                    let (px, py) = self.place((f64::midpoint(*from, *to), *high));
                    usize::from((x..x + width).contains(&px) && py < y + height)
                }
            });
            points.sum::<usize>()
        };
        let corners = [(right, bottom), (right, top), (left, top), (left, bottom)];
        corners.into_iter().min_by_key(covered).unwrap_or((right, bottom))
    }
}

fn number(value: f64) -> String {
    // Ticks are multiples of 1, 2 or 5 times a power of ten.
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A text as it stands in XML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers_and_reach_as_far_as_their_data() {
        let ticks = |value: f64| Axis::up_to("x", value).ticks().map(number).collect::<Vec<_>>();
        assert_eq!(ticks(1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(ticks(43.0), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(ticks(0.0), ticks(1.0));
        assert!(Axis::up_to("x", 1234.5).high >= 1234.5);
    }

    #[test]
    fn what_lies_outside_is_drawn_at_the_edge_and_texts_are_escaped() {
        let mut chart = Chart::new("a < b", Axis::share("x & y"), Axis::share("z"));
        chart.line(vec![(-1.0, 2.0), (0.5, 0.5)], STYLES[0], true);
        chart.name(">10", STYLES[0], false);
        let svg = chart.svg();
        assert!(
            svg.contains("<title>a &lt; b</title>") && svg.contains("x &amp; y") && svg.contains("&gt;10")
        );
        assert!(svg.contains("points=\"76.0,44.0 388.0,230.0 \""), "{svg}");
    }
}
