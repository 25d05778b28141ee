//! Volumes as text for the page: predicted or run-length coded, deflated, base64.
//!
//! The page's script undoes this with the browser's own `DecompressionStream`. Image voxels are predicted from their neighbours
//! to the left and above by the median edge detector (Weinberger et al., *The LOCO-I lossless image compression algorithm*, IEEE
//! Trans. Image Process. 2000;9:1309), so that only noise is left to store.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libdeflater::{CompressionLvl, Compressor};

/// Effort of the compressor, of 12: what is left after prediction is noise, on which more effort gains less than 1 %.
const EFFORT: i32 = 4;

/// The most there is.
const MOST_EFFORT: i32 = 12;

/// Deflates bytes (with zlib's header and checksum) and writes them in base64.
pub fn packed(bytes: &[u8]) -> String {
    STANDARD.encode(deflated(bytes, EFFORT))
}

/// The same with all effort, for text.
pub fn packed_small(bytes: &[u8]) -> String {
    STANDARD.encode(deflated(bytes, MOST_EFFORT))
}

fn deflated(bytes: &[u8], effort: i32) -> Vec<u8> {
    let mut compressor = Compressor::new(CompressionLvl::new(effort).unwrap_or_default());
    let mut out = vec![0; compressor.zlib_compress_bound(bytes.len())];
    let length = compressor.zlib_compress(bytes, &mut out).expect("the bound holds any output");
    out.truncate(length);
    out
}

/// Bytes below are stored as 0: no voxel that is shown is that dark, whatever the step.
const NOTHING: u8 = 4;

/// Replaces each byte by its difference from what its neighbours predict, in whole steps.
///
/// * `width`, `height`: of a slice; slices follow each other and are predicted apart.
/// * `step`: 1 keeps every byte; an odd step keeps it to within half of it. Bytes are 0, or at least 8.
pub fn predicted(bytes: &[u8], width: usize, height: usize, step: i32) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut above = vec![0; width];
    for slice in bytes.chunks(width * height) {
        above.fill(0);
        for row in slice.chunks(width) {
            let (mut left, mut corner) = (0u8, 0u8);
            for (&value, over) in row.iter().zip(&mut above) {
                let guess = i32::from(prediction(left, *over, corner));
                let difference = i32::from(value) - guess;
                let steps = (difference + difference.signum() * (step / 2)) / step;
                let kept = (guess + steps * step).clamp(0, 255) as u8;
                out.push(steps as u8);
                left = if kept < NOTHING { 0 } else { kept };
                corner = std::mem::replace(over, left);
            }
        }
    }
    out
}

/// An edge above or to the left is followed; else the plane through the three neighbours.
fn prediction(left: u8, over: u8, corner: u8) -> u8 {
    let (low, high) = (left.min(over), left.max(over));
    if corner >= high {
        low
    } else if corner <= low {
        high
    } else {
        left.wrapping_add(over).wrapping_sub(corner)
    }
}

/// Runs of equal labels: for each the gap since the last, its length, its label, as numbers of 7 bits a byte, low ones first.
pub fn runs(labels: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut end, mut n) = (0, 0);
    while n < labels.len() {
        let label = labels[n];
        let first = n;
        while n < labels.len() && labels[n] == label {
            n += 1;
        }
        if label != 0 {
            for mut number in [first - end, n - first, label as usize] {
                while number >= 0x80 {
                    out.push((number & 0x7f) as u8 | 0x80);
                    number >>= 7;
                }
                out.push(number as u8);
            }
            end = n;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_inflates_to_the_same_bytes() {
        let bytes: Vec<u8> = (0..5000u32).map(|n| ((n * n) >> 7) as u8).collect();
        let packed = STANDARD.decode(packed(&bytes)).unwrap();
        let mut back = vec![0; bytes.len()];
        libdeflater::Decompressor::new().zlib_decompress(&packed, &mut back).unwrap();
        assert!(back == bytes);
    }

    /// What the page's script does.
    fn restored(left: &[u8], width: usize, height: usize, step: i32) -> Vec<u8> {
        let mut back = vec![0u8; left.len()];
        for n in 0..left.len() {
            let (x, y) = (n % width, n / width % height);
            let at = |dx: usize, dy: usize| if x < dx || y < dy { 0 } else { back[n - dx - dy * width] };
            let guess = i32::from(prediction(at(1, 0), at(0, 1), at(1, 1)));
            let value = (guess + i32::from(left[n] as i8) * step).clamp(0, 255) as u8;
            // One step keeps every byte, also where a difference does not fit into a signed one.
            let value = if step == 1 { (guess as u8).wrapping_add(left[n]) } else { value };
            back[n] = if value < NOTHING { 0 } else { value };
        }
        back
    }

    #[test]
    fn prediction_can_be_undone_to_within_half_a_step() {
        let (width, height) = (9, 7);
        let noise: Vec<u8> = (0..2 * width * height)
            .map(|n| if n % 5 == 0 { 0 } else { 8 + ((n * 7919) % 248) as u8 })
            .collect();
        for step in [1, 3, 5] {
            let back = restored(&predicted(&noise, width, height, step), width, height, step);
            let worst = noise.iter().zip(&back).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(i32::from(worst) <= step / 2, "step {step}: {worst}");
            assert!(
                noise.iter().zip(&back).all(|(a, b)| (*a == 0) == (*b == 0)),
                "what is not shown stays so"
            );
        }
    }

    #[test]
    fn a_slope_leaves_nothing_to_store() {
        let (width, height) = (9, 7);
        let slope: Vec<u8> =
            (0..width * height).map(|n| (100 - 3 * (n % width) + 5 * (n / width)) as u8).collect();
        let left = predicted(&slope, width, height, 1);
        assert!(left[width..].iter().enumerate().all(|(n, &d)| d == 0 || n % width == 0), "{left:?}");
    }

    #[test]
    fn runs_hold_gap_length_and_label() {
        assert_eq!(runs(&[0, 0, 7, 7, 7, 9, 0, 9, 0]), [2, 3, 7, 0, 1, 9, 1, 1, 9]);
        let mut far = vec![0; 300];
        far[299] = 200;
        assert_eq!(runs(&far), [0xab, 2, 1, 0xc8, 1]);
        assert!(runs(&[0; 5]).is_empty());
    }
}
