//! Both headers, from bytes to a checked description of one volume.

use super::HeaderFacts;
use super::error::NiftiError;
use super::orientation;
use super::source::Head;
use crate::geometry::Grid;
use nifti::{NiftiHeader, NiftiType};
use std::path::Path;

/// Bytes of a NIfTI-1 header; the first field holds this number.
pub(super) const BYTES_1: usize = 348;
/// Bytes of a NIfTI-2 header.
pub(super) const BYTES_2: usize = 540;
/// Where voxels begin in a single NIfTI-1 file without extensions.
pub(super) const SINGLE_OFFSET_1: usize = 352;
/// Where voxels begin in a single NIfTI-2 file without extensions.
const SINGLE_OFFSET_2: usize = 544;

/// A header that describes one volume, every field of it checked.
pub(super) struct Header {
    /// Where the voxels lie in the world.
    pub(super) grid: Grid,
    /// Type of the stored numbers, one that [`scalar_name`] knows.
    pub(super) datatype: NiftiType,
    /// Whether the bytes of each stored number run the other way than on this machine.
    pub(super) swapped: bool,
    /// Bytes before the first voxel, in the file that holds them.
    pub(super) offset: u64,
    /// Whether the voxels lie in a file of their own.
    pub(super) is_pair: bool,
    /// The rest.
    pub(super) facts: HeaderFacts,
}

/// The fields that matter, of either version, as they stand in the file.
pub(super) struct Fields {
    pub(super) version: u8,
    pub(super) big_endian: bool,
    pub(super) is_pair: bool,
    pub(super) dim: [i64; 8],
    pub(super) datatype: i16,
    pub(super) bitpix: i16,
    pub(super) pixdim: [f64; 8],
    pub(super) vox_offset: f64,
    pub(super) slope: f64,
    pub(super) intercept: f64,
    pub(super) xyzt_units: i32,
    pub(super) description: Vec<u8>,
    pub(super) qform_code: i32,
    pub(super) sform_code: i32,
    pub(super) quatern: [f64; 3],
    pub(super) qoffset: [f64; 3],
    pub(super) srow: [[f64; 4]; 3],
}

impl Header {
    /// Reads and checks a header.
    pub(super) fn parse(head: &Head) -> Result<Self, NiftiError> {
        let path = head.path();
        let fields = Fields::parse(head.bytes(), path)?;
        let datatype = datatype(&fields, path)?;
        let shape = shape(&fields, path)?;
        let mut warnings = Vec::new();
        let offset = offset(&fields, path, &mut warnings)?;
        let scaling = scaling(&fields, &mut warnings);
        let units = units(fields.xyzt_units, &mut warnings);
        let placed = orientation::place(&fields, shape, units.1, path, &mut warnings)?;
        let facts = HeaderFacts {
            version: fields.version,
            datatype: scalar_name(datatype).expect("checked above"),
            byte_order: if fields.big_endian { "big" } else { "little" },
            scaling,
            units: units.0,
            affine_from: placed.form,
            description: text(&fields.description),
            non_finite: 0,
            warnings,
        };
        let swapped = fields.big_endian != cfg!(target_endian = "big");
        Ok(Self {
            grid: Grid::new(shape, placed.affine),
            datatype,
            swapped,
            offset,
            is_pair: fields.is_pair,
            facts,
        })
    }
}

impl Fields {
    fn parse(bytes: &[u8], path: &Path) -> Result<Self, NiftiError> {
        let Some(size) = bytes.first_chunk::<4>() else {
            return Err(not_nifti(bytes, path));
        };
        let sizes = [i32::from_le_bytes(*size), i32::from_be_bytes(*size)];
        let of_size = |wanted: usize| sizes.iter().position(|&size| usize::try_from(size) == Ok(wanted));
        let (expected, fields) = if let Some(order) = of_size(BYTES_1) {
            (BYTES_1, bytes.get(..BYTES_1).map(|bytes| Self::parse_1(bytes, order == 1, path)))
        } else if let Some(order) = of_size(BYTES_2) {
            (BYTES_2, bytes.get(..BYTES_2).map(|bytes| Self::parse_2(bytes, order == 1, path)))
        } else {
            return Err(not_nifti(bytes, path));
        };
        fields.unwrap_or_else(|| {
            Err(NiftiError::Truncated {
                path: path.to_owned(),
                found: bytes.len() as u64,
                expected: expected as u64,
            })
        })
    }

    fn parse_1(bytes: &[u8], big_endian: bool, path: &Path) -> Result<Self, NiftiError> {
        let is_pair = match &bytes[344..348] {
            b"n+1\0" => false,
            b"ni1\0" => true,
            _ => return Err(analyze(path)),
        };
        // The crate tells the byte order from the number of dimensions, so that one must be right.
        let rank = Bytes { bytes, big_endian }.i16(40);
        check_rank(rank.into(), path)?;
        let header = NiftiHeader::from_reader(bytes).map_err(|error| NiftiError::NotNifti {
            path: path.to_owned(),
            found: error.to_string(),
            hint: "convert it again from the scanner's files",
        })?;
        Ok(Self {
            version: 1,
            big_endian,
            is_pair,
            dim: header.dim.map(|n| i64::from(n as i16)),
            datatype: header.datatype,
            bitpix: header.bitpix,
            pixdim: header.pixdim.map(f64::from),
            vox_offset: header.vox_offset.into(),
            slope: header.scl_slope.into(),
            intercept: header.scl_inter.into(),
            xyzt_units: header.xyzt_units.into(),
            description: header.descrip,
            qform_code: header.qform_code.into(),
            sform_code: header.sform_code.into(),
            quatern: [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from),
            qoffset: [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from),
            srow: [header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from)),
        })
    }

    fn parse_2(bytes: &[u8], big_endian: bool, path: &Path) -> Result<Self, NiftiError> {
        let is_pair = match &bytes[4..8] {
            b"n+2\0" => false,
            b"ni2\0" => true,
            other => {
                return Err(NiftiError::Field {
                    path: path.to_owned(),
                    field: "magic",
                    found: format!("`{}`", other.escape_ascii()),
                    expected: "`n+2` or `ni2`".to_owned(),
                    hint: "convert it again from the scanner's files",
                });
            }
        };
        if &bytes[8..12] != b"\r\n\x1a\n" {
            return Err(NiftiError::Field {
                path: path.to_owned(),
                field: "magic",
                found: format!("followed by `{}`", bytes[8..12].escape_ascii()),
                expected: "`\\r\\n\\x1a\\n` after it".to_owned(),
                hint: "the file was copied as text; copy it again in binary mode",
            });
        }
        let at = Bytes { bytes, big_endian };
        check_rank(at.i64(16), path)?;
        Ok(Self {
            version: 2,
            big_endian,
            is_pair,
            dim: std::array::from_fn(|n| at.i64(16 + 8 * n)),
            datatype: at.i16(12),
            bitpix: at.i16(14),
            pixdim: std::array::from_fn(|n| at.f64(104 + 8 * n)),
            vox_offset: at.i64(168) as f64,
            slope: at.f64(176),
            intercept: at.f64(184),
            xyzt_units: at.i32(500),
            description: bytes[240..320].to_vec(),
            qform_code: at.i32(344),
            sform_code: at.i32(348),
            quatern: std::array::from_fn(|n| at.f64(352 + 8 * n)),
            qoffset: std::array::from_fn(|n| at.f64(376 + 8 * n)),
            srow: std::array::from_fn(|r| std::array::from_fn(|c| at.f64(400 + 32 * r + 8 * c))),
        })
    }
}

/// Numbers at byte offsets of a header.
struct Bytes<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Bytes<'_> {
    fn take<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes: [u8; N] = std::array::from_fn(|n| self.bytes[offset + n]);
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }

    fn i16(&self, offset: usize) -> i16 {
        i16::from_le_bytes(self.take(offset))
    }

    fn i32(&self, offset: usize) -> i32 {
        i32::from_le_bytes(self.take(offset))
    }

    fn i64(&self, offset: usize) -> i64 {
        i64::from_le_bytes(self.take(offset))
    }

    fn f64(&self, offset: usize) -> f64 {
        f64::from_le_bytes(self.take(offset))
    }
}

fn not_nifti(bytes: &[u8], path: &Path) -> NiftiError {
    let (found, hint) = if bytes.is_empty() {
        ("the file is empty".to_owned(), "copy or convert it again")
    } else {
        let first = bytes[..bytes.len().min(16)].escape_ascii();
        (
            format!("it begins with `{first}`"),
            "convert DICOM and other formats to NIfTI first, with dcm2niix for one",
        )
    };
    NiftiError::NotNifti { path: path.to_owned(), found, hint }
}

fn analyze(path: &Path) -> NiftiError {
    NiftiError::NotNifti {
        path: path.to_owned(),
        found: "its header has no NIfTI mark, as in ANALYZE 7.5, which does not tell left from right"
            .to_owned(),
        hint: "convert the scanner's files to NIfTI, with dcm2niix for one",
    }
}

fn check_rank(rank: i64, path: &Path) -> Result<(), NiftiError> {
    if (1..=7).contains(&rank) {
        return Ok(());
    }
    Err(NiftiError::Field {
        path: path.to_owned(),
        field: "dim[0]",
        found: rank.to_string(),
        expected: "1 to 7 dimensions".to_owned(),
        hint: "the header is damaged; copy or convert the file again",
    })
}

fn shape(fields: &Fields, path: &Path) -> Result<[usize; 3], NiftiError> {
    const NAMES: [&str; 8] = ["dim[0]", "dim[1]", "dim[2]", "dim[3]", "dim[4]", "dim[5]", "dim[6]", "dim[7]"];
    let rank = fields.dim[0] as usize;
    let bad = |n: usize, expected: &str| NiftiError::Field {
        path: path.to_owned(),
        field: NAMES[n],
        found: fields.dim[n].to_string(),
        expected: expected.to_owned(),
        hint: "the header is damaged; copy or convert the file again",
    };
    let mut lengths = [1u64; 8];
    for (n, length) in lengths.iter_mut().enumerate().take(rank + 1).skip(1) {
        *length =
            u64::try_from(fields.dim[n]).ok().filter(|&len| len > 0).ok_or_else(|| bad(n, "1 or more"))?;
    }
    let volumes = lengths[4..].iter().fold(1u64, |product, &n| product.saturating_mul(n));
    if volumes != 1 {
        return Err(NiftiError::Volumes { path: path.to_owned(), found: volumes });
    }
    let mut voxels = 1usize;
    let mut shape = [1; 3];
    for axis in 0..3 {
        let product = usize::try_from(lengths[axis + 1]).ok().and_then(|n| voxels.checked_mul(n));
        // The largest stored number has 8 bytes.
        voxels =
            product.filter(|&n| n <= isize::MAX as usize / 8).ok_or_else(|| bad(axis + 1, "fewer voxels"))?;
        shape[axis] = lengths[axis + 1] as usize;
    }
    Ok(shape)
}

fn datatype(fields: &Fields, path: &Path) -> Result<NiftiType, NiftiError> {
    let datatype = nifti_type(fields.datatype).ok_or_else(|| NiftiError::Field {
        path: path.to_owned(),
        field: "datatype",
        found: fields.datatype.to_string(),
        expected: "a code of nifti1.h such as 4 (int16) or 16 (float32)".to_owned(),
        hint: "convert the file to float32",
    })?;
    if scalar_name(datatype).is_none() {
        let (datatype, hint) = refused(datatype);
        return Err(NiftiError::Datatype { path: path.to_owned(), datatype, hint });
    }
    let bits = 8 * datatype.size_of();
    if i64::from(fields.bitpix) != bits as i64 {
        return Err(NiftiError::Field {
            path: path.to_owned(),
            field: "bitpix",
            found: fields.bitpix.to_string(),
            expected: format!("{bits}, as datatype {} says", fields.datatype),
            hint: "the header is damaged; convert the file again",
        });
    }
    Ok(datatype)
}

fn nifti_type(code: i16) -> Option<NiftiType> {
    NiftiHeader { datatype: code, ..NiftiHeader::default() }.data_type().ok()
}

/// Name of a type that holds one number a voxel; `None` for the others.
pub(super) const fn scalar_name(datatype: NiftiType) -> Option<&'static str> {
    Some(match datatype {
        NiftiType::Uint8 => "uint8",
        NiftiType::Int8 => "int8",
        NiftiType::Uint16 => "uint16",
        NiftiType::Int16 => "int16",
        NiftiType::Uint32 => "uint32",
        NiftiType::Int32 => "int32",
        NiftiType::Uint64 => "uint64",
        NiftiType::Int64 => "int64",
        NiftiType::Float32 => "float32",
        NiftiType::Float64 => "float64",
        _ => return None,
    })
}

const fn refused(datatype: NiftiType) -> (&'static str, &'static str) {
    const COLOUR: &str = "this is a picture, not a measurement; take the scan it was made from";
    const COMPLEX: &str = "take the magnitude into a file of its own";
    match datatype {
        NiftiType::Rgb24 => ("RGB", COLOUR),
        NiftiType::Rgba32 => ("RGBA", COLOUR),
        NiftiType::Complex64 => ("complex64", COMPLEX),
        NiftiType::Complex128 => ("complex128", COMPLEX),
        NiftiType::Complex256 => ("complex256", COMPLEX),
        _ => ("float128", "convert the file to float32 or float64"),
    }
}

fn offset(fields: &Fields, path: &Path, warnings: &mut Vec<String>) -> Result<u64, NiftiError> {
    let (header, single) =
        if fields.version == 1 { (BYTES_1, SINGLE_OFFSET_1) } else { (BYTES_2, SINGLE_OFFSET_2) };
    let smallest = if fields.is_pair { 0 } else { header };
    let found = fields.vox_offset;
    if found == 0.0 && !fields.is_pair {
        warnings.push(format!("`vox_offset` is 0; taken as {single}"));
        return Ok(single as u64);
    }
    // Above 2^53 the field of NIfTI-2 is not exact here; no file is that long.
    if found >= smallest as f64 && found.fract() == 0.0 && found < 2f64.powi(53) {
        return Ok(found as u64);
    }
    Err(NiftiError::Field {
        path: path.to_owned(),
        field: "vox_offset",
        found: found.to_string(),
        expected: format!("a whole number of at least {smallest}"),
        hint: "the header is damaged; copy or convert the file again",
    })
}

/// Slope and intercept, unless they change nothing. A slope of 0 or NaN means that there is none.
fn scaling(fields: &Fields, warnings: &mut Vec<String>) -> Option<[f64; 2]> {
    if fields.slope == 0.0 || !fields.slope.is_finite() {
        return None;
    }
    let mut intercept = fields.intercept;
    if !intercept.is_finite() {
        warnings.push(format!("`scl_inter` is {intercept}; taken as 0"));
        intercept = 0.0;
    }
    Some([fields.slope, intercept]).filter(|&scaling| scaling != [1.0, 0.0])
}

/// Name of the unit of length, and its length in mm.
fn units(xyzt_units: i32, warnings: &mut Vec<String>) -> (&'static str, f64) {
    let (name, mm) = match xyzt_units & 7 {
        1 => ("m", 1000.0),
        2 => ("mm", 1.0),
        3 => ("um", 0.001),
        _ => ("unknown", 1.0),
    };
    if mm != 1.0 {
        warnings.push(format!("the header counts in {name}; converted to mm"));
    }
    (name, mm)
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).trim().to_owned()
}
