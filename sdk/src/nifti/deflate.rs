//! Packs voxels as a deflate stream, for speed.
//!
//! Measured voxels are noise in their low bits: looking for earlier voxels of the same values, as general encoders do, takes most of
//! their time and saves little. Here each byte gets the code that its frequency in the block asks for, and only two kinds of
//! repetition are looked for, at fixed places: runs of equal voxels (the background) and what stands in the row above (masks, labels).
//! A block that would not shrink is stored.
//!
//! Source: RFC 1951, P. Deutsch, "DEFLATE compressed data format specification version 1.3", 1996.

mod bits;
mod huffman;
mod matches;
#[cfg(test)]
mod tests;

use bits::Bits;
use huffman::{Code, codes, lengths};
use matches::{Distances, Sequence};

/// Bytes that share their codes: with more the codes fit less, with fewer there are more of them to tell. Half of a second-level
/// cache.
pub(super) const BLOCK: usize = 1 << 17;

/// Bits of the longest code of a byte or a repetition, 3 below what the format has: so four fit into a word.
const LONGEST_CODE: usize = 12;

/// Bits of the longest code of a code length (RFC 1951 section 3.2.7).
const LONGEST_LENGTH_CODE: usize = 7;

/// Bytes, the end of a block, and lengths of repetitions.
const SYMBOLS: usize = 286;

/// The symbol at the end of a block.
const END: usize = 256;

/// Symbols of distances.
const DISTANCES: usize = 30;

/// Code lengths, and repetitions of them.
const LENGTH_SYMBOLS: usize = 19;

/// In which order the lengths of their codes are told (RFC 1951 section 3.2.7).
const LENGTHS_ORDER: [usize; LENGTH_SYMBOLS] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Type of a block that tells its own codes.
const DYNAMIC: u64 = 2;

/// Bytes of a stored piece at most.
const LONGEST_STORED: usize = u16::MAX as usize;

/// Bytes that a stored piece takes besides, at most: three bits, what is left of their byte, and twice the length.
const STORED_BYTES: usize = 6;

/// Turns the blocks of a stream, one after the other, into bytes.
#[derive(Debug)]
pub(super) struct Deflater {
    distances: Distances,
    sequences: Vec<Sequence>,
    bits: Bits,
}

impl Deflater {
    /// * `row`: bytes of a row of voxels.
    pub(super) fn new(row: usize) -> Self {
        Self { distances: Distances::new(row), sequences: Vec::new(), bits: Bits::default() }
    }

    /// Bytes before a block that [`Self::block`] looks at: fewer are allowed, and pack less.
    pub(super) fn reach(&self) -> usize {
        self.distances.reach()
    }

    /// Packs `bytes[from..]`, of which there are any number; `bytes[..from]` is what stood before.
    ///
    /// Returns the bytes that are complete; the `last` block completes the stream.
    pub(super) fn block(&mut self, bytes: &[u8], from: usize, last: bool) -> &[u8] {
        let block = &bytes[from..];
        self.sequences.clear();
        self.distances.find(bytes, from, &mut self.sequences);
        let mut counts = Counts::of(block, &self.sequences);
        let code = BlockCode::new(&mut counts);
        let (packed, stored) = (code.bits(&counts).div_ceil(8), stored_bytes(block.len()));
        self.bits.begin(packed.min(stored));
        if packed < stored {
            self.bits.put(u64::from(last) | DYNAMIC << 1, 3);
            code.tell(&mut self.bits);
            self.packed(block, &code);
        } else {
            self.stored(block, last);
        }
        if last {
            self.bits.align();
        }
        self.bits.whole()
    }

    fn packed(&mut self, block: &[u8], code: &BlockCode) {
        let literals = code.symbols.first_chunk().expect("the first symbols are bytes");
        let mut at = 0;
        for sequence in &self.sequences {
            let end = at + sequence.literals as usize;
            self.bits.literals(&block[at..end], literals);
            let (symbol, extra, bits) = length_symbol(sequence.len);
            self.bits.code(code.symbols[symbol], extra, bits);
            let (symbol, extra, bits) = distance_symbol(sequence.distance);
            self.bits.code(code.distances[symbol], extra, bits);
            at = end + usize::from(sequence.len);
        }
        self.bits.literals(&block[at..], literals);
        self.bits.code(code.symbols[END], 0, 0);
    }

    fn stored(&mut self, block: &[u8], last: bool) {
        let (mut left, mut done) = (block, false);
        while !done {
            let (piece, rest) = left.split_at(left.len().min(LONGEST_STORED));
            (left, done) = (rest, rest.is_empty());
            self.bits.put(u64::from(last && done), 3);
            self.bits.align();
            let len = piece.len() as u16;
            self.bits.put(u64::from(len) | u64::from(!len) << 16, 32);
            self.bits.bytes(piece);
        }
    }
}

/// Bytes that a block takes when it is stored, at most.
fn stored_bytes(len: usize) -> usize {
    len + len.div_ceil(LONGEST_STORED).max(1) * STORED_BYTES
}

/// How often each symbol stands in a block.
struct Counts {
    symbols: [u32; SYMBOLS],
    distances: [u32; DISTANCES],
}

impl Counts {
    fn of(block: &[u8], sequences: &[Sequence]) -> Self {
        // Tables in turn: equal neighbours then need not wait for each other.
        let mut tables = [[0u32; 256]; 4];
        let mut see = |literals: &[u8]| {
            let (groups, rest) = literals.as_chunks::<4>();
            for group in groups {
                tables.iter_mut().zip(group).for_each(|(table, byte)| table[usize::from(*byte)] += 1);
            }
            for byte in rest {
                tables[0][usize::from(*byte)] += 1;
            }
        };
        let mut counts = Self { symbols: [0; SYMBOLS], distances: [0; DISTANCES] };
        let mut at = 0;
        for sequence in sequences {
            let end = at + sequence.literals as usize;
            see(&block[at..end]);
            at = end + usize::from(sequence.len);
            counts.symbols[length_symbol(sequence.len).0] += 1;
            counts.distances[distance_symbol(sequence.distance).0] += 1;
        }
        see(&block[at..]);
        for (byte, sum) in counts.symbols[..END].iter_mut().enumerate() {
            *sum = tables.iter().map(|table| table[byte]).sum();
        }
        counts.symbols[END] = 1;
        counts
    }
}

/// Symbol of a length, what is added to its smallest, and the bits that this takes (RFC 1951 section 3.2.5).
fn length_symbol(len: u16) -> (usize, u16, u32) {
    let above = len - 3;
    match above {
        255 => (285, 0, 0),
        0..8 => (257 + usize::from(above), 0, 0),
        _ => {
            // Four symbols for each power of two.
            let bits = above.ilog2() - 2;
            (257 + 4 * (bits as usize + 1) + usize::from(above >> bits & 3), above & ((1 << bits) - 1), bits)
        }
    }
}

/// The same of a distance.
fn distance_symbol(distance: u16) -> (usize, u16, u32) {
    let above = distance - 1;
    if above < 4 {
        return (above.into(), 0, 0);
    }
    // Two symbols for each power of two.
    let bits = above.ilog2() - 1;
    (2 * (bits as usize + 1) + usize::from(above >> bits & 1), above & ((1 << bits) - 1), bits)
}

/// The codes of a block.
struct BlockCode {
    symbols: Vec<Code>,
    distances: Vec<Code>,
    /// Lengths of both, with repetitions: a symbol and its extra bits.
    told: Vec<(u8, u16)>,
    /// The codes of these symbols.
    of_lengths: Vec<Code>,
}

impl BlockCode {
    /// Counts of symbols that do not occur may become 1: two at least have codes.
    fn new(counts: &mut Counts) -> Self {
        let mut all = lengths(&mut counts.symbols, LONGEST_CODE);
        let symbols = codes(&all);
        let of_distances = lengths(&mut counts.distances, LONGEST_CODE);
        let distances = codes(&of_distances);
        all.extend(of_distances);
        let told = shortened(&all);
        let mut counts = [0; LENGTH_SYMBOLS];
        for (symbol, _) in &told {
            counts[usize::from(*symbol)] += 1;
        }
        let of_lengths = codes(&lengths(&mut counts, LONGEST_LENGTH_CODE));
        Self { symbols, distances, told, of_lengths }
    }

    /// Bits that a block with these counts takes.
    fn bits(&self, counts: &Counts) -> usize {
        let all = |counts: &[u32], codes: &[Code], extra: &dyn Fn(usize) -> usize| -> usize {
            let each = counts.iter().zip(codes).enumerate();
            each.map(|(n, (count, code))| *count as usize * (usize::from(code.len) + extra(n))).sum()
        };
        let of_length = |n: usize| {
            if (END + 1..SYMBOLS - 1).contains(&n) { ((n - END - 1) / 4).saturating_sub(1) } else { 0 }
        };
        let of_distance = |n: usize| (n / 2).saturating_sub(1);
        let told: usize = self
            .told
            .iter()
            .map(|(n, _)| usize::from(self.of_lengths[usize::from(*n)].len) + extra_bits(*n) as usize)
            .sum();
        let head = 3 + 14 + 3 * LENGTH_SYMBOLS + told;
        head + all(&counts.symbols, &self.symbols, &of_length)
            + all(&counts.distances, &self.distances, &of_distance)
    }

    /// Tells the lengths of all codes (RFC 1951 section 3.2.7).
    fn tell(&self, bits: &mut Bits) {
        let last = LENGTHS_ORDER.iter().rposition(|n| self.of_lengths[*n].len > 0);
        let count = last.map_or(4, |last| (last + 1).max(4));
        bits.put((SYMBOLS - 257) as u64 | (DISTANCES as u64 - 1) << 5 | (count as u64 - 4) << 10, 14);
        for n in &LENGTHS_ORDER[..count] {
            bits.put(self.of_lengths[*n].len.into(), 3);
        }
        for (symbol, extra) in &self.told {
            bits.code(self.of_lengths[usize::from(*symbol)], *extra, extra_bits(*symbol));
        }
    }
}

/// Bits after a symbol of the code lengths.
fn extra_bits(symbol: u8) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

/// Code lengths with symbols for runs: 16 repeats the one before 3 to 6 times, 17 and 18 are 3 to 10 and 11 to 138 zeros.
fn shortened(lengths: &[u8]) -> Vec<(u8, u16)> {
    let mut out = Vec::new();
    for run in lengths.chunk_by(|a, b| a == b) {
        let (value, mut left) = (run[0], run.len());
        if value > 0 {
            out.push((value, 0));
            left -= 1;
        }
        while left >= 3 {
            let (symbol, least, most) = match (value, left) {
                (0, 11..) => (18, 11, 138),
                (0, _) => (17, 3, 10),
                _ => (16, 3, 6),
            };
            let taken = left.min(most);
            out.push((symbol, (taken - least) as u16));
            left -= taken;
        }
        out.extend(std::iter::repeat_n((value, 0), left));
    }
    out
}
