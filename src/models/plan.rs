//! What a pull is to bring: names and sources become a list of files.

use std::collections::HashSet;

use super::digest::Sha256Sum;
use super::dir::ModelsDir;
use super::error::ModelsError;
use super::manifest::{Model, ModelFile};
use super::pull::PullRequest;
use super::resolve::not_here;
use super::source::{Source, is_plain_name};
use super::verify::label;

/// One file to have.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// Name of the model, and of its folder.
    pub(super) model: String,
    /// Name of the file there.
    pub(super) file: String,
    /// Where it comes from.
    pub(super) source: Source,
    /// What it must be; none when it is fetched for the first time.
    pub(super) pin: Option<Pin>,
    /// Whether it goes into the list of pulled models.
    pub(super) is_foreign: bool,
    /// Whether its source is to be asked even if the cache knows what it had.
    pub(super) is_fresh: bool,
}

/// What a file must be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pin {
    pub(super) sha256: Sha256Sum,
    pub(super) bytes: u64,
}

impl Task {
    /// A file of which nothing is known yet.
    fn first(model: &str, source: Source) -> Self {
        let file = source.file_name().to_owned();
        Self { model: model.to_owned(), file, source, pin: None, is_foreign: true, is_fresh: false }
    }

    pub(super) fn label(&self) -> String {
        label(&self.model, &self.file)
    }
}

impl ModelsDir {
    /// The files to have. Each is there once.
    pub(super) fn plan(&self, request: &PullRequest<'_>) -> Result<Vec<Task>, ModelsError> {
        self.check_name(request)?;
        let mut plan = Vec::new();
        for text in request.wanted {
            plan.extend(match Source::is_meant_by(text) {
                true => self.plan_source(&text.parse()?, request.name, &plan)?,
                false => self.tasks(&self.model(text)?)?,
            });
        }
        if request.wanted.is_empty() {
            // A default that does not exist for this platform is told when it is used: it may never be.
            let defaults = self.manifest.models.iter().filter(|model| model.default && model.files_here().count() > 0);
            plan = defaults.map(|model| self.tasks(model)).collect::<Result<Vec<_>, _>>()?.concat();
        }
        for task in plan.iter_mut().filter(|task| task.is_foreign && request.fresh) {
            (task.pin, task.is_fresh) = (None, true);
        }
        let mut labels = HashSet::new();
        match plan.iter().find(|task| !labels.insert(task.label())) {
            Some(twice) => Err(ModelsError::Malformed { text: twice.label(), why: "is asked for twice" }),
            None => Ok(plan),
        }
    }

    /// That the name can be the folder of the sources.
    fn check_name(&self, request: &PullRequest<'_>) -> Result<(), ModelsError> {
        let Some(name) = request.name else { return Ok(()) };
        let why = if !is_plain_name(name) {
            "cannot be the name of a folder"
        } else if self.manifest.find(name).is_some() {
            "is the name of a model that ships"
        } else if request.wanted.is_empty() || !request.wanted.iter().all(|text| Source::is_meant_by(text)) {
            "can name hf: and https sources only"
        } else {
            return Ok(());
        };
        Err(ModelsError::Malformed { text: name.to_owned(), why })
    }

    /// The files of a model that is in a list.
    fn tasks(&self, model: &Model) -> Result<Vec<Task>, ModelsError> {
        let tasks: Vec<_> = model.files_here().map(|file| self.task(&model.name, file)).collect();
        if tasks.is_empty() { Err(not_here(model)) } else { Ok(tasks) }
    }

    /// A file that is in a list.
    fn task(&self, model: &str, file: &ModelFile) -> Task {
        Task {
            model: model.to_owned(),
            file: file.name.clone(),
            source: file.source.clone(),
            pin: Some(Pin { sha256: file.sha256, bytes: file.bytes }),
            is_foreign: self.manifest.find(model).is_none(),
            is_fresh: false,
        }
    }

    /// A source with all its parts, each as it was recorded, or new.
    fn plan_source(&self, source: &Source, name: Option<&str>, before: &[Task]) -> Result<Vec<Task>, ModelsError> {
        let known = match self.model(&source.to_string()) {
            Ok(known) if name.is_none_or(|name| name == known.name) => Some(known),
            Ok(_) | Err(ModelsError::Unknown { .. }) => None,
            Err(error) => return Err(error),
        };
        let model = match (name, &known) {
            (Some(name), _) => name.to_owned(),
            (None, Some(known)) => known.name.clone(),
            (None, None) => self.free_name(source, before)?,
        };
        let recorded = |part: &Source| known.iter().flat_map(|known| &known.files).find(|file| file.source == *part);
        let task = |part: Source| match recorded(&part) {
            Some(file) => self.task(&model, file),
            None => Task::first(&model, part),
        };
        Ok(source.parts().into_iter().map(task).collect())
    }

    /// A name after the file, with a hash of the source where another model has that name already.
    fn free_name(&self, source: &Source, before: &[Task]) -> Result<String, ModelsError> {
        let name = model_name(source.file_name());
        let is_taken =
            before.iter().any(|task| task.model == name) || self.catalogue()?.iter().any(|model| model.name == name);
        let hash = Sha256Sum::of_bytes(source.to_string().as_bytes()).to_string();
        Ok(if is_taken { format!("{name}-{}", &hash[..8]) } else { name })
    }
}

/// The name of a model, from the name of its (first) file.
fn model_name(file: &str) -> String {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let whole = stem.rsplit_once("-of-").and_then(|(stem, _)| stem.strip_suffix("-00001"));
    whole.unwrap_or(stem).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_after_its_file() {
        assert_eq!(model_name("Qwen2.5-7B-Instruct-Q4_K_M.gguf"), "qwen2.5-7b-instruct-q4_k_m");
        assert_eq!(model_name("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf"), "qwen2.5-7b-instruct-q4_k_m");
        assert_eq!(model_name("weights"), "weights");
    }
}
