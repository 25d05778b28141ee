//! Connected components of a set of voxels, with their statistics.
//!
//! Voxels are gathered as bits of words, and neighbouring rows into cells of 64 x 2 x 2 voxels (64 x 1 x 1 unless corners touch);
//! runs of columns within a cell are joined with those that touch them by operations on words (union-find). Slabs of planes are
//! done one by one, each with its statistics, and joined in order; a label image is made only when asked for
//! ([`Components::paint`]).
//!
//! **Order:** component 1 is the one whose first voxel comes first in memory, and so on. Labels and statistics are sums of
//! integers, so neither depends on the number of threads.
//!
//! Source: L. He, Y. Chao, K. Suzuki, "A run-based two-scan labeling algorithm", IEEE Trans. Image Process. 17(5), 2008; that a
//! block of 2 x 2 (x 2) voxels shares its label: C. Grana, D. Borghesani, R. Cucchiara, "Optimized block-based connected
//! components labeling with decision trees", IEEE Trans. Image Process. 19(6), 2010.

use crate::context::Context;
use crate::volume::Mask;
use std::ops::Range;

mod cells;

use cells::{Cells, Layout, Slab, WORD, find_slab, for_runs, join, number};

/// Planes along `k` that one thread labels at a time, whole cells; no result depends on it.
const SLAB_PLANES: usize = 8;

/// Which voxels touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connectivity {
    /// Those that share a face.
    Faces6,
    /// Those that share a face or an edge.
    Edges18,
    /// Those that share a face, an edge or a corner.
    #[default]
    Corners26,
}

/// A number of neighbours that names no connectivity.
#[derive(Debug, thiserror::Error)]
#[error("connectivity {found} where 6, 18 or 26 is expected\nhint: 26 is the default in 3-D")]
pub struct UnknownConnectivity {
    /// The number given.
    pub found: u32,
}

impl Connectivity {
    /// By number of neighbours: 6, 18 or 26.
    ///
    /// # Errors
    /// [`UnknownConnectivity`] for any other number.
    pub const fn of(neighbours: u32) -> Result<Self, UnknownConnectivity> {
        match neighbours {
            6 => Ok(Self::Faces6),
            18 => Ok(Self::Edges18),
            26 => Ok(Self::Corners26),
            found => Err(UnknownConnectivity { found }),
        }
    }
}

/// What is known about a component without looking at it again. Indices are voxel indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Number of voxels, at least 1.
    pub voxels: usize,
    /// Place in memory of the first voxel.
    pub first: usize,
    /// Lowest index along each axis.
    pub lowest: [usize; 3],
    /// Highest index along each axis, itself inside.
    pub highest: [usize; 3],
    /// Sum of the voxels' indices along each axis.
    pub index_sum: [u64; 3],
}

impl Statistics {
    /// Mean index of the voxels: map it through a grid's `voxel_to_world` for the world.
    pub fn centroid(&self) -> [f64; 3] {
        self.index_sum.map(|sum| sum as f64 / self.voxels as f64)
    }

    /// Of no voxel yet.
    const NONE: Self =
        Self { voxels: 0, first: usize::MAX, lowest: [usize::MAX; 3], highest: [0; 3], index_sum: [0; 3] };

    /// Adds `len` voxels along `i` from `[i, j, k]` on, which lie in memory from `offset` on.
    #[inline]
    fn add(&mut self, [i, j, k]: [usize; 3], len: usize, offset: usize) {
        self.voxels += len;
        self.first = self.first.min(offset);
        self.lowest = [self.lowest[0].min(i), self.lowest[1].min(j), self.lowest[2].min(k)];
        self.highest = [self.highest[0].max(i + len - 1), self.highest[1].max(j), self.highest[2].max(k)];
        self.index_sum[0] += ((2 * i + len - 1) * len / 2) as u64;
        self.index_sum[1] += (j * len) as u64;
        self.index_sum[2] += (k * len) as u64;
    }

    fn merge(&mut self, other: &Self) {
        self.voxels += other.voxels;
        self.first = self.first.min(other.first);
        for axis in 0..3 {
            self.lowest[axis] = self.lowest[axis].min(other.lowest[axis]);
            self.highest[axis] = self.highest[axis].max(other.highest[axis]);
            self.index_sum[axis] += other.index_sum[axis];
        }
    }
}

/// Touching voxels along `i` of one component. A longer run may come in several, cut where `i` is a multiple of 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Places in memory.
    pub voxels: Range<usize>,
    /// Component, from 1.
    pub label: u32,
}

/// The connected components of a set of voxels.
#[derive(Clone, Debug)]
pub struct Components {
    layout: Layout,
    slabs: Vec<Labelled>,
    statistics: Vec<Statistics>,
}

/// Some planes whose components have their labels.
#[derive(Clone, Debug)]
struct Labelled {
    /// Voxels as bits, `[k][j][word]`.
    bits: Vec<u64>,
    /// Set columns of each cell.
    columns: Vec<u64>,
    /// First piece of each cell.
    first: Vec<u32>,
    /// Component of each piece, from 1.
    labels: Vec<u32>,
}

impl Components {
    /// The components of the voxels that `fill` marks.
    ///
    /// * `shape`: voxels along `i`, `j`, `k`; no axis longer than 2^32.
    /// * `fill(offset, row)`: writes 1 (inside) or 0 for each voxel of the row that starts at `offset` in memory; `row`
    ///   comes zeroed, `[nx]`.
    pub fn find(
        shape: [usize; 3],
        connectivity: Connectivity,
        ctx: &Context,
        fill: impl Fn(usize, &mut [u8]) + Sync,
    ) -> Self {
        let layout = Layout::new(shape, connectivity);
        let planes = |slab: usize| slab * SLAB_PLANES..((slab + 1) * SLAB_PLANES).min(shape[2]);
        let slabs = shape[2].div_ceil(SLAB_PLANES);
        let found = ctx.map(slabs, |slab| find_slab(layout, planes(slab), &fill));
        Self::gather(layout, found)
    }

    /// The components of a mask.
    pub fn of_mask(mask: &Mask, connectivity: Connectivity, ctx: &Context) -> Self {
        let voxels = mask.voxels();
        Self::find(mask.grid().shape, connectivity, ctx, |offset, row| {
            for (inside, &voxel) in row.iter_mut().zip(&voxels[offset..]) {
                *inside = u8::from(voxel != 0);
            }
        })
    }

    /// Joins what touches across the borders of slabs, and numbers the components by their first voxels.
    fn gather(layout: Layout, slabs: Vec<Slab>) -> Self {
        let mut base = vec![0];
        for slab in &slabs {
            let count = u32::try_from(slab.statistics.len()).expect("fewer than 2^32 components");
            base.push(base[base.len() - 1] + count);
        }
        let mut parents: Vec<u32> = (0..base[slabs.len()]).collect();
        for (n, pair) in slabs.windows(2).enumerate() {
            let [below, above] = pair else { continue };
            let mut union = |a: u32, b: u32| {
                let (a, b) = (above.component[a as usize], below.component[b as usize]);
                join(&mut parents, base[n + 1] + a, base[n] + b);
            };
            let (upper, lower) = (Cells::of(above, &layout), Cells::of(below, &layout));
            for cell in 0..layout.across * layout.words {
                let (j, word) = (cell / layout.words, cell % layout.words);
                upper.join_below(&lower, [j, 0, SLAB_PLANES / layout.size - 1], word, &mut union);
            }
        }
        let mut statistics = vec![Statistics::NONE; number(&mut parents)];
        for (part, &component) in slabs.iter().flat_map(|slab| &slab.statistics).zip(&parents) {
            statistics[component as usize].merge(part);
        }
        // Cells of two rows change the order of first voxels here and there.
        let mut order: Vec<u32> = (0..statistics.len() as u32).collect();
        order.sort_by_key(|&component| statistics[component as usize].first);
        let mut labels = vec![0; statistics.len()];
        for (label, &component) in (1..).zip(&order) {
            labels[component as usize] = label;
        }
        let statistics = order.iter().map(|&component| statistics[component as usize]).collect();
        let label = |(slab, base): (Slab, &u32)| {
            let of_part = &parents[*base as usize..];
            let mut of_piece = slab.component;
            for piece in &mut of_piece {
                *piece = labels[of_part[*piece as usize] as usize];
            }
            Labelled { bits: slab.bits, columns: slab.columns, first: slab.first, labels: of_piece }
        };
        Self { layout, slabs: slabs.into_iter().zip(&base).map(label).collect(), statistics }
    }

    /// Number of components.
    pub fn len(&self) -> usize {
        self.statistics.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.statistics.is_empty()
    }

    /// Statistics of each component; that of component 1 comes first.
    pub fn statistics(&self) -> &[Statistics] {
        &self.statistics
    }

    /// Every run, in memory order.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let [nx, ny, nz] = self.layout.shape;
        (0..ny * nz).flat_map(move |row| {
            let mut runs = Vec::new();
            self.row(row, |label, begin, end| {
                runs.push(Run { voxels: row * nx + begin..row * nx + end, label });
            });
            // Pieces of one row come by cell, and within a cell in order.
            runs.into_iter()
        })
    }

    /// Tells `of` of the runs of a row: label, first index along `i`, and the one after the last.
    #[inline]
    fn row(&self, row: usize, mut of: impl FnMut(u32, usize, usize)) {
        let Layout { shape: [_, ny, _], words, .. } = self.layout;
        let (j, k) = (row % ny, row / ny);
        let slab = &self.slabs[k / SLAB_PLANES];
        let k = k % SLAB_PLANES;
        for word in 0..words {
            let bits = slab.bits[(k * ny + j) * words + word];
            if bits != 0 {
                let cell = self.layout.cell([j, k], word);
                let labels = &slab.labels[slab.first[cell] as usize..];
                for_runs(bits, slab.columns[cell], labels, |label, begin, end| {
                    of(label, word * WORD + begin, word * WORD + end);
                });
            }
        }
    }

    /// Writes `number[label - 1]` into each voxel of each component; other voxels are left as they are.
    ///
    /// * `out`: one number for each voxel of the grid; * `number`: one for each component, e.g. `1, 2, 3, …`.
    ///
    /// # Panics
    /// If either is too short.
    pub fn paint(&self, out: &mut [u32], number: &[u32], ctx: &Context) {
        let [nx, ny, _] = self.layout.shape;
        ctx.fill(out, nx * ny, |k, voxels| {
            for j in 0..ny {
                let voxels = &mut voxels[j * nx..(j + 1) * nx];
                self.row(k * ny + j, |label, begin, end| {
                    let number = number[label as usize - 1];
                    for voxel in &mut voxels[begin..end] {
                        *voxel = number;
                    }
                });
            }
        });
    }
}

#[cfg(test)]
mod tests;
