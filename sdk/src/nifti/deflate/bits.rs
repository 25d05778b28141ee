//! Bits on their way to bytes, the first one lowest.

use super::huffman::Code;

/// Literals between two looks at the bits that wait: with codes of [`super::LONGEST_CODE`] bits they fit into a word.
const TOGETHER: usize = 4;

/// Bytes behind the last one that a write may touch.
const SLACK: usize = size_of::<u64>();

#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    len: usize,
    waiting: u64,
    count: u32,
}

impl Bits {
    /// Forgets the whole bytes, keeps the bits that wait, and makes room.
    pub(super) fn begin(&mut self, bytes: usize) {
        self.len = 0;
        let needed = bytes + 2 * SLACK;
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
    }

    /// The whole bytes since [`Self::begin`].
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// * `count`: up to 56, and no bit of `bits` above it is set.
    #[inline]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        self.waiting |= bits << self.count;
        self.count += count;
        self.bytes[self.len..][..SLACK].copy_from_slice(&self.waiting.to_le_bytes());
        let whole = self.count / 8;
        self.len += whole as usize;
        self.waiting >>= 8 * whole;
        self.count %= 8;
    }

    /// A code, then `extra` bits that belong to it.
    #[inline]
    pub(super) fn code(&mut self, code: Code, extra: u16, extra_bits: u32) {
        let len = u32::from(code.len);
        self.put(u64::from(code.bits) | u64::from(extra) << len, len + extra_bits);
    }

    /// Fills the last byte with zeros.
    pub(super) fn align(&mut self) {
        self.put(0, self.count.next_multiple_of(8) - self.count);
    }

    /// Whole bytes, after [`Self::align`].
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// The codes of many bytes: nearly all the time of a write goes by here.
    pub(super) fn literals(&mut self, literals: &[u8], codes: &[Code; 256]) {
        let (groups, rest) = literals.as_chunks::<TOGETHER>();
        let (mut waiting, mut count, mut len) = (self.waiting, self.count, self.len);
        let bytes = &mut self.bytes[..];
        for group in groups {
            // Pairs of pairs: what does not wait for the bits before is done beside them.
            let [a, b, c, d] = group.map(|byte| codes[usize::from(byte)]);
            let (first, second) = (joined(a, b), joined(c, d));
            waiting |= (first.0 | second.0 << first.1) << count;
            count += first.1 + second.1;
            bytes[len..][..SLACK].copy_from_slice(&waiting.to_le_bytes());
            let whole = count / 8;
            len += whole as usize;
            waiting >>= 8 * whole;
            count %= 8;
        }
        (self.waiting, self.count, self.len) = (waiting, count, len);
        for byte in rest {
            self.code(codes[usize::from(*byte)], 0, 0);
        }
    }
}

/// Two codes as one: bits and their number.
#[inline]
fn joined(a: Code, b: Code) -> (u64, u32) {
    let len = u32::from(a.len);
    (u64::from(a.bits) | u64::from(b.bits) << len, len + u32::from(b.len))
}
