//! What is drawn over the grey: network score, outlines, lesion numbers, and the checkerboard of two images.

use crate::glyphs;
use crate::picture::Overlay;
use crate::plane::Window;

/// Shades of the score.
const SHADES: u8 = 32;
/// Opacity of the score, 0..=255: the tissue below stays visible.
const SCORE_OPACITY: u8 = 110;

/// Anchors of the score's colours, dark to bright. From the `inferno` map of matplotlib (CC0): its lightness rises evenly,
/// so the order can be read without colour vision and in print.
const ANCHORS: [[u8; 3]; 6] =
    [[120, 28, 109], [165, 44, 96], [207, 68, 70], [237, 105, 37], [251, 155, 6], [252, 255, 164]];

/// A kind of outline: colour and dash, so that colour is not the only sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outline {
    /// Accepted lesion: solid, cyan.
    Accepted,
    /// Below the size limit: dashed, white.
    BelowSize,
    /// Rejected by the filter: dash and dot, orange.
    Rejected,
    /// Truth: dotted, green.
    Truth,
    /// Brain mask: solid, yellow.
    Mask,
}

impl Outline {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Accepted, Self::BelowSize, Self::Rejected, Self::Truth, Self::Mask];

    /// As the page's scripts and styles call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::BelowSize => "below_size",
            Self::Rejected => "rejected",
            Self::Truth => "truth",
            Self::Mask => "mask",
        }
    }

    /// Red, green, blue.
    pub const fn colour(self) -> [u8; 3] {
        match self {
            Self::Accepted => [0, 229, 255],
            Self::BelowSize => [255, 255, 255],
            Self::Rejected => [255, 138, 61],
            Self::Truth => [92, 235, 72],
            Self::Mask => [255, 214, 0],
        }
    }

    const fn entry(self) -> u8 {
        SHADES + 1 + self as u8
    }

    /// Whether a dot of the outline is inked: solid, dashed or dotted.
    const fn inked(self, x: usize, y: usize) -> bool {
        match self {
            Self::Accepted | Self::Mask => true,
            Self::BelowSize => (x + y) % 6 < 3,
            Self::Rejected => matches!((x + y) % 8, 0..4 | 6),
            Self::Truth => (x + y).is_multiple_of(3),
        }
    }
}

/// Entry of the dark rim around numbers.
const RIM: u8 = SHADES + 1 + Outline::ALL.len() as u8;

/// Colour of a score's place `t` between the display threshold (0) and one (1).
pub fn score_colour(t: f64) -> [u8; 3] {
    let place = t.clamp(0.0, 1.0) * (ANCHORS.len() - 1) as f64;
    let low = (place as usize).min(ANCHORS.len() - 2);
    let share = place - low as f64;
    [0, 1, 2].map(|c| {
        let (a, b) = (f64::from(ANCHORS[low][c]), f64::from(ANCHORS[low + 1][c]));
        (a + share * (b - a)).round() as u8
    })
}

/// The palette of [`Overlay`]s drawn here.
pub fn palette() -> Vec<[u8; 4]> {
    let mut palette = vec![[0; 4]];
    for shade in 0..SHADES {
        let [r, g, b] = score_colour(f64::from(shade) / f64::from(SHADES - 1));
        palette.push([r, g, b, SCORE_OPACITY]);
    }
    for outline in Outline::ALL {
        let [r, g, b] = outline.colour();
        palette.push([r, g, b, 255]);
    }
    palette.push([0, 0, 0, 200]);
    palette
}

/// Colours all dots whose score reaches the display threshold (0..1, below one).
pub fn draw_score(overlay: &mut Overlay, scores: &[f32], display_threshold: f64) {
    for (entry, &score) in overlay.entries.iter_mut().zip(scores) {
        let score = f64::from(score);
        if score >= display_threshold {
            let t = (score - display_threshold) / (1.0 - display_threshold);
            *entry = 1 + (t.clamp(0.0, 1.0) * f64::from(SHADES - 1)).round() as u8;
        }
    }
}

/// Outlines every label, on the dots just outside it, so that a small lesion is not hidden by its own outline.
pub fn draw_outline(overlay: &mut Overlay, labels: &[u32], outline: Outline) {
    let [width, height] = overlay.dots;
    for y in 0..height {
        for x in 0..width {
            let own = labels[y * width + x];
            let touches = |nx: usize, ny: usize| {
                let other = labels[ny * width + nx];
                other != 0 && other != own
            };
            let edge = x > 0 && touches(x - 1, y)
                || x + 1 < width && touches(x + 1, y)
                || y > 0 && touches(x, y - 1)
                || y + 1 < height && touches(x, y + 1);
            if edge && outline.inked(x, y) {
                overlay.entries[y * width + x] = outline.entry();
            }
        }
    }
}

/// Dots of the picture for one dot of a number's glyph: tiles are shown smaller than drawn.
const NUMBER_SCALE: usize = 2;

/// Writes each label's number beside it, unless another number is already there.
pub fn draw_numbers(overlay: &mut Overlay, labels: &[u32]) {
    let [width, height] = overlay.dots;
    // The box of each label: left, right, top, bottom.
    let mut boxes: std::collections::BTreeMap<u32, [usize; 4]> = std::collections::BTreeMap::new();
    for (n, &label) in labels.iter().enumerate().filter(|(_, label)| **label != 0) {
        let (x, y) = (n % width, n / width);
        let entry = boxes.entry(label).or_insert([x, x, y, y]);
        *entry = [entry[0].min(x), entry[1].max(x), entry[2].min(y), entry[3].max(y)];
    }
    let mut written: Vec<[usize; 4]> = Vec::new();
    for (label, [left, right, top, bottom]) in boxes {
        let text = label.to_string();
        let size = [glyphs::text_width(&text, NUMBER_SCALE), glyphs::HEIGHT * NUMBER_SCALE];
        let x = if right + 4 + size[0] < width { right + 4 } else { left.saturating_sub(size[0] + 4) };
        let y = top.midpoint(bottom).saturating_sub(size[1] / 2).min(height.saturating_sub(size[1]));
        let place = [x, x + size[0], y, y + size[1]];
        let free = |other: &[usize; 4]| {
            place[1] < other[0] || other[1] < place[0] || place[3] < other[2] || other[3] < place[2]
        };
        if written.iter().all(free) {
            write_number(overlay, &text, [x, y]);
            written.push(place);
        }
    }
}

fn write_number(overlay: &mut Overlay, text: &str, at: [usize; 2]) {
    let [width, height] = overlay.dots;
    for (entry, rim) in [(RIM, 1isize), (Outline::Accepted.entry(), 0)] {
        glyphs::draw(text, NUMBER_SCALE, |x, y| {
            for dy in -rim..=rim {
                for dx in -rim..=rim {
                    let (x, y) = ((at[0] + x).checked_add_signed(dx), (at[1] + y).checked_add_signed(dy));
                    if let (Some(x), Some(y)) = (x.filter(|x| *x < width), y.filter(|y| *y < height)) {
                        overlay.entries[y * width + x] = entry;
                    }
                }
            }
        });
    }
}

/// Side of a square of the checkerboard in mm: a few gyri wide, so that edges run across several squares.
const CHECK_MM: f64 = 18.0;

/// The squares of the checkerboard in which the second image shows; its greys (0..=255) become entries 1..=255.
///
/// * `shown`: whether the dot is shown at all.
pub fn checkerboard(window: &Window, greys: &[u8], shown: impl Fn(usize) -> bool) -> Overlay {
    let mut overlay = Overlay::clear(window.dots);
    let square = (CHECK_MM / window.mm_per_dot).max(1.0) as usize;
    for (n, entry) in overlay.entries.iter_mut().enumerate() {
        let (x, y) = (n % window.dots[0], n / window.dots[0]);
        if (x / square + y / square) % 2 == 1 && shown(n) {
            *entry = greys[n].max(1);
        }
    }
    overlay
}

/// The palette of [`checkerboard`]s: a faint blue tells the second image from the reference.
pub fn checker_palette() -> Vec<[u8; 4]> {
    let tint = |grey: u8, share: f64| (f64::from(grey) * share).round() as u8;
    let mut palette = vec![[0; 4]];
    palette.extend((1..=255u8).map(|grey| [tint(grey, 0.86), tint(grey, 0.95), grey, 255]));
    palette
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_surrounds_a_lesion_and_leaves_it_visible() {
        let mut labels = vec![0; 25];
        labels[12] = 4;
        let mut overlay = Overlay::clear([5, 5]);
        draw_outline(&mut overlay, &labels, Outline::Accepted);
        let drawn: Vec<usize> = (0..25).filter(|&n| overlay.entries[n] != 0).collect();
        assert_eq!(drawn, [7, 11, 13, 17]);
    }

    #[test]
    fn scores_below_the_display_threshold_stay_clear() {
        let mut overlay = Overlay::clear([4, 1]);
        draw_score(&mut overlay, &[0.0, 0.0999, 0.1, 1.0], 0.1);
        assert_eq!(overlay.entries, [0, 0, 1, SHADES]);
    }

    #[test]
    fn brighter_means_a_higher_score() {
        let lightness =
            |t| score_colour(t).map(f64::from).iter().zip([0.21, 0.72, 0.07]).map(|(c, w)| c * w).sum();
        let steps: Vec<f64> = (0..=20).map(|n| lightness(f64::from(n) / 20.0)).collect();
        assert!(steps.windows(2).all(|pair| pair[1] > pair[0]), "{steps:?}");
    }

    #[test]
    fn numbers_do_not_cover_each_other() {
        let mut labels = vec![0; 40 * 20];
        labels[10 * 40 + 10] = 1;
        labels[11 * 40 + 10] = 2;
        let mut overlay = Overlay::clear([40, 20]);
        draw_numbers(&mut overlay, &labels);
        let inked =
            |o: &Overlay| (0..o.entries.len()).filter(|&n| o.entries[n] == Outline::Accepted.entry()).count();
        let mut alone = Overlay::clear([40, 20]);
        labels[11 * 40 + 10] = 0;
        draw_numbers(&mut alone, &labels);
        assert_eq!(inked(&overlay), inked(&alone), "the second number finds no room");
    }
}
