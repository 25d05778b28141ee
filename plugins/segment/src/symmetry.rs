//! The symmetries of a slice under which a lesion stays a lesion: mirrored, and with `i` and `j` exchanged.
//!
//! A number names each: bit 0 turns `i` round, bit 1 `j`, bit 2 exchanges them. So 0 leaves all in place, 0 to 3 keep the
//! slice's shape, and 0 to 7 are the eight symmetries of a square (the quarter turns among them).

/// Width and height of a turned slice.
pub const fn turned_shape(width: usize, height: usize, symmetry: usize) -> [usize; 2] {
    if symmetry & 4 == 0 { [width, height] } else { [height, width] }
}

/// Index `[i, j]` in a slice of `width` x `height` voxels that the voxel `(i, j)` of the turned slice comes from.
pub const fn source(i: usize, j: usize, width: usize, height: usize, symmetry: usize) -> [usize; 2] {
    let (i, j) = if symmetry & 4 == 0 { (i, j) } else { (j, i) };
    let i = if symmetry & 1 == 0 { i } else { width - 1 - i };
    let j = if symmetry & 2 == 0 { j } else { height - 1 - j };
    [i, j]
}

/// Turns slices whose voxels hold `channels` numbers each.
///
/// * `slices`: `[count, height, width, channels]`; `out`: as long, `[count, turned height, turned width, channels]`.
pub fn turn(slices: &[f32], [width, height]: [usize; 2], channels: usize, symmetry: usize, out: &mut [f32]) {
    let turned_width = turned_shape(width, height, symmetry)[0];
    let slice_len = width * height * channels;
    for (from, to) in slices.chunks_exact(slice_len).zip(out.chunks_exact_mut(slice_len)) {
        for (place, voxel) in to.chunks_exact_mut(channels).enumerate() {
            let [i, j] = source(place % turned_width, place / turned_width, width, height, symmetry);
            let at = i + width * j;
            voxel.copy_from_slice(&from[at * channels..(at + 1) * channels]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eight_symmetries_differ_and_each_keeps_every_voxel() {
        let slice: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let mut seen = std::collections::BTreeSet::new();
        for symmetry in 0..8 {
            let mut out = vec![0.0; 12];
            turn(&slice, [4, 3], 1, symmetry, &mut out);
            let mut sorted = out.clone();
            sorted.sort_by(f32::total_cmp);
            assert_eq!(sorted, slice);
            seen.insert(out.iter().map(|v| *v as u32).collect::<Vec<_>>());
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn a_voxel_s_channels_stay_together() {
        let slices: Vec<f32> = (0..2 * 6 * 2).map(|v| v as f32).collect();
        let mut out = vec![0.0; slices.len()];
        turn(&slices, [3, 2], 2, 5, &mut out);
        // Exchanged, then `i` of the source turned round: the turned slice is 2 wide and 3 high.
        assert_eq!(out[..6], [4.0, 5.0, 10.0, 11.0, 2.0, 3.0]);
        assert_eq!(out[12..14], [16.0, 17.0]);
    }
}
