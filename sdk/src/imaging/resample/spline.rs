//! Interpolating cubic B-splines on mirrored voxels.
//!
//! Source: M. Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing Magazine 16(6), 1999;
//! the recursive filter is its box 2.

use crate::buffer::Buf;
use crate::context::Context;
use crate::error::OperatorError;

/// Pole of the cubic B-spline's inverse filter, sqrt(3) - 2.
const POLE: f64 = -0.267_949_192_431_122_7;

/// The start sum of the filter stops where the pole's powers fall below f32's precision: 0.268^18 is 5e-11.
const HORIZON: usize = 18;

/// Spline coefficients of voxels, `[nx, ny, nz]`, mirrored about the outermost voxel centres.
///
/// # Errors
/// No memory; the stage was asked to stop.
pub(super) fn coefficients<V: Copy + Into<f32> + Sync>(
    shape: [usize; 3],
    voxels: &[V],
    ctx: &Context,
) -> Result<Buf<f32>, OperatorError> {
    let [nx, ny, nz] = shape;
    let plane = nx * ny;
    let mut slices = ctx.alloc::<f32>(plane * nz)?;
    ctx.fill(&mut slices, plane, |k, slice| {
        for (out, voxel) in slice.iter_mut().zip(&voxels[k * plane..]) {
            *out = (*voxel).into();
        }
        let mut line = Vec::new();
        for j in 0..ny {
            filter_line(slice, nx * j, 1, nx, &mut line);
        }
        for i in 0..nx {
            filter_line(slice, i, nx, ny, &mut line);
        }
    });
    ctx.check_cancelled()?;
    if nz == 1 {
        return Ok(slices.freeze());
    }
    // Lines along k cross the slices: each row of lines is filtered on its own, then put back.
    let sheets = ctx.map(ny, |j| {
        let mut sheet: Vec<f32> = Vec::with_capacity(nx * nz);
        for k in 0..nz {
            sheet.extend_from_slice(&slices[plane * k + nx * j..][..nx]);
        }
        let mut line = Vec::new();
        for i in 0..nx {
            filter_line(&mut sheet, i, nx, nz, &mut line);
        }
        sheet
    });
    ctx.fill(&mut slices, plane, |k, slice| {
        for (j, row) in slice.chunks_exact_mut(nx).enumerate() {
            row.copy_from_slice(&sheets[j][nx * k..][..nx]);
        }
    });
    ctx.check_cancelled()?;
    Ok(slices.freeze())
}

/// Turns one line of samples into coefficients, in place; `line` is scratch space.
fn filter_line(data: &mut [f32], start: usize, stride: usize, len: usize, line: &mut Vec<f64>) {
    if len < 2 {
        return;
    }
    line.clear();
    line.extend((0..len).map(|n| f64::from(data[start + n * stride]) * GAIN));
    line[0] = first_causal(line);
    for n in 1..len {
        line[n] += POLE * line[n - 1];
    }
    line[len - 1] = POLE / (POLE * POLE - 1.0) * (line[len - 1] + POLE * line[len - 2]);
    for n in (0..len - 1).rev() {
        line[n] = POLE * (line[n + 1] - line[n]);
    }
    for (n, coefficient) in line.iter().enumerate() {
        data[start + n * stride] = *coefficient as f32;
    }
}

/// (1 - pole)(1 - 1/pole): the filter's gain at frequency zero.
const GAIN: f64 = 6.0;

/// The causal filter's first value: the sum over all mirrored samples before it.
fn first_causal(line: &[f64]) -> f64 {
    let period = 2 * (line.len() - 1);
    let mut sum = 0.0;
    let mut power = 1.0;
    for n in 0..HORIZON {
        let folded = n % period;
        sum += power * line[folded.min(period - folded)];
        power *= POLE;
    }
    sum
}

/// The spline's value at a place in voxels within the outermost centres.
#[inline]
pub(super) fn value(coefficients: &[f32], shape: [usize; 3], place: [f64; 3]) -> f32 {
    let [nx, ny, _] = shape;
    let strides = [1, nx, nx * ny];
    let [x, y, z] = [0, 1, 2].map(|axis| taps(place[axis], shape[axis], strides[axis]));
    let mut sum = 0.0f32;
    for (oz, wz) in z {
        for (oy, wy) in y {
            let base = oz + oy;
            let row: f32 = x.iter().map(|(ox, wx)| wx * coefficients[base + ox]).sum();
            sum += wz * wy * row;
        }
    }
    sum
}

/// Offsets and weights of the four coefficients that reach a coordinate.
#[inline]
fn taps(at: f64, len: usize, stride: usize) -> [(usize, f32); 4] {
    let low = at as usize;
    let f = (at - low as f64) as f32;
    let g = 1.0 - f;
    let weights = [
        g * g * g / 6.0,
        (4.0 - 6.0 * f * f + 3.0 * f * f * f) / 6.0,
        (4.0 - 6.0 * g * g + 3.0 * g * g * g) / 6.0,
        f * f * f / 6.0,
    ];
    std::array::from_fn(|tap| (mirrored(low + tap, len) * stride, weights[tap]))
}

/// Index `shifted - 1`, folded at both outermost centres.
fn mirrored(shifted: usize, len: usize) -> usize {
    if len == 1 {
        return 0;
    }
    let period = 2 * (len - 1);
    let folded = (shifted + period - 1) % period;
    folded.min(period - folded)
}
