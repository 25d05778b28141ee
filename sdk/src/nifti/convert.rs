//! From stored numbers of any type to the voxels of a kind, in one pass.

use super::error::NiftiError;
use super::header::Header;
use super::source::{Block, Head};
use crate::geometry::Grid;
use crate::value::Kind;
use crate::volume::{AnyVolume, Image, Labels, Mask, Probability};
use nifti::NiftiType;
use std::path::Path;

/// How far a score may lie outside 0..=1: the rounding of a slope such as 1/255 in f32, times a few.
const PROBABILITY_SLACK: f64 = 1e-6;

/// Why a volume cannot have another length than its grid.
const FITS: &str = "one number was read for each voxel of the grid";

/// How many unexpected numbers an error names.
const NAMED_VALUES: usize = 4;

/// A type of stored number.
trait Stored: bytemuck::Pod {
    /// Whether it can be NaN or infinite.
    const FLOAT: bool;
    /// With its bytes the other way round.
    fn swapped(self) -> Self;
    /// As f64; exact up to 2^53.
    fn wide(self) -> f64;
    /// As f32, rounded once.
    fn narrow(self) -> f32;
    /// The same integer; `None` if it is none, negative or too large.
    fn label(self) -> Option<u32>;
    /// All as f32.
    fn narrow_all(block: Block<Self>) -> Vec<f32> {
        block.voxels().iter().map(|&value| value.narrow()).collect()
    }
}

macro_rules! stored_integers {
    ($($type:ty),*) => {$(
        impl Stored for $type {
            const FLOAT: bool = false;
            fn swapped(self) -> Self {
                self.swap_bytes()
            }
            #[allow(clippy::cast_lossless, reason = "lossless for some of the types only")]
            fn wide(self) -> f64 {
                self as f64
            }
            #[allow(clippy::cast_lossless, reason = "lossless for some of the types only")]
            fn narrow(self) -> f32 {
                self as f32
            }
            #[allow(clippy::useless_conversion, reason = "u32 is one of the types")]
            fn label(self) -> Option<u32> {
                u32::try_from(self).ok()
            }
        }
    )*};
}
stored_integers!(u8, i8, u16, i16, u32, i32, u64, i64);

impl Stored for f32 {
    const FLOAT: bool = true;
    fn swapped(self) -> Self {
        Self::from_bits(self.to_bits().swap_bytes())
    }
    fn wide(self) -> f64 {
        self.into()
    }
    fn narrow(self) -> f32 {
        self
    }
    fn label(self) -> Option<u32> {
        integer(self.into())
    }
    fn narrow_all(block: Block<Self>) -> Vec<f32> {
        block.into_vec()
    }
}

impl Stored for f64 {
    const FLOAT: bool = true;
    fn swapped(self) -> Self {
        Self::from_bits(self.to_bits().swap_bytes())
    }
    fn wide(self) -> f64 {
        self
    }
    fn narrow(self) -> f32 {
        self as f32
    }
    fn label(self) -> Option<u32> {
        integer(self)
    }
}

fn integer(value: f64) -> Option<u32> {
    (value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value)).then_some(value as u32)
}

/// Reads the voxels as `kind`; also tells how many of them are not finite.
pub(super) fn volume(head: &Head, header: &Header, kind: Kind) -> Result<(AnyVolume, usize), NiftiError> {
    match header.datatype {
        NiftiType::Uint8 => typed::<u8>(head, header, kind),
        NiftiType::Int8 => typed::<i8>(head, header, kind),
        NiftiType::Uint16 => typed::<u16>(head, header, kind),
        NiftiType::Int16 => typed::<i16>(head, header, kind),
        NiftiType::Uint32 => typed::<u32>(head, header, kind),
        NiftiType::Int32 => typed::<i32>(head, header, kind),
        NiftiType::Uint64 => typed::<u64>(head, header, kind),
        NiftiType::Int64 => typed::<i64>(head, header, kind),
        NiftiType::Float32 => typed::<f32>(head, header, kind),
        NiftiType::Float64 => typed::<f64>(head, header, kind),
        other => unreachable!("the header's check let {other:?} pass"),
    }
}

fn typed<S: Stored>(head: &Head, header: &Header, kind: Kind) -> Result<(AnyVolume, usize), NiftiError> {
    let mut block = head.load::<S>(header, header.grid.len())?;
    if header.swapped {
        block.voxels_mut().iter_mut().for_each(|value| *value = value.swapped());
    }
    let grid = header.grid;
    let target = Target { path: head.path(), grid: &grid, kind };
    let volume = match kind {
        Kind::Mask => AnyVolume::Mask(Mask::new(grid, mask(&block, header, &target)?).expect(FITS)),
        Kind::Labels => AnyVolume::Labels(Labels::new(grid, labels(&block, header, &target)?).expect(FITS)),
        Kind::Probability => {
            let voxels = probability(&block, header, &target)?;
            AnyVolume::Probability(Probability::new(grid, voxels).expect(FITS))
        }
        _ => {
            let (voxels, non_finite) = image(block, header);
            return Ok((AnyVolume::Image(Image::new(grid, voxels).expect(FITS)), non_finite));
        }
    };
    Ok((volume, 0))
}

fn image<S: Stored>(block: Block<S>, header: &Header) -> (Vec<f32>, usize) {
    let voxels: Vec<f32> = match header.facts.scaling {
        None => S::narrow_all(block),
        Some([slope, intercept]) => {
            block.voxels().iter().map(|value| (value.wide() * slope + intercept) as f32).collect()
        }
    };
    let can_be_infinite = S::FLOAT || header.facts.scaling.is_some();
    let non_finite =
        if can_be_infinite { voxels.iter().filter(|value| !value.is_finite()).count() } else { 0 };
    (voxels, non_finite)
}

/// 0, and one other number as 1.
fn mask<S: Stored>(block: &Block<S>, header: &Header, target: &Target) -> Result<Vec<u8>, NiftiError> {
    let scaled = scaler(header);
    let mut inside = None;
    let mut voxels = Vec::with_capacity(block.voxels().len());
    for (offset, &value) in block.voxels().iter().enumerate() {
        let value = scaled(value.wide());
        if value != 0.0 && inside != Some(value) {
            if inside.is_some() || !value.is_finite() {
                let values = distinct(block.voxels().iter().map(|value| scaled(value.wide())));
                let hint = "to make a mask of an image or of labels, use a threshold or select labels";
                return Err(target.refuse(values, offset, "0 and one other number", hint));
            }
            inside = Some(value);
        }
        voxels.push(u8::from(value != 0.0));
    }
    Ok(voxels)
}

fn labels<S: Stored>(block: &Block<S>, header: &Header, target: &Target) -> Result<Vec<u32>, NiftiError> {
    let scaled = scaler(header);
    let identity = header.facts.scaling.is_none();
    let mut voxels = Vec::with_capacity(block.voxels().len());
    for (offset, &value) in block.voxels().iter().enumerate() {
        let label = if identity { value.label() } else { integer(scaled(value.wide())) };
        let Some(label) = label else {
            let found = scaled(value.wide()).to_string();
            let hint = "is this an image? labels are counted from 0, and resampled by nearest neighbour";
            return Err(target.refuse(found, offset, "integers of 0 to 4294967295", hint));
        };
        voxels.push(label);
    }
    Ok(voxels)
}

fn probability<S: Stored>(
    block: &Block<S>,
    header: &Header,
    target: &Target,
) -> Result<Vec<f32>, NiftiError> {
    let scaled = scaler(header);
    let mut voxels = Vec::with_capacity(block.voxels().len());
    for (offset, &value) in block.voxels().iter().enumerate() {
        let value = scaled(value.wide());
        if !(-PROBABILITY_SLACK..=1.0 + PROBABILITY_SLACK).contains(&value) {
            let hint = "divide a score in per cent by 100; a model's logits need a sigmoid";
            return Err(target.refuse(value.to_string(), offset, "numbers of 0 to 1", hint));
        }
        voxels.push(value.clamp(0.0, 1.0) as f32);
    }
    Ok(voxels)
}

fn scaler(header: &Header) -> impl Fn(f64) -> f64 + use<> {
    let [slope, intercept] = header.facts.scaling.unwrap_or([1.0, 0.0]);
    move |value| value * slope + intercept
}

/// The first few different numbers, as `0, 1, 2, 3, …`.
fn distinct(values: impl Iterator<Item = f64>) -> String {
    let mut seen: Vec<f64> = Vec::new();
    for value in values {
        if seen.iter().any(|old| old.total_cmp(&value).is_eq()) {
            continue;
        }
        if seen.len() == NAMED_VALUES {
            seen.sort_by(f64::total_cmp);
            return format!("{}, …", list(&seen));
        }
        seen.push(value);
    }
    seen.sort_by(f64::total_cmp);
    list(&seen)
}

fn list(values: &[f64]) -> String {
    values.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}

/// What the voxels are to become, for messages.
struct Target<'a> {
    path: &'a Path,
    grid: &'a Grid,
    kind: Kind,
}

impl Target<'_> {
    fn refuse(&self, found: String, offset: usize, expected: &'static str, hint: &'static str) -> NiftiError {
        let (path, kind, voxel) = (self.path.to_owned(), self.kind, self.grid.index(offset));
        NiftiError::Voxel { path, kind, found, voxel, expected, hint }
    }
}
