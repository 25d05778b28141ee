//! From stored numbers of any type to the voxels of a kind, in one pass.

use super::error::NiftiError;
use super::header::Header;
use super::source::{Head, Raw};
use crate::buffer::{Buf, Element};
use crate::value::Kind;
use crate::volume::{AnyVolume, Image, Labels, Mask, Probability};
use nifti::NiftiType;

/// How far a score may lie outside 0..=1: the rounding of a slope such as 1/255 in f32, times a few.
const PROBABILITY_SLACK: f64 = 1e-6;

/// Numbers that are converted at a time: few enough to stay in the first cache.
const PIECE: usize = 2048;

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

/// Reads the numbers as they are stored.
pub(super) fn stored(head: &Head, header: &Header) -> Result<super::Stored, NiftiError> {
    use super::Stored as Of;
    Ok(match header.datatype {
        NiftiType::Uint8 => Of::U8(untouched(head, header)?),
        NiftiType::Int16 => Of::I16(untouched(head, header)?),
        NiftiType::Uint16 => Of::U16(untouched(head, header)?),
        NiftiType::Int32 => Of::I32(untouched(head, header)?),
        NiftiType::Uint32 => Of::U32(untouched(head, header)?),
        NiftiType::Float32 => Of::F32(untouched(head, header)?),
        NiftiType::Float64 => Of::F64(untouched(head, header)?),
        _ => {
            return Err(NiftiError::Field {
                path: head.path().to_owned(),
                field: "datatype",
                found: header.facts.datatype.to_owned(),
                expected: "a type that a buffer holds".to_owned(),
                hint: "read it as an image, which is f32",
            });
        }
    })
}

fn untouched<S: Stored + Element>(head: &Head, header: &Header) -> Result<Buf<S>, NiftiError> {
    let count = header.grid.len();
    let Raw { mut pages, start } = head.load(header, count * size_of::<S>(), 0)?;
    let is_aligned = start.is_multiple_of(align_of::<S>());
    if is_aligned && !header.swapped {
        return Ok(pages.into_buf(start, count));
    }
    let piece = |first: usize| first * size_of::<S>()..(first + PIECE.min(count - first)) * size_of::<S>();
    let mut numbers = vec![S::zeroed(); PIECE.min(count)];
    for first in (0..count).step_by(PIECE) {
        let (to, numbers) = (piece(first), &mut numbers[..PIECE.min(count - first)]);
        bytemuck::cast_slice_mut(numbers).copy_from_slice(&pages[start + to.start..start + to.end]);
        if header.swapped {
            for number in numbers.iter_mut() {
                *number = number.swapped();
            }
        }
        pages[to].copy_from_slice(bytemuck::cast_slice(numbers));
    }
    Ok(pages.into_buf(0, count))
}

fn typed<S: Stored>(head: &Head, header: &Header, kind: Kind) -> Result<(AnyVolume, usize), NiftiError> {
    let grid = header.grid;
    let task = Task { head, header, kind };
    let volume = match kind {
        Kind::Mask => AnyVolume::Mask(Mask::new(grid, task.mask::<S>()?).expect(FITS)),
        Kind::Labels => AnyVolume::Labels(Labels::new(grid, task.labels::<S>()?).expect(FITS)),
        Kind::Probability => {
            let voxels = task.probability::<S>()?;
            let non_finite = voxels.iter().filter(|score| !score.is_finite()).count();
            return Ok((AnyVolume::Probability(Probability::new(grid, voxels).expect(FITS)), non_finite));
        }
        _ => {
            let voxels = task.image::<S>()?;
            let can_be_infinite = S::FLOAT || header.facts.scaling.is_some();
            let is_odd = |value: &&f32| !value.is_finite();
            let non_finite = if can_be_infinite { voxels.iter().filter(is_odd).count() } else { 0 };
            return Ok((AnyVolume::Image(Image::new(grid, voxels).expect(FITS)), non_finite));
        }
    };
    Ok((volume, 0))
}

/// One file on its way to voxels.
struct Task<'a> {
    head: &'a Head,
    header: &'a Header,
    kind: Kind,
}

impl Task<'_> {
    /// Makes voxels in the memory of the stored numbers.
    ///
    /// * `make`: from up to [`PIECE`] numbers to as many voxels; also gets the first one's place in the volume.
    fn convert<S: Stored, V: Element + bytemuck::Pod>(
        &self,
        mut make: impl FnMut(usize, &[S], &mut [V]) -> Result<(), NiftiError>,
    ) -> Result<Buf<V>, NiftiError> {
        let count = self.header.grid.len();
        let (stored_size, voxel_size) = (size_of::<S>(), size_of::<V>());
        let Raw { mut pages, start } =
            self.head.load(self.header, count * stored_size, count * voxel_size)?;
        let mut numbers = vec![S::zeroed(); PIECE.min(count)];
        for first in (0..count).step_by(PIECE) {
            let numbers = &mut numbers[..PIECE.min(count - first)];
            let from = start + first * stored_size;
            let until = from + size_of_val(numbers);
            bytemuck::cast_slice_mut(numbers).copy_from_slice(&pages[from..until]);
            if self.header.swapped {
                for number in numbers.iter_mut() {
                    *number = number.swapped();
                }
            }
            let to = first * voxel_size..(first + numbers.len()) * voxel_size;
            make(first, numbers, bytemuck::cast_slice_mut(&mut pages[to]))?;
        }
        Ok(pages.into_buf(0, count))
    }

    fn image<S: Stored>(&self) -> Result<Buf<f32>, NiftiError> {
        let is_plain = self.header.facts.scaling.is_none() && !self.header.swapped;
        let is_aligned = self.header.offset.is_multiple_of(align_of::<f32>() as u64);
        if self.header.datatype == NiftiType::Float32 && is_plain && is_aligned {
            let count = self.header.grid.len();
            let raw = self.head.load(self.header, count * size_of::<f32>(), 0)?;
            return Ok(raw.pages.into_buf(raw.start, count));
        }
        let Some([slope, intercept]) = self.header.facts.scaling else {
            return self.convert(|_, numbers: &[S], voxels| {
                voxels.iter_mut().zip(numbers).for_each(|(voxel, number)| *voxel = number.narrow());
                Ok(())
            });
        };
        self.convert(|_, numbers: &[S], voxels| {
            let scaled = |number: &S| (number.wide() * slope + intercept) as f32;
            voxels.iter_mut().zip(numbers).for_each(|(voxel, number)| *voxel = scaled(number));
            Ok(())
        })
    }

    /// 0, and one other number as 1.
    fn mask<S: Stored>(&self) -> Result<Buf<u8>, NiftiError> {
        let scaled = self.scaler();
        let mut inside = None;
        self.convert(|first, numbers: &[S], voxels| {
            for (n, (voxel, number)) in voxels.iter_mut().zip(numbers).enumerate() {
                let value = scaled(number.wide());
                *voxel = u8::from(value != 0.0);
                if value == 0.0 || inside == Some(value) {
                    continue;
                }
                if inside.is_some() || !value.is_finite() {
                    let others = numbers[n..].iter().map(|number| scaled(number.wide()));
                    let found = distinct(inside.into_iter().chain(others));
                    let hint = "to make a mask of an image or of labels, use a threshold or select labels";
                    return Err(self.refuse(found, first + n, "0 and one other number", hint));
                }
                inside = Some(value);
            }
            Ok(())
        })
    }

    fn labels<S: Stored>(&self) -> Result<Buf<u32>, NiftiError> {
        let scaled = self.scaler();
        let identity = self.header.facts.scaling.is_none();
        self.convert(|first, numbers: &[S], voxels| {
            for (n, (voxel, number)) in voxels.iter_mut().zip(numbers).enumerate() {
                let label = if identity { number.label() } else { integer(scaled(number.wide())) };
                *voxel = label.ok_or_else(|| {
                    let hint =
                        "is this an image? labels are counted from 0, and resampled by nearest neighbour";
                    let found = scaled(number.wide()).to_string();
                    self.refuse(found, first + n, "integers of 0 to 4294967295", hint)
                })?;
            }
            Ok(())
        })
    }

    /// 0 to 1; what is no number stays so, for operators to count, and comes with a warning.
    fn probability<S: Stored>(&self) -> Result<Buf<f32>, NiftiError> {
        let scaled = self.scaler();
        self.convert(|first, numbers: &[S], voxels| {
            for (n, (voxel, number)) in voxels.iter_mut().zip(numbers).enumerate() {
                let value = scaled(number.wide());
                if value.is_finite() && !(-PROBABILITY_SLACK..=1.0 + PROBABILITY_SLACK).contains(&value) {
                    let hint = "divide a score in per cent by 100; a model's logits need a sigmoid";
                    return Err(self.refuse(value.to_string(), first + n, "numbers of 0 to 1", hint));
                }
                *voxel = if value.is_finite() { value.clamp(0.0, 1.0) as f32 } else { f32::NAN };
            }
            Ok(())
        })
    }

    fn scaler(&self) -> impl Fn(f64) -> f64 + use<> {
        let [slope, intercept] = self.header.facts.scaling.unwrap_or([1.0, 0.0]);
        move |value| value * slope + intercept
    }

    fn refuse(&self, found: String, offset: usize, expected: &'static str, hint: &'static str) -> NiftiError {
        let (path, voxel) = (self.head.path().to_owned(), self.header.grid.index(offset));
        NiftiError::Voxel { path, kind: self.kind, found, voxel, expected, hint }
    }
}

/// The first few different numbers but 0, as `1, 2, 3, 4, …`.
fn distinct(values: impl Iterator<Item = f64>) -> String {
    let mut seen: Vec<f64> = Vec::new();
    for value in values {
        if value == 0.0 || seen.iter().any(|old| old.total_cmp(&value).is_eq()) {
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
