//! The header of a GGUF file: its metadata and what its tensors are, without their data.
//!
//! The crate `llama-cpp-2` reads metadata only of a model that is loaded; this is for what must be known before.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};

use llama_cpp_sys_2 as sys;

use super::log;

pub(super) fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| "its path has a NUL character".to_owned())
}

/// The reason within llama.cpp's line, which may begin with a line that was never ended.
pub(super) fn reason(line: Option<String>) -> String {
    let line = line.unwrap_or_else(|| "llama.cpp does not say why".into());
    let reason = line.rsplit_once("failed to quantize: ").map_or(&*line, |(_, reason)| reason).trim();
    // What a C++ stream says of any failure to write.
    if reason.contains("iostream error") { "the file cannot be written (disk full?)".into() } else { reason.into() }
}

/// The header of a GGUF file, with a description of its tensors and without their data.
pub(super) struct Header {
    gguf: NonNull<sys::gguf_context>,
    tensors: NonNull<sys::ggml_context>,
}

impl Header {
    /// llama.cpp must have been initialised: without its log being taken over, it writes to the terminal.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let path = c_path(file)?;
        log::take_error();
        let mut tensors = ptr::null_mut();
        let params = sys::gguf_init_params { no_alloc: true, ctx: &raw mut tensors };
        // SAFETY: the path ends with NUL and outlives the call, and so does the place for the second context.
        let gguf = NonNull::new(unsafe { sys::gguf_init_from_file(path.as_ptr(), params) });
        match (gguf, NonNull::new(tensors)) {
            (Some(gguf), Some(tensors)) => Ok(Self { gguf, tensors }),
            // A header that cannot be read leaves neither.
            _ => Err(format!("llama.cpp cannot read it: {}", reason(log::take_error()))),
        }
    }

    pub(super) fn is_split(&self) -> bool {
        self.number("split.count").is_some_and(|parts| parts > 1)
    }

    /// A whole number, or the largest of a list of them; none when there is no such entry, or it is something else.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        let (gguf, place) = (self.gguf.as_ptr(), self.place(key)?);
        // SAFETY: the place is one that the context itself gave. Each value is read as the type it has; as another one the call
        // would end the process.
        unsafe {
            match sys::gguf_get_kv_type(gguf, place) {
                sys::GGUF_TYPE_UINT16 => Some(sys::gguf_get_val_u16(gguf, place).into()),
                sys::GGUF_TYPE_UINT32 => Some(sys::gguf_get_val_u32(gguf, place).into()),
                sys::GGUF_TYPE_INT32 => u64::try_from(sys::gguf_get_val_i32(gguf, place)).ok(),
                sys::GGUF_TYPE_UINT64 => Some(sys::gguf_get_val_u64(gguf, place)),
                sys::GGUF_TYPE_ARRAY => self.largest(place),
                _ => None,
            }
        }
    }

    /// The largest number of a list, as models have one where their layers differ.
    fn largest(&self, place: i64) -> Option<u64> {
        let gguf = self.gguf.as_ptr();
        // SAFETY: the caller found a list at this place.
        let (kind, length) = unsafe { (sys::gguf_get_arr_type(gguf, place), sys::gguf_get_arr_n(gguf, place)) };
        if length == 0 || ![sys::GGUF_TYPE_UINT32, sys::GGUF_TYPE_INT32].contains(&kind) {
            return None;
        }
        // SAFETY: these lists hold numbers of 32 bits, which live as long as the context and are only read here.
        let numbers = unsafe { std::slice::from_raw_parts(sys::gguf_get_arr_data(gguf, place).cast::<i32>(), length) };
        numbers.iter().filter_map(|number| u64::try_from(*number).ok()).max()
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        let (gguf, place) = (self.gguf.as_ptr(), self.place(key)?);
        // SAFETY: the place is one that the context itself gave.
        if unsafe { sys::gguf_get_kv_type(gguf, place) } != sys::GGUF_TYPE_STRING {
            return None;
        }
        // SAFETY: the entry is a text, which ends with NUL and lives as long as the context.
        Some(unsafe { CStr::from_ptr(sys::gguf_get_val_str(gguf, place)) }.to_string_lossy().into_owned())
    }

    fn place(&self, key: &str) -> Option<i64> {
        let key = CString::new(key).ok()?;
        // SAFETY: the context lives as long as `self`, and the key ends with NUL.
        let place = unsafe { sys::gguf_find_key(self.gguf.as_ptr(), key.as_ptr()) };
        // Negative stands for "not there".
        (place >= 0).then_some(place)
    }

    pub(super) fn bytes_before_tensors(&self) -> u64 {
        // SAFETY: the context lives as long as `self`.
        unsafe { sys::gguf_get_data_offset(self.gguf.as_ptr()) as u64 }
    }

    pub(super) fn tensors(&self) -> impl Iterator<Item = Tensor> {
        let context = self.tensors.as_ptr();
        // SAFETY: the context lives as long as `self`, which the iterator borrows.
        let first = NonNull::new(unsafe { sys::ggml_get_first_tensor(context) });
        let all = std::iter::successors(first, move |tensor| {
            // SAFETY: the tensor is one of this context.
            NonNull::new(unsafe { sys::ggml_get_next_tensor(context, tensor.as_ptr()) })
        });
        all.map(Tensor::describe)
    }
}

impl Drop for Header {
    fn drop(&mut self) {
        // SAFETY: both are ours alone and freed once.
        unsafe {
            sys::gguf_free(self.gguf.as_ptr());
            sys::ggml_free(self.tensors.as_ptr());
        }
    }
}

/// One tensor of a header.
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dimensions: i32,
    pub(super) elements: u64,
    pub(super) bytes: u64,
}

impl Tensor {
    fn describe(tensor: NonNull<sys::ggml_tensor>) -> Self {
        let tensor = tensor.as_ptr();
        // SAFETY: a header's tensors live as long as the header, and these calls only read them.
        let (dimensions, elements, bytes) =
            unsafe { (sys::ggml_n_dims(tensor), sys::ggml_nelements(tensor), sys::ggml_nbytes(tensor)) };
        // SAFETY: the same; a name ends with NUL.
        let name = unsafe { CStr::from_ptr(sys::ggml_get_name(tensor)) }.to_string_lossy().into_owned();
        Self { name, dimensions, elements: u64::try_from(elements).unwrap_or(0), bytes: bytes as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::backend;
    use super::super::test_gguf::Gguf;
    use super::*;

    #[test]
    fn entries_are_read_as_what_they_are_and_lists_by_their_largest() {
        backend().unwrap();
        let file = Gguf::of_architecture("llama").number("a.number", 7).numbers("a.list", &[2, 8, 4]).file();
        let header = Header::read(file.path()).unwrap();
        assert_eq!((header.number("a.number"), header.number("a.list")), (Some(7), Some(8)));
        assert_eq!(header.text("general.architecture").as_deref(), Some("llama"));
        assert_eq!(
            (header.number("general.architecture"), header.number("none"), header.text("a.number")),
            (None, None, None)
        );
        assert!(!header.is_split() && header.tensors().next().is_none());
    }
}
