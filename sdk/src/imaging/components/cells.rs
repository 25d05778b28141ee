//! Rows as bits, cells of rows, and the union-find that joins the pieces of cells that touch.
//!
//! A **cell** is 64 columns of voxels along `i`, and `size` x `size` rows across. A column is set if one of its voxels is; a
//! **piece** is a run of set columns. With `size` 2 all voxels of two neighbouring columns touch by a corner at least, so that
//! under connectivity 26 a piece is connected whatever its voxels are; the other connectivities have `size` 1, where a piece is
//! a run of voxels. Which pieces of two cells touch is then a matter of a few operations on words.

use super::{Connectivity, Statistics};
use std::ops::Range;

/// Columns of a cell: the bits of a word.
pub(super) const WORD: usize = 64;

/// Runs of set bits of a word, from the lowest: first bit, and the bits themselves.
pub(super) struct Runs(pub(super) u64);

impl Iterator for Runs {
    type Item = (u32, u64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0 == 0 {
            return None;
        }
        let begin = self.0.trailing_zeros();
        // Adding to the lowest run's first bit clears the run and carries beyond it.
        let run = self.0 & !self.0.wrapping_add(1 << begin);
        self.0 &= !run;
        Some((begin, run))
    }
}

/// How rows are put into cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) shape: [usize; 3],
    /// Rows of a cell along `j` and along `k`.
    pub(super) size: usize,
    /// Words of a row.
    pub(super) words: usize,
    /// Cells along `j`.
    pub(super) across: usize,
    /// How far apart along `i` voxels may be that touch: those of rows that share a face, of rows that share an edge.
    reach: (bool, Option<bool>),
}

impl Layout {
    pub(super) fn new(shape: [usize; 3], connectivity: Connectivity) -> Self {
        let (size, reach) = match connectivity {
            Connectivity::Faces6 => (1, (false, None)),
            Connectivity::Edges18 => (1, (true, Some(false))),
            Connectivity::Corners26 => (2, (true, Some(true))),
        };
        Self { shape, size, words: shape[0].div_ceil(WORD), across: shape[1].div_ceil(size), reach }
    }

    /// The cell of a word of a row, counted from the first cell of plane 0.
    pub(super) const fn cell(&self, [j, k]: [usize; 2], word: usize) -> usize {
        (k / self.size * self.across + j / self.size) * self.words + word
    }
}

/// Some planes: their voxels as bits, their cells, and the components that they have by themselves.
pub(super) struct Slab {
    /// `[k][j][word]`.
    pub(super) bits: Vec<u64>,
    /// Set columns of each cell, `[k / size][j / size][word]`.
    pub(super) columns: Vec<u64>,
    /// First piece of each cell.
    pub(super) first: Vec<u32>,
    /// Component of each piece, from 0, in the order of their first pieces.
    pub(super) component: Vec<u32>,
    pub(super) statistics: Vec<Statistics>,
}

/// Finds the components of some planes, which begin with a cell.
pub(super) fn find_slab(
    layout: Layout,
    planes: Range<usize>,
    fill: &(impl Fn(usize, &mut [u8]) + Sync),
) -> Slab {
    let [nx, ny, _] = layout.shape;
    let rows = planes.start * ny..planes.end * ny;
    let mut bits = vec![0; rows.len() * layout.words];
    let mut inside = vec![0u8; nx.next_multiple_of(WORD)];
    for (row, bits) in rows.zip(bits.chunks_exact_mut(layout.words.max(1))) {
        inside[..nx].fill(0);
        fill(row * nx, &mut inside[..nx]);
        for (bits, voxels) in bits.iter_mut().zip(inside.chunks_exact(WORD)) {
            *bits = pack(voxels);
        }
    }
    let layout = Layout { shape: [nx, ny, planes.len()], ..layout };
    let (columns, first) = columns(&layout, &bits);
    let pieces = first.last().copied().unwrap_or(0);
    let cells = Cells { layout: &layout, bits: &bits, columns: &columns, first: &first };
    let mut parents: Vec<u32> = (0..pieces).collect();
    for k in 0..planes.len().div_ceil(layout.size) {
        for j in 0..layout.across {
            for word in 0..layout.words {
                cells.join(&mut parents, [j, k], word);
            }
        }
    }
    let count = number(&mut parents);
    let mut statistics = vec![Statistics::NONE; count];
    for (row, bits) in bits.chunks_exact(layout.words.max(1)).enumerate() {
        let [j, k] = [row % ny, row / ny];
        let mut offset = (planes.start * ny + row) * nx;
        for (word, &bits) in bits.iter().enumerate() {
            let cell = layout.cell([j, k], word);
            for_runs(bits, columns[cell], &parents[first[cell] as usize..], |piece, begin, end| {
                let place = [word * WORD + begin, j, planes.start + k];
                statistics[piece as usize].add(place, end - begin, offset + begin);
            });
            offset += WORD;
        }
    }
    Slab { bits, columns, first, component: parents, statistics }
}

/// Tells `of` of every run of voxels of a word: what its piece is in `pieces`, first and last bit.
#[inline]
pub(super) fn for_runs(bits: u64, columns: u64, pieces: &[u32], mut of: impl FnMut(u32, usize, usize)) {
    if bits == 0 {
        return;
    }
    for ((_, piece), &of_piece) in Runs(columns).zip(pieces) {
        for (begin, run) in Runs(bits & piece) {
            let end = WORD - run.leading_zeros() as usize;
            of(of_piece, begin as usize, end);
        }
    }
}

/// 64 voxels of 0 or 1 as bits, the first in the lowest.
fn pack(voxels: &[u8]) -> u64 {
    /// Moves the lowest bit of byte `n` to bit `n` of the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let eights = voxels.as_chunks::<8>().0;
    // Most of an image is background.
    if eights.iter().fold(0, |any, eight| any | u64::from_le_bytes(*eight)) == 0 {
        return 0;
    }
    let mut bits = 0;
    for (at, eight) in eights.iter().enumerate() {
        bits |= (u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56) << (8 * at);
    }
    bits
}

/// Set columns of each cell, and its first piece; one more `first` closes the list.
fn columns(layout: &Layout, bits: &[u64]) -> (Vec<u64>, Vec<u32>) {
    let [_, ny, nz] = layout.shape;
    let mut columns = vec![0; nz.div_ceil(layout.size) * layout.across * layout.words];
    for (row, bits) in bits.chunks_exact(layout.words.max(1)).enumerate() {
        let cell = layout.cell([row % ny, row / ny], 0);
        for (columns, bits) in columns[cell..].iter_mut().zip(bits) {
            *columns |= bits;
        }
    }
    let mut pieces = 0;
    let mut first = Vec::with_capacity(columns.len() + 1);
    first.push(0);
    for &columns in &columns {
        pieces += (columns & !(columns << 1)).count_ones();
        first.push(pieces);
    }
    (columns, first)
}

/// Cells, to be joined.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a> {
    pub(super) layout: &'a Layout,
    pub(super) bits: &'a [u64],
    pub(super) columns: &'a [u64],
    pub(super) first: &'a [u32],
}

/// Which rows of a cell lie at a border.
#[derive(Clone, Copy)]
enum Rows {
    All,
    First,
    Last,
}

/// A word of a cell on one side of a border, and which of its columns have a voxel there.
#[derive(Clone, Copy)]
struct Side {
    columns: u64,
    first: u32,
    facing: u64,
}

impl Side {
    /// The piece that a set column belongs to, and its columns.
    #[inline]
    fn piece(&self, column: u32) -> (u32, u64) {
        let starts = self.columns & !(self.columns << 1) & (u64::MAX >> (63 - column));
        let begin = starts.ilog2();
        let columns = self.columns & !self.columns.wrapping_add(1 << begin) & (u64::MAX << begin);
        (self.first + starts.count_ones() - 1, columns)
    }
}

impl<'a> Cells<'a> {
    /// The cells of a slab.
    pub(super) fn of(slab: &'a Slab, layout: &'a Layout) -> Self {
        Self { layout, bits: &slab.bits, columns: &slab.columns, first: &slab.first }
    }

    /// Joins the pieces of a cell with those that touch them in the cells before it.
    fn join(&self, parents: &mut [u32], [j, k]: [usize; 2], word: usize) {
        let cell = (k * self.layout.across + j) * self.layout.words + word;
        if self.columns[cell] == 0 {
            return;
        }
        let mut union = |a, b| join(parents, a, b);
        if word > 0 {
            // Columns side by side touch, whichever their voxels.
            let whole = |cell: usize| self.side(cell, self.columns[cell]);
            join_at(whole(cell), 0, whole(cell - 1), 63, &mut union);
        }
        if j > 0 {
            let (face, _) = self.layout.reach;
            let facing = [(Rows::First, Rows::All), (Rows::Last, Rows::All)];
            self.join_with(self, [[j, k], [j - 1, k]], facing, word, face, &mut union);
        }
        if k > 0 {
            self.join_below(self, [j, k, k - 1], word, &mut union);
        }
    }

    /// Tells `union` of the pieces of the cells `[j, k]` that touch pieces of the plane `below` of cells of `others`.
    pub(super) fn join_below(
        &self,
        others: &Cells<'_>,
        [j, k, below]: [usize; 3],
        word: usize,
        union: &mut impl FnMut(u32, u32),
    ) {
        if self.columns[(k * self.layout.across + j) * self.layout.words + word] == 0 {
            return;
        }
        let (face, edge) = self.layout.reach;
        let facing = [(Rows::All, Rows::First), (Rows::All, Rows::Last)];
        self.join_with(others, [[j, k], [j, below]], facing, word, face, union);
        let Some(edge) = edge else { return };
        if j > 0 {
            let facing = [(Rows::First, Rows::First), (Rows::Last, Rows::Last)];
            self.join_with(others, [[j, k], [j - 1, below]], facing, word, edge, union);
        }
        if j + 1 < self.layout.across {
            let facing = [(Rows::Last, Rows::First), (Rows::First, Rows::Last)];
            self.join_with(others, [[j, k], [j + 1, below]], facing, word, edge, union);
        }
    }

    fn side(&self, cell: usize, facing: u64) -> Side {
        Side { columns: self.columns[cell], first: self.first[cell], facing }
    }

    /// A word of the cell `[j, k]`, seen from the side on which its rows of that part lie.
    fn seen(&self, [j, k]: [usize; 2], (rows_j, rows_k): (Rows, Rows), word: usize) -> Side {
        let Layout { shape: [_, ny, nz], size, words, across, .. } = *self.layout;
        let range = |cell: usize, rows: Rows, n: usize| match rows {
            Rows::All => cell * size..(cell * size + size).min(n),
            Rows::First => cell * size..cell * size + 1,
            Rows::Last => cell * size + size - 1..cell * size + size,
        };
        let mut facing = 0;
        for k in range(k, rows_k, nz) {
            for j in range(j, rows_j, ny) {
                facing |= self.bits[(k * ny + j) * words + word];
            }
        }
        self.side((k * across + j) * words + word, facing)
    }

    /// Tells `union` of the pieces that touch between a word of a cell and another cell.
    ///
    /// * `reach`: whether columns side by side touch, too.
    fn join_with(
        &self,
        others: &Cells<'_>,
        [here, there]: [[usize; 2]; 2],
        [this, that]: [(Rows, Rows); 2],
        word: usize,
        reach: bool,
        union: &mut impl FnMut(u32, u32),
    ) {
        let side = self.seen(here, this, word);
        if side.facing == 0 {
            return;
        }
        join_sides(side, others.seen(there, that, word), reach, union);
        if reach {
            if word > 0 && side.facing & 1 != 0 {
                join_at(side, 0, others.seen(there, that, word - 1), 63, union);
            }
            if word + 1 < self.layout.words && side.facing >> 63 != 0 {
                join_at(side, 63, others.seen(there, that, word + 1), 0, union);
            }
        }
    }
}

/// Tells `union` of every two pieces of two words that touch.
#[inline]
fn join_sides(this: Side, that: Side, reach: bool, union: &mut impl FnMut(u32, u32)) {
    let spread = |bits: u64| if reach { bits | bits << 1 | bits >> 1 } else { bits };
    let mut touching = this.facing & spread(that.facing);
    while touching != 0 {
        let (a, columns) = this.piece(touching.trailing_zeros());
        touching &= !columns;
        let mut others = that.facing & spread(this.facing & columns);
        while others != 0 {
            let (b, columns) = that.piece(others.trailing_zeros());
            others &= !columns;
            union(a, b);
        }
    }
}

/// Tells `union` of the pieces of two columns, if both have a voxel at the border.
fn join_at(this: Side, a: u32, that: Side, b: u32, union: &mut impl FnMut(u32, u32)) {
    if this.facing >> a & 1 != 0 && that.facing >> b & 1 != 0 {
        union(this.piece(a).0, that.piece(b).0);
    }
}

/// Joins the sets of two elements.
pub(super) fn join(parents: &mut [u32], a: u32, b: u32) {
    let (a, b) = (root(parents, a), root(parents, b));
    // The earlier element stays the root: a parent comes before its children.
    parents[a.max(b) as usize] = a.min(b);
}

/// The first element of a set; shortens the way there.
fn root(parents: &mut [u32], mut element: u32) -> u32 {
    loop {
        let parent = parents[element as usize];
        if parent == element {
            return element;
        }
        let above = parents[parent as usize];
        parents[element as usize] = above;
        element = above;
    }
}

/// Puts the number of its set in the place of each element's parent, from 0 in the order of first elements; returns how many
/// there are.
pub(super) fn number(parents: &mut [u32]) -> usize {
    let mut count = 0;
    for element in 0..parents.len() {
        let parent = parents[element] as usize;
        // A parent comes before its children and holds its number already.
        parents[element] = if parent == element {
            count += 1;
            count - 1
        } else {
            parents[parent]
        };
    }
    count as usize
}
