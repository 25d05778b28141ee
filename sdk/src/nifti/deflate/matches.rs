//! Finds what a block need not say again: runs, and what stands in the row above.

/// Bytes back to which a run is compared: a multiple of every voxel's size, so that it finds equal voxels of each.
const RUN: usize = 4;

/// Bytes that are looked at together.
const WORD: usize = size_of::<u64>();

/// The longest repetition that has a symbol.
const LONGEST: usize = 258;

/// The shortest repetition that has a symbol.
const SHORTEST: usize = 3;

/// The furthest that a repetition may reach back.
const WINDOW: usize = 1 << 15;

/// Bytes that stand for themselves, then some that stood there before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    pub(super) literals: u32,
    /// 3 to 258.
    pub(super) len: u16,
    /// Bytes back, 1 to 32768.
    pub(super) distance: u16,
}

/// Bytes back to which a block is compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Distances {
    row: Option<usize>,
}

impl Distances {
    /// * `row`: bytes of a row of voxels.
    pub(super) fn new(row: usize) -> Self {
        Self { row: (RUN + 1..=WINDOW).contains(&row).then_some(row) }
    }

    /// Bytes before a block that must be there.
    pub(super) fn reach(self) -> usize {
        self.row.unwrap_or(RUN)
    }

    /// What repeats in `bytes[from..]`. Whatever follows the last sequence stands for itself.
    ///
    /// Only whole words are compared, so each repetition of 15 bytes is found and few that are not worth their symbols: voxels of
    /// noise agree with others by chance.
    pub(super) fn find(self, bytes: &[u8], from: usize, out: &mut Vec<Sequence>) {
        let (mut told, mut at) = (from, from);
        while at + WORD <= bytes.len() {
            let Some(distance) = self.repeated(bytes, at) else {
                at += WORD;
                continue;
            };
            let start = at - common_before(&bytes[told..at], &bytes[..at - distance]);
            let len = at - start + common(&bytes[at..], &bytes[at - distance..]);
            at = start + tell(out, start - told, len, distance);
            told = at;
        }
    }

    /// How far back the same word stands; in the row above also the one after it.
    #[inline]
    fn repeated(self, bytes: &[u8], at: usize) -> Option<usize> {
        let here = word(bytes, at);
        if at >= RUN && word(bytes, at - RUN) == here {
            return Some(RUN);
        }
        let row = self.row.filter(|row| at >= *row && at + 2 * WORD <= bytes.len())?;
        let same = word(bytes, at - row) == here && word(bytes, at - row + WORD) == word(bytes, at + WORD);
        same.then_some(row)
    }
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    let (word, _) = bytes[at..].split_first_chunk().expect("a whole word");
    u64::from_le_bytes(*word)
}

/// Bytes at the beginning that two have in common.
fn common(a: &[u8], b: &[u8]) -> usize {
    let (a_words, b_words) = (a.as_chunks::<WORD>().0, b.as_chunks::<WORD>().0);
    let words = a_words.iter().zip(b_words).take_while(|(a, b)| a == b).count();
    let rest = a[WORD * words..].iter().zip(&b[WORD * words..]);
    WORD * words + rest.take_while(|(a, b)| a == b).count()
}

/// Bytes at the end that two have in common.
fn common_before(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

/// Cuts a repetition into those that have symbols; returns the bytes that are told with it.
fn tell(out: &mut Vec<Sequence>, literals: usize, len: usize, distance: usize) -> usize {
    let (mut literals, mut left) = (literals, len);
    while left >= SHORTEST {
        let len = left.min(LONGEST);
        out.push(Sequence { literals: literals as u32, len: len as u16, distance: distance as u16 });
        (literals, left) = (0, left - len);
    }
    len - left
}
