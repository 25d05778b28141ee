//! One file that holds values: what a stage made of a case, or what later stages are to read of it.
//!
//! ```text
//! 0    "NLENTRY\0"                  8 bytes
//! 8    version, length of the head  4 + 4 bytes, little endian
//! 16   BLAKE3 of these 16 bytes and the head
//! 48   the head, JSON: what is inside, with places and digests; zeros up to the next multiple of 64
//! …    blocks, each at a multiple of 64: a value's header (canonical JSON), or its numbers as they lie in memory
//! ```
//! To know what is inside, only the head is read. Blocks are mapped, never copied, and verified when a value is loaded.
//! A file gets its name when it is complete, is read-only from then on and never changed: only replaced or removed.

use super::digest::{self, Digest};
use super::map::Mapped;
use sdk::abi;
use sdk::{Inputs, Kind, Outputs, Value};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// First bytes of an entry file.
const MAGIC: &[u8; 8] = b"NLENTRY\0";
/// Raised when the layout changes.
pub const VERSION: u32 = 1;
/// Magic, version, length of the head.
const START_BYTES: usize = 16;
/// What stands before the head: the above, and a digest.
const PREFIX_BYTES: usize = START_BYTES + 32;
/// Where blocks begin: a cache line, enough for every element type and for SIMD.
const ALIGN_BYTES: usize = 64;
/// Bytes read at once to see a head: those of all but entries with dozens of values.
const FIRST_READ_BYTES: usize = 4096;
/// Heads beyond this are a sign of damage: a head takes some 200 bytes a value.
const MOST_HEAD_BYTES: u32 = 64 << 20;
/// How the names of files end that are not complete yet.
pub(super) const PART_SUFFIX: &str = ".part";
/// Anyone whom the folder lets in may read, nobody may write.
const MODE: u32 = 0o444;

/// Why values could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The file is not there, or the system does not give it.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not what was once written.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file could not be written; nothing is left of it.
    #[error(
        "{}: {bytes} bytes could not be written: {source}\nhint: {}",
        path.display(),
        way_out(source)
    )]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// Its size, in bytes.
        bytes: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// A value that cannot be in such a file.
    #[error("`{port}` cannot be stored: {reason}")]
    Unstorable {
        /// Its `port` or `port.member`.
        port: String,
        /// Why not.
        reason: String,
    },
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room on that disk, or name a folder on another one"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "name a folder that you may write to"
        }
        _ => "is the disk still there?",
    }
}

/// What a file says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    /// The key it is stored under, if it is part of a store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Digest>,
    /// What it took to make the values.
    seconds: f64,
    /// Bytes of all blocks, padding included.
    bytes: u64,
    values: Vec<Record>,
}

/// A value in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    port: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    member: String,
    kind: Kind,
    digest: Digest,
    /// Where it lies; nothing in a file of digests alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<PlaceInFile>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct PlaceInFile {
    header: Block,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    numbers: Option<Numbers>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Numbers {
    /// Element type, as numbered at the library border.
    element: u8,
    block: Block,
}

/// Bytes, counted from the first block.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Block {
    offset: u64,
    bytes: u64,
}

/// A value that a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its port.
    pub port: String,
    /// Its member; empty for a single value.
    pub member: String,
    /// What it is.
    pub kind: Kind,
    /// [`Digest::of_value`].
    pub digest: Digest,
}

/// Values with their ports and members (empty for single values).
pub type Entries<'a> = [(&'a str, &'a str, &'a Value)];

/// An entry file whose head is known to be sound.
#[derive(Debug)]
pub struct EntryFile {
    path: PathBuf,
    file: File,
    head: Head,
    /// Where the first block begins, in bytes.
    start: usize,
}

/// Values on their way into a file.
pub(super) struct Draft<'a> {
    values: Vec<(&'a Value, String)>,
    head: Head,
}

/// Writes values into a file of their own. When it returns, they are on the disk; if it fails, there is no file.
///
/// # Errors
/// [`EntryError::Unwritten`], or [`EntryError::Unstorable`] for a path or a transform that is not finite.
pub fn write(path: &Path, values: &Entries<'_>) -> Result<Vec<Listed>, EntryError> {
    let draft = Draft::new(values)?;
    draft.write(path, true)?;
    Ok(draft.listed())
}

/// Opens a file of values. Only its head is read.
///
/// # Errors
/// [`EntryError::Unreadable`], or [`EntryError::Damaged`] if it is not complete, not sound, or of another version.
pub fn open(path: &Path) -> Result<EntryFile, EntryError> {
    let unreadable = |source| EntryError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let (head, start) = read_head(&file, length).map_err(|what| match what {
        Unsound::Io(source) => unreadable(source),
        Unsound::Damaged(what) => EntryError::Damaged { path: path.to_owned(), what },
    })?;
    Ok(EntryFile { path: path.to_owned(), file, head, start })
}

enum Unsound {
    Io(io::Error),
    Damaged(String),
}

fn read_head(file: &File, length: u64) -> Result<(Head, usize), Unsound> {
    let damaged = |what: &str| Err(Unsound::Damaged(what.to_owned()));
    let mut bytes = Vec::with_capacity(FIRST_READ_BYTES);
    file.take(FIRST_READ_BYTES as u64).read_to_end(&mut bytes).map_err(Unsound::Io)?;
    if bytes.is_empty() {
        return damaged("the file is empty");
    }
    let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else {
        return damaged("the file ends before its head");
    };
    if !prefix.starts_with(MAGIC) {
        return damaged("this is no entry file");
    }
    let number = |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
    let (version, head_bytes) = (number(MAGIC.len()), number(MAGIC.len() + 4));
    if version != VERSION {
        return damaged(&format!("it is of version {version}, this engine reads version {VERSION}"));
    }
    if head_bytes > MOST_HEAD_BYTES {
        return damaged(&format!("its head claims {head_bytes} bytes"));
    }
    let end = PREFIX_BYTES + head_bytes as usize;
    let start = end.next_multiple_of(ALIGN_BYTES);
    if bytes.len() < start {
        let rest = (start - bytes.len()) as u64;
        file.take(rest).read_to_end(&mut bytes).map_err(Unsound::Io)?;
    }
    let Some(padding) = bytes.get(end..start) else { return damaged("the file ends within its head") };
    let expected = &bytes[START_BYTES..PREFIX_BYTES];
    if head_digest(&bytes[..START_BYTES], &bytes[PREFIX_BYTES..end]).bytes() != expected
        || padding.iter().any(|byte| *byte != 0)
    {
        return damaged("its head is not what was written: its checksum differs");
    }
    let head: Head = serde_json::from_slice(&bytes[PREFIX_BYTES..end])
        .map_err(|error| Unsound::Damaged(format!("its head is unreadable: {error}")))?;
    if length != start as u64 + head.bytes {
        return damaged(&format!("it is {length} bytes long instead of {}", start as u64 + head.bytes));
    }
    Ok((head, start))
}

fn head_digest(start: &[u8], head: &[u8]) -> Digest {
    Digest::of_bytes(&[start, head].concat())
}

impl<'a> Draft<'a> {
    /// Lays values out, and hashes them.
    pub(super) fn new(values: &Entries<'a>) -> Result<Self, EntryError> {
        let mut draft = Self::digests(values);
        let mut next = 0;
        let mut block = |bytes: usize| {
            let block = Block { offset: next, bytes: bytes as u64 };
            next += bytes.next_multiple_of(ALIGN_BYTES) as u64;
            block
        };
        for (record, (value, header)) in draft.head.values.iter_mut().zip(&draft.values) {
            readable_again(value).map_err(|reason| {
                let port = [record.port.as_str(), &record.member].join(".");
                EntryError::Unstorable { port: port.trim_end_matches('.').to_owned(), reason }
            })?;
            let header = block(header.len());
            let numbers =
                digest::payload(value).map(|(element, bytes)| Numbers { element, block: block(bytes.len()) });
            record.place = Some(PlaceInFile { header, numbers });
        }
        draft.head.bytes = next;
        Ok(draft)
    }

    /// Only hashes them: the file will hold no values.
    pub(super) fn digests(values: &Entries<'a>) -> Self {
        let record = |(port, member, value): &(&str, &str, &'a Value)| {
            let header = digest::header(value);
            let digest = Digest::of_parts(value.kind().name(), &header, digest::payload(value));
            let (port, member) = ((*port).to_owned(), (*member).to_owned());
            (Record { port, member, kind: value.kind(), digest, place: None }, (*value, header))
        };
        let (records, values) = values.iter().map(record).unzip();
        Self { values, head: Head { key: None, seconds: 0.0, bytes: 0, values: records } }
    }

    /// The same as part of a store.
    pub(super) fn under(mut self, key: Digest, seconds: f64) -> Self {
        self.head.key = Some(key);
        self.head.seconds = if seconds.is_finite() { seconds } else { 0.0 };
        self
    }

    /// Without the values themselves.
    pub(super) fn without_values(mut self) -> Self {
        self.head.values.iter_mut().for_each(|record| record.place = None);
        self.head.bytes = 0;
        self
    }

    pub(super) fn listed(&self) -> Vec<Listed> {
        self.head.listed()
    }

    /// Bytes of all blocks.
    pub(super) fn bytes(&self) -> u64 {
        self.head.bytes
    }

    /// Whether the file will hold the values themselves.
    pub(super) fn has_values(&self) -> bool {
        self.head.has_values()
    }

    /// Writes the file under a temporary name beside `path`, and renames it; `durable`: not before the disk has it.
    /// Returns its size in bytes.
    pub(super) fn write(&self, path: &Path, durable: bool) -> Result<u64, EntryError> {
        let head = serde_json::to_vec(&self.head).expect("a head is plain text and numbers");
        let size = (PREFIX_BYTES + head.len()).next_multiple_of(ALIGN_BYTES) as u64 + self.head.bytes;
        let written = self.write_parts(path, &head, durable);
        written.map_err(|source| EntryError::Unwritten { path: path.to_owned(), bytes: size, source })?;
        Ok(size)
    }

    fn write_parts(&self, path: &Path, head: &[u8], durable: bool) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut part = tempfile::Builder::new().prefix(".").suffix(PART_SUFFIX).tempfile_in(folder)?;
        let mut start = [0; START_BYTES];
        start[..8].copy_from_slice(MAGIC);
        start[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let length = u32::try_from(head.len()).map_err(io::Error::other)?;
        start[12..].copy_from_slice(&length.to_le_bytes());
        let file = part.as_file_mut();
        let prefix = [&start[..], head_digest(&start, head).bytes(), head].concat();
        write_padded(file, &prefix)?;
        for ((value, header), record) in self.values.iter().zip(&self.head.values) {
            if record.place.is_some() {
                write_padded(file, header.as_bytes())?;
                if let Some((_, bytes)) = digest::payload(value) {
                    write_padded(file, bytes)?;
                }
            }
        }
        read_only(file)?;
        if durable {
            file.sync_all()?;
        }
        part.persist(path).map_err(|error| error.error)?;
        if durable {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

fn write_padded(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.write_all(&[0; ALIGN_BYTES][..bytes.len().next_multiple_of(ALIGN_BYTES) - bytes.len()])
}

#[cfg(unix)]
fn read_only(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(MODE))
}

#[cfg(not(unix))]
fn read_only(file: &File) -> io::Result<()> {
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(true);
    file.set_permissions(permissions)
}

/// Whether a value can come back from a file; else why not.
fn readable_again(value: &Value) -> Result<(), String> {
    if value.kind() == Kind::File {
        return Err("a path to a file that may be gone".to_owned());
    }
    if digest::payload(value).is_some() {
        return Ok(());
    }
    let back = sdk::border::to_abi(value).and_then(|crossing| sdk::border::from_abi(&crossing));
    back.map(drop).map_err(|error| error.message)
}

impl Head {
    fn listed(&self) -> Vec<Listed> {
        let listed = |record: &Record| Listed {
            port: record.port.clone(),
            member: record.member.clone(),
            kind: record.kind,
            digest: record.digest,
        };
        self.values.iter().map(listed).collect()
    }

    fn has_values(&self) -> bool {
        self.values.iter().all(|record| record.place.is_some())
    }
}

impl EntryFile {
    /// What is inside.
    pub fn list(&self) -> Vec<Listed> {
        self.head.listed()
    }

    /// The key it is stored under, if it is part of a store.
    pub fn key(&self) -> Option<Digest> {
        self.head.key
    }

    /// What it took to make the values, in seconds.
    pub fn seconds(&self) -> f64 {
        self.head.seconds
    }

    /// Whether the values themselves are inside, and not only their digests.
    pub fn has_values(&self) -> bool {
        self.head.has_values()
    }

    /// The value at `port` and `member`, verified; nothing if there is none. Its numbers stay in the mapped file.
    ///
    /// # Errors
    /// [`EntryError::Damaged`] if it is not what was written.
    pub fn load(&self, port: &str, member: &str) -> Result<Option<Value>, EntryError> {
        let found = self.head.values.iter().find(|record| record.port == port && record.member == member);
        found.map(|record| self.value(&self.map()?, record)).transpose()
    }

    /// All values, verified.
    ///
    /// # Errors
    /// [`EntryError::Damaged`] if one of them is not what was written, or the file holds digests only.
    pub fn load_all(&self) -> Result<Outputs, EntryError> {
        let mut values = Inputs::new();
        if self.head.values.is_empty() {
            return Ok(values);
        }
        let map = self.map()?;
        for record in &self.head.values {
            values.insert(&record.port, &record.member, self.value(&map, record)?);
        }
        Ok(values)
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    fn map(&self) -> Result<Mapped, EntryError> {
        Mapped::new(&self.file).map_err(|source| EntryError::Unreadable { path: self.path.clone(), source })
    }

    fn damaged(&self, what: String) -> EntryError {
        EntryError::Damaged { path: self.path.clone(), what }
    }

    fn value(&self, map: &Mapped, record: &Record) -> Result<Value, EntryError> {
        self.verified(map, record).map_err(|what| {
            let port = [record.port.as_str(), &record.member].join(".");
            self.damaged(format!("`{}` {what}", port.trim_end_matches('.')))
        })
    }

    fn verified(&self, map: &Mapped, record: &Record) -> Result<Value, String> {
        let place = record.place.ok_or("is there as a digest only")?;
        let header = self.block(map, place.header)?;
        let numbers =
            place.numbers.map(|numbers| Ok::<_, String>((numbers.element, self.block(map, numbers.block)?)));
        let numbers = numbers.transpose()?;
        let bytes = |range: &std::ops::Range<usize>| &map.bytes()[range.clone()];
        let differs = "is not what was written: its checksum differs";
        let text = std::str::from_utf8(bytes(&header)).map_err(|_| differs)?;
        let payload = numbers.as_ref().map(|(element, range)| (*element, bytes(range)));
        if Digest::of_parts(record.kind.name(), text, payload) != record.digest {
            return Err(differs.to_owned());
        }
        let mut crossing = abi::Value {
            kind: record.kind.name().into(),
            header: text.into(),
            buffers: abi::abi_stable::std_types::RVec::new(),
        };
        if let Some((element, range)) = numbers {
            let buffer = match element {
                0 => map.buf::<u8>(range).map(|buf| buf.raw()),
                4 => map.buf::<u32>(range).map(|buf| buf.raw()),
                6 => map.buf::<f32>(range).map(|buf| buf.raw()),
                _ => None,
            };
            crossing.buffers.push(buffer.ok_or("holds numbers of a type that no value has")?);
        }
        sdk::border::from_abi(&crossing).map_err(|error| error.message)
    }

    /// Where a block lies in the file; what follows it up to the next one must be zero.
    fn block(&self, map: &Mapped, block: Block) -> Result<std::ops::Range<usize>, String> {
        let outside = "lies outside the file";
        let begin = usize::try_from(block.offset).ok().and_then(|offset| self.start.checked_add(offset));
        let begin = begin.ok_or(outside)?;
        let end =
            usize::try_from(block.bytes).ok().and_then(|bytes| begin.checked_add(bytes)).ok_or(outside)?;
        let padding = map.bytes().get(end..end.next_multiple_of(ALIGN_BYTES)).ok_or(outside)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err("is followed by bytes that nobody wrote".to_owned());
        }
        Ok(begin..end)
    }
}
