//! The network's input: neighbouring slices of all sequences as channels.
//!
//! A stack holds `slices` slices of each sequence around the one to be scored, sequence by sequence: channel
//! `slices * sequence + offset`, offset 0 being the lowest slice. In memory a voxel's channels lie together
//! (`[batch, height, width, channel]`), the layout in which the convolutions are fastest.

use crate::card::Edge;

/// The sequences of one case, in the order of a model's card, on one grid.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// Voxels of each, `i` fastest; `None` where zeros stand in.
    pub voxels: &'a [Option<&'a [f32]>],
    /// Voxels along `i` (width), `j` (height) and `k` (slices).
    pub shape: [usize; 3],
}

/// How slices become channels.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Slices of each sequence, odd.
    pub slices: usize,
    /// What lies beyond the first and the last slice.
    pub edge: Edge,
}

impl Rule {
    /// The slice at place `offset` (0..`slices`) of the stack around slice `k` of `count`; `None` for zeros.
    pub(crate) fn source(self, k: usize, offset: usize, count: usize) -> Option<usize> {
        let wanted = (k + offset).checked_sub(self.slices / 2).filter(|&slice| slice < count);
        match self.edge {
            Edge::Zero => wanted,
            Edge::Clamp => Some((k + offset).saturating_sub(self.slices / 2).min(count - 1)),
        }
    }
}

/// Fills `out` with the stacks around `slices`.
///
/// * `slices`: indices along `k`, each below `sequences.shape[2]`.
/// * `out`: `[slices.len(), height, width, rule.slices * sequences]`, channel fastest.
pub fn fill(sequences: Sequences<'_>, rule: Rule, slices: &[usize], out: &mut [f32]) {
    let [width, height, count] = sequences.shape;
    let channels = rule.slices * sequences.voxels.len();
    for (line, row) in out.chunks_exact_mut(width * channels).enumerate() {
        let (k, j) = (slices[line / height], line % height);
        for (sequence, voxels) in sequences.voxels.iter().enumerate() {
            for offset in 0..rule.slices {
                let source = voxels.zip(rule.source(k, offset, count)).map(|(voxels, slice)| {
                    let start = width * (j + height * slice);
                    &voxels[start..start + width]
                });
                let channel = rule.slices * sequence + offset;
                for (i, voxel) in row.chunks_exact_mut(channels).enumerate() {
                    voxel[channel] = source.map_or(0.0, |source| source[i]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [4, 8, 5];

    /// A voxel that tells its sequence and slice: 100 s + k + position in the slice / 64.
    fn telling(sequence: usize) -> Vec<f32> {
        let slice = SHAPE[0] * SHAPE[1];
        let voxel = |v: usize| (100 * sequence + v / slice) as f32 + (v % slice) as f32 / 64.0;
        (0..slice * SHAPE[2]).map(voxel).collect()
    }

    fn stacked(edge: Edge, slices: &[usize]) -> Vec<f32> {
        let (first, third) = (telling(0), telling(2));
        let sequences = Sequences { voxels: &[Some(&first), None, Some(&third)], shape: SHAPE };
        let mut out = vec![f32::NAN; slices.len() * SHAPE[0] * SHAPE[1] * 21];
        fill(sequences, Rule { slices: 7, edge }, slices, &mut out);
        out
    }

    #[test]
    fn channels_run_sequence_by_sequence_and_repeat_the_outer_slices() {
        let out = stacked(Edge::Clamp, &[1]);
        assert_eq!(&out[..7], &[0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(&out[7..14], &[0.0; 7], "an absent sequence is zero");
        assert_eq!(&out[14..21], &[200.0, 200.0, 200.0, 201.0, 202.0, 203.0, 204.0]);
        let out = stacked(Edge::Clamp, &[4]);
        assert_eq!(&out[..7], &[1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0]);
    }

    #[test]
    fn beyond_the_edge_may_be_zero() {
        assert_eq!(&stacked(Edge::Zero, &[1])[14..21], &[0.0, 0.0, 200.0, 201.0, 202.0, 203.0, 204.0]);
        assert_eq!(&stacked(Edge::Zero, &[4])[..7], &[1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn voxels_keep_their_place_in_the_slice() {
        let out = stacked(Edge::Clamp, &[3, 0]);
        let centre = |batch: usize, j: usize, i: usize| out[((batch * 8 + j) * 4 + i) * 21 + 3];
        assert_eq!(centre(0, 5, 2), 3.0 + (2 + 4 * 5) as f32 / 64.0);
        assert_eq!(centre(1, 7, 3), 0.0 + (3 + 4 * 7) as f32 / 64.0);
    }
}
