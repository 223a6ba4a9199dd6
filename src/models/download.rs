//! One file over HTTP into a `.part` file, going on where an earlier try stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::digest::Sha256Sum;
use super::error::{Failure, ModelsError};
use super::http::{Client, Reply, header};
use super::progress::{Listener, PullEvent};
use super::retry::with_retries;

/// What to fetch, and what is known of it.
pub(super) struct Download<'a> {
    /// Name for people.
    pub(super) label: &'a str,
    /// Where from.
    pub(super) url: &'a str,
    /// An `authorization` header.
    pub(super) authorization: Option<String>,
    /// Where the bytes go. Only whole and right files are ever moved from here.
    pub(super) part: PathBuf,
    /// The sum it must have.
    pub(super) sha256: Option<Sha256Sum>,
    /// The length it must have.
    pub(super) bytes: Option<u64>,
}

/// How much is read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

impl Download<'_> {
    /// Fetches what is missing. Afterwards the part file is whole, on disk, and has the sum that is returned.
    pub(super) fn fetch(
        &self,
        client: &Client,
        first_pause: Duration,
        tell: Listener<'_>,
    ) -> Result<Sha256Sum, ModelsError> {
        let mut resumed = self.resume_at() > 0;
        loop {
            with_retries(self.label, first_pause, &mut *tell, |tell| self.try_once(client, tell))?;
            let (sum, bytes) = self.sum_of_part()?;
            let wrong_length = self.bytes.filter(|expected| *expected != bytes);
            let wrong_sum = self.sha256.filter(|expected| *expected != sum);
            if wrong_length.is_none() && wrong_sum.is_none() {
                return Ok(sum);
            }
            self.discard();
            if !resumed {
                return Err(self.wrong(wrong_length, bytes, wrong_sum, sum));
            }
            // An earlier pull's beginning may be what is wrong: once more, from the start.
            resumed = false;
            tell(PullEvent::Discarded { label: self.label });
        }
    }

    fn wrong(&self, length: Option<u64>, found_bytes: u64, sum: Option<Sha256Sum>, found: Sha256Sum) -> ModelsError {
        let what = self.label.to_owned();
        let advice = "something else was served than is meant; nothing was installed".to_owned();
        match (length, sum) {
            (None, Some(expected)) => ModelsError::Checksum { what, expected, found, advice },
            (length, _) => ModelsError::Length { what, expected: length.unwrap_or(found_bytes), found: found_bytes },
        }
    }

    fn sum_of_part(&self) -> Result<(Sha256Sum, u64), ModelsError> {
        let sum = Sha256Sum::of_file(&self.part).map_err(ModelsError::io("read", &self.part))?;
        let synced = File::open(&self.part).and_then(|file| file.sync_all());
        synced.map_err(ModelsError::io("write", &self.part))?;
        Ok(sum)
    }

    fn try_once(&self, client: &Client, tell: Listener<'_>) -> Result<(), Failure> {
        let offset = self.resume_at();
        if offset > 0 && self.bytes == Some(offset) {
            return Ok(());
        }
        let reply = self.request(client, offset)?;
        match reply.status().as_u16() {
            206 if range_start(&reply) == Some(offset) => self.receive(reply, offset, tell),
            416 if range_total(&reply) == Some(offset) => Ok(()),
            206 | 416 => {
                self.discard();
                Err(Failure::transient("the server's range does not fit what is there"))
            }
            // The whole file: the server has no ranges, or the file is another one by now.
            _ => self.receive(reply, 0, tell),
        }
    }

    fn request(&self, client: &Client, offset: u64) -> Result<Reply, Failure> {
        let range = format!("bytes={offset}-");
        let validator = self.validator();
        let mut headers = Vec::new();
        headers.extend(self.authorization.as_deref().map(|value| ("authorization", value)));
        if offset > 0 {
            headers.push(("range", range.as_str()));
            headers.extend(validator.as_deref().map(|value| ("if-range", value)));
        }
        client.get(self.label, self.url, &headers)
    }

    fn receive(&self, reply: Reply, offset: u64, tell: Listener<'_>) -> Result<(), Failure> {
        let total = total_bytes(&reply);
        self.check_length(total)?;
        let mut file = self.open_part(offset)?;
        if offset == 0 {
            self.remember_validator(&reply)?;
        }
        tell(PullEvent::Started { label: self.label, done_bytes: offset, total_bytes: total });
        let mut done = offset;
        let result = self.copy(reply, &mut file, &mut done, tell);
        match result {
            Err(Failure::Transient { reason, wait, .. }) => {
                Err(Failure::Transient { reason, wait, gained_bytes: done - offset })
            }
            Ok(()) if total.is_some_and(|total| done < total) => {
                let reason = format!("the connection ended after {done} bytes");
                Err(Failure::Transient { reason, wait: None, gained_bytes: done - offset })
            }
            other => other,
        }
    }

    fn copy(&self, reply: Reply, file: &mut File, done: &mut u64, tell: Listener<'_>) -> Result<(), Failure> {
        let mut body = reply.into_body().into_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = body.read(&mut buffer).map_err(|error| Failure::transient(error.to_string()))?;
            if read == 0 {
                return Ok(());
            }
            file.write_all(&buffer[..read]).map_err(ModelsError::io("write", &self.part))?;
            *done += read as u64;
            tell(PullEvent::Advanced { done_bytes: *done });
            if self.bytes.is_some_and(|expected| *done > expected) {
                self.check_length(Some(*done))?;
            }
        }
    }

    /// A server that announces another length, or sends more, does not have the file that is meant.
    fn check_length(&self, found: Option<u64>) -> Result<(), Failure> {
        match (self.bytes, found) {
            (Some(expected), Some(found)) if expected != found => {
                self.discard();
                Err(Failure::Fatal(ModelsError::Length { what: self.label.to_owned(), expected, found }))
            }
            _ => Ok(()),
        }
    }

    fn open_part(&self, offset: u64) -> Result<File, Failure> {
        let mut options = OpenOptions::new();
        let options = if offset == 0 { options.write(true).create(true).truncate(true) } else { options.append(true) };
        Ok(options.open(&self.part).map_err(ModelsError::io("write", &self.part))?)
    }

    /// Where to go on: after what is there, if it can be known to belong to the same file in the end.
    fn resume_at(&self) -> u64 {
        let there = fs::metadata(&self.part).map_or(0, |part| part.len());
        let knowable = self.sha256.is_some() || self.validator().is_some();
        if knowable && self.bytes.is_none_or(|expected| there <= expected) { there } else { 0 }
    }

    /// What the server called this version of the file when its beginning came.
    fn validator(&self) -> Option<String> {
        fs::read_to_string(self.validator_path()).ok().filter(|text| !text.is_empty())
    }

    fn remember_validator(&self, reply: &Reply) -> Result<(), ModelsError> {
        // A weak tag does not promise the same bytes (RFC 9110, section 13.1.5).
        let tag = header(reply, "etag").filter(|tag| !tag.starts_with("W/"));
        let validator = tag.or_else(|| header(reply, "last-modified")).unwrap_or_default();
        let path = self.validator_path();
        fs::write(&path, validator).map_err(ModelsError::io("write", &path))
    }

    fn validator_path(&self) -> PathBuf {
        validator_of(&self.part)
    }

    /// Forgets what has come. Failing to is no harm: the sum is checked in the end.
    fn discard(&self) {
        fs::remove_file(&self.part).ok();
        fs::remove_file(self.validator_path()).ok();
    }
}

/// Where the validator of a part file is kept.
pub(super) fn validator_of(part: &Path) -> PathBuf {
    part.with_added_extension("validator")
}

/// The length of the whole file, whatever part of it this is.
fn total_bytes(reply: &Reply) -> Option<u64> {
    match reply.status().as_u16() {
        206 => range_total(reply),
        _ => header(reply, "content-length")?.parse().ok(),
    }
}

/// `content-range: bytes START-END/TOTAL`
fn range_start(reply: &Reply) -> Option<u64> {
    let (start, _) = header(reply, "content-range")?.strip_prefix("bytes ")?.split_once('-')?;
    start.parse().ok()
}

/// `content-range: bytes START-END/TOTAL` or `bytes */TOTAL`
fn range_total(reply: &Reply) -> Option<u64> {
    let (_, total) = header(reply, "content-range")?.rsplit_once('/')?;
    total.parse().ok()
}
