//! Numbers that are in memory, or in a file that is mapped into it.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::path::Path;

#[cfg(target_endian = "big")]
compile_error!("the files of an index are little-endian, and are mapped as they are");

/// A type of which every pattern of bits is a value, and which can be read where it lies.
pub(crate) trait Number: Copy + Send + Sync + 'static {}

impl Number for u8 {}
impl Number for u16 {}
impl Number for u32 {}
impl Number for u64 {}
impl Number for f32 {}

/// Numbers side by side.
#[derive(Debug)]
pub(crate) enum Numbers<T> {
    Held(Vec<T>),
    Mapped(Mapping, PhantomData<T>),
}

impl<T: Number> Numbers<T> {
    /// Maps a file of an index, which is never written again.
    pub(crate) fn map(path: &Path) -> io::Result<Self> {
        Ok(Self::Mapped(Mapping::of(&File::open(path)?)?, PhantomData))
    }
}

impl<T: Number> std::ops::Deref for Numbers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Held(numbers) => numbers,
            // SAFETY: every pattern of bits is a `T`, see `Number`. A mapping begins at a page, so nothing is cut off in front.
            Self::Mapped(mapping, _) => unsafe { mapping.bytes().align_to::<T>().1 },
        }
    }
}

/// The bytes of numbers as they are written to a file.
pub(crate) fn bytes_of<T: Number>(numbers: &[T]) -> &[u8] {
    // SAFETY: numbers have no padding, and bytes may begin anywhere.
    unsafe { numbers.align_to::<u8>().1 }
}

/// A whole file in memory, for reading.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// Dangling where the file is empty.
    start: *const u8,
    length: usize,
}

// SAFETY: the memory is only ever read, and stays until the mapping is dropped.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn of(file: &File) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if length == 0 {
            return Ok(Self { start: std::ptr::NonNull::dangling().as_ptr(), length });
        }
        // SAFETY: a new mapping at a place of the system's choice; it touches no memory of ours.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), length })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the file is mapped until drop, and files of an index are never written or cut after they were named.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: what `of` has mapped, and nobody has a slice of it any more.
            unsafe { libc::munmap(self.start.cast_mut().cast(), self.length) };
        }
    }
}
