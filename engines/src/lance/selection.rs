//! From scored chunks to passages: at most one of a page, none that says the same as another, the best ones with what stands
//! beside them.
//!
//! Neighbours are taken in by their own scores, wherever they belong, until the room is used: with a prompt of 650 tokens, three
//! passages that grow so hold the sentence that answers for 69 % of the project's questions, five bare chunks for 52 %.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use mentor_actors::domain::{CharSpan, Found, Passage, ScoredPassage};
use mentor_actors::ranking;

use super::segment::{ChunkRow, ScoredSegment};
use super::terms;
use super::top_k::TopK;

/// Cosine from which two chunks may say the same.
const SAME_VECTOR: f32 = 0.98;
/// Part of the words of two such chunks that both have from which they do.
const SAME_WORDS: f32 = 0.9;
/// Chunks of a document without pages that are so near, and under the same heading, make one passage.
const NEAR: usize = 2;
/// Most chunks of a passage: beyond, it is no place any more.
const MAX_CHUNKS: usize = 3;
/// Room that a passage needs to grow, in characters: about two chunks on average. With less for each, fewer grow.
const ROOM: usize = 780;

/// The best `top_k` passages; those that grow have at most `context_chars` characters together.
pub(super) fn select(segments: &[ScoredSegment], top_k: usize, context_chars: usize) -> Found {
    let mut places: Vec<Growing> = distinct(segments, top_k).into_iter().map(Growing::new).collect();
    grow(&mut places, context_chars);
    let best = |of: fn(&ScoredSegment) -> f32| segments.iter().map(of).fold(f32::NEG_INFINITY, f32::max);
    let relevance =
        ranking::answerable(best(|segment| segment.best_likeness), Some(best(|segment| segment.best_words)));
    Found { passages: places.iter().map(Growing::scored_passage).collect(), relevance }
}

/// The best chunks of different places.
fn distinct<'s>(segments: &'s [ScoredSegment], top_k: usize) -> Vec<ChunkRow<'s>> {
    // Most pages have a few good chunks.
    let mut reach = top_k * 8;
    loop {
        let mut best = TopK::new(reach);
        segments.iter().for_each(|segment| segment.offer(&mut best));
        let candidates: Vec<ChunkRow> = best.into_sorted().map(|candidate| candidate.value).collect();
        let mut kept: Vec<ChunkRow> = Vec::with_capacity(top_k);
        for candidate in &candidates {
            if kept.len() < top_k && !kept.iter().any(|better| is_same(candidate, better)) {
                kept.push(*candidate);
            }
        }
        if kept.len() == top_k || candidates.len() < reach {
            return kept;
        }
        reach *= 8;
    }
}

fn is_same(chunk: &ChunkRow, better: &ChunkRow) -> bool {
    let near = || chunk.has_page() || chunk.places_behind(better).is_some_and(|places| places.unsigned_abs() <= NEAR);
    chunk.shares_place(better) && near()
        || chunk.likeness(better) >= SAME_VECTOR && shared_words(chunk.text(), better.text()) >= SAME_WORDS
}

/// Words that both texts have, of those that one has: 0 to 1.
#[allow(clippy::cast_precision_loss)] // words of a chunk
fn shared_words(one: &str, other: &str) -> f32 {
    let (one, other): (HashSet<&str>, HashSet<&str>) = (terms::words(one).collect(), terms::words(other).collect());
    let both = one.intersection(&other).count();
    both as f32 / (one.len() + other.len() - both).max(1) as f32
}

/// A chunk that was found, and its neighbours in the passage.
struct Growing<'s> {
    chunk: ChunkRow<'s>,
    /// Places from it on.
    taken: RangeInclusive<isize>,
}

impl<'s> Growing<'s> {
    fn new(chunk: ChunkRow<'s>) -> Self {
        Self { chunk, taken: 0..=0 }
    }

    fn chunks(&self) -> usize {
        self.taken.clone().count()
    }

    /// The chunks before and behind the passage, at the same place, while it may grow.
    fn next(&self) -> impl Iterator<Item = (isize, ChunkRow<'s>)> {
        let beside = [self.taken.start() - 1, self.taken.end() + 1];
        let may_grow = self.chunks() < MAX_CHUNKS;
        let chunk = self.chunk;
        beside
            .into_iter()
            .filter(move |_| may_grow)
            .filter_map(move |by| chunk.neighbour(by).map(|next| (by, next)))
            .filter(move |(_, next)| next.shares_place(&chunk))
    }

    fn holds(&self, chunk: &ChunkRow) -> bool {
        chunk.places_behind(&self.chunk).is_some_and(|places| self.taken.contains(&places))
    }

    fn take(&mut self, by: isize) {
        self.taken = *self.taken.start().min(&by)..=*self.taken.end().max(&by);
    }

    fn scored_passage(&self) -> ScoredPassage {
        let chunks = self.taken.clone().filter_map(|by| self.chunk.neighbour(by));
        let joined = chunks.map(|chunk| chunk.passage()).reduce(join);
        let hit = self.chunk.passage();
        let passage = match joined {
            Some(Passage { span, text, .. }) => Passage { span, text, ..hit },
            None => hit,
        };
        ScoredPassage { passage, score: ranking::relevance(self.chunk.score()) }
    }
}

/// Lets the best passages take in their neighbours, the best ones first.
fn grow(found: &mut [Growing], context_chars: usize) {
    let growing = (context_chars / ROOM).min(found.len());
    let found = &mut found[..growing];
    let chars = |chunk: &ChunkRow| chunk.text().chars().count();
    let mut used: usize = found.iter().map(|found| chars(&found.chunk)).sum();
    loop {
        let all = &*found;
        let fits =
            |chunk: &ChunkRow| used + chars(chunk) <= context_chars && !all.iter().any(|found| found.holds(chunk));
        let candidates = all.iter().enumerate().flat_map(|(number, found)| {
            found.next().filter(|(_, next)| fits(next)).map(move |(by, next)| (number, by, next))
        });
        let Some((number, by, next)) = candidates.max_by(|(.., a), (.., b)| a.score().total_cmp(&b.score())) else {
            return;
        };
        used += chars(&next);
        found[number].take(by);
    }
}

/// A passage and the one behind it on the same page: what both hold is there once. Between them is white space; more than one
/// character of it is taken for a new paragraph.
fn join(before: Passage, behind: Passage) -> Passage {
    let span = CharSpan { start: before.span.start, end: behind.span.end.max(before.span.end) };
    let between = behind.span.start.saturating_sub(before.span.end);
    let known = before.span.end.saturating_sub(behind.span.start);
    let mut text = before.text;
    text.push_str(if between == 1 { " " } else { &"\n\n"[..between.min(2)] });
    text.extend(std::iter::repeat_n(' ', between.saturating_sub(2)));
    text.extend(behind.text.chars().skip(known));
    Passage { span, text, ..before }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mentor_actors::domain::{ChunkId, DocumentId, DocumentKind};

    fn part(page: &str, start: usize, end: usize) -> Passage {
        Passage {
            chunk_id: ChunkId("c".into()),
            document_id: DocumentId("d".into()),
            file_name: "d".into(),
            kind: DocumentKind::Pdf,
            page: Some(1),
            section: None,
            span: CharSpan { start, end },
            text: page.chars().skip(start).take(end - start).collect(),
        }
    }

    #[test]
    fn joined_parts_read_as_on_their_page_and_are_as_long_as_their_span() {
        let page = "Größe zählt. Mehr\n\n  davon hier.";
        let end = page.chars().count();
        for (first_end, second_start) in [(12, 13), (17, 21), (17, 10), (17, 17)] {
            let joined = join(part(page, 0, first_end), part(page, second_start, end));
            assert_eq!(joined.span, CharSpan { start: 0, end });
            assert_eq!(joined.text, page, "{first_end} {second_start}");
        }
    }
}
