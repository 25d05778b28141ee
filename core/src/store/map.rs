//! Entry files in memory, without a copy.

#![expect(unsafe_code, reason = "maps files, and lends their bytes to buffers that outlive the call")]

use memmap2::Mmap;
use sdk::buffer::{Buf, Element, StableSlice};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A file in memory, shared by all buffers that look into it.
#[derive(Clone, Debug)]
pub(super) struct Mapped(Arc<Mmap>);

impl Mapped {
    /// Maps a whole file, which must not be empty.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: entry files are complete before they get their name, read-only, and never written to again: they are
        // replaced by renaming and removed by unlinking, and the map keeps what it shows.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self(Arc::new(map)))
    }

    /// All of the file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Those bytes as numbers; none if they lie outside, or are not aligned or no whole number of them.
    pub(super) fn buf<T: Element + bytemuck::Pod>(&self, bytes: Range<usize>) -> Option<Buf<T>> {
        bytemuck::try_cast_slice::<u8, T>(self.0.get(bytes.clone())?).ok()?;
        Some(Buf::from_owner(Part { map: self.clone(), bytes }, "map"))
    }
}

/// Some bytes of a map, known to be inside and aligned.
struct Part {
    map: Mapped,
    bytes: Range<usize>,
}

// SAFETY: a map stays at its address until its last owner drops it, and neither it nor the range is changed any more.
unsafe impl<T: Element + bytemuck::Pod> StableSlice<T> for Part {
    fn slice(&self) -> &[T] {
        bytemuck::cast_slice(&self.map.0[self.bytes.clone()])
    }
}
