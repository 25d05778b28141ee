//! What a TorchScript file tells without libtorch: it is a zip archive, whose directory lists its parts.
//!
//! Source: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.12 and 4.3.16; zip64 is not needed for the number and the names of parts.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of the record that ends a zip archive, without its comment.
const END_BYTES: usize = 22;
/// Bytes that are searched for this record: it and the longest comment.
const TAIL_BYTES: u64 = END_BYTES as u64 + 0xFFFF;
/// Bytes of a directory entry before its name.
const ENTRY_BYTES: usize = 46;
/// Largest directory that is read: some thousand parts take less than 1 MB.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;

/// What a file is, as far as its directory tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Archive {
    /// A TorchScript network, with so many tensors.
    Script {
        /// Number of tensors that are stored.
        tensors: usize,
    },
    /// No such network, and why.
    Other(&'static str),
}

/// Looks at a file's directory.
///
/// # Errors
/// When it cannot be read.
pub fn look(path: &Path) -> std::io::Result<Archive> {
    let mut file = std::fs::File::open(path)?;
    let Some(names) = names(&mut file)? else {
        return Ok(Archive::Other("it is no zip archive, or was cut short"));
    };
    let part = |end: &str| names.iter().any(|name| name.split_once('/').is_some_and(|(_, rest)| rest == end));
    let inside = |folder: &str| {
        names
            .iter()
            .filter(|name| name.split_once('/').is_some_and(|(_, rest)| rest.starts_with(folder)))
            .count()
    };
    if part("constants.pkl") && part("data.pkl") && inside("code/") > 0 {
        return Ok(Archive::Script { tensors: inside("data/") + inside("constants/") });
    }
    if part("data.pkl") {
        return Ok(Archive::Other("it holds weights without a network (torch.save)"));
    }
    Ok(Archive::Other("it is a zip archive of something else"))
}

/// Names of all parts; `None` if there is no directory.
fn names(file: &mut std::fs::File) -> std::io::Result<Option<Vec<String>>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let end =
        (0..=tail.len().saturating_sub(END_BYTES)).rev().find(|&at| tail[at..].starts_with(b"PK\x05\x06"));
    let Some(end) = end.filter(|end| tail.len() - end >= END_BYTES) else { return Ok(None) };
    let [bytes, start] = [end + 12, end + 16].map(|at| u64::from(number::<4>(&tail, at)));
    if bytes > MAX_DIRECTORY_BYTES || start + bytes > length {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(start))?;
    let mut directory = vec![0; bytes as usize];
    file.read_exact(&mut directory)?;
    let mut names = Vec::new();
    let mut at = 0;
    while at + ENTRY_BYTES <= directory.len() && directory[at..].starts_with(b"PK\x01\x02") {
        let [name, extra, comment] = [28, 30, 32].map(|field| number::<2>(&directory, at + field) as usize);
        let Some(bytes) = directory.get(at + ENTRY_BYTES..at + ENTRY_BYTES + name) else { return Ok(None) };
        names.push(String::from_utf8_lossy(bytes).into_owned());
        at += ENTRY_BYTES + name + extra + comment;
    }
    Ok(Some(names))
}

/// A number of `N` bytes, the lowest first.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + N].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A zip archive of empty parts: a directory is all that is looked at.
    pub(crate) fn archive(names: &[&str]) -> Vec<u8> {
        let mut file = b"PK\x03\x04".to_vec();
        let start = file.len() as u32;
        for name in names {
            let mut entry = [0; ENTRY_BYTES];
            entry[..4].copy_from_slice(b"PK\x01\x02");
            entry[28] = name.len() as u8;
            file.extend(entry);
            file.extend(name.bytes());
        }
        let bytes = file.len() as u32 - start;
        file.extend(b"PK\x05\x06");
        file.extend([0; 8]);
        file.extend(bytes.to_le_bytes());
        file.extend(start.to_le_bytes());
        file.extend([0; 2]);
        file
    }

    #[test]
    fn a_script_weights_alone_and_other_files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        let look = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            super::look(&path).unwrap()
        };
        let script =
            archive(&["m/data.pkl", "m/constants.pkl", "m/code/__torch__.py", "m/data/0", "m/data/1"]);
        assert_eq!(look(&script), Archive::Script { tensors: 2 });
        assert_eq!(
            look(&script[..script.len() - 5]),
            Archive::Other("it is no zip archive, or was cut short")
        );
        let weights = archive(&["m/data.pkl", "m/data/0"]);
        assert_eq!(look(&weights), Archive::Other("it holds weights without a network (torch.save)"));
        assert_eq!(look(&archive(&["readme.txt"])), Archive::Other("it is a zip archive of something else"));
        assert_eq!(look(b""), Archive::Other("it is no zip archive, or was cut short"));
        assert_eq!(look(&[0x80, 2, 0x8A]), Archive::Other("it is no zip archive, or was cut short"));
    }
}
