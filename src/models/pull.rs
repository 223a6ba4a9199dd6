//! Fetching: the plan is carried out file by file, through the cache into the models folder and its record.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use super::cache::Cache;
use super::dir::ModelsDir;
use super::error::ModelsError;
use super::fetcher::Fetcher;
use super::manifest::{Model, ModelFile, ModelKind};
use super::place;
use super::plan::Task;
use super::progress::{Listener, PullEvent};
use super::stamps::Stamps;
use super::verify::{Care, FileReport, FileState, inspect_file, label};

/// What to fetch.
#[derive(Debug, Clone, Copy, Default)]
pub struct PullRequest<'a> {
    /// Names of models, and sources; the defaults when empty.
    pub wanted: &'a [String],
    /// The folder in which all sources go together; otherwise each has one named after its file.
    pub name: Option<&'a str>,
    /// Ask the sources anew instead of holding on to what they had when they were first pulled.
    pub fresh: bool,
}

impl ModelsDir {
    /// Fetches what is wanted. What is there and whole is left as it is, what the cache has needs no network, and a file
    /// is in its place wholly or not at all. Returns every file that was asked for.
    ///
    /// # Errors
    /// The first failure ends it: models before it are in place, and what has come of the failed file is kept for the
    /// next pull.
    pub fn pull(
        &self,
        request: &PullRequest<'_>,
        tell: &mut dyn FnMut(PullEvent<'_>),
    ) -> Result<Vec<FileReport>, ModelsError> {
        let plan = self.plan(request)?;
        let mut stamps = Stamps::read(self.root());
        let (present, absent): (Vec<_>, Vec<_>) = plan.iter().partition(|task| self.is_present(task, &mut stamps));
        for task in present {
            tell(PullEvent::Present { label: &task.label() });
        }
        let result = if absent.is_empty() { Ok(()) } else { self.fetch(&absent, &mut stamps, tell) };
        stamps.save();
        result?;
        self.pulled_reports(&plan)
    }

    fn is_present(&self, task: &Task, stamps: &mut Stamps) -> bool {
        task.pin.is_some_and(|pin| {
            let path = self.place_of(task);
            let state = inspect_file(&path, &task.label(), pin.sha256, pin.bytes, Care::Full, stamps);
            state == FileState::Intact
        })
    }

    fn place_of(&self, task: &Task) -> PathBuf {
        self.root().join(&task.model).join(&task.file)
    }

    fn fetch(&self, absent: &[&Task], stamps: &mut Stamps, tell: Listener<'_>) -> Result<(), ModelsError> {
        let root = self.settings.cache_dir.as_deref().ok_or(ModelsError::NoCache)?;
        let mut fetcher = Fetcher::new(Cache::open(root, &mut *tell)?, &self.settings);
        // A model is recorded when all of it is there: half a split GGUF is not one that can be used.
        for files in absent.chunk_by(|a, b| a.model == b.model) {
            let mut record = Vec::new();
            for task in files {
                record.extend(self.fetch_one(task, &mut fetcher, stamps, &mut *tell)?);
            }
            self.record(files[0], record)?;
        }
        Ok(())
    }

    /// Puts one file in its place. Returns what the record has to hold of it, if anything.
    fn fetch_one(
        &self,
        task: &Task,
        fetcher: &mut Fetcher<'_>,
        stamps: &mut Stamps,
        tell: Listener<'_>,
    ) -> Result<Option<ModelFile>, ModelsError> {
        // Whoever held the lock before may have brought it.
        if self.is_present(task, stamps) {
            tell(PullEvent::Present { label: &task.label() });
            return Ok(None);
        }
        let (sha256, bytes) = fetcher.obtain(task, &mut *tell)?;
        let path = self.place_of(task);
        place::link_or_copy(&fetcher.path(sha256), &path)?;
        if let Ok(metadata) = fs::metadata(&path) {
            stamps.note(&task.label(), sha256, &metadata);
        }
        tell(PullEvent::Ready { label: &task.label(), path: &path, bytes });
        let file = || ModelFile { name: task.file.clone(), platform: None, source: task.source.clone(), sha256, bytes };
        Ok(task.is_foreign.then(file))
    }

    /// What there is now of the plan; its lengths come from the lists, which know every file by now.
    fn pulled_reports(&self, plan: &[Task]) -> Result<Vec<FileReport>, ModelsError> {
        let names: HashSet<_> = plan.iter().map(Task::label).collect();
        let models: HashSet<_> = plan.iter().map(|task| &task.model).collect();
        let mut stamps = Stamps::read(self.root());
        let catalogue = self.catalogue()?;
        let ours = catalogue.iter().filter(|model| models.contains(&model.name));
        let reports = ours.flat_map(|model| self.inspect(model, Care::Quick, &mut stamps));
        Ok(reports.filter(|report| names.contains(&label(&report.model, &report.file))).collect())
    }

    /// Writes fetched files into the list of pulled models, as those of the model that `task` is of.
    fn record(&self, task: &Task, files: Vec<ModelFile>) -> Result<(), ModelsError> {
        if files.is_empty() {
            return Ok(());
        }
        let mut pulled = self.pulled()?;
        match pulled.models.iter_mut().find(|model| model.name == task.model) {
            Some(model) => {
                model.files.retain(|old| files.iter().all(|new| new.name != old.name));
                model.files.extend(files);
                *model = foreign(&task.model, std::mem::take(&mut model.files));
            }
            None => pulled.models.push(foreign(&task.model, files)),
        }
        let path = self.pulled_path();
        let wrong = |error: toml::ser::Error| ModelsError::Manifest {
            path: path.display().to_string(),
            why: error.to_string(),
        };
        let text = toml::to_string(&pulled).map_err(wrong)?;
        place::write(&path, &format!("{PULLED_HEAD}{text}"))
    }
}

const PULLED_HEAD: &str = "# What `mentor models pull` fetched from addresses, with the SHA-256 it had. `mentor models verify` compares.\n\
                           # `mentor models pull --fresh` accepts what an address has now.\n\n";

/// A model of what a user pulled. The file to open comes first: a GGUF, and of several the first part.
fn foreign(name: &str, mut files: Vec<ModelFile>) -> Model {
    files.sort_by_key(|file| (!file.name.ends_with(".gguf"), file.name.clone()));
    Model {
        name: name.to_owned(),
        kind: kind_of(&files),
        default: false,
        licence: None,
        min_memory_mb: None,
        description: String::new(),
        files,
    }
}

/// What files are good for, from their names.
fn kind_of(files: &[ModelFile]) -> ModelKind {
    let any = |test: &dyn Fn(&str) -> bool| files.iter().any(|file| test(&file.name));
    if any(&|name| name.ends_with(".gguf")) {
        ModelKind::Generator
    } else if any(&|name| name == "model.onnx") && any(&|name| name == "tokenizer.json") {
        ModelKind::Embedder
    } else {
        ModelKind::Other
    }
}
