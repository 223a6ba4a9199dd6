//! What is known of a file while children work on it, and what to do when one ends. No process, no clock.

use std::time::Duration;

use super::pages::NoText;
use super::patience::Patience;
use super::protocol::{Bookmark, Line};

/// Limits that concern the outcome rather than the child.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Most pages a file may have.
    pub max_pages: u32,
    /// Children that may die on one file before the rest of its pages is given up.
    pub max_crashes: u32,
    /// Children that may make no progress before the rest is given up.
    pub max_stalls: u32,
    /// Longest time for a page.
    pub page_time: Duration,
}

const TOO_SLOW: &str = "not read, because too many pages before it took too long";

/// How a child's work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// It closed its output and left without complaint.
    Left,
    /// It was ended by a signal, or left with an error.
    Died(&'static str),
    /// It made no progress on a page for the time a page may take.
    Stalled,
    /// The time in which nothing may be gained is over.
    OutOfPatience,
    /// The time for the whole file is over.
    OutOfTime,
    /// It wrote more than a book can hold.
    TooMuchOutput,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Start a child from this page on.
    Continue { first_page: u32 },
    /// Everything that can be known is known.
    Done,
    /// The file as a whole is unreadable.
    Refuse(String),
}

/// The pages so far.
#[derive(Debug)]
pub(super) struct Progress {
    bounds: Bounds,
    total: Option<u32>,
    outline: Vec<Bookmark>,
    pages: Vec<Result<String, NoText>>,
    refusal: Option<String>,
    crashes: u32,
    stalls: u32,
    patience: Patience,
}

impl Progress {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            total: None,
            outline: Vec::new(),
            pages: Vec::new(),
            refusal: None,
            crashes: 0,
            stalls: 0,
            patience: Patience::new(bounds.page_time),
        }
    }

    /// 1-based number of the page that is being read, or would be next.
    pub fn next_page(&self) -> u32 {
        u32::try_from(self.pages.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    pub fn is_complete(&self) -> bool {
        self.refusal.is_some() || self.total.is_some_and(|total| self.next_page() > total)
    }

    /// Takes in a line; `false` when it is none that can come here, after which the child is not to be trusted.
    pub fn take(&mut self, line: Line) -> bool {
        match line {
            Line::Pages { pages, outline } => {
                self.learn_total(pages);
                self.outline = outline;
            }
            Line::Text { page, text } if self.expects(page) => self.pages.push(Ok(text)),
            Line::PageError { page, error, recognisable } if self.expects(page) => {
                self.pages.push(Err(NoText { reason: error, recognisable }));
            }
            Line::FileError { error } => self.refusal = Some(error),
            _ => return false,
        }
        true
    }

    fn learn_total(&mut self, pages: u32) {
        let Bounds { max_pages, .. } = self.bounds;
        if pages > max_pages {
            self.refusal = Some(format!("the file has {pages} pages, more than the {max_pages} that are allowed"));
        }
        // A second child that counts differently changes nothing.
        self.total.get_or_insert(pages);
    }

    fn expects(&self, page: u32) -> bool {
        page == self.next_page() && self.total.is_some_and(|total| page <= total)
    }

    /// Decides what follows when a child has ended.
    pub fn after(&mut self, end: &End) -> Next {
        if let Some(reason) = self.refusal.take() {
            return Next::Refuse(reason);
        }
        let Some(total) = self.total else {
            return Next::Refuse(unreadable(end).to_owned());
        };
        if self.is_complete() {
            return Next::Done;
        }
        self.crashes += 1;
        self.stalls += u32::from(*end == End::Stalled);
        self.pages.push(Err(page_reason(end).into()));
        if let Some(reason) = self.why_hopeless(end) {
            self.pages.resize(total as usize, Err(reason.into()));
        }
        if self.is_complete() { Next::Done } else { Next::Continue { first_page: self.next_page() } }
    }

    /// Why the pages behind this end are not tried any more.
    fn why_hopeless(&self, end: &End) -> Option<&'static str> {
        if self.crashes >= self.bounds.max_crashes {
            return Some("not read, because too many pages before it failed");
        }
        if self.stalls >= self.bounds.max_stalls || self.patience.is_over() {
            return Some(TOO_SLOW);
        }
        matches!(end, End::OutOfTime | End::TooMuchOutput).then(|| page_reason(end))
    }

    /// How long the next line may take, or `None` when none is waited for any more. The first one of a child comes after opening
    /// the file.
    pub fn line_time(&self, is_first: bool) -> Option<Duration> {
        (!self.patience.is_over()).then(|| self.patience.for_line(is_first, self.stalls > 0))
    }

    /// So long a child has worked without a page to show for it.
    pub fn charge(&mut self, time: Duration) {
        self.patience.charge(time);
    }

    /// The pages in order, and the file's outline by page.
    pub fn finish(self) -> (Vec<Result<String, NoText>>, Vec<Bookmark>) {
        (self.pages, self.outline)
    }
}

fn unreadable(end: &End) -> &'static str {
    match end {
        End::Left => "the document reader could not be started",
        End::Died(how) => how,
        End::Stalled | End::OutOfPatience | End::OutOfTime => {
            "opening the file took too long (damaged, or made to do so)"
        }
        End::TooMuchOutput => "the file holds more text than a book can",
    }
}

fn page_reason(end: &End) -> &'static str {
    match end {
        End::Left => "the document reader stopped before this page",
        End::Died(how) => how,
        End::Stalled => "reading the page took too long",
        End::OutOfPatience => TOO_SLOW,
        End::OutOfTime => "the time for the whole file was over before this page",
        End::TooMuchOutput => "the file holds more text than a book can",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress::new(Bounds { max_pages: 10, max_crashes: 3, max_stalls: 2, page_time: Duration::from_secs(20) })
    }

    fn pages(pages: u32) -> Line {
        Line::Pages { pages, outline: Vec::new() }
    }

    fn text(page: u32) -> Line {
        Line::Text { page, text: format!("page {page}") }
    }

    #[test]
    fn a_page_that_kills_the_child_fails_alone() {
        let mut progress = progress();
        assert!(progress.take(pages(3)) && progress.take(text(1)));
        assert_eq!(progress.after(&End::Died("crashed")), Next::Continue { first_page: 3 });
        assert!(progress.take(pages(3)) && progress.take(text(3)));
        assert_eq!(progress.after(&End::Left), Next::Done);
        let pages = progress.finish().0;
        assert_eq!(pages, [Ok("page 1".into()), Err("crashed".into()), Ok("page 3".into())]);
    }

    #[test]
    fn too_many_stalls_or_crashes_end_the_work_and_every_page_has_a_reason() {
        let mut progress = progress();
        assert!(progress.take(pages(9)));
        assert_eq!(progress.after(&End::Stalled), Next::Continue { first_page: 2 });
        assert_eq!(progress.after(&End::Stalled), Next::Done);
        assert_eq!(progress.finish().0.len(), 9);

        let mut progress = super::tests::progress();
        assert!(progress.take(pages(9)));
        assert_eq!(progress.after(&End::Died("crashed")), Next::Continue { first_page: 2 });
        assert_eq!(progress.after(&End::Stalled), Next::Continue { first_page: 3 });
        assert_eq!(progress.after(&End::Died("crashed")), Next::Done);
        let last = progress.finish().0.pop();
        assert_eq!(last, Some(Err("not read, because too many pages before it failed".into())));
    }

    #[test]
    fn a_child_that_dies_before_the_first_line_refuses_the_file() {
        assert_eq!(progress().after(&End::Died("crashed")), Next::Refuse("crashed".into()));
    }

    #[test]
    fn lines_out_of_order_are_not_believed() {
        let mut progress = progress();
        assert!(!progress.take(text(1)));
        assert!(progress.take(pages(2)));
        assert!(!progress.take(text(2)));
        assert!(progress.take(text(1)) && progress.take(text(2)) && !progress.take(text(3)));
    }

    #[test]
    fn a_file_with_more_pages_than_allowed_is_refused_with_both_numbers() {
        let mut progress = progress();
        assert!(progress.take(pages(11)));
        let Next::Refuse(reason) = progress.after(&End::Left) else { panic!("must be refused") };
        assert!(reason.contains("11") && reason.contains("10"));
    }

    #[test]
    fn crashes_and_openings_use_up_the_time_as_stalls_do_and_pages_do_not() {
        let mut progress = progress();
        assert!(progress.take(pages(9)));
        assert_eq!(progress.line_time(false), Some(Duration::from_secs(20)));
        progress.charge(Duration::from_secs(21));
        assert_eq!(progress.after(&End::Died("crashed")), Next::Continue { first_page: 2 });
        assert_eq!(progress.line_time(true), Some(Duration::from_millis(1_500)));
        progress.charge(Duration::from_secs(2));
        assert_eq!(progress.line_time(true), None);
        assert_eq!(progress.after(&End::OutOfPatience), Next::Done);
        let reasons = progress.finish().0;
        assert_eq!((reasons.len(), &reasons[0], &reasons[8]), (9, &Err("crashed".into()), &Err(TOO_SLOW.into())));
    }
}
