//! A model file is written anew with another type of weights, by `llama_model_quantize`.
//!
//! The crate `llama-cpp-2` has no such call, so this file makes it itself. llama.cpp reports most failures; what would end the
//! process instead is looked for first, in the file's own list of tensors.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use llama_cpp_sys_2 as sys;
use mentor_actors::domain::EngineError;

use super::header::{Header, c_path, reason};
use super::load::{FileName, backend, check_file, quantisation};
use super::log;
use super::weights::WeightType;

/// A thread that cannot be started ends the process, and more than these make nothing faster.
const MOST_THREADS: usize = 64;

/// llama.cpp rewrites tensors of up to three dimensions and ends the process on more.
const MOST_DIMENSIONS: i32 = 3;

/// What a file's header tells of its weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightsInfo {
    /// Type of most of them, as in `Q4_1`.
    pub type_name: String,
    /// How many there are.
    pub weights: u64,
    /// Bytes of the file that stay as they are: names, vocabulary, norms.
    pub rest_bytes: u64,
}

/// Reads the header of a model file; quick.
///
/// # Errors
/// [`EngineError::Load`] with one line: the file is not a GGUF file, or not one that can be rewritten.
pub fn inspect_weights(file: &Path) -> Result<WeightsInfo, EngineError> {
    let named = FileName(file);
    check_file(file).map_err(|reason| named.error(&reason))?;
    // For the log: without it, llama.cpp writes to the terminal.
    backend()?;
    Header::read(file).and_then(|header| header.info()).map_err(|reason| named.error(&reason))
}

/// Writes the model `from` to `to` with its matrices as `weights`. `to` is there wholly or not at all, and on disk when this
/// returns. The same input gives the same bytes, whatever the number of threads.
///
/// # Errors
/// [`EngineError::Load`] with one line that names the file and the reason: it is not a model that can be rewritten, the disk is
/// full, the folder cannot be written to.
pub fn requantise(from: &Path, to: &Path, weights: WeightType, threads: usize) -> Result<(), EngineError> {
    let info = inspect_weights(from)?;
    let failed = |reason: String| FileName(from).error(&format!("cannot be rewritten as {weights}: {reason}"));
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let needed_bytes = weights.file_bytes(info.weights, info.rest_bytes);
    check_room(folder, needed_bytes).map_err(failed)?;
    let unfinished = Unfinished::beside(to);
    quantise(from, &unfinished.0, weights, threads).map_err(failed)?;
    unfinished.finish(folder, to).map_err(|error| failed(format!("{}: {error}", to.display())))
}

/// A file that is being written; removed when dropped.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self(path.with_file_name(format!(".{name}.{}.part", std::process::id())))
    }

    /// Gives it its name, after all of it is on disk.
    fn finish(&self, folder: &Path, name: &Path) -> std::io::Result<()> {
        File::open(&self.0)?.sync_all()?;
        fs::rename(&self.0, name)?;
        File::open(folder)?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Most often it has its name by now.
        fs::remove_file(&self.0).ok();
    }
}

/// That a file of this length fits into the folder.
fn check_room(folder: &Path, needed_bytes: u64) -> Result<(), String> {
    let free_bytes = free_bytes(folder).map_err(|error| format!("folder {}: {error}", folder.display()))?;
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    let mb = |bytes: u64| bytes / 1_000_000;
    Err(format!("{} has {} MB free, and {} MB are needed", folder.display(), mb(free_bytes), mb(needed_bytes)))
}

/// What an ordinary user may still write to the file system of this folder.
fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let path = c_path(folder).map_err(std::io::Error::other)?;
    // SAFETY: the structure is plain integers, for which zero is a value.
    let mut system: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with NUL and the structure is ours to be written to; both outlive the call.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut system) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

fn quantise(from: &Path, to: &Path, weights: WeightType, threads: usize) -> Result<(), String> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    log::take_error();
    // SAFETY: takes nothing and returns plain values.
    let mut params = unsafe { sys::llama_model_quantize_default_params() };
    params.nthread = i32::try_from(threads.clamp(1, MOST_THREADS)).unwrap_or(1);
    params.ftype = file_type(weights);
    params.allow_requantize = true;
    // SAFETY: both paths end with NUL, and the parameters are the defaults, whose pointers are null, which stands for "none".
    // All three outlive the call. It throws nothing: it catches what it throws itself. Tensors of more than three dimensions,
    // on which it would end the process, were excluded by `Header::info`.
    let code = unsafe { sys::llama_model_quantize(from.as_ptr(), to.as_ptr(), &raw const params) };
    if code == 0 { Ok(()) } else { Err(reason(log::take_error())) }
}

fn file_type(weights: WeightType) -> sys::llama_ftype {
    match weights {
        WeightType::Q8_0 => sys::LLAMA_FTYPE_MOSTLY_Q8_0,
        WeightType::Q4_0 => sys::LLAMA_FTYPE_MOSTLY_Q4_0,
        WeightType::F16 => sys::LLAMA_FTYPE_MOSTLY_F16,
    }
}

impl Header {
    fn info(&self) -> Result<WeightsInfo, String> {
        if self.is_split() {
            return Err("is one of several parts, and such files are not rewritten".into());
        }
        let (mut weights, mut rest_bytes) = (0, self.bytes_before_tensors());
        for tensor in self.tensors() {
            if tensor.dimensions > MOST_DIMENSIONS {
                let dimensions = tensor.dimensions;
                return Err(format!("has a tensor of {dimensions} dimensions, and such files are not rewritten"));
            }
            if tensor.dimensions > 1 { weights += tensor.elements } else { rest_bytes += tensor.bytes }
        }
        let file_type = self.number("general.file_type");
        let type_name = quantisation(file_type.map(|number| number.to_string()).as_deref());
        Ok(WeightsInfo { type_name, weights, rest_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_gguf::Gguf;
    use super::*;

    fn line<T: std::fmt::Debug>(result: Result<T, EngineError>) -> String {
        match result {
            Err(EngineError::Load(line)) => line,
            other => panic!("not a load error: {other:?}"),
        }
    }

    fn target() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("to.gguf");
        (folder, path)
    }

    fn is_empty(folder: &Path) -> bool {
        fs::read_dir(folder).unwrap().next().is_none()
    }

    #[test]
    fn a_file_that_is_not_gguf_gives_one_clear_line_and_leaves_nothing() {
        let (folder, to) = target();
        let from = tempfile::NamedTempFile::new().unwrap();
        fs::write(from.path(), "PK but long enough to hold a header").unwrap();
        let line = line(requantise(from.path(), &to, WeightType::Q8_0, 1));
        assert!(line.ends_with("is not a GGUF file: it begins with \"PK b\""), "{line}");
        assert!(is_empty(folder.path()));
    }

    #[test]
    fn a_damaged_header_gives_one_clear_line() {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend_from_slice(&3u32.to_le_bytes());
        bytes.extend_from_slice(&[0xFF; 64]);
        let from = tempfile::NamedTempFile::new().unwrap();
        fs::write(from.path(), bytes).unwrap();
        let line = line(inspect_weights(from.path()));
        assert!(line.contains("llama.cpp cannot read it: ") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn an_unknown_architecture_is_refused_in_llama_cpps_words_and_leaves_nothing() {
        let (folder, to) = target();
        let from = Gguf::of_architecture("nonesuch").file();
        let line = line(requantise(from.path(), &to, WeightType::Q8_0, 1));
        assert!(line.contains("cannot be rewritten as Q8_0: ") && line.contains("nonesuch"), "{line}");
        assert!(is_empty(folder.path()));
    }

    #[test]
    fn the_header_tells_the_type() {
        let named = Gguf::of_architecture("llama").number("general.file_type", 3).file();
        assert_eq!(inspect_weights(named.path()).unwrap().type_name, "Q4_1");
        let unnamed = Gguf::of_architecture("llama").text("general.file_type", "3").file();
        assert_eq!(inspect_weights(unnamed.path()).unwrap().type_name, "unknown type");
    }

    #[test]
    fn a_full_disk_is_foreseen() {
        let folder = tempfile::tempdir().unwrap();
        check_room(folder.path(), 0).unwrap();
        let line = check_room(folder.path(), u64::MAX).unwrap_err();
        assert!(line.contains(" MB free, and 18446744073709 MB are needed"), "{line}");
        assert!(check_room(Path::new("no/such/folder"), 0).unwrap_err().contains("no/such/folder"));
    }

    #[test]
    fn the_reason_is_found_behind_an_unfinished_line() {
        let line = "[ 1/ 272] token_embd.weight - [576], converting to q8_0 .. llama_model_quantize: failed to quantize: no way";
        assert_eq!(reason(Some(line.into())), "no way");
        assert!(reason(Some("failed to quantize: basic_ios::clear: iostream error".into())).contains("disk full?"));
        assert!(!reason(None).is_empty());
    }
}
