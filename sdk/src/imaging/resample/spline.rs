//! Interpolating cubic B-splines on mirrored voxels.
//!
//! Source: M. Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing Magazine 16(6), 1999;
//! the recursive filter is its box 2.

use super::lattice::{Lattice, mirrored};
use super::pull::Place;
use crate::context::Context;
use crate::error::OperatorError;
use std::sync::atomic::{AtomicBool, Ordering};

/// Pole of the cubic B-spline's inverse filter, sqrt(3) - 2.
const POLE: f32 = -0.267_949_2;

/// (1 - pole)(1 - 1/pole): the filter's gain at frequency zero.
const GAIN: f32 = 6.0;

/// The start sum of the filter stops where the pole's powers fall below f32's precision: 0.268^18 is 5e-11.
const HORIZON: usize = 18;

/// Numbers to each side of the voxels that reach a place between them.
const BEFORE: usize = 1;
const AFTER: usize = 2;

/// Lines that are filtered side by side along `i`: enough that one's steps hide the other's waiting.
const LINES: usize = 8;

/// The spline through all voxels.
pub(super) struct Spline(Lattice);

impl Spline {
    /// Finds the coefficients of voxels, mirrored about the outermost centres.
    ///
    /// Coefficients depend on all voxels, if ever so little: where one is not finite, they are found as if it were 0, and its own
    /// is NaN. So it spoils those places alone that it reaches.
    ///
    /// They lie in memory with `k` before `j`: so every pass runs along rows, and what one thread writes is one block.
    ///
    /// # Errors
    /// No memory; the stage was asked to stop.
    pub(super) fn new<V: Copy + Into<f32> + Sync>(
        shape: [usize; 3],
        voxels: &[V],
        ctx: &Context,
    ) -> Result<Self, OperatorError> {
        let [nx, ny, nz] = shape;
        let mut slices = ctx.alloc::<f32>(nx * ny * nz)?;
        let broken = AtomicBool::new(false);
        ctx.fill(&mut slices, nx * ny, |k, slice| {
            if ctx.cancelled() {
                return;
            }
            let mut all_finite = true;
            for (out, voxel) in slice.iter_mut().zip(&voxels[k * nx * ny..]) {
                let value: f32 = (*voxel).into();
                all_finite &= value.is_finite();
                *out = if value.is_finite() { value } else { 0.0 };
            }
            broken.fetch_or(!all_finite, Ordering::Relaxed);
            slice.chunks_mut(nx * LINES).for_each(|lines| filter_lines(lines, nx));
            filter_rows(slice, nx);
        });
        ctx.check_cancelled()?;
        let padded = shape.map(|n| n + BEFORE + AFTER);
        let [columns, rows, planes] = shape.map(|n| mirrored(n, BEFORE, AFTER));
        let sheet = padded[0] * padded[2];
        let mut numbers = ctx.alloc::<f32>(sheet * padded[1])?;
        ctx.fill(&mut numbers, sheet, |j, sheet| {
            if ctx.cancelled() {
                return;
            }
            let mut block: Vec<f32> = Vec::with_capacity(nx * nz);
            (0..nz).for_each(|k| block.extend_from_slice(&slices[nx * (rows(j) + ny * k)..][..nx]));
            filter_rows(&mut block, nx);
            if broken.load(Ordering::Relaxed) {
                for (n, coefficient) in block.iter_mut().enumerate() {
                    let voxel: f32 = voxels[n % nx + nx * (rows(j) + ny * (n / nx))].into();
                    *coefficient = if voxel.is_finite() { *coefficient } else { f32::NAN };
                }
            }
            for (k, out) in sheet.chunks_exact_mut(padded[0]).enumerate() {
                let row = &block[nx * planes(k)..][..nx];
                out[BEFORE..][..nx].copy_from_slice(row);
                for i in [0, nx + BEFORE, nx + AFTER] {
                    out[i] = row[columns(i)];
                }
            }
        });
        ctx.check_cancelled()?;
        Ok(Self(Lattice { numbers: numbers.freeze(), strides: [1, sheet, padded[0]] }))
    }

    /// The value at a place.
    #[inline]
    pub(super) fn value(&self, place: Place) -> f32 {
        self.0.sum(place.low, place.share.map(weights))
    }
}

/// Weights of the four coefficients that reach a place at `f` between the inner two.
#[inline]
fn weights(f: f32) -> [f32; 4] {
    const SIXTH: f32 = 1.0 / 6.0;
    const TWO_THIRDS: f32 = 2.0 / 3.0;
    let g = 1.0 - f;
    let outer = |g: f32| g * g * g * SIXTH;
    let inner = |f: f32| TWO_THIRDS - f * f * (1.0 - 0.5 * f);
    [outer(g), inner(f), inner(g), outer(f)]
}

/// Turns samples into coefficients along rows, in place: up to [`LINES`] rows of `nx`.
fn filter_lines(lines: &mut [f32], nx: usize) {
    if lines.len() < nx * LINES {
        lines.chunks_exact_mut(nx).for_each(|line| filter_rows(line, 1));
        return;
    }
    let mut turned = vec![0.0; lines.len()];
    for (n, line) in lines.chunks_exact(nx).enumerate() {
        line.iter().enumerate().for_each(|(i, value)| turned[i * LINES + n] = *value);
    }
    filter_rows(&mut turned, LINES);
    for (n, line) in lines.chunks_exact_mut(nx).enumerate() {
        line.iter_mut().enumerate().for_each(|(i, value)| *value = turned[i * LINES + n]);
    }
}

/// Turns samples into coefficients across rows of `width`, in place.
fn filter_rows(rows: &mut [f32], width: usize) {
    let len = rows.len() / width;
    if len < 2 {
        return;
    }
    let mut start = vec![0.0; width];
    first_causal(rows, width, &mut start);
    rows[..width].copy_from_slice(&start);
    for n in 1..len {
        let (before, here) = rows.split_at_mut(n * width);
        for (value, last) in here[..width].iter_mut().zip(&before[(n - 1) * width..]) {
            *value = GAIN * *value + POLE * last;
        }
    }
    let (before, here) = rows.split_at_mut((len - 1) * width);
    for (value, last) in here.iter_mut().zip(&before[(len - 2) * width..]) {
        *value = POLE / (POLE * POLE - 1.0) * (*value + POLE * last);
    }
    for n in (0..len - 1).rev() {
        let (here, after) = rows.split_at_mut((n + 1) * width);
        for (value, next) in here[n * width..].iter_mut().zip(&*after) {
            *value = POLE * (next - *value);
        }
    }
}

/// The causal filter's first row: the sum over all mirrored samples before it.
fn first_causal(rows: &[f32], width: usize, start: &mut [f32]) {
    let period = 2 * (rows.len() / width - 1);
    let mut power = GAIN;
    for n in 0..HORIZON {
        let folded = n % period;
        let row = &rows[folded.min(period - folded) * width..][..width];
        start.iter_mut().zip(row).for_each(|(sum, value)| *sum += power * value);
        power *= POLE;
    }
}
