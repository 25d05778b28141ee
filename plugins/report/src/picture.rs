//! Pictures as layers: a grey base, and a transparent overlay of few colours, each a small PNG.
//!
//! Two layers keep the page small (grey and palette compress far better than mixed colours) and let a reader take the overlay
//! off. What must never be lost, left and right and the scale, is written into the base.

use crate::glyphs;
use crate::plane::Window;
use base64::Engine;

/// A picture cannot be encoded: a bug, since sizes and palettes are made here.
#[derive(Debug, thiserror::Error)]
#[error("a picture of {width} x {height} dots could not be encoded")]
pub struct PictureError {
    width: usize,
    height: usize,
    #[source]
    source: png::EncodingError,
}

/// The intensities shown as black and as white.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contrast {
    /// Shown as black.
    pub black: f32,
    /// Shown as white.
    pub white: f32,
}

impl Contrast {
    /// From the 1st to the 99th percentile of `values`, which are reordered; non-finite ones do not count.
    pub fn of(values: &mut Vec<f32>) -> Self {
        values.retain(|value| value.is_finite());
        if values.is_empty() {
            return Self { black: 0.0, white: 1.0 };
        }
        let mut percentile = |share: f64| {
            let rank = ((values.len() - 1) as f64 * share).round() as usize;
            *values.select_nth_unstable_by(rank, f32::total_cmp).1
        };
        Self { black: percentile(0.01), white: percentile(0.99) }
    }

    /// Grey of an intensity, 0..=255; the only intensity of a constant image is in the middle.
    pub fn grey(&self, value: f32) -> u8 {
        let span = self.white - self.black;
        let share = if span == 0.0 && value == self.black { 0.5 } else { (value - self.black) / span };
        (share * 255.0).clamp(0.0, 255.0) as u8
    }
}

/// Grey of the letters and the scale bar.
const INK: u8 = 235;

/// The grey layer of a picture.
#[derive(Clone, Debug)]
pub struct Base {
    /// Width and height in dots.
    pub dots: [usize; 2],
    /// Grey values, row by row.
    pub greys: Vec<u8>,
}

impl Base {
    /// Writes the sides' letters into the upper corners and a scale bar into the lower right one.
    ///
    /// * `letter_scale`: dots of the picture for one dot of a glyph.
    pub fn mark(&mut self, window: &Window, letter_scale: usize) {
        let [left, right] = window.plane.view.sides();
        let gap = 2 * letter_scale;
        self.write(&left.to_string(), letter_scale, [gap, gap]);
        let end = self.dots[0].saturating_sub(gap + glyphs::WIDTH * letter_scale);
        self.write(&right.to_string(), letter_scale, [end, gap]);
        self.scale_bar(window, letter_scale);
    }

    /// A bar of the largest of 50, 20, 10, 5 mm that takes at most a third of the width, with its length above.
    fn scale_bar(&mut self, window: &Window, letter_scale: usize) {
        let third_mm = self.dots[0] as f64 * window.mm_per_dot / 3.0;
        let Some(length_mm) = [50usize, 20, 10, 5].into_iter().find(|&mm| mm as f64 <= third_mm) else {
            return;
        };
        let bar = (length_mm as f64 / window.mm_per_dot).round() as usize;
        let gap = 3 * letter_scale;
        let (right, bottom) = (self.dots[0].saturating_sub(gap), self.dots[1].saturating_sub(gap));
        for y in bottom.saturating_sub(letter_scale + 1)..bottom {
            for x in right.saturating_sub(bar)..right {
                self.set(x, y, INK);
            }
        }
        let text = format!("{length_mm} mm");
        let width = glyphs::text_width(&text, letter_scale);
        let left = right.saturating_sub(bar.midpoint(width)).min(right.saturating_sub(width));
        self.write(&text, letter_scale, [left, bottom.saturating_sub((glyphs::HEIGHT + 3) * letter_scale)]);
    }

    /// Writes a text, with a dark rim so that it can be read on bright tissue.
    fn write(&mut self, text: &str, scale: usize, at: [usize; 2]) {
        for (grey, rim) in [(0, 1isize), (INK, 0)] {
            glyphs::draw(text, scale, |x, y| {
                for dy in -rim..=rim {
                    for dx in -rim..=rim {
                        let (x, y) = ((at[0] + x).checked_add_signed(dx), (at[1] + y).checked_add_signed(dy));
                        if let (Some(x), Some(y)) = (x, y) {
                            self.set(x, y, grey);
                        }
                    }
                }
            });
        }
    }

    fn set(&mut self, x: usize, y: usize, grey: u8) {
        if x < self.dots[0] && y < self.dots[1] {
            self.greys[y * self.dots[0] + x] = grey;
        }
    }

    /// As the source of an HTML image.
    ///
    /// # Errors
    /// [`PictureError`] if the encoder fails.
    pub fn to_source(&self) -> Result<String, PictureError> {
        encode(self.dots, &self.greys, None)
    }
}

/// A transparent layer: an index into a palette for each dot, 0 is clear.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// Width and height in dots.
    pub dots: [usize; 2],
    /// Palette entries, row by row.
    pub entries: Vec<u8>,
}

impl Overlay {
    /// All clear.
    pub fn clear(dots: [usize; 2]) -> Self {
        Self { dots, entries: vec![0; dots[0] * dots[1]] }
    }

    /// Clears the dots where two bases differ: what was written into one of them stays in sight.
    pub fn clear_where_differ(&mut self, one: &Base, other: &Base) {
        for (entry, (a, b)) in self.entries.iter_mut().zip(one.greys.iter().zip(&other.greys)) {
            if a != b {
                *entry = 0;
            }
        }
    }

    /// Whether nothing is drawn.
    pub fn is_clear(&self) -> bool {
        self.entries.iter().all(|&entry| entry == 0)
    }

    /// As the source of an HTML image.
    ///
    /// * `palette`: red, green, blue and opacity of entry 0, 1, …
    ///
    /// # Errors
    /// [`PictureError`] if the encoder fails.
    pub fn to_source(&self, palette: &[[u8; 4]]) -> Result<String, PictureError> {
        encode(self.dots, &self.entries, Some(palette))
    }
}

fn encode(dots: [usize; 2], bytes: &[u8], palette: Option<&[[u8; 4]]>) -> Result<String, PictureError> {
    let [width, height] = dots;
    let mut file = Vec::new();
    write(dots, bytes, palette, &mut file).map_err(|source| PictureError { width, height, source })?;
    Ok(format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(file)))
}

fn write(
    dots: [usize; 2],
    bytes: &[u8],
    palette: Option<&[[u8; 4]]>,
    file: &mut Vec<u8>,
) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(file, dots[0] as u32, dots[1] as u32);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(if palette.is_some() { png::ColorType::Indexed } else { png::ColorType::Grayscale });
    if let Some(palette) = palette {
        let colours: Vec<u8> = palette.iter().flat_map(|c| [c[0], c[1], c[2]]).collect();
        encoder.set_palette(colours);
        encoder.set_trns(palette.iter().map(|c| c[3]).collect::<Vec<u8>>());
    }
    encoder.set_compression(png::Compression::High);
    if palette.is_some() {
        encoder.set_filter(png::Filter::NoFilter);
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(bytes)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::{Plane, View};
    use sdk::Grid;

    #[test]
    fn the_first_and_last_percentile_are_black_and_white() {
        let mut values: Vec<f32> = (0..=1000).map(|n| n as f32).collect();
        values.push(f32::NAN);
        let contrast = Contrast::of(&mut values);
        assert_eq!(contrast, Contrast { black: 10.0, white: 990.0 });
        assert_eq!((contrast.grey(-5.0), contrast.grey(2000.0)), (0, 255));
        assert_eq!(Contrast::of(&mut vec![3.0; 9]).grey(3.0), 127, "a constant image is no fault");
        assert_eq!(Contrast::of(&mut Vec::new()).grey(0.5), 127);
    }

    #[test]
    fn the_scale_bar_is_as_long_as_it_says() {
        let grid = Grid::axis_aligned([180, 200, 10], [1.0; 3]);
        let plane = Plane::of(&grid, View::Axial);
        let window = plane.window(0, [0.0; 2], plane.size_mm(), 0.5);
        let mut base = Base { dots: window.dots, greys: vec![0; window.len()] };
        base.mark(&window, 2);
        let row = base.dots[1] - 3 * 2 - 1;
        let inked = (0..base.dots[0]).filter(|x| base.greys[row * base.dots[0] + x] == INK).count();
        assert_eq!(inked, 100, "50 mm at 0.5 mm a dot");
    }

    #[test]
    fn a_picture_decodes_to_what_was_drawn() {
        let overlay = Overlay { dots: [3, 2], entries: vec![0, 1, 2, 2, 1, 0] };
        let source = overlay.to_source(&[[0; 4], [9, 8, 7, 255], [1, 2, 3, 128]]).unwrap();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(source.strip_prefix("data:image/png;base64,").unwrap())
            .unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut decoded = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut decoded).unwrap();
        assert_eq!(decoded, overlay.entries);
        assert_eq!(reader.info().trns.as_deref(), Some(&[0, 255, 128][..]));
    }
}
