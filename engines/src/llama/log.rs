//! llama.cpp's own log becomes `tracing` events at debug level; nothing reaches the terminal.
//!
//! Its last error is kept, because its functions say no more than that they failed.

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use llama_cpp_sys_2::{GGML_LOG_LEVEL_CONT, GGML_LOG_LEVEL_ERROR, ggml_log_level, llama_log_set};

static LINES: Mutex<Lines> = Mutex::new(Lines { level: 0, partial: String::new(), last_error: None });

/// Takes over llama.cpp's log, once for the process.
pub(super) fn capture() {
    static INSTALLED: Once = Once::new();
    // SAFETY: the callback lives as long as the process and uses no user data.
    INSTALLED.call_once(|| unsafe { llama_log_set(Some(on_log), std::ptr::null_mut()) });
}

/// The last error line since the last call, without the name of the C++ function it came from.
pub(super) fn take_error() -> Option<String> {
    lines().last_error.take().map(|line| without_origin(&line).to_owned())
}

fn lines() -> MutexGuard<'static, Lines> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" fn on_log(level: ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a string that ends with NUL and lives for this call; null was excluded above.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let complete = lines().push(level, &text);
    for line in complete {
        tracing::debug!(target: "llama.cpp", "{line}");
    }
}

/// Puts the pieces that llama.cpp logs together to lines.
struct Lines {
    level: ggml_log_level,
    partial: String,
    last_error: Option<String>,
}

impl Lines {
    /// Adds a piece; returns the lines that it completes. A continuation has the level of what it continues.
    fn push(&mut self, level: ggml_log_level, text: &str) -> Vec<String> {
        if level != GGML_LOG_LEVEL_CONT {
            self.level = level;
        }
        self.partial.push_str(text);
        let Some(end) = self.partial.rfind('\n') else {
            return Vec::new();
        };
        let rest = self.partial.split_off(end + 1);
        let complete = std::mem::replace(&mut self.partial, rest);
        let lines: Vec<String> = complete.lines().map(str::to_owned).collect();
        if self.level == GGML_LOG_LEVEL_ERROR {
            // "failed to load model" only repeats that something failed.
            let telling = lines.iter().rfind(|line| !line.ends_with("failed to load model"));
            self.last_error = telling.cloned().or(self.last_error.take());
        }
        lines
    }
}

/// `llama_model_load: error loading model: no such tensor` without the words before the reason.
fn without_origin(line: &str) -> &str {
    let line = line.trim();
    let is_name = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    let reason = line.split_once(": ").filter(|(origin, _)| is_name(origin)).map_or(line, |(_, reason)| reason);
    reason.strip_prefix("error loading model: ").unwrap_or(reason)
}

#[cfg(test)]
mod tests {
    use llama_cpp_sys_2::GGML_LOG_LEVEL_INFO;

    use super::*;

    fn empty() -> Lines {
        Lines { level: 0, partial: String::new(), last_error: None }
    }

    #[test]
    fn pieces_become_lines() {
        let mut lines = empty();
        assert!(lines.push(GGML_LOG_LEVEL_INFO, "loading ").is_empty());
        assert!(lines.push(GGML_LOG_LEVEL_CONT, "..").is_empty());
        assert_eq!(lines.push(GGML_LOG_LEVEL_CONT, ".\nnext"), ["loading ..."]);
        assert_eq!(lines.last_error, None);
    }

    #[test]
    fn the_last_telling_error_is_kept() {
        let mut lines = empty();
        lines.push(GGML_LOG_LEVEL_ERROR, "llama_model_load: error loading model: unknown architecture: 'x'\n");
        lines.push(GGML_LOG_LEVEL_ERROR, "llama_model_load_from_file_impl: failed to load model\n");
        assert_eq!(without_origin(&lines.last_error.unwrap()), "unknown architecture: 'x'");
    }

    #[test]
    fn a_line_without_an_origin_stays_whole() {
        assert_eq!(without_origin("out of memory: 12 MiB"), "out of memory: 12 MiB");
        assert_eq!(without_origin("ggml::alloc: too large\n"), "too large");
    }
}
