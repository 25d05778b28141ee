//! Files, pairs of files and gzip: from a path to the bytes of header and voxels.

use super::error::NiftiError;
use super::header::{BYTES_2, Header};
use crate::buffer::Pages;
use flate2::bufread::GzDecoder;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The first two bytes of a gzip file.
const GZIP_MARK: [u8; 2] = [0x1f, 0x8b];

/// What deflate can save at most: 258 bytes out of two bits.
const LARGEST_INFLATION: u64 = 1032;

/// How many bytes after the voxels of a gzip file are inflated to see that its checksum is right: as many as before, and
/// a megabyte.
const SPARE_BYTES: u64 = 1 << 20;

/// The first bytes of the file with the header.
pub(super) struct Head {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Head {
    /// Opens what `path` names; for an `.img` its `.hdr`.
    pub(super) fn open(path: &Path) -> Result<Self, NiftiError> {
        let file = if extension(path) == Some("img") { partner(path, "hdr")? } else { path.to_owned() };
        let bytes = first_bytes(&file)?;
        Ok(Self { path: file, bytes })
    }

    /// The file with the header.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its first bytes, inflated; fewer than a header if the file is short.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads `raw_bytes` bytes of voxels that are going to become `voxel_bytes` bytes.
    pub(super) fn load(
        &self,
        header: &Header,
        raw_bytes: usize,
        voxel_bytes: usize,
    ) -> Result<Raw, NiftiError> {
        let path = if header.is_pair { self.image_of_pair(header)? } else { self.path.clone() };
        let (mut file, len) = open(&path)?;
        // The header's check left room for 8 bytes a voxel, and the offset is below 2^53.
        let expected = header.offset + raw_bytes as u64;
        if is_gzip(&mut file, &path)? {
            return inflate(file, len, &path, header.offset, [raw_bytes, voxel_bytes]);
        }
        if len < expected {
            return Err(NiftiError::Truncated { path, found: len, expected });
        }
        let mut raw = Raw::new(0, [raw_bytes, voxel_bytes], &path)?;
        file.seek(SeekFrom::Start(header.offset)).map_err(|source| system(&path, "read", source))?;
        file.read_exact(&mut raw.pages[raw.start..]).map_err(|source| system(&path, "read", source))?;
        Ok(raw)
    }

    fn image_of_pair(&self, header: &Header) -> Result<PathBuf, NiftiError> {
        if extension(&self.path) == Some("hdr") {
            return partner(&self.path, "img");
        }
        Err(NiftiError::Field {
            path: self.path.clone(),
            field: "magic",
            found: format!("`ni{}`, half of a pair", header.facts.version),
            expected: "a file name that ends in .hdr".to_owned(),
            hint: "give the file the name it had, next to its .img",
        })
    }
}

/// Stored numbers at the end of a block that has room for the voxels at its beginning.
///
/// So the voxels can be made in the same memory, first to last: number `n` is read before voxel `n` is written, and no voxel
/// reaches a number that is still to be read.
pub(super) struct Raw {
    pub(super) pages: Pages,
    /// Byte at which the stored numbers begin; they end with the block.
    pub(super) start: usize,
}

impl Raw {
    /// A block for `before` bytes of header and the stored numbers behind it.
    fn new(before: usize, [raw_bytes, voxel_bytes]: [usize; 2], path: &Path) -> Result<Self, NiftiError> {
        let bytes = voxel_bytes.max(before.saturating_add(raw_bytes));
        Ok(Self { pages: pages(bytes, path)?, start: bytes - raw_bytes })
    }
}

fn pages(bytes: usize, path: &Path) -> Result<Pages, NiftiError> {
    Pages::new(bytes).map_err(|_| NiftiError::Memory { path: path.to_owned(), bytes: bytes as u64 })
}

fn system(path: &Path, action: &'static str, source: io::Error) -> NiftiError {
    NiftiError::System { path: path.to_owned(), action, source }
}

/// Opens a plain file; a pipe would wait for ever.
fn open(path: &Path) -> Result<(File, u64), NiftiError> {
    let metadata = fs::metadata(path).map_err(|source| system(path, "open", source))?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "a device or pipe" };
        return Err(NiftiError::NotAFile { path: path.to_owned(), found });
    }
    let file = File::open(path).map_err(|source| system(path, "open", source))?;
    Ok((file, metadata.len()))
}

fn is_gzip(file: &mut File, path: &Path) -> Result<bool, NiftiError> {
    let mut mark = Vec::new();
    file.take(2).read_to_end(&mut mark).map_err(|source| system(path, "read", source))?;
    file.rewind().map_err(|source| system(path, "read", source))?;
    Ok(mark == GZIP_MARK)
}

fn first_bytes(path: &Path) -> Result<Vec<u8>, NiftiError> {
    let (mut file, _) = open(path)?;
    let gzip = is_gzip(&mut file, path)?;
    let mut bytes = Vec::with_capacity(BYTES_2);
    let reader = BufReader::new(file);
    if !gzip {
        reader.take(BYTES_2 as u64).read_to_end(&mut bytes).map_err(|source| system(path, "read", source))?;
        return Ok(bytes);
    }
    // A fault after the first inflated bytes is the voxels' matter: `inflate` meets it again.
    let decoder = flate2::bufread::MultiGzDecoder::new(reader);
    let end = decoder.take(BYTES_2 as u64).read_to_end(&mut bytes);
    if let Err(error) = end
        && bytes.is_empty()
    {
        return Err(NiftiError::Damaged { path: path.to_owned(), problem: error.to_string() });
    }
    Ok(bytes)
}

fn inflate(mut file: File, len: u64, path: &Path, offset: u64, sizes: [usize; 2]) -> Result<Raw, NiftiError> {
    let expected = offset + sizes[0] as u64;
    let largest = len.saturating_mul(LARGEST_INFLATION);
    if largest < expected {
        return Err(NiftiError::Truncated { path: path.to_owned(), found: largest, expected });
    }
    let mut packed = pages(len as usize, path)?;
    file.read_exact(&mut packed).map_err(|source| system(path, "read", source))?;
    let mut raw = Raw::new(offset as usize, sizes, path)?;
    let header_start = raw.start - offset as usize;
    unpack(&packed, &mut raw.pages[header_start..], path)?;
    Ok(raw)
}

/// Inflates all members of a gzip file, checks their checksums, and keeps what fits into `out`.
fn unpack(packed: &[u8], out: &mut [u8], path: &Path) -> Result<(), NiftiError> {
    // The fast way knows one member only, and not where it ends: it ends the file if the file's last word is its length.
    let last_word = packed.last_chunk::<4>().map(|word| u32::from_le_bytes(*word));
    let inflated = libdeflater::Decompressor::new().gzip_decompress(packed, out);
    if inflated == Ok(out.len()) && last_word == Some(out.len() as u32) {
        return Ok(());
    }
    unpack_members(packed, out, path)
}

fn unpack_members(packed: &[u8], out: &mut [u8], path: &Path) -> Result<(), NiftiError> {
    let damaged = |problem: String| NiftiError::Damaged { path: path.to_owned(), problem };
    let expected = out.len() as u64;
    let mut rest = packed;
    let mut filled = 0;
    let mut spare = 0u64;
    // Zeros or other bytes after a member are padding, as for gzip itself.
    while rest.starts_with(&GZIP_MARK) {
        let mut member = GzDecoder::new(rest);
        filled += fill(&mut member, &mut out[filled..]).map_err(|error| damaged(error.to_string()))?;
        let room = (expected + SPARE_BYTES).saturating_sub(spare);
        let mut tail = (&mut member).take(room);
        spare += io::copy(&mut tail, &mut io::sink()).map_err(|error| damaged(error.to_string()))?;
        if spare >= expected + SPARE_BYTES {
            return Err(damaged(format!(
                "they inflate to more than twice the {expected} bytes of the header"
            )));
        }
        rest = member.into_inner();
    }
    if (filled as u64) < expected {
        return Err(NiftiError::Truncated { path: path.to_owned(), found: filled as u64, expected });
    }
    Ok(())
}

/// Reads until `out` is full or the reader at its end; returns how many bytes were read.
fn fill(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match reader.read(&mut out[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// The extension under a `.gz`, in lower case if it is one of a pair's.
fn extension(path: &Path) -> Option<&'static str> {
    let inner = without_gz(path);
    let found = inner.extension()?;
    ["hdr", "img"].into_iter().find(|known| found.eq_ignore_ascii_case(known))
}

fn without_gz(path: &Path) -> PathBuf {
    let gz = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    if gz { path.with_extension("") } else { path.to_owned() }
}

/// The other half of a pair: packed as this half is, or else the other way; in capitals if this half is.
fn partner(path: &Path, extension: &str) -> Result<PathBuf, NiftiError> {
    let inner = without_gz(path);
    let capital =
        inner.extension().and_then(OsStr::to_str).is_some_and(|ext| ext.chars().all(char::is_uppercase));
    let plain = inner.with_extension(if capital { extension.to_uppercase() } else { extension.to_owned() });
    let mut packed = plain.clone().into_os_string();
    packed.push(".gz");
    let packed = PathBuf::from(packed);
    let order = if inner.as_path() == path { [plain, packed] } else { [packed, plain] };
    let missing = order[0].clone();
    // Whatever is there is taken, so that a folder or a file without permission is named as such.
    let found = order.into_iter().find(|half| fs::symlink_metadata(half).is_ok());
    found.ok_or_else(|| NiftiError::MissingPartner { path: path.to_owned(), partner: missing })
}
