//! Connected components of a set of voxels, with their statistics.
//!
//! Voxels are gathered into runs along `i`, runs that touch are joined (union-find, the earliest run is the root), and
//! statistics are summed run by run; a label image is made only when asked for ([`Components::paint`]).
//!
//! **Order:** component 1 is the one whose first voxel comes first in memory, and so on. Labels and statistics are sums of
//! integers, so neither depends on the number of threads.
//!
//! Source: L. He, Y. Chao, K. Suzuki, "A run-based two-scan labeling algorithm", IEEE Trans. Image Process. 17(5), 2008.

use crate::context::Context;
use crate::volume::Mask;
use std::ops::Range;

mod runs;

use runs::{Slab, Span, find_slab, join_rows};

/// Planes along `k` that one thread labels at a time; no result depends on it.
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

    fn starting(place: Place) -> Self {
        let index = [place.span.begin as usize, place.j, place.k];
        Self { voxels: 0, first: place.offset, lowest: index, highest: index, index_sum: [0; 3] }
    }

    fn add(&mut self, place: Place) {
        let Span { begin, end } = place.span;
        let (begin, end, len) = (begin as usize, end as usize, (end - begin) as usize);
        self.voxels += len;
        self.lowest[0] = self.lowest[0].min(begin);
        self.highest[0] = self.highest[0].max(end - 1);
        self.lowest[1] = self.lowest[1].min(place.j);
        self.highest[1] = self.highest[1].max(place.j);
        // Runs come plane by plane, so the lowest k is that of the first run.
        self.highest[2] = place.k;
        self.index_sum[0] += ((begin + end - 1) * len / 2) as u64;
        self.index_sum[1] += (place.j * len) as u64;
        self.index_sum[2] += (place.k * len) as u64;
    }
}

/// A run and where it lies.
#[derive(Clone, Copy)]
struct Place {
    span: Span,
    j: usize,
    k: usize,
    /// Place in memory of the first voxel.
    offset: usize,
}

/// Touching voxels along `i` of one component.
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
    shape: [usize; 3],
    spans: Vec<Span>,
    /// First run of each row, and the number of runs.
    rows: Vec<u32>,
    /// Component of each run, from 1.
    labels: Vec<u32>,
    statistics: Vec<Statistics>,
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
        let planes = |slab: usize| slab * SLAB_PLANES..((slab + 1) * SLAB_PLANES).min(shape[2]);
        let slabs = shape[2].div_ceil(SLAB_PLANES);
        let found = ctx.map(slabs, |slab| find_slab(shape, planes(slab), connectivity, &fill));
        let (mut all, parents) = Self::gather(shape, found, connectivity);
        all.number(parents);
        all
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

    /// Puts the slabs together and joins what touches across their borders.
    fn gather(shape: [usize; 3], slabs: Vec<Slab>, connectivity: Connectivity) -> (Self, Vec<u32>) {
        let count = slabs.iter().map(|slab| slab.spans.len()).sum();
        let [_, ny, nz] = shape;
        let (mut spans, mut parents) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut rows = Vec::with_capacity(ny * nz + 1);
        for slab in slabs {
            let base = u32::try_from(spans.len()).expect("fewer than 2^32 runs");
            spans.extend(slab.spans);
            parents.extend(slab.parents.iter().map(|parent| parent + base));
            rows.extend(slab.rows.iter().map(|row| row + base));
        }
        rows.push(u32::try_from(spans.len()).expect("fewer than 2^32 runs"));
        for k in (SLAB_PLANES..nz).step_by(SLAB_PLANES) {
            for j in 0..ny {
                join_rows(&spans, &rows, &mut parents, [j, k], ny, connectivity, true);
            }
        }
        (Self { shape, spans, rows, labels: Vec::new(), statistics: Vec::new() }, parents)
    }

    /// Numbers the components by their roots, which are their first runs, and sums up each.
    fn number(&mut self, mut parents: Vec<u32>) {
        let [nx, ny, _] = self.shape;
        for row in 0..self.rows.len() - 1 {
            let (j, k) = (row % ny, row / ny);
            for run in self.rows[row]..self.rows[row + 1] {
                let run = run as usize;
                let span = self.spans[run];
                let place = Place { span, j, k, offset: row * nx + span.begin as usize };
                // A parent comes before its run and holds its final label already.
                let label = if parents[run] as usize == run {
                    self.statistics.push(Statistics::starting(place));
                    self.statistics.len() as u32
                } else {
                    parents[parents[run] as usize]
                };
                parents[run] = label;
                self.statistics[label as usize - 1].add(place);
            }
        }
        self.labels = parents;
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
        (0..self.rows.len() - 1).flat_map(|row| self.row(row))
    }

    fn row(&self, row: usize) -> impl Iterator<Item = Run> + '_ {
        let start = row * self.shape[0];
        (self.rows[row] as usize..self.rows[row + 1] as usize).map(move |run| {
            let Span { begin, end } = self.spans[run];
            Run { voxels: start + begin as usize..start + end as usize, label: self.labels[run] }
        })
    }

    /// Writes `number[label - 1]` into each voxel of each component; other voxels are left as they are.
    ///
    /// * `out`: one number for each voxel of the grid; * `number`: one for each component, e.g. `1, 2, 3, …`.
    ///
    /// # Panics
    /// If either is too short.
    pub fn paint(&self, out: &mut [u32], number: &[u32], ctx: &Context) {
        let [nx, ny, _] = self.shape;
        let plane = nx * ny;
        ctx.fill(out, plane, |k, voxels| {
            for run in (k * ny..(k + 1) * ny).flat_map(|row| self.row(row)) {
                let Range { start, end } = run.voxels;
                voxels[start - k * plane..end - k * plane].fill(number[run.label as usize - 1]);
            }
        });
    }
}

#[cfg(test)]
mod tests;
