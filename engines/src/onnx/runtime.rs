//! The ONNX Runtime library: loaded once, shared by every session of the process.

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mentor_actors::domain::EngineError;
use ort::environment::Environment;
use ort::logging::LogLevel;

use super::folder::file_name;

/// The library in use. Never unloaded: ort keeps pointers into it for the life of the process.
static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

struct Runtime {
    library: PathBuf,
    environment: Environment,
}

/// The environment of `library`, loading it the first time. A failed attempt can be repeated.
///
/// # Errors
/// [`EngineError::Load`] when it cannot be loaded, is too old, or another one is in use already.
pub(super) fn environment(library: &Path) -> Result<Environment, EngineError> {
    let name = file_name(library);
    let path = library.canonicalize().map_err(|_| {
        EngineError::Load(format!("the ONNX Runtime library {name} is missing: fetch it with `mentor models pull`"))
    })?;
    // A panic while it was held left either nothing or a whole runtime.
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = &*runtime {
        return loaded.environment_for(&path);
    }
    let environment = no_panic(|| load(&path)).map_err(|problem| {
        let problem = in_one_line(&problem, &path);
        EngineError::Load(format!(
            "the ONNX Runtime library {name} cannot be used: {problem}; fetch it again with `mentor models pull`"
        ))
    })?;
    *runtime = Some(Runtime { library: path, environment: environment.clone() });
    Ok(environment)
}

impl Runtime {
    fn environment_for(&self, path: &Path) -> Result<Environment, EngineError> {
        if self.library == path {
            return Ok(self.environment.clone());
        }
        let (wanted, loaded) = (file_name(path), file_name(&self.library));
        Err(EngineError::Load(format!(
            "the ONNX Runtime library {wanted} cannot be used: this process has loaded {loaded} from another place, restart it"
        )))
    }
}

fn load(path: &Path) -> Result<Environment, String> {
    let builder = ort::init_from(path).map_err(|e| e.to_string())?;
    let environment = builder.with_name("mentor").with_telemetry(false).with_logger(Arc::new(log)).build();
    let environment = environment.map_err(|e| e.to_string())?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
}

/// ONNX Runtime returns its errors besides logging them, and they are logged where they are handled.
fn log(_: LogLevel, _: &str, _: &str, location: &str, message: &str) {
    tracing::debug!(target: "onnxruntime", location, "{message}");
}

/// Runs code of ort that asserts where it could return an error.
pub(super) fn no_panic<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("it failed in an unexpected way".to_owned()))
}

/// The first line of a message, with the name of `file` for its path.
pub(super) fn in_one_line(message: &str, file: &Path) -> String {
    let line = message.lines().next().unwrap_or_default().trim_end_matches(['.', ' ']);
    line.replace(&*file.to_string_lossy(), &file_name(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_its_first_line_and_loses_the_folder() {
        let message = "Load model from /srv/models/model.onnx failed:Protobuf parsing failed.\n  at line 3";
        let line = in_one_line(message, Path::new("/srv/models/model.onnx"));
        assert_eq!(line, "Load model from model.onnx failed:Protobuf parsing failed");
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let result = no_panic::<()>(|| panic!("an assertion of the library"));
        assert!(result.unwrap_err().contains("unexpected"));
    }
}
