//! Reads and writes NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz` and pairs of `.hdr` and `.img`, both byte orders.
//!
//! A file is read by what it holds, not by its name: gzip and byte order are seen in its first bytes. The header is checked
//! whole, and against the file's size, before memory is taken for the voxels. `scl_slope` and `scl_inter` are applied in
//! `f64`; what cannot be read as one scalar volume (several volumes, colour, complex) is refused by name. Voxels that are
//! not finite are kept and counted: whoever takes the volume decides.
//!
//! World coordinates follow the standard, in RAS+ mm: `sform` where its code is above 0, else `qform`, else the spacing
//! alone. In the last case the standard has no orientation; axes and origin are then as nibabel and SPM take them (`i` runs
//! to the left, the middle of the grid is the origin), with a warning.
//!
//! Differs from the crate `nifti`, on which it builds for the NIfTI-1 header, in that gzip checksums and lengths are checked,
//! NIfTI-2 is known, and a written file appears under its own name whole or not at all.
//!
//! Source: R. W. Cox et al., nifti1.h and nifti2.h, nifti.nimh.nih.gov.

mod convert;
mod deflate;
mod error;
mod header;
mod orientation;
mod source;
mod write;

pub use error::NiftiError;
pub use write::{WriteOptions, write};

use crate::buffer::Buf;
use crate::geometry::Grid;
use crate::value::Kind;
use crate::volume::{AnyVolume, Image, Labels, Mask, Probability};
use header::Header;
use serde::Serialize;
use source::Head;
use std::path::Path;

/// A volume and what its file's header tells besides.
#[derive(Clone, Debug)]
pub struct Read {
    /// The voxels on their grid.
    pub volume: AnyVolume,
    /// The rest of the header.
    pub header: HeaderFacts,
}

/// What a header tells besides the grid.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HeaderFacts {
    /// 1 or 2.
    pub version: u8,
    /// Type of the stored numbers: `int16`, `float32`, …
    pub datatype: &'static str,
    /// Byte order: `little` or `big`.
    pub byte_order: &'static str,
    /// Slope and intercept, where they change the stored numbers.
    pub scaling: Option<[f64; 2]>,
    /// Unit of length in the file: `mm`, `m`, `um` or `unknown` (taken as mm). The grid is in mm.
    pub units: &'static str,
    /// Where the grid's affine comes from: `sform`, `qform` or `spacing`.
    pub affine_from: &'static str,
    /// The `descrip` field.
    pub description: String,
    /// Number of voxels that are NaN or infinite; always 0 but in an image.
    pub non_finite: usize,
    /// What a report must show.
    pub warnings: Vec<String>,
}

/// Reads a file as a volume of a kind.
///
/// * image: any number, as f32.
/// * mask: 0 and one other value, which becomes 1.
/// * labels: integers in 0..=4294967295, exact whatever the stored type.
/// * probability: 0..=1; up to 1e-6 beyond (the rounding of a stored slope) is clamped.
///
/// # Errors
/// [`NiftiError`]: the file cannot be had, is damaged, or does not hold one volume of that kind.
pub fn read(path: impl AsRef<Path>, kind: Kind) -> Result<Read, NiftiError> {
    let path = path.as_ref();
    if !kind.is_volume() {
        return Err(NiftiError::NotAVolumeKind { path: path.to_owned(), kind });
    }
    let head = Head::open(path)?;
    let mut header = Header::parse(&head)?;
    let (volume, non_finite) = convert::volume(&head, &header, kind)?;
    if non_finite > 0 {
        header.facts.warnings.push(format!("{non_finite} voxels are NaN or infinite"));
    }
    let facts = HeaderFacts { non_finite, ..header.facts };
    log_warnings(path, &facts.warnings);
    Ok(Read { volume, header: facts })
}

/// Reads a file as an image; see [`read`].
///
/// # Errors
/// As [`read`].
pub fn read_image(path: impl AsRef<Path>) -> Result<Image, NiftiError> {
    match read(path, Kind::Image)?.volume {
        AnyVolume::Image(image) => Ok(image),
        other => unreachable!("asked for an image, read {other:?}"),
    }
}

/// Reads a file as a mask; see [`read`].
///
/// # Errors
/// As [`read`].
pub fn read_mask(path: impl AsRef<Path>) -> Result<Mask, NiftiError> {
    match read(path, Kind::Mask)?.volume {
        AnyVolume::Mask(mask) => Ok(mask),
        other => unreachable!("asked for a mask, read {other:?}"),
    }
}

/// Reads a file as labels; see [`read`].
///
/// # Errors
/// As [`read`].
pub fn read_labels(path: impl AsRef<Path>) -> Result<Labels, NiftiError> {
    match read(path, Kind::Labels)?.volume {
        AnyVolume::Labels(labels) => Ok(labels),
        other => unreachable!("asked for labels, read {other:?}"),
    }
}

/// Reads a file as a probability; see [`read`].
///
/// # Errors
/// As [`read`].
pub fn read_probability(path: impl AsRef<Path>) -> Result<Probability, NiftiError> {
    match read(path, Kind::Probability)?.volume {
        AnyVolume::Probability(probability) => Ok(probability),
        other => unreachable!("asked for a probability, read {other:?}"),
    }
}

/// The numbers of a file as they are stored, `i` fastest, in this machine's byte order.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is the type it names")]
pub enum Stored {
    U8(Buf<u8>),
    I16(Buf<i16>),
    U16(Buf<u16>),
    I32(Buf<i32>),
    U32(Buf<u32>),
    F32(Buf<f32>),
    F64(Buf<f64>),
}

/// Reads a file's numbers without slope and intercept, in the memory they take in the file.
///
/// # Errors
/// As [`read`]; also for integers of 8 bits with a sign and of 64 bits, which no buffer holds.
pub fn read_stored(path: impl AsRef<Path>) -> Result<Stored, NiftiError> {
    let head = Head::open(path.as_ref())?;
    let header = Header::parse(&head)?;
    log_warnings(path.as_ref(), &header.facts.warnings);
    convert::stored(&head, &header)
}

/// Reads a file's grid and the warnings about its header; of a gzip file only the first bytes are inflated.
///
/// # Errors
/// [`NiftiError`]: as [`read`] as far as the header can tell. Voxels that are missing or damaged go unnoticed.
pub fn read_grid(path: impl AsRef<Path>) -> Result<(Grid, Vec<String>), NiftiError> {
    let header = Header::parse(&Head::open(path.as_ref())?)?;
    Ok((header.grid, header.facts.warnings))
}

fn log_warnings(path: &Path, warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("`{}`: {warning}", path.display());
    }
}
