//! The difference of two images.

use crate::OtherGrid;
use sdk::{Context, Image, OperatorError};

/// `a - b`, voxel by voxel, in f32; NaN where either is.
///
/// # Errors
/// [`OtherGrid`]; no memory.
pub fn subtract(a: &Image, b: &Image, ctx: &Context) -> Result<Image, OperatorError> {
    OtherGrid::check("b", b.grid(), a.grid())?;
    let [nx, ny, _] = a.grid().shape;
    let plane = nx * ny;
    let mut out = ctx.alloc::<f32>(a.grid().len())?;
    ctx.fill(&mut out, plane, |k, slice| {
        let voxels = a.voxels()[k * plane..].iter().zip(&b.voxels()[k * plane..]);
        for (out, (a, b)) in slice.iter_mut().zip(voxels) {
            *out = a - b;
        }
    });
    Ok(Image::new(*a.grid(), out.freeze())?)
}
