//! Blocks of numbers that stages, plugins, files and tensors share without a copy.
//!
//! A [`Buf`] is read-only and cheap to clone. A [`BufMut`] is the same block while one owner still fills it.

#![expect(unsafe_code, reason = "views memory that another library, a mapped file or a tensor owns")]

use neuroloom_abi as abi;
use neuroloom_abi::abi_stable::std_types::{RArc, RStr};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A type of number that a buffer can hold.
///
/// # Safety
/// `CODE` must be the number that `neuroloom_abi::Buf` gives this very layout, and every bit pattern must be valid.
pub unsafe trait Element:
    Copy + Send + Sync + Default + PartialEq + std::fmt::Debug + 'static
{
    /// Number of the type at the border.
    const CODE: u8;
    /// Its name, `u8`, `f32`, …
    const NAME: &'static str;
}

macro_rules! element {
    ($($type:ty = $code:literal),*) => {$(
        // SAFETY: the codes are those of `neuroloom_abi::Buf`; plain numbers have no invalid bit pattern.
        unsafe impl Element for $type {
            const CODE: u8 = $code;
            const NAME: &'static str = stringify!($type);
        }
    )*};
}
element!(u8 = 0, i16 = 1, u16 = 2, i32 = 3, u32 = 4, f32 = 6, f64 = 7);

/// A shared, read-only block of `T`.
pub struct Buf<T> {
    raw: abi::Buf,
    element: PhantomData<T>,
}

impl<T: Element> Buf<T> {
    /// Takes over anything that can show its numbers as a slice: a `Vec`, a mapped file, a tensor. Nothing is copied.
    ///
    /// `owner` must not move its numbers when it moves itself: true of everything on the heap or mapped.
    pub fn from_owner<O>(owner: O, kind: &'static str) -> Self
    where
        O: StableSlice<T>,
    {
        let owner = RArc::new(Owned { owner, kind });
        let slice = owner.owner.slice();
        let (ptr, bytes) = (slice.as_ptr().cast(), size_of_val(slice));
        let owner = abi::Owner_TO::from_ptr(owner, abi::abi_stable::sabi_trait::TD_Opaque);
        // SAFETY: `StableSlice` promises that the slice stays where it is as long as its owner lives, here in the `RArc`.
        let raw = unsafe { abi::Buf::new(ptr, bytes, T::CODE, owner) };
        Self { raw, element: PhantomData }
    }

    /// Views a block that came over the border.
    ///
    /// # Errors
    /// The name of the expected type, if the block holds another or is not aligned for it.
    pub fn from_raw(raw: abi::Buf) -> Result<Self, WrongElement> {
        let aligned = raw.ptr().cast::<T>().is_aligned() && raw.bytes().is_multiple_of(size_of::<T>());
        if raw.dtype() == T::CODE && aligned && !raw.ptr().is_null() {
            Ok(Self { raw, element: PhantomData })
        } else {
            Err(WrongElement { found: raw.dtype(), expected: T::NAME })
        }
    }

    /// The block as it crosses the border.
    pub fn raw(&self) -> abi::Buf {
        self.raw.clone()
    }

    /// What owns the memory: `vec`, `heap`, `map`, `tensor`.
    pub fn owner_kind(&self) -> &'static str {
        self.raw.owner_kind()
    }
}

/// A block that holds other numbers than its header says.
#[derive(Debug, thiserror::Error)]
#[error("a buffer of element type {found} where {expected} was promised")]
pub struct WrongElement {
    /// Number of the type found.
    pub found: u8,
    /// Name of the type expected.
    pub expected: &'static str,
}

/// Something whose numbers stay at one address even when the thing itself moves.
///
/// # Safety
/// `slice` must return the same address and length for as long as the value lives, whether or not it is moved.
pub unsafe trait StableSlice<T>: Send + Sync + 'static {
    /// The numbers.
    fn slice(&self) -> &[T];
}

// SAFETY: a Vec's elements are on the heap; it is never changed again.
unsafe impl<T: Element> StableSlice<T> for Vec<T> {
    fn slice(&self) -> &[T] {
        self
    }
}

#[cfg(feature = "nifti")]
// SAFETY: a map stays at its address until it is dropped.
unsafe impl StableSlice<u8> for memmap2::Mmap {
    fn slice(&self) -> &[u8] {
        self
    }
}

/// Fresh zeroed memory straight from the system, in huge pages where Linux has some to give: for blocks of many megabytes,
/// where the first touch of each small page would cost as much as the work itself.
#[cfg(feature = "nifti")]
pub(crate) struct Pages(memmap2::MmapMut);

#[cfg(feature = "nifti")]
impl Pages {
    /// Memory for so many bytes.
    pub(crate) fn new(bytes: usize) -> std::io::Result<Self> {
        let map = memmap2::MmapMut::map_anon(bytes.max(1))?;
        // A wish: without it, or where the kernel has no huge pages, the memory is the same.
        #[cfg(target_os = "linux")]
        drop(map.advise(memmap2::Advice::HugePage));
        Ok(Self(map))
    }

    /// Those `len` numbers that begin at byte `start`.
    ///
    /// # Panics
    /// If they lie outside, or `start` is not aligned for them.
    pub(crate) fn into_buf<T: Element + bytemuck::Pod>(self, start: usize, len: usize) -> Buf<T> {
        let window = Window { pages: self, bytes: start..start + len * size_of::<T>() };
        Buf::from_owner(window, "heap")
    }
}

#[cfg(feature = "nifti")]
impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(feature = "nifti")]
impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// A part of `Pages`.
#[cfg(feature = "nifti")]
struct Window {
    pages: Pages,
    bytes: std::ops::Range<usize>,
}

#[cfg(feature = "nifti")]
// SAFETY: a map stays at its address until it is dropped, and neither it nor the range is changed any more.
unsafe impl<T: Element + bytemuck::Pod> StableSlice<T> for Window {
    fn slice(&self) -> &[T] {
        bytemuck::cast_slice(&self.pages[self.bytes.clone()])
    }
}

struct Owned<O> {
    owner: O,
    kind: &'static str,
}

impl<O: Send + Sync + 'static> abi::Owner for Owned<O> {
    fn kind(&self) -> RStr<'static> {
        self.kind.into()
    }
}

impl<T> Clone for Buf<T> {
    fn clone(&self) -> Self {
        Self { raw: self.raw.clone(), element: PhantomData }
    }
}

impl<T: Element> Deref for Buf<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: every constructor made sure of type, alignment and life time.
        unsafe { std::slice::from_raw_parts(self.raw.ptr().cast(), self.raw.bytes() / size_of::<T>()) }
    }
}

impl<T: Element> From<Vec<T>> for Buf<T> {
    fn from(vec: Vec<T>) -> Self {
        Self::from_owner(vec, "vec")
    }
}

impl<T: Element> std::fmt::Debug for Buf<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf<{}>({} in {})", T::NAME, self.len(), self.owner_kind())
    }
}

/// A block while one owner still fills it; `freeze` makes it a [`Buf`].
pub struct BufMut<T> {
    raw: abi::Buf,
    element: PhantomData<T>,
}

impl<T: Element> BufMut<T> {
    /// Takes a fresh block from the engine's `alloc`, of which no other `Buf` exists.
    pub(crate) fn from_fresh(raw: abi::Buf) -> Result<Self, WrongElement> {
        Buf::<T>::from_raw(raw).map(|buf| Self { raw: buf.raw, element: PhantomData })
    }

    /// No more writing from here on.
    pub fn freeze(self) -> Buf<T> {
        Buf { raw: self.raw, element: PhantomData }
    }
}

impl<T: Element> Deref for BufMut<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: as for `Buf`.
        unsafe { std::slice::from_raw_parts(self.raw.ptr().cast(), self.raw.bytes() / size_of::<T>()) }
    }
}

impl<T: Element> DerefMut for BufMut<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let ptr = self.raw.ptr().cast_mut().cast();
        // SAFETY: `from_fresh` holds the only `Buf` of this block, and `alloc` made it writable.
        unsafe { std::slice::from_raw_parts_mut(ptr, self.raw.bytes() / size_of::<T>()) }
    }
}

/// A heap block for `bytes` bytes of element type `dtype`: zeroed, aligned to a cache line. The engine's `alloc`.
///
/// The system is asked for its own alignment and the block starts at the first cache line within: only then are large blocks
/// zero pages that cost nothing until they are written.
pub fn heap(dtype: u8, bytes: usize) -> Option<abi::Buf> {
    let layout =
        std::alloc::Layout::from_size_align(bytes.checked_add(ALIGN_BYTES)?, SYSTEM_ALIGN_BYTES).ok()?;
    // SAFETY: the layout is not empty.
    let start = unsafe { std::alloc::alloc_zeroed(layout) };
    if start.is_null() {
        return None;
    }
    advise_huge(start, layout.size());
    // SAFETY: the offset is below `ALIGN_BYTES`, by which the allocation is longer than the block.
    let ptr = unsafe { start.add(start.align_offset(ALIGN_BYTES)) };
    let heap = RArc::new(Heap { start, layout });
    let owner = abi::Owner_TO::from_ptr(heap, abi::abi_stable::sabi_trait::TD_Opaque);
    // SAFETY: the block is zeroed, aligned for every element type, and freed when its owner drops.
    Some(unsafe { abi::Buf::new(ptr, bytes, dtype, owner) })
}

/// What the system's allocator aligns everything to: 16 bytes on 64-bit machines.
const SYSTEM_ALIGN_BYTES: usize = 16;
/// A cache line, and the widest SIMD register: 64 bytes.
const ALIGN_BYTES: usize = 64;

/// Blocks from this size on are asked for in huge pages: two of them, in bytes.
#[cfg(target_os = "linux")]
const HUGE_FROM_BYTES: usize = 4 << 20;

/// Asks the kernel to back a large block by huge pages: a volume then takes tens of page faults instead of thousands, which cost
/// more than writing it. Where the kernel has none, nothing changes.
#[cfg(target_os = "linux")]
fn advise_huge(start: *mut u8, bytes: usize) {
    /// `MADV_HUGEPAGE` of the Linux kernel, the same on every processor.
    const HUGE_PAGE: std::ffi::c_int = 14;
    /// The largest page size of any processor, 64 KiB: advice is for whole pages.
    const PAGE_BYTES: usize = 1 << 16;
    unsafe extern "C" {
        fn madvise(start: *mut std::ffi::c_void, bytes: usize, advice: std::ffi::c_int) -> std::ffi::c_int;
    }
    if bytes >= HUGE_FROM_BYTES {
        let skipped = start.align_offset(PAGE_BYTES);
        // SAFETY: whole pages inside the block; advice changes how memory is backed, never what it holds. A refusal is harmless.
        unsafe { madvise(start.add(skipped).cast(), (bytes - skipped) & !(PAGE_BYTES - 1), HUGE_PAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
const fn advise_huge(_: *mut u8, _: usize) {}

struct Heap {
    start: *mut u8,
    layout: std::alloc::Layout,
}

// SAFETY: the block belongs to this value alone.
unsafe impl Send for Heap {}
// SAFETY: `Heap` itself never reads or writes the block.
unsafe impl Sync for Heap {}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: allocated with this very layout in `heap`.
        unsafe { std::alloc::dealloc(self.start, self.layout) }
    }
}

impl abi::Owner for Heap {
    fn kind(&self) -> RStr<'static> {
        "heap".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vec_becomes_a_buffer_at_the_same_address() {
        let vec = vec![1.5f32, 2.5];
        let address = vec.as_ptr();
        let buf = Buf::from(vec);
        assert_eq!((buf.as_ptr(), &buf[..]), (address, &[1.5, 2.5][..]));
        assert_eq!(buf.clone().as_ptr(), address);
    }

    #[test]
    fn a_block_of_other_numbers_is_refused() {
        let raw = Buf::from(vec![1u32]).raw();
        assert!(Buf::<f32>::from_raw(raw).is_err());
    }

    #[test]
    fn a_heap_block_is_zeroed_and_aligned() {
        let mut block = BufMut::<f32>::from_fresh(heap(f32::CODE, 12).unwrap()).unwrap();
        assert_eq!((&block[..], block.as_ptr() as usize % ALIGN_BYTES), (&[0.0; 3][..], 0));
        block[1] = 7.0;
        assert_eq!(&block.freeze()[..], &[0.0, 7.0, 0.0]);
    }
}
