//! Sinc interpolation under a Lanczos window.
//!
//! Source: C. E. Duchon, "Lanczos filtering in one and two dimensions", J. Applied Meteorology 18(8), 1979; weights are
//! scaled to sum 1, so that a constant stays constant.

use super::lattice::{Lattice, mirrored};
use super::pull::Place;
use crate::context::Context;
use crate::error::OperatorError;
use std::array::from_fn;

/// Voxels to each side of a place: the stop band is below 1 % from there on, and a row of 8 is one or two registers.
const RADIUS: usize = 4;

/// Voxels along each axis.
const TAPS: usize = 2 * RADIUS;

/// Fractions of a voxel with weights of their own. Between two, weights are drawn as lines: 4e-7 off, as f32 is itself.
const FRACTIONS: usize = 2048;

/// An image to be drawn on by sinc interpolation.
pub(super) struct Sinc {
    lattice: Lattice,
    /// Weights at each of the fractions `n / FRACTIONS`, 1 included.
    table: Vec<[f32; TAPS]>,
}

impl Sinc {
    pub(super) fn new<V: Copy + Into<f32> + Sync>(
        shape: [usize; 3],
        voxels: &[V],
        ctx: &Context,
    ) -> Result<Self, OperatorError> {
        let [nx, ny, nz] = shape;
        let (before, after) = (RADIUS - 1, RADIUS);
        let padded = shape.map(|n| n + before + after);
        let source = shape.map(|n| mirrored(n, before, after));
        let columns: Vec<usize> = (0..padded[0]).map(&source[0]).collect();
        let plane = padded[0] * padded[1];
        let mut numbers = ctx.alloc::<f32>(plane * padded[2])?;
        ctx.fill(&mut numbers, plane, |k, slice| {
            for (j, row) in slice.chunks_exact_mut(padded[0]).enumerate() {
                let from = &voxels[nx * (source[1](j) + ny * source[2](k))..][..nx];
                row.iter_mut().zip(&columns).for_each(|(out, &column)| *out = from[column].into());
            }
        });
        debug_assert_eq!(voxels.len(), nx * ny * nz);
        let lattice = Lattice { numbers: numbers.freeze(), strides: [1, padded[0], plane] };
        let table = (0..=FRACTIONS).map(|n| weights(n as f64 / FRACTIONS as f64)).collect();
        Ok(Self { lattice, table })
    }

    /// The value at a place.
    #[inline]
    pub(super) fn value(&self, place: Place) -> f32 {
        self.lattice.sum(place.low, place.share.map(|share| self.weights(share)))
    }

    #[inline]
    fn weights(&self, share: f32) -> [f32; TAPS] {
        let at = share * FRACTIONS as f32;
        let n = (at as usize).min(FRACTIONS - 1);
        let share = at - n as f32;
        let (a, b) = (&self.table[n], &self.table[n + 1]);
        from_fn(|tap| a[tap] * (1.0 - share) + b[tap] * share)
    }
}

/// Weights of the voxels `-RADIUS + 1 ..= RADIUS` for a place at `fraction`.
fn weights(fraction: f64) -> [f32; TAPS] {
    let raw: [f64; TAPS] = from_fn(|tap| {
        let x = fraction + (RADIUS - 1) as f64 - tap as f64;
        if x.abs() < RADIUS as f64 { sinc(x) * sinc(x / RADIUS as f64) } else { 0.0 }
    });
    let sum: f64 = raw.iter().sum();
    raw.map(|weight| (weight / sum) as f32)
}

/// `sin(pi x) / (pi x)`; exactly 0 at whole numbers but 0.
fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else if x.fract() == 0.0 {
        0.0
    } else {
        (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x)
    }
}
