//! Which slices a step reads, how they are turned, and which sequences they lose.
//!
//! All of it follows from the seed and the number of the step, so that a run that was killed goes on just as it would have.

use super::cohort::{Cached, FULL};
use super::{Options, Rule};
use crate::symmetry;
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
    /// The part of the slice that is read.
    pub(super) window: Window,
}

/// A part of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Its first voxel along `i` and `j`.
    pub(super) corner: [usize; 2],
    /// Voxels along `i` and `j`.
    pub(super) size: [usize; 2],
}

/// All slices that can be drawn.
#[derive(Debug)]
pub(super) struct Deck {
    /// `(case, slice)` of all with brain, and of those with a lesion.
    all: Vec<(usize, usize)>,
    with_lesion: Vec<(usize, usize)>,
}

impl Deck {
    pub(super) fn new(cases: &[Cached]) -> Self {
        let list = |of: fn(&Cached) -> &[usize]| {
            let each = |(place, case)| of(case).iter().map(move |slice| (place, *slice));
            cases.iter().enumerate().flat_map(each).collect()
        };
        Self { all: list(|case| &case.slices), with_lesion: list(|case| &case.with_lesion) }
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
            let sought = place < options.batch / 2;
            let deck = if sought { &self.with_lesion } else { &self.all };
            let (case, slice) = deck[random.below(deck.len())];
            let [width, height] = options.window(cases[case].shape);
            let symmetries = if width == height { 8 } else { 4 };
            let symmetry = if options.augment { random.below(symmetries) as u8 } else { 0 };
            let lost = lost(&cases[case], options, &mut random);
            let window = window(&cases[case], slice, [width, height], sought, &mut random);
            Frame { case, slice, symmetry, lost, window }
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

/// A window of `size` in a slice, no larger than the slice: anywhere, or, where a lesion is `sought`, over a voxel of one that is
/// drawn, which may lie anywhere in it.
fn window(case: &Cached, slice: usize, size: [usize; 2], sought: bool, random: &mut Random) -> Window {
    let [width, height, _] = case.shape;
    if size == [width, height] {
        return Window { corner: [0, 0], size };
    }
    let truth = &case.truth[slice * width * height..(slice + 1) * width * height];
    let lesion: Vec<usize> = (0..truth.len()).filter(|place| sought && truth[*place] != 0).collect();
    let target = (!lesion.is_empty()).then(|| lesion[random.below(lesion.len())]);
    let mut corner = |axis: usize| {
        let last = case.shape[axis] - size[axis];
        match target.map(|place| [place % width, place / width][axis]) {
            Some(voxel) => voxel.saturating_sub(random.below(size[axis])).min(last),
            None => random.below(last + 1),
        }
    };
    Window { corner: [corner(0), corner(1)], size }
}

/// Fills a lesson: the stacks around `frames` and the truth in them, as far as their windows go, which are of one size.
///
/// * `stack`: `[frames, height, width, slices * sequences]`, channel fastest; `truth`: `[frames, height, width]`.
pub(super) fn fill(frames: &[Frame], cases: &[Cached], rule: Rule, stack: &mut [f32], truth: &mut [f32]) {
    let Some([width, height]) = frames.first().map(|frame| frame.window.size) else { return };
    let channels = stack.len() / truth.len();
    let pairs = stack.chunks_exact_mut(width * height * channels).zip(truth.chunks_exact_mut(width * height));
    for (frame, (stack, truth)) in frames.iter().zip(pairs) {
        let case = &cases[frame.case];
        let slice_len = case.shape[0] * case.shape[1];
        let sources = sources(frame, case, rule, slice_len);
        let own = &case.truth[frame.slice * slice_len..(frame.slice + 1) * slice_len];
        for (place, (voxel, truth)) in stack.chunks_exact_mut(channels).zip(truth).enumerate() {
            let [i, j] = symmetry::source(place % width, place / width, width, height, frame.symmetry.into());
            let from = frame.window.corner[0] + i + case.shape[0] * (frame.window.corner[1] + j);
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
        let window = Window { corner: [0, 0], size: [4, 4] };
        Frame { case: 0, slice: 1, symmetry, lost: BTreeSet::new(), window }
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

    /// One sequence of 16 x 12 voxels, whose intensity is the voxel's place; the middle slice has a lesion of two voxels near a corner.
    fn wide() -> Cached {
        let slice: Vec<u8> = (0..192).collect();
        let mut truth = vec![0; 3 * 192];
        truth[192 + 14 + 16] = 1;
        truth[192 + 15 + 16] = 1;
        Cached {
            shape: [16, 12, 3],
            voxels: vec![Some(slice.repeat(3))],
            truth,
            slices: vec![0, 1, 2],
            with_lesion: vec![1],
        }
    }

    #[test]
    fn windows_lie_anywhere_within_a_slice_and_those_of_the_first_half_hold_a_lesion() {
        let cases = [wide()];
        let deck = Deck::new(&cases);
        let options = Options { batch: 8, crop: 8, ..Options::default() };
        let mut corners = [BTreeSet::new(), BTreeSet::new()];
        for step in 0..400 {
            for (place, frame) in deck.draw(step, &cases, &options).iter().enumerate() {
                let Window { corner: [i, j], size } = frame.window;
                assert!(size == [8, 8] && i <= 8 && j <= 4, "{frame:?}");
                if place < 4 {
                    let holds = |x: usize, y: usize| (i..i + 8).contains(&x) && (j..j + 8).contains(&y);
                    assert!(holds(14, 1) || holds(15, 1), "{frame:?}");
                }
                corners[place / 4].insert((i, j));
            }
        }
        // Along `i` from 7 on, along `j` 0 or 1; anywhere: all 9 x 5.
        assert_eq!(corners[0], [(7, 0), (7, 1), (8, 0), (8, 1)].into());
        assert_eq!(corners[1].len(), 45);
    }

    #[test]
    fn a_window_is_filled_with_what_lies_there_and_turned_in_itself() {
        let cases = [wide()];
        let window = Window { corner: [8, 0], size: [8, 8] };
        let mut seen = BTreeSet::new();
        for symmetry in 0..8 {
            let frame = Frame { window, ..frame(symmetry) };
            let (mut stack, mut truth) = (vec![0.0; 64 * 3], vec![0.0; 64]);
            fill(&[frame], &cases, RULE, &mut stack, &mut truth);
            let places: Vec<u8> = stack.chunks(3).map(|voxel| (voxel[1] * FULL).round() as u8).collect();
            let all: BTreeSet<u8> = places.iter().copied().collect();
            assert_eq!(all, (0..8).flat_map(|j| (8..16).map(move |i| i + 16 * j)).collect());
            for (place, truth) in places.iter().zip(&truth) {
                assert_eq!(f32::from(u8::from([30, 31].contains(place))), *truth);
            }
            seen.insert(places);
        }
        assert_eq!(seen.len(), 8);
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
