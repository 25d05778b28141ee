//! Runs of voxels along `i`, and the union-find that joins those that touch.

use super::Connectivity;
use std::ops::Range;

/// Voxels looked at in one step: the bits of a word.
const WORD: usize = 64;

/// Voxels `begin..end` of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) begin: u32,
    pub(super) end: u32,
}

/// The runs of some planes, joined among themselves.
pub(super) struct Slab {
    pub(super) spans: Vec<Span>,
    /// First run of each row.
    pub(super) rows: Vec<u32>,
    /// An earlier run of the same component, or the run itself.
    pub(super) parents: Vec<u32>,
}

/// Finds and joins the runs of some planes.
pub(super) fn find_slab(
    shape: [usize; 3],
    planes: Range<usize>,
    connectivity: Connectivity,
    fill: &(impl Fn(usize, &mut [u8]) + Sync),
) -> Slab {
    let [nx, ny, _] = shape;
    let mut inside = vec![0u8; nx.next_multiple_of(WORD)];
    let mut slab = Slab { spans: Vec::new(), rows: Vec::new(), parents: Vec::new() };
    for row in planes.start * ny..planes.end * ny {
        slab.rows.push(count(&slab.spans));
        inside[..nx].fill(0);
        fill(row * nx, &mut inside[..nx]);
        push_spans(&inside, nx, &mut slab.spans);
    }
    slab.rows.push(count(&slab.spans));
    slab.parents = (0..count(&slab.spans)).collect();
    for k in 0..planes.len() {
        for j in 0..ny {
            join_rows(&slab.spans, &slab.rows, &mut slab.parents, [j, k], ny, connectivity, false);
        }
    }
    slab.rows.pop();
    slab
}

fn count(spans: &[Span]) -> u32 {
    u32::try_from(spans.len()).expect("fewer than 2^32 runs")
}

/// The runs of a row of 0 and 1, padded with 0 to whole words.
fn push_spans(inside: &[u8], nx: usize, spans: &mut Vec<Span>) {
    let mut before = 0u64;
    let mut begin = 0u32;
    for (word, voxels) in inside.chunks_exact(WORD).enumerate() {
        let bits = pack(voxels);
        if bits == 0 && before == 0 {
            continue;
        }
        // A 1 wherever a voxel differs from the one before it: begins and ends in turn.
        let mut edges = bits ^ (bits << 1 | before);
        let mut open = before == 1;
        while edges != 0 {
            let at = (word * WORD) as u32 + edges.trailing_zeros();
            if open {
                spans.push(Span { begin, end: at });
            } else {
                begin = at;
            }
            open = !open;
            edges &= edges - 1;
        }
        before = bits >> (WORD - 1);
    }
    if before == 1 {
        spans.push(Span { begin, end: nx as u32 });
    }
}

/// 64 voxels of 0 or 1 as bits, the first in the lowest.
fn pack(voxels: &[u8]) -> u64 {
    /// Moves the lowest bit of byte `n` to bit `n` of the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut bits = 0;
    for (at, eight) in voxels.as_chunks::<8>().0.iter().enumerate() {
        bits |= (u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56) << (8 * at);
    }
    bits
}

/// Joins the runs of row `[j, k]` with those that touch them in the rows before it: of the same plane and the last one, or
/// of the last plane alone where `border`.
pub(super) fn join_rows(
    spans: &[Span],
    rows: &[u32],
    parents: &mut [u32],
    [j, k]: [usize; 2],
    ny: usize,
    connectivity: Connectivity,
    border: bool,
) {
    let row = k * ny + j;
    let this = rows[row]..rows[row + 1];
    if this.is_empty() {
        return;
    }
    // How far apart along `i` voxels of two rows may be: rows that share a face, rows that share an edge.
    let (face, edge) = match connectivity {
        Connectivity::Faces6 => (0, None),
        Connectivity::Edges18 => (1, Some(0)),
        Connectivity::Corners26 => (1, Some(1)),
    };
    let mut join = |other: usize, reach| {
        let other = rows[other]..rows[other + 1];
        if !other.is_empty() {
            join_touching(spans, parents, this.clone(), other, reach);
        }
    };
    if j > 0 && !border {
        join(row - 1, face);
    }
    if k > 0 {
        join(row - ny, face);
        if let Some(reach) = edge {
            if j > 0 {
                join(row - ny - 1, reach);
            }
            if j + 1 < ny {
                join(row - ny + 1, reach);
            }
        }
    }
}

/// Joins the runs of two rows that come within `reach` voxels of each other: 0 side by side, 1 also diagonally.
fn join_touching(spans: &[Span], parents: &mut [u32], these: Range<u32>, others: Range<u32>, reach: u32) {
    let mut first = others.start;
    for this in these {
        let Span { begin, end } = spans[this as usize];
        while first < others.end && spans[first as usize].end + reach <= begin {
            first += 1;
        }
        let mut other = first;
        while other < others.end && spans[other as usize].begin < end + reach {
            join(parents, this, other);
            other += 1;
        }
    }
}

fn join(parents: &mut [u32], a: u32, b: u32) {
    let (a, b) = (root(parents, a), root(parents, b));
    // The earlier run stays the root, so that a component is numbered by its first voxel.
    parents[a.max(b) as usize] = a.min(b);
}

/// The first run of the component so far; shortens the way there.
fn root(parents: &mut [u32], mut run: u32) -> u32 {
    while parents[run as usize] != run {
        let above = parents[parents[run as usize] as usize];
        parents[run as usize] = above;
        run = above;
    }
    run
}
