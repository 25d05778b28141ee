//! Files, pairs of files and gzip: from a path to the bytes of header and voxels.

use super::error::NiftiError;
use super::header::{BYTES_2, Header};
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

    /// Reads `count` stored numbers from `header.offset`, in the file's byte order.
    pub(super) fn load<T: bytemuck::Pod>(
        &self,
        header: &Header,
        count: usize,
    ) -> Result<Block<T>, NiftiError> {
        let path = if header.is_pair { self.image_of_pair(header)? } else { self.path.clone() };
        let (mut file, len) = open(&path)?;
        // The header's check left room for 8 bytes a voxel, the offset is below 2^53.
        let expected = header.offset + (count * size_of::<T>()) as u64;
        if is_gzip(&mut file, &path)? {
            return inflate(file, len, &path, header.offset, count);
        }
        if len < expected {
            return Err(NiftiError::Truncated { path, found: len, expected });
        }
        let mut numbers = zeroed::<T>(count, &path)?;
        file.seek(SeekFrom::Start(header.offset)).map_err(|source| system(&path, "read", source))?;
        file.read_exact(bytemuck::cast_slice_mut(&mut numbers))
            .map_err(|source| system(&path, "read", source))?;
        Ok(Block { numbers, start: 0 })
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

/// Stored numbers, the first few of which may be header.
pub(super) struct Block<T> {
    numbers: Vec<T>,
    start: usize,
}

impl<T> Block<T> {
    /// The numbers of the voxels.
    pub(super) fn voxels(&self) -> &[T] {
        &self.numbers[self.start..]
    }

    /// The same, to change them.
    pub(super) fn voxels_mut(&mut self) -> &mut [T] {
        &mut self.numbers[self.start..]
    }

    /// The same as a `Vec`, in the memory they are in.
    pub(super) fn into_vec(mut self) -> Vec<T> {
        self.numbers.drain(..self.start);
        self.numbers
    }
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

/// Zeros, or an error where there is no room for them.
fn zeroed<T: bytemuck::Pod>(count: usize, path: &Path) -> Result<Vec<T>, NiftiError> {
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    let full = |_| NiftiError::Memory { path: path.to_owned(), bytes };
    // `vec!` gets untouched pages from the system, but ends the process when there are none: so ask first.
    Vec::<T>::new().try_reserve_exact(count).map_err(full)?;
    Ok(vec![T::zeroed(); count])
}

fn inflate<T: bytemuck::Pod>(
    file: File,
    len: u64,
    path: &Path,
    offset: u64,
    count: usize,
) -> Result<Block<T>, NiftiError> {
    let size = size_of::<T>();
    let expected = offset + (count * size) as u64;
    let largest = len.saturating_mul(LARGEST_INFLATION);
    if largest < expected {
        return Err(NiftiError::Truncated { path: path.to_owned(), found: largest, expected });
    }
    let mut packed = Vec::with_capacity(len as usize);
    file.take(len).read_to_end(&mut packed).map_err(|source| system(path, "read", source))?;
    let expected = expected as usize;
    let mut numbers = zeroed::<T>(expected.div_ceil(size), path)?;
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut numbers);
    unpack(&packed, &mut bytes[..expected], path)?;
    drop(packed);
    let offset = offset as usize;
    let start = offset / size;
    if !offset.is_multiple_of(size) {
        bytes.copy_within(offset..expected, start * size);
        numbers.truncate(start + count);
    }
    Ok(Block { numbers, start })
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
