//! Writes a volume so that its file is there whole or not at all.

use super::deflate::{BLOCK, Deflater};
use super::error::NiftiError;
use super::header::{BYTES_1, SINGLE_OFFSET_1};
use super::orientation::Qform;
use crate::geometry::Grid;
use crate::volume::AnyVolume;
use libdeflater::Crc;
use nifti::NiftiType;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The `descrip` field holds 79 bytes and a zero.
const DESCRIPTION_BYTES: usize = 79;

/// Transform code of a grid in scanner coordinates, for sform and qform alike.
const SCANNER: i16 = 1;

/// Spatial unit code of millimetres.
const MILLIMETRES: u8 = 2;

/// What to write besides the volume.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// The `descrip` field, cut at 79 bytes: which program and step made the file.
    pub description: String,
}

/// Writes a volume as a single NIfTI-1 file, gzipped if the name ends in `.gz`.
///
/// Images and probabilities are stored as float32, masks as uint8, labels as the smallest of uint8, uint16 and uint32 that
/// holds them, all without slope and in this machine's byte order. sform and qform are the same and in mm; the affine is
/// rounded to f32. A sheared grid has no qform and gets the sform alone. Same volume and description, same bytes: the gzip
/// header has no time.
///
/// The file is written under another name in the same folder, flushed to the disk and then renamed, so that nobody ever sees
/// half of it; a file of that name is replaced. On an error nothing is left behind.
///
/// # Errors
/// [`NiftiError`]: a name that is neither `.nii` nor `.nii.gz`, a grid that a header cannot hold, or what the system says.
pub fn write(path: impl AsRef<Path>, volume: &AnyVolume, options: &WriteOptions) -> Result<(), NiftiError> {
    let path = path.as_ref();
    let gzip = is_gzip_name(path)?;
    let (datatype, voxels) = stored(volume);
    let header = header(path, volume.grid(), datatype, &options.description)?;
    let row = volume.grid().shape[0] * datatype.size_of();
    replace(path, |file| {
        if gzip {
            return write_gzip(file, &header, &voxels, row);
        }
        file.write_all(&header)?;
        let mut narrowed = Vec::new();
        voxels.blocks().try_for_each(|block| file.write_all(voxels.bytes(block, &mut narrowed)))
    })
    .map_err(|source| NiftiError::System { path: path.to_owned(), action: "write", source })
}

fn is_gzip_name(path: &Path) -> Result<bool, NiftiError> {
    let ends_in =
        |path: &Path, wanted: &str| path.extension().is_some_and(|end| end.eq_ignore_ascii_case(wanted));
    let gzip = ends_in(path, "gz");
    let inner = if gzip { path.with_extension("") } else { path.to_owned() };
    if ends_in(&inner, "nii") { Ok(gzip) } else { Err(NiftiError::Name { path: path.to_owned() }) }
}

/// Voxels that are stored as they are, or in fewer bytes: which are made block by block, in a memory that stays in the cache.
enum Voxels<'a> {
    Bytes(&'a [u8]),
    AsU8(&'a [u32]),
    AsU16(&'a [u32]),
}

impl Voxels<'_> {
    /// Bytes that all of them take.
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::AsU8(labels) => labels.len(),
            Self::AsU16(labels) => labels.len() * size_of::<u16>(),
        }
    }

    /// The places of all blocks among the bytes.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let len = self.len();
        (0..len).step_by(BLOCK).map(move |first| first..len.min(first + BLOCK))
    }

    /// Those bytes; both ends of `places` lie between voxels.
    fn bytes<'b>(&'b self, places: Range<usize>, narrowed: &'b mut Vec<u8>) -> &'b [u8] {
        narrowed.clear();
        match self {
            Self::Bytes(bytes) => return &bytes[places],
            Self::AsU8(labels) => narrowed.extend(labels[places].iter().map(|label| *label as u8)),
            Self::AsU16(labels) => {
                let labels = &labels[places.start / size_of::<u16>()..places.end / size_of::<u16>()];
                narrowed.resize(size_of_val(labels) / 2, 0);
                for (out, label) in narrowed.as_chunks_mut().0.iter_mut().zip(labels) {
                    *out = (*label as u16).to_ne_bytes();
                }
            }
        }
        narrowed
    }
}

fn stored(volume: &AnyVolume) -> (NiftiType, Voxels<'_>) {
    match volume {
        AnyVolume::Image(image) => (NiftiType::Float32, Voxels::Bytes(bytemuck::cast_slice(image.voxels()))),
        AnyVolume::Probability(p) => (NiftiType::Float32, Voxels::Bytes(bytemuck::cast_slice(p.voxels()))),
        AnyVolume::Mask(mask) => (NiftiType::Uint8, Voxels::Bytes(mask.voxels())),
        AnyVolume::Labels(labels) => {
            let labels = labels.voxels();
            // All bits that any of them has need as much room as the largest.
            let bits = labels.iter().fold(0, |bits, label| bits | label);
            if bits <= u8::MAX.into() {
                (NiftiType::Uint8, Voxels::AsU8(labels))
            } else if bits <= u16::MAX.into() {
                (NiftiType::Uint16, Voxels::AsU16(labels))
            } else {
                (NiftiType::Uint32, Voxels::Bytes(bytemuck::cast_slice(labels)))
            }
        }
    }
}

/// The header and the four bytes that say "no extensions".
fn header(
    path: &Path,
    grid: &Grid,
    datatype: NiftiType,
    description: &str,
) -> Result<[u8; SINGLE_OFFSET_1], NiftiError> {
    let fits = |n: usize| i16::try_from(n).is_ok_and(|n| n > 0);
    if !grid.shape.into_iter().all(fits) {
        return Err(NiftiError::Shape { path: path.to_owned(), found: grid.shape });
    }
    let rows = grid.voxel_to_world.rows().map(|row| row.map(|value| value as f32));
    if !grid.voxel_to_world.is_usable() || rows.iter().flatten().any(|value| !value.is_finite()) {
        let problem = "cannot be inverted or is not finite".to_owned();
        return Err(NiftiError::Affine { path: path.to_owned(), form: "sform", problem });
    }
    let qform = Qform::of(grid);
    let mut out = Fields([0; SINGLE_OFFSET_1]);
    out.i32(0, BYTES_1 as i32);
    out.bytes(38, b"r");
    for (n, dim) in [3, grid.shape[0], grid.shape[1], grid.shape[2], 1, 1, 1, 1].into_iter().enumerate() {
        out.i16(40 + 2 * n, dim as i16);
    }
    out.i16(70, datatype as i16);
    out.i16(72, 8 * datatype.size_of() as i16);
    out.f32(76, qform.map_or(1.0, |qform| qform.qfac) as f32);
    for (n, length) in grid.spacing_mm().into_iter().enumerate() {
        out.f32(80 + 4 * n, length as f32);
    }
    out.f32(108, SINGLE_OFFSET_1 as f32);
    out.f32(112, 1.0);
    out.bytes(123, &[MILLIMETRES]);
    out.bytes(148, cut(description));
    out.i16(254, SCANNER);
    if let Some(qform) = qform {
        out.i16(252, SCANNER);
        for (n, value) in qform.vector.into_iter().chain(qform.offset).enumerate() {
            out.f32(256 + 4 * n, value as f32);
        }
    }
    for (n, value) in rows.into_iter().flatten().enumerate() {
        out.f32(280 + 4 * n, value);
    }
    out.bytes(344, nifti::header::MAGIC_CODE_NIP1);
    Ok(out.0)
}

/// The longest beginning of `text` that fits and ends with a whole character.
fn cut(text: &str) -> &[u8] {
    let end = (0..=text.len().min(DESCRIPTION_BYTES)).rev().find(|&end| text.is_char_boundary(end));
    &text.as_bytes()[..end.unwrap_or(0)]
}

/// Header fields at their byte offsets, in this machine's byte order.
struct Fields([u8; SINGLE_OFFSET_1]);

impl Fields {
    fn bytes(&mut self, offset: usize, value: &[u8]) {
        self.0[offset..offset + value.len()].copy_from_slice(value);
    }

    fn i16(&mut self, offset: usize, value: i16) {
        self.bytes(offset, &value.to_ne_bytes());
    }

    fn i32(&mut self, offset: usize, value: i32) {
        self.bytes(offset, &value.to_ne_bytes());
    }

    fn f32(&mut self, offset: usize, value: f32) {
        self.bytes(offset, &value.to_ne_bytes());
    }
}

/// One gzip member: the header as a stored block, then the voxels, block by block.
///
/// * `row`: bytes of a row of voxels.
///
/// Source: RFC 1951 section 3.2.4, RFC 1952 section 2.3.
fn write_gzip(file: &mut File, header: &[u8], voxels: &Voxels<'_>, row: usize) -> io::Result<()> {
    // Mark, deflate, no flags, no time, fastest method, Unix.
    const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3];
    let len = u16::try_from(header.len()).expect("a header is short");
    let mut begin = GZIP_HEADER.to_vec();
    begin.push(0); // stored, and not the last block
    begin.extend(len.to_le_bytes());
    begin.extend((!len).to_le_bytes());
    begin.extend(header);
    file.write_all(&begin)?;
    let mut crc = Crc::new();
    crc.update(header);
    let mut narrowed = Vec::new();
    let mut deflater = Deflater::new(row);
    for block in voxels.blocks() {
        let start = block.start.saturating_sub(deflater.reach());
        let bytes = voxels.bytes(start..block.end, &mut narrowed);
        let from = block.start - start;
        crc.update(&bytes[from..]);
        file.write_all(deflater.block(bytes, from, block.end == voxels.len()))?;
    }
    file.write_all(&crc.sum().to_le_bytes())?;
    // RFC 1952: the length modulo 2^32.
    file.write_all(&((header.len() + voxels.len()) as u32).to_le_bytes())
}

/// Fills a new file and gives it the name `path` once all of it is on the disk.
fn replace(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".nifti-").suffix(".tmp");
    // A temporary file is its owner's alone; this one becomes a file like others, with the process's umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(&folder)?;
    fill(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The new name lies in the folder. Where that cannot be flushed (some network file systems, a folder without the right to
    // read it) the file is there and whole all the same, so this is no error.
    drop(File::open(&folder).and_then(|folder| folder.sync_all()));
    Ok(())
}
