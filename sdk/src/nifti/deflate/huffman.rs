//! Prefix codes of limited length.
//!
//! Source: A. Moffat, J. Katajainen, "In-place calculation of minimum-redundancy codes", WADS 1995, for lengths from sorted counts
//! with two queues; RFC 1951 section 3.2.2 for the codes that belong to the lengths.

/// The code of one symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Code {
    /// Its bits, the first one lowest.
    pub(super) bits: u16,
    /// How many they are; 0 for a symbol that does not occur.
    pub(super) len: u16,
}

/// Lengths of the codes for symbols that occur so often, none above `limit` bits; a symbol with count 0 has length 0.
///
/// At least two symbols get a code, whether or not they occur: then the code is complete, as all decoders want it.
pub(super) fn lengths(counts: &mut [u32], limit: usize) -> Vec<u8> {
    for symbol in 0..2 {
        if counts.iter().filter(|count| **count > 0).count() < 2 {
            counts[symbol] = counts[symbol].max(1);
        }
    }
    let mut sorted: Vec<(u32, usize)> =
        counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(n, count)| (*count, n)).collect();
    sorted.sort_unstable();
    let mut of_len = depths(&sorted);
    shorten(&mut of_len, limit);
    let mut lengths = vec![0; counts.len()];
    // The rarest have the longest codes.
    let long_first = (1..=limit).rev().flat_map(|len| std::iter::repeat_n(len, of_len[len] as usize));
    for (&(_, symbol), len) in sorted.iter().zip(long_first) {
        lengths[symbol] = len as u8;
    }
    lengths
}

/// How many leaves of the cheapest tree lie at each depth; * `sorted`: at least two counts, the smallest first.
fn depths(sorted: &[(u32, usize)]) -> Vec<u32> {
    let leaves = sorted.len();
    // Nodes are made in the order of their weights: the leaves and the inner nodes are two queues that are sorted already.
    let mut weight: Vec<u64> = Vec::with_capacity(leaves - 1);
    let mut parent = vec![0usize; 2 * leaves - 1];
    let (mut leaf, mut inner) = (0, 0);
    for made in 0..leaves - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            if leaf < leaves && (inner == made || u64::from(sorted[leaf].0) <= weight[inner]) {
                parent[leaf] = leaves + made;
                sum += u64::from(sorted[leaf].0);
                leaf += 1;
            } else {
                parent[leaves + inner] = leaves + made;
                sum += weight[inner];
                inner += 1;
            }
        }
        weight.push(sum);
    }
    let mut depth = vec![0usize; 2 * leaves - 1];
    let mut of_depth = vec![0u32; leaves.max(2)];
    for node in (0..2 * leaves - 2).rev() {
        depth[node] = depth[parent[node]] + 1;
        if node < leaves {
            of_depth[depth[node]] += 1;
        }
    }
    of_depth
}

/// Brings codes that are too long down to `limit`, and makes room for them by lengthening shorter ones.
fn shorten(of_len: &mut Vec<u32>, limit: usize) {
    let beyond: u32 = of_len.iter().skip(limit + 1).sum();
    of_len.resize(limit + 1, 0);
    of_len[limit] += beyond;
    // In units of the longest code's share of all codes.
    let mut taken: u32 = (1..=limit).map(|len| of_len[len] << (limit - len)).sum();
    while taken > 1 << limit {
        let shorter =
            (1..limit).rev().find(|len| of_len[*len] > 0).expect("fewer symbols than codes of the limit");
        of_len[limit] -= 1;
        of_len[shorter] -= 1;
        of_len[shorter + 1] += 2;
        taken -= 1;
    }
}

/// The codes that belong to lengths: shorter first, of one length in the order of the symbols.
pub(super) fn codes(lengths: &[u8]) -> Vec<Code> {
    let longest = lengths.iter().copied().max().unwrap_or(0).into();
    let mut codes = vec![Code::default(); lengths.len()];
    let mut next = 0u16;
    for len in 1..=longest {
        next <<= 1;
        for (code, _) in codes.iter_mut().zip(lengths).filter(|(_, length)| u16::from(**length) == len) {
            *code = Code { bits: next.reverse_bits() >> (16 - len), len };
            next += 1;
        }
    }
    codes
}
