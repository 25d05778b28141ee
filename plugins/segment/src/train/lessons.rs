//! Which slices a step reads, how they are turned, and which sequences they lose.
//!
//! All of it follows from the seed and the number of the step, so that a run that was killed goes on just as it would have.

use super::cohort::{Cached, FULL};
use super::{Options, Rule};
use std::collections::BTreeSet;

/// splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

/// splitmix64's step: 2^64 over the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    pub(super) const fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed.wrapping_mul(GOLDEN) ^ mix(stream.wrapping_add(GOLDEN))))
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A whole number below `limit`, which is at least 1; the bias of the remainder is below limit / 2^64.
    const fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A number in 0..1.
    const fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number that tells subjects apart by their names, for a seed.
pub(super) fn hash(seed: u64, text: &str) -> u64 {
    text.bytes().fold(Random::new(seed, 0).next(), |hash, byte| mix(hash ^ u64::from(byte)))
}

/// A slice of a case, as a step reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Place of the case.
    pub(super) case: usize,
    /// Index along `k`.
    pub(super) slice: usize,
    /// One of the square's eight symmetries: bit 0 turns `i` round, bit 1 `j`, bit 2 exchanges them.
    pub(super) symmetry: u8,
    /// Sequences that it loses.
    pub(super) lost: BTreeSet<usize>,
}

/// All slices that can be drawn.
#[derive(Debug)]
pub(super) struct Deck {
    /// `(case, slice)` of all with brain, and of those with a lesion.
    all: Vec<(usize, usize)>,
    with_lesion: Vec<(usize, usize)>,
    square: bool,
}

impl Deck {
    pub(super) fn new(cases: &[Cached]) -> Self {
        let list = |of: fn(&Cached) -> &[usize]| {
            let each = |(place, case)| of(case).iter().map(move |slice| (place, *slice));
            cases.iter().enumerate().flat_map(each).collect()
        };
        let square = cases.iter().all(|case| case.shape[0] == case.shape[1]);
        Self { all: list(|case| &case.slices), with_lesion: list(|case| &case.with_lesion), square }
    }

    /// Slices with brain.
    pub(super) const fn len(&self) -> usize {
        self.all.len()
    }

    /// Slices with a lesion.
    pub(super) const fn with_lesion(&self) -> usize {
        self.with_lesion.len()
    }

    /// The slices of one step: the first half has lesions, the others are any.
    pub(super) fn draw(&self, step: usize, cases: &[Cached], options: &Options) -> Vec<Frame> {
        let mut random = Random::new(options.seed, step as u64 + 1);
        let frame = |place: usize| {
            let deck = if place < options.batch / 2 { &self.with_lesion } else { &self.all };
            let (case, slice) = deck[random.below(deck.len())];
            let symmetries = if self.square { 8 } else { 4 };
            let symmetry = if options.augment { random.below(symmetries) as u8 } else { 0 };
            let lost = lost(&cases[case], options, &mut random);
            Frame { case, slice, symmetry, lost }
        };
        (0..options.batch).map(frame).collect()
    }
}

/// Input-level dropout: with a probability a sample loses a random set of its sequences, neither none nor all, and never the
/// last of those of which the model needs one.
///
/// Source: Grøvik et al., npj Digit Med 4:33, 2021.
fn lost(case: &Cached, options: &Options, random: &mut Random) -> BTreeSet<usize> {
    let present: Vec<usize> = (0..case.voxels.len()).filter(|s| case.voxels[*s].is_some()).collect();
    if random.unit() >= options.dropout || present.len() < 2 {
        return BTreeSet::new();
    }
    let needed: Vec<usize> =
        present.iter().copied().filter(|s| options.one_of.contains(&options.channels[*s])).collect();
    loop {
        let subset = 1 + random.below((1 << present.len()) - 2);
        let lost: BTreeSet<usize> =
            (0..present.len()).filter(|n| subset >> n & 1 == 1).map(|n| present[n]).collect();
        if needed.is_empty() || needed.iter().any(|sequence| !lost.contains(sequence)) {
            return lost;
        }
    }
}

/// Fills a lesson: the stacks around `frames` and the truth in them.
///
/// * `stack`: `[frames, height, width, slices * sequences]`, channel fastest; `truth`: `[frames, height, width]`.
pub(super) fn fill(frames: &[Frame], cases: &[Cached], rule: Rule, stack: &mut [f32], truth: &mut [f32]) {
    let Some([width, height, _]) = frames.first().map(|frame| cases[frame.case].shape) else { return };
    let slice_len = width * height;
    let channels = stack.len() / truth.len();
    let pairs = stack.chunks_exact_mut(slice_len * channels).zip(truth.chunks_exact_mut(slice_len));
    for (frame, (stack, truth)) in frames.iter().zip(pairs) {
        let case = &cases[frame.case];
        let sources = sources(frame, case, rule, slice_len);
        let own = &case.truth[frame.slice * slice_len..(frame.slice + 1) * slice_len];
        for (place, (voxel, truth)) in stack.chunks_exact_mut(channels).zip(truth).enumerate() {
            let from = turned(place % width, place / width, width, height, frame.symmetry);
            *truth = f32::from(own[from]);
            for (channel, source) in voxel.iter_mut().zip(&sources) {
                *channel = source.map_or(0.0, |source| f32::from(source[from]) / FULL);
            }
        }
    }
}

/// For each channel of a stack the slice it shows; `None` for zeros.
fn sources<'a>(frame: &Frame, case: &'a Cached, rule: Rule, slice_len: usize) -> Vec<Option<&'a [u8]>> {
    let of = |(sequence, voxels): (usize, &'a Option<Vec<u8>>)| {
        let voxels = voxels.as_deref().filter(|_| !frame.lost.contains(&sequence));
        (0..rule.slices).map(move |offset| {
            let slice = rule.source(frame.slice, offset, case.shape[2])?;
            voxels.map(|voxels| &voxels[slice * slice_len..(slice + 1) * slice_len])
        })
    };
    case.voxels.iter().enumerate().flat_map(of).collect()
}

/// Where in a slice the voxel `(i, j)` of the turned slice comes from.
const fn turned(i: usize, j: usize, width: usize, height: usize, symmetry: u8) -> usize {
    let (i, j) = if symmetry & 4 == 0 { (i, j) } else { (j, i) };
    let i = if symmetry & 1 == 0 { i } else { width - 1 - i };
    let j = if symmetry & 2 == 0 { j } else { height - 1 - j };
    i + width * j
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Edge;

    const RULE: Rule = Rule { slices: 3, edge: Edge::Clamp };

    /// Two sequences of 4 x 4 x 3, the second absent; slice 1 has a lesion.
    fn case() -> Cached {
        let voxels: Vec<u8> = (0..48).collect();
        let truth = (0..48).map(|v| u8::from((20..23).contains(&v))).collect();
        Cached {
            shape: [4, 4, 3],
            voxels: vec![Some(voxels), None],
            truth,
            slices: vec![0, 1, 2],
            with_lesion: vec![1],
        }
    }

    fn frame(symmetry: u8) -> Frame {
        Frame { case: 0, slice: 1, symmetry, lost: BTreeSet::new() }
    }

    #[test]
    fn eight_symmetries_move_slices_and_truth_alike_and_all_differ() {
        let cases = [case()];
        let mut seen = BTreeSet::new();
        for symmetry in 0..8 {
            let (mut stack, mut truth) = (vec![0.0; 16 * 6], vec![0.0; 16]);
            fill(&[frame(symmetry)], &cases, RULE, &mut stack, &mut truth);
            let centre: Vec<u8> = stack.chunks(6).map(|voxel| (voxel[1] * FULL).round() as u8).collect();
            for (value, truth) in centre.iter().zip(&truth) {
                assert_eq!(f32::from(u8::from((20..23).contains(value))), *truth);
            }
            assert!(
                stack
                    .chunks(6)
                    .all(|voxel| voxel[0] + 16.0 / FULL - voxel[1] < 1e-6 && voxel[3..] == [0.0; 3])
            );
            seen.insert(centre);
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn half_of_a_step_has_lesions_and_the_step_alone_tells_what_is_drawn() {
        let cases = [case()];
        let deck = Deck::new(&cases);
        let options = Options { batch: 8, ..Options::default() };
        let first = deck.draw(5, &cases, &options);
        assert!(first[..4].iter().all(|frame| frame.slice == 1));
        assert_eq!(deck.draw(5, &cases, &options), first);
        assert_ne!(deck.draw(6, &cases, &options), first);
        let slices: BTreeSet<usize> =
            (0..20).flat_map(|step| deck.draw(step, &cases, &options)).map(|frame| frame.slice).collect();
        assert_eq!(slices.len(), 3);
    }

    #[test]
    fn dropout_leaves_something_and_one_of_the_sequences_that_are_needed() {
        let case = Cached { voxels: vec![Some(vec![0; 48]); 4], ..case() };
        let options = Options { dropout: 0.5, ..Options::default() };
        let mut random = Random::new(1, 1);
        let drawn: Vec<BTreeSet<usize>> = (0..4000).map(|_| lost(&case, &options, &mut random)).collect();
        // Channels 1 and 2 are the post-contrast ones.
        assert!(drawn.iter().all(|lost| lost.len() < 4 && !(lost.contains(&1) && lost.contains(&2))));
        let share = drawn.iter().filter(|lost| !lost.is_empty()).count() as f64 / 4000.0;
        assert!((share - 0.5).abs() < 0.04, "{share}");
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 1 + 11, "14 subsets but three");
    }
}
