//! A tiny alphabet to write marks into pictures, so that they stay when a picture is copied out of the page.

/// Width of a glyph in dots.
pub const WIDTH: usize = 5;
/// Height of a glyph in dots.
pub const HEIGHT: usize = 7;
/// Distance from one glyph to the next in dots.
pub const ADVANCE: usize = WIDTH + 1;

/// Rows of a glyph from the top; bit 4 is the left dot. Unknown letters are blank.
pub const fn rows(letter: char) -> [u8; HEIGHT] {
    match letter {
        '0' => [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110],
        '1' => [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        '2' => [0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111],
        '3' => [0b11110, 0b00001, 0b00001, 0b01110, 0b00001, 0b00001, 0b11110],
        '4' => [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010],
        '5' => [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
        '6' => [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
        '7' => [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
        '8' => [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
        '9' => [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
        'A' => [0b01110, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001],
        'L' => [0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b11111],
        'P' => [0b11110, 0b10001, 0b10001, 0b11110, 0b10000, 0b10000, 0b10000],
        'R' => [0b11110, 0b10001, 0b10001, 0b11110, 0b10100, 0b10010, 0b10001],
        'm' => [0b00000, 0b00000, 0b11010, 0b10101, 0b10101, 0b10101, 0b10101],
        '.' => [0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b01100, 0b01100],
        _ => [0; HEIGHT],
    }
}

/// Width of a text in dots at a scale.
pub fn text_width(text: &str, scale: usize) -> usize {
    (text.chars().count() * ADVANCE).saturating_sub(1) * scale
}

/// Calls `dot(x, y)` for every inked dot of a text whose left upper corner is at the origin.
pub fn draw(text: &str, scale: usize, mut dot: impl FnMut(usize, usize)) {
    for (n, letter) in text.chars().enumerate() {
        for (y, row) in rows(letter).into_iter().enumerate() {
            for x in (0..WIDTH).filter(|x| row >> (WIDTH - 1 - x) & 1 == 1) {
                for extra in 0..scale * scale {
                    dot((n * ADVANCE + x) * scale + extra % scale, y * scale + extra / scale);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_within_its_width() {
        let (mut right, mut bottom) = (0, 0);
        draw("20 mm", 2, |x, y| {
            right = right.max(x);
            bottom = bottom.max(y);
        });
        assert!(right < text_width("20 mm", 2) && bottom < HEIGHT * 2, "{right} x {bottom}");
        assert!(right >= text_width("20 mm", 2) - 2, "the last letter reaches the edge");
    }
}
