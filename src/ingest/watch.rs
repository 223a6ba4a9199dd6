//! Following a folder: when something in it has changed, and has stopped changing.
//!
//! The folder is looked at every few seconds, names and stamps alone. Notifications of the operating system would be a
//! little quicker, but they do not tell of what another machine does on a network volume, and are lost when there are too
//! many; a look at a thousand files takes milliseconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Stamp;
use super::discover::list;

/// What the folder looked like; why it could not be looked at.
type Look = Result<BTreeMap<PathBuf, Stamp>, String>;

/// After an ingest that failed, the next looks are passed over: 1, 2, 4 and so on up to so many, which are minutes.
const MAX_PAUSE: u32 = 128;

/// Says when to ingest.
#[derive(Debug, Default)]
pub struct Watch {
    /// What the last ingest saw, or was told.
    settled: Option<Look>,
    /// What was seen last.
    last: Option<Look>,
    /// Looks to pass over as long as they find nothing new.
    pause: u32,
    /// The next pause.
    next_pause: u32,
}

impl Watch {
    /// Looks at the folder; says whether it has changed since the last ingest, but not since the last look: who copies a
    /// large file is left to end. The first look counts as a change.
    ///
    /// # Errors
    /// The reason why there is nothing to ingest, once.
    pub fn look(&mut self, directory: &Path) -> Result<bool, String> {
        self.see(look(directory))
    }

    fn see(&mut self, look: Look) -> Result<bool, String> {
        let is_first = self.last.is_none();
        let is_still = self.last.as_ref() == Some(&look);
        self.pause = if is_still { self.pause.saturating_sub(1) } else { 0 };
        let is_due = (is_first || is_still) && self.pause == 0 && self.settled.as_ref() != Some(&look);
        self.last = Some(look.clone());
        if !is_due {
            return Ok(false);
        }
        self.settled = Some(look.clone());
        look.map(|_| true)
    }

    /// The ingest did not do all there was to do: it is due again when the folder stays as it is now, later each time, or soon
    /// once something changes.
    pub fn try_again(&mut self) {
        self.settled = None;
        self.pause = self.next_pause.clamp(1, MAX_PAUSE);
        self.next_pause = 2 * self.pause;
    }

    /// The ingest did all there was to do.
    pub fn is_done(&mut self) {
        self.next_pause = 0;
    }
}

fn look(directory: &Path) -> Look {
    let listed = list(directory).map_err(|error| format!("{error:#}"))?;
    // One that is gone by now is not part of the look, and the next one differs.
    let read = listed.into_iter().filter(|file| file.kind.is_ok());
    Ok(read.filter_map(|file| Stamp::of(&file.path).ok().map(|stamp| (file.path, stamp))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, u64)]) -> Look {
        let stamp = |bytes| Stamp { bytes, modified_ns: 0, changed_ns: 0, inode: 0 };
        Ok(files.iter().map(|(name, bytes)| (PathBuf::from(name), stamp(*bytes))).collect())
    }

    #[test]
    fn the_first_look_is_due_and_then_only_changes_that_have_come_to_rest() {
        let mut watch = Watch::default();
        assert_eq!(watch.see(folder(&[("a", 1)])), Ok(true));
        assert_eq!(watch.see(folder(&[("a", 1)])), Ok(false));
        assert_eq!(watch.see(folder(&[("a", 1), ("b", 5)])), Ok(false), "b may still grow");
        assert_eq!(watch.see(folder(&[("a", 1), ("b", 9)])), Ok(false), "and so it did");
        assert_eq!(watch.see(folder(&[("a", 1), ("b", 9)])), Ok(true));
        assert_eq!(watch.see(folder(&[("a", 1), ("b", 9)])), Ok(false));
    }

    #[test]
    fn a_change_that_is_taken_back_is_none() {
        let mut watch = Watch::default();
        watch.see(folder(&[("a", 1)])).unwrap();
        watch.see(folder(&[])).unwrap();
        watch.see(folder(&[("a", 1)])).unwrap();
        assert_eq!(watch.see(folder(&[("a", 1)])), Ok(false));
    }

    #[test]
    fn a_folder_that_is_lost_is_reported_once_and_taken_up_again_when_it_is_back() {
        let mut watch = Watch::default();
        watch.see(folder(&[("a", 1)])).unwrap();
        let lost = || Err("there is no such folder".to_owned());
        assert_eq!(watch.see(lost()), Ok(false), "it may be back in a moment");
        assert_eq!(watch.see(lost()), Err("there is no such folder".into()));
        assert_eq!(watch.see(lost()), Ok(false));
        watch.see(folder(&[("a", 1)])).unwrap();
        assert_eq!(watch.see(folder(&[("a", 1)])), Ok(true));
    }

    #[test]
    fn an_ingest_that_did_not_do_everything_is_due_again() {
        let mut watch = Watch::default();
        watch.see(folder(&[("a", 1)])).unwrap();
        watch.try_again();
        assert_eq!(watch.see(folder(&[("a", 1)])), Ok(true));
    }

    #[test]
    fn an_ingest_that_goes_on_failing_is_tried_less_and_less_until_something_changes_or_it_succeeds() {
        let mut watch = Watch::default();
        let same = || folder(&[("a", 1)]);
        watch.see(same()).unwrap();
        let looks_until_due = |watch: &mut Watch, look: fn() -> Look| {
            watch.try_again();
            (1..).find(|_| watch.see(look()) == Ok(true)).unwrap()
        };
        let pauses: Vec<u32> = (0..9).map(|_| looks_until_due(&mut watch, same)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 128]);
        let changed = || folder(&[("a", 2)]);
        assert_eq!(looks_until_due(&mut watch, changed), 2, "seen, and seen to rest");
        watch.is_done();
        assert_eq!(looks_until_due(&mut watch, changed), 1);
    }
}
