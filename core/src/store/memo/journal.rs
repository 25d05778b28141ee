//! The memo on disk: a folder of files that are only ever appended to, one for each process that found something out.
//!
//! Each line is a checksum and a JSON record. A line that is torn or spoilt is passed over: what it told is found out again.

use super::FileState;
use crate::store::digest::Digest;
use sdk::{Grid, Kind};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How the names of its files end.
const SUFFIX: &str = ".jsonl";
/// With more files than this they are made one: opening them takes longer than reading them.
const MOST_FILES: usize = 16;
/// Hexadecimal digits of a line's checksum: 32 bits, against torn writes and flipped bits.
const CHECK_DIGITS: usize = 8;

/// One thing that was found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// A file's content.
    File { path: PathBuf, state: FileState },
    /// Content that can be read as a kind of value; the grid of volumes.
    Readable { digest: Digest, kind: Kind, grid: Option<Grid> },
}

/// Where a process writes down what it finds out.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    /// Made with the first record.
    file: Option<File>,
    /// The files that were read at the start.
    read: Vec<PathBuf>,
}

impl Journal {
    /// Reads what processes wrote so far, those that wrote last coming last. A folder that cannot be read holds nothing.
    pub(super) fn open(folder: &Path) -> (Self, Vec<Record>) {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        let named = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(SUFFIX));
        let mut files: Vec<(SystemTime, PathBuf)> = named
            .map(|entry| {
                let changed = entry.metadata().and_then(|metadata| metadata.modified());
                (changed.unwrap_or(SystemTime::UNIX_EPOCH), entry.path())
            })
            .collect();
        files.sort();
        let read: Vec<PathBuf> = files.into_iter().map(|(_, path)| path).collect();
        let mut records = Vec::new();
        for path in &read {
            let text = fs::read(path).unwrap_or_default();
            records.extend(text.split(|byte| *byte == b'\n').filter_map(parse));
        }
        (Self { folder: folder.to_owned(), file: None, read }, records)
    }

    /// Whether there are so many files that they should become one.
    pub(super) fn is_scattered(&self) -> bool {
        self.read.len() > MOST_FILES
    }

    /// Writes `records` as one file and removes all that were read. Another process that still appends to one of them loses
    /// what it appends, and nothing else.
    ///
    /// # Errors
    /// When they cannot be written; then nothing is removed.
    pub(super) fn replace(&mut self, records: impl Iterator<Item = Record>) -> io::Result<()> {
        let text: String = records.filter_map(|record| line(&record)).collect();
        self.write(&text)?;
        for path in std::mem::take(&mut self.read) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::debug!("{}: {error}", path.display());
            }
        }
        Ok(())
    }

    /// Appends a record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        line(record).map_or(Ok(()), |line| self.write(&line))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if self.file.is_none() {
            crate::store::make_private(&self.folder)?;
            let fresh = tempfile::Builder::new()
                .prefix("memo-")
                .suffix(SUFFIX)
                .append(true)
                .tempfile_in(&self.folder)?;
            self.file = Some(fresh.keep().map_err(|error| error.error)?.0);
        }
        // One call, so that a kill leaves whole lines, and one torn at most.
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(text.as_bytes()))
    }
}

/// A record as a line; none for a path that is no text.
fn line(record: &Record) -> Option<String> {
    let json = serde_json::to_string(record).ok()?;
    Some(format!("{} {json}\n", check(&json)))
}

fn parse(line: &[u8]) -> Option<Record> {
    let (found, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    (found == check(json)).then(|| serde_json::from_str(json).ok()).flatten()
}

fn check(json: &str) -> String {
    let mut text = Digest::of_bytes(json.as_bytes()).to_string();
    text.truncate(CHECK_DIGITS);
    text
}
